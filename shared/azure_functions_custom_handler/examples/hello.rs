//! A small function app: a queue function that greets, a timer, a plain HTTP route.
//!
//! ```text
//! FUNCTIONS_CUSTOMHANDLER_PORT=8080 cargo run -p azure_functions_custom_handler --example hello
//! curl -d '{"Data":{"msg":"V2Vpcg=="},"Metadata":{"DequeueCount":"1"}}' -H 'X-Azure-Functions-InvocationId: 1' \
//!      http://127.0.0.1:8080/greet
//! curl http://127.0.0.1:8080/api/hello/world
//! ```
//! Under a real host it needs `host.json` with `customHandler.description.defaultExecutablePath` (and
//! `enableForwardingHttpRequest` for the route), and a folder with a `function.json` for each of `greet` and `tick`.

use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use azure_functions_custom_handler::{
    Error, FunctionApp, HandlerError, Invocation, Limits, PORT_VARIABLE, QueueMessage, Reply, bind, exit, serve,
};

/// A queue message that is no text will not become one: it is handled, not failed, so that it is not retried.
async fn greet(invocation: Invocation, message: QueueMessage) -> Result<Reply, HandlerError> {
    let Ok(name) = std::str::from_utf8(&message.body) else {
        tracing::warn!(bytes = message.body.len(), "the message is not utf-8");
        return Ok(Reply::ok());
    };
    tracing::info!(delivery = message.dequeue_count, left = ?invocation.remaining(), "greeting");
    Ok(Reply::ok().output("greetings", vec![format!("hello, {name}")]).log("greeted"))
}

fn app() -> FunctionApp {
    FunctionApp::builder()
        .queue("greet", greet)
        .timer("tick", |_, timer| async move {
            tracing::info!(late = timer.is_past_due, "tick");
            Ok(Reply::ok())
        })
        .forwarded(Router::new().route("/api/hello/{name}", get(|Path(name): Path<String>| async move { name })))
        .limits(Limits { max_body_bytes: 1 << 20, max_concurrent: 8, deadline: Duration::from_secs(25) })
        .build()
}

async fn run(port: u16) -> Result<(), Error> {
    let listener = bind(port).await?;
    serve(app(), listener).await
}

#[tokio::main]
async fn main() -> ExitCode {
    // To stdout: the host takes stderr for errors.
    tracing_subscriber::fmt().with_ansi(false).init();
    #[expect(clippy::disallowed_methods, reason = "the crate reads no environment; the program that uses it does")]
    let port = std::env::var(PORT_VARIABLE).ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    if let Err(error) = run(port).await {
        tracing::error!("{error}");
    }
    // Never 0: the host would not start the handler again.
    ExitCode::from(exit::FAILURE)
}
