//! What a derived table notes of itself, in transaction ids: they ride in the commits of its rows. Pure.
//!
//! | id | version |
//! |---|---|
//! | `derived:commit` | counts the refreshes' commits; each is conditional on it |
//! | `derived:basis` | a [`stamp`], `generation · 2^39 + tag`, of what all rows are made by: the query, the columns, and which tables |
//! | `derived:complete` | the newest generation that all units are of |
//! | `derived:<table id>` | the version of a source: all units stand for that or a later one |
//!
//! A generation is the work of making all units. While it goes on, the followed table's version is the one at which it
//! began. All numbers only grow, as Delta wants it.

use std::collections::HashMap;

use weir_lake::{Producer, stamp};

const PREFIX: &str = "derived:";
const COMMIT: &str = "commit";
const BASIS: &str = "basis";
const COMPLETE: &str = "complete";

#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(HashMap<String, i64>);

impl Notes {
    pub(crate) fn of(transactions: &HashMap<String, i64>) -> Self {
        let own = transactions.iter().filter_map(|(id, version)| Some((id.strip_prefix(PREFIX)?.to_owned(), *version)));
        Self(own.collect())
    }

    pub(crate) fn commit(&self) -> Option<i64> {
        self.0.get(COMMIT).copied()
    }

    /// 0 before the first.
    pub(crate) fn generation(&self) -> i64 {
        stamp::generation(self.0.get(BASIS).copied())
    }

    pub(crate) fn is_made_by(&self, basis: &str) -> bool {
        stamp::holds(self.0.get(BASIS).copied(), basis)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.generation() > 0 && self.0.get(COMPLETE).copied() == Some(self.generation())
    }

    pub(crate) fn version_of(&self, table_id: &str) -> Option<i64> {
        self.0.get(table_id).copied()
    }
}

/// What every commit of a generation notes.
pub(crate) fn begun(generation: i64, basis: &str) -> Option<Producer> {
    stamp::of_generation(generation, basis).map(|version| note(BASIS, version))
}

pub(crate) fn complete(generation: i64) -> Producer {
    note(COMPLETE, generation)
}

pub(crate) fn version(table_id: &str, version: i64) -> Producer {
    note(table_id, version)
}

/// The commit after `known`.
pub(crate) fn commit(known: Option<i64>) -> Producer {
    note(COMMIT, known.map_or(1, |known| known.saturating_add(1)))
}

fn note(name: &str, version: i64) -> Producer {
    Producer { id: format!("{PREFIX}{name}"), version, expires: false }
}

/// `_source_version` of a derived table's rows: of which generation, and of which version of the followed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) generation: i64,
    pub(crate) version: i64,
}

impl Stamp {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (generation, version) = text.split_once('.')?;
        Some(Self { generation: generation.parse().ok()?, version: version.parse().ok()? })
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.generation, self.version)
    }
}
