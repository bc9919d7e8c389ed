//! The tables under one root, each opened once per process.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::Mutex;

use crate::error::LakeError;
use crate::log::replay::Location;
use crate::table::{Table, TableDefinition};

/// Limits and sources of time, so that nothing in here reads the environment.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// Milliseconds since the Unix epoch.
    pub now_ms: fn() -> i64,
    /// A data file is closed when it has reached about this many bytes.
    pub target_file_bytes: usize,
    /// Attempts at one commit before the caller gets [`crate::LakeError::Contended`].
    pub commit_attempts: u32,
}

impl LakeOptions {
    pub fn new(now_ms: fn() -> i64) -> Self {
        Self { now_ms, target_file_bytes: 64 * 1024 * 1024, commit_attempts: 200 }
    }
}

/// One root folder of Delta tables.
#[derive(Debug)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    root: Path,
    options: LakeOptions,
    tables: Mutex<HashMap<String, Arc<Table>>>,
}

impl Lake {
    /// `store` and the folder in it that holds the tables.
    pub fn new(store: Arc<dyn ObjectStore>, root: Path, options: LakeOptions) -> Self {
        Self { store, root, options, tables: Mutex::default() }
    }

    /// The table, created when it does not exist. A table that exists keeps its schema: a definition that does not
    /// fit it is an error that names the column.
    pub async fn table(&self, definition: &TableDefinition) -> Result<Arc<Table>, LakeError> {
        let mut tables = self.tables.lock().await;
        if let Some(table) = tables.get(&definition.name) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(Table::open_or_create(self.at(&definition.name), definition, &self.options).await?);
        tables.insert(definition.name.clone(), Arc::clone(&table));
        Ok(table)
    }

    /// The table if it exists; never creates one.
    pub async fn existing(&self, definition: &TableDefinition) -> Result<Option<Arc<Table>>, LakeError> {
        let mut tables = self.tables.lock().await;
        if let Some(table) = tables.get(&definition.name) {
            return Ok(Some(Arc::clone(table)));
        }
        let Some(table) = Table::open(self.at(&definition.name), definition, &self.options).await? else {
            return Ok(None);
        };
        let table = Arc::new(table);
        tables.insert(definition.name.clone(), Arc::clone(&table));
        Ok(Some(table))
    }

    fn at(&self, name: &str) -> Location {
        Location { store: Arc::clone(&self.store), root: self.root.clone().join(name), name: name.to_owned() }
    }
}
