//! One datum after the other, into lines of JSON.

use data_encoding::BASE64;
use weir_contract::Stop;
use weir_contract::limits::{AVRO_SLOW_VALUE, AVRO_UNKNOWN, AVRO_VALUE, MAX_AVRO_DECIMAL_BYTES, MAX_AVRO_DEPTH};

use super::cursor::{Cursor, Fault, Result};
use super::envelope::Envelope;
use super::schema::{Record, Schema, Schemas};
use super::values::{Date, Duration, Time, Timestamp, Uuid, decimal};

/// After drawing so much it is time to look whether somebody still waits.
const LOOK_AFTER: u64 = 64 * 1024;

/// What takes a field, because JSON alone cannot say what a value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Want {
    /// No column: all stays as it is, for `_rescued` and within other values.
    #[default]
    Any,
    /// A string column: bytes are text.
    Text,
    /// A binary column: bytes are base64, and nothing that only looks like it is taken for bytes.
    Bytes,
    /// A column of another type, which takes no bytes.
    Value,
}

/// Lines of JSON. What of a line is beyond the limit is not kept, but one byte, which makes it too long.
pub(crate) struct Lines<'s> {
    bytes: Vec<u8>,
    /// Where the current line began.
    start: usize,
    limit: usize,
    /// What may still be drawn: bytes of lines, and something for each value.
    left: u64,
    look_at: u64,
    /// What each record draws beside its values.
    of_record: u64,
    stop: &'s Stop,
}

impl<'s> Lines<'s> {
    pub(crate) fn new(limit: usize, of_record: u64, left: u64, stop: &'s Stop) -> Self {
        Self { bytes: Vec::new(), start: 0, limit, left, look_at: left.saturating_sub(LOOK_AFTER), of_record, stop }
    }

    pub(crate) fn len(&self) -> usize {
        self.start
    }

    /// What is left of the allowance.
    pub(crate) fn left(&self) -> u64 {
        self.left
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
        wants: &[Want],
        envelope: Option<&Envelope>,
    ) -> Result<()> {
        self.bytes.truncate(self.start);
        self.draw(self.of_record)?;
        match envelope {
            None => self.object(cursor, schemas, schemas.top(), Some(wants), 0)?,
            Some(envelope) => self.enveloped(cursor, schemas, wants, envelope)?,
        }
        self.bytes.truncate(self.start + self.limit + 1);
        self.bytes.push(b'\n');
        self.draw((self.bytes.len() - self.start) as u64)?;
        self.start = self.bytes.len();
        Ok(())
    }

    #[inline]
    pub(super) fn draw(&mut self, amount: u64) -> Result<()> {
        self.left = self.left.checked_sub(amount).ok_or(Fault::TooMuch)?;
        if self.left < self.look_at {
            self.look_at = self.left.saturating_sub(LOOK_AFTER);
            if self.stop.is_set() {
                return Err(Fault::Stopped);
            }
        }
        Ok(())
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = (self.start + self.limit + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Whether nothing more of this line is kept.
    fn is_full(&self) -> bool {
        self.bytes.len() > self.start + self.limit
    }

    pub(super) fn mark(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take_from(&mut self, begin: usize) -> Vec<u8> {
        self.bytes.split_off(begin)
    }

    /// Takes the last byte off, if it is this one.
    pub(super) fn take_back(&mut self, byte: u8) {
        self.bytes.pop_if(|last| *last == byte);
    }

    pub(super) fn blank_line_breaks(&mut self, begin: usize) {
        for byte in self.bytes[begin..].iter_mut().filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
    }

    /// Without allocation for what is short.
    fn show(&mut self, value: impl std::fmt::Display) {
        use std::io::Write;
        let at = self.bytes.len();
        if !self.is_full() && write!(self.bytes, "{value}").is_err() {
            self.bytes.truncate(at);
        }
    }

    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        record: &Record,
        wants: Option<&[Want]>,
        depth: usize,
    ) -> Result<()> {
        self.put(b"{");
        for (index, field) in record.fields.iter().enumerate() {
            if index > 0 {
                self.put(b",");
            }
            self.put(field.quoted.as_bytes());
            let is_unknown = wants.is_some_and(|wants| wants.get(index) == Some(&Want::Any));
            if is_unknown {
                self.draw(AVRO_UNKNOWN)?;
            }
            let want = wants.and_then(|wants| wants.get(index).copied()).unwrap_or_default();
            self.value(cursor, schemas, &field.schema, want, depth)?;
        }
        self.put(b"}");
        Ok(())
    }

    pub(super) fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        schema: &Schema,
        want: Want,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_AVRO_DEPTH {
            return Err(Fault::Damaged);
        }
        self.draw(AVRO_VALUE)?;
        // A number or a word may look like base64. Only strings of another form are taken by no binary column.
        let looks_like_bytes = want == Want::Bytes && schema.is_plain();
        if looks_like_bytes {
            self.put(b"[");
        }
        match schema {
            Schema::Null => self.put(b"null"),
            Schema::Boolean => match cursor.array()? {
                [0] => self.put(b"false"),
                [1] => self.put(b"true"),
                [_] => return Err(Fault::Damaged),
            },
            Schema::Int => self.show(cursor.int()?),
            Schema::Long => self.show(cursor.long()?),
            Schema::Float => self.double(f64::from(f32::from_le_bytes(cursor.array()?))),
            Schema::Double => self.double(f64::from_le_bytes(cursor.array()?)),
            Schema::String => {
                let (text, before) = (cursor.bytes()?, self.bytes.len());
                self.string(text);
                // What is written as escapes is slow to write and to read again.
                let written = self.bytes.len().saturating_sub(before);
                if written > 2 * text.len() + 2 {
                    self.draw(2 * written as u64)?;
                }
            }
            Schema::Bytes => self.binary(cursor.bytes()?, want),
            Schema::Fixed(size) => self.binary(cursor.take(*size)?, want),
            Schema::Uuid if want == Want::Bytes => self.binary(cursor.take(16)?, want),
            Schema::Uuid => self.quoted(Uuid(cursor.array()?)),
            Schema::Duration if want == Want::Bytes => self.binary(cursor.take(12)?, want),
            Schema::Duration => {
                self.draw(AVRO_SLOW_VALUE)?;
                self.quoted(Duration(cursor.array()?));
            }
            Schema::Decimal(size, scale) => {
                let bytes = match size {
                    Some(size) => cursor.take(*size)?,
                    None => cursor.bytes()?,
                };
                // All digits of a wide one take time by the square of its bytes.
                let square = (bytes.len().min(MAX_AVRO_DECIMAL_BYTES) as u64).pow(2);
                self.draw(AVRO_SLOW_VALUE + square / 16)?;
                self.decimal(bytes, *scale, want);
            }
            Schema::Date => self.quoted(Date(cursor.int()?.into())),
            Schema::Time(number, per_second) => {
                let value = cursor.number(*number)?;
                // What is no time of a day is its number.
                match (0..86_400 * per_second).contains(&value) {
                    true => self.quoted(Time(value, *per_second)),
                    false => self.show(value),
                }
            }
            Schema::Timestamp(per_second, zoned) => {
                self.instant(Timestamp { value: cursor.long()?, per_second: *per_second, zoned: *zoned });
            }
            Schema::Enum(symbols) => self.put(symbols.get(cursor.index()?).ok_or(Fault::Damaged)?.as_bytes()),
            Schema::Union(branches) => {
                let branch = cursor.branch(branches)?;
                self.value(cursor, schemas, branch, want, depth + 1)?;
            }
            Schema::Record(index) => self.object(cursor, schemas, schemas.record(*index), None, depth + 1)?,
            Schema::Array(items) => self.items(cursor, schemas, items, false, depth)?,
            Schema::Map(values) => self.items(cursor, schemas, values, true, depth)?,
        }
        if looks_like_bytes {
            self.put(b"]");
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
            if count > self.left {
                return Err(Fault::TooMuch);
            }
            for _ in 0..count {
                if !std::mem::take(&mut first) {
                    self.put(b",");
                }
                if named {
                    self.string(cursor.bytes()?);
                    self.put(b":");
                }
                self.value(cursor, schemas, schema, Want::Any, depth + 1)?;
            }
        }
        self.put(if named { b"}" } else { b"]" });
        Ok(())
    }

    /// As a JSON string. Bytes that are no UTF-8 become halves of characters, as Python writes them: no column takes such a
    /// text, and nothing is lost where none asks for it.
    pub(super) fn string(&mut self, bytes: &[u8]) {
        if self.is_full() {
            return;
        }
        self.put(b"\"");
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => self.escaped(text.as_bytes()),
            Err(_) => {
                for chunk in bytes.utf8_chunks() {
                    self.escaped(chunk.valid().as_bytes());
                    chunk.invalid().iter().for_each(|byte| self.half(*byte, *b"\\udc00"));
                }
            }
        }
        self.put(b"\"");
    }

    /// An escape that ends with the byte's two digits.
    fn half(&mut self, byte: u8, mut escape: [u8; 6]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        (escape[4], escape[5]) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        if !self.is_full() {
            self.put(&escape);
        }
    }

    fn escaped(&mut self, mut rest: &[u8]) {
        while let Some(at) = escape_at(rest) {
            self.put(&rest[..at]);
            match rest[at] {
                b'"' => self.put(b"\\\""),
                b'\\' => self.put(b"\\\\"),
                b'\n' => self.put(b"\\n"),
                b'\r' => self.put(b"\\r"),
                b'\t' => self.put(b"\\t"),
                control => self.half(control, *b"\\u0000"),
            }
            rest = &rest[at + 1..];
        }
        self.put(rest);
    }

    /// What is written by hand, because a formatter takes longer than all the rest.
    fn instant(&mut self, Timestamp { value, per_second, zoned }: Timestamp) {
        match (Timestamp { value, per_second, zoned }).digits() {
            Some((digits, length)) => {
                self.put(b"\"");
                self.put(&digits[..length]);
                self.put(b"\"");
            }
            None => self.quoted(Timestamp { value, per_second, zoned }),
        }
    }

    fn quoted(&mut self, value: impl std::fmt::Display) {
        self.show(format_args!("\"{value}\""));
    }

    fn binary(&mut self, bytes: &[u8], want: Want) {
        if self.is_full() {
            return;
        }
        if want == Want::Text {
            return self.string(bytes);
        }
        // What is beyond the limit need not be encoded.
        let kept = &bytes[..bytes.len().min(self.limit + 1)];
        if want == Want::Value {
            self.put(b"{\"base64\":");
        }
        self.put(b"\"");
        self.put(BASE64.encode(kept).as_bytes());
        self.put(b"\"");
        if want == Want::Value {
            self.put(b"}");
        }
    }

    fn double(&mut self, value: f64) {
        if value.is_finite() {
            match serde_json::Number::from_f64(value) {
                Some(number) => self.show(number),
                None => self.put(b"null"),
            }
        } else {
            self.quoted(value);
        }
    }

    fn decimal(&mut self, bytes: &[u8], scale: usize, want: Want) {
        match bytes.len() <= MAX_AVRO_DECIMAL_BYTES {
            _ if self.is_full() => {}
            true => self.show(decimal(bytes, scale)),
            // Not a text that looks like another number.
            false => self.binary(bytes, if want == Want::Bytes { Want::Bytes } else { Want::Value }),
        }
    }
}

/// Eight bytes at a time: the high bit of each that is a quote, a backslash or below a blank.
fn escape_at(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = below | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            // The lowest is right; above it a borrow may have left one too many.
            return Some(index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    found.map(|at| bytes.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_first_byte_that_is_escaped(bytes: Vec<u8>) {
            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            proptest::prop_assert_eq!(escape_at(&bytes), first);
        }
    }
}
