//! The tables under one root, each opened once per process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::Mutex;

use crate::error::LakeError;
use crate::log::Location;
use crate::table::{Table, TableDefinition};

/// Limits, and where time and randomness come from, so that nothing in here reads the environment.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// Milliseconds since the Unix epoch.
    pub now_ms: fn() -> i64,
    /// Uniform bits, for names of files and commits and for jitter. Names must never repeat.
    pub random: fn() -> u64,
    /// A data file is closed when it has reached about this many bytes.
    pub target_file_bytes: usize,
    /// A file that has become so large begins to be stored before it is closed, so many bytes at a time.
    pub part_bytes: usize,
    /// A commit that is not done by then fails; the last attempt may end later. Zero is one attempt.
    pub commit_timeout: Duration,
    /// Until it is so old, what is known of a table is continued by the next commit; later that commit may have been
    /// cleaned up, and who took its absence for the log's end would commit where nobody looks. [`Table::clean_log`]
    /// keeps the log for at least four times as long.
    ///
    /// [`Table::clean_log`]: crate::Table::clean_log
    pub max_state_age: Duration,
    /// Entries that another table left in the log are replaced once they have stood for so long. Whoever made one takes it
    /// back within a quarter of it, if its folder was deleted.
    pub settled: Duration,
    /// How long appends wait for one another at most, when others came lately. An append that comes alone never waits.
    pub linger: Duration,
    /// Rows that share a file at most.
    pub group_rows: usize,
    /// Bytes in memory of rows that share a file at most. A single append above it is written as files of its own.
    pub group_bytes: usize,
}

impl LakeOptions {
    pub fn new(now_ms: fn() -> i64) -> Self {
        Self {
            now_ms,
            random: rand::random,
            target_file_bytes: 64 * 1024 * 1024,
            part_bytes: 16 * 1024 * 1024,
            commit_timeout: Duration::from_secs(60),
            max_state_age: Duration::from_secs(15 * 60),
            settled: Duration::from_secs(60),
            linger: Duration::from_millis(20),
            group_rows: 1_000_000,
            group_bytes: 64 * 1024 * 1024,
        }
    }

    /// A name that nobody else has: a version 4 UUID.
    pub(crate) fn new_id(&self) -> String {
        let (high, low) = ((self.random)().to_be_bytes(), (self.random)().to_be_bytes());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high);
        bytes[8..].copy_from_slice(&low);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A random share of `ceiling`.
    pub(crate) fn jitter(&self, ceiling: Duration) -> Duration {
        let share = (self.random)() >> 11;
        ceiling.mul_f64(share as f64 / (1_u64 << 53) as f64)
    }
}

/// Whoever asks for an open table is given it if it was looked at so lately.
const FRESH_LOOK: Duration = Duration::from_secs(1);

/// One root folder of Delta tables.
#[derive(Debug)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    root: Path,
    options: LakeOptions,
    tables: Mutex<HashMap<String, Arc<Table>>>,
    /// Tables that were asked for and were not there.
    missing: Mutex<HashMap<String, Arc<Looks>>>,
}

/// Who looks for a table that may not exist.
#[derive(Debug, Default)]
struct Looks {
    /// Given to whoever asks and whoever looks, in this order.
    tickets: AtomicU64,
    /// Of the last look that found nothing.
    absent: AtomicU64,
    /// Whoever has it looks. Whether a listing has shown that there is no table.
    turn: Mutex<bool>,
}

impl Lake {
    /// `store` and the folder in it that holds the tables.
    pub fn new(store: Arc<dyn ObjectStore>, root: Path, options: LakeOptions) -> Self {
        Self { store, root, options, tables: Mutex::default(), missing: Mutex::default() }
    }

    /// The table, created when it does not exist. A table that exists keeps its schema: a definition that does not
    /// fit it is an error that names the column.
    pub async fn table(&self, definition: &TableDefinition) -> Result<Arc<Table>, LakeError> {
        if let Some(table) = self.opened(&definition.name).await {
            return Ok(table);
        }
        let mut tables = self.tables.lock().await;
        if let Some(table) = tables.get(&definition.name) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(Table::open_or_create(self.at(&definition.name), definition, &self.options).await?);
        tables.insert(definition.name.clone(), Arc::clone(&table));
        Ok(table)
    }

    /// The table if it exists; never creates one. What it says was so after it was called: callers that wait for the same
    /// look share it.
    pub async fn existing(&self, definition: &TableDefinition) -> Result<Option<Arc<Table>>, LakeError> {
        let name = &definition.name;
        if let Some(table) = self.opened(name).await {
            return Ok(Some(table));
        }
        let looks = Arc::clone(self.missing.lock().await.entry(name.clone()).or_default());
        let asked = looks.tickets.fetch_add(1, Ordering::SeqCst);
        let mut was_absent = looks.turn.lock().await;
        if let Some(table) = self.opened(name).await {
            return Ok(Some(table));
        }
        if looks.absent.load(Ordering::SeqCst) > asked {
            return Ok(None);
        }
        let ticket = looks.tickets.fetch_add(1, Ordering::SeqCst);
        // Many ask each time: a table that was not there once is looked for by name, which is cheaper than a listing.
        if *was_absent && !self.at(name).is_there_now().await? {
            looks.absent.store(ticket, Ordering::SeqCst);
            return Ok(None);
        }
        let mut tables = self.tables.lock().await;
        if let Some(table) = tables.get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        let Some(table) = Table::open(self.at(name), definition, &self.options).await? else {
            *was_absent = true;
            looks.absent.store(ticket, Ordering::SeqCst);
            return Ok(None);
        };
        let table = Arc::new(table);
        tables.insert(name.clone(), Arc::clone(&table));
        Ok(Some(table))
    }

    /// The table if it is open and its folder still holds it: one that was deleted, restored or made anew is opened anew.
    async fn opened(&self, name: &str) -> Option<Arc<Table>> {
        let table = self.tables.lock().await.get(name).map(Arc::clone)?;
        // Where the store does not answer, whoever uses the table hears of it.
        let Err(error @ LakeError::Replaced { .. }) = table.writer.look_if_older(FRESH_LOOK).await else {
            return Some(table);
        };
        tracing::warn!(table = name, %error, "the table is opened anew");
        let mut tables = self.tables.lock().await;
        if tables.get(name).is_some_and(|known| Arc::ptr_eq(known, &table)) {
            tables.remove(name);
        }
        tables.get(name).map(Arc::clone)
    }

    fn at(&self, name: &str) -> Location {
        Location { store: Arc::clone(&self.store), root: self.root.clone().join(name), name: name.to_owned() }
    }
}
