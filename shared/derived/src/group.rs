//! Which units are made in one commit. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A unit of the followed table; `None` for rows that have no value.
pub(crate) type Unit = Option<i64>;

/// The work of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Units whose rows are asked for, and put in place of what was there.
    pub(crate) units: BTreeSet<Unit>,
    /// Sources whose rows only go.
    pub(crate) gone: Vec<String>,
}

impl Group {
    /// Units, those that only go included.
    pub(crate) fn size(&self) -> u64 {
        (self.units.len() + self.gone.len()) as u64
    }
}

/// The most that one commit may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rows: u64,
    pub(crate) units: usize,
}

/// Cuts units into groups, in their order, beginning after `after`: what the last run did last. A unit that is larger
/// than a group is one by itself. Units without rows in the followed table cost nothing but their place.
pub(crate) fn groups(
    units: &BTreeMap<Unit, u64>,
    gone: Vec<String>,
    after: Option<Unit>,
    limits: Limits,
) -> Vec<Group> {
    let is_later = |unit: &Unit| after.is_none_or(|after| *unit > after);
    let later = units.iter().filter(|(unit, _)| is_later(unit));
    let earlier = units.iter().filter(|(unit, _)| !is_later(unit));
    let mut groups: Vec<Group> = Vec::new();
    let mut rows = 0;
    for (unit, count) in later.chain(earlier) {
        let fits = |group: &&mut Group| {
            let in_order = group.units.last().is_none_or(|last| last < unit);
            in_order && group.units.len() < limits.units.max(1) && rows + count <= limits.rows
        };
        match groups.last_mut().filter(fits) {
            Some(group) => {
                group.units.insert(*unit);
                rows += count;
            }
            None => {
                groups.push(Group { units: BTreeSet::from([*unit]), gone: Vec::new() });
                rows = *count;
            }
        }
    }
    groups.extend(gone.chunks(limits.units.max(1)).map(|gone| Group { units: BTreeSet::new(), gone: gone.to_vec() }));
    groups
}
