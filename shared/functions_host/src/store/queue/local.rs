//! A queue on this machine's disk: one journal file.
//!
//! A message that was in flight when the process died is visible again at the next start, with its dequeue count: only
//! one host at a time has these queues.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Delivery;
use crate::{error::HostError, store::Journal};

const FIRST_LOOK: usize = 64;
const MAX_MESSAGES: usize = 200_000;
/// The journal of an empty queue is cleared when it has grown to this many bytes.
const CLEAR_AT: u64 = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct LocalQueue {
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
    /// Of pop receipts.
    next_serial: u64,
}

#[derive(Debug)]
struct Message {
    id: String,
    text: String,
    inserted: DateTime<Utc>,
    dequeue_count: u32,
    visible: DateTime<Utc>,
    /// Whoever took or hid it last holds this one.
    serial: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Put { order: u64, id: String, text: String, inserted: DateTime<Utc>, dequeue_count: u32 },
    Take { order: u64 },
    Hide { order: u64, until: DateTime<Utc> },
    Delete { order: u64 },
}

impl LocalQueue {
    /// Takes up to `max` visible messages and hides them.
    pub(super) fn take(&self, max: usize, hidden: Duration, now: DateTime<Utc>) -> Result<Vec<Delivery>, HostError> {
        let mut state = self.lock();
        let visible = |message: &Message| message.visible <= now;
        let orders: Vec<u64> =
            state.messages.iter().filter(|(_, m)| visible(m)).map(|(order, _)| *order).take(max).collect();
        let entries: Vec<Entry> = orders.iter().map(|order| Entry::Take { order: *order }).collect();
        state.journal.append(&entries)?;
        let mut taken = Vec::with_capacity(orders.len());
        for order in orders {
            let serial = state.serial();
            let Some(message) = state.messages.get_mut(&order) else { continue };
            message.visible = later(now, hidden);
            message.serial = Some(serial);
            message.dequeue_count += 1;
            taken.push(Delivery {
                id: message.id.clone(),
                text: message.text.clone(),
                body: None,
                inserted: message.inserted,
                expires: message.inserted + TimeDelta::days(7),
                next_visible: message.visible,
                pop_receipt: receipt(order, serial),
                dequeue_count: message.dequeue_count,
            });
        }
        Ok(taken)
    }

    /// `text` has no more than a message may have.
    pub(crate) fn put(&self, text: String, now: DateTime<Utc>) -> Result<String, HostError> {
        let mut state = self.lock();
        if state.messages.len() >= MAX_MESSAGES {
            return Err(HostError::Full { what: format!("queue {:?}", self.name), limit: MAX_MESSAGES });
        }
        let (order, id) = (state.next_order, uuid::Uuid::new_v4().to_string());
        let entry = Entry::Put { order, id: id.clone(), text: text.clone(), inserted: now, dequeue_count: 0 };
        state.journal.append(&[entry])?;
        state.next_order += 1;
        let message = Message { id: id.clone(), text, inserted: now, dequeue_count: 0, visible: now, serial: None };
        state.messages.insert(order, message);
        drop(state);
        self.changed.notify_one();
        Ok(id)
    }

    /// False: it is not ours any more.
    pub(super) fn delete(&self, delivery: &Delivery) -> Result<bool, HostError> {
        let mut state = self.lock();
        let Some(order) = state.held(delivery) else { return Ok(false) };
        state.journal.append(&[Entry::Delete { order }])?;
        state.messages.remove(&order);
        if state.messages.is_empty() && state.journal.size() > CLEAR_AT {
            state.journal.clear()?;
        }
        Ok(true)
    }

    /// Gives a message back for a while. False: it is not ours any more.
    pub(super) fn release(&self, delivery: &Delivery, pause: Duration, now: DateTime<Utc>) -> Result<bool, HostError> {
        let mut state = self.lock();
        let (Some(order), until) = (state.held(delivery), later(now, pause)) else { return Ok(false) };
        state.journal.append(&[Entry::Hide { order, until }])?;
        if let Some(message) = state.messages.get_mut(&order) {
            (message.visible, message.serial) = (until, None);
        }
        drop(state);
        self.changed.notify_one();
        Ok(true)
    }

    /// Keeps a message hidden; returns its new receipt. None: it is not ours any more. Not journaled: after a restart
    /// nobody has it.
    pub(super) fn hide(&self, delivery: &Delivery, hidden: Duration, now: DateTime<Utc>) -> Option<String> {
        let mut state = self.lock();
        let (order, serial) = (state.held(delivery)?, state.serial());
        let message = state.messages.get_mut(&order)?;
        (message.visible, message.serial) = (later(now, hidden), Some(serial));
        Some(receipt(order, serial))
    }

    /// Messages, those in flight or hidden included.
    pub(super) fn len(&self) -> usize {
        self.lock().messages.len()
    }

    /// Returns when a message may be visible.
    pub(super) async fn wait(&self, now: DateTime<Utc>) {
        let due = {
            let state = self.lock();
            let waiting = || state.messages.values().map(|message| message.visible);
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

    pub(super) fn open(name: &str, dir: &Path) -> Result<Self, HostError> {
        let path = dir.join(format!("{name}.journal"));
        let (journal, (messages, next_order)) = Journal::open(&path, |entries| {
            let (messages, next_order) = replay(entries);
            let live = messages.iter().flat_map(|(order, message)| message.entries(*order)).collect();
            ((messages, next_order), live)
        })?;
        let state = Mutex::new(State { journal, messages, next_order, next_serial: 0 });
        Ok(Self { name: name.to_owned(), state, changed: Notify::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// Where the message of a delivery is, if the delivery's receipt is the latest.
    fn held(&self, delivery: &Delivery) -> Option<u64> {
        let text = String::from_utf8(BASE64.decode(&delivery.pop_receipt).ok()?).ok()?;
        let (order, serial) = text.split_once(':')?;
        let (order, serial): (u64, u64) = (order.parse().ok()?, serial.parse().ok()?);
        let message = self.messages.get(&order).filter(|message| message.id == delivery.id)?;
        (message.serial == Some(serial)).then_some(order)
    }
}

fn receipt(order: u64, serial: u64) -> String {
    BASE64.encode(format!("{order}:{serial}"))
}

fn later(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let pause = TimeDelta::from_std(pause).ok();
    pause.and_then(|pause| now.checked_add_signed(pause)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Message {
    fn entries(&self, order: u64) -> [Entry; 2] {
        let (id, text) = (self.id.clone(), self.text.clone());
        let put = Entry::Put { order, id, text, inserted: self.inserted, dequeue_count: self.dequeue_count };
        [put, Entry::Hide { order, until: self.visible }]
    }
}

fn replay(entries: Vec<Entry>) -> (BTreeMap<u64, Message>, u64) {
    let mut messages: BTreeMap<u64, Message> = BTreeMap::new();
    let mut next_order = 0;
    for entry in entries {
        match entry {
            Entry::Put { order, id, text, inserted, dequeue_count } => {
                let message = Message { id, text, inserted, dequeue_count, visible: inserted, serial: None };
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_restart_keeps_messages_and_gives_back_what_was_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let now = Utc::now();
        let queue = LocalQueue::open("tasks", dir.path()).unwrap();
        for text in ["a", "b", "c"] {
            queue.put(text.to_owned(), now).unwrap();
        }
        let taken = queue.take(2, MINUTE, now).unwrap();
        assert!(queue.delete(&taken[0]).unwrap());
        let later = now + TimeDelta::seconds(30);
        assert!(queue.release(&taken[1], MINUTE / 2, now).unwrap());
        assert_eq!(queue.take(9, MINUTE, now).unwrap().len(), 1, "only c: b is hidden");
        drop(queue);

        let path = dir.path().join("tasks.journal");
        let torn =
            |text: &str| std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes());
        torn(r#"{"delete":{"ord"#).unwrap();
        let queue = LocalQueue::open("tasks", dir.path()).unwrap();
        assert!(!queue.delete(&taken[1]).unwrap(), "a receipt of the process before");
        let taken = queue.take(9, MINUTE, now).unwrap();
        assert_eq!((taken.len(), taken[0].dequeue_count), (1, 2), "c was in flight and is visible again");
        let taken = queue.take(9, MINUTE, later).unwrap();
        assert_eq!((&*taken[0].text, taken[0].dequeue_count), ("b", 2));
        drop(queue);
        torn("garbage\n").unwrap();
        assert!(matches!(LocalQueue::open("tasks", dir.path()), Err(HostError::Corrupt { .. })));
    }
}
