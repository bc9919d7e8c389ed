//! HTTP functions, of both kinds that the host knows. `hello` is forwarded: an axum route. `order` is enveloped, because it
//! has an output beside its response: a message for the queue `orders`.
//!
//! ```text
//! functions_host shared/azure_functions_custom_handler/examples/http/app \
//!     --program target/debug/examples/http
//! curl http://127.0.0.1:7071/api/hello/world
//! ```
#![allow(clippy::disallowed_methods)] // `std::env::var`: a handler learns its port from the environment.

use std::process::ExitCode;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use azure_functions_custom_handler::{
    Error, FunctionApp, HandlerError, HttpReply, Invocation, NO_BODY, PORT_VARIABLE, RouteParams, bind, exit,
    request_body, serve,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

fn app() -> FunctionApp {
    FunctionApp::builder().http("order", order).forwarded(Router::new().route("/api/hello/{name}", get(hello))).build()
}

async fn hello(Path(name): Path<String>) -> String {
    format!("hello, {name}")
}

async fn order(invocation: Invocation, request: Request<Bytes>) -> Result<HttpReply, HandlerError> {
    let Some(body) = request_body(&request) else {
        return Ok(HttpReply::json(StatusCode::LENGTH_REQUIRED, &json!({ "error": NO_BODY })));
    };
    let Ok(wanted) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Ok(HttpReply::json(StatusCode::BAD_REQUEST, &json!({ "error": "the body is not JSON" })));
    };
    let customer = request.extensions().get::<RouteParams>().and_then(|params| params.0.get("customer")).cloned();
    let task = json!({ "id": invocation.id, "customer": customer, "order": wanted }).to_string();
    Ok(HttpReply::json(StatusCode::ACCEPTED, &json!({ "id": invocation.id })).output("orders", vec![task]))
}

#[tokio::main]
async fn main() -> ExitCode {
    // To stdout: the host takes stderr for errors.
    tracing_subscriber::fmt().with_ansi(false).init();
    let port = std::env::var(PORT_VARIABLE).ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    if let Err(error) = run(port).await {
        tracing::error!("{error}");
    }
    // Never 0: the host would not start the handler again.
    ExitCode::from(exit::FAILURE)
}

async fn run(port: u16) -> Result<(), Error> {
    serve(app(), bind(port).await?).await
}
