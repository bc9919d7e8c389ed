use std::error::Error;

use azure_core_amqp::AmqpError;
use azure_core_amqp::error::{AmqpErrorCondition, AmqpErrorKind};
use azure_messaging_eventhubs::EventHubsError;
use azure_messaging_eventhubs::error::ErrorKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubErrorKind {
    /// The connection string cannot be used.
    Configuration,
    /// There is no such hub, group or partition.
    NotFound,
    /// The identity or the key may not read.
    Unauthorized,
    /// A reader with an epoch has the partition; in a group of its own this does not happen.
    Displaced,
    /// The same call may succeed later.
    Retryable,
}

/// Errors of reading a hub. They name the place, never what events hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    #[error("connection string of Event Hubs: {message}")]
    ConnectionString { message: String },
    #[error("event hub {place}: {source}")]
    Sdk { place: String, source: Box<EventHubsError> },
    #[error("event hub {place}: no answer within the limit of time, after {events} events")]
    Late { place: String, events: usize },
    #[error("event hub {place}: the stream of events ended")]
    Ended { place: String },
    #[error("event hub {place}: an event came without sequence number or enqueued time")]
    Unplaced { place: String },
}

impl HubError {
    pub fn kind(&self) -> HubErrorKind {
        match self {
            Self::ConnectionString { .. } => HubErrorKind::Configuration,
            Self::Sdk { source, .. } => kind_of(source),
            Self::Late { .. } | Self::Ended { .. } | Self::Unplaced { .. } => HubErrorKind::Retryable,
        }
    }
}

/// The condition may stand anywhere in the chain of causes, depending on what the SDK was doing.
fn kind_of(error: &EventHubsError) -> HubErrorKind {
    if matches!(error.kind, ErrorKind::ConsumerDisconnected(_)) {
        return HubErrorKind::Displaced;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    // An end, whatever points at whatever.
    for _ in 0..16 {
        let Some(error) = cause else { break };
        if let Some(kind) = error.downcast_ref::<AmqpError>().and_then(|error| of_amqp(error.kind())) {
            return kind;
        }
        cause = error.source();
    }
    HubErrorKind::Retryable
}

fn of_amqp(kind: &AmqpErrorKind) -> Option<HubErrorKind> {
    match kind {
        AmqpErrorKind::AmqpDescribedError(described) => match described.condition {
            AmqpErrorCondition::NotFound => Some(HubErrorKind::NotFound),
            AmqpErrorCondition::UnauthorizedAccess => Some(HubErrorKind::Unauthorized),
            AmqpErrorCondition::LinkStolen => Some(HubErrorKind::Displaced),
            _ => None,
        },
        AmqpErrorKind::ManagementStatusCode(status, _) => match u16::from(*status) {
            404 => Some(HubErrorKind::NotFound),
            401 | 403 => Some(HubErrorKind::Unauthorized),
            _ => None,
        },
        _ => None,
    }
}
