//! One refresh: what is out of date, in groups, each made and committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use polars::prelude::DataFrame;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use weir_contract::{OnLookupChange, SOURCE, SOURCE_VERSION, TableColumn};
use weir_lake::{Books, FileEntry, Outcome, Producer, Replacements, Snapshot, Table};
use weir_transform::{Derivation, TransformError};

use crate::error::DerivedError;
use crate::group::{Group, Limits, Unit, groups};
use crate::notes::{self, Notes, Stamp};
use crate::survey::Surveyor;

/// Rounds in a row that others may make void before this one gives up.
const ATTEMPTS: u32 = 8;
/// Pause after the n-th of them, times n.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// Commits without a changed row after which the version is noted all the same, lest the log is cleaned up under it.
const NOTED_AFTER: i64 = 100;
/// Files that are read at the same time.
const PARALLEL_READS: usize = 4;
/// A lookup's commits whose changes are in memory at the same time.
const COMMITS_AT_ONCE: i64 = 200;

/// Limits, and what comes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rows of the followed table that are read for one commit, in memory.
    pub group_bytes: u64,
    /// A single unit, or a lookup, may have more.
    pub most_bytes: u64,
    pub units_per_commit: usize,
    /// No commit is begun later, but for the first.
    pub stop_at: Option<Instant>,
    /// Microseconds since 1970.
    pub now_us: fn() -> i64,
}

/// What a derived table is made of.
#[derive(Debug)]
pub struct Sources<'a> {
    pub derivation: &'a Derivation,
    /// In the followed table.
    pub unit_column: TableColumn,
    pub followed: Arc<Table>,
    /// In the contract's order; `None` for one that is not there yet, which is empty.
    pub lookups: Vec<Option<Arc<Table>>>,
    pub on_lookup_change: OnLookupChange,
}

/// What a refresh did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    pub commits: u64,
    pub units: u64,
    pub rows: u64,
    /// Units that are left for the next refresh, because time was up.
    pub units_left: u64,
    /// Why all units were made anew, when they were.
    pub reason: Option<&'static str>,
}

/// Brings a derived table up to its sources, as far as time allows.
///
/// # Errors
/// See [`DerivedError`]. What was committed before stays, and the next refresh goes on from there.
pub async fn refresh(table: &Arc<Table>, sources: &Sources<'_>, options: Options) -> Result<Refreshed, DerivedError> {
    let mut done = Refreshed::default();
    let mut lost = 0;
    while lost < ATTEMPTS {
        let before = done.commits;
        let round = Round::plan(table, sources, options).await?;
        match round.carry_out(&mut done).await? {
            Next::Done => return Ok(done),
            // All units are of one generation now, and there is news that a new one has to be made of.
            Next::Again => lost = 0,
            Next::Overtaken => {
                tracing::info!(table = table.name(), "another refresh of this table got in between");
                lost = if done.commits > before { 1 } else { lost + 1 };
                // The other one goes on meanwhile, and there is less to do.
                tokio::time::sleep(PAUSE * lost).await;
            }
        }
    }
    Err(DerivedError::Contended { table: table.name().to_owned(), attempts: ATTEMPTS })
}

pub(crate) fn failed(table: &str, source: TransformError) -> DerivedError {
    DerivedError::Query { table: table.to_owned(), source }
}

/// What comes after a round.
enum Next {
    Done,
    Again,
    /// Somebody else refreshed the table meanwhile.
    Overtaken,
}

/// What there is to do, planned on one state of the derived table and then one of its sources: what was refreshed before
/// was made of no newer state.
struct Round<'a> {
    table: &'a Arc<Table>,
    sources: &'a Sources<'a>,
    options: Options,
    commit: Option<i64>,
    generation: i64,
    followed: Snapshot,
    lookups: Vec<Option<Snapshot>>,
    /// Noted by every commit.
    begun: Vec<Producer>,
    /// Noted by the last.
    complete: Vec<Producer>,
    groups: Vec<Group>,
    reason: Option<&'static str>,
    /// Whether a lookup changed since it was noted, and that counts.
    lookup_moved: bool,
    /// Commits of any source that are not noted.
    lag: i64,
}

/// How far the log of the followed table has to be read, and what for.
enum Scope {
    /// All units, because of something.
    Anew(&'static str),
    /// All units; those that were made since this version are as good as new, unless they changed.
    GoOn(i64),
    /// What changed since this version.
    Changed(i64),
}

impl<'a> Round<'a> {
    async fn plan(table: &'a Arc<Table>, sources: &'a Sources<'a>, options: Options) -> Result<Self, DerivedError> {
        let own = table.snapshot().await?;
        let followed = sources.followed.snapshot().await?;
        let mut lookups = Vec::new();
        for lookup in &sources.lookups {
            lookups.push(match lookup {
                Some(lookup) => Some(lookup.snapshot().await?),
                None => None,
            });
        }
        let known = Notes::of(&own.transactions);
        let mut round = Self {
            table,
            sources,
            options,
            commit: known.commit(),
            generation: known.generation(),
            followed,
            lookups,
            begun: Vec::new(),
            complete: Vec::new(),
            groups: Vec::new(),
            reason: None,
            lookup_moved: false,
            lag: 0,
        };
        let mut scope = round.scope(&known).await?;
        let mut touched = BTreeMap::new();
        if let Scope::GoOn(since) | Scope::Changed(since) = scope {
            match round.surveyor().touched(since + 1, round.followed.version).await? {
                Some(units) => touched = units,
                None => scope = Scope::Anew("the log of the followed table does not tell any more what changed"),
            }
        }
        round.note(&scope)?;
        round.divide(&own, &scope, touched).await?;
        Ok(round)
    }

    fn surveyor(&self) -> Surveyor<'_> {
        Surveyor {
            name: self.table.name(),
            followed: &self.sources.followed,
            derivation: self.sources.derivation,
            column: &self.sources.unit_column,
        }
    }

    /// What rows are made by, beside the contents of tables.
    fn basis(&self) -> String {
        let mut basis = format!("{}\n{}", self.sources.derivation.definition(), self.followed.table_id);
        if self.sources.on_lookup_change == OnLookupChange::Refresh {
            for lookup in &self.lookups {
                basis.push('\n');
                basis.push_str(lookup.as_ref().map_or("", |lookup| &lookup.table_id));
            }
        }
        basis
    }

    async fn scope(&mut self, known: &Notes) -> Result<Scope, DerivedError> {
        if known.generation() == 0 {
            return Ok(Scope::Anew("it is new"));
        }
        if !known.is_made_by(&self.basis()) {
            return Ok(Scope::Anew("its query changed, or a table that it reads was created anew"));
        }
        let Some(since) = known.version_of(&self.followed.table_id) else {
            return Ok(Scope::Anew("the followed table is another one"));
        };
        self.check_order(&self.sources.followed, &self.followed, since)?;
        self.lag = self.followed.version - since;
        self.lookup_moved =
            self.sources.on_lookup_change == OnLookupChange::Refresh && self.has_lookup_moved(known).await?;
        Ok(match (known.is_complete(), self.lookup_moved) {
            (true, false) => Scope::Changed(since),
            (true, true) => Scope::Anew("a lookup changed"),
            // A lookup that changes more often than all units can be made must not have them begun anew each time.
            (false, _) => Scope::GoOn(since),
        })
    }

    async fn has_lookup_moved(&mut self, known: &Notes) -> Result<bool, DerivedError> {
        let mut lag = self.lag;
        for (table, snapshot) in self.sources.lookups.iter().zip(&self.lookups) {
            let (Some(table), Some(snapshot)) = (table, snapshot) else { continue };
            let Some(since) = known.version_of(&snapshot.table_id) else { return Ok(true) };
            self.check_order(table, snapshot, since)?;
            lag = lag.max(snapshot.version - since);
            let mut next = since + 1;
            while next <= snapshot.version {
                let last = snapshot.version.min(next.saturating_add(COMMITS_AT_ONCE - 1));
                if table.changes(next, last).await?.is_none_or(|changes| !changes.is_empty()) {
                    return Ok(true);
                }
                next = last + 1;
            }
        }
        self.lag = lag;
        Ok(false)
    }

    fn check_order(&self, table: &Table, snapshot: &Snapshot, noted: i64) -> Result<(), DerivedError> {
        if noted <= snapshot.version {
            return Ok(());
        }
        Err(DerivedError::WentBack {
            table: self.table.name().to_owned(),
            source_table: table.name().to_owned(),
            latest: snapshot.version,
            noted,
        })
    }

    /// What the commits of this round note.
    fn note(&mut self, scope: &Scope) -> Result<(), DerivedError> {
        let counts = self.sources.on_lookup_change == OnLookupChange::Refresh;
        let lookups: Vec<_> = self.lookups.iter().flatten().filter(|_| counts).collect();
        let lookups: Vec<Producer> =
            lookups.iter().map(|table| notes::version(&table.table_id, table.version)).collect();
        let followed = notes::version(&self.followed.table_id, self.followed.version);
        if let Scope::Anew(reason) = scope {
            self.generation += 1;
            self.reason = Some(reason);
            // What moves while the generation is made is seen by the one after it.
            self.lookup_moved = false;
            self.begun = lookups.iter().cloned().chain([followed.clone()]).collect();
        }
        let begun = notes::begun(self.generation, &self.basis());
        self.begun.push(begun.ok_or_else(|| DerivedError::Generations { table: self.table.name().to_owned() })?);
        self.complete = vec![notes::complete(self.generation), followed];
        if !self.lookup_moved {
            self.complete.extend(lookups);
        }
        Ok(())
    }

    /// Cuts what is to be done into groups. `touched`: the units that changed, and when.
    async fn divide(
        &mut self,
        own: &Snapshot,
        scope: &Scope,
        touched: BTreeMap<Unit, i64>,
    ) -> Result<(), DerivedError> {
        let row_bytes = self.sources.derivation.row_bytes(0);
        let limits =
            Limits { rows: (self.options.group_bytes / row_bytes).max(1), units: self.options.units_per_commit };
        if let Scope::Changed(_) = scope {
            if touched.is_empty() {
                // Only compactions, or nothing at all.
                let is_far = self.lag >= NOTED_AFTER;
                self.groups = if is_far { vec![Group::default()] } else { Vec::new() };
                return Ok(());
            }
            let units: BTreeSet<Unit> = touched.keys().copied().collect();
            let most = self.files(&units).map(|file| file.rows.unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
            if most <= limits.rows && units.len() <= limits.units {
                self.groups = vec![Group { units, gone: Vec::new() }];
                return Ok(());
            }
        }
        let wanted: Option<BTreeSet<Unit>> =
            matches!(scope, Scope::Changed(_)).then(|| touched.keys().copied().collect());
        let files: Vec<FileEntry> = match &wanted {
            Some(units) => self.files(units).cloned().collect(),
            None => self.followed.files.clone(),
        };
        let mut rows = self.surveyor().rows(&files).await?;
        if let Some(wanted) = &wanted {
            rows.retain(|unit, _| wanted.contains(unit));
            wanted.iter().for_each(|unit| *rows.entry(*unit).or_default() += 0);
        }
        let made = self.made(own).await?;
        let source = |unit: Unit| self.sources.derivation.source(unit);
        let mut gone = Vec::new();
        if wanted.is_none() {
            let there: std::collections::HashSet<String> = rows.keys().map(|unit| source(*unit)).collect();
            gone = made.keys().filter(|known| !there.contains(*known)).cloned().collect();
            gone.sort();
        }
        let since = match scope {
            Scope::Anew(_) => self.followed.version,
            Scope::GoOn(since) | Scope::Changed(since) => *since,
        };
        // What the last run made of this is there, with the version that it was made of.
        let is_made = |unit: &Unit| {
            let changed = touched.get(unit).copied().unwrap_or(since);
            made.get(&source(*unit))
                .copied()
                .flatten()
                .is_some_and(|stamp| stamp.generation == self.generation && stamp.version >= changed)
        };
        let after = rows.keys().filter(|unit| is_made(unit)).max().copied();
        rows.retain(|unit, count| !is_made(unit) && (*count > 0 || made.contains_key(&source(*unit))));
        self.groups = groups(&rows, gone, after, limits);
        if self.groups.is_empty() {
            // All is done but to say so.
            self.groups.push(Group::default());
        }
        Ok(())
    }

    /// The files of the followed table that may have rows of these units.
    fn files<'s>(&'s self, units: &'s BTreeSet<Unit>) -> impl Iterator<Item = &'s FileEntry> {
        self.followed.files.iter().filter(move |file| self.surveyor().span(file).may_hold(units))
    }

    /// What the derived table has: its sources, and what their rows were made of.
    async fn made(&self, own: &Snapshot) -> Result<HashMap<String, Option<Stamp>>, DerivedError> {
        let mut made = HashMap::new();
        for file in &own.files {
            let frame = self.table.read_columns(file, &[SOURCE, SOURCE_VERSION]).await?;
            let read = |error: polars::error::PolarsError| failed(self.table.name(), error.into());
            let (source, version) = (frame.column(SOURCE).map_err(read)?, frame.column(SOURCE_VERSION).map_err(read)?);
            let (source, version) = (source.str().map_err(read)?, version.str().map_err(read)?);
            for (source, version) in source.iter().zip(version.iter()) {
                let source = source.unwrap_or_default();
                if !made.contains_key(source) {
                    made.insert(source.to_owned(), version.and_then(Stamp::read));
                }
            }
        }
        Ok(made)
    }

    /// Makes the groups, as many as there is time for.
    async fn carry_out(mut self, done: &mut Refreshed) -> Result<Next, DerivedError> {
        if self.groups.is_empty() {
            return Ok(Next::Done);
        }
        done.reason = self.reason.or(done.reason);
        if let Some(reason) = self.reason {
            tracing::info!(table = self.table.name(), reason, "making all units anew");
        }
        let lookups = self.read_lookups().await?;
        let groups = std::mem::take(&mut self.groups);
        let mut left: u64 = groups.iter().map(Group::size).sum();
        let count = groups.len();
        for (index, group) in groups.into_iter().enumerate() {
            if done.commits > 0 && self.options.stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
                // Never none: what is left may be only to say that all is done.
                done.units_left = left.max(1);
                return Ok(Next::Done);
            }
            let size = group.size();
            let Some(rows) = self.make(group, lookups.clone(), index + 1 == count).await? else {
                return Ok(Next::Overtaken);
            };
            left -= size;
            done.commits += 1;
            done.units += size;
            done.rows += rows;
        }
        Ok(if self.lookup_moved { Next::Again } else { Next::Done })
    }

    /// One group, committed: how many rows there are of it now. `None` when somebody else was quicker.
    async fn make(
        &mut self,
        group: Group,
        lookups: Vec<DataFrame>,
        is_last: bool,
    ) -> Result<Option<u64>, DerivedError> {
        let frame = self.rows(&group.units, lookups).await?;
        let rows = frame.as_ref().map_or(0, |frame| frame.height() as u64);
        let mut writer = self.table.write();
        if let Some(frame) = frame {
            writer.write(frame).await?;
        }
        let sources = group.units.iter().map(|unit| self.sources.derivation.source(*unit)).chain(group.gone);
        let mut raises = self.begun.clone();
        if is_last {
            raises.extend(self.complete.clone());
        }
        let outcome = self
            .table
            .replace_sources(Replacements {
                sources: sources.collect(),
                positions: None,
                producer: notes::commit(self.commit),
                after: self.commit,
                raises,
                rows: writer.finish().await?,
                books: Books { records_in: rows, committed: rows, ..Books::default() },
            })
            .await?;
        self.commit = Some(notes::commit(self.commit).version);
        Ok(matches!(outcome, Outcome::Committed { .. }).then_some(rows))
    }

    /// The derived rows of some units; `None` when the followed table has none of them.
    async fn rows(&self, units: &BTreeSet<Unit>, lookups: Vec<DataFrame>) -> Result<Option<DataFrame>, DerivedError> {
        let Some(followed) = self.read_units(units).await? else { return Ok(None) };
        let tables: Vec<DataFrame> = std::iter::once(followed).chain(lookups).collect();
        let stamp = Stamp { generation: self.generation, version: self.followed.version };
        let (derivation, now_us) = (self.sources.derivation.clone(), (self.options.now_us)());
        let answer = spawn_blocking(move || derivation.run(tables, &stamp.to_string(), now_us)).await;
        let answer = answer.map_err(|_| DerivedError::Stopped { table: self.table.name().to_owned() })?;
        Ok(Some(answer.map_err(|source| failed(self.table.name(), source))?))
    }

    async fn read_units(&self, units: &BTreeSet<Unit>) -> Result<Option<DataFrame>, DerivedError> {
        let derivation = self.sources.derivation;
        let needs = derivation.needs(0);
        let reads: Vec<_> = self.files(units).map(|file| self.sources.followed.read_columns(file, &needs)).collect();
        let mut frames = stream::iter(reads).buffered(PARALLEL_READS);
        let mut all: Option<DataFrame> = None;
        while let Some(frame) = frames.try_next().await? {
            let rows = derivation.only(&frame, |unit| units.contains(&unit));
            let rows = rows.map_err(|source| failed(self.table.name(), source))?;
            if rows.height() == 0 {
                continue;
            }
            let what = if units.len() == 1 { "one unit of the followed table" } else { "a group of units" };
            let height = rows.height() + all.as_ref().map_or(0, DataFrame::height);
            self.check_size(height as u64, 0, what)?;
            match &mut all {
                Some(all) => {
                    all.vstack_mut(&rows).map_err(|error| failed(self.table.name(), error.into()))?;
                }
                none => *none = Some(rows),
            }
        }
        Ok(all)
    }

    async fn read_lookups(&self) -> Result<Vec<DataFrame>, DerivedError> {
        let mut frames = Vec::new();
        for (index, (table, snapshot)) in self.sources.lookups.iter().zip(&self.lookups).enumerate() {
            let needs = self.sources.derivation.needs(index + 1);
            let mut all = DataFrame::empty();
            let files = snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.files);
            let rows = files.iter().map(|file| file.rows.unwrap_or(0)).sum();
            if let Some(table) = table {
                self.check_size(rows, index + 1, &format!("the lookup `{}`", table.name()))?;
                for file in files {
                    let frame = table.read_columns(file, &needs).await?;
                    if all.width() == 0 {
                        all = frame;
                    } else {
                        all.vstack_mut(&frame).map_err(|error| failed(self.table.name(), error.into()))?;
                    }
                }
            }
            frames.push(all);
        }
        Ok(frames)
    }

    fn check_size(&self, rows: u64, table: usize, what: &str) -> Result<(), DerivedError> {
        let bytes = rows.saturating_mul(self.sources.derivation.row_bytes(table));
        if bytes <= self.options.most_bytes {
            return Ok(());
        }
        Err(DerivedError::TooLarge {
            table: self.table.name().to_owned(),
            what: what.to_owned(),
            rows,
            megabytes: bytes >> 20,
            most: self.options.most_bytes >> 20,
        })
    }
}
