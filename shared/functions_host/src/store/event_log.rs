//! One partition of an Event Hub: an append-only file.
//!
//! A record is `length u32 | crc32 u32 | sequence u64 | enqueued µs i64 | key length u16 | key | body` (key length
//! 0xFFFF: no key), little endian, and starts at a multiple of 64: that position is the event's offset. With 0x4000 taken
//! off the key length (0xBFFF: no key), `length u32 | sections` stand before the body: what else an AMQP message had. A
//! record cut off by a crash is dropped when the file is opened; damage anywhere else is an error.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::error::HostError;

/// The largest event body, in bytes.
pub const MAX_EVENT: usize = 1024 * 1024;

/// What one read returns at most, unless a single event is larger.
const MAX_READ: u64 = 128 * 1024 * 1024;
const MAX_KEY: usize = 128;
const ALIGN: u64 = 64;
const HEADER: usize = 8;
const FIXED: usize = 18;
const NO_KEY: u16 = u16::MAX;
/// In the key length of a record with sections the bit is the other way round than in one without.
const SECTIONS: u16 = 0x4000;

/// An event to send. Begin with [`EventIn::new`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EventIn {
    /// The event's bytes, at most [`MAX_EVENT`] bytes.
    pub body: Vec<u8>,
    /// Chooses the partition: events with one key stay in order in one partition. At most 128 bytes.
    pub partition_key: Option<String>,
    /// The other sections of the event's AMQP message, encoded; functions do not see it. With the body at most
    /// [`MAX_EVENT`] bytes.
    pub sections: Bytes,
}

impl EventIn {
    /// An event with a body and nothing else.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Sets the [`partition_key`](Self::partition_key).
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.partition_key = Some(key.into());
        self
    }
}

/// An event as stored.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    pub(crate) enqueued: DateTime<Utc>,
    pub(crate) partition_key: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) sections: Bytes,
}

#[derive(Debug)]
pub(crate) struct EventLog {
    path: PathBuf,
    file: File,
    /// File position of each event; the index is its sequence number.
    positions: Vec<u64>,
    end: u64,
    /// When the last event was enqueued: a clock that is set back must not make times fall.
    newest: DateTime<Utc>,
}

impl EventLog {
    pub(crate) fn open(path: &Path) -> Result<Self, HostError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(HostError::io("open", path))?;
        let (positions, end) = scan(path, &file)?;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(HostError::io("open", path))?;
        let mut log = Self { path: path.to_owned(), file, positions, end, newest: DateTime::UNIX_EPOCH };
        if let Some(last) = log.next_sequence().checked_sub(1) {
            log.newest = log.read(last, 1)?.first().map_or(DateTime::UNIX_EPOCH, |event| event.enqueued);
        }
        Ok(log)
    }

    /// The sequence number the next event gets.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.positions.len() as u64
    }

    /// Appends events in one write and returns the sequence number of the first.
    pub(crate) fn append(&mut self, events: &[EventIn], now: DateTime<Utc>) -> Result<u64, HostError> {
        let first = self.next_sequence();
        let now = now.max(self.newest);
        let mut buffer = Vec::new();
        let mut positions = Vec::with_capacity(events.len());
        for (sequence, event) in (first..).zip(events) {
            positions.push(self.end + buffer.len() as u64);
            write_record(&mut buffer, sequence, now, event);
        }
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&buffer));
        if let Err(source) = written {
            // What was written of it is overwritten by the next append or dropped at the next start.
            let _ = self.file.set_len(self.end);
            return Err(HostError::io("write", &self.path)(source));
        }
        self.end += buffer.len() as u64;
        self.positions.extend(positions);
        self.newest = now;
        Ok(first)
    }

    /// Up to `max` events and about 128 MiB from sequence number `from`.
    pub(crate) fn read(&mut self, from: u64, max: usize) -> Result<Vec<Event>, HostError> {
        self.read_bytes(from, max, MAX_READ)
    }

    /// Up to `max` events and about `max_bytes` from sequence number `from`; one at least, if it is there.
    pub(crate) fn read_bytes(&mut self, from: u64, max: usize, max_bytes: u64) -> Result<Vec<Event>, HostError> {
        let Some(&start) = usize::try_from(from).ok().and_then(|from| self.positions.get(from)) else {
            return Ok(Vec::new());
        };
        let until = self.positions.len().min((from as usize).saturating_add(max.max(1)));
        let fits = self.positions[from as usize + 1..until].partition_point(|position| position - start < max_bytes);
        let until = from as usize + 1 + fits;
        let stop = self.positions.get(until).copied().unwrap_or(self.end);
        let mut bytes = vec![0; (stop - start) as usize];
        self.file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(HostError::io("read", &self.path))?;
        let bytes = Bytes::from(bytes);
        let positions = &self.positions[from as usize..until];
        let event = |position: &u64| {
            let record = bytes.slice((position - start) as usize..);
            decode(&record, *position).ok_or(HostError::Corrupt { path: self.path.clone(), position: *position })
        };
        positions.iter().map(event).collect()
    }
}

/// Checks what a hub accepts.
pub(crate) fn check_event(event: &EventIn) -> Result<(), HostError> {
    let key = event.partition_key.as_ref().map_or(0, String::len);
    let size = event.body.len() + event.sections.len();
    if size > MAX_EVENT {
        return Err(HostError::TooLarge { what: "an event", size, limit: MAX_EVENT });
    }
    if key > MAX_KEY {
        return Err(HostError::TooLarge { what: "a partition key", size: key, limit: MAX_KEY });
    }
    Ok(())
}

fn write_record(buffer: &mut Vec<u8>, sequence: u64, now: DateTime<Utc>, event: &EventIn) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&now.timestamp_micros().to_le_bytes());
    let key_length = event.partition_key.as_ref().map_or(NO_KEY, |key| key.len() as u16);
    let flag = if event.sections.is_empty() { 0 } else { SECTIONS };
    buffer.extend_from_slice(&(key_length ^ flag).to_le_bytes());
    buffer.extend_from_slice(event.partition_key.as_deref().unwrap_or_default().as_bytes());
    if !event.sections.is_empty() {
        buffer.extend_from_slice(&(event.sections.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&event.sections);
    }
    buffer.extend_from_slice(&event.body);
    let payload = start + HEADER;
    let length = (buffer.len() - payload) as u32;
    let crc = crc32fast::hash(&buffer[payload..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..payload].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(buffer.len().next_multiple_of(ALIGN as usize), 0);
}

/// Decodes the record at the start of `bytes`; None if it is incomplete or its checksum is wrong.
fn decode(bytes: &Bytes, offset: u64) -> Option<Event> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(4..HEADER)?.try_into().ok()?);
    let payload = bytes.get(HEADER..HEADER + length)?;
    if length < FIXED || crc32fast::hash(payload) != crc {
        return None;
    }
    let written = u16::from_le_bytes(payload.get(16..FIXED)?.try_into().ok()?);
    let has_sections = written == NO_KEY ^ SECTIONS || (written != NO_KEY && written & SECTIONS != 0);
    let key_length = if has_sections { written ^ SECTIONS } else { written };
    let key_end = if key_length == NO_KEY { FIXED } else { FIXED + usize::from(key_length) };
    let key = std::str::from_utf8(payload.get(FIXED..key_end)?).ok()?;
    let (sections, body) = if has_sections {
        let size = u32::from_le_bytes(payload.get(key_end..key_end + 4)?.try_into().ok()?) as usize;
        let end = key_end.checked_add(4)?.checked_add(size).filter(|end| *end <= length)?;
        (bytes.slice(HEADER + key_end + 4..HEADER + end), end)
    } else {
        (Bytes::new(), key_end)
    };
    Some(Event {
        sequence: u64::from_le_bytes(payload.get(..8)?.try_into().ok()?),
        offset,
        enqueued: DateTime::from_timestamp_micros(i64::from_le_bytes(payload.get(8..16)?.try_into().ok()?))?,
        partition_key: (key_length != NO_KEY).then(|| key.to_owned()),
        body: bytes.slice(HEADER + body..HEADER + length),
        sections,
    })
}

/// The positions of the whole records, and where the last one ends.
fn scan(path: &Path, file: &File) -> Result<(Vec<u64>, u64), HostError> {
    let io = || HostError::io("read", path);
    let size = file.metadata().map_err(io())?.len();
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let (mut positions, mut position) = (Vec::new(), 0);
    while position < size {
        let mut header = [0; HEADER];
        if size - position < HEADER as u64 {
            break;
        }
        reader.read_exact(&mut header).map_err(io())?;
        let length = u64::from(u32::from_le_bytes([header[0], header[1], header[2], header[3]]));
        let end = (position + HEADER as u64 + length).next_multiple_of(ALIGN);
        let sane = (FIXED as u64..=(FIXED + MAX_KEY + 4 + MAX_EVENT) as u64).contains(&length);
        if !sane || end > size {
            // A write cut short leaves a record that ends after the file, or zeros; never a nonsensical length.
            if sane || length == 0 {
                break;
            }
            return Err(HostError::Corrupt { path: path.to_owned(), position });
        }
        let mut record = vec![0; (end - position) as usize];
        record[..HEADER].copy_from_slice(&header);
        reader.read_exact(&mut record[HEADER..]).map_err(io())?;
        match decode(&Bytes::from(record), position) {
            Some(event) if event.sequence == positions.len() as u64 => positions.push(position),
            _ if end == size => break,
            _ => return Err(HostError::Corrupt { path: path.to_owned(), position }),
        }
        position = end;
    }
    Ok((positions, position))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn event(body: &str, key: Option<&str>) -> EventIn {
        EventIn { body: body.into(), partition_key: key.map(str::to_owned), sections: Bytes::new() }
    }

    fn bodies(log: &mut EventLog) -> Vec<String> {
        log.read(0, 100).unwrap().iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect()
    }

    #[test]
    fn survives_a_restart_and_a_torn_tail_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = EventLog::open(&path).unwrap();
        let now = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        assert_eq!(log.append(&[event("one", None), event("two", Some("k"))], now).unwrap(), 0);
        let whole = std::fs::metadata(&path).unwrap().len();
        log.append(&[event(&"three".repeat(40), Some(""))], now).unwrap();
        let content = std::fs::read(&path).unwrap();
        drop(log);
        for cut in whole..content.len() as u64 {
            std::fs::write(&path, &content[..cut as usize]).unwrap();
            let mut log = EventLog::open(&path).unwrap();
            assert_eq!(bodies(&mut log), ["one", "two"], "cut at {cut}");
            assert_eq!(log.append(&[event("again", None)], now).unwrap(), 2);
            assert_eq!(bodies(&mut EventLog::open(&path).unwrap()), ["one", "two", "again"]);
        }
        std::fs::write(&path, &content).unwrap();
        let events = EventLog::open(&path).unwrap().read(1, 5).unwrap();
        assert_eq!((events[0].sequence, events[0].offset, events[0].enqueued), (1, 64, now));
        assert_eq!(events[0].partition_key.as_deref(), Some("k"));
        assert_eq!(events[1].partition_key.as_deref(), Some(""));
        assert!(events.iter().all(|event| event.offset % 64 == 0));
    }

    #[test]
    fn sections_are_kept_beside_the_body_and_records_without_them_are_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let now = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let cases: Vec<EventIn> = [None, Some(""), Some("k"), Some(&"k".repeat(128)[..])]
            .into_iter()
            .flat_map(|key| [event("body", key), EventIn { sections: Bytes::from_static(b"rest"), ..event("", key) }])
            .collect();
        EventLog::open(&path).unwrap().append(&cases, now).unwrap();
        let found = EventLog::open(&path).unwrap().read(0, 100).unwrap();
        for (found, wanted) in found.iter().zip(&cases) {
            assert_eq!((&found.body[..], &found.sections), (&wanted.body[..], &wanted.sections));
            assert_eq!(found.partition_key, wanted.partition_key);
        }
        assert_eq!(found.len(), cases.len());
        let mut log = EventLog::open(&path).unwrap();
        log.append(&[event("later", None)], DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(log.read(8, 1).unwrap()[0].enqueued, now, "the clock was set back");
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content[24..26], [0xff, 0xff], "logs of before have this for no key");
    }

    #[test]
    fn damage_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = EventLog::open(&path).unwrap();
        log.append(&[event("one", None), event("two", None)], Utc::now()).unwrap();
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(27)).unwrap();
        file.write_all(b"x").unwrap();
        assert!(matches!(EventLog::open(&path), Err(HostError::Corrupt { position: 0, .. })));
    }
}
