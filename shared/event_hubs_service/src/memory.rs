//! A log in memory: for tests, and for whoever needs a hub for as long as a process runs.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    limits::{MAX_MESSAGE, MAX_PARTITION_KEY},
    log::{HubLog, LogError, NewEvent, PartitionState, Position, StoredEvent},
};

/// Offsets are multiples of this, so that one that is taken for a sequence number shows.
const OFFSET_STEP: u64 = 64;

/// Bounds of what a [`MemoryLog`] keeps; the first that is reached counts. None: no bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// Events of one partition.
    pub events: Option<usize>,
    /// Age of an event, in milliseconds.
    pub age_ms: Option<i64>,
}

/// A hub in memory.
#[derive(Debug)]
pub struct MemoryLog {
    partitions: Vec<Partition>,
    created_ms: i64,
    retention: Retention,
    turn: AtomicU32,
}

#[derive(Debug)]
struct Partition {
    log: Mutex<Log>,
    end: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    events: VecDeque<StoredEvent>,
    next_sequence: u64,
    next_offset: u64,
    last_enqueued_ms: Option<i64>,
}

impl MemoryLog {
    /// A hub of at least one partition that keeps everything.
    pub fn new(partitions: u32) -> Self {
        Self::with_retention(partitions, Retention::default())
    }

    /// A hub of at least one partition that lets old events expire.
    pub fn with_retention(partitions: u32, retention: Retention) -> Self {
        let partition = |_| Partition { log: Mutex::default(), end: watch::channel(0).0 };
        Self {
            partitions: (0..partitions.max(1)).map(partition).collect(),
            created_ms: now_ms(),
            retention,
            turn: AtomicU32::new(0),
        }
    }

    /// Lets events before `sequence` expire now.
    pub fn expire(&self, partition: u32, sequence: u64) {
        if let Some(partition) = self.partitions.get(partition as usize) {
            let mut log = partition.lock();
            while log.events.front().is_some_and(|event| event.sequence < sequence) {
                log.events.pop_front();
            }
        }
    }

    fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        let known = self.partitions.get(partition as usize);
        known.ok_or_else(|| LogError::Refused(format!("there is no partition {partition}")))
    }

    fn expire_old(&self, log: &mut Log, now: i64) {
        let too_old = |event: &StoredEvent| self.retention.age_ms.is_some_and(|age| event.enqueued_ms < now - age);
        while self.retention.events.is_some_and(|most| log.events.len() > most)
            || log.events.front().is_some_and(too_old)
        {
            log.events.pop_front();
        }
    }
}

impl HubLog for MemoryLog {
    fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    fn created_ms(&self) -> i64 {
        self.created_ms
    }

    fn partition_for(&self, key: Option<&str>) -> u32 {
        let count = self.partitions.len() as u32;
        match key {
            Some(key) => (stable_hash(key) % u64::from(count)) as u32,
            None => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        }
    }

    fn append(&self, partition: u32, events: Vec<NewEvent>) -> Result<(), LogError> {
        events.iter().try_for_each(check)?;
        let partition = self.partition(partition)?;
        let mut log = partition.lock();
        // A clock that was set back must not make times fall.
        let now = now_ms().max(log.last_enqueued_ms.unwrap_or(i64::MIN));
        for event in events {
            let (sequence, offset) = (log.next_sequence, log.next_offset);
            // Copies: what came is a piece of a whole frame.
            let (body, sections) = (Bytes::copy_from_slice(&event.body), Bytes::copy_from_slice(&event.sections));
            let partition_key = event.partition_key;
            log.events.push_back(StoredEvent { sequence, offset, enqueued_ms: now, partition_key, body, sections });
            log.next_sequence += 1;
            log.next_offset += OFFSET_STEP;
        }
        log.last_enqueued_ms = Some(now);
        self.expire_old(&mut log, now);
        partition.end.send_replace(log.next_sequence);
        Ok(())
    }

    fn read(
        &self,
        partition: u32,
        sequence: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, LogError> {
        let mut log = self.partition(partition)?.lock();
        self.expire_old(&mut log, now_ms());
        let start = log.events.partition_point(|event| event.sequence < sequence);
        let mut bytes = 0;
        let fits = |event: &&StoredEvent| {
            let first = bytes == 0;
            bytes += event.body.len() + event.sections.len() + 1;
            first || bytes <= max_bytes
        };
        Ok(log.events.range(start..).take(max_events).take_while(fits).cloned().collect())
    }

    fn seek(&self, partition: u32, position: Position) -> Result<u64, LogError> {
        let mut log = self.partition(partition)?.lock();
        self.expire_old(&mut log, now_ms());
        let passed = |event: &StoredEvent| position.is_after(event.sequence, event.offset, event.enqueued_ms);
        let index = log.events.partition_point(passed);
        Ok(log.events.get(index).map_or(log.next_sequence, |event| event.sequence))
    }

    fn state(&self, partition: u32) -> Result<PartitionState, LogError> {
        let mut log = self.partition(partition)?.lock();
        self.expire_old(&mut log, now_ms());
        Ok(PartitionState {
            begin_sequence: log.events.front().map_or(log.next_sequence, |event| event.sequence),
            next_sequence: log.next_sequence,
            last_offset: log.next_offset.checked_sub(OFFSET_STEP),
            last_enqueued_ms: log.last_enqueued_ms,
        })
    }

    fn watch(&self, partition: u32) -> watch::Receiver<u64> {
        self.partitions.get(partition as usize).map_or_else(|| watch::channel(0).1, |known| known.end.subscribe())
    }
}

impl Partition {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(event: &NewEvent) -> Result<(), LogError> {
    if event.body.len() + event.sections.len() > MAX_MESSAGE {
        return Err(LogError::Refused(format!("an event has more than {MAX_MESSAGE} bytes")));
    }
    if event.partition_key.as_ref().is_some_and(|key| key.len() > MAX_PARTITION_KEY) {
        return Err(LogError::Refused(format!("a partition key has more than {MAX_PARTITION_KEY} bytes")));
    }
    Ok(())
}

/// FNV-1a: the same in every process.
pub fn stable_hash(key: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    key.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> MemoryLog {
        let log = MemoryLog::new(2);
        log.append(1, (0..count).map(|number| NewEvent::new(format!("{number}"))).collect()).unwrap();
        log
    }

    #[test]
    fn positions_are_inclusive_or_not_and_never_before_what_is_there() {
        let log = filled(5);
        let seek = |position| log.seek(1, position).unwrap();
        assert_eq!((seek(Position::Earliest), seek(Position::Latest)), (0, 5));
        assert_eq!(seek(Position::Sequence { value: 2, inclusive: false }), 3);
        assert_eq!(seek(Position::Sequence { value: 2, inclusive: true }), 2);
        assert_eq!(seek(Position::Offset { value: 128, inclusive: false }), 3);
        assert_eq!(seek(Position::Offset { value: 127, inclusive: true }), 2);
        assert_eq!(seek(Position::Enqueued { milliseconds: 0, inclusive: false }), 0);
        assert_eq!(seek(Position::Enqueued { milliseconds: i64::MAX, inclusive: true }), 5);
        assert_eq!(seek(Position::Sequence { value: 99, inclusive: true }), 5);
        log.expire(1, 3);
        assert_eq!((seek(Position::Earliest), seek(Position::Sequence { value: 0, inclusive: true })), (3, 3));
        let sequences = |from| log.read(1, from, 10, 1000).unwrap().iter().map(|e| e.sequence).collect::<Vec<_>>();
        assert_eq!((sequences(0), sequences(4), sequences(5)), (vec![3, 4], vec![4], vec![]));
    }

    #[test]
    fn what_expired_is_gone_and_its_numbers_are_not_used_again() {
        let log = MemoryLog::with_retention(1, Retention { events: Some(3), age_ms: None });
        log.append(0, (0..7).map(|number| NewEvent::new(format!("{number}"))).collect()).unwrap();
        let state = log.state(0).unwrap();
        assert_eq!((state.begin_sequence, state.next_sequence, state.last_offset), (4, 7, Some(6 * 64)));
        log.expire(0, 100);
        let state = log.state(0).unwrap();
        assert!(state.is_empty() && state.last_offset == Some(6 * 64) && state.last_enqueued_ms.is_some());
        log.append(0, vec![NewEvent::new("8th")]).unwrap();
        assert_eq!(log.read(0, 0, 9, 9).unwrap()[0].sequence, 7);
        let aged = MemoryLog::with_retention(1, Retention { events: None, age_ms: Some(-1) });
        aged.append(0, vec![NewEvent::new("gone at once")]).unwrap();
        assert!(aged.read(0, 0, 9, 9).unwrap().is_empty());
    }

    #[test]
    fn reads_end_at_their_limits_and_an_event_that_is_too_large_is_refused_with_all_others() {
        let log = filled(5);
        assert_eq!(log.read(1, 0, 2, 1000).unwrap().len(), 2);
        assert_eq!(log.read(1, 0, 10, 4).unwrap().len(), 2);
        assert_eq!(log.read(1, 0, 10, 0).unwrap().len(), 1, "one at least");
        let large = NewEvent::new(vec![0; MAX_MESSAGE + 1]);
        assert!(log.append(1, vec![NewEvent::new("small"), large]).is_err());
        assert_eq!(log.state(1).unwrap().next_sequence, 5);
    }

    #[test]
    fn one_key_is_one_partition_in_every_process() {
        let log = MemoryLog::new(4);
        assert_eq!(stable_hash("a"), 0xaf63_dc4c_8601_ec8c, "as FNV-1a has it");
        assert_eq!((log.partition_for(Some("customer-1")), log.partition_for(Some("customer-2"))), (3, 2));
        let turns: Vec<u32> = (0..5).map(|_| log.partition_for(None)).collect();
        assert_eq!(turns, [0, 1, 2, 3, 0]);
    }
}
