//! Storage queues: visibility, dequeue count, `<queue>-poison`. One journal file per queue.
//!
//! A message that was in flight when the process died is visible again at the next start, with its dequeue count.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Journal, create_dir};
use crate::{config::check_queue_name, error::HostError};

/// The most a queue message may take on the wire, in bytes. In base64 (the default) that leaves 48 KiB for its body.
pub const MAX_QUEUE_MESSAGE: usize = 64 * 1024;

const FIRST_LOOK: usize = 64;
const MAX_QUEUES: usize = 256;
const MAX_MESSAGES: usize = 200_000;
/// The journal of an empty queue is cleared when it has grown to this many bytes.
const CLEAR_AT: u64 = 1024 * 1024;

/// A message handed to a function.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    order: u64,
    pub(crate) id: String,
    pub(crate) body: Bytes,
    pub(crate) inserted: DateTime<Utc>,
    pub(crate) expires: DateTime<Utc>,
    pub(crate) next_visible: DateTime<Utc>,
    pub(crate) pop_receipt: String,
    /// 1 at the first delivery.
    pub(crate) dequeue_count: u32,
}

#[cfg(test)]
impl Delivery {
    pub(crate) fn for_test(id: &str, body: &[u8], now: DateTime<Utc>) -> Self {
        Self {
            order: 0,
            id: id.to_owned(),
            body: Bytes::copy_from_slice(body),
            inserted: now,
            expires: now + TimeDelta::days(7),
            next_visible: now + TimeDelta::minutes(10),
            pop_receipt: "AgAAAAMA".to_owned(),
            dequeue_count: 1,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    name: String,
    state: Mutex<State>,
    /// Signalled when a message arrives or becomes due.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    messages: BTreeMap<u64, Message>,
    next_order: u64,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: Bytes,
    inserted: DateTime<Utc>,
    dequeue_count: u32,
    visible: DateTime<Utc>,
    in_flight: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Put { order: u64, id: String, body: String, inserted: DateTime<Utc>, dequeue_count: u32 },
    Take { order: u64 },
    Hide { order: u64, until: DateTime<Utc> },
    Delete { order: u64 },
}

impl Queue {
    /// Takes up to `max` visible messages and hides them until they are deleted or released.
    pub(crate) fn take(&self, max: usize, now: DateTime<Utc>) -> Result<Vec<Delivery>, HostError> {
        let mut state = self.lock();
        let visible = |message: &Message| !message.in_flight && message.visible <= now;
        let orders: Vec<u64> =
            state.messages.iter().filter(|(_, m)| visible(m)).map(|(order, _)| *order).take(max).collect();
        let entries: Vec<Entry> = orders.iter().map(|order| Entry::Take { order: *order }).collect();
        state.journal.append(&entries)?;
        let mut taken = Vec::with_capacity(orders.len());
        for order in orders {
            let Some(message) = state.messages.get_mut(&order) else { continue };
            message.in_flight = true;
            message.dequeue_count += 1;
            taken.push(Delivery {
                order,
                id: message.id.clone(),
                body: message.body.clone(),
                inserted: message.inserted,
                expires: message.inserted + TimeDelta::days(7),
                next_visible: now + TimeDelta::minutes(10),
                pop_receipt: BASE64.encode(format!("{order}:{}", message.dequeue_count)),
                dequeue_count: message.dequeue_count,
            });
        }
        Ok(taken)
    }

    pub(crate) fn put(&self, body: Bytes, now: DateTime<Utc>) -> Result<String, HostError> {
        let mut state = self.lock();
        if state.messages.len() >= MAX_MESSAGES {
            return Err(HostError::Full { what: format!("queue {:?}", self.name), limit: MAX_MESSAGES });
        }
        let (order, id) = (state.next_order, uuid::Uuid::new_v4().to_string());
        let text = BASE64.encode(&body);
        state.journal.append(&[Entry::Put { order, id: id.clone(), body: text, inserted: now, dequeue_count: 0 }])?;
        state.next_order += 1;
        let message = Message { id: id.clone(), body, inserted: now, dequeue_count: 0, visible: now, in_flight: false };
        state.messages.insert(order, message);
        drop(state);
        self.changed.notify_one();
        Ok(id)
    }

    pub(crate) fn delete(&self, delivery: &Delivery) -> Result<(), HostError> {
        let mut state = self.lock();
        state.journal.append(&[Entry::Delete { order: delivery.order }])?;
        state.messages.remove(&delivery.order);
        if state.messages.is_empty() && state.journal.size() > CLEAR_AT {
            state.journal.clear()?;
        }
        Ok(())
    }

    /// Gives a message back: visible again at `until`.
    pub(crate) fn release(&self, delivery: &Delivery, until: DateTime<Utc>) -> Result<(), HostError> {
        let mut state = self.lock();
        state.journal.append(&[Entry::Hide { order: delivery.order, until }])?;
        if let Some(message) = state.messages.get_mut(&delivery.order) {
            message.in_flight = false;
            message.visible = until;
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Messages, those in flight or hidden included.
    pub(crate) fn len(&self) -> usize {
        self.lock().messages.len()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns when a message may be visible. Call [`Queue::take`] to find out.
    pub(crate) async fn wait(&self, now: DateTime<Utc>) {
        let due = {
            let state = self.lock();
            let waiting = || state.messages.values().filter(|m| !m.in_flight).map(|m| m.visible);
            // Messages come in order, so a visible one is mostly among the first.
            if waiting().take(FIRST_LOOK).any(|visible| visible <= now) {
                return;
            }
            waiting().min()
        };
        let pause = due.map(|due| (due - now).to_std().unwrap_or_default());
        match pause {
            None => self.changed.notified().await,
            Some(pause) => {
                let _ = tokio::time::timeout(pause, self.changed.notified()).await;
            }
        }
    }

    fn open(name: &str, dir: &Path) -> Result<Self, HostError> {
        let path = dir.join(format!("{name}.journal"));
        let (journal, (messages, next_order)) = Journal::open(&path, |entries| {
            let (messages, next_order) = replay(entries);
            let live = messages.iter().flat_map(|(order, message)| message.entries(*order)).collect();
            ((messages, next_order), live)
        })?;
        let state = Mutex::new(State { journal, messages, next_order });
        Ok(Self { name: name.to_owned(), state, changed: Notify::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Message {
    fn entries(&self, order: u64) -> [Entry; 2] {
        let (id, body) = (self.id.clone(), BASE64.encode(&self.body));
        let put = Entry::Put { order, id, body, inserted: self.inserted, dequeue_count: self.dequeue_count };
        [put, Entry::Hide { order, until: self.visible }]
    }
}

fn replay(entries: Vec<Entry>) -> (BTreeMap<u64, Message>, u64) {
    let mut messages: BTreeMap<u64, Message> = BTreeMap::new();
    let mut next_order = 0;
    for entry in entries {
        match entry {
            Entry::Put { order, id, body, inserted, dequeue_count } => {
                let body = BASE64.decode(body).unwrap_or_default().into();
                let message = Message { id, body, inserted, dequeue_count, visible: inserted, in_flight: false };
                messages.insert(order, message);
                next_order = next_order.max(order + 1);
            }
            Entry::Take { order } => {
                if let Some(message) = messages.get_mut(&order) {
                    message.dequeue_count += 1;
                }
            }
            Entry::Hide { order, until } => {
                if let Some(message) = messages.get_mut(&order) {
                    message.visible = until;
                }
            }
            Entry::Delete { order } => {
                messages.remove(&order);
            }
        }
    }
    (messages, next_order)
}

/// Every queue of the stand-in. Queues appear with their first message.
#[derive(Debug)]
pub(crate) struct Queues {
    dir: PathBuf,
    base64: bool,
    open: RwLock<BTreeMap<String, Arc<Queue>>>,
}

impl Queues {
    /// Opens the queues in `dir`. `base64` is host.json's `messageEncoding`.
    pub(crate) fn open(dir: &Path, base64: bool) -> Result<Self, HostError> {
        create_dir(dir)?;
        let mut open = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(HostError::io("list", dir))? {
            let path = entry.map_err(HostError::io("list", dir))?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|e| e == "journal") && check_queue_name(name).is_ok() {
                open.insert(name.to_owned(), Arc::new(Queue::open(name, dir)?));
            }
        }
        Ok(Self { dir: dir.to_owned(), base64, open: RwLock::new(open) })
    }

    pub(crate) fn queue(&self, name: &str) -> Result<Arc<Queue>, HostError> {
        if let Some(queue) = self.existing(name) {
            return Ok(queue);
        }
        check_queue_name(name)?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = open.get(name) {
            return Ok(Arc::clone(queue));
        }
        if open.len() >= MAX_QUEUES {
            return Err(HostError::Full { what: "the list of queues".to_owned(), limit: MAX_QUEUES });
        }
        let queue = Arc::new(Queue::open(name, &self.dir)?);
        open.insert(name.to_owned(), Arc::clone(&queue));
        Ok(queue)
    }

    pub(crate) fn existing(&self, name: &str) -> Option<Arc<Queue>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }

    /// Puts a message as an output binding does: `body` is what the trigger will see.
    pub(crate) fn enqueue(&self, queue: &str, body: Vec<u8>, now: DateTime<Utc>) -> Result<String, HostError> {
        self.check_size(body.len())?;
        self.queue(queue)?.put(body.into(), now)
    }

    /// Refuses a body that is too large once it is encoded for the wire.
    pub(crate) fn check_size(&self, body: usize) -> Result<(), HostError> {
        let size = if self.base64 { body.div_ceil(3) * 4 } else { body };
        if size > MAX_QUEUE_MESSAGE {
            return Err(HostError::TooLarge { what: "a queue message", size, limit: MAX_QUEUE_MESSAGE });
        }
        Ok(())
    }

    /// Puts a message as Event Grid does: always base64 on the wire, whatever host.json expects.
    pub(crate) fn deliver_event(&self, queue: &str, event: &[u8], now: DateTime<Utc>) -> Result<String, HostError> {
        match self.base64 {
            true => self.enqueue(queue, event.to_vec(), now),
            false => self.enqueue(queue, BASE64.encode(event).into_bytes(), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn visibility_dequeue_count_and_restart() {
        let dir = tempfile::tempdir().unwrap();
        let now = Utc::now();
        let queues = Queues::open(dir.path(), true).unwrap();
        for body in ["a", "b", "c"] {
            queues.enqueue("tasks", body.into(), now).unwrap();
        }
        let queue = queues.queue("tasks").unwrap();
        let taken = queue.take(2, now).unwrap();
        assert_eq!(
            taken.iter().map(|d| (&d.body[..], d.dequeue_count)).collect::<Vec<_>>(),
            [(&b"a"[..], 1), (b"b", 1)]
        );
        queue.delete(&taken[0]).unwrap();
        let later = now + TimeDelta::seconds(30);
        queue.release(&taken[1], later).unwrap();
        assert_eq!(queue.take(9, now).unwrap().len(), 1, "only c: b is hidden");
        assert_eq!(queue.len(), 2);
        drop((queue, queues));

        let path = dir.path().join("tasks.journal");
        let torn =
            |text: &str| std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes());
        torn(r#"{"delete":{"ord"#).unwrap();
        let queue = Queues::open(dir.path(), true).unwrap().existing("tasks").unwrap();
        let taken = queue.take(9, now).unwrap();
        assert_eq!((taken.len(), taken[0].dequeue_count), (1, 2), "c was in flight and is visible again");
        let taken = queue.take(9, later).unwrap();
        assert_eq!((&taken[0].body[..], taken[0].dequeue_count), (&b"b"[..], 2));
        drop(queue);
        torn("garbage\n").unwrap();
        assert!(matches!(Queues::open(dir.path(), true), Err(HostError::Corrupt { .. })));
    }

    #[test]
    fn limits_and_encoding() {
        let dir = tempfile::tempdir().unwrap();
        let now = Utc::now();
        let base64 = Queues::open(&dir.path().join("b"), true).unwrap();
        base64.enqueue("tasks", vec![0; 48 * 1024], now).unwrap();
        let error = base64.enqueue("tasks", vec![0; 48 * 1024 + 1], now).unwrap_err();
        assert!(matches!(error, HostError::TooLarge { limit: MAX_QUEUE_MESSAGE, .. }));
        assert!(matches!(base64.enqueue("../x", Vec::new(), now), Err(HostError::Name { .. })));
        let plain = Queues::open(&dir.path().join("p"), false).unwrap();
        plain.enqueue("tasks", vec![0; 64 * 1024], now).unwrap();
        plain.deliver_event("blob-events", b"{}", now).unwrap();
        let body = plain.queue("blob-events").unwrap().take(1, now).unwrap().remove(0).body;
        assert_eq!(&body[..], b"e30=", "Event Grid's base64 is seen as text");
    }
}
