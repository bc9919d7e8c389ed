//! Reads a JSON object key by key, so that every error names file and key and no key goes unnoticed.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive, path::Path, time::Duration};

use serde_json::{Map, Value};

use crate::error::HostError;

/// The largest `host.json` or `function.json` that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads and parses a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, HostError> {
    let size = std::fs::metadata(path).map_err(HostError::io("read", path))?.len();
    if size > MAX_FILE {
        let what = "a configuration file";
        return Err(HostError::TooLarge { what, size: size as usize, limit: MAX_FILE as usize });
    }
    let text = std::fs::read(path).map_err(HostError::io("read", path))?;
    serde_json::from_slice(&text).map_err(|error| HostError::Config {
        file: path.display().to_string(),
        key: format!("line {}", error.line()),
        problem: "is not JSON".to_owned(),
    })
}

/// One object of a configuration file. Ask for every key it may have, then call [`Section::finish`].
#[derive(Debug)]
pub(crate) struct Section<'a> {
    file: &'a str,
    path: String,
    map: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// Refuses keys that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), HostError> {
        let asked = self.asked.borrow();
        match self.map.keys().find(|key| !asked.contains(key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let known = asked.iter().copied().collect::<Vec<_>>().join(", ");
                Err(self.error(key, format!("is not understood; known keys: {known}")))
            }
        }
    }

    pub(crate) fn root(file: &'a str, value: &'a Value) -> Result<Self, HostError> {
        Self::at(file, String::new(), value)
    }

    pub(crate) fn at(file: &'a str, path: String, value: &'a Value) -> Result<Self, HostError> {
        match value {
            Value::Object(map) => Ok(Self { file, path, map, asked: RefCell::default() }),
            _ => Err(HostError::Config {
                file: file.to_owned(),
                key: if path.is_empty() { "the file".to_owned() } else { path },
                problem: "must be an object".to_owned(),
            }),
        }
    }

    /// Keys that mean something to the real host and nothing here.
    pub(crate) fn without_effect(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn section(&self, key: &'static str) -> Result<Option<Section<'a>>, HostError> {
        self.get(key).map(|value| Self::at(self.file, self.key(key), value)).transpose()
    }

    pub(crate) fn string(&self, key: &'static str) -> Result<Option<&'a str>, HostError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(crate) fn needed_string(&self, key: &'static str) -> Result<&'a str, HostError> {
        match self.string(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.error(key, "is needed")),
        }
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Result<Option<bool>, HostError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn array(&self, key: &'static str) -> Result<Option<&'a [Value]>, HostError> {
        self.typed(key, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    pub(crate) fn number(&self, key: &'static str, allowed: RangeInclusive<u32>) -> Result<Option<u32>, HostError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| allowed.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => {
                Err(self.error(key, format!("must be a whole number from {} to {}", allowed.start(), allowed.end())))
            }
        }
    }

    pub(crate) fn duration(&self, key: &'static str) -> Result<Option<Duration>, HostError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        time_span(text).map(Some).ok_or_else(|| self.error(key, "must be a time span as [d.]hh:mm:ss[.fffffff]"))
    }

    /// One of a few words, compared without regard to case as the host does.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>, HostError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                Err(self.error(key, format!("{text:?} is not understood; known: {known}")))
            }
        }
    }

    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> HostError {
        HostError::Config { file: self.file.to_owned(), key: self.key(key), problem: problem.into() }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, HostError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.error(key, format!("must be {expected}")))
    }
}

/// A .NET time span, `[d.]hh:mm:ss[.fffffff]`. Negative ones and days without a time are refused.
pub(crate) fn time_span(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let (head, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = match head.split_once('.') {
        Some((days, hours)) => (digits(days, 0..=10_000)?, hours),
        None => (0, head),
    };
    let (seconds, fraction) = match seconds.split_once('.') {
        Some((seconds, fraction)) => (seconds, fraction),
        None => (seconds, ""),
    };
    let ticks = match fraction {
        "" => 0,
        _ if fraction.len() <= 7 => digits(fraction, 0..=9_999_999)? * 10_u64.pow(7 - fraction.len() as u32),
        _ => return None,
    };
    let (hours, minutes, seconds) = (digits(hours, 0..=23)?, digits(minutes, 0..=59)?, digits(seconds, 0..=59)?);
    let whole = Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60 + seconds);
    Some(whole + Duration::from_nanos(ticks * 100))
}

fn digits(text: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| allowed.contains(n))
}
