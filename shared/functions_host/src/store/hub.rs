//! An Event Hub (its partitions) and the position of each consumer in them.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use event_hubs_service::{HubLog, LogError, NewEvent, PartitionState, Position as At, StoredEvent, stable_hash};
use tokio::sync::{Notify, watch};

use super::{
    create_dir,
    event_log::{Event, EventIn, EventLog, check_event},
    replace_file,
};
use crate::error::HostError;

const MAX_PARTITIONS: u32 = 1024;

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) partitions: Vec<Arc<Partition>>,
    round_robin: AtomicU64,
    created: DateTime<Utc>,
}

impl Hub {
    /// Opens `<dir>/<partition>.log` for at least `partitions`: a hub never loses a partition.
    pub(crate) fn open(dir: &Path, partitions: u32) -> Result<Self, HostError> {
        create_dir(dir)?;
        let wanted = partitions.clamp(1, MAX_PARTITIONS);
        let existing = (0..MAX_PARTITIONS).take_while(|id| dir.join(format!("{id}.log")).exists()).count();
        let partitions = (0..wanted.max(existing as u32)).map(|id| Partition::open(dir, id).map(Arc::new));
        let created =
            std::fs::metadata(dir).and_then(|folder| folder.created()).map_or_else(|_| Utc::now(), Into::into);
        Ok(Self { partitions: partitions.collect::<Result<_, _>>()?, round_robin: AtomicU64::new(0), created })
    }

    /// Stores events and says where each went: (partition, sequence number). All or none are valid.
    pub(crate) fn send(&self, events: Vec<EventIn>, now: DateTime<Utc>) -> Result<Vec<(u32, u64)>, HostError> {
        events.iter().try_for_each(check_event)?;
        let mut batches: Vec<Vec<(usize, EventIn)>> = self.partitions.iter().map(|_| Vec::new()).collect();
        let mut places = vec![(0, 0); events.len()];
        for (index, event) in events.into_iter().enumerate() {
            batches[self.partition_for(event.partition_key.as_deref())].push((index, event));
        }
        for (partition, batch) in self.partitions.iter().zip(batches) {
            if batch.is_empty() {
                continue;
            }
            let (indexes, events): (Vec<usize>, Vec<EventIn>) = batch.into_iter().unzip();
            let first = partition.append(&events, now)?;
            for (sequence, index) in (first..).zip(indexes) {
                places[index] = (partition.id, sequence);
            }
        }
        Ok(places)
    }

    /// By a hash that is the same in every process; without a key, one after the other.
    fn partition_for(&self, key: Option<&str>) -> usize {
        let number = match key {
            Some(key) => stable_hash(key),
            None => self.round_robin.fetch_add(1, Ordering::Relaxed),
        };
        (number % self.partitions.len() as u64) as usize
    }
}

/// What AMQP clients write and read is what functions are given: there is one log.
impl HubLog for Hub {
    fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    fn created_ms(&self) -> i64 {
        self.created.timestamp_millis()
    }

    fn partition_for(&self, key: Option<&str>) -> u32 {
        self.partition_for(key) as u32
    }

    fn append(&self, partition: u32, events: Vec<NewEvent>) -> Result<(), LogError> {
        let event = |event: NewEvent| EventIn {
            body: event.body.to_vec(),
            partition_key: event.partition_key,
            sections: event.sections,
        };
        let events: Vec<EventIn> = events.into_iter().map(event).collect();
        events.iter().try_for_each(check_event).map_err(|error| LogError::Refused(error.to_string()))?;
        self.known(partition)?.append(&events, Utc::now()).map_err(broken).map(|_| ())
    }

    fn read(&self, partition: u32, sequence: u64, events: usize, bytes: usize) -> Result<Vec<StoredEvent>, LogError> {
        let found = self.known(partition)?.lock().read_bytes(sequence, events, bytes as u64).map_err(broken)?;
        Ok(found.into_iter().map(stored).collect())
    }

    fn seek(&self, partition: u32, position: At) -> Result<u64, LogError> {
        let mut log = self.known(partition)?.lock();
        let (mut low, mut high) = (0, log.next_sequence());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(event) = log.read(middle, 1).map_err(broken)?.pop() else { break };
            if position.is_after(event.sequence, event.offset, event.enqueued.timestamp_millis()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn state(&self, partition: u32) -> Result<PartitionState, LogError> {
        let mut log = self.known(partition)?.lock();
        let next = log.next_sequence();
        let last = match next.checked_sub(1) {
            Some(last) => log.read(last, 1).map_err(broken)?.pop(),
            None => None,
        };
        Ok(PartitionState {
            // Nothing expires here.
            begin_sequence: 0,
            next_sequence: next,
            last_offset: last.as_ref().map(|event| event.offset),
            last_enqueued_ms: last.as_ref().map(|event| event.enqueued.timestamp_millis()),
        })
    }

    fn watch(&self, partition: u32) -> watch::Receiver<u64> {
        let known = self.partitions.get(partition as usize);
        known.map_or_else(|| watch::channel(0).1, |partition| partition.end())
    }
}

impl Hub {
    fn known(&self, partition: u32) -> Result<&Partition, LogError> {
        let known = self.partitions.get(partition as usize);
        known.map(|known| &**known).ok_or_else(|| LogError::Refused(format!("there is no partition {partition}")))
    }
}

fn stored(event: Event) -> StoredEvent {
    let enqueued_ms = event.enqueued.timestamp_millis();
    let Event { sequence, offset, partition_key, body, sections, .. } = event;
    StoredEvent { sequence, offset, enqueued_ms, partition_key, body, sections }
}

fn broken(error: HostError) -> LogError {
    LogError::Broken(error.to_string())
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: u32,
    log: Mutex<EventLog>,
    end: watch::Sender<u64>,
}

impl Partition {
    /// Follows the sequence number after the last event.
    pub(crate) fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    pub(crate) fn read(&self, from: u64, max: usize) -> Result<Vec<Event>, HostError> {
        self.lock().read(from, max)
    }

    fn open(dir: &Path, id: u32) -> Result<Self, HostError> {
        let log = EventLog::open(&dir.join(format!("{id}.log")))?;
        let (end, _) = watch::channel(log.next_sequence());
        Ok(Self { id, log: Mutex::new(log), end })
    }

    fn append(&self, events: &[EventIn], now: DateTime<Utc>) -> Result<u64, HostError> {
        let mut log = self.lock();
        let first = log.append(events, now)?;
        self.end.send_replace(log.next_sequence());
        Ok(first)
    }

    fn lock(&self) -> MutexGuard<'_, EventLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One function on one partition: where it reads next, and the checkpoint of that.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) function: String,
    pub(crate) hub: String,
    pub(crate) partition: Arc<Partition>,
    path: PathBuf,
    position: Mutex<Position>,
    /// Signalled by [`Consumer::rewind`].
    pub(crate) rewound: Notify,
}

/// The next sequence number, and which rewind it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) next: u64,
    epoch: u64,
}

impl Consumer {
    /// Starts at the checkpoint in `<dir>/<partition>`, or at the first event.
    pub(crate) fn open(function: &str, hub: &str, dir: &Path, partition: Arc<Partition>) -> Result<Self, HostError> {
        create_dir(dir)?;
        let path = dir.join(partition.id.to_string());
        let next = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| HostError::Corrupt { path: path.clone(), position: 0 })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(HostError::io("read", &path)(error)),
        };
        Ok(Self {
            function: function.to_owned(),
            hub: hub.to_owned(),
            partition,
            path,
            position: Mutex::new(Position { next, epoch: 0 }),
            rewound: Notify::new(),
        })
    }

    pub(crate) fn position(&self) -> Position {
        *self.lock()
    }

    /// Moves on to `next` unless a rewind came in between. The checkpoint is written when `checkpoint` says so.
    pub(crate) fn advance(&self, from: Position, next: u64, checkpoint: bool) -> Result<(), HostError> {
        let mut position = self.lock();
        if position.epoch == from.epoch {
            position.next = next;
            if checkpoint {
                replace_file(&self.path, next.to_string().as_bytes())?;
            }
        }
        Ok(())
    }

    /// Delivers again from `next`, now and after a restart.
    pub(crate) fn rewind(&self, next: u64) -> Result<(), HostError> {
        let mut position = self.lock();
        *position = Position { next, epoch: position.epoch + 1 };
        replace_file(&self.path, next.to_string().as_bytes())?;
        drop(position);
        self.rewound.notify_one();
        Ok(())
    }

    /// Events not yet handled.
    pub(crate) fn behind(&self) -> u64 {
        self.partition.end.borrow().saturating_sub(self.position().next)
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: Option<&str>) -> EventIn {
        EventIn { body: b"x".to_vec(), partition_key: key.map(str::to_owned), ..EventIn::default() }
    }

    #[test]
    fn partitions() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::open(dir.path(), 4).unwrap();
        let places = hub.send((0..8).map(|_| event(None)).collect(), Utc::now()).unwrap();
        assert_eq!(places, [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (3, 1)]);
        let keyed = hub.send(vec![event(Some("k")), event(Some("k")), event(Some("k"))], Utc::now()).unwrap();
        assert!(keyed.iter().all(|(partition, _)| *partition == keyed[0].0), "one key, one partition");
        assert!(keyed.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1), "in order");
        drop(hub);
        assert_eq!(Hub::open(dir.path(), 2).unwrap().partitions.len(), 4, "a hub keeps its partitions");
        let large = EventIn { body: vec![0; 1024 * 1024 + 1], ..EventIn::default() };
        let hub = Hub::open(dir.path(), 2).unwrap();
        let before: Vec<u64> = hub.partitions.iter().map(|partition| *partition.end().borrow()).collect();
        assert!(matches!(hub.send(vec![event(None), large], Utc::now()), Err(HostError::TooLarge { .. })));
        let after: Vec<u64> = hub.partitions.iter().map(|partition| *partition.end().borrow()).collect();
        assert_eq!(before, after, "all or nothing");
    }

    #[test]
    fn a_rewind_wins_over_the_batch_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::open(&dir.path().join("hub"), 1).unwrap();
        hub.send((0..9).map(|_| event(None)).collect(), Utc::now()).unwrap();
        let open = || Consumer::open("f", "hub", &dir.path().join("c"), Arc::clone(&hub.partitions[0])).unwrap();
        let consumer = open();
        consumer.advance(consumer.position(), 5, true).unwrap();
        let under_way = consumer.position();
        consumer.rewind(2).unwrap();
        consumer.advance(under_way, 9, true).unwrap();
        assert_eq!((consumer.position().next, consumer.behind()), (2, 7));
        assert_eq!(open().position().next, 2);
        consumer.advance(consumer.position(), 9, false).unwrap();
        assert_eq!((consumer.behind(), open().position().next), (0, 2), "no checkpoint was asked for");
    }
}
