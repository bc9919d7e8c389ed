//! What the answers of all HTTP functions have in common: headers that keep what they say out of caches, frames and other
//! pages; and a body that is asked for where it is missing.

use std::future::Future;
use std::sync::LazyLock;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use azure_functions_custom_handler::{HandlerError, HttpReply, NO_BODY, request_body};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

/// The style of every page: the only thing that a page of ours may load or run.
pub(crate) const STYLE: &str = "body{font:15px system-ui;margin:2em}table{border-collapse:collapse}th,td{padding:.3em .8em;\
     text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}";

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let style = data_encoding::BASE64.encode(&Sha256::digest(STYLE));
    HeaderValue::from_str(&format!("{NOTHING}; style-src 'sha256-{style}'"))
        .unwrap_or_else(|_| HeaderValue::from_static(NOTHING))
});

const FIXED: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// Every answer of a router gets the headers.
pub(crate) fn protected(router: Router) -> Router {
    router.layer(map_response(with_headers))
}

async fn with_headers(mut response: Response) -> Response {
    protect(response.headers_mut());
    response
}

/// The same for an answer that travels in an envelope.
pub(crate) async fn enveloped(
    reply: impl Future<Output = Result<HttpReply, HandlerError>>,
) -> Result<HttpReply, HandlerError> {
    let mut reply = reply.await?;
    protect(reply.response_mut().headers_mut());
    Ok(reply)
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
}

/// The JSON body of a request, or the answer that says what to send: `example`.
pub(crate) fn json_body<T: DeserializeOwned>(request: &Request<Bytes>, example: &str) -> Result<T, Box<HttpReply>> {
    let Some(body) = request_body(request) else { return Err(Box::new(refused(StatusCode::LENGTH_REQUIRED, NO_BODY))) };
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refused(StatusCode::BAD_REQUEST, &format!("body: {error}; send {example}"))))
}

pub(crate) fn refused(status: StatusCode, message: &str) -> HttpReply {
    HttpReply::json(status, &json!({ "error": message }))
}
