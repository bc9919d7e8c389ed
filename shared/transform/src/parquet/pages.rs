//! The pages of one column chunk: their headers are read before anything is unpacked, so that sizes, counts and memory are
//! known, and then page by page what they hold.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ColumnChunkMetaData;

use weir_contract::{Allowance, Stop};

use super::codec::Codec;
use super::delta;
use super::source::Source;
use super::thrift::{FALSE, I32, Malformed, STRUCT, TRUE, Thrift};

const DELTA_LENGTH_BYTE_ARRAY: i32 = 6;
const DELTA_BYTE_ARRAY: i32 = 7;
/// What a page draws, and how many bytes it unpacks to for each further unit.
const PAGE_UNITS: u64 = 1_024;
const PAGE_BYTES_PER_UNIT: u64 = 4;
/// A page unpacked.
pub(super) const MAX_PAGE_BYTES: usize = 128 * 1024 * 1024;
/// Values of one page of a column that repeats, and of the pages that one step of it needs.
pub(super) const MAX_REPEATED: usize = 8 * 1024 * 1024;
/// A header; statistics in it may be long.
const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// Pages of a chunk.
const MAX_PAGES: usize = 1_000_000;
/// Older writers forget their dictionary's header in the size of a chunk.
const SLACK: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dictionary,
    V1,
    V2,
}

/// What a header says.
#[derive(Debug, Clone)]
pub(super) struct Header {
    kind: Kind,
    at: u64,
    packed: usize,
    pub(super) unpacked: usize,
    /// What its values take once they are decoded, where that is more.
    holds: usize,
    pub(super) values: usize,
    rows: Option<usize>,
    nulls: usize,
    encoding: i32,
    levels: (i32, i32),
    level_bytes: (usize, usize),
    is_packed: bool,
    crc: Option<u32>,
}

/// A chunk's pages, in order.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) headers: Vec<Header>,
    /// Values of its data pages.
    pub(super) values: usize,
    /// What the largest page and the dictionary take, unpacked.
    pub(super) open_bytes: usize,
    /// Why no further ones were found.
    pub(super) damage: Option<String>,
    compression: Compression,
    repeats: bool,
}

/// What opening a row group is bounded by.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Pages draw what they unpack to.
    pub(super) allowance: Allowance,
    pub(super) stop: Stop,
}

impl Pages {
    pub(super) fn scan(source: &Source, chunk: &ColumnChunkMetaData, repeats: bool, bounds: &Bounds) -> Self {
        let mut pages = Self {
            headers: Vec::new(),
            values: 0,
            open_bytes: 0,
            damage: None,
            compression: chunk.compression(),
            repeats,
        };
        pages.damage = pages.find(source, chunk, bounds).err();
        let largest = |dictionary: bool| {
            let of_kind = pages.headers.iter().filter(|header| (header.kind == Kind::Dictionary) == dictionary);
            of_kind.map(|header| header.holds).max().unwrap_or(0)
        };
        pages.open_bytes = largest(true) + largest(false);
        pages
    }

    fn find(&mut self, source: &Source, chunk: &ColumnChunkMetaData, bounds: &Bounds) -> Result<(), String> {
        let start = first_page(chunk);
        let place = |value: i64| u64::try_from(value).map_err(|_| "its place is negative".to_owned());
        let (mut at, length) = (place(start)?, place(chunk.compressed_size())?);
        let claimed = usize::try_from(chunk.num_values()).map_err(|_| "its number of values is negative".to_owned())?;
        let end = at.saturating_add(length);
        let mut codec = Codec::new(self.compression);
        while at < end && !bounds.stop.is_set() {
            if self.headers.len() == MAX_PAGES {
                return Err(format!("it has more than {MAX_PAGES} pages"));
            }
            let mut header = match read_header(source, at, end.saturating_add(2 * SLACK))? {
                Some((Some(header), next)) => {
                    at = next;
                    header
                }
                // What stands behind the last value is padding.
                _ if self.values == claimed => break,
                Some((None, next)) => {
                    at = next;
                    continue;
                }
                None => return Err("the header of a page is damaged".to_owned()),
            };
            if header.unpacked > MAX_PAGE_BYTES {
                return Err(format!("a page of {} bytes is larger than {MAX_PAGE_BYTES}", header.unpacked));
            }
            if header.at + header.packed as u64 > source.length.min(end.saturating_add(SLACK)) {
                return Err("a page ends behind the end of its column".to_owned());
            }
            if header.kind != Kind::Dictionary {
                if self.repeats && header.values > MAX_REPEATED {
                    return Err(format!("a page of a list has more than {MAX_REPEATED} values"));
                }
                self.values += header.values;
            }
            let times = if header.is_delta() { 2 } else { 1 };
            if !bounds.allowance.take(times * (PAGE_UNITS + header.unpacked as u64 / PAGE_BYTES_PER_UNIT)) {
                return Err("its pages unpack to more than the file may give".to_owned());
            }
            header.holds = header.unpacked;
            if header.is_delta() {
                let content = content(source, self.compression, &header, &mut codec)?;
                header.holds = header.holds.max(header.delta_bytes(&content, chunk)?);
            }
            self.headers.push(header);
        }
        Ok(())
    }

    /// The bytes of pages that any `count` rows in a row can lie in, where a row has one value.
    pub(super) fn window(&self, count: usize) -> usize {
        let data: Vec<&Header> = self.headers.iter().filter(|header| header.kind != Kind::Dictionary).collect();
        let (mut most, mut first, mut rows, mut bytes) = (0, 0, 0, 0);
        for (last, header) in data.iter().enumerate() {
            rows += header.values;
            bytes += header.holds;
            // The rows may begin with the last of the first page.
            while first < last && rows - data[first].values >= count + header.values.saturating_sub(1) {
                rows -= data[first].values;
                bytes -= data[first].holds;
                first += 1;
            }
            most = most.max(bytes);
        }
        most
    }

    /// The rows of the page that was read as number `delivered`, where a row has one value.
    pub(super) fn rows_of(&self, delivered: usize) -> std::ops::Range<usize> {
        let mut row = 0;
        for (index, header) in self.headers.iter().enumerate() {
            let rows = if header.kind == Kind::Dictionary { 0 } else { header.values };
            if index + 1 >= delivered && header.kind != Kind::Dictionary {
                return row..row + rows;
            }
            row += rows;
        }
        row..row
    }

    /// Whether the page of that number is the dictionary, without which no page can be read.
    pub(super) fn is_dictionary(&self, delivered: usize) -> bool {
        delivered
            .checked_sub(1)
            .and_then(|index| self.headers.get(index))
            .is_some_and(|header| header.kind == Kind::Dictionary)
    }

    /// Of its data pages, unpacked.
    pub(super) fn bytes(&self) -> usize {
        self.headers.iter().map(|header| header.holds).sum()
    }

    /// Rows that pages of the second version say they have.
    pub(super) fn rows(&self) -> Option<usize> {
        self.headers.iter().filter(|header| header.kind != Kind::Dictionary).map(|header| header.rows).sum()
    }
}

/// A page, if it is one to be read, and where the next one is.
type Found = (Option<Header>, u64);

/// Where a column chunk begins. Writers that have no dictionary may say that it is at 0.
pub(super) fn first_page(chunk: &ColumnChunkMetaData) -> i64 {
    let data = chunk.data_page_offset();
    chunk.dictionary_page_offset().filter(|at| *at != 0).map_or(data, |at| at.min(data))
}

/// `None` if the bytes are no header.
fn read_header(source: &Source, at: u64, end: u64) -> Result<Option<Found>, String> {
    let most = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(MAX_HEADER_BYTES);
    let mut window = 512.min(most);
    loop {
        let bytes = source.up_to(at, window)?;
        match parse(&bytes, at) {
            Ok(found) => return Ok(Some(found)),
            Err(Malformed) if window < most && bytes.len() == window => window = (window * 16).min(most),
            Err(Malformed) => return Ok(None),
        }
    }
}

fn parse(bytes: &[u8], at: u64) -> Result<Found, Malformed> {
    let mut thrift = Thrift::new(bytes);
    let mut page = Header {
        kind: Kind::V1,
        at: 0,
        packed: 0,
        unpacked: 0,
        holds: 0,
        values: 0,
        rows: None,
        nulls: 0,
        encoding: -1,
        levels: (3, 3),
        level_bytes: (0, 0),
        is_packed: true,
        crc: None,
    };
    let (mut kind, mut inner, mut id) = (-1, false, 0);
    while let Some(wire) = thrift.field(&mut id)? {
        match (id, wire) {
            (1, I32) => kind = thrift.i32()?,
            (2, I32) => page.unpacked = size(thrift.i32()?)?,
            (3, I32) => page.packed = size(thrift.i32()?)?,
            (4, I32) => page.crc = Some(thrift.i32()?.cast_unsigned()),
            (5, STRUCT) if kind == 0 => inner = data(&mut thrift, &mut page)?,
            (7, STRUCT) if kind == 2 => inner = dictionary(&mut thrift, &mut page)?,
            (8, STRUCT) if kind == 3 => inner = data_v2(&mut thrift, &mut page)?,
            (_, wire) => thrift.skip(wire)?,
        }
    }
    page.at = at + thrift.position() as u64;
    let next = page.at + page.packed as u64;
    match kind {
        // An index is passed over.
        1 => Ok((None, next)),
        0 | 2 | 3 if inner => Ok((Some(page), next)),
        _ => Err(Malformed),
    }
}

fn size(value: i32) -> Result<usize, Malformed> {
    usize::try_from(value).map_err(|_| Malformed)
}

fn data(thrift: &mut Thrift<'_>, page: &mut Header) -> Result<bool, Malformed> {
    let mut id = 0;
    while let Some(wire) = thrift.field(&mut id)? {
        match (id, wire) {
            (1, I32) => page.values = size(thrift.i32()?)?,
            (2, I32) => page.encoding = thrift.i32()?,
            (3, I32) => page.levels.0 = thrift.i32()?,
            (4, I32) => page.levels.1 = thrift.i32()?,
            (_, wire) => thrift.skip(wire)?,
        }
    }
    Ok(true)
}

fn dictionary(thrift: &mut Thrift<'_>, page: &mut Header) -> Result<bool, Malformed> {
    let mut id = 0;
    page.kind = Kind::Dictionary;
    while let Some(wire) = thrift.field(&mut id)? {
        match (id, wire) {
            (1, I32) => page.values = size(thrift.i32()?)?,
            (2, I32) => page.encoding = thrift.i32()?,
            (_, wire) => thrift.skip(wire)?,
        }
    }
    Ok(true)
}

fn data_v2(thrift: &mut Thrift<'_>, page: &mut Header) -> Result<bool, Malformed> {
    let mut id = 0;
    page.kind = Kind::V2;
    while let Some(wire) = thrift.field(&mut id)? {
        match (id, wire) {
            (1, I32) => page.values = size(thrift.i32()?)?,
            (2, I32) => page.nulls = size(thrift.i32()?)?,
            (3, I32) => page.rows = Some(size(thrift.i32()?)?),
            (4, I32) => page.encoding = thrift.i32()?,
            (5, I32) => page.level_bytes.0 = size(thrift.i32()?)?,
            (6, I32) => page.level_bytes.1 = size(thrift.i32()?)?,
            (7, TRUE) => page.is_packed = true,
            (7, FALSE) => page.is_packed = false,
            (_, wire) => thrift.skip(wire)?,
        }
    }
    Ok(true)
}

/// Gives a chunk's pages to the decoder.
pub(super) struct PagesReader {
    source: Source,
    pages: Arc<Pages>,
    next: usize,
    codec: Codec,
    /// How many pages were asked for, so that an error can be told to one of them.
    delivered: Arc<AtomicUsize>,
    /// Values that pages of a step had.
    in_step: Arc<AtomicUsize>,
    /// What is wrong with a page, in words that show no value.
    problem: Arc<Mutex<Option<String>>>,
}

impl PagesReader {
    pub(super) fn new(
        source: Source,
        pages: Arc<Pages>,
        delivered: Arc<AtomicUsize>,
        in_step: Arc<AtomicUsize>,
        problem: Arc<Mutex<Option<String>>>,
    ) -> Self {
        Self { source, codec: Codec::new(pages.compression), pages, next: 0, delivered, in_step, problem }
    }

    fn page(&mut self) -> Result<Option<Page>, String> {
        let Some(header) = self.pages.headers.get(self.next) else { return Ok(None) };
        self.next += 1;
        self.delivered.store(self.next, Ordering::Relaxed);
        if self.pages.repeats && header.kind != Kind::Dictionary {
            let before = self.in_step.fetch_add(header.values, Ordering::Relaxed);
            if before > 0 && before + header.values > 2 * MAX_REPEATED {
                return Err(format!("rows that are read together have more than {MAX_REPEATED} values of a list"));
            }
        }
        let content = content(&self.source, self.pages.compression, header, &mut self.codec)?;
        made(header, content).map(Some)
    }
}

/// A page as it was before it was packed.
fn content(source: &Source, compression: Compression, header: &Header, codec: &mut Codec) -> Result<Bytes, String> {
    let packed = source.exactly(header.at, header.packed)?;
    if header.crc.is_some_and(|crc| crc != crc32fast::hash(&packed)) {
        return Err("its checksum is another".to_owned());
    }
    let levels = header.level_bytes.0 + header.level_bytes.1;
    let plain = compression == Compression::UNCOMPRESSED || !header.is_packed;
    let content = if plain {
        if header.packed != header.unpacked {
            return Err("its size is another than it says".to_owned());
        }
        packed
    } else {
        let (Some(levels), Some(rest)) = (packed.get(..levels), header.unpacked.checked_sub(levels)) else {
            return Err("its levels are longer than it is".to_owned());
        };
        let mut content = Vec::with_capacity(header.unpacked.min(1 << 20));
        content.extend_from_slice(levels);
        if rest > 0 {
            codec.unpack(&packed[levels.len()..], rest, &mut content)?;
        }
        Bytes::from(content)
    };
    if levels > content.len() { Err("its levels are longer than it is".to_owned()) } else { Ok(content) }
}

impl Header {
    /// Whether its lengths or its texts are stored as differences.
    fn is_delta(&self) -> bool {
        self.kind != Kind::Dictionary && matches!(self.encoding, DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY)
    }

    /// What the values of such a page take, decoded.
    fn delta_bytes(&self, content: &[u8], chunk: &ColumnChunkMetaData) -> Result<usize, String> {
        let column = chunk.column_descr();
        let mut at = self.level_bytes.0 + self.level_bytes.1;
        if self.kind == Kind::V1 {
            let levels = [(column.max_rep_level(), self.levels.1), (column.max_def_level(), self.levels.0)];
            for (most, encoding) in levels.into_iter().filter(|(most, _)| *most > 0) {
                at += level_bytes(content.get(at..).unwrap_or_default(), most, encoding, self.values)?;
            }
        }
        match content.get(at..) {
            // Of nulls there are no values.
            Some([]) | None => Ok(0),
            Some(values) if self.encoding == DELTA_BYTE_ARRAY => delta::of_texts(values),
            Some(values) => delta::of_lengths(values),
        }
    }
}

/// The bytes of the levels of a page of the first version.
fn level_bytes(bytes: &[u8], most: i16, encoding: i32, values: usize) -> Result<usize, String> {
    const BIT_PACKED: i32 = 4;
    if encoding == BIT_PACKED {
        let width = (i16::BITS - most.leading_zeros()) as usize;
        return Ok((values * width).div_ceil(8));
    }
    let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
    length.map(|length| length + 4).ok_or_else(|| "its levels are longer than it is".to_owned())
}

fn made(header: &Header, buf: Bytes) -> Result<Page, String> {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(match header.kind {
        Kind::Dictionary => Page::DictionaryPage {
            buf,
            num_values: count(header.values),
            encoding: encoding(header.encoding)?,
            is_sorted: false,
        },
        Kind::V1 => Page::DataPage {
            buf,
            num_values: count(header.values),
            encoding: encoding(header.encoding)?,
            def_level_encoding: encoding(header.levels.0)?,
            rep_level_encoding: encoding(header.levels.1)?,
            statistics: None,
        },
        Kind::V2 => Page::DataPageV2 {
            buf,
            num_values: count(header.values),
            encoding: encoding(header.encoding)?,
            num_nulls: count(header.nulls),
            num_rows: count(header.rows.unwrap_or(header.values)),
            def_levels_byte_len: count(header.level_bytes.0),
            rep_levels_byte_len: count(header.level_bytes.1),
            is_compressed: header.is_packed,
            statistics: None,
        },
    })
}

#[allow(deprecated)] // Old files have levels that are bit-packed.
fn encoding(number: i32) -> Result<Encoding, String> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        other => return Err(format!("its encoding {other} is unknown")),
    })
}

impl Iterator for PagesReader {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for PagesReader {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        self.page().map_err(|why| {
            let why = format!("a page is damaged: {why}");
            if let Ok(mut problem) = self.problem.lock() {
                *problem = Some(why.clone());
            }
            ParquetError::General(why)
        })
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        Ok(self.pages.headers.get(self.next).map(|header| PageMetadata {
            num_rows: header.rows,
            num_levels: (header.kind != Kind::Dictionary).then_some(header.values),
            is_dict: header.kind == Kind::Dictionary,
        }))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.next += 1;
        self.delivered.store(self.next, Ordering::Relaxed);
        Ok(())
    }
}

/// The one chunk of a column in a row group.
pub(super) struct OneChunk(pub(super) Option<PagesReader>);

impl Iterator for OneChunk {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|reader| Ok(Box::new(reader) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}
