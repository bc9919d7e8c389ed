//! One load: stage, then change rows and watermark in one transaction.

use std::collections::BTreeSet;

use super::ledger::Ledger;
use super::session::Session;
use super::stage::Stage;
use super::statements::{self, Staging, Writer};
use super::text::Target;
use super::{Pool, STATE_SCHEMA, State, exists, leftovers};
use crate::{DataFile, Error, ErrorKind, FileReader, LoadReport, Plan, Step, TableLoad, Watermark, schema};

/// A step whose files are staged.
enum Change {
    DeleteAll,
    Insert(Vec<Staging>),
    DeleteSource { source: String, positions: Option<(i64, i64)> },
    DeleteKeys { staged: Vec<Staging>, keys: Vec<String> },
    DeleteListed(Target),
}

/// A plan on its way: what the steps come to, and which files count as loaded afterwards.
#[derive(Default)]
pub(super) struct Work {
    changes: Vec<Change>,
    known: BTreeSet<String>,
    noted: BTreeSet<String>,
    forgotten: BTreeSet<String>,
    /// Of the steps so far, no file counts as loaded.
    forgets_all: bool,
    rows_inserted: u64,
}

pub(super) async fn apply(
    pool: &Pool,
    table: &TableLoad,
    plan: &Plan,
    reader: &dyn FileReader,
) -> Result<LoadReport, Error> {
    let (from, to, steps) = match plan {
        Plan::Nothing { version } => return Ok(LoadReport { version: *version, ..LoadReport::default() }),
        Plan::Load { from, to, steps } => (Some(from), to, Some(steps.as_slice())),
        Plan::Reload { from, to, .. } => (from.as_ref(), to, None),
    };
    let target = Target::parse(&table.table)?;
    let columns = schema::columns(&to.schema)?;
    distinct(&columns)?;
    let root = table.physical.files.as_deref().ok_or(Error::NotReachable)?;
    let attempt = attempt(table, to);
    let label = format!("weir {attempt}");
    let writer =
        Writer { flavor: pool.flavor, target: &target, columns: &columns, physical: &table.physical, label: &label };
    let ledger = Ledger::of(&table.source_table)?;
    let mut session = pool.session(&ledger).await?;
    let now_s = leftovers::sweep(session.as_mut(), &ledger, &target).await?;
    let suffix = leftovers::suffix(table, &attempt, now_s);
    let mut stage = Stage { writer, prefix: format!("{}{suffix}", leftovers::STAGE), root, made: Vec::new() };
    let load = Load { pool, table, ledger: &ledger, writer, from, to, attempt: &attempt, suffix: &suffix };
    let done = match (from, steps) {
        (Some(from), Some(steps)) => load.change(session.as_mut(), &mut stage, from, steps, reader).await,
        _ => load.reload(session.as_mut(), &mut stage, reader).await,
    };
    stage.clear(session.as_mut()).await;
    done
}

pub(super) struct Load<'a> {
    pub(super) pool: &'a Pool,
    pub(super) table: &'a TableLoad,
    pub(super) ledger: &'a Ledger,
    pub(super) writer: Writer<'a>,
    pub(super) from: Option<&'a Watermark>,
    pub(super) to: &'a Watermark,
    pub(super) attempt: &'a str,
    /// Ends the names of this load's tables.
    pub(super) suffix: &'a str,
}

impl Load<'_> {
    async fn change(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        from: &Watermark,
        steps: &[Step],
        reader: &dyn FileReader,
    ) -> Result<LoadReport, Error> {
        let state = self.expect(session).await?.ok_or_else(|| self.lost(None))?;
        let mut work = Work::default();
        let known = session.rows("reading loaded files", &self.loaded(&state)).await?;
        work.known = known.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        self.add_columns(session).await?;
        for step in steps {
            self.stage(session, stage, step, reader, &mut work).await?;
        }
        let deleted = self.commit(session, from, &state, &work).await?;
        Ok(LoadReport {
            version: self.to.version,
            rows_inserted: work.rows_inserted,
            rows_deleted: deleted,
            reloaded: false,
        })
    }

    fn loaded(&self, state: &State) -> String {
        self.ledger.loaded_files(&state.generation)
    }

    /// Columns that the lake's table has and the target has not: nullable, so that rows and running loads stay right.
    pub(super) async fn add_columns(&self, session: &mut dyn Session) -> Result<(), Error> {
        let there = session.rows("reading the table's columns", &statements::columns_of(self.writer.target)).await?;
        let there: BTreeSet<String> =
            there.into_iter().filter_map(|row| Some(row.into_iter().next()??.to_lowercase())).collect();
        for column in self.writer.columns {
            if !there.contains(&column.name.to_lowercase()) {
                session.execute("adding a column", &self.writer.add_column(column)?).await?;
            }
        }
        Ok(())
    }

    async fn stage(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        step: &Step,
        reader: &dyn FileReader,
        work: &mut Work,
    ) -> Result<(), Error> {
        match step {
            Step::AddColumns(_) => {}
            Step::Forget { paths } => {
                for path in paths {
                    work.known.remove(path);
                    work.noted.remove(path);
                    work.forgotten.insert(path.clone());
                }
            }
            Step::Append { files } => {
                let fresh: Vec<_> = files.iter().filter(|file| !work.known.contains(&file.path)).cloned().collect();
                let staged = self.staged(session, stage, &fresh, &[], reader).await?;
                work.insert(staged);
            }
            Step::ReplaceSource { source, positions, files } => {
                work.changes.push(Change::DeleteSource { source: source.clone(), positions: *positions });
                let staged = self.staged(session, stage, files, &[], reader).await?;
                work.insert(staged);
            }
            Step::Upsert { keys, files } => {
                let staged = self.staged(session, stage, files, keys, reader).await?;
                work.changes.push(Change::DeleteKeys { staged: staged.clone(), keys: keys.clone() });
                work.insert(staged);
            }
            Step::Rewrite { removed, kept, files } => {
                let gone = self.gone(session, stage, removed, kept, reader).await?;
                let staged = self.staged(session, stage, files, &[], reader).await?;
                for staging in &staged {
                    session.execute("listing rows that go", &self.writer.list_gone(&gone, staging)?).await?;
                }
                work.changes.push(Change::DeleteListed(gone));
                work.insert(staged);
            }
        }
        Ok(())
    }

    async fn staged(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        files: &[DataFile],
        keys: &[String],
        reader: &dyn FileReader,
    ) -> Result<Vec<Staging>, Error> {
        let planned = stage.plan(files, reader).await?;
        for staging in &planned {
            stage.copy(session, staging).await?;
            stage.check(session, staging, keys).await?;
        }
        Ok(planned)
    }

    /// A table that lists the rows of `removed` that are not in `kept`.
    async fn gone(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        removed: &[DataFile],
        kept: &[DataFile],
        reader: &dyn FileReader,
    ) -> Result<Target, Error> {
        let gone = Target { schema: STATE_SCHEMA.to_owned(), table: format!("{}_{}", stage.prefix, stage.made.len()) };
        stage.made.push(gone.clone());
        session.execute("creating a list of rows that go", &self.writer.create_gone(&gone)?).await?;
        for staging in stage.plan(removed, reader).await? {
            stage.copy(session, &staging).await?;
            session.execute("listing rows that go", &self.writer.list_gone(&gone, &staging)?).await?;
        }
        for staging in stage.plan(kept, reader).await? {
            stage.copy(session, &staging).await?;
            session.execute("listing rows that stay", &self.writer.delete_listed(&gone, &staging.table)?).await?;
        }
        Ok(gone)
    }

    /// As [`Self::transact`], also where its answer is lost.
    pub(super) async fn commit(
        &self,
        session: &mut dyn Session,
        from: &Watermark,
        state: &State,
        work: &Work,
    ) -> Result<u64, Error> {
        match self.transact(session, from, state, work).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => self.resolve(error).await,
            done => done,
        }
    }

    /// Rows and watermark, or nothing. Returns how many rows went.
    async fn transact(
        &self,
        session: &mut dyn Session,
        from: &Watermark,
        state: &State,
        work: &Work,
    ) -> Result<u64, Error> {
        session.execute("beginning the load", "BEGIN TRANSACTION").await?;
        let changed = self.changes(session, from, state, work).await;
        let ended = match changed {
            Ok(deleted) => session.execute("committing the load", "COMMIT TRANSACTION").await.map(|_| deleted),
            Err(error) => Err(error),
        };
        // A connection that is gone has rolled back already; one that is not must not keep its locks.
        if let Err(error) = &ended
            && let Err(second) = session.execute("giving the load up", "ROLLBACK TRANSACTION").await
        {
            tracing::debug!(%error, %second, "the failed load was not rolled back by hand");
        }
        ended
    }

    async fn changes(
        &self,
        session: &mut dyn Session,
        from: &Watermark,
        state: &State,
        work: &Work,
    ) -> Result<u64, Error> {
        let moved = self.ledger.move_watermark(from, self.to, self.attempt);
        session.execute("moving the watermark", &moved).await?;
        let now = self.ledger.read(session).await?;
        if now.as_ref().is_none_or(|now| now.run_id != self.attempt || now.watermark.version != self.to.version) {
            return Err(self.lost(now.map(|now| now.watermark.version)));
        }
        let mut deleted = 0;
        for change in &work.changes {
            match change {
                Change::DeleteAll => {
                    session.execute("emptying the table", &self.writer.delete_all()?).await?;
                }
                Change::Insert(staged) => {
                    for staging in staged {
                        let insert = self.writer.insert(self.writer.target, staging)?;
                        session.execute("inserting rows", &insert).await?;
                    }
                }
                Change::DeleteSource { source, positions } => {
                    let delete = self.writer.delete_source(source, *positions)?;
                    deleted += session.execute("deleting a replaced source", &delete).await?;
                }
                Change::DeleteKeys { staged, keys } => {
                    for staging in staged {
                        let delete = self.writer.delete_keys(staging, keys)?;
                        deleted += session.execute("deleting rows by key", &delete).await?;
                    }
                }
                Change::DeleteListed(gone) => {
                    let delete = self.writer.delete_listed(self.writer.target, gone)?;
                    deleted += session.execute("deleting rows", &delete).await?;
                }
            }
        }
        if work.forgets_all {
            let forget = self.ledger.forget_generation("=", &state.generation);
            session.execute("forgetting files", &forget).await?;
        }
        let forgotten: Vec<_> = work.forgotten.iter().map(String::as_str).collect();
        for sql in self.ledger.forget_files(&state.generation, &forgotten) {
            session.execute("forgetting files", &sql).await?;
        }
        let noted: Vec<_> = work.noted.iter().map(String::as_str).collect();
        for sql in self.ledger.note_files(&state.generation, &noted) {
            session.execute("noting loaded files", &sql).await?;
        }
        Ok(deleted)
    }

    /// The connection was lost, perhaps while it committed: the watermark tells, once the lost session has ended.
    async fn resolve(&self, error: Error) -> Result<u64, Error> {
        let mut session = self.pool.session(self.ledger).await?;
        match session.execute("waiting for the lost session", &self.ledger.wait_for_watermark()).await {
            // Fabric lets nobody wait: whoever commits first has won, and if that was not this statement it was that session.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            waited => drop(waited?),
        }
        match self.ledger.read(session.as_mut()).await? {
            Some(state) if state.run_id == self.attempt && state.watermark.version == self.to.version => {
                tracing::info!(table = self.table.source_table, "the connection was lost after the load was committed");
                Ok(0)
            }
            _ => Err(error),
        }
    }

    /// The state, if it is what the plan was made for; and the target, if it is ours.
    pub(super) async fn expect(&self, session: &mut dyn Session) -> Result<Option<State>, Error> {
        let state = self.pool.state(session, self.ledger).await?;
        let there = exists(session, self.writer.target).await?;
        let ours = state.filter(|state| there && state.target == self.table.table && state.watermark.version >= 0);
        if ours.is_none() && there && self.from.is_none() {
            let (table, source_table) = (self.table.table.clone(), self.table.source_table.clone());
            return Err(Error::TableTaken { table, source_table });
        }
        if ours.as_ref().map(|state| state.watermark.place()) != self.from.map(Watermark::place) {
            return Err(self.lost(ours.map(|state| state.watermark.version)));
        }
        Ok(ours)
    }

    pub(super) fn lost(&self, found: Option<i64>) -> Error {
        Error::LostRace {
            source_table: self.table.source_table.clone(),
            expected: self.from.map(|from| from.version),
            found,
        }
    }
}

impl Work {
    /// What is staged takes the place of every row.
    pub(super) fn instead_of_all(staged: Vec<Staging>) -> Self {
        let mut work = Self { changes: vec![Change::DeleteAll], forgets_all: true, ..Self::default() };
        work.insert(staged);
        work
    }

    fn insert(&mut self, staged: Vec<Staging>) {
        for file in staged.iter().flat_map(|staging| &staging.files) {
            self.known.insert(file.path.clone());
            self.noted.insert(file.path.clone());
            self.forgotten.insert(file.path.clone());
        }
        self.rows_inserted += staged.iter().map(|staging| staging.rows).sum::<u64>();
        self.changes.push(Change::Insert(staged));
    }
}

/// Names of a pool do not differ by case alone.
fn distinct(columns: &[weir_contract::TableColumn]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(column.name.to_lowercase())) {
        Some(column) => Err(Error::SameName { column: column.name.clone() }),
        None => Ok(()),
    }
}

/// Names this attempt alone: a run makes several plans.
fn attempt(table: &TableLoad, to: &Watermark) -> String {
    format!("{}/{}", table.run_id, to.version)
}
