//! Requests as the host sends them.

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// As the host posts it.
pub(super) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json; charset=utf-8")
        .header("X-Azure-Functions-InvocationId", "b2b0ba3f-0000-4000-8000-000000000001")
        .body(body.into())
        .unwrap()
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

/// Status and JSON body; panics when the host would not accept the answer's form.
pub(super) async fn read(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

pub(super) async fn call(router: &Router, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    read(send(router, post(path, body)).await).await
}
