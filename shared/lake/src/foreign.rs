//! What others did to a table's rows, as its log tells: an erasure by another tool, a restore, a merge. The books count
//! what Weir did; what is missing beside them is told here.

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use crate::error::LakeError;
use crate::log::actions::{CommitInfo, Line};
use crate::log::checkpoint::LogListing;
use crate::log::state::{Read, Replay};
use crate::table::Table;

const READ_AHEAD: usize = 32;

/// A commit of another writer that rows came or went with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignCommit {
    pub version: i64,
    /// As its writer says: milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Such as `DELETE`; empty where its writer does not say.
    pub operation: String,
    /// Who and what made it, as far as its writer says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Rows of the files that it removed, and of those that it added. A row that was moved to another file is in both.
    /// `None` where statistics do not say.
    pub rows_removed: Option<u64>,
    pub rows_added: Option<u64>,
}

impl ForeignCommit {
    /// How many rows the table had more after it; negative where rows went. `None` where statistics do not say.
    pub fn rows_gained(&self) -> Option<i64> {
        let (added, removed) = (self.rows_added?, self.rows_removed?);
        Some(i64::try_from(added).ok()? - i64::try_from(removed).ok()?)
    }
}

/// What the log tells of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignCommits {
    /// The first commit that the log still has. Nothing is known of what came before; 0 means that nothing did.
    pub from: i64,
    /// The newest one.
    pub to: i64,
    /// Oldest first.
    pub commits: Vec<ForeignCommit>,
}

impl Table {
    /// The commits of other writers that rows came or went with, as far back as the log goes. Reads the whole log: for when
    /// the books do not balance.
    pub async fn foreign_commits(&self) -> Result<ForeignCommits, LakeError> {
        let listing = LogListing::read(&self.at).await?;
        let newest = self.refresh().await?;
        let (mut replay, from) = match listing.commits.first() {
            Some(0) => (Replay::new(Read::Files), 0),
            _ => self.oldest_base(&listing).await?.unwrap_or((Replay::new(Read::Files), newest + 1)),
        };
        let mut commits = Vec::new();
        let reads = futures::stream::iter(from..=newest)
            .map(|version| async move { self.at.commit(version).await.map(|commit| (version, commit)) });
        let mut reads = std::pin::pin!(reads.buffered(READ_AHEAD));
        while let Some((version, commit)) = reads.try_next().await? {
            let Some(commit) = commit else { break };
            let lines = self.at.decode(version, &commit.bytes)?;
            commits.extend(foreign(&replay, version, &lines));
            replay.commit(&self.at, version, lines, commit.mark.written_ms)?;
        }
        Ok(ForeignCommits { from, to: newest, commits })
    }

    /// The oldest checkpoint that all later commits are there for, and the first of these.
    async fn oldest_base(&self, listing: &LogListing) -> Result<Option<(Replay, i64)>, LakeError> {
        let first = listing.commits.first().copied().unwrap_or(i64::MAX);
        for checkpoint in listing.checkpoints.iter().rev().filter(|checkpoint| checkpoint.version >= first - 1) {
            if let Ok(replay) = Replay::begin(&self.at, checkpoint, Read::Files).await? {
                return Ok(Some((replay, checkpoint.version + 1)));
            }
        }
        Ok(None)
    }
}

/// `None` for a commit of Weir's, and for one that leaves all rows what they are.
fn foreign(before: &Replay, version: i64, lines: &[Line]) -> Option<ForeignCommit> {
    let info = lines.iter().find_map(|line| line.commit_info.as_ref());
    let is_ours = |info: &CommitInfo| {
        info.weir.is_some() || info.engine_info.as_deref().is_some_and(|engine| engine.starts_with("weir/"))
    };
    if info.is_some_and(is_ours) {
        return None;
    }
    let adds = || lines.iter().filter_map(|line| line.add.as_ref());
    let removes = || lines.iter().filter_map(|line| line.remove.as_ref());
    let rows_change = adds().any(|add| add.data_change) || removes().any(|remove| remove.data_change);
    if !rows_change {
        return None;
    }
    // A file that is removed and was not there, or is added and was, changes nothing.
    let removed = removes().filter_map(|remove| before.files.get(&remove.path)).map(|file| file.rows);
    let added =
        adds().filter(|add| !before.files.contains_key(&add.path) || removes().any(|remove| remove.path == add.path));
    Some(ForeignCommit {
        version,
        timestamp_ms: info.map_or(0, |info| info.timestamp),
        operation: info.map(|info| info.operation.clone()).unwrap_or_default(),
        by: info.and_then(by),
        rows_removed: removed.sum(),
        rows_added: added.map(|add| rows(add.stats.as_deref())).sum(),
    })
}

fn rows(stats: Option<&str>) -> Option<u64> {
    let stats: serde_json::Value = serde_json::from_str(stats?).ok()?;
    stats["numRecords"].as_u64()
}

fn by(info: &CommitInfo) -> Option<String> {
    let parts = [&info.user_name, &info.engine_info, &info.client_version];
    let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
