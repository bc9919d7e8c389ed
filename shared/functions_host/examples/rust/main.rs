//! A handler with one function of each kind, to run under `functions_host`:
//!
//! ```text
//! cargo build --example rust
//! functions_host shared/functions_host/examples/rust/app --program target/debug/examples/rust
//! ```
#![allow(clippy::disallowed_methods)] // `std::env::var`: a handler learns its port from the environment.

use std::process::ExitCode;

use axum::{Router, extract::Path, routing::get};
use azure_functions_custom_handler::{
    Error, EventBatch, FunctionApp, HandlerError, Invocation, PORT_VARIABLE, QueueMessage, Reply, TimerInfo, bind,
    exit, serve,
};

async fn greet(_: Invocation, message: QueueMessage) -> Result<Reply, HandlerError> {
    let name = String::from_utf8_lossy(&message.body);
    Ok(Reply::ok().output("greetings", vec![format!("hello, {name}")]).log(format!("greeted {name}")))
}

async fn readings(_: Invocation, batch: EventBatch) -> Result<Reply, HandlerError> {
    Ok(Reply::ok().log(format!("{} events", batch.events.len())))
}

async fn tick(_: Invocation, timer: TimerInfo) -> Result<Reply, HandlerError> {
    Ok(Reply::ok().log(format!("late: {}", timer.is_past_due)))
}

async fn hello(Path(name): Path<String>) -> String {
    format!("hello, {name}")
}

#[tokio::main]
async fn main() -> ExitCode {
    let app = FunctionApp::builder()
        .queue("greet", greet)
        .event_hub("readings", readings)
        .timer("tick", tick)
        .forwarded(Router::new().route("/api/hello/{name}", get(hello)));
    let port = std::env::var(PORT_VARIABLE).ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let served: Result<(), Error> = async { serve(app.build(), bind(port).await?).await }.await;
    drop(served);
    ExitCode::from(exit::FAILURE)
}
