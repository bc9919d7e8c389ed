//! What a log begins with, which tells one log from another of the same name: its first commit, or, once that was cleaned
//! up, a checkpoint.

use futures::TryStreamExt;

use super::checkpoint::last_checkpoint;
use super::{Location, LogObject, Mark, commit_path, log_folder};
use crate::error::LakeError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// Commit 0.
    First(Mark),
    /// Commit 0 was cleaned up, and a checkpoint stands for it.
    Checkpoint,
    /// No reader finds a table there.
    Missing,
}

impl Head {
    /// What stands against the log whose head is `self` being that whose head is `now`.
    fn against(&self, now: &Self) -> Option<&'static str> {
        match (self, now) {
            (_, Self::Missing) => Some("its log has no beginning any more"),
            (Self::First(known), Self::First(now)) if known.differs(now) => Some("its first commit is another one"),
            // A first commit does not come back.
            (Self::Checkpoint, Self::First(_)) => Some("its log has a first commit again"),
            _ => None,
        }
    }
}

impl Location {
    /// By two names, without a listing.
    pub(crate) async fn named_head(&self) -> Result<Head, LakeError> {
        if let Some(first) = self.mark(&commit_path(&self.root, 0)).await? {
            return Ok(Head::First(first));
        }
        let hint = log_folder(&self.root).join("_last_checkpoint");
        Ok(self.mark(&hint).await?.map_or(Head::Missing, |_| Head::Checkpoint))
    }

    /// Also found where a checkpoint is there and nothing points at it.
    async fn head(&self) -> Result<Head, LakeError> {
        match self.named_head().await? {
            Head::Missing if self.newest_checkpoint().await?.is_some() => Ok(Head::Checkpoint),
            found => Ok(found),
        }
    }

    async fn newest_checkpoint(&self) -> Result<Option<i64>, LakeError> {
        let log = log_folder(&self.root);
        let failed = |error| self.store_error("list", &log, error);
        let objects: Vec<_> = self.store.list(Some(&log)).try_collect().await.map_err(failed)?;
        let versions = objects.iter().filter_map(|object| match LogObject::of(object) {
            LogObject::Checkpoint { version, .. } => Some(version),
            _ => None,
        });
        Ok(versions.max())
    }

    /// Looks at the head of the log. The first value is what is there, the second what stands against it being the log that
    /// began with `known`.
    pub(crate) async fn look_at_head(&self, known: &Head) -> Result<(Head, Option<&'static str>), LakeError> {
        let now = match known {
            // One request where nothing has changed; whether the first commit is there again shows the newest one.
            Head::Checkpoint => match self.mark(&log_folder(&self.root).join("_last_checkpoint")).await? {
                Some(_) => Head::Checkpoint,
                None => self.head().await?,
            },
            Head::First(_) | Head::Missing => self.head().await?,
        };
        let against = known.against(&now);
        Ok((now, against))
    }

    /// Looks at the newest commit that is known. What is there, `None` for one that was cleaned up; or what stands against it.
    pub(crate) async fn look_at_newest(
        &self,
        version: i64,
        known: Option<&Mark>,
    ) -> Result<Result<Option<Mark>, String>, LakeError> {
        match self.mark(&commit_path(&self.root, version)).await? {
            Some(now) if known.is_some_and(|known| known.differs(&now)) => {
                Ok(Err(format!("its commit {version} is another one")))
            }
            Some(now) => Ok(Ok(Some(now))),
            None => {
                let hinted = last_checkpoint(self).await?.map(|(version, _)| version);
                let stands = match hinted.filter(|hinted| *hinted >= version) {
                    Some(hinted) => Some(hinted),
                    None => self.newest_checkpoint().await?.filter(|newest| *newest >= version),
                };
                Ok(stands.map(|_| None).ok_or_else(|| format!("its commit {version} is gone")))
            }
        }
    }
}
