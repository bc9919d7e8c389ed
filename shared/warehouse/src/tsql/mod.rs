//! Synapse dedicated SQL pools and Fabric warehouses: `COPY INTO` staging tables, then one transaction.
//!
//! Guarantee: rows and watermark change in one transaction, which begins by setting the watermark from what the plan was
//! made for and reads back whether it did. What cannot be in a transaction there (new tables, their place) is done
//! before, or noted and finished by whoever comes next. No lock, no lease; what a loader that died has left, later ones
//! drop once it cannot be running any more.
//!
//! Nothing of this has met a live pool: the statements are held to two SQL parsers and run on an engine of our tests.

pub(crate) mod address;
mod ledger;
mod leftovers;
mod load;
mod reload;
mod session;
mod stage;
pub(crate) mod statements;
pub(crate) mod text;
pub(crate) mod types;
mod verify;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::{AccessTokens, Error, FileReader, LoadReport, Plan, TableLoad, Verified, Warehouse, Watermark};
use address::Address;
use ledger::Ledger;
use session::Tds;
pub use session::{Connect, Row, Session};
use text::Target;

/// Schema of the loader's own tables.
pub(crate) const STATE_SCHEMA: &str = "weir";

/// Which words the pool knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// A dedicated SQL pool of Azure Synapse.
    Dedicated,
    /// A warehouse of Microsoft Fabric.
    Fabric,
}

/// A pool.
#[derive(Debug)]
pub struct Pool {
    flavor: Flavor,
    connector: Arc<dyn Connect>,
    /// Sources whose tables of state are there.
    prepared: Mutex<BTreeSet<String>>,
}

/// What the watermark's row says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    target: String,
    watermark: Watermark,
    /// Under which the loaded files are noted.
    generation: String,
    run_id: String,
    pending: Option<String>,
}

impl Pool {
    /// # Errors
    /// [`crate::ErrorKind::Config`] for an address that is none.
    pub fn open(url: &str, tokens: Option<Arc<dyn AccessTokens>>) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        Ok(Self::over(address.flavor, Arc::new(Tds::new(address, tokens))))
    }

    /// With connections that somebody else makes.
    pub fn over(flavor: Flavor, connector: Arc<dyn Connect>) -> Self {
        Self { flavor, connector, prepared: Mutex::default() }
    }

    async fn session(&self, ledger: &Ledger) -> Result<Box<dyn Session>, Error> {
        let mut session = self.connector.connect().await?;
        let mut prepared = self.prepared.lock().await;
        if !prepared.contains(&ledger.source) {
            prepare(self.flavor, session.as_mut(), ledger).await?;
            prepared.insert(ledger.source.clone());
        }
        drop(prepared);
        session.execute("setting up the session", "SET XACT_ABORT ON").await?;
        Ok(session)
    }

    /// The state of a table, after finishing what a loader that died had begun to swap.
    async fn state(&self, session: &mut dyn Session, ledger: &Ledger) -> Result<Option<State>, Error> {
        let Some(state) = ledger.read(session).await? else { return Ok(None) };
        let Some(pending) = &state.pending else { return Ok(Some(state)) };
        reload::swap(self.flavor, session, ledger, &state.target, pending).await?;
        ledger.read(session).await
    }
}

#[async_trait]
impl Warehouse for Pool {
    async fn watermark(&self, table: &TableLoad) -> Result<Option<Watermark>, Error> {
        let ledger = Ledger::of(&table.source_table)?;
        let mut session = self.session(&ledger).await?;
        let state = self.state(session.as_mut(), &ledger).await?;
        let Some(state) = state.filter(|state| state.target == table.table && state.watermark.version >= 0) else {
            return Ok(None);
        };
        // A table that somebody dropped is loaded anew.
        let there = exists(session.as_mut(), &Target::parse(&table.table)?).await?;
        Ok(Some(state.watermark).filter(|_| there))
    }

    async fn apply(&self, table: &TableLoad, plan: &Plan, reader: &dyn FileReader) -> Result<LoadReport, Error> {
        if let Plan::Nothing { version } = plan {
            return Ok(LoadReport { version: *version, ..LoadReport::default() });
        }
        let limit = leftovers::limit(table);
        let applied = tokio::time::timeout(limit, load::apply(self, table, plan, reader)).await;
        applied.unwrap_or_else(|_| Err(Error::TimedOut { doing: "loading", seconds: limit.as_secs() }))
    }

    async fn row_count(&self, table: &TableLoad) -> Result<u64, Error> {
        let mut session = self.session(&Ledger::of(&table.source_table)?).await?;
        let target = Target::parse(&table.table)?;
        if !exists(session.as_mut(), &target).await? {
            return Ok(0);
        }
        number(session.as_mut(), "counting rows", &statements::count(&target)?).await
    }

    async fn verify(
        &self,
        table: &TableLoad,
        schema: &str,
        files: &[crate::DataFile],
        reader: &dyn FileReader,
    ) -> Result<Verified, Error> {
        verify::verify(self, table, schema, files, reader).await
    }
}

/// Schema and tables of the loader, once a process and source.
async fn prepare(flavor: Flavor, session: &mut dyn Session, ledger: &Ledger) -> Result<(), Error> {
    ensure_schema(session, STATE_SCHEMA).await?;
    for (table, create) in ledger.definitions(flavor) {
        if exists(session, table).await? {
            continue;
        }
        // Another process may have been faster.
        if let Err(error) = session.execute("creating the loader's tables", &create).await
            && !exists(session, table).await?
        {
            return Err(error);
        }
    }
    Ok(())
}

pub(crate) async fn ensure_schema(session: &mut dyn Session, schema: &str) -> Result<(), Error> {
    const LOOKING: &str = "looking for the schema";
    if !session.rows(LOOKING, &statements::schema_exists(schema)).await?.is_empty() {
        return Ok(());
    }
    match session.execute("creating the schema", &statements::create_schema(schema)?).await {
        Err(error) if session.rows(LOOKING, &statements::schema_exists(schema)).await?.is_empty() => Err(error),
        _ => Ok(()),
    }
}

pub(crate) async fn exists(session: &mut dyn Session, table: &Target) -> Result<bool, Error> {
    Ok(!session.rows("looking for the table", &statements::exists(table)).await?.is_empty())
}

/// The one number of a result; nothing counts as none.
pub(crate) async fn number(session: &mut dyn Session, doing: &'static str, sql: &str) -> Result<u64, Error> {
    let rows = session.rows(doing, sql).await?;
    let text = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    let unread = || Error::Answer { doing };
    text.map_or(Ok(0), |text| text.trim().parse().map_err(|_| unread()))
}

/// Connections to the pool at `url`.
///
/// # Errors
/// [`crate::ErrorKind::Config`] for an address that is none.
pub fn connector(url: &str, tokens: Option<Arc<dyn AccessTokens>>) -> Result<Arc<dyn Connect>, Error> {
    Ok(Arc::new(Tds::new(Address::parse(url)?, tokens)))
}

/// `value` as a T-SQL literal of exactly its content.
pub fn quoted_literal(value: &str) -> String {
    text::literal(value)
}

/// `name` as a T-SQL identifier.
///
/// # Errors
/// [`Error::Name`] for what no identifier can be.
pub fn quoted_name(name: &str) -> Result<String, Error> {
    text::name("object", name)
}
