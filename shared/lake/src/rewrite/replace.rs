//! What a source gave, replaced by what it gives now.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use polars::prelude::*;
use serde_json::{Value, json};
use weir_contract::{SOURCE, SOURCE_POSITION};

use super::Selection;
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
    /// Only those with a `_source_position` in here; all without it.
    pub positions: Option<RangeInclusive<i64>>,
    /// Identifies the request: the same request commits once.
    pub producer: Producer,
    pub rows: Staged,
    /// `replaced` is counted here.
    pub books: Books,
}

struct OfSource {
    source: String,
    positions: Option<RangeInclusive<i64>>,
    keys: Keys,
}

impl Selection for OfSource {
    fn may_be_in(&self, file: &FileEntry) -> bool {
        if !self.keys.may_be_in(&file.partition_values, file.stats.as_deref()) {
            return false;
        }
        let Some(positions) = &self.positions else { return true };
        let stats = file.stats.as_deref().and_then(|stats| serde_json::from_str::<Value>(stats).ok());
        let bound = |kind: &str| stats.as_ref()?.get(kind)?.get(SOURCE_POSITION)?.as_i64();
        bound("minValues").is_none_or(|min| min <= *positions.end())
            && bound("maxValues").is_none_or(|max| *positions.start() <= max)
    }

    fn select(&mut self, frame: &DataFrame) -> PolarsResult<BooleanChunked> {
        let theirs = frame.column(SOURCE)?.str()?.equal(self.source.as_str());
        let Some(positions) = &self.positions else { return Ok(theirs) };
        let position = frame.column(SOURCE_POSITION)?.i64()?;
        Ok(&(&theirs & &position.gt_eq(*positions.start())) & &position.lt_eq(*positions.end()))
    }
}

impl Table {
    /// Replaces rows of one source in one commit. Files that hold other rows too are rewritten.
    pub async fn replace_source(self: &Arc<Self>, replacement: Replacement) -> Result<Outcome, LakeError> {
        self.replace(replacement, None).await
    }

    /// [`Table::replace_source`] whose commit also settles the delivery of another producer: the event of the very
    /// blob that is being reprocessed.
    pub async fn replace_source_settling(
        self: &Arc<Self>,
        replacement: Replacement,
        settles: Producer,
    ) -> Result<Outcome, LakeError> {
        self.replace(replacement, Some(settles)).await
    }

    async fn replace(
        self: &Arc<Self>,
        Replacement { source, positions, producer, rows, books }: Replacement,
        settles: Option<Producer>,
    ) -> Result<Outcome, LakeError> {
        let files = self.writer.into_files(rows).await?;
        let request = Request { source, positions, producer, books, settles };
        let mut attempt = 1;
        let outcome = loop {
            match self.try_replace(&request, &files).await {
                Err(error) if self.replan(&error, attempt).await => attempt += 1,
                outcome => break outcome,
            }
        };
        // Given up for good, or settled by somebody else: nothing refers to what this request brought.
        if matches!(&outcome, Ok(Outcome::AlreadyCommitted { .. } | Outcome::Overlaps { .. }))
            || outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict)
        {
            self.writer.discard(&files).await;
        }
        outcome
    }

    async fn try_replace(self: &Arc<Self>, request: &Request, files: &[StagedFile]) -> Result<Outcome, LakeError> {
        let state = self.plan_on().await?;
        let Request { source, positions, producer, books, settles } = request;
        let after = state.transactions.get(&producer.id).map(|known| known.version);
        let member = Member::new(producer.clone(), after, *books);
        if let Some(version) = after.filter(|version| *version >= producer.version) {
            return Ok(member.moved(version));
        }
        let settles = settles.as_ref().map(|also| (also.clone(), state.transactions.contains_key(&also.id)));
        let keys = df!(SOURCE => [source.as_str()]).and_then(|keys| Keys::of(&keys));
        let keys = keys.map_err(|error| self.rewrite_error(error))?;
        let selection = OfSource { source: source.clone(), positions: positions.clone(), keys };
        let (affected, _) = self.without(&state, selection).await?;
        let mut add: Vec<_> = affected.kept().collect();
        add.extend(files.iter().cloned().map(|file| (file, true)));
        let replaced = Books { replaced: affected.rows, ..*books };
        let bounds = positions.as_ref().map(|positions| json!([positions.start(), positions.end()]));
        let proposal = Proposal {
            members: vec![Member { books: replaced, ..member.clone() }],
            settles,
            add,
            remove: affected.removes((self.options.now_ms)()),
            valid_at: Some(state.version),
            operation: "REPLACE",
            details: BTreeMap::from([
                ("operation", json!("replace_source")),
                ("source", json!(source)),
                ("positions", json!(bounds)),
            ]),
            ..Proposal::default()
        };
        // The new rows' files are the request's: they outlive this plan.
        let verdict = self.commit_rewrite(proposal, &affected.survivors).await;
        Ok(match verdict? {
            Verdict::Committed { version } => Outcome::Committed { version },
            Verdict::Moved(moved) => member.moved(moved.first().map_or(producer.version, |(_, version)| *version)),
        })
    }
}

struct Request {
    source: String,
    positions: Option<RangeInclusive<i64>>,
    producer: Producer,
    books: Books,
    settles: Option<Producer>,
}
