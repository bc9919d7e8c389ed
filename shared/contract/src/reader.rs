//! Typed reading of a TOML document with a place for every value and every error collected, none thrown.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use crate::error::{ContractError, ContractErrors, ErrorKind};
use crate::keys::{self, Section};

/// More than a person reads at once, and a bound on what a hostile file can make us say.
const MAX_ERRORS: usize = 100;

/// Where something stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: String,
    /// Byte offset.
    pub(crate) start: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> At<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), place: self.place }
    }
}

/// The errors found so far in one file.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
    errors: Vec<(usize, ContractError)>,
    omitted: usize,
}

impl<'t> Report<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(offset, _)| offset + 1)).collect();
        Self { file, text, line_starts, errors: Vec::new(), omitted: 0 }
    }

    pub(crate) fn add(&mut self, kind: ErrorKind, place: &Place, message: impl Into<String>) {
        self.add_with(kind, place, message, None);
    }

    pub(crate) fn add_with(
        &mut self,
        kind: ErrorKind,
        place: &Place,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if self.errors.len() == MAX_ERRORS {
            self.omitted += 1;
            return;
        }
        self.errors.push((place.start, self.error(kind, place, message.into(), suggestion)));
    }

    /// A value that is none of `candidates`. They are listed when none of them is near.
    pub(crate) fn unknown(&mut self, what: &str, value: &str, place: &Place, candidates: &[&str]) {
        let suggestion = keys::nearest(value, candidates.iter().copied()).map(str::to_owned);
        let message = match suggestion {
            Some(_) => format!("unknown {what} {}", quoted(value)),
            None => format!("unknown {what} {}: expected one of {}", quoted(value), listed(candidates)),
        };
        self.add_with(ErrorKind::InvalidValue, place, message, suggestion);
    }

    pub(crate) fn error(
        &self,
        kind: ErrorKind,
        place: &Place,
        message: String,
        suggestion: Option<String>,
    ) -> ContractError {
        let line = self.line(place.start);
        let line_start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(line_start..place.start).unwrap_or_default();
        let column = before.trim_start_matches('\u{feff}').chars().count() + 1;
        ContractError { kind, file: self.file.to_owned(), line, column, key: place.key.clone(), message, suggestion }
    }

    /// From 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors in the order of the file.
    pub(crate) fn into_errors(mut self) -> ContractErrors {
        self.errors.sort_by_key(|(start, _)| *start);
        ContractErrors::new(self.errors.into_iter().map(|(_, error)| error).collect(), self.omitted)
    }
}

/// One TOML table, its unknown keys already reported.
#[derive(Debug, Clone)]
pub(crate) struct Table<'a> {
    entries: &'a DeTable<'a>,
    pub(crate) place: Place,
}

impl<'a> Table<'a> {
    pub(crate) fn open(
        entries: &'a DeTable<'a>,
        place: Place,
        section: &'static Section,
        report: &mut Report<'_>,
    ) -> Self {
        let table = Self { entries, place };
        for key in table.entries.keys() {
            let name = key.get_ref();
            if section.keys.contains(&name.as_ref()) {
                continue;
            }
            let suggestion = section.meant(name);
            let message = match (&suggestion, section.header) {
                (Some(_), _) => "unknown key".to_owned(),
                (None, "") => format!("unknown key: expected one of {}", listed(section.keys)),
                (None, header) => format!("unknown key: {header} has {}", listed(section.keys)),
            };
            let place = Place { key: table.path(&clipped(name)), start: key.span().start };
            report.add_with(ErrorKind::UnknownKey, &place, message, suggestion);
        }
        table
    }

    /// Where the key stands (not its value), for errors about its presence.
    pub(crate) fn key_place(&self, key: &str) -> Option<Place> {
        let (spanned, _) = self.entries.get_key_value(key)?;
        Some(Place { key: self.path(key), start: spanned.span().start })
    }

    pub(crate) fn missing(&self, key: &str, message: impl Into<String>, report: &mut Report<'_>) {
        let place = Place { key: self.path(key), start: self.place.start };
        report.add(ErrorKind::MissingKey, &place, message);
    }

    pub(crate) fn text(&self, key: &str, report: &mut Report<'_>) -> Option<At<&'a str>> {
        let (value, place) = self.get(key)?;
        match value {
            DeValue::String(text) => Some(At { value: text, place }),
            other => wrong_type("a string", other, &place, report),
        }
    }

    pub(crate) fn required_text(&self, key: &str, report: &mut Report<'_>) -> Option<At<&'a str>> {
        if !self.entries.contains_key(key) {
            self.missing(key, format!("missing: {} needs a string `{key}`", self.name()), report);
        }
        self.text(key, report)
    }

    pub(crate) fn flag(&self, key: &str, report: &mut Report<'_>) -> Option<At<bool>> {
        let (value, place) = self.get(key)?;
        match value {
            DeValue::Boolean(value) => Some(At { value: *value, place }),
            other => wrong_type("true or false", other, &place, report),
        }
    }

    pub(crate) fn count(&self, key: &str, report: &mut Report<'_>) -> Option<At<u64>> {
        let (value, place) = self.get(key)?;
        let DeValue::Integer(number) = value else {
            return wrong_type("a whole number", value, &place, report);
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Some(At { value, place }),
            Err(_) => {
                report.add(ErrorKind::InvalidValue, &place, "must be a whole number, 0 or more, within 64 bits");
                None
            }
        }
    }

    /// A list of strings, `limits` of them; one string is a list of one. Empty when the key is absent.
    pub(crate) fn texts(&self, key: &str, limits: RangeInclusive<usize>, report: &mut Report<'_>) -> Vec<At<&'a str>> {
        let Some((value, place)) = self.get(key) else { return Vec::new() };
        let entries = match value {
            DeValue::String(text) => return vec![At { value: text, place }],
            DeValue::Array(entries) => entries,
            other => return wrong_type("a list of strings", other, &place, report).unwrap_or_default(),
        };
        check_entries(entries.len(), &limits, &place, report);
        let mut texts = Vec::new();
        for (index, entry) in entries.iter().take(*limits.end()).enumerate() {
            let place = Place { key: format!("{}[{index}]", place.key), start: entry.span().start };
            match entry.get_ref() {
                DeValue::String(text) => texts.push(At { value: text.as_ref(), place }),
                other => drop(wrong_type::<()>("a string", other, &place, report)),
            }
        }
        texts
    }

    /// One of `choices`; `what` names the thing in the error.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &str,
        what: &str,
        choices: &[(&str, T)],
        report: &mut Report<'_>,
    ) -> Option<At<T>> {
        let text = self.text(key, report)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.value) {
            return Some(At { value: *value, place: text.place });
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        report.unknown(what, text.value, &text.place, &names);
        None
    }

    /// As `choice`, and the key must be there.
    pub(crate) fn required_choice<T: Copy>(
        &self,
        key: &str,
        what: &str,
        choices: &[(&str, T)],
        report: &mut Report<'_>,
    ) -> Option<At<T>> {
        if !self.entries.contains_key(key) {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.missing(key, format!("missing: {} needs `{key}`, one of {}", self.name(), listed(&names)), report);
        }
        self.choice(key, what, choices, report)
    }

    pub(crate) fn table(&self, key: &str, section: &'static Section, report: &mut Report<'_>) -> Option<Table<'a>> {
        let (entries, place) = self.entries_of(key, report)?;
        Some(Table::open(entries, place, section, report))
    }

    /// The raw entries of a table with free keys.
    pub(crate) fn entries_of(&self, key: &str, report: &mut Report<'_>) -> Option<(&'a DeTable<'a>, Place)> {
        let (value, place) = self.get(key)?;
        match value {
            DeValue::Table(entries) => Some((entries, place)),
            other => wrong_type("a table", other, &place, report),
        }
    }

    /// The tables of a `[[key]]` list, `limits` of them. Empty when the key is absent.
    pub(crate) fn tables(
        &self,
        key: &str,
        section: &'static Section,
        limits: RangeInclusive<usize>,
        report: &mut Report<'_>,
    ) -> Vec<Table<'a>> {
        let Some((value, place)) = self.get(key) else { return Vec::new() };
        let DeValue::Array(entries) = value else {
            let message = format!("expected a list of tables ({}), found {}", section.header, kind_of(value));
            report.add(ErrorKind::WrongType, &place, message);
            return Vec::new();
        };
        check_entries(entries.len(), &limits, &place, report);
        let mut tables = Vec::new();
        for (index, entry) in entries.iter().take(*limits.end()).enumerate() {
            let place = Place { key: format!("{}[{index}]", place.key), start: entry.span().start };
            match entry.get_ref() {
                DeValue::Table(entries) => tables.push(Table::open(entries, place, section, report)),
                other => drop(wrong_type::<()>("a table", other, &place, report)),
            }
        }
        tables
    }

    pub(crate) fn get(&self, key: &str) -> Option<(&'a DeValue<'a>, Place)> {
        let value = self.entries.get(key)?;
        Some((value.get_ref(), Place { key: self.path(key), start: value.span().start }))
    }

    fn path(&self, key: &str) -> String {
        if self.place.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place.key) }
    }

    fn name(&self) -> Cow<'_, str> {
        if self.place.key.is_empty() { "a contract".into() } else { format!("`{}`", self.place.key).into() }
    }
}

fn check_entries(count: usize, limits: &RangeInclusive<usize>, place: &Place, report: &mut Report<'_>) {
    let most = limits.end();
    if count > *most {
        report.add(ErrorKind::TooLarge, place, format!("has {count} entries: at most {most} are allowed"));
    } else if !limits.contains(&count) {
        report.add(ErrorKind::InvalidValue, place, "is empty: at least one is needed");
    }
}

pub(crate) fn check_bytes(text: &str, limit: usize, place: &Place, report: &mut Report<'_>) {
    if text.len() > limit {
        report.add(ErrorKind::TooLarge, place, format!("has {} bytes: at most {limit} are allowed", text.len()));
    }
}

fn wrong_type<T>(expected: &str, found: &DeValue<'_>, place: &Place, report: &mut Report<'_>) -> Option<T> {
    report.add(ErrorKind::WrongType, place, format!("expected {expected}, found {}", kind_of(found)));
    None
}

pub(crate) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date-time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// In back-ticks, one line, of bounded length.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", clipped(text))
}

fn clipped(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(shown_as).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn shown_as(character: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = match character.is_control() {
        false => (Some(character), None),
        true => (None, Some(character.escape_default())),
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
