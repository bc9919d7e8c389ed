//! What the body of an event holds: one record, several, or an Avro file of them. Pure, and for any bytes.
//!
//! - A body is taken whole or not at all: one that is damaged (a torn gzip stream, an array that is not closed, a block of
//!   Avro that is none) is refused with a reason, and whoever asks keeps it as it came. Records within a sound body are
//!   each judged by themselves.
//! - How a body is read depends on it and on its contract, and on nothing else.
//! - What it unpacks to is bounded, and so is the number of its records.

use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr2};
use weir_contract::limits::{MAX_BODY_BYTES, body_bytes, body_records};
use weir_contract::{Compression, Format, FormatKind};

use crate::avro;
use crate::gunzip::Gunzip;
use crate::inflate::Inflate;
use crate::magic::Magic;
use crate::unzstd::Unzstd;

const TOO_LARGE: &str = "the body unpacks to more than 64 MiB";
const TOO_MUCH: &str = "the body unpacks to more than 200 times its size and 1 MiB";
const NOT_CLOSED: &str = "the body's JSON array is not closed";
const BROKEN: &str = "the body's JSON array is broken between its elements";

/// A sound body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// It is one record, or is to be refused as one.
    One(Bytes),
    /// Records, in order, and where they are in the text. There may be none.
    Several {
        text: Bytes,
        records: Vec<Range<usize>>,
    },
    Avro(AvroBody),
}

/// An object container file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroBody {
    /// As JSON.
    pub schema: String,
    pub codec: String,
    /// How many records each block says it has, and its data as it is stored.
    pub blocks: Vec<(u64, Bytes)>,
}

impl Body {
    /// # Errors
    /// The reason to refuse it with, as one record.
    pub fn read(body: &Bytes, format: &Format) -> Result<Self, String> {
        let packed = Magic::of(body);
        let most = body_records(body.len());
        let inflate = match (format.compression, packed) {
            (Compression::Auto | Compression::Gzip, Magic::Gzip) => Inflate::Gzip(Box::new(Gunzip::new())),
            (Compression::Auto | Compression::Zstd, Magic::Zstd) => Inflate::Zstd(Box::new(Unzstd::new())),
            (Compression::Gzip, found) => return Err(found.instead_of(Magic::Gzip)),
            (Compression::Zstd, found) => return Err(found.instead_of(Magic::Zstd)),
            (Compression::Auto | Compression::None, found) => {
                return plain(body.clone(), found, None, format.kind, most);
            }
        };
        let text = unpack(inflate, body.clone())?;
        let found = Magic::of(&text);
        plain(text, found, Some(packed), format.kind, most)
    }
}

fn unpack(mut inflate: Inflate, mut packed: Bytes) -> Result<Bytes, String> {
    let most = body_bytes(packed.len());
    let (text, fault) = inflate.expand(&mut packed, true, most + 1);
    match fault {
        Some(fault) => Err(fault.to_owned()),
        None if text.len() > MAX_BODY_BYTES => Err(TOO_LARGE.to_owned()),
        None if text.len() > most => Err(TOO_MUCH.to_owned()),
        None => Ok(Bytes::from(text)),
    }
}

fn plain(body: Bytes, found: Magic, within: Option<Magic>, kind: FormatKind, most: usize) -> Result<Body, String> {
    match (kind, found) {
        (FormatKind::Avro | FormatKind::Auto, Magic::Avro) => avro(&body, most).map(Body::Avro),
        (FormatKind::Avro, _) if body.first() == Some(&0) => {
            Err("looks like Avro with its schema in a registry, which \
                                                                  is not supported: send object container files"
                .to_owned())
        }
        (FormatKind::Avro, _) => Err(found.instead_of(Magic::Avro)),
        (_, Magic::Parquet) => Err("looks like a Parquet file: events hold JSON or Avro".to_owned()),
        _ => match found.not_text(within) {
            Some(reason) => Err(reason),
            None => json(body, kind, most),
        },
    }
}

fn json(body: Bytes, kind: FormatKind, most: usize) -> Result<Body, String> {
    let (lines, arrays) = match kind {
        FormatKind::Ndjson => (true, false),
        FormatKind::Json => (false, true),
        _ => (true, true),
    };
    let start = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let first = start + body[start..].iter().take_while(|byte| blank(**byte)).count();
    let records = match body.get(first) {
        Some(b'[') if arrays => elements(&body, first, most)?,
        _ if lines => match lines_of(&body[start..], most) {
            Some(records) => records.into_iter().map(|line| line.start + start..line.end + start).collect(),
            None => return Ok(Body::One(body)),
        },
        _ => return Ok(Body::One(body)),
    };
    if records.len() > most {
        return Err(too_many(most));
    }
    Ok(Body::Several { text: body, records })
}

fn too_many(most: usize) -> String {
    format!("the body has more than {most} records")
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The lines that are not blank, if the body is several objects, one a line: there are two or more, and the first or the
/// last is a closed object by itself. An object that is written over several lines is one record, damaged or not.
fn lines_of(text: &[u8], most: usize) -> Option<Vec<Range<usize>>> {
    // Mostly there is none.
    let line_end = memchr(b'\n', text).or_else(|| memchr(b'\r', text)).and_then(|at| text.get(at).copied())?;
    let ends = memchr_iter(line_end, text).chain([text.len()]);
    let lines = ends.scan(0, |start, end| Some(std::mem::replace(start, end + 1)..end)).filter_map(|line| {
        let from = line.start + text[line.clone()].iter().take_while(|byte| blank(**byte)).count();
        let blanks = text[from..line.end].iter().rev().take_while(|byte| blank(**byte)).count();
        (from < line.end).then(|| from..line.end - blanks)
    });
    // Counted first: a body of line breaks would take sixteen times its size.
    let lines: Vec<_> = lines.take(most + 1).collect();
    let [first, .., last] = &lines[..] else { return None };
    let closed = |line: &Range<usize>| {
        text[line.start] == b'{' && value_end(text, line.start).is_some_and(|end| end == line.end)
    };
    (closed(first) || closed(last)).then_some(lines)
}

/// The elements of the one array that the text is.
fn elements(text: &[u8], open: usize, most: usize) -> Result<Vec<Range<usize>>, String> {
    let skip = |at: usize| at + text[at..].iter().take_while(|byte| blank(**byte)).count();
    let mut elements = Vec::new();
    let mut at = skip(open + 1);
    if text.get(at) == Some(&b']') {
        at += 1;
    } else {
        loop {
            let end = match text.get(at) {
                None => return Err(NOT_CLOSED.to_owned()),
                Some(b',' | b']' | b'}') => return Err(BROKEN.to_owned()),
                Some(_) => value_end(text, at).ok_or(NOT_CLOSED)?,
            };
            elements.push(at..end);
            if elements.len() > most {
                break; // refused by the caller
            }
            at = skip(end);
            match text.get(at) {
                Some(b',') => at = skip(at + 1),
                Some(b']') => {
                    at += 1;
                    break;
                }
                None => return Err(NOT_CLOSED.to_owned()),
                Some(_) => return Err(BROKEN.to_owned()),
            }
        }
    }
    if elements.len() <= most && skip(at) < text.len() {
        return Err("the body has more than its JSON array".to_owned());
    }
    Ok(elements)
}

/// Where the value that begins here ends, by brackets and strings alone: whether it is sound JSON is for its decoder.
fn value_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at + 1)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth <= 1 {
                    // What ends a number or a word is not of it.
                    return Some(if depth == 0 { at } else { at + 1 });
                }
                depth -= 1;
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
    (depth == 0).then_some(at)
}

/// Behind the quote that ends the string whose content begins here.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn avro(body: &Bytes, most: usize) -> Result<AvroBody, String> {
    let (header, mut at) = avro::whole_header(body)?;
    let mut blocks = Vec::new();
    let mut records = 0_u64;
    while at < body.len() {
        let block = avro::whole_block(body, at, &header)?;
        records = records.saturating_add(block.count);
        if records > most as u64 {
            return Err(too_many(most));
        }
        blocks.push((block.count, body.slice(block.data)));
        at = block.end;
    }
    Ok(AvroBody { schema: header.schema, codec: header.codec, blocks })
}
