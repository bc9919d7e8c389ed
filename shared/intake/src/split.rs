//! Cutting a stream of bytes at record boundaries, without looking into the records.
//!
//! A record is a line; in CSV a line break inside a quoted field does not end it. A quote opens a field only at the
//! field's start (as RFC 4180 and the `csv` crate have it), so a stray quote within a field is harmless. A quote that
//! is not closed within `max_record` bytes of its record's start was never meant as one: it costs the record up to the
//! end of the line that it stands in, and the next line is a record again.
//!
//! Where records end depends on the bytes alone, never on how they were cut into pushes: positions are kept in tables,
//! and have to be the same when a blob is read again by a program with other buffers. It takes linear time also when all
//! quotes are wrong: behind a quote that is never closed stand only doubled quotes, none of which is another such.
//!
//! Lines end with `\n` or `\r\n`. In a blob whose first line ends with a lone `\r` (spreadsheets of old Macintoshes, some
//! mainframes) every `\r` and every `\n` outside quotes ends one; pieces have `\n` there, so that nobody else has to know.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2, memchr3, memrchr, memrchr2};

/// What is kept of a record that is refused.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;
/// How far to look for a quote at a time.
const STRIDE_BYTES: usize = 64 * 1024;

/// How records are told from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Each line is a record.
    Lines,
    /// Each line is a record, except that a quoted field may hold line breaks. In it a quote is doubled, or stands behind
    /// the escape, if there is one.
    Csv { delimiter: u8, quote: u8, escape: Option<u8> },
    /// Each element of the one JSON array is a record, or the one object is.
    Document,
}

/// A stretch of the blob, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Whole records. Only the last piece of a blob may lack its final line break.
    Records(Bytes),
    /// One record that cannot be handed on: its first 64 KiB at most, without the line break, and why.
    Refused { head: Bytes, reason: String },
}

/// Push bytes, pull pieces.
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    /// A lone carriage return ends a line, too.
    any_line_end: bool,
    /// A line that begins with it is left out; of [`Framing::Lines`].
    comment: Option<u8>,
    /// A longer record is refused. Bytes, without the line break.
    max_record: usize,
    /// A piece is handed out when it has reached this many bytes.
    chunk: usize,
    /// Begins at a record's start (or, after some of a refused record was dropped, inside that record).
    buffer: BytesMut,
    scanned: usize,
    /// Start of the current record: everything before it is whole records.
    boundary: usize,
    /// The quote that is open at `scanned`.
    quote_at: Option<usize>,
    /// The record at `boundary` is to be refused.
    refused: Option<Refused>,
    /// Bytes that have left for good.
    consumed: u64,
}

#[derive(Debug)]
struct Refused {
    /// The first line break from here on ends the record.
    from: usize,
    /// Bytes that have left the buffer: their number, and the first of them.
    dropped: usize,
    head: Vec<u8>,
}

impl Splitter {
    pub fn new(framing: Framing, max_record: usize, chunk: usize) -> Self {
        Self {
            framing,
            any_line_end: false,
            comment: None,
            max_record,
            chunk,
            buffer: BytesMut::new(),
            scanned: 0,
            boundary: 0,
            quote_at: None,
            refused: None,
            consumed: 0,
        }
    }

    /// From now on a lone carriage return ends a line, too.
    pub fn take_any_line_end(&mut self) {
        self.any_line_end = true;
    }

    /// Lines that begin with this byte are no records.
    pub fn leave_out(&mut self, comment: u8) {
        self.comment = Some(comment);
    }

    /// The first line end in `bytes`.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        if self.any_line_end { memchr2(b'\n', b'\r', bytes) } else { memchr(b'\n', bytes) }
    }

    fn last_line_end(&self, bytes: &[u8]) -> Option<usize> {
        if self.any_line_end { memrchr2(b'\n', b'\r', bytes) } else { memrchr(b'\n', bytes) }
    }

    /// How many bytes all pieces so far stand for. A splitter that is given the rest goes on with the same records.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece that is complete; `None` asks for more bytes, or says that all is done when `end` is set.
    pub fn pull(&mut self, end: bool) -> Option<Piece> {
        self.scan(end);
        if self.boundary > 0 && (self.boundary >= self.chunk || self.refused.is_some()) {
            return Some(self.take_records(self.boundary));
        }
        if self.refused.is_some() {
            return self.refuse(end);
        }
        (end && !self.buffer.is_empty()).then(|| self.take_records(self.buffer.len()))
    }

    /// What is left when the stream broke off in the middle: the whole records, then the torn one as refused. `None`
    /// when `reason` was already given.
    pub(crate) fn pull_torn(&mut self, reason: &mut Option<&'static str>) -> Option<Piece> {
        if let Some(piece) = self.pull(false) {
            return Some(piece);
        }
        if self.boundary > 0 {
            return Some(self.take_records(self.boundary));
        }
        let reason = reason.take()?.to_owned();
        let refused = self.refused.take();
        self.consumed += (refused.as_ref().map_or(0, |refused| refused.dropped) + self.buffer.len()) as u64;
        let mut head = refused.map_or_else(Vec::new, |refused| refused.head);
        fill_head(&mut head, &self.buffer);
        self.buffer.clear();
        Some(Piece::Refused { head: head.into(), reason })
    }

    /// Moves `boundary` as far as records are whole, or up to one that is to be refused.
    fn scan(&mut self, end: bool) {
        while self.refused.is_none() && self.scanned < self.buffer.len() {
            if self.quote_at.is_none() {
                self.outside_quotes();
            } else if !self.inside_quotes(end) {
                break;
            }
        }
        if !end || self.refused.is_some() {
            return;
        }
        if let Some(quote) = self.quote_at {
            self.mark_refused(quote);
        } else if without_line_end(&self.buffer[self.boundary..]).len() > self.max_record {
            self.mark_refused(self.buffer.len());
        }
    }

    /// Goes on to the next quote that opens a field, or by a stride.
    fn outside_quotes(&mut self) {
        let to = self.buffer.len().min(self.scanned + STRIDE_BYTES);
        let (delimiter, next_quote) = match self.framing {
            Framing::Lines | Framing::Document => (b'\n', None),
            Framing::Csv { delimiter, quote, .. } => (delimiter, memchr(quote, &self.buffer[self.scanned..to])),
        };
        let next_quote = next_quote.map(|at| self.scanned + at);
        self.take_lines(next_quote.unwrap_or(to));
        let Some(at) = next_quote.filter(|_| self.refused.is_none()) else { return };
        let opens = at == 0 || {
            let before = self.buffer[at - 1];
            before == delimiter || before == b'\n' || before == b'\r' && self.any_line_end
        };
        self.quote_at = opens.then_some(at);
        self.scanned = at + 1;
    }

    /// Every line break up to `to` ends a record.
    fn take_lines(&mut self, to: usize) {
        while to - self.boundary > self.max_record {
            // Somewhere there may be a record that is too long. The longest one fits the window with its line break.
            let window = to.min(self.boundary.saturating_add(self.max_record).saturating_add(2));
            let Some(line_break) = self.last_line_end(&self.buffer[self.scanned.min(window)..window]) else {
                if to - self.boundary < self.max_record.saturating_add(2) {
                    break;
                }
                return self.mark_refused(self.scanned);
            };
            let line_break = self.scanned + line_break;
            let is_one_record = || self.line_end(&self.buffer[self.scanned..line_break]).is_none();
            if without_line_end(&self.buffer[self.boundary..=line_break]).len() > self.max_record && is_one_record() {
                return self.mark_refused(self.scanned);
            }
            self.boundary = line_break + 1;
            self.scanned = self.boundary;
        }
        if let Some(at) = self.last_line_end(&self.buffer[self.scanned.min(to)..to]) {
            self.boundary = self.scanned + at + 1;
        }
        self.scanned = to;
    }

    /// Goes on to the quote that closes the field. False when that needs more bytes.
    fn inside_quotes(&mut self, end: bool) -> bool {
        let (Framing::Csv { quote, escape, .. }, Some(opened)) = (self.framing, self.quote_at) else { return false };
        let limit = self.boundary.saturating_add(self.max_record);
        let to = self.buffer.len().min(limit).max(self.scanned);
        let found = quote_or_escape(&self.buffer[self.scanned..to], quote, escape);
        let Some(at) = found.map(|at| self.scanned + at) else {
            self.scanned = to;
            if to >= limit {
                self.mark_refused(opened);
            }
            return true;
        };
        if escape == Some(self.buffer[at]) {
            // What follows is a character, whatever it is.
            self.scanned = at + 2;
            return true;
        }
        match self.buffer.get(at + 1) {
            Some(next) if escape.is_none() && *next == quote => self.scanned = at + 2,
            // Whether this quote closes the field is told by the byte after it.
            None if !end && escape.is_none() => {
                self.scanned = at;
                return false;
            }
            _ => {
                self.quote_at = None;
                self.scanned = at + 1;
            }
        }
        true
    }

    fn mark_refused(&mut self, from: usize) {
        self.refused = Some(Refused { from, dropped: 0, head: Vec::new() });
    }

    fn take_records(&mut self, length: usize) -> Piece {
        let mut records = self.buffer.split_to(length);
        if self.any_line_end {
            end_lines(&mut records, self.framing);
        }
        self.scanned = self.scanned.saturating_sub(length);
        self.quote_at = self.quote_at.map(|at| at - length);
        if let Some(refused) = &mut self.refused {
            refused.from -= length;
        }
        self.boundary = 0;
        self.consumed += length as u64;
        Piece::Records(match (self.comment, self.framing) {
            (Some(comment), Framing::Lines) => without_comments(records.freeze(), comment),
            _ => records.freeze(),
        })
    }

    /// Takes the refused record off the buffer, once its end is known.
    fn refuse(&mut self, end: bool) -> Option<Piece> {
        let mut refused = self.refused.take()?;
        let line_end = self.line_end(&self.buffer[refused.from..]).map(|at| refused.from + at + 1);
        let Some(stop) = line_end.or(end.then_some(self.buffer.len())) else {
            // The last byte stays: it may be half of a CRLF.
            let gone = self.buffer.split_to(self.buffer.len() - 1);
            fill_head(&mut refused.head, &gone);
            refused.dropped += gone.len();
            refused.from = 1;
            self.scanned = 1;
            self.refused = Some(refused);
            return None;
        };
        let line = self.buffer.split_to(stop);
        let record = without_line_end(&line);
        fill_head(&mut refused.head, record);
        let reason = if refused.dropped + record.len() > self.max_record {
            too_long(self.max_record)
        } else {
            "a quote is opened and never closed".to_owned()
        };
        (self.scanned, self.boundary, self.quote_at) = (0, 0, None);
        self.consumed += (refused.dropped + stop) as u64;
        Some(Piece::Refused { head: refused.head.into(), reason })
    }
}

/// Whole records with `\n` where lone carriage returns ended lines. Quoted fields keep theirs.
fn end_lines(records: &mut [u8], framing: Framing) {
    let Framing::Csv { delimiter, quote, escape } = framing else {
        records.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        return;
    };
    let mut at = 0;
    while let Some(found) = memchr2(quote, b'\r', records.get(at..).unwrap_or_default()).map(|found| at + found) {
        at = found + 1;
        if records[found] == b'\r' {
            records[found] = b'\n';
        } else if found == 0 || records[found - 1] == delimiter || records[found - 1] == b'\n' {
            at = behind_quotes(records, at, quote, escape).unwrap_or(records.len());
        }
    }
}

/// Behind the quote that closes the field whose content begins at `at`.
fn behind_quotes(bytes: &[u8], mut at: usize, quote: u8, escape: Option<u8>) -> Option<usize> {
    loop {
        at += quote_or_escape(bytes.get(at..)?, quote, escape)? + 1;
        let is_escape = escape == Some(bytes[at - 1]);
        if !is_escape && (escape.is_some() || bytes.get(at) != Some(&quote)) {
            return Some(at);
        }
        at += 1;
    }
}

fn quote_or_escape(bytes: &[u8], quote: u8, escape: Option<u8>) -> Option<usize> {
    match escape {
        None => memchr(quote, bytes),
        Some(escape) => memchr2(quote, escape, bytes),
    }
}

/// Whole lines without those that begin with `comment`.
fn without_comments(lines: Bytes, comment: u8) -> Bytes {
    let begins = |at: usize| at == 0 || lines[at - 1] == b'\n';
    if !memchr_iter(comment, &lines).any(begins) {
        return lines;
    }
    let kept = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| line.first() != Some(&comment));
    kept.flatten().copied().collect::<Vec<u8>>().into()
}

/// Whether the first line ends with a lone carriage return, of a blob that begins with `bytes`; `None` while that is open.
pub(crate) fn ends_with_lone_cr(framing: Framing, bytes: &[u8], end: bool) -> Option<bool> {
    let (delimiter, quote, escape) = match framing {
        Framing::Document => return Some(false),
        Framing::Lines => (b'\n', b'\n', None),
        Framing::Csv { delimiter, quote, escape } => (delimiter, quote, escape),
    };
    let open = end.then_some(false);
    let mut at = 0;
    loop {
        let Some(found) = memchr3(b'\n', b'\r', quote, &bytes[at..]).map(|found| at + found) else { return open };
        match bytes[found] {
            b'\n' => return Some(false),
            b'\r' => {
                return match bytes.get(found + 1) {
                    Some(next) => Some(*next != b'\n'),
                    None => end.then_some(true),
                };
            }
            _ if found == 0 || bytes[found - 1] == delimiter => match behind_quotes(bytes, found + 1, quote, escape) {
                Some(behind) => at = behind,
                None => return open,
            },
            _ => at = found + 1,
        }
    }
}

pub(crate) fn too_long(max_record: usize) -> String {
    format!("record longer than {max_record} bytes")
}

fn fill_head(head: &mut Vec<u8>, bytes: &[u8]) {
    head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES - head.len())]);
}

fn without_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

impl Framing {
    /// Length of as many whole records as `most` lines hold; that of one record where it has more lines. All of the bytes,
    /// if they are no more.
    pub fn first_records(self, bytes: &[u8], most: usize) -> usize {
        let Some(at) = memchr_iter(b'\n', bytes).nth(most.max(1) - 1) else { return bytes.len() };
        let mut splitter = Splitter::new(self, usize::MAX, 1);
        splitter.push(&bytes[..=at]);
        match splitter.pull(false) {
            Some(Piece::Records(records)) => records.len(),
            // One record has all these lines. What follows it may be as many records as it has lines.
            _ => self.record_end(bytes, 0),
        }
    }

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
