//! What differs between sources and tables.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use weir_contract::sequence_of;

/// Sources that differ and are named; the others are counted.
const MOST_SOURCES: usize = 10_000;

/// One of a dataset's two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Side {
    Table,
    Quarantine,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Table => Self::Quarantine,
            Self::Quarantine => Self::Table,
        }
    }
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Some columns have other values.
    Differs,
    /// The source gives the record, and neither table has it.
    Missing,
    /// A row that the source does not give, or gives once and it is there twice.
    Extra,
    /// It is in quarantine, and would be in the table now.
    TakenNow,
    /// It is in the table, and would be in quarantine now.
    RefusedNow,
}

impl Kind {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::Missing => "is missing",
            Self::Extra => "is not in the source",
            Self::TakenNow => "is in quarantine and would be taken now",
            Self::RefusedNow => "is in the table and would be refused now",
        }
    }

    /// After a number of rows.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Differs => "differ",
            Self::Missing => "are missing",
            Self::Extra => "are not in the source",
            Self::TakenNow => "are in quarantine and would be taken now",
            Self::RefusedNow => "are in the table and would be refused now",
        }
    }
}

/// One row that differs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Difference {
    pub(crate) position: i64,
    pub(crate) kind: Kind,
    /// Where it is, or should be.
    pub(crate) side: Side,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<String>,
    /// Values by column, where they may be shown.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) held: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) now: Map<String, Value>,
}

impl Difference {
    pub(super) fn new(position: i64, kind: Kind, side: Side) -> Self {
        Self { position, kind, side, columns: Vec::new(), held: Map::new(), now: Map::new() }
    }
}

/// What differs of one source.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SourceFindings {
    /// Rows by how they differ.
    pub(crate) counts: BTreeMap<Kind, u64>,
    /// All columns that differ somewhere.
    pub(crate) columns: BTreeSet<String>,
    /// The first and the last position; of events, their sequence numbers.
    pub(crate) bounds: Option<(i64, i64)>,
    /// The first of the rows.
    pub(crate) rows: Vec<Difference>,
    /// What puts it right.
    pub(crate) command: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Records that were compared.
    pub(crate) records: u64,
    /// Quarantined records whose reasons are worded otherwise now. That is no difference.
    pub(crate) reworded: u64,
    /// Sources that differ, named or not.
    pub(crate) differing: u64,
    /// Their rows by how they differ.
    pub(crate) counts: BTreeMap<Kind, u64>,
    /// What all of their names begin with.
    pub(crate) common: Option<String>,
    /// At most [`MOST_SOURCES`].
    pub(crate) sources: BTreeMap<String, SourceFindings>,
    /// Rows of a source that are told.
    most: usize,
}

impl Findings {
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn add(&mut self, source: &str, difference: Difference) {
        let most = self.most;
        let found = self.sources.entry(source.to_owned()).or_default();
        *found.counts.entry(difference.kind).or_default() += 1;
        found.columns.extend(difference.columns.iter().cloned());
        let at = sequence_of(difference.position);
        let (first, last) = found.bounds.unwrap_or((at, at));
        found.bounds = Some((first.min(at), last.max(at)));
        if found.rows.len() < most {
            found.rows.push(difference);
        }
    }

    /// Adds those of other sources. Of all rows as many are told as one source may have.
    pub(super) fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.reworded += other.reworded;
        let mut told: usize = self.sources.values().map(|found| found.rows.len()).sum();
        for (source, mut found) in other.sources {
            self.differing += 1;
            found.counts.iter().for_each(|(kind, rows)| *self.counts.entry(*kind).or_default() += rows);
            self.common = Some(match &self.common {
                Some(common) => common_start(common, &source).to_owned(),
                None => source.clone(),
            });
            if self.sources.len() >= MOST_SOURCES {
                continue;
            }
            found.rows.sort_by_key(|row| (row.position, row.kind));
            found.rows.truncate(self.most.saturating_sub(told));
            told += found.rows.len();
            self.sources.insert(source, found);
        }
    }
}

fn common_start<'t>(left: &'t str, right: &str) -> &'t str {
    let differs = left.char_indices().zip(right.chars()).find(|((_, left), right)| left != right);
    let end = differs.map_or(left.len().min(right.len()), |((at, _), _)| at);
    &left[..end]
}
