//! Rows deleted by what is in them: for erasure.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use polars::prelude::*;
use serde_json::json;

use super::{Found, Progress, Rewrite};
use crate::commit::{Books, Member, Outcome, Producer, Proposal, Verdict};
use crate::data::bounds::{Keys, comparable};
use crate::data::writer::StagedFile;
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
    member: Member,
}

#[async_trait]
impl Rewrite for WithKey {
    fn member(&self) -> &Member {
        &self.member
    }

    fn may_be_in(&self, file: &FileEntry) -> bool {
        self.bounds.may_be_in(&file.partition_values, file.stats.as_deref())
    }

    fn select(&mut self, frame: &DataFrame) -> PolarsResult<Found> {
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
        Ok(Found::of(BooleanChunked::from_slice(PlSmallStr::EMPTY, &gone)))
    }

    async fn proposal(&self, _: &Arc<Table>, _: &Progress) -> Result<(Proposal, Vec<StagedFile>), LakeError> {
        let bounds = Arc::clone(&self.bounds);
        let columns: Vec<_> = self.keys.get_column_names_owned().iter().map(PlSmallStr::to_string).collect();
        let proposal = Proposal {
            members: vec![self.member.clone()],
            unseen: Some(Arc::new(move |add| bounds.may_be_in(&add.partition_values, add.stats.as_deref()))),
            operation: "DELETE",
            details: BTreeMap::from([("operation", json!("delete_where")), ("columns", json!(columns))]),
            ..Proposal::default()
        };
        Ok((proposal, Vec::new()))
    }
}

impl Table {
    /// Deletes rows in one commit. A row that comes in meanwhile and has such a key goes, too. The old files are there
    /// until vacuum takes them.
    ///
    /// # Errors
    /// [`LakeError::Schema`] for a key that is no column of the table, of another type, or null.
    pub async fn delete_where(self: &Arc<Self>, Deletion { producer, keys }: Deletion) -> Result<Deleted, LakeError> {
        self.refresh().await?;
        let keys = self.layout().key(&keys)?;
        let failed = |error| self.rewrite_error(error);
        let bounds = Arc::new(Keys::of(&keys).map_err(failed)?);
        let member = Member::new(producer, None, Books::default());
        let request = WithKey { keys: comparable(keys).map_err(failed)?, bounds, member };
        let (verdict, _, progress) = self.rewrite(request).await?;
        let outcome = verdict.outcome();
        Ok(match verdict {
            Verdict::Committed { .. } => Deleted { outcome, rows: progress.rows, files: progress.files.len() },
            Verdict::Moved(_) => Deleted { outcome, rows: 0, files: 0 },
        })
    }
}
