//! `host.json`, with the defaults of the real host.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::reader::{Section, read_json};
use crate::{error::HostError, trigger::backoff::MIN_PAUSE};

const HOUR: Duration = Duration::from_secs(3600);
/// `maxPollingInterval` of a host in development, as this one is; a minute elsewhere, says the source, a second, say the
/// docs.
const POLLING: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(crate) struct HostJson {
    /// None: no limit (`"-1"`).
    pub(crate) function_timeout: Option<Duration>,
    pub(crate) queues: QueueOptions,
    pub(crate) event_hubs: EventHubOptions,
    pub(crate) http: HttpOptions,
    pub(crate) handler: HandlerOptions,
}

#[derive(Debug, Clone)]
pub(crate) struct QueueOptions {
    pub(crate) batch_size: usize,
    pub(crate) new_batch_threshold: usize,
    pub(crate) max_dequeue_count: u32,
    /// The delay between a failure and the next attempt.
    pub(crate) visibility_timeout: Duration,
    /// The longest that an empty queue is left alone.
    pub(crate) max_polling_interval: Duration,
    pub(crate) base64: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct EventHubOptions {
    pub(crate) max_batch: usize,
    pub(crate) min_batch: usize,
    pub(crate) max_wait: Duration,
    pub(crate) checkpoint_frequency: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct HttpOptions {
    pub(crate) route_prefix: String,
    pub(crate) max_concurrent: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct HandlerOptions {
    pub(crate) forward_http: bool,
    pub(crate) initialization_timeout: Duration,
    /// Relative to the app's folder; empty: that folder.
    pub(crate) working_directory: PathBuf,
    pub(crate) port: Option<u16>,
    description: Description,
}

/// The command that starts the handler.
#[derive(Debug, Clone, Default)]
struct Description {
    executable: Option<String>,
    /// A script for the executable, given between the two lists.
    worker: Option<String>,
    arguments: Vec<String>,
    worker_arguments: Vec<String>,
}

impl HandlerOptions {
    /// Program and arguments, as the real host finds them: a relative path is a file in the app's folder if there is one,
    /// and else a program on the `PATH`.
    pub(crate) fn command(&self, app_dir: &Path) -> Result<(PathBuf, Vec<String>), HostError> {
        let description = &self.description;
        let error = |problem: &str| HostError::Config {
            file: app_dir.join("host.json").display().to_string(),
            key: "customHandler.description.defaultExecutablePath".to_owned(),
            problem: problem.to_owned(),
        };
        let Some(executable) = description.executable.as_deref().filter(|path| !path.is_empty()) else {
            return Err(error("is needed: the program that is the handler"));
        };
        if executable.contains('%') {
            return Err(error("has an environment variable, which this host does not expand: name the program"));
        }
        let of_app = app_dir.join(executable);
        let program = if of_app.is_file() { of_app } else { executable.into() };
        let worker = description.worker.iter().map(|worker| app_dir.join(worker).display().to_string());
        let arguments = description.arguments.iter().cloned().chain(worker).chain(description.worker_arguments.clone());
        Ok((program, arguments.collect()))
    }
}

impl HostJson {
    /// Reads `<app_dir>/host.json`. Unknown keys are errors; keys that have no effect on one machine are skipped.
    pub(crate) fn read(app_dir: &Path) -> Result<Self, HostError> {
        let path = app_dir.join("host.json");
        let value = read_json(&path)?;
        let file = path.display().to_string();
        let root = Section::root(&file, &value)?;
        if root.needed_string("version")? != "2.0" {
            return Err(root.error("version", "must be \"2.0\""));
        }
        root.without_effect(&[
            "$schema",
            "logging",
            "extensionBundle",
            "concurrency",
            "healthMonitor",
            "singleton",
            "aggregator",
            "telemetryMode",
            "watchDirectories",
            "watchFiles",
            "functions",
        ]);
        let function_timeout = match root.string("functionTimeout")? {
            Some("-1") => None,
            _ => Some(root.duration("functionTimeout")?.unwrap_or(HOUR / 2)),
        };
        if function_timeout == Some(Duration::ZERO) {
            return Err(root.error("functionTimeout", "must be longer than zero"));
        }
        let handler = handler(root.section("customHandler")?)?;
        let (mut queues, mut event_hubs, mut http) = (queues(None)?, hubs(None)?, http_options(None)?);
        if let Some(extensions) = root.section("extensions")? {
            queues = self::queues(extensions.section("queues")?)?;
            event_hubs = hubs(extensions.section("eventHubs")?)?;
            http = http_options(extensions.section("http")?)?;
            extensions.without_effect(&["blobs", "cosmosDB", "serviceBus", "durableTask", "sendGrid", "signalR"]);
            extensions.finish()?;
        }
        root.finish()?;
        Ok(Self { function_timeout, queues, event_hubs, http, handler })
    }
}

fn queues(section: Option<Section<'_>>) -> Result<QueueOptions, HostError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threshold_for = |batch: usize| batch.div_ceil(2).max(1) * cores;
    let Some(section) = section else {
        let (batch_size, visibility_timeout) = (16, Duration::ZERO);
        let new_batch_threshold = threshold_for(batch_size);
        return Ok(QueueOptions {
            batch_size,
            new_batch_threshold,
            max_dequeue_count: 5,
            visibility_timeout,
            max_polling_interval: POLLING,
            base64: true,
        });
    };
    let batch_size = section.number("batchSize", 1..=32)?.unwrap_or(16) as usize;
    let options = QueueOptions {
        batch_size,
        new_batch_threshold: match section.number("newBatchThreshold", 0..=1000)? {
            Some(threshold) => threshold as usize,
            None => threshold_for(batch_size),
        },
        max_dequeue_count: section.number("maxDequeueCount", 1..=1000)?.unwrap_or(5),
        visibility_timeout: section.duration("visibilityTimeout")?.unwrap_or(Duration::ZERO),
        max_polling_interval: section.duration("maxPollingInterval")?.unwrap_or(POLLING),
        base64: section.word("messageEncoding", &[("base64", true), ("none", false)])?.unwrap_or(true),
    };
    if options.max_polling_interval < MIN_PAUSE {
        return Err(section.error("maxPollingInterval", "must not be less than 00:00:00.100"));
    }
    section.finish()?;
    Ok(options)
}

fn hubs(section: Option<Section<'_>>) -> Result<EventHubOptions, HostError> {
    let default = EventHubOptions { max_batch: 100, min_batch: 1, max_wait: HOUR / 60, checkpoint_frequency: 1 };
    let Some(section) = section else { return Ok(default) };
    let options = EventHubOptions {
        max_batch: section.number("maxEventBatchSize", 1..=100_000)?.map_or(default.max_batch, |n| n as usize),
        min_batch: section.number("minEventBatchSize", 1..=100_000)?.map_or(default.min_batch, |n| n as usize),
        max_wait: section.duration("maxWaitTime")?.unwrap_or(default.max_wait),
        checkpoint_frequency: section.number("batchCheckpointFrequency", 1..=10_000)?.unwrap_or(1),
    };
    if options.min_batch > options.max_batch {
        return Err(section.error("minEventBatchSize", "must not exceed maxEventBatchSize"));
    }
    if options.max_wait > HOUR / 6 {
        return Err(section.error("maxWaitTime", "must not exceed 00:10:00"));
    }
    if let Some(initial) = section.section("initialOffsetOptions")? {
        initial.word("type", &[("fromStart", ())])?;
        initial.finish()?;
    }
    section.without_effect(&[
        "prefetchCount",
        "targetUnprocessedEventThreshold",
        "transportType",
        "clientRetryOptions",
        "trackLastEnqueuedEventProperties",
        "loadBalancingUpdateInterval",
        "partitionOwnershipExpirationInterval",
    ]);
    section.finish()?;
    Ok(options)
}

fn http_options(section: Option<Section<'_>>) -> Result<HttpOptions, HostError> {
    let Some(section) = section else {
        return Ok(HttpOptions { route_prefix: "api".to_owned(), max_concurrent: 100 });
    };
    let options = HttpOptions {
        route_prefix: section.string("routePrefix")?.unwrap_or("api").trim_matches('/').to_owned(),
        max_concurrent: section.number("maxConcurrentRequests", 1..=100_000)?.unwrap_or(100) as usize,
    };
    section.without_effect(&["maxOutstandingRequests", "dynamicThrottlesEnabled", "hsts", "customHeaders"]);
    section.finish()?;
    Ok(options)
}

fn handler(section: Option<Section<'_>>) -> Result<HandlerOptions, HostError> {
    let mut options = HandlerOptions {
        forward_http: false,
        initialization_timeout: Duration::from_secs(30),
        working_directory: PathBuf::new(),
        port: None,
        description: Description::default(),
    };
    let Some(section) = section else { return Ok(options) };
    if section.get("http").is_some() {
        return Err(section.error("http", "routes cannot be mixed with function.json files"));
    }
    if section.boolean("enableProxyingHttpRequest")? == Some(true) {
        return Err(section.error("enableProxyingHttpRequest", "is not supported; use enableForwardingHttpRequest"));
    }
    options.forward_http = section.boolean("enableForwardingHttpRequest")?.unwrap_or(false);
    if let Some(timeout) = section.duration("initializationTimeout")? {
        options.initialization_timeout = timeout;
    }
    options.port = section.number("port", 1..=65_535)?.and_then(|port| u16::try_from(port).ok());
    if let Some(description) = section.section("description")? {
        options.working_directory = description.string("workingDirectory")?.unwrap_or_default().into();
        let list = |key| -> Result<Vec<String>, HostError> {
            let texts = description.array(key)?.unwrap_or_default().iter();
            let texts = texts.map(|text| text.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(|| description.error(key, "must hold strings"))
        };
        options.description = Description {
            executable: description.string("defaultExecutablePath")?.map(str::to_owned),
            worker: description.string("defaultWorkerPath")?.map(str::to_owned),
            arguments: list("arguments")?,
            worker_arguments: list("workerArguments")?,
        };
        description.finish()?;
    }
    section.finish()?;
    Ok(options)
}
