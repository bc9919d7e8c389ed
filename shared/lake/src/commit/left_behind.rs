//! What a writer does about entries of other tables in its log: see [`crate::log::left_behind`].

use std::sync::Arc;

use object_store::{PutMode, PutPayload, UpdateVersion};

use super::Proposal;
use super::entry::Entry;
use super::writer::{Attempted, Put, Writer};
use crate::error::{LakeError, is_final};
use crate::log::actions::{Line, table_of};
use crate::log::left_behind::{FAR, LeftBehind};
use crate::log::{Mark, commit_path};

/// Whose an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// It names this table.
    Ours,
    /// It does not say, as those of other writers do not.
    Unsure,
    /// It was made for another table.
    LeftBehind,
}

impl Writer {
    pub(super) fn whose(&self, lines: &[Line]) -> Whose {
        match table_of(lines) {
            Some(named) if named == self.known().metadata.id => Whose::Ours,
            Some(_) => Whose::LeftBehind,
            None => Whose::Unsure,
        }
    }

    /// Puts an entry in the place of one that another table left there, which has to be the very object that was looked at.
    pub(super) async fn replace_left_behind(&self, entry: Entry, left: LeftBehind) -> Result<Put, LakeError> {
        // Whose is the folder? If it is still ours, the entry is not.
        self.look().await?;
        self.at.put_aside(&self.options, &left).await?;
        let path = commit_path(&self.at.root, entry.version);
        let e_tag = left.commit.mark.e_tag;
        if e_tag.is_none() {
            return Err(self.at.left_behind(entry.version));
        }
        let (look, now_ms) = self.next_look();
        let payload = PutPayload::from(entry.body.clone());
        let on_condition = PutMode::Update(UpdateVersion { e_tag, version: None });
        match self.at.store.put_opts(&path, payload, on_condition.into()).await {
            Ok(put) => {
                let lines = self.at.decode(entry.version, &entry.body)?;
                let mark = Mark { e_tag: put.e_tag, written_ms: None };
                self.known().apply(&self.at, entry.version, lines, mark)?;
                self.saw(look, now_ms);
                Ok(Put::Committed)
            }
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                Err(self.at.left_behind(entry.version))
            }
            Err(error) if is_final(&error) => Err(self.at.store_error("commit", &path, error)),
            // Replaced by somebody else, taken back, or an answer that was lost: what is there tells.
            Err(error) => Ok(Put::Unknown(Attempted { entry, error })),
        }
    }

    /// Goes past the entries that other tables left ahead of this one, so that readers of the log find no gap. Lists
    /// `_delta_log`.
    ///
    /// # Errors
    /// [`LakeError::Settling`] for one that may be taken back still.
    pub(crate) async fn pass_left_behind(self: &Arc<Self>) -> Result<(), LakeError> {
        let version = self.refresh().await?;
        let id = self.known().metadata.id.clone();
        let mut last = version;
        for left in self.at.left_behind_after(version, &id).await? {
            if left.version - self.known().version > FAR {
                self.look().await?;
                self.at.remove_far(&self.options, &left).await?;
            } else {
                last = last.max(left.version);
            }
        }
        while self.known().version < last {
            self.propose(Proposal { operation: "PASS LEFT BEHIND", ..Proposal::default() }).await?;
        }
        Ok(())
    }
}
