//! A local stand-in for Azure Event Hubs: what its SDKs speak, AMQP 1.0, in front of a partitioned append log.
//!
//! Guarantees:
//! - an event is in the log before its producer is told so, and a batch is there as a whole or not at all;
//! - a reader gets every event from its position on, in order, once per attach, with all that its producer wrote;
//! - readers with epochs displace one another as Event Hubs has it;
//! - memory is bounded for each connection, and no bytes from outside make the service panic;
//! - it speaks plain text, so it listens on loopback only.
//!
//! The log is a [`HubLog`], so that a program that has events already can serve those; [`MemoryLog`] is one for tests. Where it differs
//! from Event Hubs: any consumer group is there, there is no throttling unless [`Faults`] orders it, and nothing but
//! `READ` is managed. It is checked with the Rust and the Python SDK, not against Azure.
//!
//! ```no_run
//! # async fn run() -> Result<(), event_hubs_service::ServiceError> {
//! use std::sync::Arc;
//! use event_hubs_service::{EventHubsService, HubLog, MemoryLog, ServiceConfig};
//!
//! let hub: Arc<dyn HubLog> = Arc::new(MemoryLog::new(4));
//! let config = ServiceConfig::new(([127, 0, 0, 1], 0).into());
//! let service = EventHubsService::start(config, [("sensors".to_owned(), hub)]).await?;
//! let _for_clients = service.connection_string();
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod address;
mod amqp;
mod connection;
mod error;
mod faults;
mod limits;
mod log;
mod memory;
mod readers;
mod sas;
mod service;

pub use amqp::properties::{Property, properties};
pub use error::{ErrorKind, ServiceError};
pub use faults::Faults;
pub use limits::{MAX_MESSAGE, MAX_PARTITION_KEY};
pub use log::{HubLog, LogError, NewEvent, PartitionState, Position, StoredEvent};
pub use memory::{MemoryLog, Retention, stable_hash};
pub use sas::SharedAccessKey;
pub use service::{EventHubsService, ServiceConfig, connection_string};

/// The README's programs are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
