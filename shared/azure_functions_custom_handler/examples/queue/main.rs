//! A queue function with a state and an output: for each name in the queue `names`, a greeting in the queue `greetings`.
//!
//! ```text
//! functions_host shared/azure_functions_custom_handler/examples/queue/app \
//!     --program target/debug/examples/queue
//! curl http://127.0.0.1:7071/queues/names/messages -d world
//! ```
#![allow(clippy::disallowed_methods)] // `std::env::var`: a handler learns its port from the environment.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use azure_functions_custom_handler::{
    Error, FunctionApp, HandlerError, Invocation, Limits, PORT_VARIABLE, QueueMessage, Reply, bind, exit, serve,
};

/// What all invocations share: clients, settings.
struct Shared {
    greeting: &'static str,
}

fn app() -> FunctionApp {
    FunctionApp::builder()
        .limits(Limits::default().with_max_body_bytes(1 << 20).with_deadline(Duration::from_secs(60)))
        .with_state(Arc::new(Shared { greeting: "hello" }))
        .queue("greet", greet)
        .build()
}

/// A message that is no text will not become one: it is handled, not failed, so that it is not retried.
async fn greet(shared: Arc<Shared>, invocation: Invocation, message: QueueMessage) -> Result<Reply, HandlerError> {
    let Ok(name) = std::str::from_utf8(&message.body) else {
        tracing::warn!(bytes = message.body.len(), "the message is not utf-8");
        return Ok(Reply::ok());
    };
    tracing::info!(delivery = message.dequeue_count, left = ?invocation.remaining(), "greeting");
    Ok(Reply::ok().output("greetings", vec![format!("{}, {name}", shared.greeting)]).log("greeted"))
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
