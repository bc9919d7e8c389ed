//! Records within what a line or a body holds: the elements of an array somewhere in it, or the object in one of its
//! fields.

use std::borrow::Cow;
use std::collections::HashSet;

use data_encoding::BASE64;
use weir_contract::{Format, pointer};

use super::scan::{Malformed, Scan, Token, elements};
use crate::error::{Result, TransformError};
use crate::fields::Fields;

const NOT_ONE_OBJECT: &str = "not one JSON object";

/// Where the records are.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The names that lead to an array of records, and the pointer that they are.
    records: Option<(Vec<String>, String)>,
    /// The field that holds the record.
    payload: Option<String>,
}

impl Shape {
    pub(crate) fn new(format: &Format) -> Result<Self> {
        let records = format.records.as_ref().map(|text| Ok((pointer(text)?, text.clone()))).transpose();
        let records = records.map_err(|problem: String| TransformError::Format(format!("`records` {problem}")))?;
        Ok(Self { records, payload: format.payload.clone() })
    }

    /// Whether a record is anything but the whole line or body.
    pub(crate) fn is_plain(&self) -> bool {
        self.records.is_none() && self.payload.is_none()
    }

    /// Whether each line or body is one record.
    pub(crate) fn keeps_count(&self) -> bool {
        self.records.is_none()
    }

    /// The records of one line or body, `most` at most.
    ///
    /// # Errors
    /// Why it has none.
    pub(crate) fn records<'t>(
        &self,
        fields: &Fields,
        text: &'t [u8],
        most: usize,
    ) -> std::result::Result<Vec<Cow<'t, [u8]>>, String> {
        let text = simdutf8::basic::from_utf8(text).map_err(|_| "not UTF-8")?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Some((names, pointer)) = &self.records {
            let missing = || format!("there is no array at `{pointer}`, where `[format] records` is to be");
            let array = find(fields, text, names).map_err(|Malformed| NOT_ONE_OBJECT)?.ok_or_else(missing)?;
            let records = elements(array, most).map_err(|Malformed| missing())?;
            if records.len() > most {
                return Err(format!("the array at `{pointer}` has more than {most} records"));
            }
            return Ok(records.into_iter().map(|record| Cow::Borrowed(record.text.as_bytes())).collect());
        }
        match &self.payload {
            Some(payload) => Ok(vec![Cow::Owned(unwrapped(fields, text, payload)?.into_bytes())]),
            None => Ok(vec![Cow::Borrowed(text.as_bytes())]),
        }
    }
}

fn is_named(fields: &Fields, name: &str, wanted: &str) -> bool {
    fields.key(name) == fields.key(wanted)
}

fn name_of(token: Token<'_>) -> std::result::Result<Cow<'_, str>, Malformed> {
    match token.content() {
        Some(name) => Ok(Cow::Borrowed(name)),
        None => serde_json::from_str::<String>(token.text).map(Cow::Owned).map_err(|_| Malformed),
    }
}

/// The text of the value that the names lead to. All of `text` is looked at: it has to be one sound object.
fn find<'t>(fields: &Fields, text: &'t str, names: &[String]) -> std::result::Result<Option<&'t str>, Malformed> {
    let Some((wanted, rest)) = names.split_first() else { return Ok(Some(text)) };
    if !text.trim_ascii_start().starts_with('{') {
        return if text.is_empty() { Err(Malformed) } else { Ok(None) };
    }
    let (mut scan, mut found) = (Scan::object(text)?, None);
    while let Some(name) = scan.name()? {
        let value = scan.value()?;
        if is_named(fields, &name_of(name)?, wanted) {
            found = Some(value.text);
        }
    }
    found.map_or(Ok(None), |value| find(fields, value, rest))
}

/// The object in the field, with the fields around it that columns ask for and it has not itself.
fn unwrapped(fields: &Fields, text: &str, payload: &str) -> std::result::Result<String, String> {
    let malformed = |Malformed| NOT_ONE_OBJECT.to_owned();
    let (mut scan, mut body, mut around) = (Scan::object(text).map_err(malformed)?, None, Vec::new());
    while let Some(name) = scan.name().map_err(malformed)? {
        let value = scan.value().map_err(malformed)?;
        let name = name_of(name).map_err(malformed)?;
        if is_named(fields, &name, payload) {
            body = Some(value);
        } else if fields.column(&name).is_some() || fields.paths.get(&name).is_some() {
            around.push((name, value.text));
        }
    }
    let body = body.ok_or_else(|| format!("there is no field `{payload}`, which `[format] payload` names"))?;
    let body = object_in(body).ok_or_else(|| format!("`{payload}` holds neither a JSON object nor base64 of one"))?;
    let none = |Malformed| format!("`{payload}` holds no sound JSON object");
    let (mut scan, mut own) = (Scan::object(&body).map_err(none)?, HashSet::new());
    while let Some(name) = scan.name().map_err(none)? {
        scan.value().map_err(none)?;
        own.insert(fields.key(&name_of(name).map_err(none)?).into_owned());
    }
    let mut record = body.trim_ascii_end().strip_suffix('}').unwrap_or_default().to_owned();
    let mut is_first = own.is_empty();
    for (name, value) in around.iter().filter(|(name, _)| !own.contains(&*fields.key(name))) {
        if !std::mem::take(&mut is_first) {
            record.push(',');
        }
        record.push_str(&super::quoted(name));
        record.push(':');
        record.push_str(value);
    }
    record.push('}');
    Ok(record)
}

/// An object, the text of one, or base64 of it.
fn object_in(value: Token<'_>) -> Option<Cow<'_, str>> {
    if value.text.starts_with('{') {
        return Some(Cow::Borrowed(value.text));
    }
    let text = if value.text.starts_with('"') { name_of(value).ok()? } else { return None };
    if text.trim_ascii_start().starts_with('{') {
        return Some(text);
    }
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.trim_ascii_start().starts_with('{').then_some(Cow::Owned(text))
}
