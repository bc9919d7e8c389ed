//! Batches of an Event Hub: readings of sensors, and a message in the queue `alarms` for each that is too hot.
//!
//! ```text
//! functions_host shared/azure_functions_custom_handler/examples/event_hub/app \
//!     --program target/debug/examples/event_hub
//! curl http://127.0.0.1:7071/eventhubs/readings/messages -d '{"sensor": "s1", "celsius": 91.5}'
//! ```
#![allow(clippy::disallowed_methods)] // `std::env::var`: a handler learns its port from the environment.

use std::process::ExitCode;

use azure_functions_custom_handler::{
    Error, EventBatch, FunctionApp, HandlerError, Invocation, PORT_VARIABLE, Reply, bind, exit, serve,
};
use serde::Deserialize;

const TOO_HOT: f64 = 90.0;

#[derive(Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
}

fn app() -> FunctionApp {
    FunctionApp::builder().event_hub("readings", readings).build()
}

/// Fails for nothing that a retry cannot mend: a batch that fails comes again, before all that is behind it.
async fn readings(invocation: Invocation, batch: EventBatch) -> Result<Reply, HandlerError> {
    let attempt = invocation.retry.map_or(0, |retry| retry.retry_count) + 1;
    let (mut alarms, mut unreadable) = (Vec::new(), 0_u32);
    for event in &batch.events {
        match serde_json::from_slice::<Reading>(&event.body) {
            Ok(reading) if reading.celsius > TOO_HOT => {
                alarms.push(format!("{} has {} °C", reading.sensor, reading.celsius));
            }
            Ok(_) => {}
            Err(_) => unreadable += 1,
        }
    }
    tracing::info!(partition = batch.partition, events = batch.events.len(), unreadable, attempt, "read");
    Ok(Reply::ok().output("alarms", alarms))
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
