//! What cuts a stream into records, whichever its framing.

use crate::document::Document;
use crate::split::{Framing, Piece, Splitter};

#[derive(Debug)]
pub(crate) enum Cutter {
    Lines(Splitter),
    Document(Document),
}

impl Cutter {
    /// `resumed`: the stream goes on where another cutter stopped.
    pub(crate) fn new(framing: Framing, max_record: usize, chunk: usize, resumed: bool) -> Self {
        match framing {
            Framing::Document => Self::Document(Document::new(max_record, chunk, resumed)),
            Framing::Lines | Framing::Csv { .. } => Self::Lines(Splitter::new(framing, max_record, chunk)),
        }
    }

    /// A lone carriage return ends a line, too.
    pub(crate) fn take_any_line_end(&mut self) {
        if let Self::Lines(splitter) = self {
            splitter.take_any_line_end();
        }
    }

    /// Lines that begin with this byte are no records.
    pub(crate) fn leave_out(&mut self, comment: u8) {
        if let Self::Lines(splitter) = self {
            splitter.leave_out(comment);
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Lines(splitter) => splitter.push(bytes),
            Self::Document(document) => document.push(bytes),
        }
    }

    pub(crate) fn pull(&mut self, end: bool) -> Option<Piece> {
        match self {
            Self::Lines(splitter) => splitter.pull(end),
            Self::Document(document) => document.pull(end),
        }
    }

    /// What is left of a stream that broke off: whole records, then the torn one with the reason, if it is not taken yet.
    pub(crate) fn pull_torn(&mut self, reason: &mut Option<&'static str>) -> Option<Piece> {
        match self {
            Self::Lines(splitter) => splitter.pull_torn(reason),
            Self::Document(document) => document.pull_torn(reason),
        }
    }

    /// How many bytes the pieces so far stand for; `None` for all of them.
    pub(crate) fn consumed(&self) -> Option<u64> {
        match self {
            Self::Lines(splitter) => Some(splitter.consumed()),
            Self::Document(document) => document.consumed(),
        }
    }

    /// Nothing else is to be read for the records that are left.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Document(document) if document.is_done())
    }
}
