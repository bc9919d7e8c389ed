//! One datum after the other, into lines of JSON.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;

use chrono::{DateTime, Days, NaiveDate};
use data_encoding::BASE64;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::schema::{Number, Record, Schema, Schemas};

/// Deeper data is damage: a recursive schema lets a few bytes nest without end.
const MAX_DEPTH: usize = 100;

/// The field that holds the record, and which of the others columns ask for.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) body: usize,
    pub(crate) wanted: Vec<bool>,
}

/// The bytes do not fit the schema.
#[derive(Debug)]
pub(crate) struct Damaged;

type Result<T> = std::result::Result<T, Damaged>;

pub(crate) struct Cursor<'d> {
    bytes: &'d [u8],
    at: usize,
}

impl<'d> Cursor<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'d [u8]> {
        let taken = self.bytes[self.at..].get(..count).ok_or(Damaged)?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Damaged)
    }

    #[inline]
    fn long(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Damaged)
    }

    fn int(&mut self) -> Result<i32> {
        i32::try_from(self.long()?).map_err(|_| Damaged)
    }

    fn number(&mut self, number: Number) -> Result<i64> {
        match number {
            Number::Int => self.int().map(i64::from),
            Number::Long => self.long(),
        }
    }

    fn bytes(&mut self) -> Result<&'d [u8]> {
        let length = usize::try_from(self.long()?).map_err(|_| Damaged)?;
        self.take(length)
    }

    fn branch<'s>(&mut self, branches: &'s [Schema]) -> Result<&'s Schema> {
        let index = usize::try_from(self.long()?).map_err(|_| Damaged)?;
        branches.get(index).ok_or(Damaged)
    }

    /// How many items the next block of an array or a map has; 0 ends it. Every item is taken for one byte at least: an
    /// array of nulls could say any number.
    fn items(&mut self) -> Result<usize> {
        let mut count = self.long()?;
        if count < 0 {
            self.long()?; // its bytes
            count = count.checked_neg().ok_or(Damaged)?;
        }
        usize::try_from(count).ok().filter(|count| *count <= self.left()).ok_or(Damaged)
    }
}

/// Lines of JSON. What of a line is beyond the limit is not kept, but one byte, which makes it too long.
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Where the current line began.
    start: usize,
    limit: usize,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, limit }
    }

    pub(crate) fn len(&self) -> usize {
        self.start
    }

    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.start);
        self.bytes
    }

    /// Adds one datum's line, or nothing.
    pub(crate) fn datum(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        texts: &[bool],
        envelope: Option<&Envelope>,
    ) -> Result<()> {
        self.bytes.truncate(self.start);
        match envelope {
            None => self.object(cursor, schemas, schemas.top(), Some(texts), 0)?,
            Some(envelope) => self.enveloped(cursor, schemas, texts, envelope)?,
        }
        self.bytes.truncate(self.start + self.limit + 1);
        self.bytes.push(b'\n');
        self.start = self.bytes.len();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = (self.start + self.limit + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Without allocation for what is short.
    fn show(&mut self, value: impl fmt::Display) {
        let at = self.bytes.len();
        if at <= self.start + self.limit && write!(self.bytes, "{value}").is_err() {
            self.bytes.truncate(at);
        }
    }

    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        record: &Record,
        texts: Option<&[bool]>,
        depth: usize,
    ) -> Result<()> {
        self.put(b"{");
        for (index, field) in record.fields.iter().enumerate() {
            if index > 0 {
                self.put(b",");
            }
            self.string(field.name.as_bytes());
            self.put(b":");
            let is_text = texts.is_some_and(|texts| texts.get(index).copied().unwrap_or_default());
            self.value(cursor, schemas, &field.schema, is_text, depth)?;
        }
        self.put(b"}");
        Ok(())
    }

    /// The object in the body, and those fields around it that are columns and that the body has not itself.
    fn enveloped(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        texts: &[bool],
        envelope: &Envelope,
    ) -> Result<()> {
        let mut body: &[u8] = b"";
        let mut around: Vec<(&str, Lines)> = Vec::new();
        for (index, field) in schemas.top().fields.iter().enumerate() {
            if index == envelope.body {
                body = match &field.schema {
                    Schema::Union(branches) => match cursor.branch(branches)? {
                        Schema::Null => b"",
                        _ => cursor.bytes()?,
                    },
                    Schema::Null => b"",
                    _ => cursor.bytes()?,
                };
                continue;
            }
            let mut value = Lines::new(self.limit);
            value.value(cursor, schemas, &field.schema, texts.get(index).copied().unwrap_or_default(), 0)?;
            if envelope.wanted.get(index).copied().unwrap_or_default() {
                around.push((&field.name, value));
            }
        }
        let body = body.trim_ascii();
        let names: Vec<&str> = around.iter().map(|(name, _)| *name).collect();
        let given = top_level_names(body, &names);
        let begin = self.bytes.len();
        match given {
            // The decoder of the lines refuses it.
            None => self.put(if body.is_empty() { b"null" } else { body }),
            Some(given) => {
                self.put(b"{");
                for (name, value) in around.iter().filter(|(name, _)| !given.contains(*name)) {
                    self.string(name.as_bytes());
                    self.put(b":");
                    self.put(&value.bytes);
                    self.put(b",");
                }
                let inside = body[1..].trim_ascii_start();
                if inside == b"}" && self.bytes.last() == Some(&b',') {
                    self.bytes.pop();
                }
                self.put(inside);
            }
        }
        // Between tokens a line break is a blank; within one the object was refused above.
        for byte in self.bytes[begin..].iter_mut().filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
        Ok(())
    }

    fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        schema: &Schema,
        is_text: bool,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Damaged);
        }
        match schema {
            Schema::Null => self.put(b"null"),
            Schema::Boolean => match cursor.array()? {
                [0] => self.put(b"false"),
                [1] => self.put(b"true"),
                [_] => return Err(Damaged),
            },
            Schema::Int => self.show(cursor.int()?),
            Schema::Long => self.show(cursor.long()?),
            Schema::Float => self.double(f64::from(f32::from_le_bytes(cursor.array()?))),
            Schema::Double => self.double(f64::from_le_bytes(cursor.array()?)),
            Schema::String => self.string(cursor.bytes()?),
            Schema::Bytes => self.binary(cursor.bytes()?, is_text),
            Schema::Fixed(size) => self.binary(cursor.take(*size)?, is_text),
            Schema::Decimal(size, scale) => {
                let bytes = match size {
                    Some(size) => cursor.take(*size)?,
                    None => cursor.bytes()?,
                };
                self.decimal(bytes, *scale);
            }
            Schema::Date => self.date(cursor.int()?),
            Schema::Time(number, per_second) => self.time(cursor.number(*number)?, *per_second),
            Schema::Timestamp(per_second, zoned) => self.timestamp(cursor.long()?, *per_second, *zoned),
            Schema::Enum(symbols) => {
                let index = usize::try_from(cursor.long()?).map_err(|_| Damaged)?;
                self.string(symbols.get(index).ok_or(Damaged)?.as_bytes());
            }
            Schema::Union(branches) => {
                let branch = cursor.branch(branches)?;
                self.value(cursor, schemas, branch, is_text, depth + 1)?;
            }
            Schema::Record(index) => self.object(cursor, schemas, schemas.record(*index), None, depth + 1)?,
            Schema::Array(items) => self.items(cursor, schemas, items, false, depth)?,
            Schema::Map(values) => self.items(cursor, schemas, values, true, depth)?,
        }
        Ok(())
    }

    fn items(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        schema: &Schema,
        named: bool,
        depth: usize,
    ) -> Result<()> {
        self.put(if named { b"{" } else { b"[" });
        let mut first = true;
        loop {
            let count = cursor.items()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                if !std::mem::take(&mut first) {
                    self.put(b",");
                }
                if named {
                    self.string(cursor.bytes()?);
                    self.put(b":");
                }
                self.value(cursor, schemas, schema, false, depth + 1)?;
            }
        }
        self.put(if named { b"}" } else { b"]" });
        Ok(())
    }

    /// As a JSON string; bytes that are no UTF-8 stay, so that the record is refused for them.
    fn string(&mut self, bytes: &[u8]) {
        self.put(b"\"");
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
            self.put(&rest[..at]);
            match rest[at] {
                b'"' => self.put(b"\\\""),
                b'\\' => self.put(b"\\\\"),
                b'\n' => self.put(b"\\n"),
                b'\r' => self.put(b"\\r"),
                b'\t' => self.put(b"\\t"),
                control => self.show(format_args!("\\u{control:04x}")),
            }
            rest = &rest[at + 1..];
        }
        self.put(rest);
        self.put(b"\"");
    }

    fn binary(&mut self, bytes: &[u8], is_text: bool) {
        if is_text {
            return self.string(bytes);
        }
        // What is beyond the limit need not be encoded.
        let kept = &bytes[..bytes.len().min(self.limit + 1)];
        self.put(b"\"");
        self.put(BASE64.encode(kept).as_bytes());
        self.put(b"\"");
    }

    fn double(&mut self, value: f64) {
        if value.is_finite() {
            match serde_json::Number::from_f64(value) {
                Some(number) => self.show(number),
                None => self.put(b"null"),
            }
        } else {
            self.show(format_args!("\"{value}\""));
        }
    }

    fn decimal(&mut self, bytes: &[u8], scale: u32) {
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let sign = if negative { 0xff } else { 0 };
        let padding = bytes.iter().take_while(|byte| **byte == sign).count();
        let digits = &bytes[padding..];
        let mut wide = [sign; 16];
        let fits = digits.len() < 16 || digits.len() == 16 && (digits[0] & 0x80 != 0) == negative;
        if !fits {
            return self.binary(bytes, false); // no decimal type holds so many digits, nor takes this text
        }
        wide[16 - digits.len()..].copy_from_slice(digits);
        let value = i128::from_be_bytes(wide);
        let (magnitude, sign) = (value.unsigned_abs(), if value < 0 { "-" } else { "" });
        match 10_u128.checked_pow(scale) {
            Some(1) | None => self.show(format_args!("{sign}{magnitude}")),
            Some(unit) => {
                let width = scale as usize;
                self.show(format_args!("{sign}{}.{:0width$}", magnitude / unit, magnitude % unit));
            }
        }
    }

    /// A day or an instant outside the years 1 to 9999 is its number, which no column of such a type takes.
    fn date(&mut self, days: i32) {
        let epoch = NaiveDate::default();
        let count = Days::new(u64::from(days.unsigned_abs()));
        let date = if days < 0 { epoch.checked_sub_days(count) } else { epoch.checked_add_days(count) };
        match date {
            Some(date) => self.show(format_args!("\"{date}\"")),
            None => self.show(days),
        }
    }

    fn time(&mut self, value: i64, per_second: i64) {
        let (seconds, rest) = (value.div_euclid(per_second), value.rem_euclid(per_second));
        if !(0..86_400).contains(&seconds) {
            return self.show(value);
        }
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let micros = rest * (1_000_000 / per_second);
        self.show(format_args!("\"{hour:02}:{minute:02}:{second:02}.{micros:06}\""));
    }

    fn timestamp(&mut self, value: i64, per_second: i64, zoned: bool) {
        let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
        let nanos = u32::try_from(nanos).unwrap_or_default();
        match DateTime::from_timestamp(value.div_euclid(per_second), nanos) {
            Some(instant) => {
                let zone = if zoned { "Z" } else { "" };
                self.show(format_args!("\"{}{zone}\"", instant.format("%Y-%m-%dT%H:%M:%S%.9f")));
            }
            None => self.show(value),
        }
    }
}

/// Which of `names` the object gives itself; `None` when the text is not one JSON object.
fn top_level_names<'n>(text: &[u8], names: &[&'n str]) -> Option<HashSet<&'n str>> {
    struct Names<'v, 'n>(&'v [&'n str]);

    impl<'de, 'n> Visitor<'de> for Names<'_, 'n> {
        type Value = HashSet<&'n str>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Self::Value, M::Error> {
            let mut found = HashSet::new();
            while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                map.next_value::<IgnoredAny>()?;
                found.extend(self.0.iter().find(|wanted| **wanted == name));
            }
            Ok(found)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(text);
    let found = json.deserialize_map(Names(names)).ok()?;
    json.end().is_ok().then_some(found)
}
