//! One JSON document, cut into the elements of its array while it is read; or the one object that it is.
//!
//! Elements come out one a line, as NDJSON has them: a line break between tokens becomes a space. Inside a string JSON
//! allows none; there it becomes a carriage return, which JSON does not allow either, so that the element stays as wrong as
//! it was. Whether an element is sound JSON is for its decoder; here only brackets and strings count.
//!
//! A document whose structure is broken between elements has no records from there on: the rest is refused as one.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memchr3;

use crate::split::{HEAD_BYTES, Piece, too_long};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but blanks so far.
    Start,
    /// Behind `[`.
    First,
    /// Behind a comma.
    Next,
    Element,
    /// Behind an element: a comma or the end of the array.
    Behind,
    /// The document is one object; in it, and behind it.
    Object,
    BehindObject,
    /// Behind the array.
    End,
    /// All is told.
    Done,
}

/// Push bytes, pull pieces; as [`crate::Splitter`].
#[derive(Debug)]
pub(crate) struct Document {
    max_record: usize,
    chunk: usize,
    state: State,
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// The element so far; of one that is too long the head.
    record: Vec<u8>,
    /// Bytes of the element.
    length: usize,
    /// Elements, one a line.
    lines: Vec<u8>,
    /// Pieces, and where the last element of each ended; `None` behind what stands for the rest.
    ready: VecDeque<(Piece, Option<u64>)>,
    offset: u64,
    /// Where the last of `lines` ended.
    ended: u64,
    consumed: Option<u64>,
}

impl Document {
    /// `resumed`: what is pushed follows an element.
    pub(crate) fn new(max_record: usize, chunk: usize, resumed: bool) -> Self {
        Self {
            max_record,
            chunk,
            state: if resumed { State::Behind } else { State::Start },
            depth: 0,
            in_string: false,
            escaped: false,
            record: Vec::new(),
            length: 0,
            lines: Vec::new(),
            ready: VecDeque::new(),
            offset: 0,
            ended: 0,
            consumed: Some(0),
        }
    }

    /// Where the last element that was handed out ended; `None` when nothing is left to tell.
    pub(crate) fn consumed(&self) -> Option<u64> {
        self.consumed
    }

    /// What follows says nothing more.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            let taken = match self.state {
                State::Element | State::Object => self.element(&bytes[at..]),
                _ => self.between(bytes[at]),
            };
            at += taken;
        }
    }

    pub(crate) fn pull(&mut self, end: bool) -> Option<Piece> {
        if self.ready.is_empty() && end {
            self.finish();
        }
        let (piece, consumed) = self.ready.pop_front()?;
        self.consumed = consumed;
        Some(piece)
    }

    /// As [`crate::Splitter::pull_torn`].
    pub(crate) fn pull_torn(&mut self, reason: &mut Option<&'static str>) -> Option<Piece> {
        if self.ready.is_empty() {
            self.flush();
        }
        if self.ready.is_empty()
            && let Some(reason) = reason.take()
            && self.state != State::Done
        {
            self.refuse_rest(reason.to_owned());
        }
        let (piece, consumed) = self.ready.pop_front()?;
        self.consumed = consumed;
        Some(piece)
    }

    /// One byte between elements. Returns how many it took: an element's first byte is the element's.
    fn between(&mut self, byte: u8) -> usize {
        if byte.is_ascii_whitespace() {
            self.offset += 1;
            return 1;
        }
        self.state = match (self.state, byte) {
            (State::Start, b'[') => State::First,
            (State::Start, b'{') => return self.begin(State::Object),
            (State::First | State::Behind, b']') => State::End,
            (State::Behind, b',') => State::Next,
            (State::First | State::Next, b',' | b']' | b'}') | (State::Behind, _) => {
                self.record.push(byte);
                self.refuse_rest("the document's array is damaged here: the rest cannot be read".to_owned());
                return 1;
            }
            (State::First | State::Next, _) => return self.begin(State::Element),
            (State::BehindObject, _) => {
                let reason = "text after the document's object; one object a line is `[format] type = \"ndjson\"`";
                self.refuse_rest(reason.to_owned());
                return 1;
            }
            (State::End, _) => {
                self.record.push(byte);
                self.refuse_rest("text after the end of the document's array".to_owned());
                return 1;
            }
            _ => {
                self.record.push(byte);
                self.refuse_rest("the document is neither an array nor an object".to_owned());
                return 1;
            }
        };
        self.offset += 1;
        1
    }

    fn begin(&mut self, state: State) -> usize {
        (self.depth, self.in_string, self.escaped, self.length) = (0, false, false, 0);
        self.record.clear();
        self.state = state;
        0
    }

    /// Goes on in the element, to its end or the end of the bytes. Returns how many it took.
    fn element(&mut self, bytes: &[u8]) -> usize {
        let (mut at, mut kept, mut ends) = (0, 0, false);
        while at < bytes.len() && !ends {
            if self.in_string && !self.escaped {
                at += memchr3(b'"', b'\\', b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
                if at == bytes.len() {
                    break;
                }
            }
            let byte = bytes[at];
            if byte == b'\n' && (self.in_string || self.depth > 0) {
                self.keep(&bytes[kept..at]);
                self.keep(if self.in_string { b"\r" } else { b" " });
                (kept, self.escaped) = (at + 1, false);
            } else if self.in_string {
                (self.in_string, self.escaped) = match byte {
                    _ if self.escaped => (true, false),
                    b'\\' => (true, true),
                    b'"' => (false, false),
                    _ => (true, false),
                };
                ends = !self.in_string && self.depth == 0;
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth > 0 => {
                        self.depth -= 1;
                        ends = self.depth == 0;
                    }
                    // What ends a number or a word is not of it.
                    b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                        self.keep(&bytes[kept..at]);
                        self.offset += at as u64;
                        self.end_element();
                        return at;
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        self.keep(&bytes[kept..at]);
        self.offset += at as u64;
        if ends {
            self.end_element();
        }
        at
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if self.length > self.max_record {
            self.record.truncate(HEAD_BYTES.max(self.max_record));
        }
        let room = self.max_record.max(HEAD_BYTES).saturating_sub(self.record.len());
        self.record.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_element(&mut self) {
        if self.state == State::Object {
            self.state = State::BehindObject;
            return;
        }
        self.state = State::Behind;
        self.hand_out();
    }

    fn hand_out(&mut self) {
        if self.length > self.max_record {
            self.flush();
            self.record.truncate(HEAD_BYTES);
            let head = std::mem::take(&mut self.record).into();
            self.ready.push_back((Piece::Refused { head, reason: too_long(self.max_record) }, Some(self.offset)));
            return;
        }
        self.ended = self.offset;
        self.lines.extend_from_slice(&self.record);
        self.lines.push(b'\n');
        self.record.clear();
        if self.lines.len() >= self.chunk {
            self.flush();
        }
    }

    /// The lines so far become a piece.
    fn flush(&mut self) {
        if !self.lines.is_empty() {
            let lines = Bytes::from(std::mem::take(&mut self.lines));
            self.ready.push_back((Piece::Records(lines), Some(self.ended)));
        }
    }

    fn refuse_rest(&mut self, reason: String) {
        self.flush();
        self.record.truncate(HEAD_BYTES);
        let head = std::mem::take(&mut self.record).into();
        self.ready.push_back((Piece::Refused { head, reason }, None));
        self.state = State::Done;
    }

    /// The document's end.
    fn finish(&mut self) {
        match self.state {
            State::Start | State::End | State::Done => {}
            State::BehindObject => self.hand_out(),
            State::Object => self.refuse_rest("the document is truncated: its object is not closed".to_owned()),
            _ => self.refuse_rest("the document is truncated: its array is not closed".to_owned()),
        }
        self.flush();
        if matches!(self.state, State::BehindObject)
            && let Some((_, consumed)) = self.ready.back_mut()
        {
            *consumed = None;
        }
        self.state = State::Done;
    }
}
