//! The HTTP side: one request, one answer, whatever happens inside.
//!
//! Every path out of here is a response with a JSON body. A panic is caught (the process must live: its neighbours
//! share it), a deadline drops the handler, and `GET /` waits for nothing.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tower::ServiceExt as _;
use tracing::{Instrument as _, Span, field, info_span};

use crate::app::{Function, FunctionApp, Input, Limits};
use crate::error::{Error, chain};
use crate::invocation::Invocation;
use crate::large::Spill;

/// Set by the host on every function request.
pub(crate) const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A GUID has 36 characters; more than this is no id.
const MAX_ID_LEN: usize = 128;

struct Shared {
    app: FunctionApp,
    slots: Semaphore,
}

pub(crate) fn build(mut app: FunctionApp) -> Router {
    app.forwarded = app
        .forwarded
        .fallback(|| async { failure(&Error::UnknownFunction) })
        .layer(DefaultBodyLimit::max(app.limits.max_body_bytes));
    let slots = Semaphore::new(app.limits.max_concurrent.clamp(1, Semaphore::MAX_PERMITS));
    Router::new().route("/", any(ready)).fallback(dispatch).with_state(Arc::new(Shared { app, slots }))
}

/// The host's readiness and health probe.
async fn ready(method: Method) -> Response {
    match method {
        Method::GET | Method::HEAD => answer(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ready\"}")),
        _ => failure(&Error::MethodNotAllowed),
    }
}

async fn dispatch(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let name = request.uri().path().strip_prefix('/').unwrap_or_default();
    match shared.app.functions.get_key_value(name) {
        Some((name, function)) if request.method() == Method::POST => {
            let (name, function) = (name.clone(), function.clone());
            invoke(shared, name, function, request).await
        }
        Some(_) => failure(&Error::MethodNotAllowed),
        None => forward(&shared.app, request).await,
    }
}

async fn invoke(shared: Arc<Shared>, name: String, function: Function, request: Request) -> Response {
    let limits = shared.app.limits;
    let Some(id) = invocation_id(request.headers()) else { return failure(&Error::InvocationId) };
    let mut invocation = Invocation::new(id, name, deadline(limits));
    invocation.traceparent = traceparent(request.headers());
    let span = info_span!(
        "invocation",
        function = %invocation.function,
        invocation_id = %invocation.id,
        traceparent = field::Empty,
    );
    if let Some(traceparent) = &invocation.traceparent {
        span.record("traceparent", traceparent.as_str());
    }
    async {
        let started = Instant::now();
        let outcome = attempt(&shared, function, invocation, request.into_body()).await;
        report(&outcome, started);
        match outcome {
            Ok(body) => answer(StatusCode::OK, body),
            Err(error) => failure(&error),
        }
    }
    .instrument(span)
    .await
}

/// Waits for a slot, reads the body, runs the handler; all before the deadline. The body is read behind the slot, so
/// that the requests that wait hold no memory.
async fn attempt(shared: &Shared, function: Function, invocation: Invocation, mut body: Body) -> Result<Bytes, Error> {
    let limits = shared.app.limits;
    let deadline = invocation.deadline;
    let slot = timeout_at(deadline, shared.slots.acquire()).await;
    let Ok(Ok(slot)) = slot else { return Err(Error::Busy { limit: limits.max_concurrent }) };
    let work = async {
        let input = match function.in_parts {
            true => read_any_body(&mut body, limits.max_body_bytes).await?,
            false => Input::Whole(read_body(&mut body, limits.max_body_bytes).await?),
        };
        function.call(invocation, input).await
    };
    let outcome = guard(deadline, limits, work).await?;
    drop(slot);
    if matches!(outcome, Err(Error::BodyTooLarge { .. })) {
        read_on(&mut body).await;
    }
    outcome
}

/// Bytes of a refused body that are read all the same, and for how long.
const READ_ON_BYTES: usize = 1 << 30;
const READ_ON_TIME: Duration = Duration::from_secs(10);

/// Reads what is left of a refused body, and forgets it. Whoever is still sending when its connection is closed sees that it
/// was reset, and mostly not the answer.
async fn read_on(body: &mut Body) {
    let rest = async {
        let mut left = READ_ON_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(after) => left = after,
                None => break,
            }
        }
    };
    // However it ends, the answer is the same.
    let _ = timeout(READ_ON_TIME, rest).await;
}

/// The request of a forwarded HTTP function. Its path may hold personal values and stays out of the span.
async fn forward(app: &FunctionApp, request: Request) -> Response {
    let span = info_span!(
        "request",
        method = %request.method(),
        invocation_id = field::Empty,
        traceparent = field::Empty,
    );
    record(&span, "invocation_id", invocation_id(request.headers()));
    record(&span, "traceparent", traceparent(request.headers()));
    let work = guard(deadline(app.limits), app.limits, app.forwarded.clone().oneshot(request));
    async {
        match work.await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(error) => {
                tracing::error!(kind = error.kind().as_str(), "request failed: {error}");
                failure(&error)
            }
        }
    }
    .instrument(span)
    .await
}

fn record(span: &Span, field: &'static str, value: Option<String>) {
    if let Some(value) = value {
        span.record(field, value);
    }
}

/// Runs `work` until the deadline and catches its panics. The inner block drops `work` within the catch, because a
/// destructor that runs at the deadline may panic too.
async fn guard<T>(deadline: Instant, limits: Limits, work: impl Future<Output = T>) -> Result<T, Error> {
    match AssertUnwindSafe(async move { timeout_at(deadline, work).await }).catch_unwind().await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Error::Deadline { after: limits.deadline }),
        Err(_) => Err(Error::Panicked),
    }
}

/// Copies the body once, from the chunks it came in.
async fn read_body(body: &mut Body, limit: usize) -> Result<Bytes, Error> {
    // Refused before the first byte is read, where the length is announced.
    if body.size_hint().lower() > limit as u64 {
        return Err(Error::BodyTooLarge { limit });
    }
    match Limited::new(body, limit).collect().await {
        Ok(chunks) => Ok(chunks.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::BodyTooLarge { limit }),
        Err(_) => Err(Error::BodyRead),
    }
}

/// The same; what is above the limit goes into a file.
async fn read_any_body(body: &mut Body, limit: usize) -> Result<Input, Error> {
    let (mut held, mut length, mut spill) = (Vec::new(), 0, None);
    if body.size_hint().lower() > limit as u64 {
        spill = Some(Spill::new(limit)?);
    }
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Error::BodyRead)?.into_data() else { continue };
        length += chunk.len();
        match &mut spill {
            None if length <= limit => held.push(chunk),
            None => {
                let mut file = Spill::new(limit)?;
                for chunk in held.drain(..).chain([chunk]) {
                    file.push(&chunk).await?;
                }
                spill = Some(file);
            }
            Some(spill) => spill.push(&chunk).await?,
        }
    }
    if let Some(spill) = spill {
        return Ok(Input::Large(spill.finish().await?));
    }
    let mut whole = Vec::with_capacity(length);
    held.drain(..).for_each(|chunk| whole.extend_from_slice(&chunk));
    Ok(Input::Whole(whole.into()))
}

fn report(outcome: &Result<Bytes, Error>, started: Instant) {
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(_) => tracing::info!(duration_ms, "invocation succeeded"),
        Err(error) => {
            tracing::error!(duration_ms, kind = error.kind().as_str(), "invocation failed: {}", chain(error));
        }
    }
}

fn deadline(limits: Limits) -> Instant {
    let now = Instant::now();
    // A deadline beyond what the clock can count is none; a year is as good.
    now.checked_add(limits.deadline).unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}

fn invocation_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(INVOCATION_ID)?.to_str().ok()?.trim();
    (!id.is_empty() && id.len() <= MAX_ID_LEN).then(|| id.to_owned())
}

/// `00-<32 hex>-<16 hex>-<2 hex>`; anything else is left alone.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?.trim();
    let parts: Vec<&str> = text.split('-').take(5).collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
    (hex && lengths == [2, 32, 16, 2]).then(|| text.to_owned())
}

/// The host fails an invocation whose answer has another content type.
fn answer(status: StatusCode, body: Bytes) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

fn failure(error: &Error) -> Response {
    let body = json!({ "error": error.kind().as_str(), "message": chain(error) });
    answer(error.status(), Bytes::from(body.to_string()))
}
