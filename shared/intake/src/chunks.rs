//! A blob, or a part of it, as a sequence of pieces: fetched, unpacked, turned into UTF-8, cut.
//!
//! *Parts.* A record belongs to the part in which its first byte lies. So a part that does not begin with the blob drops
//! what is left of the record before it, and every part reads on until the record that began in it is complete. All
//! parts together give what the whole blob gives, refused records included.
//!
//! *Going on.* [`ChunkReader::consumed`] says where the last piece ended, in the stream that is cut: the blob's own bytes
//! when it is plain UTF-8, else what comes out of unpacking and transcoding. A reader that is opened there gives the rest.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2};
use tokio::task::spawn_blocking;
use weir_contract::Compression;

use crate::blob::Blob;
use crate::cutter::Cutter;
use crate::encoding::{Transcoder, is_utf8};
use crate::error::IntakeError;
use crate::gunzip::Gunzip;
use crate::inflate::{Inflate, most_expanded};
use crate::magic::{HEAD_BYTES, Magic};
use crate::ranges::Ranges;
use crate::split::{Framing, Piece, ends_with_lone_cr};
use crate::unzstd::Unzstd;

const MANY_RECORDS: &str = "the packed blob holds more records than its size pays for";
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Where a reader stopped that has told all there is to tell. No stream is as long.
const ALL: u64 = 1 << 62;

#[derive(Debug, Clone)]
pub struct ChunkOptions {
    pub framing: Framing,
    /// A line that begins with it is no record; of [`Framing::Lines`].
    pub comment: Option<u8>,
    /// Lines at the beginning that say nothing.
    pub skip_lines: usize,
    /// The delimiter of a CSV, whose first line may be `sep=` and it: spreadsheets read and write that. It says nothing.
    pub separator: Option<u8>,
    /// As the contract says; `Auto` goes by magic bytes.
    pub compression: Compression,
    /// One of [`weir_contract::ENCODINGS`]; a byte order mark says it better.
    pub encoding: &'static str,
    /// Bytes of one request.
    pub range_bytes: u64,
    /// Bytes of one piece, about.
    pub chunk_bytes: usize,
    /// A longer record is refused. Without its line break.
    pub max_record_bytes: usize,
    /// The records of a packed blob are as many as each takes so much of the bytes that the blob may unpack to.
    pub record_units: u64,
    /// Where an earlier reader of the same blob stopped, by its [`ChunkReader::consumed`]; 0 begins at the beginning.
    pub from: u64,
    /// Only the records that begin in these bytes. For blobs of which [`Blob::probe`] says that they have parts.
    pub part: Option<Range<u64>>,
}

/// What is read of a blob's beginning by who does not begin there; more if no line ends in it.
const BEGINNING_READ: u64 = 4 * 1024;
/// A first line that is longer does not tell how lines end.
const FIRST_LINE_BYTES: usize = 1024 * 1024;
impl ChunkOptions {
    /// Whether reading begins with the blob.
    fn begins(&self) -> bool {
        self.from == 0 && self.part.as_ref().is_none_or(|part| part.start == 0)
    }
}

/// Whether the first line is `sep=` and the delimiter.
fn says(text: &[u8], delimiter: Option<u8>) -> bool {
    let rest = text.get(..4).filter(|start| start.eq_ignore_ascii_case(b"sep=")).and_then(|_| text.get(4..));
    rest.is_some_and(|rest| {
        rest.first().copied() == delimiter && delimiter.is_some() && matches!(rest.get(1), None | Some(b'\r' | b'\n'))
    })
}

/// What [`Blob::probe`] looks at.
const BEGINNING_BYTES: usize = 4 * 1024;

/// Gives a blob's pieces in order. Holds at most two ranges, two pieces, one record, and of a compressed stream 16 MiB
/// more (gzip) or 33 MiB (zstd). After an error it is of no use any more.
#[derive(Debug)]
pub struct ChunkReader {
    blob: Blob,
    options: ChunkOptions,
    ranges: Ranges,
    cutter: Cutter,
    inflate: Option<Inflate>,
    /// Fetched and not unpacked yet.
    packed: Bytes,
    /// What the stream was packed as.
    within: Option<Magic>,
    /// The first bytes of the stream, until they are enough to tell what it is.
    lead: Option<Vec<u8>>,
    transcoder: Option<Transcoder>,
    /// The text's beginning, until its first line end shows; `None` once it has.
    first_line: Option<Vec<u8>>,
    /// A lone carriage return ends a line, too.
    any_line_end: bool,
    /// Lines that are still to be skipped.
    skips: usize,
    /// Where the next byte stands in the stream.
    offset: u64,
    /// Where the cutter's first byte stood.
    base: u64,
    /// What is left of the record before the part is to be dropped.
    drops_line: bool,
    started: bool,
    end: bool,
    /// The stream broke off: what follows the last whole record is no record.
    torn: bool,
    /// Why; taken once it has been told.
    damage: Option<&'static str>,
    /// All that this blob gives: it is not what the contract says.
    foreign: Option<Piece>,
    /// The piece that ends all was handed out.
    told: bool,
    /// One record stands for all of the blob, or for all that is left of it, whoever hands it out.
    is_foreign: bool,
    /// What the records of a packed stream have drawn.
    drawn: u64,
    /// The first bytes that the cutter was given, for [`Blob::probe`].
    beginning: Bytes,
}

impl Blob {
    /// Reads the blob as records. A byte order mark is dropped.
    pub fn chunks(&self, options: ChunkOptions) -> ChunkReader {
        self.reader(options, true)
    }

    pub(crate) fn reader(&self, options: ChunkOptions, reads_ahead: bool) -> ChunkReader {
        let skips = if options.begins() { options.skip_lines } else { 0 };
        let mut cutter = Cutter::new(options.framing, options.max_record_bytes, options.chunk_bytes, options.from > 0);
        if let Some(comment) = options.comment {
            cutter.leave_out(comment);
        }
        ChunkReader {
            blob: self.clone(),
            ranges: Ranges::new(self.clone(), options.range_bytes, reads_ahead),
            cutter,
            end: self.size() == 0,
            options,
            inflate: None,
            packed: Bytes::new(),
            within: None,
            lead: Some(Vec::new()),
            transcoder: None,
            first_line: Some(Vec::new()),
            any_line_end: false,
            skips,
            offset: 0,
            base: 0,
            drops_line: false,
            started: false,
            torn: false,
            damage: None,
            foreign: None,
            told: false,
            is_foreign: false,
            drawn: 0,
            beginning: Bytes::new(),
        }
    }
}

impl ChunkReader {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Piece>, IntakeError> {
        if self.options.from >= ALL {
            return Ok(None);
        }
        loop {
            if let Some(piece) = self.foreign.take() {
                self.told = true;
                return Ok(Some(piece));
            }
            if self.torn {
                let piece = self.cutter.pull_torn(&mut self.damage);
                self.told |= piece.is_some() && self.damage.is_none();
                return Ok(piece);
            }
            if self.told {
                return Ok(None);
            }
            if let Some(piece) = self.cutter.pull(self.end) {
                match self.paid_for(piece) {
                    None => continue,
                    paid => return Ok(paid),
                }
            }
            if self.end {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    /// A packed stream of short records gives many times the work of one of long records: it ends where it has as many
    /// as its bytes pay for.
    fn paid_for(&mut self, piece: Piece) -> Option<Piece> {
        let Piece::Records(records) = &piece else { return Some(piece) };
        if self.inflate.is_none() {
            return Some(piece);
        }
        let left = most_expanded(self.blob.size()).saturating_sub(self.drawn) / self.options.record_units.max(1);
        let mut ends = memchr_iter(b'\n', records);
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let Some(beyond) = ends.nth(most) else {
            self.drawn += self.options.record_units * memchr_iter(b'\n', records).count() as u64;
            return Some(piece);
        };
        let paid = memchr_iter(b'\n', records).nth(most.wrapping_sub(1)).filter(|_| most > 0).map_or(0, |at| at + 1);
        let head = records.slice(paid..beyond.min(paid + HEAD_BYTES));
        self.foreign = Some(Piece::Refused { head, reason: MANY_RECORDS.to_owned() });
        (self.is_foreign, self.end) = (true, true);
        self.ranges.stop();
        (paid > 0).then(|| Piece::Records(records.slice(..paid)))
    }

    /// Where to go on after the pieces that were handed out so far: [`ChunkOptions::from`] of another reader.
    pub fn consumed(&self) -> u64 {
        match self.cutter.consumed() {
            None => ALL,
            Some(_) if self.told => ALL,
            Some(0) => self.options.from,
            Some(consumed) => self.base + consumed,
        }
    }

    /// How far into the blob's own bytes reading has come, once there are no more pieces: what lies before is part of a
    /// record, of a line that says nothing, or of what a refused record stands for.
    pub fn reached(&self) -> u64 {
        let size = self.blob.size();
        let stands_for_the_rest = self.is_foreign || self.torn || self.cutter.is_done() || self.options.from >= ALL;
        if stands_for_the_rest { size } else { self.ranges.reached().min(size) }
    }

    /// The first bytes of the text, as far as one read gives them.
    pub(crate) async fn beginning(&mut self) -> Result<&[u8], IntakeError> {
        while self.beginning.is_empty() && self.foreign.is_none() && !self.end {
            self.fill().await?;
        }
        Ok(&self.beginning)
    }

    /// Whether the stream is the blob itself, and UTF-8. Not known before the first read.
    pub(crate) fn is_plain(&self) -> bool {
        self.inflate.is_none() && self.transcoder.is_none() && self.foreign.is_none()
    }

    async fn fill(&mut self) -> Result<(), IntakeError> {
        if !self.started {
            self.started = true;
            return self.start().await;
        }
        if self.inflate.is_some() {
            return self.expand().await;
        }
        let bytes = self.ranges.next().await?;
        self.end = self.ranges.is_done();
        self.push(&bytes);
        Ok(())
    }

    /// Tells from the first bytes what this is, and goes to where reading begins.
    async fn start(&mut self) -> Result<(), IntakeError> {
        let (size, from) = (self.blob.size(), self.options.from);
        let part = self.options.part.clone().unwrap_or(0..size);
        let part = part.start..part.end.min(size);
        let at_start = from == 0 && part.start == 0;
        if part.is_empty() {
            self.end = true;
            return Ok(());
        }
        let mut head = BytesMut::new();
        if at_start {
            self.ranges.seek(0, part.end);
            while head.len() < HEAD_BYTES && !self.ranges.is_done() {
                head.extend_from_slice(&self.ranges.next().await?);
            }
        } else {
            head.extend_from_slice(&self.blob.read(0..BEGINNING_READ).await?);
        }
        let head = head.freeze();
        let short = &head[..head.len().min(HEAD_BYTES)];
        let found = Magic::of(short);
        let packed = match packed(self.options.compression, found, short) {
            Ok(packed) => packed,
            Err(reason) => {
                self.refuse_all(short, reason);
                return Ok(());
            }
        };
        let is_plain = packed.is_none() && is_utf8(self.options.encoding, short);
        if part != (0..size) && !(is_plain && self.options.framing == Framing::Lines) {
            return Err(IntakeError::NoParts { path: self.blob.path().clone() });
        }
        self.within = packed;
        self.inflate = match packed {
            Some(Magic::Gzip) => Some(Inflate::Gzip(Box::new(Gunzip::new()))),
            Some(_) => Some(Inflate::Zstd(Box::new(Unzstd::new()))),
            None => None,
        };
        if at_start {
            self.end = self.ranges.is_done() && self.inflate.is_none();
            match self.inflate {
                Some(_) => self.packed = head,
                None => self.push(&head),
            }
        } else if is_plain {
            self.look_at_first_line(&head).await?;
            self.seek(short, &part);
        }
        Ok(())
    }

    /// How lines end, for a reader that does not begin at the beginning. `head`: the first bytes of the blob.
    async fn look_at_first_line(&mut self, head: &[u8]) -> Result<(), IntakeError> {
        let mut head = head.to_vec();
        loop {
            let is_all = head.len() as u64 >= self.blob.size();
            let text = head.strip_prefix(&BOM).unwrap_or(&head);
            if let Some(lone) = self.lone_cr(text, is_all) {
                self.settle_line_ends(lone);
                return Ok(());
            }
            let from = head.len() as u64;
            head.extend_from_slice(&self.blob.read(from..from + from.max(BEGINNING_READ)).await?);
        }
    }

    /// Whether the first line ends with a lone carriage return, whatever reads the text came in. `None`: not known yet.
    fn lone_cr(&self, text: &[u8], is_all: bool) -> Option<bool> {
        let most = self.options.max_record_bytes.saturating_add(2).min(FIRST_LINE_BYTES);
        match text.get(..most).filter(|_| text.len() > most) {
            Some(window) => Some(ends_with_lone_cr(self.options.framing, window, false).unwrap_or(false)),
            None => ends_with_lone_cr(self.options.framing, text, is_all),
        }
    }

    fn settle_line_ends(&mut self, lone_cr: bool) {
        self.first_line = None;
        self.any_line_end = lone_cr;
        if lone_cr {
            self.cutter.take_any_line_end();
        }
    }

    /// Goes to the first record to be read, of a stream that is the blob itself.
    fn seek(&mut self, head: &[u8], part: &Range<u64>) {
        if let Some(reason) = Magic::of(head).not_text(None) {
            self.refuse_all(head, reason);
        }
        self.lead = None;
        self.drops_line = self.options.from == 0;
        self.offset = if self.drops_line { part.start - 1 } else { self.options.from };
        self.base = self.offset;
        self.end |= self.offset >= part.end;
        self.ranges.seek(self.offset, part.end);
    }

    async fn expand(&mut self) -> Result<(), IntakeError> {
        if self.packed.is_empty() {
            self.packed = self.ranges.next().await?;
        }
        let Some(mut inflate) = self.inflate.take() else { return Ok(()) };
        let mut packed = std::mem::take(&mut self.packed);
        let (last, enough) = (self.ranges.is_done(), self.options.chunk_bytes.max(1));
        let expanded = spawn_blocking(move || {
            let (bytes, damage) = inflate.expand(&mut packed, last, enough);
            (inflate, packed, bytes, damage)
        });
        let (inflate, packed, bytes, damage) =
            expanded.await.map_err(|_| IntakeError::Stopped { path: self.blob.path().clone() })?;
        (self.inflate, self.packed) = (Some(inflate), packed);
        self.end = last && self.packed.is_empty();
        if damage.is_some() {
            self.damage = damage;
            (self.torn, self.end) = (true, true);
            self.ranges.stop();
        }
        self.push(&bytes);
        Ok(())
    }

    /// Takes bytes of the stream.
    fn push(&mut self, bytes: &[u8]) {
        let Some(lead) = &mut self.lead else { return self.push_known(bytes) };
        lead.extend_from_slice(bytes);
        if lead.len() < HEAD_BYTES && !self.end {
            return;
        }
        let lead = self.lead.take().unwrap_or_default();
        let head = &lead[..lead.len().min(HEAD_BYTES)];
        if let Some(reason) = Magic::of(head).not_text(self.within) {
            return self.refuse_all(head, reason);
        }
        self.transcoder = Transcoder::new(self.options.encoding, head);
        let marked = if self.transcoder.is_none() && lead.starts_with(&BOM) { BOM.len() } else { 0 };
        self.offset = marked as u64;
        self.base = self.offset.max(self.options.from);
        self.push_known(&lead[marked..]);
    }

    /// Takes bytes of a stream that is known to be text.
    fn push_known(&mut self, bytes: &[u8]) {
        match &mut self.transcoder {
            Some(transcoder) => {
                let text = transcoder.transcode(bytes, self.end);
                self.push_text(&text);
            }
            None => self.push_text(bytes),
        }
    }

    /// Takes text, once its first line end has shown what ends lines.
    fn push_text(&mut self, text: &[u8]) {
        let Some(mut first_line) = self.first_line.take() else { return self.push_lines(text) };
        let text = if first_line.is_empty() {
            text // mostly it is enough
        } else {
            first_line.extend_from_slice(text);
            &first_line
        };
        if self.beginning.is_empty() {
            self.beginning = Bytes::copy_from_slice(&text[..text.len().min(BEGINNING_BYTES)]);
        }
        match self.lone_cr(text, self.end) {
            Some(lone_cr) => {
                self.settle_line_ends(lone_cr);
                let says_delimiter = self.options.begins() && says(text, self.options.separator);
                self.skips = self.skips.max(usize::from(says_delimiter));
                self.push_lines(text);
            }
            None if first_line.is_empty() => self.first_line = Some(text.to_vec()),
            None => self.first_line = Some(first_line),
        }
    }

    /// The first line end in `text`.
    fn line_end(&self, text: &[u8]) -> Option<usize> {
        if self.any_line_end { memchr2(b'\n', b'\r', text) } else { memchr(b'\n', text) }
    }

    /// Gives the splitter what lies between the beginning and the end of what is to be read.
    fn push_lines(&mut self, mut text: &[u8]) {
        if self.offset < self.options.from {
            let told = (self.options.from - self.offset).min(text.len() as u64);
            self.offset += told;
            text = &text[usize::try_from(told).unwrap_or(text.len())..];
        }
        while self.skips > 0 {
            let line_end = self.line_end(text);
            let mut dropped = line_end.map_or(text.len(), |at| at + 1);
            if text.get(dropped - usize::from(dropped > 0)..dropped + 1) == Some(b"\r\n") {
                dropped += 1;
            }
            self.offset += dropped as u64;
            self.base = self.offset;
            text = &text[dropped..];
            if line_end.is_none() {
                return;
            }
            self.skips -= 1;
        }
        let until = self.options.part.as_ref().map_or(u64::MAX, |part| part.end);
        if self.drops_line {
            let line_break = self.line_end(text);
            let dropped = line_break.map_or(text.len(), |at| at + 1);
            self.offset += dropped as u64;
            self.base = self.offset;
            self.drops_line = line_break.is_none();
            text = &text[dropped..];
            if self.offset >= until {
                self.stop();
                return;
            }
        }
        // The record that ends with the first line break from here on is the last that began before `until`.
        let from = until.saturating_sub(1).saturating_sub(self.offset);
        let behind = usize::try_from(from).ok().and_then(|from| text.get(from..).map(|rest| (from, rest)));
        if let Some((from, rest)) = behind
            && let Some(at) = self.line_end(rest)
        {
            text = &text[..=from + at];
            self.stop();
        }
        self.offset += text.len() as u64;
        self.cutter.push(text);
        if self.cutter.is_done() {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.end = true;
        self.ranges.stop();
    }

    /// The blob is not what it is said to be: one record stands for all of it. A reader that goes on has told it.
    fn refuse_all(&mut self, head: &[u8], reason: String) {
        self.stop();
        (self.torn, self.is_foreign) = (false, true);
        let begins = self.options.from == 0 && self.options.part.as_ref().is_none_or(|part| part.start == 0);
        self.foreign = begins.then(|| Piece::Refused { head: Bytes::copy_from_slice(head), reason });
    }
}

/// What the stream is packed as; an error when it is not what the contract says.
fn packed(says: Compression, found: Magic, head: &[u8]) -> Result<Option<Magic>, String> {
    let wanted = match says {
        Compression::None => return Ok(None),
        Compression::Auto => return Ok(Some(found).filter(|found| matches!(found, Magic::Gzip | Magic::Zstd))),
        Compression::Gzip => Magic::Gzip,
        Compression::Zstd => Magic::Zstd,
    };
    // A stream that breaks off in its own signature is truncated.
    if found == wanted || wanted.may_become(head) { Ok(Some(wanted)) } else { Err(found.instead_of(wanted)) }
}
