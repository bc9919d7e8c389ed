//! A timer.
//!
//! ```text
//! functions_host shared/azure_functions_custom_handler/examples/timer/app \
//!     --program target/debug/examples/timer
//! ```
#![allow(clippy::disallowed_methods)] // `std::env::var`: a handler learns its port from the environment.

use std::process::ExitCode;

use azure_functions_custom_handler::{
    Error, FunctionApp, HandlerError, Invocation, PORT_VARIABLE, Reply, TimerInfo, bind, exit, serve,
};

fn app() -> FunctionApp {
    FunctionApp::builder().timer("tick", tick).build()
}

async fn tick(_: Invocation, timer: TimerInfo) -> Result<Reply, HandlerError> {
    let next = timer.schedule_status.and_then(|status| status.next);
    let next = next.map_or("unknown".to_owned(), |next| next.to_rfc3339());
    Ok(Reply::ok().log(format!("late: {}, next: {next}", timer.is_past_due)))
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
