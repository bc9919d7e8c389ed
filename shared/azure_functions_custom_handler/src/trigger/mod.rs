//! Typed triggers: the forms in which handlers see envelopes.

mod blob_event;
mod event_grid;
mod event_hub;
mod http_request;
mod queue;
mod system_properties;
mod timer;

use std::fmt;

use bytes::Bytes;

use crate::envelope::{DataType, Envelope};
use crate::error::Error;
#[cfg(feature = "server")]
use crate::large::LargeBody;

pub use blob_event::{BlobEvent, BlobEventKind, BlobPlace};
pub use event_grid::{EventGridEvent, EventSchema};
pub use event_hub::{Event, EventBatch, MAX_EVENTS};
pub use http_request::{AbsentBody, Claim, Identities, Identity, NO_BODY, RouteParams, request_body};
pub use queue::QueueMessage;
pub use system_properties::SystemProperties;
pub use timer::{ScheduleStatus, TimerInfo};

/// A type that a handler can take. Implement it for triggers that this crate does not know (Service Bus, Cosmos DB)
/// and register the function with [`FunctionAppBuilder::function`](crate::FunctionAppBuilder::function).
///
/// ```
/// use azure_functions_custom_handler::{DataType, Envelope, Error, Trigger};
///
/// /// A Service Bus message.
/// struct BusMessage {
///     text: String,
///     delivery_count: Option<u32>,
/// }
///
/// impl Trigger for BusMessage {
///     fn decode(envelope: &mut Envelope<'_>, _: DataType) -> Result<Self, Error> {
///         let text = envelope.trigger()?.text()?.into_owned();
///         Ok(Self { text, delivery_count: envelope.metadata("DeliveryCount") })
///     }
/// }
///
/// let body = br#"{"Data":{"message":"hello"},"Metadata":{"DeliveryCount":"1"}}"#;
/// let message = BusMessage::decode(&mut Envelope::parse(body)?, DataType::String)?;
/// assert_eq!((message.text.as_str(), message.delivery_count), ("hello", Some(1)));
/// # Ok::<(), Error>(())
/// ```
pub trait Trigger: Sized + Send + 'static {
    /// Reads the trigger's binding and metadata.
    ///
    /// # Errors
    /// [`Error::Envelope`] naming the key that makes the envelope unusable. Be lenient: the host will deliver the same
    /// envelope again or drop it, it will not mend it.
    fn decode(envelope: &mut Envelope<'_>, data_type: DataType) -> Result<Self, Error>;

    /// Whether a body above [`Limits::max_body_bytes`](crate::Limits::max_body_bytes) is taken in parts: the handler is then
    /// called for each of them, in order and one after the other, and the last answer is the invocation's. The first error
    /// ends it.
    const IN_PARTS: bool = false;

    /// Reads the next part; `None` after the last.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), or what reading the temporary file says.
    #[cfg(feature = "server")]
    fn next_part(_body: &mut LargeBody, _data_type: DataType) -> Result<Option<Self>, Error> {
        Ok(None)
    }
}

/// Shows a body's length in `Debug` output, because its content may be personal.
struct BodyLength<'a>(&'a Bytes);

impl fmt::Debug for BodyLength<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
