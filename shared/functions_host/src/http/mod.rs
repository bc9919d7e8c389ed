//! The HTTP front: `/<routePrefix>/<route>` for HTTP functions, and the ways in that are other services in Azure.

mod ingress;
pub(crate) mod keys;
mod request;
pub(crate) mod route;

#[cfg(test)]
pub(crate) use request::http_request;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use chrono::Utc;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    config::{AuthLevel, Function, HttpTrigger, OutputKind, Trigger},
    envelope::Metadata,
    host::Core,
    invoke::{Invocation, TriggerDetail},
    response::{HttpAnswer, http_answer},
};

/// The host's default limit for a request body.
const MAX_BODY: usize = 100 * 1024 * 1024;

/// Serves until the host stops.
pub(crate) async fn serve(listener: TcpListener, core: Arc<Core>) {
    let stop = Arc::clone(&core);
    let router = Router::new().fallback(handle).with_state(core);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.stopped().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the http front failed");
    }
}

async fn handle(State(core): State<Arc<Core>>, request: Request<Body>) -> Response {
    if core.invoker.stopping() {
        return text_response(StatusCode::SERVICE_UNAVAILABLE, "the host is going down");
    }
    let Ok(_slot) = core.http_slots.acquire().await else {
        return text_response(StatusCode::SERVICE_UNAVAILABLE, "the host is going down");
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return text_response(StatusCode::PAYLOAD_TOO_LARGE, format!("body not readable or over {MAX_BODY} bytes"));
    };
    let path: Vec<String> = parts.uri.path().split('/').filter(|piece| !piece.is_empty()).map(decode).collect();
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    match (&parts.method, &segments[..]) {
        (_, []) => text_response(StatusCode::OK, "functions_host is running"),
        (&Method::POST, ["eventhubs", hub, "messages"]) => match refusal(&core, &parts) {
            None => ingress::events(&core, hub, &parts.headers, &body),
            Some(refusal) => refusal,
        },
        (&Method::POST, ["queues", queue, "messages"]) => match refusal(&core, &parts) {
            None => ingress::message(&core, queue, &body).await,
            Some(refusal) => refusal,
        },
        (&Method::POST, ["admin", "functions", name]) => run_timer(&core, &parts, name),
        _ => match find(&core, &parts.method, &path) {
            Some((function, trigger, parameters)) => call(&core, &function, &trigger, &parameters, &parts, body).await,
            None => text_response(StatusCode::NOT_FOUND, ""),
        },
    }
}

async fn call(
    core: &Core,
    function: &Function,
    trigger: &HttpTrigger,
    parameters: &BTreeMap<String, String>,
    parts: &Parts,
    body: Bytes,
) -> Response {
    let key = given_key(parts);
    if !core.keys.allow(trigger.auth, key.as_deref()) {
        return text_response(StatusCode::UNAUTHORIZED, "");
    }
    let caller = core.keys.identify(key.as_deref());
    let _running = core.invoker.running();
    let trigger_detail = TriggerDetail::Http { method: parts.method.to_string(), path: parts.uri.path().to_owned() };
    let invocation = Invocation { function, trigger: trigger_detail, attempt: 1 };
    if core.config.handler.forward_http && trigger.plain {
        let body = if request::has_length(&parts.headers) { body } else { Bytes::new() };
        return match core.invoker.forward(invocation, parts, body).await {
            Ok(response) => response.map(Body::from),
            Err(_) => text_response(StatusCode::INTERNAL_SERVER_ERROR, ""),
        };
    }
    let metadata = Metadata::new(&function.name, Utc::now(), Uuid::new_v4());
    let envelope = request::http_request(&trigger.binding, parts, &body, parameters, caller, metadata);
    let (report, answer) = core.invoker.invoke(invocation, &envelope).await;
    if !report.ok {
        return text_response(StatusCode::INTERNAL_SERVER_ERROR, "");
    }
    let output = function.outputs.iter().find(|output| output.kind == OutputKind::Http);
    respond(http_answer(output.and_then(|output| answer.output(&output.binding))))
}

/// The function a path belongs to.
fn find(
    core: &Core,
    method: &Method,
    path: &[String],
) -> Option<(Arc<Function>, HttpTrigger, BTreeMap<String, String>)> {
    let prefix: Vec<&str> = core.config.http.route_prefix.split('/').filter(|piece| !piece.is_empty()).collect();
    let (head, rest) = path.split_at_checked(prefix.len())?;
    if !head.iter().zip(&prefix).all(|(piece, wanted)| piece.eq_ignore_ascii_case(wanted)) {
        return None;
    }
    let mut found: Vec<_> = Vec::new();
    for function in &core.functions {
        let Trigger::Http(trigger) = &function.trigger else { continue };
        if !trigger.methods.is_empty() && !trigger.methods.contains(method) {
            continue;
        }
        let parameters = trigger.route.matches(rest);
        found.extend(parameters.map(|parameters| (Arc::clone(function), trigger.clone(), parameters)));
    }
    found.into_iter().max_by_key(|(_, trigger, _)| trigger.route.rank())
}

/// `POST /admin/functions/{name}` runs a timer function now and answers before it is done, as the host does.
fn run_timer(core: &Arc<Core>, parts: &Parts, name: &str) -> Response {
    if !core.keys.allow(AuthLevel::Admin, given_key(parts).as_deref()) {
        return text_response(StatusCode::UNAUTHORIZED, "");
    }
    let Some(timer) = core.timers.get(name).map(Arc::clone) else {
        return text_response(StatusCode::NOT_FOUND, format!("there is no timer function {name:?}"));
    };
    let core = Arc::clone(core);
    tokio::spawn(async move {
        if let Err(error) = timer.run_now(&core).await {
            tracing::warn!(%error, "the timer did not run");
        }
    });
    text_response(StatusCode::ACCEPTED, "")
}

/// The senders' ways in are open on loopback, except to pages in a browser; elsewhere they need a key.
fn refusal(core: &Core, parts: &Parts) -> Option<Response> {
    if parts.headers.contains_key(header::ORIGIN) {
        return Some(text_response(StatusCode::FORBIDDEN, "not from a browser"));
    }
    let level = if core.http_address.ip().is_loopback() { AuthLevel::Anonymous } else { AuthLevel::Function };
    match core.keys.allow(level, given_key(parts).as_deref()) {
        true => None,
        false => Some(text_response(StatusCode::UNAUTHORIZED, "")),
    }
}

/// The header `x-functions-key`, else the query parameter `code`.
fn given_key(parts: &Parts) -> Option<String> {
    if let Some(key) = parts.headers.get("x-functions-key") {
        return key.to_str().ok().map(str::to_owned);
    }
    let mut query = url::form_urlencoded::parse(parts.uri.query()?.as_bytes());
    query.find(|(name, _)| name == "code").map(|(_, value)| value.into_owned())
}

fn decode(piece: &str) -> String {
    percent_decode_str(piece).decode_utf8_lossy().into_owned()
}

fn respond(answer: HttpAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        let framing = ["content-length", "transfer-encoding", "connection"];
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !framing.contains(&name.as_str())
        {
            response.headers_mut().append(name, value);
        }
    }
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(content_type);
    response
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    let content_type = "application/json; charset=utf-8";
    respond(HttpAnswer { status: status.as_u16(), headers: Vec::new(), body: value.to_string().into(), content_type })
}

fn text_response(status: StatusCode, text: impl Into<String>) -> Response {
    let (body, content_type) = (text.into().into_bytes(), "text/plain; charset=utf-8");
    respond(HttpAnswer { status: status.as_u16(), headers: Vec::new(), body, content_type })
}
