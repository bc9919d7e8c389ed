//! The host's JSON, read leniently and without copies.
//!
//! The host double-encodes most values: a number arrives as `"41"`, a string as `"\"text\""`, an array as `"[1,2]"`;
//! older hosts and other senders use the native forms. Everything here accepts both. Each helper re-parses at most
//! once, so nesting cannot make it recurse; serde_json's own recursion limit stays on.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

/// Most members kept of one JSON object; the rest is skipped. The host merges user properties into `Metadata`, so the
/// number is not ours to choose, but an object of millions of keys must not become millions of allocations.
pub(crate) const MAX_MEMBERS: usize = 4096;

/// The members of a JSON object in order, their values left as borrowed, unparsed JSON text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(crate) fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The members of an object that may itself be wrapped in a JSON string. `scratch` holds the unwrapped text.
    pub(crate) fn unwrap(raw: &'a RawValue, scratch: &'a mut String) -> Option<Self> {
        if let Some(members) = Self::parse(raw.get()) {
            return Some(members);
        }
        *scratch = unescape(raw.get())?.into_owned();
        Self::parse(scratch)
    }

    /// .NET's binding data is case-insensitive, so look-ups are too; an exact match goes first.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let exact = self.0.iter().find(|(name, _)| name == key);
        exact.or_else(|| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))).map(|(_, raw)| *raw)
    }

    /// The member as `T`, in its native or its double-encoded form; `None` if absent, null or something else.
    pub(crate) fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        reparse(self.get(key)?)
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        text(self.get(key)?)
    }

    pub(crate) fn time(&self, key: &str) -> Option<DateTime<Utc>> {
        parse_time(&self.text(key)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| !name.eq_ignore_ascii_case(key));
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while members.len() < MAX_MEMBERS {
                    match map.next_entry::<String, &'de RawValue>()? {
                        Some(member) => members.push(member),
                        None => return Ok(Members(members)),
                    }
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Members(members))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Members::default())
            }
        }
        deserializer.deserialize_any(Collect)
    }
}

/// The content of a JSON string, borrowed when it holds no escapes; `None` when `json` is not a (valid) string.
pub(crate) fn unescape(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}

/// A string in its native or its double-encoded form, or a number's digits.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    let outer = scalar(raw)?;
    Some(unescape(&outer).map(Cow::into_owned).unwrap_or(outer))
}

/// A native string, or a number's digits.
pub(crate) fn scalar(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => unescape(raw.get()).map(Cow::into_owned),
        b'-' | b'0'..=b'9' => Some(raw.get().to_owned()),
        _ => None,
    }
}

/// One value in its native or its double-encoded form.
pub(crate) fn reparse<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    reparse_str(raw.get())
}

/// [`reparse`] for JSON text.
pub(crate) fn reparse_str<T: DeserializeOwned>(json: &str) -> Option<T> {
    let inner = unescape(json).and_then(|text| serde_json::from_str(&text).ok());
    inner.or_else(|| serde_json::from_str(json).ok())
}

/// Why [`elements`] gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrayError {
    NotAnArray,
    TooMany,
}

/// The elements of a JSON array as unparsed text, at most `max` of them.
pub(crate) fn elements(json: &str, max: usize) -> Result<Vec<&RawValue>, ArrayError> {
    struct Collect<'c>(usize, &'c Cell<ArrayError>);
    impl<'de> Visitor<'de> for Collect<'_> {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element::<&'de RawValue>()? {
                if elements.len() == self.0 {
                    self.1.set(ArrayError::TooMany);
                    return Err(de::Error::custom("too many elements"));
                }
                elements.push(element);
            }
            Ok(elements)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let reason = Cell::new(ArrayError::NotAnArray);
    let elements = deserializer.deserialize_seq(Collect(max, &reason));
    elements.and_then(|elements| deserializer.end().map(|()| elements)).map_err(|_| reason.get())
}

/// The host writes times with or without fraction and with or without offset; without one they are UTC.
/// .NET's `DateTime.MinValue` (year 1) stands for "never" and becomes `None`.
pub(crate) fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc));
    let time =
        zoned.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|t| t.and_utc())).ok()?;
    (time.year() > 1).then_some(time)
}
