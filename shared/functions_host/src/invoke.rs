//! One invocation: post the envelope, judge the answer, write the outputs, report.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::stream;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use crate::{
    config::{Function, OutputKind},
    error::HostError,
    response::{Answer, queue_messages},
    store::Queues,
    supervisor::{Handler, HandlerState, Supervisor},
};

/// The host gives up waiting for a handler that does not get ready.
const READY_LIMIT: Duration = Duration::from_secs(120);
const MAX_RESPONSE: usize = 64 * 1024 * 1024;
/// The host writes through a buffer of 1,024 characters.
const CHUNK: usize = 1024;
/// What an invocation that has timed out still gets to answer, before its process is killed.
const GRACE: Duration = Duration::from_secs(2);
/// Reports a slow subscriber may fall behind before it loses some.
const REPORTS: usize = 16 * 1024;
pub(crate) const HOST_VERSION: &str = "4.1037.0.0";

/// The event that an invocation was about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerDetail {
    /// A queue message.
    Queue {
        /// The queue's name.
        queue: String,
        /// The message's id.
        message_id: String,
        /// Deliveries so far, this one included.
        dequeue_count: u32,
    },
    /// A batch of events of one partition.
    Events {
        /// The hub's name.
        hub: String,
        /// The consumer group that the function reads as.
        consumer_group: String,
        /// The partition's number.
        partition: u32,
        /// Sequence number of the first event.
        first_sequence: u64,
        /// Sequence number of the last event.
        last_sequence: u64,
    },
    /// A tick of a schedule.
    Timer {
        /// It makes up for one that was missed.
        past_due: bool,
    },
    /// A request.
    Http {
        /// Its method.
        method: String,
        /// Its path, without the query.
        path: String,
    },
}

/// One attempt at running a function, told to every [`subscriber`](crate::Host::subscribe) once it is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InvocationReport {
    /// The function's name.
    pub function: String,
    /// Id of this attempt; new for each attempt.
    pub invocation_id: Uuid,
    /// The event that started it.
    pub trigger: TriggerDetail,
    /// Number of this attempt, 1 for the first. For queue messages the dequeue count.
    pub attempt: u32,
    /// The handler's HTTP status; None if it did not answer.
    pub status: Option<u16>,
    /// Whether the answer was accepted and its outputs were written.
    pub ok: bool,
    /// The reason for which it failed.
    pub error: Option<String>,
    /// `ReturnValue` of the answer.
    pub return_value: Option<Value>,
    /// `Logs` of the answer.
    pub logs: Vec<String>,
    /// Time from the request to the handler to the end of its answer.
    pub duration: Duration,
}

impl TriggerDetail {
    /// `queue`, `events`, `timer` or `http`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Queue { .. } => "queue",
            Self::Events { .. } => "events",
            Self::Timer { .. } => "timer",
            Self::Http { .. } => "http",
        }
    }
}

/// What to run and why.
#[derive(Debug)]
pub(crate) struct Invocation<'a> {
    pub(crate) function: &'a Function,
    pub(crate) trigger: TriggerDetail,
    pub(crate) attempt: u32,
}

/// The handler's answer before it is judged.
struct Reply {
    /// It came within the grace after `functionTimeout`: its outputs count, its success does not.
    late: bool,
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

#[derive(Debug)]
pub(crate) struct Invoker {
    client: reqwest::Client,
    pub(crate) supervisor: Supervisor,
    queues: Arc<Queues>,
    timeout: Option<Duration>,
    in_flight: AtomicUsize,
    begun: AtomicU64,
    reports: broadcast::Sender<Arc<InvocationReport>>,
    stopping: watch::Receiver<bool>,
}

/// Counts an invocation as running until its outputs are written and its trigger is settled.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Invoker {
    /// Runs a function with its envelope and writes its queue outputs.
    pub(crate) async fn invoke(&self, invocation: Invocation<'_>, envelope: &Value) -> (InvocationReport, Answer) {
        let (id, started) = (Uuid::new_v4(), Instant::now());
        let body = Bytes::from(envelope.to_string());
        let path = format!("/{}", invocation.function.name);
        let request = |handler: &Handler| {
            self.request(http::Method::POST, handler, &path, id)
                .header(http::header::CONTENT_TYPE, "application/json; charset=utf-8")
                .body(chunked(&body))
        };
        let reply = self.send(request).await;
        let status = reply.as_ref().ok().map(|reply| reply.status);
        let late = reply.as_ref().is_ok_and(|reply| reply.late);
        let answer = reply.and_then(|reply| {
            let content_type = reply.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Answer::parse(reply.status, content_type, &reply.body)
        });
        let answer = match answer {
            Ok(mut answer) => match self.write_outputs(invocation.function, &mut answer).await {
                Ok(()) if late => Err(format!("timed out after {:?}; it answered too late", self.timeout)),
                Ok(()) => Ok(answer),
                Err(error) => Err(format!("cannot write an output: {error}")),
            },
            failed => failed,
        };
        let (answer, error) = match answer {
            Ok(answer) => (answer, None),
            Err(error) => (Answer::default(), Some(error)),
        };
        let report = report(invocation, id, status, error, &answer, started);
        self.publish(&report);
        (report, answer)
    }

    /// Passes an HTTP request on as it is; any answer at all is a success.
    pub(crate) async fn forward(
        &self,
        invocation: Invocation<'_>,
        parts: &http::request::Parts,
        body: Bytes,
    ) -> Result<http::Response<Bytes>, String> {
        let (id, started) = (Uuid::new_v4(), Instant::now());
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = |handler: &Handler| {
            let mut headers = parts.headers.clone();
            for name in HOP_BY_HOP {
                headers.remove(*name);
            }
            let request = self.request(parts.method.clone(), handler, path, id).headers(headers);
            if body.is_empty() { request } else { request.body(body.clone()) }
        };
        let reply = self.send(request).await;
        let status = reply.as_ref().ok().map(|reply| reply.status);
        let error = reply.as_ref().err().cloned();
        self.publish(&report(invocation, id, status, error, &Answer::default(), started));
        reply.map(|reply| {
            let mut response = http::Response::new(reply.body);
            *response.status_mut() = http::StatusCode::from_u16(reply.status).unwrap_or_default();
            *response.headers_mut() = reply.headers;
            for name in HOP_BY_HOP {
                response.headers_mut().remove(*name);
            }
            response
        })
    }

    pub(crate) fn new(
        client: reqwest::Client,
        supervisor: Supervisor,
        queues: Arc<Queues>,
        timeout: Option<Duration>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let reports = broadcast::Sender::new(REPORTS);
        Self {
            client,
            supervisor,
            queues,
            timeout,
            in_flight: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            reports,
            stopping,
        }
    }

    /// Marks work as running. Hold it until the trigger is settled (message deleted, checkpoint written).
    pub(crate) fn running(&self) -> Running<'_> {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Running(&self.in_flight)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// How often [`Invoker::running`] was called: tells whether anything ran between two looks.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<InvocationReport>> {
        self.reports.subscribe()
    }

    /// The host is going down or the handler is gone for good: what fails now must stay undone, not be settled as
    /// failed.
    pub(crate) fn stopping(&self) -> bool {
        *self.stopping.borrow() || matches!(self.supervisor.state(), HandlerState::Stopped(_))
    }

    fn request(&self, method: http::Method, handler: &Handler, path: &str, id: Uuid) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("http://127.0.0.1:{}{path}", handler.port))
            .header("X-Azure-Functions-InvocationId", id.to_string())
            .header("X-Azure-Functions-HostVersion", HOST_VERSION)
            .header(http::header::USER_AGENT, format!("Azure-Functions-Host/{HOST_VERSION}"))
    }

    /// Sends, within `functionTimeout`. When that runs out the invocation has failed; one that has not answered two seconds
    /// later costs the whole handler process, as the host does it.
    async fn send(&self, request: impl Fn(&Handler) -> reqwest::RequestBuilder) -> Result<Reply, String> {
        let handler = self.supervisor.ready(READY_LIMIT).await.map_err(|error| error.to_string())?;
        let exchange = async {
            let response = request(&handler).send().await.map_err(explain)?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = read_limited(response).await?;
            Ok(Reply { late: false, status, headers, body })
        };
        let Some(timeout) = self.timeout else { return exchange.await };
        tokio::pin!(exchange);
        if let Ok(reply) = tokio::time::timeout(timeout, &mut exchange).await {
            return reply;
        }
        match tokio::time::timeout(GRACE, exchange).await {
            Ok(Ok(reply)) => Ok(Reply { late: true, ..reply }),
            Ok(Err(error)) => Err(format!("timed out after {timeout:?}: {error}")),
            Err(_) => {
                tracing::warn!(?timeout, "function timed out, killing the handler");
                self.supervisor.kill(Some(handler.generation)).await;
                Err(format!("timed out after {timeout:?}; the handler was killed"))
            }
        }
    }

    /// One message after another, as they come: where one fails, those before it are in the queue.
    async fn write_outputs(&self, function: &Function, answer: &mut Answer) -> Result<(), HostError> {
        if !function.outputs.iter().any(|output| output.binding == "$return") {
            answer.spread_return_value();
        }
        for output in &function.outputs {
            let (OutputKind::Queue(queue), Some(value)) = (&output.kind, answer.output(&output.binding)) else {
                continue;
            };
            let queue = self.queues.queue(queue)?;
            for message in queue_messages(value) {
                queue.put(&message).await?;
            }
        }
        Ok(())
    }

    fn publish(&self, report: &InvocationReport) {
        let (function, id) = (&report.function, report.invocation_id);
        match &report.error {
            None => tracing::debug!(function, %id, duration = ?report.duration, "invocation succeeded"),
            Some(error) => tracing::warn!(function, %id, attempt = report.attempt, error, "invocation failed"),
        }
        // An error only says that nobody listens.
        let _ = self.reports.send(Arc::new(report.clone()));
    }
}

/// Headers about one connection; `host` and `content-length` are set anew.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn report(
    invocation: Invocation<'_>,
    invocation_id: Uuid,
    status: Option<u16>,
    error: Option<String>,
    answer: &Answer,
    started: Instant,
) -> InvocationReport {
    InvocationReport {
        function: invocation.function.name.clone(),
        invocation_id,
        trigger: invocation.trigger,
        attempt: invocation.attempt,
        status,
        ok: error.is_none(),
        error,
        return_value: answer.return_value.clone(),
        logs: answer.logs.clone(),
        duration: started.elapsed(),
    }
}

/// A body without a Content-Length, so that it travels as `Transfer-Encoding: chunked`.
fn chunked(body: &Bytes) -> reqwest::Body {
    let body = body.clone();
    let starts = (0..body.len()).step_by(CHUNK);
    let chunks = starts.map(move |start| Ok::<_, std::io::Error>(body.slice(start..body.len().min(start + CHUNK))));
    reqwest::Body::wrap_stream(stream::iter(chunks))
}

async fn read_limited(mut response: reqwest::Response) -> Result<Bytes, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(explain)? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(format!("the answer exceeds {MAX_RESPONSE} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// An error with its causes (reqwest alone says only "error sending request") and without the URL: it may hold a key.
pub(crate) fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
