//! The request envelope `{"Data":{…},"Metadata":{…}}`, borrowed from the request body: one scan, no copy.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::retry::RetryContext;
use crate::wire::{self, Members};

/// Standard alphabet; padding optional, because not every producer writes it.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `dataType` of the trigger in `function.json`. The wire does not carry it, and a text may look like base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DataType {
    /// Bodies arrive as base64. Use it wherever you can: it is the one lossless form, and the host then leaves
    /// `Metadata` alone.
    #[default]
    Binary,
    /// Bodies arrive as text (UTF-8 with replacement characters for what was not UTF-8).
    String,
}

/// One invocation's envelope. Give it to a [`Trigger`](crate::Trigger) to get a typed value.
#[derive(Debug)]
pub struct Envelope<'a> {
    data: Members<'a>,
    metadata: Members<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads the two halves of an envelope.
    ///
    /// # Errors
    /// [`Error::Envelope`] naming the key (`Data`, `Metadata` or the envelope itself) and the line and column.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let at = Cell::new("envelope");
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let parsed =
            TopLevel { at: &at }.deserialize(&mut deserializer).and_then(|top| deserializer.end().map(|()| top));
        // serde_json's own text may quote the payload; only the position is repeated.
        let (data, metadata) = parsed.map_err(|error| {
            let what = if error.is_data() { "is not a json object" } else { "is not valid json" };
            Error::envelope(at.get(), format!("{what} (line {}, column {})", error.line(), error.column()))
        })?;
        let data = data.ok_or_else(|| Error::envelope("Data", "is missing"))?;
        Ok(Self { data, metadata })
    }

    /// The trigger's binding: the host puts it first in `Data`, before the input bindings.
    ///
    /// # Errors
    /// [`Error::Envelope`] when `Data` is empty.
    pub fn trigger(&self) -> Result<Binding<'a>, Error> {
        let first = self.data.iter().next().map(|(name, raw)| Binding { name: name.to_owned(), json: raw.get() });
        first.ok_or_else(|| Error::envelope("Data", "holds no binding"))
    }

    /// Iterates over the input bindings: everything in `Data` but the trigger.
    pub fn inputs(&self) -> impl Iterator<Item = Binding<'a>> {
        self.data.iter().skip(1).map(|(name, raw)| Binding { name: name.to_owned(), json: raw.get() })
    }

    /// A metadata value in its native or its double-encoded form. Keys are matched without regard to case.
    /// `None` if it is absent or not a `T`: the host swallows errors when it adds metadata, so everything is optional.
    #[must_use]
    pub fn metadata<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.metadata.read(key)
    }

    /// The retry policy's count, on every attempt of a function that has such a policy. Read it after the trigger is
    /// decoded: an HTTP caller can write metadata, and decoding an HTTP request forgets what he wrote.
    #[must_use]
    pub fn retry(&self) -> Option<RetryContext> {
        RetryContext::read(self)
    }

    pub(crate) fn metadata_members(&self) -> &Members<'a> {
        &self.metadata
    }

    /// Forgets a metadata key that whoever sent the request may have set.
    pub(crate) fn distrust(&mut self, key: &str) {
        self.metadata.remove(key);
    }

    /// Forgets the metadata that a *string* body has overwritten: the host merges each top-level member of a JSON
    /// object (unless null or an array) into `Metadata`, so that an event's `id` replaces the message's `Id`.
    pub(crate) fn distrust_merged(&mut self, body: &str) {
        let Some(members) = Members::parse(body) else { return };
        for (key, raw) in members.iter() {
            if !raw.get().starts_with(['[', 'n']) {
                self.metadata.remove(key);
            }
        }
    }
}

/// One entry of `Data`: its name and its value as JSON text.
#[derive(Clone)]
pub struct Binding<'a> {
    name: String,
    json: &'a str,
}

impl<'a> Binding<'a> {
    /// The binding's name in `function.json`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value as it stood in the envelope.
    #[must_use]
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// The content of a string value, the JSON text of any other one.
    ///
    /// # Errors
    /// [`Error::Envelope`] when the value is null or a string with invalid escapes.
    pub fn text(&self) -> Result<Cow<'a, str>, Error> {
        match self.json.as_bytes().first() {
            Some(b'"') => wire::unescape(self.json).ok_or_else(|| self.error("is a string with an invalid escape")),
            Some(b'n') | None => Err(self.error("is null")),
            Some(_) => Ok(Cow::Borrowed(self.json)),
        }
    }

    /// An error about this binding. Say what is wrong, never the value.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::envelope(format!("Data.{}", self.name), problem)
    }
}

impl fmt::Debug for Binding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("name", &self.name).field("json_len", &self.json.len()).finish()
    }
}

/// The body of one message or event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// Still to be decoded into the caller's buffer.
    Base64(&'a str),
    Text(Cow<'a, str>),
}

impl<'a> Body<'a> {
    /// Which of the two a string value holds. Base64 never starts with a quote, so the quoted form of a text is
    /// recognised even where binary was expected; only an unquoted text needs `data_type` to tell.
    pub(crate) fn of(text: &'a str, data_type: DataType) -> Self {
        match wire::unescape(text) {
            Some(inner) => Self::Text(inner),
            None if data_type == DataType::Binary => Self::Base64(text),
            None => Self::Text(Cow::Borrowed(text)),
        }
    }

    /// Appends the bytes; `true` when it was no base64 after all, in which case the text itself was appended so that
    /// nothing is lost.
    pub(crate) fn append_to(&self, buffer: &mut Vec<u8>) -> bool {
        match self {
            Self::Base64(text) => append_base64(text, buffer),
            Self::Text(text) => {
                buffer.extend_from_slice(text.as_bytes());
                false
            }
        }
    }
}

/// Appends what `text` encodes, or `text` itself and `true` when it is not base64.
pub(crate) fn append_base64(text: &str, buffer: &mut Vec<u8>) -> bool {
    let start = buffer.len();
    let failed = BASE64.decode_vec(text, buffer).is_err();
    if failed {
        buffer.truncate(start);
        buffer.extend_from_slice(text.as_bytes());
    }
    failed
}

/// Reads both halves in one pass and remembers in `at` where it is, so that an error can name the key.
struct TopLevel<'k> {
    at: &'k Cell<&'static str>,
}

type Halves<'de> = (Option<Members<'de>>, Members<'de>);

impl<'de> DeserializeSeed<'de> for TopLevel<'_> {
    type Value = Halves<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = Halves<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Data and Metadata")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let (mut data, mut metadata) = (None, Members::default());
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("Data") {
                self.at.set("Data");
                data = Some(map.next_value()?);
            } else if key.eq_ignore_ascii_case("Metadata") {
                self.at.set("Metadata");
                metadata = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.at.set("envelope");
        }
        Ok((data, metadata))
    }
}

/// A raw value's text when it is a string, its JSON otherwise; invalid escapes leave the JSON as it stands.
pub(crate) fn lenient_text(raw: &RawValue) -> (Cow<'_, str>, bool) {
    match wire::unescape(raw.get()) {
        Some(text) => (text, true),
        None => (Cow::Borrowed(raw.get()), false),
    }
}
