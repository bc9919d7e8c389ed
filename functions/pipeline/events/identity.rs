//! Which partition events are of, and under which names a table knows it. Pure.
//!
//! An event is the same whoever reads it: its identity is namespace and hub without regard to case, partition and number;
//! a contract's `epoch` tells the events of a hub that was made anew from those of the one before. Earlier releases had
//! the consumer group in the name, and namespace and hub as they were spelled. A table goes on under the name that it
//! has, so that its ids, its rows and the warehouse's go on too; what else it calls the same partition counts with it.

use std::cmp::Reverse;
use std::fmt;

/// Enqueued times of one event differ by what clocks and formats do to them.
pub(super) const SAME_TIME_MS: i64 = 60_000;

const PREFIX: &str = "eventhub:";

/// A partition of an event hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Short name, lower case. `None`: the settings name a local service, which has none.
    pub(crate) namespace: Option<String>,
    /// Lower case.
    pub(crate) hub: String,
    pub(crate) id: String,
    /// 1 for the first hub of that name.
    pub(crate) epoch: u32,
}

/// What a table has of a partition under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// `_source` and transaction id.
    pub(crate) source: String,
    /// The last event that is committed under it in the table.
    pub(crate) committed: Option<i64>,
    /// The last event that quarantine has seen under it.
    pub(crate) quarantined: Option<i64>,
    /// When the youngest of these came to the hub; milliseconds since 1970.
    pub(crate) latest_ms: Option<i64>,
}

/// How a table knows a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The name that it goes on under.
    pub(crate) source: String,
    /// All names, that one too, with what is committed under them.
    pub(crate) names: Vec<Name>,
    /// Names of a hub that was there before, in the same epoch.
    pub(crate) former: Vec<String>,
    /// What is committed of earlier epochs.
    pub(crate) earlier: Vec<Name>,
}

/// The table has the partition of more than one namespace, and nobody says which is meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SeveralNamespaces;

/// A name, taken apart.
struct Parts<'n> {
    namespace: &'n str,
    hub: &'n str,
    epoch: u32,
    id: &'n str,
    /// Names of earlier releases have one.
    group: Option<&'n str>,
}

impl<'n> Parts<'n> {
    fn of(name: &'n str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('/');
        let (namespace, hub, third, fourth) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        let (group, id) = fourth.map_or((None, third), |id| (Some(third), id));
        let (hub, epoch) = match hub.rsplit_once('@') {
            Some((hub, epoch)) => (hub, epoch.parse().ok()?),
            None => (hub, 1),
        };
        Some(Self { namespace, hub, epoch, id, group })
    }
}

impl fmt::Display for Partition {
    /// The name that a new table gives it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, hub, id, epoch } = self;
        let namespace = namespace.as_deref().unwrap_or("local");
        match epoch {
            1 => write!(f, "{PREFIX}{namespace}/{hub}/{id}"),
            _ => write!(f, "{PREFIX}{namespace}/{hub}@{epoch}/{id}"),
        }
    }
}

impl Partition {
    pub(crate) fn new(namespace: Option<&str>, hub: &str, id: &str, epoch: u32) -> Self {
        let short = |name: &str| name.split_once('.').map_or(name, |(name, _)| name).to_lowercase();
        Self { namespace: namespace.map(short), hub: hub.to_lowercase(), id: id.to_owned(), epoch }
    }

    fn is_of(&self, parts: &Parts<'_>) -> bool {
        let same = |own: &str, other: &str| own == other.to_lowercase();
        self.id == parts.id
            && same(&self.hub, parts.hub)
            && self.namespace.as_deref().is_none_or(|own| same(own, parts.namespace))
    }

    /// Whether a transaction id is about this partition, in any epoch: for [`Partition::known`].
    pub(crate) fn concerns(&self, id: &str) -> bool {
        let name = id.strip_prefix(ENQUEUED).unwrap_or(id);
        Parts::of(name).is_some_and(|parts| self.is_of(&parts))
    }

    /// What a table and its quarantine, by the ids that concern it, know of the partition. `group` is the contract's.
    pub(crate) fn known(
        &self,
        group: &str,
        table: &[(String, i64)],
        quarantine: &[(String, i64)],
    ) -> Result<Known, SeveralNamespaces> {
        let mut names: Vec<(Parts<'_>, Name)> = Vec::new();
        for (id, _) in table.iter().chain(quarantine) {
            let Some(parts) = Parts::of(id).filter(|parts| self.is_of(parts)) else { continue };
            if names.iter().all(|(_, name)| name.source != *id) {
                let name = Name {
                    source: id.clone(),
                    committed: version(table, id),
                    quarantined: version(quarantine, id),
                    latest_ms: version(table, &enqueued_id(id)),
                };
                names.push((parts, name));
            }
        }
        let mut namespaces: Vec<String> = names.iter().map(|(parts, _)| parts.namespace.to_lowercase()).collect();
        namespaces.sort();
        namespaces.dedup();
        if namespaces.len() > 1 {
            return Err(SeveralNamespaces);
        }
        let mut earlier = names.iter().filter(|(parts, _)| parts.epoch < self.epoch).collect::<Vec<_>>();
        earlier.sort_by_key(|(_, name)| name.committed);
        let earlier = earlier.into_iter().map(|(_, name)| name.clone()).collect();
        names.retain(|(parts, _)| parts.epoch == self.epoch);
        let is_former = |name: &Name| names.iter().any(|(_, other)| other.is_of_later_hub_than(name));
        let former: Vec<String> =
            names.iter().filter(|(_, name)| is_former(name)).map(|(_, name)| name.source.clone()).collect();
        names.retain(|(_, name)| !former.contains(&name.source));
        // The one that is furthest is of the hub that is there now. Of several one under which events were committed, and
        // which was not only brought up with another; then the name of this release, and that of the contract's group.
        let own = self.to_string();
        let rank = |(parts, name): &(Parts<'_>, Name)| {
            let choice = if parts.group.is_none() { 2 } else { i32::from(parts.group == Some(group)) };
            (name.committed, name.latest_ms.is_some(), name.quarantined, choice, Reverse(name.source.clone()))
        };
        let source = names.iter().max_by_key(|name| rank(name)).map_or(own, |(_, name)| name.source.clone());
        Ok(Known { source, names: names.into_iter().map(|(_, name)| name).collect(), former, earlier })
    }
}

/// The id whose version is when the youngest committed event under a name came to the hub: milliseconds since 1970.
pub(crate) fn enqueued_id(source: &str) -> String {
    format!("{ENQUEUED}{source}")
}

const ENQUEUED: &str = "enqueued:";

impl Name {
    /// A hub counts upwards in time: who is behind in numbers and ahead in time counts anew. It was the way out of a hub
    /// that was made anew to give the dataset another consumer group.
    fn is_of_later_hub_than(&self, other: &Self) -> bool {
        let behind = self.committed.zip(other.committed).is_some_and(|(own, other)| own < other);
        let times = self.latest_ms.zip(other.latest_ms);
        behind && times.is_some_and(|(own, other)| own > other.saturating_add(SAME_TIME_MS))
    }

    /// Whether an event that has the number of a committed one is younger than all of those: it is of another hub.
    pub(crate) fn is_contradicted_by(&self, sequence: i64, enqueued_ms: i64) -> bool {
        let has_it = self.committed.is_some_and(|committed| sequence <= committed);
        has_it && self.latest_ms.is_some_and(|latest| enqueued_ms > latest.saturating_add(SAME_TIME_MS))
    }

    /// Whether an event is one of those that are committed: none of a hub that was made anew is as old.
    pub(crate) fn has(&self, sequence: i64, enqueued_ms: i64) -> bool {
        let has_it = self.committed.is_some_and(|committed| sequence <= committed);
        has_it && self.latest_ms.is_some_and(|latest| enqueued_ms < latest.saturating_sub(SAME_TIME_MS))
    }
}

fn version(ids: &[(String, i64)], id: &str) -> Option<i64> {
    ids.iter().find(|(known, _)| known == id).map(|(_, version)| *version)
}

impl Known {
    /// The last event that is committed. No other name is further than the one that the table goes on under.
    pub(crate) fn committed(&self) -> Option<i64> {
        self.names.iter().filter_map(|name| name.committed).max()
    }

    /// When the youngest committed event came to the hub.
    pub(crate) fn latest_ms(&self) -> Option<i64> {
        self.names.iter().filter_map(|name| name.latest_ms).max()
    }

    /// Whether an event that has the number of a committed one is younger than all of those: the hub was made anew.
    pub(crate) fn is_contradicted_by(&self, sequence: i64, enqueued_ms: i64) -> bool {
        let all =
            Name { source: String::new(), committed: self.committed(), quarantined: None, latest_ms: self.latest_ms() };
        all.is_contradicted_by(sequence, enqueued_ms)
    }

    /// The names under which its records may stand, the one that it goes on under first.
    pub(crate) fn sources(&self) -> Vec<String> {
        let others = self.names.iter().map(|name| &name.source).filter(|source| **source != self.source);
        std::iter::once(&self.source).chain(others).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn partition() -> Partition {
        Partition::new(Some("NS.servicebus.windows.net"), "Clicks", "0", 1)
    }

    fn ids(ids: &[(&str, i64)]) -> Vec<(String, i64)> {
        ids.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect()
    }

    fn known(partition: &Partition, group: &str, table: &[(&str, i64)]) -> Known {
        let table = ids(table);
        assert!(table.iter().all(|(id, _)| partition.concerns(id)), "{table:?}");
        partition.known(group, &table, &[]).unwrap()
    }

    #[test]
    fn a_new_table_knows_events_without_group_case_or_domain() {
        let known = known(&partition(), "weir", &[]);
        assert_eq!((known.source.as_str(), known.committed()), ("eventhub:ns/clicks/0", None));
        for other in [("ns", "clicks"), ("Ns.servicebus.chinacloudapi.cn", "CLICKS")] {
            assert_eq!(Partition::new(Some(other.0), other.1, "0", 1), partition());
        }
        let next = Partition { epoch: 2, ..partition() };
        assert_eq!(next.to_string(), "eventhub:ns/clicks@2/0");
    }

    #[test]
    fn a_table_goes_on_under_the_name_that_it_has() {
        type Case<'c> = (&'c [(&'c str, i64)], &'c str, i64);
        let cases: [Case<'_>; 6] = [
            (&[("eventhub:ns/clicks/weir/0", 7)], "eventhub:ns/clicks/weir/0", 7),
            (&[("eventhub:NS/Clicks/$Default/0", 7)], "eventhub:NS/Clicks/$Default/0", 7),
            (&[("eventhub:ns/clicks/0", 7)], "eventhub:ns/clicks/0", 7),
            // Of several the one that is furthest; of those the one of this release, and then the contract's.
            (&[("eventhub:ns/clicks/a/0", 9), ("eventhub:ns/clicks/weir/0", 7)], "eventhub:ns/clicks/a/0", 9),
            (&[("eventhub:ns/clicks/weir/0", 7), ("eventhub:ns/clicks/0", 7)], "eventhub:ns/clicks/0", 7),
            (&[("eventhub:ns/clicks/a/0", 7), ("eventhub:ns/clicks/weir/0", 7)], "eventhub:ns/clicks/weir/0", 7),
        ];
        for (table, source, committed) in cases {
            let known = known(&partition(), "weir", table);
            assert_eq!((known.source.as_str(), known.committed()), (source, Some(committed)), "{table:?}");
            let mut sources = known.sources();
            assert_eq!(sources[0], source);
            sources.sort();
            let mut all: Vec<_> = table.iter().map(|(id, _)| (*id).to_owned()).collect();
            all.sort();
            assert_eq!(sources, all);
        }
    }

    /// After the group of the contract has changed each commit brings the name with it up, too: no rows are under that.
    #[test]
    fn a_name_that_is_only_brought_up_is_not_gone_on_under() {
        let table = [
            ("eventhub:ns/clicks/weir/0", 7),
            ("enqueued:eventhub:ns/clicks/weir/0", 1),
            ("eventhub:ns/clicks/weir2/0", 7),
        ];
        assert_eq!(known(&partition(), "weir2", &table).source, "eventhub:ns/clicks/weir/0");
    }

    #[test]
    fn what_is_of_something_else_does_not_count() {
        let others = [
            "eventhub:ns/clicks/weir/1",
            "eventhub:ns/clicks/weir/00",
            "eventhub:ns/click/weir/0",
            "eventhub:other/clicks/weir/0",
            "eventhub:ns/clicks/weir/0#after:5",
            "eventhub:ns/clicks/weir/more/0",
            "eventhub:ns/clicks",
            "eventhub:ns/clicks@x/0",
            "eventhub:unplaced/clicks/0123",
            "replay:eventhub:ns/clicks/weir/0",
            "blob:landing/eventhub:ns/clicks/weir/0",
            "weir:books:committed",
        ];
        for other in others {
            assert!(!partition().concerns(other), "{other}");
            let known = partition().known("weir", &ids(&[(other, 5)]), &ids(&[(other, 5)])).unwrap();
            assert_eq!(known.committed(), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_quarantine_alone_has_is_the_tables_too() {
        let quarantine = ids(&[("eventhub:ns/clicks/weir/0", 7)]);
        let known = partition().known("weir", &[], &quarantine).unwrap();
        assert_eq!((known.source.as_str(), known.committed()), ("eventhub:ns/clicks/weir/0", None));
        assert_eq!(known.names[0].quarantined, Some(7));
    }

    /// Who took the advice of earlier releases has two names with events of two hubs.
    #[test]
    fn a_hub_that_was_made_anew_under_another_group_is_not_the_former_one() {
        let (first, second) = ("eventhub:ns/clicks/weir/0", "eventhub:ns/clicks/weir2/0");
        let times = |of_first: i64, of_second: i64| {
            [
                (first.to_owned(), 1_000),
                (second.to_owned(), 10),
                (enqueued_id(first), of_first),
                (enqueued_id(second), of_second),
            ]
        };
        for group in ["weir", "weir2", "weir3"] {
            let known = partition().known(group, &times(0, 2 * MINUTE), &[]).unwrap();
            assert_eq!((known.source.as_str(), known.committed()), (second, Some(10)), "{group}");
            assert_eq!((known.sources(), known.former), (vec![second.to_owned()], vec![first.to_owned()]));
        }
        // One hub, read twice: the second group is behind.
        let known = partition().known("weir2", &times(2 * MINUTE, MINUTE), &[]).unwrap();
        assert_eq!((known.source.as_str(), known.committed()), (first, Some(1_000)));
        assert_eq!(known.sources(), [first, second]);
    }

    #[test]
    fn epochs_are_told_apart() {
        let table = [("eventhub:ns/clicks/weir/0", 1_000), ("eventhub:ns/clicks@2/0", 10)];
        let second = Partition { epoch: 2, ..partition() };
        let of_second = known(&second, "weir", &table);
        assert_eq!((of_second.source.as_str(), of_second.committed()), ("eventhub:ns/clicks@2/0", Some(10)));
        assert_eq!(of_second.earlier.iter().map(|name| name.committed).collect::<Vec<_>>(), [Some(1_000)]);
        let of_first = known(&partition(), "weir", &table);
        assert_eq!((of_first.committed(), of_first.earlier.len()), (Some(1_000), 0));
        let of_third = known(&Partition { epoch: 3, ..partition() }, "weir", &table);
        assert_eq!((of_third.committed(), of_third.earlier.len()), (None, 2));
    }

    #[test]
    fn a_local_service_takes_the_one_namespace_that_there_is() {
        let local = Partition { namespace: None, ..partition() };
        let known = known(&local, "weir", &[("eventhub:ns/clicks/weir/0", 7), ("eventhub:NS/clicks/b/0", 9)]);
        assert_eq!(known.committed(), Some(9));
        let brought_up = [("eventhub:ns/clicks/weir/0", 7), ("eventhub:ns/clicks/0", 7)];
        assert_eq!(super::tests::known(&local, "weir", &brought_up).source, "eventhub:ns/clicks/0");
        let two = ids(&[("eventhub:ns/clicks/weir/0", 7), ("eventhub:other/clicks/weir/0", 9)]);
        assert_eq!(local.known("weir", &two, &[]), Err(SeveralNamespaces));
    }

    #[test]
    fn events_of_another_hub_show_by_their_times() {
        let name = Name { source: String::new(), committed: Some(9), quarantined: None, latest_ms: Some(10 * MINUTE) };
        assert!(!name.is_contradicted_by(10, 100 * MINUTE) && !name.is_contradicted_by(9, 11 * MINUTE));
        assert!(name.is_contradicted_by(9, 11 * MINUTE + 1));
        assert!(name.has(9, 9 * MINUTE - 1) && !name.has(9, 9 * MINUTE) && !name.has(10, 0));
    }
}
