//! The [Azure Functions custom-handler] protocol: typed triggers, typed replies, an axum router.
//!
//! A custom handler is a small web server on the loopback address. The Functions host owns the triggers, posts each
//! event to `/<function>` as a JSON envelope and reads outputs from the answer. This crate decodes every trigger into
//! a Rust type, keeps the process alive whatever a handler does, and answers in the one form that the host accepts.
//!
//! ```no_run
//! # #[cfg(feature = "server")] mod app {
//! use azure_functions_custom_handler::{BlobEvent, FunctionApp, HandlerError, Reply, bind, serve};
//!
//! # async fn run() -> Result<(), azure_functions_custom_handler::Error> {
//! let app = FunctionApp::builder()
//!     // function.json: queueTrigger, dataType "binary"; an output binding of type queue called "tasks"
//!     .queue("ingest_blob", |invocation, message| async move {
//!         let event = BlobEvent::parse(&message.body).map_err(HandlerError::from_error)?;
//!         tracing::info!(container = event.container, left = ?invocation.remaining(), "blob created");
//!         Ok(Reply::ok().output("tasks", vec![format!("part 1 of {}", event.path)]))
//!     })
//!     // function.json: eventHubTrigger, cardinality "many", dataType "binary", an endless retry policy
//!     .event_hub("ingest_sensors", |_, batch| async move {
//!         for event in &batch.events {
//!             let _ = (event.sequence_number, &event.body);
//!         }
//!         Ok(Reply::ok())
//!     })
//!     .timer("maintain", |_, timer| async move { Ok(Reply::ok().log(format!("late: {}", timer.is_past_due))) })
//!     .build();
//!
//! serve(app, bind(8080).await?).await
//! # }
//! # }
//! ```
//!
//! # What it guarantees
//! - **Every request gets an answer**, with `Content-Type: application/json` and a body. (An empty 200 would hang in
//!   the host until `functionTimeout`, and then the host would kill the process.)
//! - **The process outlives its handlers.** Panics become a 500. At [`Limits::deadline`] the handler is dropped and the
//!   host gets a 500. `panic = "unwind"` is needed, which is the default.
//! - **Bounded memory**: body size and concurrent invocations are limited; requests that wait are not read.
//! - **Nothing is lost in decoding.** A body that should be base64 and is not is handed over as it came and marked.
//!   Metadata that is missing, malformed or of the wrong length is `None`, never a guess.
//! - **No payload in errors**: messages name the key and the position.
//!
//! # What the host does not tell you
//! - An Event Hub batch is checkpointed even if the function failed, unless `function.json` has a `retry` policy.
//!   Fail only for what a retry can mend.
//! - Use `dataType: "binary"` for queues and Event Hubs. Text is lossy, and the members of a JSON text overwrite the
//!   message's metadata.
//! - Set `functionTimeout` in `host.json` and a [`Limits::deadline`] below it.
//! - There is no shutdown signal but SIGKILL. A host that stops waits ten seconds for what runs; then a queue message has used
//!   up an attempt.
//! - The properties of a return value that is an object are copied over the outputs: one that is called like an output
//!   binding becomes that output. Names of outputs are matched exactly.
//! - Messages of a queue output are sent one by one within the invocation: thousands of them take minutes, and a failure in
//!   the middle leaves those before it in the queue.
//! - Never exit with 0; see [`exit`].
//!
//! # Features
//! `server`, on by default, brings the app, its router and its server, and with them axum and tokio. Without it the crate
//! decodes and encodes, for a server of your own or for tools:
//! ```
//! use azure_functions_custom_handler::{Answer as _, DataType, Envelope, QueueMessage, Reply, Trigger as _};
//!
//! let body = br#"{"Data":{"message":"aGVsbG8="},"Metadata":{"DequeueCount":"2"}}"#;
//! let message = QueueMessage::decode(&mut Envelope::parse(body)?, DataType::Binary)?;
//! assert_eq!((&message.body[..], message.dequeue_count), (&b"hello"[..], Some(2)));
//! let answer = Reply::ok().output("tasks", vec!["next".to_owned()]).encode()?;
//! assert_eq!(answer, r#"{"Outputs":{"tasks":["next"]},"Logs":[],"ReturnValue":null}"#);
//! # Ok::<(), azure_functions_custom_handler::Error>(())
//! ```
//!
//! The crate does not read the environment: pass the port from [`PORT_VARIABLE`].
//!
//! [Azure Functions custom-handler]: https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers

#![warn(missing_docs)]

#[cfg(feature = "server")]
mod app;
mod envelope;
mod error;
#[cfg(feature = "server")]
mod invocation;
#[cfg(feature = "server")]
mod large;
mod reply;
mod retry;
#[cfg(feature = "server")]
mod router;
#[cfg(feature = "server")]
mod stateful;
mod trigger;
mod wire;

#[cfg(test)]
mod tests;

#[cfg(feature = "server")]
pub use app::{FunctionApp, FunctionAppBuilder, Limits, bind, serve};
pub use envelope::{Binding, DataType, Envelope};
pub use error::{Error, ErrorKind, HandlerError};
#[cfg(feature = "server")]
pub use invocation::Invocation;
#[cfg(feature = "server")]
pub use large::LargeBody;
pub use reply::{Answer, HttpReply, Reply};
pub use retry::RetryContext;
#[cfg(feature = "server")]
pub use stateful::StatefulAppBuilder;
pub use trigger::{
    AbsentBody, BlobEvent, BlobEventKind, BlobPlace, Claim, Event, EventBatch, EventGridEvent, EventSchema, Identities,
    Identity, MAX_EVENTS, NO_BODY, QueueMessage, RouteParams, ScheduleStatus, SystemProperties, TimerInfo, Trigger,
    request_body,
};

/// The README's programs are compiled with the tests.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
mod readme {}

/// The environment variable in which the host gives the port to listen on.
pub const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The older name of [`PORT_VARIABLE`]; the host sets both.
pub const LEGACY_PORT_VARIABLE: &str = "FUNCTIONS_HTTPWORKER_PORT";
/// The environment variable with the id that the host gave this process; `FUNCTIONS_HTTPWORKER_ID` is the older name, and the
/// host sets both.
pub const WORKER_ID_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_WORKER_ID";
/// The environment variable with the app's root, the folder of `host.json`.
pub const APP_ROOT_VARIABLE: &str = "FUNCTIONS_APP_ROOT_PATH";

/// Exit codes as the host reads them. There is no code for success: a handler that exits with 0 is not started
/// again, and every later invocation fails to connect.
pub mod exit {
    /// Asks for a restart that is not counted as an error.
    pub const RESTART: u8 = 200;
    /// An error: restarted at once, without back-off, on the same port. The third shuts the host down, where each came within
    /// 30 minutes of the one before.
    pub const FAILURE: u8 = 1;
}
