//! System properties of events, which the broker has written: read when somebody asks, because mostly nobody does.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::wire;

/// The system properties of one event, by their names at the host.
#[derive(Clone, Default)]
pub struct SystemProperties(Held);

#[derive(Clone, Default)]
enum Held {
    #[default]
    Nothing,
    Own(Arc<Map<String, Value>>),
    OfBatch(Arc<OfBatch>, usize),
}

/// The array of a batch, as it came.
struct OfBatch {
    json: String,
    count: usize,
    read: OnceLock<Vec<Map<String, Value>>>,
}

impl SystemProperties {
    /// Properties of one's own making.
    pub fn new(properties: Map<String, Value>) -> Self {
        Self(Held::Own(Arc::new(properties)))
    }

    /// One for each of the `count` events of a batch. An array that is not as long as the batch gives nothing.
    pub(super) fn of_batch(array: &RawValue, count: usize) -> impl Iterator<Item = Self> {
        let batch = Arc::new(OfBatch { json: array.get().to_owned(), count, read: OnceLock::new() });
        (0..count).map(move |index| Self(Held::OfBatch(Arc::clone(&batch), index)))
    }

    /// The properties by name; empty when the host gave none.
    pub fn get(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        match &self.0 {
            Held::Nothing => &NONE,
            Held::Own(properties) => properties,
            Held::OfBatch(batch, index) => batch.read.get_or_init(|| batch.all()).get(*index).unwrap_or(&NONE),
        }
    }
}

impl OfBatch {
    fn all(&self) -> Vec<Map<String, Value>> {
        let text = wire::unescape(&self.json).unwrap_or(Cow::Borrowed(&self.json));
        match wire::elements(&text, self.count) {
            Ok(elements) if elements.len() == self.count => {
                elements.into_iter().map(|element| wire::reparse(element).unwrap_or_default()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Lets code that does not know this crate take the properties.
impl AsRef<Map<String, Value>> for SystemProperties {
    fn as_ref(&self) -> &Map<String, Value> {
        self.get()
    }
}

impl fmt::Debug for SystemProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // They may be personal.
        f.write_str("SystemProperties")
    }
}

impl PartialEq for SystemProperties {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}
