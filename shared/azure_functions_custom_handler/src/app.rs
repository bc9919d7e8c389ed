//! Putting an app together: typed handlers by function name, limits, a server on the loopback address.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use tokio::net::TcpListener;
use tracing::Span;

use crate::envelope::{DataType, Envelope};
use crate::error::{Error, HandlerError};
use crate::invocation::Invocation;
use crate::large::LargeBody;
use crate::reply::{Answer, HttpReply, Reply};
use crate::router;
use crate::trigger::{EventBatch, EventGridEvent, QueueMessage, TimerInfo, Trigger};
use crate::wire;

/// A function app: what runs when the host posts to `/<function>`.
pub struct FunctionApp {
    pub(crate) functions: HashMap<String, Function>,
    pub(crate) forwarded: Router,
    pub(crate) limits: Limits,
}

impl FunctionApp {
    /// Starts an app without functions, with the default [`Limits`].
    pub fn builder() -> FunctionAppBuilder {
        FunctionAppBuilder {
            app: Self { functions: HashMap::new(), forwarded: Router::new(), limits: Limits::default() },
        }
    }

    /// The app as an axum router, for a server of your own and for tests. Whoever reaches it runs every function with
    /// an envelope of his own making, as the host does: serve it where only the host comes, on the loopback address.
    pub fn into_router(self) -> Router {
        router::build(self)
    }

    /// The forwarded routes alone, with the same limits, for a server that others reach: behind a gateway, on AWS
    /// Lambda. Functions are not there, whatever the request says; who may call the routes is theirs to ask.
    pub fn into_public_router(mut self) -> Router {
        self.functions.clear();
        router::build(self)
    }
}

impl fmt::Debug for FunctionApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.functions.keys().collect();
        names.sort();
        f.debug_struct("FunctionApp").field("functions", &names).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds of what an app may use. The host sets no limit of its own between itself and the handler.
///
/// ```
/// # use azure_functions_custom_handler::Limits;
/// # use std::time::Duration;
/// let limits = Limits::default().with_max_concurrent(8).with_deadline(Duration::from_secs(25));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest request body that is held in memory, in bytes. A larger one of an Event Hub trigger goes through a temporary
    /// file and is handled in parts of a quarter of this; any other gets a 413. An Event Hub batch of 100 events of 1 MB is
    /// about 137 MB on the wire. Default 256 MiB.
    pub max_body_bytes: usize,
    /// Function invocations at a time; more of them wait with their bodies unread. `GET /` and forwarded routes are
    /// not counted. Default 16.
    pub max_concurrent: usize,
    /// Time from the arrival of a request to its answer. Keep it below `functionTimeout` in `host.json`: there the
    /// host kills the whole process and with it every other invocation. Default 270 s.
    pub deadline: Duration,
}

impl Limits {
    /// Sets [`max_body_bytes`](Self::max_body_bytes).
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets [`max_concurrent`](Self::max_concurrent); 0 counts as 1.
    #[must_use]
    pub fn with_max_concurrent(mut self, invocations: usize) -> Self {
        self.max_concurrent = invocations;
        self
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_body_bytes: 256 << 20, max_concurrent: 16, deadline: Duration::from_secs(270) }
    }
}

/// Registers handlers. The name is the function's folder, verbatim; a second handler of the same name replaces the
/// first.
///
/// A handler is called once per invocation, concurrently. At the deadline its future is dropped where it awaits, so it
/// must be safe to stop there; work that blocks a thread cannot be stopped and belongs into `spawn_blocking`.
#[must_use]
pub struct FunctionAppBuilder {
    app: FunctionApp,
}

impl fmt::Debug for FunctionAppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.app.fmt(f)
    }
}

impl FunctionAppBuilder {
    /// Registers a `queueTrigger` with `dataType: "binary"`.
    pub fn queue<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Invocation, QueueMessage) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::Binary, handler)
    }

    /// Registers an `eventHubTrigger` with `dataType: "binary"`, of either cardinality.
    pub fn event_hub<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Invocation, EventBatch) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::Binary, handler)
    }

    /// Registers a `timerTrigger`.
    pub fn timer<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Invocation, TimerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::String, handler)
    }

    /// Registers an `eventGridTrigger` with `cardinality: one`. For `many` register a handler of `Vec<EventGridEvent>` with
    /// [`function`](Self::function).
    pub fn event_grid<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Invocation, EventGridEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::String, handler)
    }

    /// Registers an `httpTrigger` in envelope mode, which the host uses when the function has outputs beside the response.
    pub fn http<F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Invocation, Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HttpReply, HandlerError>> + Send + 'static,
    {
        self.function(name, DataType::String, handler)
    }

    /// Registers any [`Trigger`] with any `dataType` and either kind of reply.
    pub fn function<T, A, F, Fut>(mut self, name: impl Into<String>, data_type: DataType, handler: F) -> Self
    where
        T: Trigger,
        A: Answer,
        F: Fn(Invocation, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        self.app.functions.insert(name.into(), Function::new(data_type, handler));
        self
    }

    /// Mounts plain axum routes as they are, for HTTP functions under `enableForwardingHttpRequest`. They share the
    /// body limit, the deadline and the catching of panics, but not the concurrency limit. `GET /` and the functions'
    /// own paths take precedence; a fallback of this router is replaced by the app's 404.
    ///
    /// # Panics
    /// As [`Router::merge`] does, when called twice with overlapping routes.
    pub fn forwarded(mut self, router: Router) -> Self {
        self.app.forwarded = self.app.forwarded.merge(router);
        self
    }

    /// Replaces the default [`Limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.app.limits = limits;
        self
    }

    /// Makes the app.
    pub fn build(self) -> FunctionApp {
        self.app
    }
}

/// Listens on 127.0.0.1. The host gives the port in [`PORT_VARIABLE`](crate::PORT_VARIABLE) and asks `GET /` every
/// 25 ms from then on, so bind first and initialise later.
///
/// # Errors
/// [`Error::Bind`].
pub async fn bind(port: u16) -> Result<TcpListener, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| Error::Bind { port, source })
}

/// Serves until the process ends: the host stops a handler with SIGKILL and gives it no time to say good-bye.
///
/// # Errors
/// [`Error::Serve`]; leave with [`exit::FAILURE`](crate::exit::FAILURE) then.
pub async fn serve(app: FunctionApp, listener: TcpListener) -> Result<(), Error> {
    axum::serve(listener, app.into_router()).await.map_err(|source| Error::Serve { source })
}

type Call = dyn Fn(Invocation, Input) -> BoxFuture<'static, Result<Bytes, Error>> + Send + Sync;

/// The envelope, as it came.
pub(crate) enum Input {
    Whole(Bytes),
    Large(LargeBody),
}

/// A handler whose types are forgotten: envelope in, response body out.
#[derive(Clone)]
pub(crate) struct Function {
    call: Arc<Call>,
    pub(crate) in_parts: bool,
}

impl Function {
    fn new<T, A, F, Fut>(data_type: DataType, handler: F) -> Self
    where
        T: Trigger,
        A: Answer,
        F: Fn(Invocation, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let call: Arc<Call> = Arc::new(move |invocation, input| {
            let handler = Arc::clone(&handler);
            async move {
                let body = match input {
                    Input::Whole(body) => body,
                    Input::Large(body) => return in_parts(&*handler, invocation, body, data_type).await,
                };
                let (invocation, trigger) = decode::<T>(invocation, body, data_type).await?;
                handler(invocation, trigger).await?.encode()
            }
            .boxed()
        });
        Self { call, in_parts: T::IN_PARTS }
    }

    pub(crate) fn call(&self, invocation: Invocation, input: Input) -> BoxFuture<'static, Result<Bytes, Error>> {
        (self.call)(invocation, input)
    }
}

/// Calls the handler for each part of a body, one after the other.
async fn in_parts<T, A, F, Fut>(
    handler: &F,
    mut invocation: Invocation,
    mut body: LargeBody,
    data_type: DataType,
) -> Result<Bytes, Error>
where
    T: Trigger,
    A: Answer,
    F: Fn(Invocation, T) -> Fut,
    Fut: Future<Output = Result<A, HandlerError>>,
{
    read_around(&mut invocation, &Envelope::parse(&body.skeleton)?);
    let mut answer = None;
    loop {
        let span = Span::current();
        let next = move || {
            let part = span.in_scope(|| T::next_part(&mut body, data_type));
            (body, part)
        };
        let (back, part) = tokio::task::spawn_blocking(next).await.map_err(|_| Error::Panicked)?;
        body = back;
        let Some(part) = part? else { break };
        answer = Some(handler(invocation.clone(), part).await?.encode()?);
    }
    answer.ok_or_else(|| Error::envelope("Data", "holds no event"))
}

/// Above this size a body is decoded on a blocking thread, so that `GET /` and other invocations are not held up.
const OFFLOAD_BYTES: usize = 1 << 20;

async fn decode<T: Trigger>(
    invocation: Invocation,
    body: Bytes,
    data_type: DataType,
) -> Result<(Invocation, T), Error> {
    if body.len() <= OFFLOAD_BYTES {
        return decode_now(invocation, &body, data_type);
    }
    let span = Span::current();
    let task = tokio::task::spawn_blocking(move || span.in_scope(|| decode_now(invocation, &body, data_type)));
    task.await.map_err(|_| Error::Panicked)?
}

/// The body is freed when this returns: a trigger owns what it keeps.
fn decode_now<T: Trigger>(
    mut invocation: Invocation,
    body: &[u8],
    data_type: DataType,
) -> Result<(Invocation, T), Error> {
    let mut envelope = Envelope::parse(body)?;
    // First the trigger: it may find that its body has overwritten metadata.
    let trigger = T::decode(&mut envelope, data_type)?;
    read_around(&mut invocation, &envelope);
    Ok((invocation, trigger))
}

/// What the envelope says beside the trigger.
fn read_around(invocation: &mut Invocation, envelope: &Envelope<'_>) {
    invocation.retry = envelope.retry();
    for input in envelope.inputs() {
        if let Some(value) = wire::reparse_str(input.json()) {
            invocation.inputs.insert(input.name().to_owned(), value);
        }
    }
}
