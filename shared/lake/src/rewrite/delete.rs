//! Rows deleted by what is in them: for erasure.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::*;
use serde_json::json;

use super::Selection;
use crate::commit::{Books, Member, Outcome, Producer, Proposal, Verdict};
use crate::data::bounds::{Keys, comparable};
use crate::error::LakeError;
use crate::snapshot::FileEntry;
use crate::table::Table;

/// Which rows go.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// Identifies the request: the same request deletes once.
    pub producer: Producer,
    /// Columns of the table. A row goes if its values of them are those of one of these rows. No nulls. The values
    /// stay out of the log and of every message.
    pub keys: DataFrame,
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    pub outcome: Outcome,
    pub rows: u64,
    /// Files that were written anew or went.
    pub files: usize,
}

struct WithKey {
    /// Made [`comparable`].
    keys: DataFrame,
    bounds: Arc<Keys>,
}

impl Selection for WithKey {
    fn may_be_in(&self, file: &FileEntry) -> bool {
        self.bounds.may_be_in(&file.partition_values, file.stats.as_deref())
    }

    fn select(&mut self, frame: &DataFrame) -> PolarsResult<BooleanChunked> {
        const ROW: &str = "\u{0}row";
        let names = self.keys.get_column_names_owned();
        let candidates = comparable(frame.select(names.iter().map(PlSmallStr::as_str))?)?;
        let candidates = candidates.with_row_index(ROW.into(), None)?;
        let found = candidates.join(&self.keys, &names, &names, JoinArgs::new(JoinType::Semi), None)?;
        let mut gone = vec![false; frame.height()];
        for row in found.column(ROW)?.idx()?.iter().flatten() {
            if let Some(gone) = gone.get_mut(row as usize) {
                *gone = true;
            }
        }
        Ok(BooleanChunked::from_slice(PlSmallStr::EMPTY, &gone))
    }
}

impl Table {
    /// Deletes rows in one commit. A row that comes in meanwhile and has such a key goes, too. The old files are there
    /// until vacuum takes them.
    ///
    /// # Errors
    /// [`LakeError::Schema`] for a key that is no column of the table, of another type, or null.
    pub async fn delete_where(self: &Arc<Self>, deletion: Deletion) -> Result<Deleted, LakeError> {
        let mut attempt = 1;
        loop {
            match self.try_delete(&deletion).await {
                Err(error) if self.replan(&error, attempt).await => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_delete(self: &Arc<Self>, Deletion { producer, keys }: &Deletion) -> Result<Deleted, LakeError> {
        let state = self.plan_on().await?;
        let after = state.transactions.get(&producer.id).map(|known| known.version);
        let mut member = Member::new(producer.clone(), after, Books::default());
        if let Some(version) = after.filter(|version| *version >= producer.version) {
            return Ok(Deleted { outcome: member.moved(version), rows: 0, files: 0 });
        }
        let keys = state.layout.key(keys)?;
        let bounds = Arc::new(Keys::of(&keys).map_err(|error| self.rewrite_error(error))?);
        let columns = keys.get_column_names_owned().iter().map(PlSmallStr::to_string).collect::<Vec<_>>();
        let keys = comparable(keys).map_err(|error| self.rewrite_error(error))?;
        let (affected, _) = self.without(&state, WithKey { keys, bounds: Arc::clone(&bounds) }).await?;
        member.books.replaced = affected.rows;
        let proposal = Proposal {
            members: vec![member.clone()],
            add: affected.kept().collect(),
            remove: affected.removes((self.options.now_ms)()),
            valid_at: Some(state.version),
            unseen: Some(Arc::new(move |add| bounds.may_be_in(&add.partition_values, add.stats.as_deref()))),
            operation: "DELETE",
            details: BTreeMap::from([("operation", json!("delete_where")), ("columns", json!(columns))]),
            ..Proposal::default()
        };
        let (rows, files) = (affected.rows, affected.files.len());
        Ok(match self.commit_rewrite(proposal, &affected.survivors).await? {
            Verdict::Committed { version } => Deleted { outcome: Outcome::Committed { version }, rows, files },
            Verdict::Moved(moved) => {
                let known = moved.first().map_or(producer.version, |(_, version)| *version);
                Deleted { outcome: member.moved(known), rows: 0, files: 0 }
            }
        })
    }
}
