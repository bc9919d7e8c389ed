//! Cutting a stream of bytes at record boundaries, without looking into the records.
//!
//! A record is a line; in CSV a line break inside a quoted field does not end it. A quote opens a field only at the
//! field's start (as RFC 4180 and the `csv` crate have it), so a stray quote within a field is harmless. A quote that
//! is never closed costs its own line only: the splitter goes back and takes that line alone as the bad record.

use bytes::Bytes;
use memchr::{memchr, memrchr};

/// What is kept of a record that is refused.
const HEAD_BYTES: usize = 64 * 1024;

/// How records are told from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Each line is a record.
    Lines,
    /// Each line is a record, except that a quoted field may hold line breaks.
    Csv { delimiter: u8, quote: u8 },
}

/// A stretch of the blob, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Whole records. Only the last piece of a blob may lack its final line break.
    Records(Bytes),
    /// One record that cannot be handed on: its beginning, and why.
    Refused { head: Bytes, reason: String },
}

/// Push bytes, pull pieces.
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    /// A longer record is refused. Bytes.
    max_record: usize,
    /// A piece is handed out when it has reached this many bytes.
    chunk: usize,
    /// Begins at a record's start (or, while skipping, anywhere in the refused record).
    buffer: Vec<u8>,
    scanned: usize,
    /// End of the last whole record in the buffer.
    boundary: usize,
    in_quotes: bool,
    /// The head of a line that is too long; its rest is being thrown away.
    skipping: Option<Bytes>,
}

impl Splitter {
    pub fn new(framing: Framing, max_record: usize, chunk: usize) -> Self {
        let buffer = Vec::new();
        Self { framing, max_record, chunk, buffer, scanned: 0, boundary: 0, in_quotes: false, skipping: None }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece that is complete; `None` asks for more bytes, or says that all is done when `end` is set.
    pub fn pull(&mut self, end: bool) -> Option<Piece> {
        if self.skipping.is_some() {
            return self.skip(end);
        }
        self.scan(end);
        if self.boundary >= self.chunk {
            return Some(self.take_records(self.boundary));
        }
        if self.buffer.len() - self.boundary > self.max_record {
            if self.boundary > 0 {
                return Some(self.take_records(self.boundary));
            }
            return self.refuse(end);
        }
        if !end || self.buffer.is_empty() {
            return None;
        }
        match (self.in_quotes, self.boundary) {
            (true, 0) => Some(self.refuse_open_quote()),
            (true, boundary) => Some(self.take_records(boundary)),
            (false, _) => Some(self.take_records(self.buffer.len())),
        }
    }

    /// What is left when the stream broke off in the middle: the whole records, then the torn one as refused. `None`
    /// when `reason` was already given.
    pub(crate) fn pull_torn(&mut self, reason: &mut Option<&'static str>) -> Option<Piece> {
        if self.skipping.is_none() {
            self.scan(false);
        }
        if self.boundary > 0 {
            return Some(self.take_records(self.boundary));
        }
        let reason = reason.take()?.to_owned();
        let mut head = self.skipping.take().map_or_else(|| std::mem::take(&mut self.buffer), Vec::from);
        head.truncate(HEAD_BYTES);
        self.buffer.clear();
        Some(Piece::Refused { head: head.into(), reason })
    }

    fn scan(&mut self, end: bool) {
        let Framing::Csv { delimiter, quote } = self.framing else {
            if let Some(at) = memrchr(b'\n', &self.buffer[self.scanned..]) {
                self.boundary = self.scanned + at + 1;
            }
            self.scanned = self.buffer.len();
            return;
        };
        let bytes = &self.buffer;
        while self.scanned < bytes.len() {
            let rest = &bytes[self.scanned..];
            let next_quote = memchr(quote, rest);
            if self.in_quotes {
                let Some(at) = next_quote.map(|at| self.scanned + at) else {
                    self.scanned = bytes.len();
                    break;
                };
                match bytes.get(at + 1) {
                    Some(next) if *next == quote => self.scanned = at + 2,
                    // Whether this quote closes the field is told by the byte after it.
                    None if !end => {
                        self.scanned = at;
                        break;
                    }
                    _ => {
                        self.in_quotes = false;
                        self.scanned = at + 1;
                    }
                }
                continue;
            }
            let outside = &rest[..next_quote.unwrap_or(rest.len())];
            if let Some(at) = memrchr(b'\n', outside) {
                self.boundary = self.scanned + at + 1;
            }
            let Some(at) = next_quote.map(|at| self.scanned + at) else {
                self.scanned = bytes.len();
                break;
            };
            let opens = at == 0 || bytes[at - 1] == delimiter || bytes[at - 1] == b'\n';
            self.in_quotes = opens;
            self.scanned = at + 1;
        }
    }

    fn take_records(&mut self, length: usize) -> Piece {
        let rest = self.buffer.split_off(length);
        let records = std::mem::replace(&mut self.buffer, rest);
        self.scanned = self.scanned.saturating_sub(length);
        self.boundary = 0;
        Piece::Records(records.into())
    }

    fn refuse(&mut self, end: bool) -> Option<Piece> {
        if self.in_quotes && memchr(b'\n', &self.buffer).is_some() {
            return Some(self.refuse_open_quote());
        }
        self.skipping = Some(Bytes::copy_from_slice(&self.buffer[..self.buffer.len().min(HEAD_BYTES)]));
        self.skip(end)
    }

    fn refuse_open_quote(&mut self) -> Piece {
        let line = memchr(b'\n', &self.buffer).map_or(self.buffer.len(), |at| at + 1);
        let rest = self.buffer.split_off(line);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(HEAD_BYTES);
        (self.scanned, self.boundary, self.in_quotes) = (0, 0, false);
        Piece::Refused { head: line.into(), reason: "a quote is opened and never closed".to_owned() }
    }

    fn skip(&mut self, end: bool) -> Option<Piece> {
        let line_end = memchr(b'\n', &self.buffer).map(|at| at + 1);
        let Some(drop_to) = line_end.or(end.then_some(self.buffer.len())) else {
            self.buffer.clear();
            return None;
        };
        self.buffer.drain(..drop_to);
        (self.scanned, self.boundary, self.in_quotes) = (0, 0, false);
        let head = self.skipping.take()?;
        Some(Piece::Refused { head, reason: format!("record longer than {} bytes", self.max_record) })
    }
}

impl Framing {
    /// Length of the first record that is not blank, with everything before it and its line break.
    pub fn first_record(self, bytes: &[u8]) -> usize {
        let mut start = 0;
        while start < bytes.len() {
            let end = self.record_end(bytes, start);
            if !bytes[start..end].trim_ascii().is_empty() {
                return end;
            }
            start = end;
        }
        bytes.len()
    }

    fn record_end(self, bytes: &[u8], start: usize) -> usize {
        let mut splitter = Splitter::new(self, usize::MAX, 1);
        let mut end = start;
        loop {
            let Some(at) = memchr(b'\n', &bytes[end..]) else { return bytes.len() };
            splitter.push(&bytes[end..=end + at]);
            end += at + 1;
            if splitter.pull(false).is_some() {
                return end;
            }
        }
    }
}
