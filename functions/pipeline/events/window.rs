//! Which events of a partition are to be read again, and how a commit takes some of them. Pure.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use weir_intake::hub::{HubEvent, HubRange};

/// Which events. Without bounds all that the hub has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// First and last sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<i64>,
    /// Enqueued at or after the first, before the second; milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until_ms: Option<i64>,
}

/// Which events of a window were read, and where to go on. Pure. What is taken has no holes: a commit ends at one,
/// because what lies in it has rows, perhaps, and no events any more.
pub(super) struct Selection {
    window: Window,
    first: Option<i64>,
    last: Option<i64>,
    /// Where to read on. `None`: where the window's time begins.
    at: Option<i64>,
    /// The first event after a hole.
    after_hole: Option<i64>,
    finished: bool,
}

impl Selection {
    pub(super) fn new(window: Window) -> Self {
        let at = window.from.or(window.since_ms.is_none().then_some(0));
        Self { window, first: None, last: None, at, after_hole: None, finished: false }
    }

    /// What to read next, if that belongs to the same commit.
    pub(super) fn range(&self) -> Option<HubRange> {
        let to = self.window.to.unwrap_or(i64::MAX);
        if self.finished || self.after_hole.is_some() || self.at.is_some_and(|at| at > to) {
            return None;
        }
        Some(match (self.at, self.window) {
            (Some(at), _) => HubRange::Sequences(at.max(0) as u64..=to.max(0) as u64),
            (None, Window { since_ms, until_ms, .. }) => {
                HubRange::Enqueued(since_ms.unwrap_or(0)..until_ms.unwrap_or(i64::MAX))
            }
        })
    }

    /// Takes what belongs to the commit of what a read gave; `more`: where the read could go on.
    pub(super) fn take(&mut self, events: Vec<HubEvent>, more: Option<u64>) -> Vec<HubEvent> {
        let Window { to, since_ms, until_ms, .. } = self.window;
        let mut taken = Vec::with_capacity(events.len());
        for event in events {
            let sequence = event.sequence as i64;
            if to.is_some_and(|to| sequence > to) || until_ms.is_some_and(|until| event.enqueued_ms >= until) {
                self.finished = true;
                return taken;
            }
            if since_ms.is_some_and(|since| event.enqueued_ms < since) {
                continue;
            }
            if self.last.is_some_and(|last| sequence != last + 1) {
                self.after_hole = Some(sequence);
                return taken;
            }
            self.first.get_or_insert(sequence);
            self.last = Some(sequence);
            taken.push(event);
        }
        match more {
            Some(more) => self.at = Some(more as i64),
            None => self.finished = true,
        }
        taken
    }

    /// The positions of what was taken.
    pub(super) fn cover(&self) -> Option<RangeInclusive<i64>> {
        Some(self.first?..=self.last?)
    }

    /// Where the next commit begins.
    pub(super) fn rest(&self) -> Option<i64> {
        let on = self.at.filter(|at| !self.finished && self.window.to.is_none_or(|to| *at <= to));
        self.after_hole.or(on)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(sequence: u64) -> HubEvent {
        HubEvent {
            sequence,
            offset: String::new(),
            enqueued_ms: sequence as i64 * 10,
            partition_key: None,
            properties: serde_json::Map::new(),
            system: serde_json::Map::new(),
            body: None,
        }
    }

    /// What a hub with these events, reads of `most` of them and commits of `reads` reads make of a window: the covers.
    fn covers(hub: &[u64], most: usize, reads: usize, mut window: Window) -> Vec<RangeInclusive<i64>> {
        let mut covers = Vec::new();
        for _ in 0..100 {
            let mut selection = Selection::new(window);
            for _ in 0..reads {
                let Some(range) = selection.range() else { break };
                let within = |event: &HubEvent| match &range {
                    HubRange::Sequences(range) => range.contains(&event.sequence),
                    HubRange::Enqueued(range) => range.contains(&event.enqueued_ms),
                };
                let mut found: Vec<_> = hub.iter().map(|sequence| event(*sequence)).filter(within).collect();
                let more = found.get(most).map(|event| event.sequence);
                found.truncate(most);
                selection.take(found, more);
            }
            covers.extend(selection.cover());
            match selection.rest() {
                Some(rest) => window.from = Some(rest),
                None => return covers,
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn windows_of_numbers_and_of_time() {
        let hub: Vec<u64> = (5..30).collect();
        let all = Window::default();
        assert_eq!(covers(&hub, 100, 1, all), [5..=29]);
        assert_eq!(covers(&hub, 10, 2, Window { to: Some(27), ..all }), [5..=24, 25..=27]);
        let window = Window { since_ms: Some(101), until_ms: Some(200), ..all };
        assert_eq!(covers(&hub, 100, 1, window), [11..=19]);
        assert_eq!(covers(&hub, 100, 1, Window { from: Some(7), ..window }), [11..=19]);
        assert_eq!(covers(&hub, 4, 1, Window { to: Some(13), ..window }), [11..=13]);
        assert_eq!(covers(&hub, 4, 1, Window { from: Some(40), ..all }), []);
    }

    proptest! {
        /// Each event of the window that the hub has is in one cover, and nothing else is in any.
        #[test]
        fn covers_hold_what_is_there(
            hub in prop::collection::btree_set(0_u64..60, 0..60),
            (most, reads) in (1_usize..12, 1_usize..4),
            (from, to) in (prop::option::of(0_i64..60), prop::option::of(0_i64..60)),
            (since_ms, until_ms) in (prop::option::of(0_i64..600), prop::option::of(0_i64..600)),
        ) {
            let hub: Vec<u64> = hub.into_iter().collect();
            let window = Window { from, to, since_ms, until_ms };
            let wanted = hub.iter().map(|sequence| *sequence as i64).filter(|at| {
                from.is_none_or(|from| *at >= from) && to.is_none_or(|to| *at <= to)
                    && since_ms.is_none_or(|since| *at * 10 >= since) && until_ms.is_none_or(|until| *at * 10 < until)
            });
            let covered: Vec<i64> = covers(&hub, most, reads, window).into_iter().flatten().collect();
            prop_assert_eq!(covered, wanted.collect::<Vec<_>>());
        }
    }
}
