//! Tables that Weir must not write, by the feature that it would break.

use std::collections::BTreeMap;

use super::Location;
use super::actions::{Metadata, Protocol};
use crate::error::LakeError;

/// Properties that turn a feature on, and what the feature is called. A key that ends in `.` is a prefix.
const FEATURES: [(&str, &str); 13] = [
    ("delta.constraints.", "CHECK constraints"),
    ("delta.enableChangeDataFeed", "the change data feed"),
    ("delta.columnMapping.mode", "column mapping"),
    ("delta.enableDeletionVectors", "deletion vectors"),
    ("delta.enableRowTracking", "row tracking"),
    ("delta.enableInCommitTimestamps", "in-commit timestamps"),
    ("delta.enableTypeWidening", "type widening"),
    ("delta.enableVariantShredding", "variants"),
    ("delta.enableIcebergCompatV1", "Iceberg compatibility"),
    ("delta.enableIcebergCompatV2", "Iceberg compatibility"),
    ("delta.enableIcebergCompatV3", "Iceberg compatibility"),
    ("delta.coordinatedCommits.", "coordinated commits"),
    ("delta.appendOnly", "delta.appendOnly=true, so nothing could be compacted or erased"),
];

/// Metadata of columns that a writer would have to obey.
const COLUMN_FEATURES: [(&str, &str); 5] = [
    ("delta.invariants", "column invariants"),
    ("delta.generationExpression", "generated columns"),
    ("delta.identity.", "identity columns"),
    ("CURRENT_DEFAULT", "column defaults"),
    ("delta.columnMapping.", "column mapping"),
];

/// Refuses what Weir's writer would break. Weir's own tables are reader 1, writer 2 without features.
pub(super) fn guard(at: &Location, protocol: &Protocol, metadata: &Metadata) -> Result<(), LakeError> {
    let mut features = in_use(metadata);
    let named = protocol.reader_features.iter().chain(&protocol.writer_features).flatten();
    features.extend(named.map(|name| format!("feature `{name}`")));
    features.dedup();
    let listed = features.join(", ");
    if protocol.min_reader_version > 1 || protocol.min_writer_version > 2 {
        let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
        let with = if listed.is_empty() { String::new() } else { format!(" with {listed}") };
        return Err(unsupported(at, &format!("protocol (reader {reader}, writer {writer}){with}")));
    }
    if listed.is_empty() { Ok(()) } else { Err(unsupported(at, &listed)) }
}

fn in_use(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for (key, feature) in FEATURES {
        if is_on(&metadata.configuration, key) {
            found.push(feature.to_owned());
        }
    }
    let in_schema = COLUMN_FEATURES.iter().filter(|(key, _)| metadata.schema_string.contains(key));
    found.extend(in_schema.map(|(_, feature)| (*feature).to_owned()));
    found
}

fn is_on(configuration: &BTreeMap<String, Option<String>>, key: &str) -> bool {
    configuration.iter().any(|(name, value)| {
        let named = if key.ends_with('.') { name.starts_with(key) } else { name == key };
        let value = value.as_deref().unwrap_or_default();
        named && !value.is_empty() && !["false", "none"].iter().any(|off| value.eq_ignore_ascii_case(off))
    })
}

pub(crate) fn unsupported(at: &Location, feature: &str) -> LakeError {
    LakeError::UnsupportedTable { table: at.name.clone(), feature: format!("the table has {feature}") }
}
