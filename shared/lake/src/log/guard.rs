//! Tables that Weir must not write, by the feature that it would break.
//!
//! What counts is what is in use. The numbers of a protocol only say what may be: a constraint that was added and dropped
//! leaves them where they are. So a feature is judged by the table's properties, by the metadata of the schema's fields
//! (read as the structure that it is: names and comments are free), and by its name only where the name alone obliges.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Location;
use super::actions::{Metadata, Protocol};
use crate::commit::Proposal;
use crate::error::LakeError;

/// Properties that put a feature to use, and what it is called. A key that ends in `.` is a prefix.
const PROPERTIES: [(&str, &str); 13] = [
    ("delta.constraints.", "CHECK constraints"),
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
    ("delta.requireCheckpointProtectionBeforeVersion", "protected checkpoints"),
    ("delta.checkpointPolicy", "checkpoints of version 2"),
];

/// Metadata of fields that a writer would have to obey. A key that ends in `.` is a prefix.
const FIELDS: [(&str, &str); 5] = [
    ("delta.invariants", "column invariants"),
    ("delta.generationExpression", "generated columns"),
    ("delta.identity.", "identity columns"),
    ("CURRENT_DEFAULT", "column defaults"),
    ("delta.typeChanges", "type widening"),
];

/// Features that are judged by what is above, or that ask nothing of what Weir does: user domains and protocol checks of
/// vacuum; types of columns, which are refused as types.
const JUDGED: [&str; 25] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "columnMapping",
    "identityColumns",
    "deletionVectors",
    "inCommitTimestamp",
    "inCommitTimestamp-preview",
    "typeWidening",
    "typeWidening-preview",
    "icebergCompatV1",
    "icebergCompatV2",
    "icebergCompatV3",
    "allowColumnDefaults",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "checkpointProtection",
    "domainMetadata",
    "timestampNtz",
    "variantType",
    "variantType-preview",
    "variantShredding-preview",
    "coordinatedCommits-preview",
];

const NEWEST_READER: i32 = 3;
const NEWEST_WRITER: i32 = 7;

/// What a table that Weir writes forbids its writers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// `delta.appendOnly`: no row may go.
    append_only: bool,
    /// `delta.enableChangeDataFeed`: a commit in which some rows of a file go has to tell them in files of its own.
    change_feed: bool,
}

impl Rules {
    /// Why a proposal must not be committed.
    pub(crate) fn forbid(self, at: &Location, proposal: &Proposal) -> Option<LakeError> {
        let rows_go = proposal.remove.iter().any(|remove| remove.data_change);
        let rows_stay = proposal.add.iter().any(|(_, data_change)| !data_change);
        if self.append_only && rows_go {
            return Some(unsupported(at, "delta.appendOnly=true, so rows cannot be replaced or erased"));
        }
        (self.change_feed && rows_go && rows_stay).then(|| {
            unsupported(at, "the change data feed, so rows cannot be replaced or erased but with their whole file")
        })
    }
}

/// Refuses what Weir's writer would break. Weir's own tables are reader 1, writer 2 without features.
pub(super) fn guard(at: &Location, protocol: &Protocol, metadata: &Metadata) -> Result<Rules, LakeError> {
    let Protocol { min_reader_version: reader, min_writer_version: writer, .. } = *protocol;
    let of_protocol = format!("protocol (reader {reader}, writer {writer})");
    if reader > NEWEST_READER || writer > NEWEST_WRITER {
        return Err(unsupported(at, &of_protocol));
    }
    let configuration = &metadata.configuration;
    let mut found: Vec<String> = PROPERTIES
        .iter()
        .filter(|(key, _)| is_on(configuration, key))
        .map(|(_, feature)| (*feature).to_owned())
        .collect();
    let schema: Value = serde_json::from_str(&metadata.schema_string).unwrap_or_default();
    in_fields(&schema, &mut found);
    let named = protocol.reader_features.iter().chain(&protocol.writer_features).flatten();
    found.extend(named.filter(|name| !JUDGED.contains(&name.as_str())).map(|name| format!("feature `{name}`")));
    let mut listed = Vec::new();
    for feature in found {
        if !listed.contains(&feature) {
            listed.push(feature);
        }
    }
    if listed.is_empty() {
        return Ok(Rules {
            append_only: is_on(configuration, "delta.appendOnly"),
            change_feed: is_on(configuration, "delta.enableChangeDataFeed"),
        });
    }
    Err(unsupported(at, &format!("{}, in {of_protocol}", listed.join(", "))))
}

/// What the metadata of a struct's fields puts to use, at any depth.
fn in_fields(data_type: &Value, found: &mut Vec<String>) {
    for field in data_type["fields"].as_array().into_iter().flatten() {
        for key in field["metadata"].as_object().into_iter().flatten().map(|(key, _)| key) {
            let used = FIELDS.iter().filter(|(name, _)| is_named(key, name));
            found.extend(used.map(|(_, feature)| (*feature).to_owned()));
        }
        in_fields(&field["type"], found);
    }
    for inner in ["elementType", "keyType", "valueType"] {
        if let Some(inner) = data_type.get(inner) {
            in_fields(inner, found);
        }
    }
}

fn is_named(key: &str, name: &str) -> bool {
    if name.ends_with('.') { key.starts_with(name) } else { key == name }
}

fn is_on(configuration: &BTreeMap<String, Option<String>>, key: &str) -> bool {
    const OFF: [&str; 4] = ["false", "none", "classic", "0"];
    configuration.iter().any(|(name, value)| {
        let value = value.as_deref().unwrap_or_default();
        is_named(name, key) && !value.is_empty() && !OFF.iter().any(|off| value.eq_ignore_ascii_case(off))
    })
}

pub(crate) fn unsupported(at: &Location, feature: &str) -> LakeError {
    LakeError::UnsupportedTable { table: at.name.clone(), feature: format!("the table has {feature}") }
}
