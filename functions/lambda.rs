//! Under AWS Lambda whoever passes the gateway writes the requests, so only the forwarded routes are there, and each asks
//! for a key. What the Functions host alone may call, and what needs its queues, is not there at all.

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use weir_platform::Secret;

/// The header in which Azure takes a function key; the query's `code` is not read, because addresses are logged.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-functions-key");

/// SHA-256 of the key; `None`: nobody is let in.
type KeyDigest = Option<[u8; 32]>;

/// The routes, each behind `WEIR_LAMBDA_KEY`.
pub(crate) fn guarded(routes: Router, key: Option<&Secret>) -> Router {
    let digest: KeyDigest = key.map(|key| Sha256::digest(key.reveal()).into());
    if digest.is_none() {
        tracing::error!("WEIR_LAMBDA_KEY is not set: every request is refused");
    }
    routes.route_layer(from_fn_with_state(digest, admit))
}

async fn admit(State(key): State<KeyDigest>, request: Request, next: Next) -> Response {
    let given = request.headers().get(KEY_HEADER).map(|given| Sha256::digest(given.as_bytes()));
    // Of digests, so that neither the length nor the first difference shows in the time.
    let admitted = key.zip(given).is_some_and(|(key, given)| bool::from(key.as_slice().ct_eq(given.as_slice())));
    if admitted {
        return next.run(request).await;
    }
    let message = "send the key of WEIR_LAMBDA_KEY in the header x-functions-key";
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": message }))).into_response()
}
