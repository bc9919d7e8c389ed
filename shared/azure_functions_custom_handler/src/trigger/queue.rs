//! `queueTrigger`: one storage queue message.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{BodyLength, Trigger};
use crate::envelope::{Body, DataType, Envelope};
use crate::error::Error;

/// A storage queue message. Everything but the body is optional, because the host swallows errors in metadata.
///
/// With a *string* `dataType` the host merges the members of a JSON body into the metadata (an event's `id` replaces
/// the message's). What may have been replaced is `None` here.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueMessage {
    /// The message's bytes, base64 taken off.
    pub body: Bytes,
    /// The body was to be base64 and was not; `body` is then the text as it came.
    pub body_encoding_error: bool,
    /// The message's id in its queue.
    pub id: Option<String>,
    /// Deliveries so far, this one included. After `maxDequeueCount` failures the host moves the message to
    /// `<queue>-poison`.
    pub dequeue_count: Option<u32>,
    /// When the message was put into the queue.
    pub insertion_time: Option<DateTime<Utc>>,
    /// When the queue drops the message.
    pub expiration_time: Option<DateTime<Utc>>,
    /// When the message is visible again, unless it is deleted or renewed before.
    pub next_visible_time: Option<DateTime<Utc>>,
    /// The ticket with which this delivery's holder deletes or renews the message.
    pub pop_receipt: Option<String>,
}

impl QueueMessage {
    /// A message with a body and no metadata, for tests of handlers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

impl Trigger for QueueMessage {
    fn decode(envelope: &mut Envelope<'_>, data_type: DataType) -> Result<Self, Error> {
        let binding = envelope.trigger()?;
        let text = binding.text()?;
        let mut body = Vec::new();
        let body_encoding_error = if binding.json().starts_with('"') {
            let decoded = Body::of(&text, data_type);
            if let Body::Text(text) = &decoded {
                envelope.distrust_merged(text);
            }
            decoded.append_to(&mut body)
        } else {
            body.extend_from_slice(text.as_bytes());
            false
        };
        let metadata = envelope.metadata_members();
        Ok(Self {
            body: Bytes::from(body),
            body_encoding_error,
            id: metadata.text("Id"),
            dequeue_count: metadata.read("DequeueCount"),
            insertion_time: metadata.time("InsertionTime"),
            expiration_time: metadata.time("ExpirationTime"),
            next_visible_time: metadata.time("NextVisibleTime"),
            pop_receipt: metadata.text("PopReceipt"),
        })
    }
}

/// The pop receipt lets its holder delete the message, and the body may be personal: neither is shown.
impl fmt::Debug for QueueMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueMessage")
            .field("body", &BodyLength(&self.body))
            .field("body_encoding_error", &self.body_encoding_error)
            .field("id", &self.id)
            .field("dequeue_count", &self.dequeue_count)
            .field("insertion_time", &self.insertion_time)
            .finish_non_exhaustive()
    }
}
