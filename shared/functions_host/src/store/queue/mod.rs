//! Storage queues, wherever they are: in journals on this machine's disk, or in a storage account.
//!
//! Both keep what a storage queue keeps: a message that was taken is hidden for a time and has a new pop receipt; only
//! who holds the latest receipt can delete, renew or release it; the text of a message has at most 64 KiB.

mod account;
mod local;
mod shared_key;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use self::account::Account;
pub(crate) use self::local::LocalQueue;
use super::create_dir;
use crate::{
    config::{QueueName, check_queue_name, queue_services},
    error::HostError,
};

/// The most a queue message may take on the wire, in bytes. In base64 (the default) that leaves 48 KiB for its body.
pub const MAX_QUEUE_MESSAGE: usize = 64 * 1024;

const MAX_QUEUES: usize = 256;
const POISON: &str = "-poison";

/// A message that was taken.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message's id.
    pub id: String,
    /// The text as it is on the wire.
    pub text: String,
    /// The body as the function sees it; None where `messageEncoding` is base64 and the text is not.
    pub body: Option<Bytes>,
    /// When the message was put.
    pub inserted: DateTime<Utc>,
    /// When the queue drops it.
    pub expires: DateTime<Utc>,
    /// When it is visible again.
    pub next_visible: DateTime<Utc>,
    /// Ticket of this delivery: whoever holds the latest one may delete, renew or release.
    pub pop_receipt: String,
    /// Deliveries so far, 1 at the first delivery.
    pub dequeue_count: u32,
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    name: String,
    base64: bool,
    store: Store,
}

#[derive(Debug, Clone)]
enum Store {
    Local(Arc<LocalQueue>),
    /// Of others beside this host too. `arrived` tells what this host put there.
    Account {
        account: Arc<Account>,
        arrived: Arc<Notify>,
    },
}

impl Queue {
    /// The queue's name, without its connection.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue for messages that nobody can handle. A poison queue has none of its own.
    pub fn poison(&self) -> Option<String> {
        let name = format!("{}{POISON}", self.name);
        (!self.name.ends_with(POISON) && check_queue_name(&name).is_ok()).then_some(name)
    }

    /// Puts a message as an output binding does: `body` is what the trigger will see. The queue appears with its first
    /// message. Returns the message's id.
    ///
    /// # Errors
    /// [`HostError::TooLarge`] above [`MAX_QUEUE_MESSAGE`], [`HostError::NotText`] where the queue takes text only,
    /// [`HostError::Io`] or [`HostError::Storage`] when it cannot be stored.
    pub async fn put(&self, body: &[u8]) -> Result<String, HostError> {
        self.put_text(self.encoded(body)?).await
    }

    /// Puts a message that is encoded already.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_text(&self, text: String) -> Result<String, HostError> {
        check_size(&text)?;
        match &self.store {
            Store::Local(queue) => queue.put(text, Utc::now()),
            Store::Account { account, arrived } => {
                let id = account.put(&self.name, &text).await?;
                arrived.notify_one();
                Ok(id)
            }
        }
    }

    /// Takes up to `max` visible messages, the oldest first, and hides them.
    ///
    /// # Errors
    /// [`HostError::Io`] or [`HostError::Storage`] when the queue cannot be read or written.
    pub async fn take(&self, max: usize, hidden: Duration) -> Result<Vec<Delivery>, HostError> {
        let mut taken = match &self.store {
            Store::Local(queue) => queue.take(max, hidden, Utc::now())?,
            Store::Account { account, .. } => account.take(&self.name, max, hidden).await?,
        };
        for delivery in &mut taken {
            delivery.body = decoded(&delivery.text, self.base64);
        }
        Ok(taken)
    }

    /// Hides a message for longer. False: it is no longer ours.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn renew(&self, delivery: &mut Delivery, hidden: Duration) -> Result<bool, HostError> {
        let receipt = match &self.store {
            Store::Local(queue) => queue.hide(delivery, hidden, Utc::now()),
            Store::Account { account, .. } => account.hide(&self.name, delivery, hidden).await?,
        };
        let Some(receipt) = receipt else { return Ok(false) };
        delivery.pop_receipt = receipt;
        Ok(true)
    }

    /// Gives a message back: visible again after `pause`. False: it is no longer ours.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn release(&self, delivery: &Delivery, pause: Duration) -> Result<bool, HostError> {
        match &self.store {
            Store::Local(queue) => queue.release(delivery, pause, Utc::now()),
            Store::Account { account, arrived } => {
                let released = account.hide(&self.name, delivery, pause).await?.is_some();
                arrived.notify_one();
                Ok(released)
            }
        }
    }

    /// Deletes a message. False: it is no longer ours, and stays.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn delete(&self, delivery: &Delivery) -> Result<bool, HostError> {
        match &self.store {
            Store::Local(queue) => queue.delete(delivery),
            Store::Account { account, .. } => account.delete(&self.name, delivery).await,
        }
    }

    /// Counts the messages, those in flight or hidden included. A storage account knows it roughly.
    ///
    /// # Errors
    /// [`HostError::Storage`] when a storage account does not answer.
    pub async fn count(&self) -> Result<usize, HostError> {
        match &self.store {
            Store::Local(queue) => Ok(queue.len()),
            Store::Account { account, .. } => account.count(&self.name).await,
        }
    }

    /// Returns when a message may be visible. A local queue knows when; a storage account is asked again after `pause`,
    /// or when this host has put a message there.
    pub(crate) async fn wait(&self, pause: Duration) {
        match &self.store {
            Store::Local(queue) => queue.wait(Utc::now()).await,
            Store::Account { arrived, .. } => {
                // An error says that the pause is over.
                let _ = tokio::time::timeout(pause, arrived.notified()).await;
            }
        }
    }

    fn encoded(&self, body: &[u8]) -> Result<String, HostError> {
        if self.base64 {
            return Ok(BASE64.encode(body));
        }
        let not_text = |_| HostError::NotText { queue: self.name.clone() };
        String::from_utf8(body.to_vec()).map_err(not_text)
    }
}

/// What the function sees of a text.
fn decoded(text: &str, base64: bool) -> Option<Bytes> {
    if !base64 {
        return Some(Bytes::copy_from_slice(text.as_bytes()));
    }
    // .NET's decoder passes over white space, too.
    let text: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    BASE64.decode(text).ok().map(Bytes::from)
}

fn check_size(text: &str) -> Result<(), HostError> {
    if text.len() > MAX_QUEUE_MESSAGE {
        return Err(HostError::TooLarge { what: "a queue message", size: text.len(), limit: MAX_QUEUE_MESSAGE });
    }
    Ok(())
}

/// Every queue of the stand-in.
#[derive(Debug)]
pub struct Queues {
    dir: PathBuf,
    base64: bool,
    /// By connection; a connection without one is local.
    accounts: BTreeMap<String, Arc<Account>>,
    /// Endpoint (None: local) and name.
    open: RwLock<BTreeMap<(Option<String>, String), Queue>>,
}

impl Queues {
    /// Opens the local queues in `dir`, and those of the connections for which an app setting names a storage emulator.
    /// `base64` is host.json's `messageEncoding`.
    ///
    /// # Errors
    /// [`HostError::Config`] for a setting that names no emulator on this machine, [`HostError::Io`] or
    /// [`HostError::Corrupt`] when a local queue cannot be opened.
    pub fn open<'a>(
        dir: &Path,
        base64: bool,
        connections: impl IntoIterator<Item = &'a str>,
        settings: &HashMap<String, String>,
    ) -> Result<Self, HostError> {
        create_dir(dir)?;
        let mut accounts = BTreeMap::new();
        for (connection, service) in queue_services(connections, settings)? {
            accounts.insert(connection, Arc::new(Account::open(service)?));
        }
        let queues = Self { dir: dir.to_owned(), base64, accounts, open: RwLock::default() };
        for entry in std::fs::read_dir(dir).map_err(HostError::io("list", dir))? {
            let path = entry.map_err(HostError::io("list", dir))?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|e| e == "journal") && check_queue_name(name).is_ok() {
                queues.find_or_open(None, name)?;
            }
        }
        Ok(queues)
    }

    /// The queue of that name, where its connection has its queues.
    ///
    /// # Errors
    /// [`HostError::Name`] for a name that no queue may have, [`HostError::Full`] for one queue too many, [`HostError::Io`]
    /// when it cannot be opened.
    pub fn queue(&self, name: &QueueName) -> Result<Queue, HostError> {
        self.find_or_open(self.accounts.get(&name.connection), &name.queue)
    }

    /// None: nobody has put anything there. A storage account is not asked.
    pub(crate) fn existing(&self, name: &QueueName) -> Result<Option<Queue>, HostError> {
        if self.in_account(name) {
            return self.queue(name).map(Some);
        }
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        Ok(open.get(&(None, name.queue.clone())).cloned())
    }

    pub(crate) fn in_account(&self, name: &QueueName) -> bool {
        self.accounts.contains_key(&name.connection)
    }

    /// The local queue of that name, made if it is not there.
    pub(crate) fn local(&self, name: &str) -> Result<Arc<LocalQueue>, HostError> {
        match self.find_or_open(None, name)?.store {
            Store::Local(queue) => Ok(queue),
            // Cannot be: local queues are kept under no endpoint.
            Store::Account { .. } => {
                Err(HostError::Unknown { what: "local queue", name: name.to_owned(), known: String::new() })
            }
        }
    }

    fn find_or_open(&self, account: Option<&Arc<Account>>, name: &str) -> Result<Queue, HostError> {
        check_queue_name(name)?;
        let key = (account.map(|account| account.endpoint().to_owned()), name.to_owned());
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = open.get(&key) {
            return Ok(queue.clone());
        }
        if open.len() >= MAX_QUEUES {
            return Err(HostError::Full { what: "the list of queues".to_owned(), limit: MAX_QUEUES });
        }
        let store = match account {
            Some(account) => Store::Account { account: Arc::clone(account), arrived: Arc::default() },
            None => Store::Local(Arc::new(LocalQueue::open(name, &self.dir)?)),
        };
        let queue = Queue { name: name.to_owned(), base64: self.base64, store };
        open.insert(key, queue.clone());
        Ok(queue)
    }
}
