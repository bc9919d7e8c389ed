//! What a source gave, replaced by what it gives now.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use polars::prelude::*;
use serde_json::{Value, json};
use weir_contract::{SOURCE, SOURCE_POSITION, positions_of};

use super::{Found, Progress, Rewrite};
use crate::commit::{Books, Member, Outcome, Producer, Proposal, Verdict};
use crate::data::bounds::Keys;
use crate::data::writer::{Staged, StagedFile};
use crate::error::{ErrorKind, LakeError};
use crate::snapshot::FileEntry;
use crate::table::Table;

/// What a source gave, to be put in place of its rows.
#[derive(Debug)]
pub struct Replacement {
    /// The rows with this `_source` go.
    pub source: String,
    /// Only those of events with these sequence numbers ([`positions_of`]), which for other sources are positions; all
    /// without it.
    pub positions: Option<RangeInclusive<i64>>,
    /// Identifies the request: the same request commits once.
    pub producer: Producer,
    pub rows: Staged,
    /// `replaced` is counted here.
    pub books: Books,
}

/// What several sources give, or one that has several names, to be put in place of what they gave, in one commit.
#[derive(Debug)]
pub struct Replacements {
    /// Rows with one of these as their `_source` go.
    pub sources: Vec<String>,
    /// As of a [`Replacement`].
    pub positions: Option<RangeInclusive<i64>>,
    /// Moves on with each commit; it has to be where it was when the rows were made.
    pub producer: Producer,
    pub after: Option<i64>,
    /// Brought up to a version by the same commit, where they are not there yet.
    pub raises: Vec<Producer>,
    pub rows: Staged,
    /// `replaced` is counted here.
    pub books: Books,
}

struct OfSources {
    sources: HashSet<String>,
    positions: Option<RangeInclusive<i64>>,
    keys: Arc<Keys>,
    member: Member,
    /// The version of its producer that it was made against, where that matters.
    made_after: Option<Option<i64>>,
    /// The new rows; they outlive a plan.
    files: Vec<StagedFile>,
}

#[async_trait]
impl Rewrite for OfSources {
    fn member(&self) -> &Member {
        &self.member
    }

    fn made_after(&self) -> Option<Option<i64>> {
        self.made_after
    }

    fn may_be_in(&self, file: &FileEntry) -> bool {
        may_hold(&self.keys, self.positions.as_ref(), &file.partition_values, file.stats.as_deref())
    }

    fn select(&mut self, frame: &DataFrame) -> PolarsResult<Found> {
        let source = frame.column(SOURCE)?.str()?;
        let theirs: BooleanChunked =
            source.iter().map(|source| Some(source.is_some_and(|source| self.sources.contains(source)))).collect();
        let Some(positions) = &self.positions else { return Ok(Found::of(theirs)) };
        Ok(Found::of(&theirs & &of_events(frame.column(SOURCE_POSITION)?.i64()?, positions)))
    }

    async fn proposal(&self, _: &Arc<Table>, _: &Progress) -> Result<(Proposal, Vec<StagedFile>), LakeError> {
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort();
        // One source is told as it always was: the warehouse deletes by its name. Of several the files tell.
        let (operation, told) = match sources.as_slice() {
            [source] => ("replace_source", ("source", json!(source))),
            _ => ("replace_sources", ("sources", json!(sources))),
        };
        let bounds = self.positions.as_ref().map(|positions| json!([positions.start(), positions.end()]));
        let (keys, positions) = (Arc::clone(&self.keys), self.positions.clone());
        let proposal = Proposal {
            members: vec![self.member.clone()],
            add: self.files.iter().cloned().map(|file| (file, true)).collect(),
            unseen: Some(Arc::new(move |add| {
                may_hold(&keys, positions.as_ref(), &add.partition_values, add.stats.as_deref())
            })),
            operation: "REPLACE",
            details: BTreeMap::from([("operation", json!(operation)), told, ("positions", json!(bounds))]),
            ..Proposal::default()
        };
        Ok((proposal, Vec::new()))
    }
}

/// Which positions are records of events with these sequence numbers.
pub(crate) fn of_events(position: &Int64Chunked, sequences: &RangeInclusive<i64>) -> BooleanChunked {
    let [one, several] =
        positions_of(sequences).map(|part| &position.gt_eq(*part.start()) & &position.lt_eq(*part.end()));
    &one | &several
}

/// Whether a file may have rows of a source at these positions.
pub(crate) fn may_hold(
    source: &Keys,
    positions: Option<&RangeInclusive<i64>>,
    partition: &BTreeMap<String, Option<String>>,
    stats: Option<&str>,
) -> bool {
    if !source.may_be_in(partition, stats) {
        return false;
    }
    let Some(positions) = positions else { return true };
    let stats = stats.and_then(|stats| serde_json::from_str::<Value>(stats).ok());
    let bound = |kind: &str| stats.as_ref()?.get(kind)?.get(SOURCE_POSITION)?.as_i64();
    let (min, max) = (bound("minValues"), bound("maxValues"));
    positions_of(positions).iter().any(|part| {
        !part.is_empty() && min.is_none_or(|min| min <= *part.end()) && max.is_none_or(|max| *part.start() <= max)
    })
}

impl Table {
    /// Replaces rows of one source in one commit. Files that hold other rows too are rewritten.
    pub async fn replace_source(self: &Arc<Self>, replacement: Replacement) -> Result<Outcome, LakeError> {
        self.replace(replacement, None, Vec::new()).await
    }

    /// [`Table::replace_source`] by a producer that must still be where it was when the rows were made: if it has
    /// moved since, nothing is written and the answer says how far it is. Also brings other producers up to a version,
    /// where they are not there yet.
    pub async fn replace_source_after(
        self: &Arc<Self>,
        replacement: Replacement,
        after: Option<i64>,
        raises: Vec<Producer>,
    ) -> Result<Outcome, LakeError> {
        self.replace(replacement, Some(after), raises).await
    }

    /// [`Table::replace_source_after`] for several sources at once.
    pub async fn replace_sources(
        self: &Arc<Self>,
        Replacements { sources, positions, producer, after, raises, rows, books }: Replacements,
    ) -> Result<Outcome, LakeError> {
        let one = Replacement { source: String::new(), positions, producer, rows, books };
        self.replace_all(sources, one, Some(after), raises).await
    }

    async fn replace(
        self: &Arc<Self>,
        replacement: Replacement,
        made_after: Option<Option<i64>>,
        raises: Vec<Producer>,
    ) -> Result<Outcome, LakeError> {
        self.replace_all(vec![replacement.source.clone()], replacement, made_after, raises).await
    }

    async fn replace_all(
        self: &Arc<Self>,
        sources: Vec<String>,
        Replacement { positions, producer, rows, books, .. }: Replacement,
        made_after: Option<Option<i64>>,
        raises: Vec<Producer>,
    ) -> Result<Outcome, LakeError> {
        let kept = rows.kept;
        let files = self.writer.into_files(rows).await?;
        let keys = df!(SOURCE => sources.as_slice()).and_then(|keys| Keys::of(&keys));
        let keys = Arc::new(keys.map_err(|error| self.rewrite_error(error))?);
        let member = Member { raises, condition: self.condition.clone(), ..Member::new(producer, None, books) };
        let sources = sources.into_iter().collect();
        let request = OfSources { sources, positions, keys, member, made_after, files: files.clone() };
        let outcome = self.rewrite(request).await;
        // Given up for good, or settled by somebody else: nothing refers to what this request brought.
        let unused = match &outcome {
            Ok((verdict, ..)) => matches!(verdict, Verdict::Moved(_)),
            Err(error) => error.kind() == ErrorKind::Conflict,
        };
        if unused && !kept {
            self.writer.discard(&files).await;
        }
        Ok(outcome?.0.outcome())
    }
}
