//! The log that the service stands on. It is somebody else's: the Functions host has one that survives restarts, and
//! [`MemoryLog`](crate::MemoryLog) is there for tests.

use std::fmt;

use bytes::Bytes;
use tokio::sync::watch;

/// One Event Hub: a fixed number of partitions, each an append-only sequence of events.
///
/// What an implementation must hold to:
/// - sequence numbers of a partition have no holes and begin anywhere; offsets rise with them; enqueued times never fall;
/// - an event is there for every reader once `append` has returned;
/// - events go from the old end only (`begin` rises), and never while `read` hands them out.
///
/// Calls may block on a file: the service makes them where blocking is allowed. A partition that does not exist is
/// never asked for.
pub trait HubLog: Send + Sync + fmt::Debug + 'static {
    /// Number of partitions, at least 1.
    fn partitions(&self) -> u32;

    /// Time at which the hub was made, in milliseconds since 1970.
    fn created_ms(&self) -> i64;

    /// Partition for an event that names none: one key, always one partition; without a key in turn.
    fn partition_for(&self, key: Option<&str>) -> u32;

    /// Stores events, all or none, in this order.
    ///
    /// # Errors
    /// [`LogError::Refused`] where an event is at fault, [`LogError::Broken`] where the log is.
    fn append(&self, partition: u32, events: Vec<NewEvent>) -> Result<(), LogError>;

    /// Reads events in order from `sequence`, or from the oldest that is there: at most `max_events`, and no more than about
    /// `max_bytes` unless the first is larger. Empty at the end.
    ///
    /// # Errors
    /// [`LogError::Broken`] when the log cannot be read.
    fn read(
        &self,
        partition: u32,
        sequence: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, LogError>;

    /// Finds the sequence number of the first event at a position: the oldest that qualifies, or the one after the last.
    ///
    /// # Errors
    /// [`LogError::Broken`] when the log cannot be read.
    fn seek(&self, partition: u32, position: Position) -> Result<u64, LogError>;

    /// Tells where a partition begins and ends.
    ///
    /// # Errors
    /// [`LogError::Broken`] when the log cannot be read.
    fn state(&self, partition: u32) -> Result<PartitionState, LogError>;

    /// Follows [`PartitionState::next_sequence`].
    fn watch(&self, partition: u32) -> watch::Receiver<u64>;
}

/// An event to store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// The key by which its sender chose the partition.
    pub partition_key: Option<String>,
    /// The event's content: the data of the AMQP message, or the text of a value.
    pub body: Bytes,
    /// The message's other sections as they were encoded, without what brokers write. It holds the body too where that
    /// is not one data section. Empty: nothing but a body.
    pub sections: Bytes,
}

impl NewEvent {
    /// An event with a body and nothing else.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Number in the partition, without holes.
    pub sequence: u64,
    /// Place in the partition; rises with `sequence`.
    pub offset: u64,
    /// Time at which it was stored, in milliseconds since 1970.
    pub enqueued_ms: i64,
    /// The key by which its sender chose the partition.
    pub partition_key: Option<String>,
    /// See [`NewEvent::body`].
    pub body: Bytes,
    /// See [`NewEvent::sections`].
    pub sections: Bytes,
}

/// Beginning and end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionState {
    /// Number of the oldest event that is there; `next_sequence` if there is none.
    pub begin_sequence: u64,
    /// Number that the next event gets.
    pub next_sequence: u64,
    /// Offset of the last event that was stored, expired or not.
    pub last_offset: Option<u64>,
    /// Time of that event, in milliseconds since 1970.
    pub last_enqueued_ms: Option<i64>,
}

impl PartitionState {
    /// True if no event is there, because none was stored or all have expired.
    pub fn is_empty(&self) -> bool {
        self.begin_sequence >= self.next_sequence
    }
}

/// Place in a partition at which a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At the oldest event.
    Earliest,
    /// After the last event.
    Latest,
    /// After the event with this number, or at it.
    Sequence {
        /// The sequence number.
        value: i64,
        /// At it, not after it.
        inclusive: bool,
    },
    /// After the event with this offset, or at it.
    Offset {
        /// The offset.
        value: i64,
        /// At it, not after it.
        inclusive: bool,
    },
    /// After events that were enqueued at this time, or at the first of them.
    Enqueued {
        /// The time, in milliseconds since 1970.
        milliseconds: i64,
        /// At it, not after it.
        inclusive: bool,
    },
}

impl Position {
    /// True if an event of these coordinates comes before the position, so that a reader does not get it.
    pub fn is_after(&self, sequence: u64, offset: u64, enqueued_ms: i64) -> bool {
        let before = |own: i64, value: i64, inclusive: bool| if inclusive { own < value } else { own <= value };
        match *self {
            Self::Earliest => false,
            Self::Latest => true,
            Self::Sequence { value, inclusive } => before(sequence as i64, value, inclusive),
            Self::Offset { value, inclusive } => before(offset as i64, value, inclusive),
            Self::Enqueued { milliseconds, inclusive } => before(enqueued_ms, milliseconds, inclusive),
        }
    }
}

/// An error of a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The event is at fault: too large, a key that is too long.
    #[error("{0}")]
    Refused(String),
    /// The log is at fault: the disk, most likely.
    #[error("{0}")]
    Broken(String),
}
