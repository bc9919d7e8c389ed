//! Which files a compaction merges. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::schema::Layout;
use crate::snapshot::FileEntry;

#[derive(Debug, Clone, Copy)]
pub struct CompactOptions {
    /// Files below it are candidates; the new ones are about this large.
    pub target_bytes: u64,
    /// What one commit may read at most; a run makes as many commits as it needs.
    pub max_bytes_per_commit: u64,
    /// Decoded rows in memory at most, sorting included. Sorted files are at most half of it.
    pub memory_bytes: usize,
    /// No commit is begun after it: the next run goes on.
    pub stop_after: Option<Duration>,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            target_bytes: 64 * 1024 * 1024,
            max_bytes_per_commit: 64 * 1024 * 1024,
            memory_bytes: 128 * 1024 * 1024,
            stop_after: None,
        }
    }
}

impl CompactOptions {
    /// As `delta.targetFileSize` of a table says.
    pub(crate) fn of(&self, layout: &Layout) -> Self {
        let Some(target_bytes) = layout.target_file_bytes.map(|bytes| bytes as u64) else { return *self };
        Self { target_bytes, max_bytes_per_commit: self.max_bytes_per_commit.max(target_bytes), ..*self }
    }
}

/// Files that are merged with each other; each bin is one commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompactPlan {
    pub bins: Vec<Vec<FileEntry>>,
}

impl CompactPlan {
    /// Bins of small files of one partition.
    ///
    /// A file joins a bin only if the smaller files there are together as large as itself: else a table that gets a
    /// small file every minute would have its large one written anew every time. So a row is written some
    /// log(target / smallest) times over its life, not once for every file that comes.
    pub(crate) fn of<'a>(
        files: impl IntoIterator<Item = &'a FileEntry>,
        options: &CompactOptions,
        cluster_by: &[String],
    ) -> Self {
        let mut by_partition: BTreeMap<_, Vec<&FileEntry>> = BTreeMap::new();
        for file in files.into_iter().filter(|file| file.size < options.target_bytes) {
            by_partition.entry(&file.partition_values).or_default().push(file);
        }
        let limit = options.target_bytes.min(options.max_bytes_per_commit);
        let mut bins = Vec::new();
        for mut candidates in by_partition.into_values() {
            candidates.sort_by_key(|file| file.size);
            let mut bin: Vec<&FileEntry> = Vec::new();
            let mut bytes = 0;
            for file in candidates {
                let worth = bin.len() < 2 || file.size <= bytes;
                if (bytes + file.size > limit || !worth) && !bin.is_empty() {
                    bins.push(std::mem::take(&mut bin));
                    bytes = 0;
                }
                bytes += file.size;
                bin.push(file);
            }
            bins.push(bin);
        }
        bins.retain(|bin| is_worth(bin));
        let bins = bins.into_iter().map(|bin| in_order(bin, cluster_by)).collect();
        Self { bins }
    }

    pub fn files(&self) -> usize {
        self.bins.iter().map(Vec::len).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.bins.iter().flatten().map(|file| file.size).sum()
    }
}

/// Two files of which one is far larger are left alone until more small ones have come.
fn is_worth(bin: &[&FileEntry]) -> bool {
    match bin {
        [] | [_] => false,
        [rest @ .., largest] => {
            let rest: u64 = rest.iter().map(|file| file.size).sum();
            largest.size <= rest.saturating_mul(2)
        }
    }
}

/// By what the rows begin with, so that rows that belong together are read one after the other, sorted or not.
fn in_order(bin: Vec<&FileEntry>, cluster_by: &[String]) -> Vec<FileEntry> {
    let lineage = [weir_contract::SOURCE, weir_contract::SOURCE_POSITION];
    let columns: Vec<_> = cluster_by.iter().map(String::as_str).chain(lineage).collect();
    let mut keyed: Vec<_> = bin
        .into_iter()
        .map(|file| {
            let stats = file.stats.as_deref().and_then(|stats| serde_json::from_str::<Value>(stats).ok());
            let min = |column: &&str| stats.as_ref()?.get("minValues")?.get(*column).cloned();
            (columns.iter().map(min).collect::<Vec<_>>(), file)
        })
        .collect();
    keyed.sort_by(|left, right| compare(&left.0, &right.0).then_with(|| left.1.log_path.cmp(&right.1.log_path)));
    keyed.into_iter().map(|(_, file)| file.clone()).collect()
}

fn compare(left: &[Option<Value>], right: &[Option<Value>]) -> Ordering {
    let values = left.iter().zip(right).map(|(left, right)| match (left, right) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => {
            left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::String(left)), Some(Value::String(right))) => left.cmp(right),
        (left, right) => left.is_some().cmp(&right.is_some()),
    });
    values.fold(Ordering::Equal, Ordering::then)
}
