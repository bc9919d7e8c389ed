//! A local stand-in for the Azure Functions host, true to its source: it reads the same `host.json` and `function.json`
//! files, starts the same handler binary and speaks the same custom-handler protocol to it.
//!
//! Guarantees, each as the real host has it:
//! - envelopes are encoded as the host encodes them, and answers are accepted or refused as it does;
//! - queue messages are delivered at least once, retried, and parked in `<queue>-poison`;
//! - Event Hub batches come in order per partition; the checkpoint moves on whatever the outcome is, unless the
//!   function's retry policy says otherwise;
//! - a crashed handler is restarted at once on the same port, and the third crash, each within 30 minutes of the one
//!   before, stops the host; so does an error while a message is settled, and a change of the app's files;
//! - messages of an output are written one by one: what fails in the middle leaves those before it in the queue;
//! - a property of a return value that is called like an output binding becomes that output;
//! - queues, events, checkpoints and schedule status survive restarts and SIGKILL.
//!
//! Queues are journal files in the data directory, or those of a storage emulator on this machine (Azurite), as the app
//! settings of their connections say: `AzureWebJobsStorage=UseDevelopmentStorage=true`, or a connection string with a
//! loopback `QueueEndpoint`. A real account is refused: this host is no substitute for the real one.
//!
//! Where it differs, on purpose: an invocation that has timed out is reported, and its message settled, after the two
//! seconds that it still gets to answer, where the real host does so before; a change of the app's files stops this host
//! ([`Host::wants_restart`]), and whoever started it starts it again; an empty or `null` answer fails at once instead of hanging until `functionTimeout`;
//! a handler that exits with 0 is restarted; what `host.json` says and this host does not understand is an error.
//! It is checked against the host's source, not against a running one.
//!
//! The program `functions_host` (feature `cli`, on by default) runs an app from the command line; the README has both.
//!
//! ```no_run
//! # async fn run() -> Result<(), functions_host::HostError> {
//! use functions_host::{Host, HostConfig};
//!
//! let host = Host::start(HostConfig::of_app("dist/app", "target/dev")?).await?;
//! host.enqueue("tasks", b"{}".to_vec()).await?;
//! host.wait_idle(std::time::Duration::from_secs(30)).await?;
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod config;
mod envelope;
mod error;
mod files;
mod functions;
mod host;
mod host_config;
mod http;
mod invoke;
mod response;
mod state;
mod store;
mod supervisor;
mod trigger;

pub use error::{HostError, HostErrorKind};
pub use functions::{FunctionInfo, TriggerInfo};
pub use host::Host;
pub use host_config::HostConfig;
pub use invoke::{InvocationReport, TriggerDetail};
pub use store::{EventIn, MAX_EVENT, MAX_QUEUE_MESSAGE};
pub use supervisor::ChildOutput;

/// The README's programs are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// The queues by themselves, without a host: for tests and tools.
pub mod queues {
    pub use crate::config::QueueName;
    pub use crate::store::{Delivery, Queue, Queues};
}
