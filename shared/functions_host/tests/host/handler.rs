//! The handler under test is this test binary itself: the host starts it with `--exact handler::process`, and the port
//! in its environment turns that test into a server.
#![allow(clippy::disallowed_methods)] // the environment is how a handler learns its port

use std::path::{Path, PathBuf};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response},
    response::IntoResponse,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

/// Not a test of its own: without a port it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn process() {
    let Ok(port) = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT") else { return };
    let dir = PathBuf::from(std::env::var("TEST_DIR").unwrap());
    if dir.join("exit").exists() {
        std::process::exit(9);
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse().unwrap())).await.unwrap();
    let router = Router::new().fallback(move |request| answer(dir.clone(), request));
    axum::serve(listener, router).await.unwrap();
}

async fn answer(dir: PathBuf, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    match parts.uri.path() {
        "/" => "up".into_response(),
        "/api/plain" => {
            let length = header("content-length");
            let seen = format!("{} {} {:?} {}", parts.method, parts.uri, length, String::from_utf8_lossy(&body));
            (axum::http::StatusCode::IM_A_TEAPOT, [("x-seen", header("x-mine").unwrap_or_default())], seen)
                .into_response()
        }
        path => {
            assert_eq!(header("content-length"), None);
            assert_eq!(header("transfer-encoding").as_deref(), Some("chunked"));
            assert!(header("x-azure-functions-invocationid").is_some_and(|id| id.len() == 36));
            let envelope = serde_json::from_slice(&body).unwrap();
            run(&dir, path.trim_start_matches('/'), &envelope).await
        }
    }
}

async fn run(dir: &Path, function: &str, envelope: &Value) -> Response<Body> {
    let data = &envelope["Data"];
    let accepted = |answer: Value| axum::Json(answer).into_response();
    match function {
        "message" | "parked" | "parked_message" => match text(&data["msg"]).as_str() {
            "fail" => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "no").into_response(),
            "hang" => hang(dir, "message-hangs").await,
            "slow" => {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                accepted(json!({"ReturnValue": "slow"}))
            }
            "crash once" if once(dir, "crashed") => std::process::exit(7),
            "late once" if once(dir, "late") => {
                tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
                accepted(json!({"Outputs": {"tasks": ["late"]}}))
            }
            "receipt" => accepted(json!({"ReturnValue": {"tasks": ["not meant as messages"]}})),
            "wrong case" => accepted(json!({"Outputs": {"Tasks": ["dropped"]}})),
            "too large" => accepted(json!({"Outputs": {"tasks": ["first", "x".repeat(100_000), "last"]}})),
            "environment" => {
                let names = ["CUSTOMHANDLER_PORT", "CUSTOMHANDLER_WORKER_ID", "HTTPWORKER_PORT", "HTTPWORKER_ID"];
                let names =
                    names.iter().map(|name| format!("FUNCTIONS_{name}")).chain(["CARGO_MANIFEST_DIR".to_owned()]);
                let values: Vec<String> = names.map(|name| std::env::var(name).unwrap_or_default()).collect();
                accepted(json!({"ReturnValue": values}))
            }
            "null" => accepted(Value::Null),
            "fan" => accepted(json!({"Outputs": {"tasks": ["{\"a\":1}", "test"]}, "Logs": ["fanned"]})),
            body => accepted(json!({"ReturnValue": body})),
        },
        "events" => {
            if dir.join("hang-events").exists() {
                return hang(dir, "events-hang").await;
            }
            if once(dir, "crash-events") {
                std::process::exit(7);
            }
            if once(dir, "fail-events") || dir.join("fail-always").exists() {
                return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            let bodies: Vec<String> = serde_json::from_str(data["events"].as_str().unwrap()).unwrap();
            let texts: Vec<String> = bodies.iter().map(|body| text(&json!(body))).collect();
            accepted(json!({"ReturnValue": {"texts": texts, "retry": envelope["Metadata"]["RetryContext"]}}))
        }
        "tick" => accepted(json!({"ReturnValue": data["timer"]})),
        "web" => accepted(json!({
            "Outputs": {"res": {"statusCode": 201, "headers": {"x-own": "1"}, "body": data["req"]}, "tasks": ["from web"]},
        })),
        other => panic!("unknown function {other}"),
    }
}

/// Says that it hangs, then hangs for longer than any test lasts.
async fn hang(dir: &Path, sign: &str) -> Response<Body> {
    std::fs::write(dir.join(sign), "").unwrap();
    std::future::pending().await
}

/// True the first time, if the test has laid the file `name`.
fn once(dir: &Path, name: &str) -> bool {
    std::fs::remove_file(dir.join(name)).is_ok()
}

fn text(base64: &Value) -> String {
    String::from_utf8(BASE64.decode(base64.as_str().unwrap()).unwrap()).unwrap()
}
