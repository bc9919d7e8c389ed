//! Delta table properties: which ones a contract may set, and why not the others. Tables must stay at reader version 1
//! and writer version 2, so that every engine reads them, and must stay erasable.

use std::time::Duration;

use crate::keys::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Flag,
    /// A whole number, 1 or more.
    Count,
    /// Bytes, within [`FILE_SIZES`].
    FileSize,
    /// A whole number, -1 or more.
    CountOrAll,
    /// `interval 30 days`.
    Interval,
    /// An interval of at least [`SHORTEST_TRANSACTION_RETENTION`].
    TransactionRetention,
    /// Names, separated by commas.
    Names,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Well beyond the days for which a queue or Event Grid delivers a blob event again.
const SHORTEST_TRANSACTION_RETENTION: Duration = DAY.saturating_mul(30);

/// What a file can be that is written in memory.
const FILE_SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=128 << 20;

pub(crate) const ALLOWED: [(&str, Value); 10] = [
    ("delta.checkpoint.writeStatsAsJson", Value::Flag),
    ("delta.checkpoint.writeStatsAsStruct", Value::Flag),
    ("delta.checkpointInterval", Value::Count),
    ("delta.dataSkippingNumIndexedCols", Value::CountOrAll),
    ("delta.dataSkippingStatsColumns", Value::Names),
    ("delta.deletedFileRetentionDuration", Value::Interval),
    ("delta.enableExpiredLogCleanup", Value::Flag),
    ("delta.logRetentionDuration", Value::Interval),
    ("delta.setTransactionRetentionDuration", Value::TransactionRetention),
    ("delta.targetFileSize", Value::FileSize),
];

/// A name or, when it ends in a dot, a family of names.
pub(crate) const REFUSED: [(&str, &str); 28] = [
    ("delta.appendOnly", "erasure, reprocessing and compaction must be able to remove rows and files"),
    ("delta.autoOptimize.autoCompact", "Weir compacts every table by itself, and does not read it"),
    ("delta.autoOptimize.optimizeWrite", "Weir gathers rows into files by itself, and does not read it"),
    ("delta.checkpointPolicy", "v2 checkpoints need reader version 3, and the classic ones are the default"),
    ("delta.columnMapping.", "column mapping needs reader version 2"),
    ("delta.constraints.", "constraints need writer version 3; write it as one of the [[rules]]"),
    ("delta.coordinatedCommits.", "Weir commits to the log itself"),
    ("delta.enableChangeDataFeed", "the change data feed needs writer version 4"),
    ("delta.enableDeletionVectors", "deletion vectors need reader version 3, which Synapse serverless lacks"),
    ("delta.enableIcebergCompatV1", "Iceberg compatibility needs column mapping and reader version 2"),
    ("delta.enableIcebergCompatV2", "Iceberg compatibility needs column mapping and reader version 2"),
    ("delta.enableInCommitTimestamps", "in-commit timestamps need writer version 7"),
    ("delta.enableRowTracking", "row tracking needs writer version 7"),
    ("delta.enableTypeWidening", "type widening needs reader version 3"),
    ("delta.enableVariantShredding", "variants need reader version 3"),
    ("delta.feature.", "table features need writer version 7"),
    ("delta.identity.", "identity columns need writer version 6"),
    ("delta.inCommitTimestampEnablementTimestamp", "in-commit timestamps need writer version 7"),
    ("delta.inCommitTimestampEnablementVersion", "in-commit timestamps need writer version 7"),
    ("delta.isolationLevel", "Weir's commits are serialisable and cannot be less"),
    ("delta.minReaderVersion", "Weir sets the protocol: reader version 1"),
    ("delta.minWriterVersion", "Weir sets the protocol: writer version 2"),
    ("delta.parquet.", "Weir writes Snappy Parquet, which every reader has"),
    ("delta.randomPrefixLength", "Weir names the files itself"),
    ("delta.randomizeFilePrefixes", "Weir names the files itself"),
    ("delta.rowTracking.", "row tracking needs writer version 7"),
    ("delta.tuneFileSizesForRewrites", "Weir does not read it; `delta.targetFileSize` says how large files become"),
    ("delta.universalFormat.", "Iceberg compatibility needs column mapping and reader version 2"),
];

/// Why a contract may not set `name`, and the nearest name that it may.
pub(crate) fn check_name(name: &str) -> Result<(), (String, Option<String>)> {
    if !name.starts_with("delta.") {
        return Err(("table properties begin with `delta.`".to_owned(), near(&format!("delta.{name}"))));
    }
    if ALLOWED.iter().any(|(allowed, _)| *allowed == name) {
        return Ok(());
    }
    // Engines differ in whether case counts, so `delta.AppendOnly` is refused as well.
    let refuses = |refused: &str| match refused.ends_with('.') {
        true => name.get(..refused.len()).is_some_and(|head| head.eq_ignore_ascii_case(refused)),
        false => name.eq_ignore_ascii_case(refused),
    };
    match REFUSED.iter().find(|(refused, _)| refuses(refused)) {
        Some((_, reason)) => Err((format!("cannot be set: {reason}"), None)),
        None => Err(("unknown table property".to_owned(), near(name))),
    }
}

/// What `value` should have been for the (allowed) property `name`.
pub(crate) fn check_value(name: &str, value: &str) -> Result<(), &'static str> {
    let Some((_, kind)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else { return Ok(()) };
    match kind {
        Value::Flag if matches!(value, "true" | "false") => Ok(()),
        Value::Flag => Err("true or false"),
        Value::Count if value.parse::<u32>().is_ok_and(|count| count > 0) => Ok(()),
        Value::Count => Err("a whole number, 1 or more, within 32 bits"),
        Value::FileSize if value.parse::<u64>().is_ok_and(|bytes| FILE_SIZES.contains(&bytes)) => Ok(()),
        Value::FileSize => Err("a number of bytes from 1048576 (1 MiB) to 134217728 (128 MiB)"),
        Value::CountOrAll if value.parse::<i32>().is_ok_and(|count| count >= -1) => Ok(()),
        Value::CountOrAll => Err("a whole number, or -1 for all columns"),
        Value::Interval if interval(value).is_some() => Ok(()),
        Value::Interval => Err("an interval such as `interval 30 days`"),
        Value::TransactionRetention if interval(value) >= Some(SHORTEST_TRANSACTION_RETENTION) => Ok(()),
        Value::TransactionRetention => Err(
            "an interval of at least 30 days, such as `interval 30 days`: ids that are forgotten earlier would let a \
             late second delivery in twice",
        ),
        Value::Names if names_in(value).iter().all(|column| !column.is_empty()) => Ok(()),
        Value::Names => Err("column names separated by commas"),
    }
}

/// The columns of `delta.dataSkippingStatsColumns`: separated by commas, in backquotes where they have some themselves.
pub fn names_in(value: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '`' if quoted && characters.peek() == Some(&'`') => name.extend(characters.next()),
            '`' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            _ => name.push(character),
        }
    }
    names.push(name);
    names.iter().map(|name| name.trim().to_owned()).collect()
}

fn near(name: &str) -> Option<String> {
    nearest(name, ALLOWED.iter().map(|(allowed, _)| *allowed)).map(str::to_owned)
}

/// How long `interval 30 days` is; `None` for a text that is no interval.
fn interval(value: &str) -> Option<Duration> {
    const UNITS: [(&str, Duration); 7] = [
        ("millisecond", Duration::from_millis(1)),
        ("microsecond", Duration::from_micros(1)),
        ("second", Duration::from_secs(1)),
        ("minute", Duration::from_secs(60)),
        ("hour", Duration::from_secs(60 * 60)),
        ("day", DAY),
        ("week", DAY.saturating_mul(7)),
    ];
    let words: Vec<&str> = value.split_whitespace().collect();
    let ["interval", count, unit] = words.as_slice() else { return None };
    let name = unit.strip_suffix('s').unwrap_or(unit);
    let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name)?;
    unit.checked_mul(count.parse().ok()?)
}
