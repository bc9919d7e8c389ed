//! Avro object container files, block by block: found and checked here, unpacked and decoded by the transform.
//!
//! A block ends with the first of the file's sync markers after its beginning; where that is not where the block itself
//! says, it is refused as one record and reading goes on behind the marker. So every reader sees the same blocks, wherever
//! it begins: a block belongs to the part in which its first byte lies.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use weir_contract::limits::{MAX_AVRO_BLOCK_BYTES, MAX_AVRO_HEADER_BYTES};

use crate::blob::Blob;
use crate::error::IntakeError;
use crate::ranges::Ranges;
use crate::split::HEAD_BYTES;

const LONG_HEADER: &str = "the Avro file's header has more than 4 MiB";
const MAGIC: [u8; 4] = *b"Obj\x01";
const MARKER_BYTES: usize = 16;
const FIRST_READ: u64 = 64 * 1024;
/// Two numbers of 64 bits.
const MAX_BLOCK_HEAD: usize = 20;

/// What the file's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroHeader {
    /// The schema, as JSON.
    pub schema: String,
    pub codec: String,
    marker: [u8; MARKER_BYTES],
    /// Where the blocks begin.
    length: u64,
}

#[derive(Debug, Clone)]
pub struct AvroOptions {
    /// Bytes of one request.
    pub range_bytes: u64,
    /// Where an earlier reader stopped, by its [`AvroReader::consumed`]; 0 begins at the beginning.
    pub from: u64,
    /// Only the blocks that begin in these bytes.
    pub part: Option<Range<u64>>,
}

/// A stretch of the file, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AvroPiece {
    /// As it is stored. `count` is what the block says, and may lie.
    Block { count: u64, data: Bytes },
    /// A block that cannot be handed on stands for one record: its first 64 KiB at most, and why.
    Refused { head: Bytes, reason: &'static str },
}

/// Gives a file's blocks in order; holds two ranges and a block.
#[derive(Debug)]
pub struct AvroReader {
    ranges: Ranges,
    marker: [u8; MARKER_BYTES],
    buffer: BytesMut,
    /// Where the buffer begins in the blob.
    at: u64,
    until: u64,
    /// Reading goes on behind the next marker.
    searches: bool,
    /// Handed out when the marker behind it is found.
    refused: Option<AvroPiece>,
    consumed: u64,
}

impl Blob {
    /// The header of an Avro file; the reason why it is none, which refuses the blob.
    pub async fn avro_header(&self) -> Result<Result<AvroHeader, String>, IntakeError> {
        let mut wanted = FIRST_READ;
        loop {
            let bytes = self.read(0..wanted).await?;
            match header(&bytes) {
                Ok(header) => return Ok(Ok(header)),
                Err(Broken::Damaged(reason)) => return Ok(Err(format!("the Avro file's header is damaged: {reason}"))),
                Err(Broken::Short) if wanted >= self.size() => {
                    return Ok(Err("the Avro file is truncated in its header".to_owned()));
                }
                Err(Broken::Short) if wanted >= MAX_AVRO_HEADER_BYTES as u64 => {
                    return Ok(Err(LONG_HEADER.to_owned()));
                }
                Err(Broken::Short) => wanted = wanted.saturating_mul(4),
            }
        }
    }

    pub fn avro(&self, header: &AvroHeader, options: AvroOptions) -> AvroReader {
        let part = options.part.unwrap_or(0..self.size());
        let until = part.end.min(self.size());
        let at_block = options.from > 0 || part.start <= header.length;
        let at = match options.from {
            0 if at_block => header.length,
            0 => part.start - MARKER_BYTES as u64, // a block that begins with the part follows this marker
            from => from,
        };
        let mut ranges = Ranges::new(self.clone(), options.range_bytes, true);
        ranges.seek(at, until);
        AvroReader {
            ranges,
            marker: header.marker,
            buffer: BytesMut::new(),
            at,
            until,
            searches: !at_block,
            refused: None,
            consumed: options.from,
        }
    }
}

impl AvroReader {
    /// The next block; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<AvroPiece>, IntakeError> {
        loop {
            if self.searches && !self.search().await? {
                return Ok(self.hand_out_refused());
            }
            if self.refused.is_some() {
                return Ok(self.hand_out_refused());
            }
            if self.at >= self.until || !self.fill(1).await? {
                return Ok(None);
            }
            if let Some(piece) = self.block().await? {
                self.consumed = self.at;
                return Ok(Some(piece));
            }
        }
    }

    /// Where to go on after the pieces that were handed out so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// How far into the blob reading has come: what lies before was handed out, or a refused block stands for it.
    pub fn reached(&self) -> u64 {
        self.at
    }

    fn hand_out_refused(&mut self) -> Option<AvroPiece> {
        let refused = self.refused.take()?;
        self.consumed = self.at;
        Some(refused)
    }

    /// The block that begins here; `None` when it has to be refused, or holds nothing.
    async fn block(&mut self) -> Result<Option<AvroPiece>, IntakeError> {
        self.fill(MAX_BLOCK_HEAD).await?;
        let mut rest = &self.buffer[..];
        let (count, length) = match (number(&mut rest), number(&mut rest)) {
            (Ok(count), Ok(length)) => (count, length),
            (Err(Broken::Short), _) | (_, Err(Broken::Short)) => return self.refuse_end(),
            _ => return self.refuse("the Avro block's head is damaged"),
        };
        let head = self.buffer.len() - rest.len();
        let (Ok(count), Ok(length)) = (u64::try_from(count), u64::try_from(length)) else {
            return self.refuse("the Avro block's head is damaged");
        };
        // It is held in memory, packed and unpacked.
        if length > MAX_AVRO_BLOCK_BYTES as u64 {
            return self.refuse("the Avro block has more than 64 MiB");
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let whole = self.fill(head + length + MARKER_BYTES).await?;
        let end = self.buffer.len().min(head + length + MARKER_BYTES);
        match memmem::find(&self.buffer[..end], &self.marker) {
            Some(found) if found == head + length => {}
            None if !whole => return self.refuse_end(),
            _ => return self.refuse("the Avro block does not end with the file's sync marker"),
        }
        let mut block = self.buffer.split_to(end);
        self.at += end as u64;
        block.advance(head);
        block.truncate(length);
        Ok((count > 0 || length > 0).then(|| AvroPiece::Block { count, data: block.freeze() }))
    }

    /// What is left is no whole block.
    fn refuse_end(&mut self) -> Result<Option<AvroPiece>, IntakeError> {
        let head = self.buffer.split();
        self.at += head.len() as u64;
        self.until = self.at;
        Ok(Some(AvroPiece::Refused { head: head.freeze().slice(..0), reason: "the Avro file is truncated" }))
    }

    fn refuse(&mut self, reason: &'static str) -> Result<Option<AvroPiece>, IntakeError> {
        let head = Bytes::copy_from_slice(&self.buffer[..self.buffer.len().min(HEAD_BYTES).min(MAX_BLOCK_HEAD)]);
        self.refused = Some(AvroPiece::Refused { head, reason });
        self.searches = true;
        Ok(None)
    }

    /// Goes behind the next marker. False when there is none before the end of the part.
    async fn search(&mut self) -> Result<bool, IntakeError> {
        loop {
            if let Some(found) = memmem::find(&self.buffer, &self.marker) {
                self.buffer.advance(found + MARKER_BYTES);
                self.at += (found + MARKER_BYTES) as u64;
                self.searches = false;
                return Ok(self.at < self.until || self.refused.is_some());
            }
            let gone = self.buffer.len().saturating_sub(MARKER_BYTES - 1);
            self.buffer.advance(gone);
            self.at += gone as u64;
            if self.at >= self.until || !self.fill(self.buffer.len() + 1).await? {
                (self.searches, self.at) = (false, self.until.max(self.at));
                self.until = self.at;
                return Ok(false);
            }
        }
    }

    /// Whether there are as many bytes in the buffer, which is filled if need be.
    async fn fill(&mut self, wanted: usize) -> Result<bool, IntakeError> {
        while self.buffer.len() < wanted && !self.ranges.is_done() {
            let bytes = self.ranges.next().await?;
            self.buffer.extend_from_slice(&bytes);
        }
        Ok(self.buffer.len() >= wanted)
    }
}

/// The header of a file that is there as a whole, and where its blocks begin.
pub(crate) fn whole_header(bytes: &[u8]) -> Result<(AvroHeader, usize), String> {
    match header(&bytes[..bytes.len().min(MAX_AVRO_HEADER_BYTES)]) {
        Ok(header) => {
            let length = usize::try_from(header.length).unwrap_or(usize::MAX);
            Ok((header, length))
        }
        Err(Broken::Damaged(reason)) => Err(format!("the Avro file's header is damaged: {reason}")),
        Err(Broken::Short) if bytes.len() >= MAX_AVRO_HEADER_BYTES => Err(LONG_HEADER.to_owned()),
        Err(Broken::Short) => Err("the Avro file is truncated in its header".to_owned()),
    }
}

/// A block of such a file.
pub(crate) struct WholeBlock {
    pub(crate) count: u64,
    pub(crate) data: Range<usize>,
    pub(crate) end: usize,
}

/// The block that begins here.
pub(crate) fn whole_block(bytes: &[u8], at: usize, header: &AvroHeader) -> Result<WholeBlock, &'static str> {
    const TRUNCATED: &str = "the Avro file is truncated";
    const DAMAGED: &str = "the Avro block's head is damaged";
    let mut rest = bytes.get(at..).ok_or(TRUNCATED)?;
    let mut next = || match number(&mut rest) {
        Ok(number) => usize::try_from(number).map_err(|_| DAMAGED),
        Err(Broken::Short) => Err(TRUNCATED),
        Err(Broken::Damaged(_)) => Err(DAMAGED),
    };
    let (count, length) = (next()?, next()?);
    let start = bytes.len() - rest.len();
    let marker = rest.get(length..).and_then(|behind| behind.get(..MARKER_BYTES)).ok_or(TRUNCATED)?;
    if marker != header.marker {
        return Err("the Avro block does not end with the file's sync marker");
    }
    Ok(WholeBlock { count: count as u64, data: start..start + length, end: start + length + MARKER_BYTES })
}

enum Broken {
    /// More bytes may mend it.
    Short,
    Damaged(&'static str),
}

fn header(bytes: &[u8]) -> Result<AvroHeader, Broken> {
    let mut rest = bytes.strip_prefix(&MAGIC[..]).ok_or(Broken::Damaged("no Avro signature"))?;
    let (mut schema, mut codec) = (None, "null".to_owned());
    loop {
        let entries = number(&mut rest)?;
        if entries == 0 {
            break;
        }
        if entries < 0 {
            number(&mut rest)?; // the bytes of the entries
        }
        for _ in 0..entries.unsigned_abs() {
            let key = bytes_of(&mut rest)?;
            let value = bytes_of(&mut rest)?;
            match key {
                b"avro.schema" => schema = Some(text(value)?),
                b"avro.codec" => codec = text(value)?,
                _ => {}
            }
        }
    }
    let (marker, _) = rest.split_first_chunk::<MARKER_BYTES>().ok_or(Broken::Short)?;
    let length = (bytes.len() - rest.len() + MARKER_BYTES) as u64;
    let schema = schema.ok_or(Broken::Damaged("it has no schema"))?;
    Ok(AvroHeader { schema, codec, marker: *marker, length })
}

fn text(bytes: &[u8]) -> Result<String, Broken> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Broken::Damaged("its schema or codec is not UTF-8"))
}

fn bytes_of<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Broken> {
    let length = usize::try_from(number(rest)?).map_err(|_| Broken::Damaged("a length is negative"))?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Broken::Short)?;
    *rest = behind;
    Ok(bytes)
}

/// A variable-length zigzag number.
fn number(rest: &mut &[u8]) -> Result<i64, Broken> {
    let mut value = 0_u64;
    for (index, byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    if rest.len() < 10 { Err(Broken::Short) } else { Err(Broken::Damaged("a number has more than 64 bits")) }
}
