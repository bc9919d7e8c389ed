//! A body above the limit, of a trigger that takes it in parts: an Event Hub batch.
//!
//! The host writes `{"Data":{"events":"[\"<base64>\",…]"},"Metadata":{…}}`, and what tells the events' places comes last. So
//! the body goes to a temporary file as it arrives, all but its skeleton: the same envelope without any event. The skeleton
//! is read as any other one, and then the events come from the file, as many at a time as the limit has room for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

use bytes::Bytes;

use crate::error::Error;
use crate::trigger::{EventBatch, MAX_EVENTS};

/// Bytes that are written at a time.
const BLOCK_BYTES: usize = 4 << 20;
/// No batch of any hub is as large.
const MAX_FILE_BYTES: u64 = 32 << 30;
/// The longest key that is looked at.
const MAX_KEY_BYTES: usize = 64;

/// A body on its way into a file.
#[derive(Debug)]
pub(crate) struct Spill {
    scanner: Scanner,
    file: Option<File>,
    limit: usize,
}

/// A body of which the events are in a file.
#[derive(Debug)]
pub struct LargeBody {
    file: File,
    pub(crate) skeleton: Vec<u8>,
    /// Where each event's text is.
    spans: Vec<Span>,
    /// Bytes of text that one part has at most, if it has several events.
    part: usize,
    next: usize,
    /// What stands around the events that are left.
    pub(crate) around: Option<EventBatch>,
}

/// Bytes of the file, and where in them each event's text is.
pub(crate) type Texts = (Bytes, Vec<Range<usize>>);

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    length: usize,
}

/// Splits the body: the texts of events on one side, everything else on the other.
#[derive(Debug, Default)]
struct Scanner {
    skeleton: Vec<u8>,
    texts: Vec<u8>,
    spans: Vec<Span>,
    /// Bytes of text that were taken out of `texts`.
    gone: u64,
    depth: usize,
    /// Within a string; behind a backslash of it.
    string: bool,
    escaped: bool,
    /// The string is a key, or the last one was.
    key: Vec<u8>,
    value_comes: bool,
    in_data: bool,
    seen: bool,
    events: Events,
}

/// Where in the array of events the next byte stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Events {
    /// Not in it.
    #[default]
    Outside,
    /// Behind the quote that opens the text of the array.
    Opening,
    /// Before an event, or the end; `quoted`: the array is a text itself, so that its quotes have backslashes.
    Before {
        quoted: bool,
        backslash: bool,
    },
    Within {
        quoted: bool,
    },
    /// Behind the backslash that closes an event.
    Closing,
    /// Behind an event.
    Behind {
        quoted: bool,
    },
    /// Behind the bracket, before the quote that closes the text.
    Closed,
}

impl Spill {
    pub(crate) fn new(limit: usize) -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(|source| Error::TemporaryFile { source })?;
        Ok(Self { scanner: Scanner::default(), file: Some(file), limit })
    }

    /// Takes more of the body.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let limit = self.limit;
        self.scanner.take(bytes).map_err(|NotABatch| Error::BodyTooLarge { limit })?;
        let too_many = self.scanner.spans.len() > MAX_EVENTS || self.scanner.gone > MAX_FILE_BYTES;
        if self.scanner.skeleton.len() > limit || too_many {
            return Err(Error::BodyTooLarge { limit });
        }
        if self.scanner.texts.len() >= BLOCK_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let texts = std::mem::take(&mut self.scanner.texts);
        self.scanner.gone += texts.len() as u64;
        let Some(mut file) = self.file.take() else { return Err(Error::BodyRead) };
        let written = tokio::task::spawn_blocking(move || file.write_all(&texts).map(|()| file)).await;
        let file = written.map_err(|_| Error::Panicked)?.map_err(|source| Error::TemporaryFile { source })?;
        self.file = Some(file);
        Ok(())
    }

    pub(crate) async fn finish(mut self) -> Result<LargeBody, Error> {
        self.write().await?;
        let (Some(file), Scanner { skeleton, spans, .. }) = (self.file, self.scanner) else {
            return Err(Error::BodyRead);
        };
        Ok(LargeBody { file, skeleton, spans, part: self.limit / 4, next: 0, around: None })
    }
}

impl LargeBody {
    pub(crate) fn count(&self) -> usize {
        self.spans.len()
    }

    /// The texts of the next events, at least one; `None` at the end.
    pub(crate) fn next_texts(&mut self) -> Result<Option<Texts>, Error> {
        let rest = &self.spans[self.next..];
        let Some(first) = rest.first() else { return Ok(None) };
        let fits = |span: &&Span| span.start + span.length as u64 - first.start <= self.part as u64;
        let count = rest.iter().take_while(fits).count().max(1);
        let (start, spans) = (first.start, &rest[..count]);
        let length = spans.last().map_or(0, |last| last.start + last.length as u64 - start);
        let mut texts = vec![0; usize::try_from(length).map_err(|_| Error::BodyRead)?];
        let failed = |source| Error::TemporaryFile { source };
        self.file.seek(SeekFrom::Start(start)).map_err(failed)?;
        self.file.read_exact(&mut texts).map_err(failed)?;
        let within = |span: &Span| usize::try_from(span.start - start).map(|from| from..from + span.length);
        let ranges = spans.iter().map(within).collect::<Result<_, _>>().map_err(|_| Error::BodyRead)?;
        self.next += count;
        Ok(Some((Bytes::from(texts), ranges)))
    }
}

/// The body is none that can be taken in parts.
#[derive(Debug)]
struct NotABatch;

impl Scanner {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), NotABatch> {
        while let Some(byte) = bytes.first() {
            match self.events {
                Events::Outside => {
                    self.skeleton.push(*byte);
                    self.outside(*byte);
                }
                Events::Within { quoted } => {
                    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                    self.texts.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                    bytes = &bytes[end.unwrap_or(bytes.len())..];
                    match (bytes.first(), quoted) {
                        (None, _) => return Ok(()),
                        (Some(b'\\'), true) => self.events = Events::Closing,
                        (Some(b'"'), false) => self.close(false),
                        // An escape within an event's text, or a text that ends within an event.
                        _ => return Err(NotABatch),
                    }
                }
                at => self.between(at, *byte)?,
            }
            bytes = &bytes[1..];
        }
        Ok(())
    }

    fn close(&mut self, quoted: bool) {
        let end = self.gone + self.texts.len() as u64;
        if let Some(span) = self.spans.last_mut() {
            span.length = usize::try_from(end - span.start).unwrap_or(usize::MAX);
        }
        self.events = Events::Behind { quoted };
    }

    /// In the array of events, and not in an event.
    fn between(&mut self, at: Events, byte: u8) -> Result<(), NotABatch> {
        self.events = match (at, byte) {
            (Events::Opening, b'[') => {
                self.skeleton.push(b'[');
                Events::Before { quoted: true, backslash: false }
            }
            (Events::Before { quoted: true, backslash: false }, b'\\') => {
                Events::Before { quoted: true, backslash: true }
            }
            (Events::Before { quoted, backslash }, b'"') if quoted == backslash => {
                self.spans.push(Span { start: self.gone + self.texts.len() as u64, length: 0 });
                Events::Within { quoted }
            }
            (Events::Closing, b'"') => {
                self.close(true);
                return Ok(());
            }
            (Events::Behind { quoted }, b',') => Events::Before { quoted, backslash: false },
            (Events::Behind { quoted } | Events::Before { quoted, backslash: false }, b']') => {
                self.skeleton.push(b']');
                if quoted { Events::Closed } else { self.leave() }
            }
            (Events::Closed, b'"') => {
                self.skeleton.push(b'"');
                self.leave()
            }
            (Events::Before { backslash: false, .. } | Events::Behind { .. }, b' ' | b'\n' | b'\r' | b'\t') => at,
            _ => return Err(NotABatch),
        };
        Ok(())
    }

    fn leave(&mut self) -> Events {
        self.value_comes = false;
        Events::Outside
    }

    /// In the rest of the envelope. Whether that is JSON is for whoever reads the skeleton.
    fn outside(&mut self, byte: u8) {
        if self.string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.string = false,
                _ if self.key.len() < MAX_KEY_BYTES => self.key.push(byte),
                _ => {}
            }
            return;
        }
        // The host puts the trigger's binding first in `Data`.
        let is_trigger = self.value_comes && self.depth == 2 && self.in_data && !self.seen;
        match byte {
            b'"' if is_trigger => (self.seen, self.events) = (true, Events::Opening),
            b'[' if is_trigger => {
                (self.seen, self.events) = (true, Events::Before { quoted: false, backslash: false });
            }
            b'"' => {
                self.key.clear();
                self.string = true;
            }
            b'{' | b'[' => {
                self.in_data = self.in_data
                    || self.depth == 1 && self.value_comes && self.key.eq_ignore_ascii_case(b"Data") && byte == b'{';
                self.depth += 1;
                self.value_comes = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.in_data &= self.depth > 1;
            }
            b':' => self.value_comes = true,
            b',' => self.value_comes = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str, step: usize) -> Option<(String, Vec<String>)> {
        let mut scanner = Scanner::default();
        for chunk in body.as_bytes().chunks(step) {
            scanner.take(chunk).ok()?;
        }
        let text = |span: &Span| {
            let start = usize::try_from(span.start).unwrap();
            String::from_utf8(scanner.texts[start..start + span.length].to_vec()).unwrap()
        };
        let texts = scanner.spans.iter().map(text).collect();
        Some((String::from_utf8(scanner.skeleton).unwrap(), texts))
    }

    #[test]
    fn events_leave_the_envelope_and_nothing_else_does() {
        let both = |body: &str| {
            let whole = split(body, usize::MAX >> 1);
            for step in 1..9 {
                assert_eq!(split(body, step), whole, "{step}");
            }
            whole
        };
        let around = r#""Metadata":{"a":"[\"x\",\"y\"]","Data":{"e":["z"]},"n":[1,{"b":"]"}]}}"#;
        let expected = |texts: &[&str], value: &str| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Some((format!("{{\"Data\":{{\"events\":{value},\"more\":\"[\\\"k\\\"]\"}},{around}"), texts))
        };
        let body = |value: &str| format!("{{\"Data\":{{\"events\":{value},\"more\":\"[\\\"k\\\"]\"}},{around}");
        assert_eq!(both(&body(r#""[\"YQ==\",\"\",\"Yg==\"]""#)), expected(&["YQ==", "", "Yg=="], "\"[]\""));
        assert_eq!(both(&body(r#""[]""#)), expected(&[], "\"[]\""));
        assert_eq!(both(&body(r#"["YQ==" , "Yg=="]"#)), expected(&["YQ==", "Yg=="], "[]"));
        for wrong in [r#""YQ==""#, r#""[1]""#, r#""[\"a\\n\"]""#, r#""[\"a""#, r#"[{"a":1}]"#, r#""[\"a\"]x""#] {
            assert_eq!(split(&body(wrong), 3), None, "{wrong}");
        }
        // `Data` that comes last, or in other letters, is the same.
        let last = r#"{"Metadata":{"Data":{"e":["z"]}},"data":{"e":"[\"YQ==\"]"}}"#;
        assert_eq!(both(last).unwrap().1, ["YQ=="]);
    }
}
