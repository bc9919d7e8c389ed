//! A load of the whole table: in place, in one transaction, where that is small and the columns allow it; else a new table
//! is filled and takes the old one's place.

use std::collections::BTreeSet;

use super::ledger::Ledger;
use super::load::{Load, Work};
use super::session::Session;
use super::stage::Stage;
use super::statements::{self, Staging};
use super::text::Target;
use super::{Flavor, State, ensure_schema, exists, leftovers, number};
use crate::schema::{Change as SchemaChange, change};
use crate::{DataFile, Error, ErrorKind, FileReader, LoadReport, schema};

/// Rows that one transaction may replace: it is logged row by row, and its rollback takes as long.
const ROWS_IN_PLACE: u64 = 1_000_000;

impl Load<'_> {
    pub(super) async fn reload(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        reader: &dyn FileReader,
    ) -> Result<LoadReport, Error> {
        let state = self.expect(session).await?;
        ensure_schema(session, &self.writer.target.schema).await?;
        let files = reader.snapshot_files(self.to.version).await.map_err(|error| error.at("_delta_log"))?;
        let planned = stage.plan(&files, reader).await?;
        let rows = planned.iter().map(|staging| staging.rows).sum();
        match state {
            Some(state) if rows <= ROWS_IN_PLACE && self.keeps_columns()? => {
                self.replace_rows(session, stage, &state, planned).await?;
            }
            _ => self.replace_table(session, stage, planned, &files).await?,
        }
        Ok(LoadReport { version: self.to.version, rows_inserted: rows, rows_deleted: 0, reloaded: true })
    }

    /// Whether the target's columns are those that are wanted, but for new ones.
    fn keeps_columns(&self) -> Result<bool, Error> {
        let Some(from) = self.from else { return Ok(false) };
        let change = change(&schema::columns(&from.schema)?, self.writer.columns);
        Ok(!matches!(change, SchemaChange::Incompatible { .. }))
    }

    /// Readers see the old rows or the new ones.
    async fn replace_rows(
        &self,
        session: &mut dyn Session,
        stage: &Stage<'_>,
        state: &State,
        planned: Vec<Staging>,
    ) -> Result<(), Error> {
        self.add_columns(session).await?;
        for staging in &planned {
            stage.copy(session, staging).await?;
            stage.check(session, staging, &[]).await?;
        }
        let work = Work::instead_of_all(planned);
        self.commit(session, &state.watermark, state, &work).await.map(drop)
    }

    async fn replace_table(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        planned: Vec<Staging>,
        files: &[DataFile],
    ) -> Result<(), Error> {
        let pending = self.writer.target.beside(format!("{}{}", leftovers::NEW, self.suffix));
        session.execute("creating the new table", &self.writer.create_target(&pending)?).await?;
        let noted = match self.fill(session, stage, &pending, planned).await {
            Ok(()) => self.note_pending(session, &pending, files).await,
            Err(error) => Err(error),
        };
        match noted {
            Ok(()) => swap(self.pool.flavor, session, self.ledger, &self.table.table, &pending.table).await,
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(error) => {
                let state = self.ledger.read(session).await?;
                // It may have been noted, and be in its place already, with rows that came later.
                let counts = state.is_some_and(|state| {
                    state.generation == pending.table || state.pending.as_deref() == Some(&pending.table)
                });
                if !counts {
                    let _ = session.execute("dropping the new table", &statements::drop_table(&pending)?).await;
                    let forget = self.ledger.forget_generation("=", &pending.table);
                    let _ = session.execute("forgetting files", &forget).await;
                }
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        session: &mut dyn Session,
        stage: &mut Stage<'_>,
        pending: &Target,
        planned: Vec<Staging>,
    ) -> Result<(), Error> {
        let files = planned.iter().map(|staging| staging.files.len()).sum();
        let mut rows = 0;
        for staging in planned {
            stage.copy(session, &staging).await?;
            stage.check(session, &staging, &[]).await?;
            session.execute("filling the new table", &self.writer.insert(pending, &staging)?).await?;
            rows += staging.rows;
            // One staging table at a time: together they are as large as the table.
            session.execute("dropping a staging table", &statements::drop_table(&staging.table)?).await?;
            stage.made.retain(|made| *made != staging.table);
        }
        let found = number(session, "counting loaded rows", &statements::count(pending)?).await?;
        if found != rows {
            return Err(Error::Staged { files, expected: rows, found });
        }
        for statistics in self.writer.statistics(pending)? {
            session.execute("creating statistics", &statistics).await?;
        }
        Ok(())
    }

    /// From here on the new table counts, whoever brings it to its place.
    async fn note_pending(&self, session: &mut dyn Session, pending: &Target, files: &[DataFile]) -> Result<(), Error> {
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let paths: Vec<_> = paths.into_iter().collect();
        for sql in self.ledger.note_files(&pending.table, &paths) {
            session.execute("noting loaded files", &sql).await?;
        }
        session.execute("making a watermark", &self.ledger.first_watermark(&self.table.table)).await?;
        let found = self.ledger.read(session).await?.ok_or(Error::Answer { doing: "reading the watermark" })?;
        let is_ours = found.target == self.table.table && found.watermark.version >= 0;
        // What a dataset had loaded into another table before it was renamed counts as nothing.
        let from = match self.from {
            Some(from) => from.place(),
            None if !is_ours || !exists(session, self.writer.target).await? => found.watermark.place(),
            None => return Err(self.lost(Some(found.watermark.version))),
        };
        let note = self.ledger.note_pending(&self.table.table, from, self.to, &pending.table, self.attempt);
        session.execute("noting the new table", &note).await?;
        let now = self.ledger.read(session).await?;
        match now {
            // Somebody else may have brought it to its place already.
            Some(now)
                if now.run_id == self.attempt
                    && [now.pending.as_deref(), Some(&*now.generation)].contains(&Some(&*pending.table)) =>
            {
                Ok(())
            }
            now => Err(self.lost(now.map(|now| now.watermark.version))),
        }
    }
}

/// Brings a noted table to its place and lets its watermark hold. May be begun by one loader and ended by another, at any
/// point; two at the same time disturb each other, and one of them ends it.
pub(super) async fn swap(
    flavor: Flavor,
    session: &mut dyn Session,
    ledger: &Ledger,
    target: &str,
    pending: &str,
) -> Result<(), Error> {
    let target = Target::parse(target)?;
    let new = target.beside(pending.to_owned());
    let old = target.beside(leftovers::aside(pending));
    put_in_place(flavor, session, ledger, &target, &new, &old).await?;
    session.execute("settling the watermark", &ledger.settle(pending)).await?;
    let forget = ledger.forget_generation("<>", pending);
    session.execute("forgetting the old table's files", &forget).await?;
    if exists(session, &old).await?
        && let Err(error) = session.execute("dropping the old table", &statements::drop_table(&old)?).await
        && exists(session, &old).await?
    {
        return Err(error);
    }
    Ok(())
}

/// A query that begins between the two renames finds no table.
async fn put_in_place(
    flavor: Flavor,
    session: &mut dyn Session,
    ledger: &Ledger,
    target: &Target,
    new: &Target,
    old: &Target,
) -> Result<(), Error> {
    const PUT: &str = "putting the new table in its place";
    if !exists(session, new).await? {
        return Ok(());
    }
    if exists(session, target).await? {
        let rename = statements::rename(flavor, target, &old.table)?;
        if let Err(error) = session.execute("putting the old table aside", &rename).await {
            let nobody_else = exists(session, target).await? && exists(session, new).await?;
            let (source_table, expected, found) = (ledger.source.clone(), None, None);
            return Err(if nobody_else { error } else { Error::LostRace { source_table, expected, found } });
        }
    }
    let Err(error) = session.execute(PUT, &statements::rename(flavor, new, &target.table)?).await else {
        return Ok(());
    };
    let is_left = exists(session, new).await?;
    // Nobody may be without a table: either this one cannot be renamed, or another loader had been faster and what was put
    // aside just now was the new table.
    if !exists(session, target).await? && exists(session, old).await? {
        session.execute("putting a table back", &statements::rename(flavor, old, &target.table)?).await?;
    }
    if is_left { Err(error) } else { Ok(()) }
}
