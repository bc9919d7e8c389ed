//! `<function>/function.json`: one trigger, output bindings, a retry policy.

use std::{collections::HashMap, path::Path, time::Duration};

use http::Method;
use serde_json::Value;

use super::{
    DEFAULT_CONNECTION, QueueName, Schedule, check_hub_name, check_queue_name,
    reader::{Section, read_json},
};
use crate::{error::HostError, http::route::Route};

/// More functions than any app has.
const MAX_FUNCTIONS: usize = 500;

/// One function, as its `function.json` declares it.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) trigger: Trigger,
    pub(crate) outputs: Vec<Output>,
    pub(crate) retry: Option<RetryPolicy>,
}

#[derive(Debug, Clone)]
pub(crate) enum Trigger {
    Queue(QueueTrigger),
    EventHub(EventHubTrigger),
    Timer(TimerTrigger),
    Http(HttpTrigger),
}

#[derive(Debug, Clone)]
pub(crate) struct QueueTrigger {
    pub(crate) binding: String,
    pub(crate) queue: QueueName,
    pub(crate) binary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cardinality {
    One,
    Many,
}

#[derive(Debug, Clone)]
pub(crate) struct EventHubTrigger {
    pub(crate) binding: String,
    pub(crate) hub: String,
    pub(crate) consumer_group: String,
    pub(crate) cardinality: Cardinality,
    pub(crate) binary: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct TimerTrigger {
    pub(crate) binding: String,
    pub(crate) schedule: Schedule,
    /// As it was written, app settings put in.
    pub(crate) expression: String,
    /// Keeps the schedule status over restarts and catches up a missed run.
    pub(crate) monitor: bool,
    pub(crate) run_on_startup: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthLevel {
    Anonymous,
    Function,
    Admin,
}

#[derive(Debug, Clone)]
pub(crate) struct HttpTrigger {
    pub(crate) binding: String,
    pub(crate) auth: AuthLevel,
    /// Empty: every method.
    pub(crate) methods: Vec<Method>,
    pub(crate) route: Route,
    /// Exactly an httpTrigger and an http output: the only shape the host forwards.
    pub(crate) plain: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) binding: String,
    pub(crate) kind: OutputKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputKind {
    Http,
    Queue(QueueName),
}

/// When a failed invocation of an Event Hub or timer function runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// None: without end (`-1`).
    pub(crate) max_retries: Option<u32>,
    pub(crate) minimum: Duration,
    /// Equal to `minimum` for a fixed delay.
    pub(crate) maximum: Duration,
}

impl AuthLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Function => "function",
            Self::Admin => "admin",
        }
    }
}

impl Function {
    /// The queues that its trigger and its outputs name.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &QueueName> {
        let trigger = match &self.trigger {
            Trigger::Queue(trigger) => Some(&trigger.queue),
            _ => None,
        };
        let outputs = self.outputs.iter().filter_map(|output| match &output.kind {
            OutputKind::Queue(queue) => Some(queue),
            OutputKind::Http => None,
        });
        trigger.into_iter().chain(outputs)
    }
}

impl RetryPolicy {
    /// The pause before retry number `retry` (0 is the first), as the host's randomised exponential back-off gives it.
    /// `jitter` is in 0.8..1.2. None: no retries are left.
    pub(crate) fn delay(&self, retry: u32, jitter: f64) -> Option<Duration> {
        if self.max_retries.is_some_and(|max| retry >= max) {
            return None;
        }
        let growth = (2_f64.powi(retry.min(32) as i32) - 1.0) * jitter;
        let delay = self.minimum.as_secs_f64() * (1.0 + growth);
        Some(Duration::from_secs_f64(delay.min(self.maximum.as_secs_f64())))
    }
}

/// Reads every `<app_dir>/<name>/function.json`, sorted by name. Disabled functions are left out.
pub(crate) fn read_functions(app_dir: &Path, settings: &HashMap<String, String>) -> Result<Vec<Function>, HostError> {
    let mut functions = Vec::new();
    for entry in std::fs::read_dir(app_dir).map_err(HostError::io("list", app_dir))? {
        let path = entry.map_err(HostError::io("list", app_dir))?.path().join("function.json");
        if path.is_file() {
            functions.extend(read_function(&path, settings)?);
        }
        if functions.len() > MAX_FUNCTIONS {
            return Err(HostError::Full { what: "the app".to_owned(), limit: MAX_FUNCTIONS });
        }
    }
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    check_shared_consumers(app_dir, &functions)?;
    Ok(functions)
}

/// Two functions on one consumer group would each see only some of the partitions.
fn check_shared_consumers(app_dir: &Path, functions: &[Function]) -> Result<(), HostError> {
    let mut owners: HashMap<(&str, &str), &str> = HashMap::new();
    for function in functions {
        let Trigger::EventHub(trigger) = &function.trigger else { continue };
        if let Some(other) = owners.insert((&trigger.hub, &trigger.consumer_group), &function.name) {
            return Err(HostError::Config {
                file: app_dir.join(&function.name).join("function.json").display().to_string(),
                key: "bindings.consumerGroup".to_owned(),
                problem: format!(
                    "{other:?} already reads hub {:?} as {:?}; give each function a consumer group of its own",
                    trigger.hub, trigger.consumer_group
                ),
            });
        }
    }
    Ok(())
}

fn read_function(path: &Path, settings: &HashMap<String, String>) -> Result<Option<Function>, HostError> {
    let value = read_json(path)?;
    let file = path.display().to_string();
    let name = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    check_function_name(&file, &name)?;
    let root = Section::root(&file, &value)?;
    root.without_effect(&["$schema", "scriptFile", "entryPoint", "configurationSource", "generatedBy"]);
    let disabled = root.boolean("disabled")?.unwrap_or(false);
    let retry = root.section("retry")?.map(read_retry).transpose()?;
    let bindings = root.array("bindings")?.ok_or_else(|| root.error("bindings", "is needed"))?;
    let mut trigger = None;
    let mut outputs = Vec::new();
    for (index, binding) in bindings.iter().enumerate() {
        let section = Section::at(&file, format!("bindings[{index}]"), binding)?;
        let reader = BindingReader { section, settings, function: &name };
        match reader.read()? {
            Binding::Output(output) => outputs.push(output),
            Binding::Trigger(found) if trigger.is_none() => trigger = Some(found),
            Binding::Trigger(_) => return Err(root.error("bindings", "has more than one trigger")),
        }
    }
    let Some(mut trigger) = trigger else { return Err(root.error("bindings", "has no trigger")) };
    match &mut trigger {
        Trigger::Http(http) => http.plain = matches!(&outputs[..], [only] if only.kind == OutputKind::Http),
        _ if outputs.iter().any(|output| output.kind == OutputKind::Http) => {
            return Err(root.error("bindings", "an http output needs an httpTrigger"));
        }
        _ => {}
    }
    if retry.is_some() && !matches!(trigger, Trigger::EventHub(_) | Trigger::Timer(_)) {
        let problem = "is only for eventHubTrigger and timerTrigger; queues retry by host.json extensions.queues";
        return Err(root.error("retry", problem));
    }
    root.finish()?;
    Ok((!disabled).then_some(Function { name, trigger, outputs, retry }))
}

fn check_function_name(file: &str, name: &str) -> Result<(), HostError> {
    let mut bytes = name.bytes();
    let good = name.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && !name.eq_ignore_ascii_case("host");
    if good {
        return Ok(());
    }
    let problem = "must be 1 to 128 letters, digits, `_`, `-`, begin with a letter and not be `host`".to_owned();
    Err(HostError::Config { file: file.to_owned(), key: "the folder's name".to_owned(), problem })
}

fn read_retry(section: Section<'_>) -> Result<RetryPolicy, HostError> {
    let fixed = section.word("strategy", &[("fixedDelay", true), ("exponentialBackoff", false)])?;
    let fixed = fixed.ok_or_else(|| section.error("strategy", "is needed"))?;
    let max_retries = match section.get("maxRetryCount").map(Value::as_i64) {
        Some(Some(-1)) => None,
        _ => match section.number("maxRetryCount", 0..=u32::MAX)? {
            Some(count) => Some(count),
            None => return Err(section.error("maxRetryCount", "is needed; -1 retries without end")),
        },
    };
    let needed =
        |key| section.duration(key).and_then(|found| found.ok_or_else(|| section.error(key, "is needed as hh:mm:ss")));
    let (minimum, maximum) = match fixed {
        true => (needed("delayInterval")?, needed("delayInterval")?),
        false => (needed("minimumInterval")?, needed("maximumInterval")?),
    };
    if minimum > maximum {
        return Err(section.error("minimumInterval", "must not exceed maximumInterval"));
    }
    section.finish()?;
    Ok(RetryPolicy { max_retries, minimum, maximum })
}

enum Binding {
    Trigger(Trigger),
    Output(Output),
}

struct BindingReader<'a> {
    section: Section<'a>,
    settings: &'a HashMap<String, String>,
    function: &'a str,
}

impl BindingReader<'_> {
    fn read(self) -> Result<Binding, HostError> {
        let name = self.binding_name()?;
        let kind = self.section.needed_string("type")?;
        let output = self.section.word("direction", &[("in", false), ("out", true)])?;
        let output = output.ok_or_else(|| self.section.error("direction", "is needed: in or out"))?;
        let binding = match (kind, output) {
            ("queueTrigger", false) => Binding::Trigger(self.queue(name)?),
            ("eventHubTrigger", false) => Binding::Trigger(self.event_hub(name)?),
            ("timerTrigger", false) => Binding::Trigger(self.timer(name)?),
            ("httpTrigger", false) => Binding::Trigger(self.http(name)?),
            ("http", true) => Binding::Output(Output { binding: name, kind: OutputKind::Http }),
            ("queue", true) => Binding::Output(Output { binding: name, kind: OutputKind::Queue(self.queue_name()?) }),
            _ => {
                let known = "queueTrigger, eventHubTrigger, timerTrigger, httpTrigger (in); http, queue (out)";
                return Err(self.section.error("type", format!("{kind:?} is not understood; known: {known}")));
            }
        };
        self.section.finish()?;
        Ok(binding)
    }

    fn binding_name(&self) -> Result<String, HostError> {
        let name = self.section.needed_string("name")?;
        let mut bytes = name.bytes();
        let good = name == "$return"
            || (name.len() <= 128
                && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
                && bytes.all(|b| b.is_ascii_alphanumeric()));
        match good {
            true => Ok(name.to_owned()),
            false => Err(self.section.error("name", "must be letters and digits, beginning with a letter, or $return")),
        }
    }

    fn queue(&self, binding: String) -> Result<Trigger, HostError> {
        Ok(Trigger::Queue(QueueTrigger {
            binding,
            queue: self.queue_name()?,
            binary: self.data_type()?.unwrap_or(false),
        }))
    }

    fn event_hub(&self, binding: String) -> Result<Trigger, HostError> {
        self.section.without_effect(&["connection"]);
        let hub = self.resolved("eventHubName")?;
        let group = match self.section.string("consumerGroup")? {
            Some(_) => self.resolved("consumerGroup")?,
            None => "$Default".to_owned(),
        };
        check_hub_name("Event Hub name", &hub).map_err(|e| self.section.error("eventHubName", e.to_string()))?;
        check_hub_name("consumer group", &group).map_err(|e| self.section.error("consumerGroup", e.to_string()))?;
        let words = [("many", Cardinality::Many), ("one", Cardinality::One)];
        let cardinality = self.section.word("cardinality", &words)?.unwrap_or(Cardinality::Many);
        let Some(binary) = self.data_type()? else {
            let problem = "is needed (binary or string): without it one body that is not JSON loses its whole batch";
            return Err(self.section.error("dataType", problem));
        };
        Ok(Trigger::EventHub(EventHubTrigger { binding, hub, consumer_group: group, cardinality, binary }))
    }

    fn timer(&self, binding: String) -> Result<Trigger, HostError> {
        let text = self.resolved("schedule")?;
        let schedule = Schedule::parse(&text).map_err(|problem| self.section.error("schedule", problem))?;
        Ok(Trigger::Timer(TimerTrigger {
            binding,
            monitor: self.section.boolean("useMonitor")?.unwrap_or(true) && !schedule.below_a_minute(),
            run_on_startup: self.section.boolean("runOnStartup")?.unwrap_or(false),
            schedule,
            expression: text,
        }))
    }

    fn http(&self, binding: String) -> Result<Trigger, HostError> {
        let levels =
            [("anonymous", AuthLevel::Anonymous), ("function", AuthLevel::Function), ("admin", AuthLevel::Admin)];
        let mut methods = Vec::new();
        for value in self.section.array("methods")?.unwrap_or_default() {
            let method = value.as_str().and_then(|text| text.to_ascii_uppercase().parse().ok());
            methods.push(method.ok_or_else(|| self.section.error("methods", "must hold HTTP methods"))?);
        }
        let template = self.section.string("route")?.unwrap_or(self.function);
        let route = Route::parse(template).map_err(|problem| self.section.error("route", problem))?;
        let auth = self.section.word("authLevel", &levels)?.unwrap_or(AuthLevel::Function);
        Ok(Trigger::Http(HttpTrigger { binding, auth, methods, route, plain: false }))
    }

    fn data_type(&self) -> Result<Option<bool>, HostError> {
        self.section.word("dataType", &[("binary", true), ("string", false)])
    }

    fn queue_name(&self) -> Result<QueueName, HostError> {
        let queue = self.resolved("queueName")?;
        check_queue_name(&queue).map_err(|error| self.section.error("queueName", error.to_string()))?;
        let connection = self.section.string("connection")?.filter(|connection| !connection.trim().is_empty());
        Ok(QueueName { connection: connection.unwrap_or(DEFAULT_CONNECTION).to_owned(), queue })
    }

    /// Replaces each `%NAME%` by that app setting.
    fn resolved(&self, key: &'static str) -> Result<String, HostError> {
        let mut rest = self.section.needed_string(key)?;
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once('%') {
            let Some((name, after)) = after.split_once('%') else {
                return Err(self.section.error(key, "has a single `%`; an app setting is named as %NAME%"));
            };
            let Some(value) = self.settings.get(name) else {
                let problem = format!("needs the app setting {name:?}, which is not set");
                return Err(self.section.error(key, problem));
            };
            text.push_str(before);
            text.push_str(value);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}
