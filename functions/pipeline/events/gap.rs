//! Holes in the numbers of a partition's events: the host went on without them. Pure.

use std::ops::RangeInclusive;

use serde::Serialize;

/// What was missing, in one delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GapReport {
    /// Events that the host passed over.
    pub(crate) missing: u64,
    /// Of these, read from the hub.
    pub(crate) healed: u64,
    /// Of these, not there any more, or not looked for: quarantine has a record for each run of them.
    pub(crate) lost: u64,
}

/// Runs of sequence numbers from `next` on that `positions` pass over. `positions` ascend, each once, none below `next`.
pub(super) fn missing(next: i64, positions: impl IntoIterator<Item = i64>) -> Vec<RangeInclusive<i64>> {
    let (mut runs, mut next) = (Vec::new(), next);
    for position in positions {
        if position > next {
            runs.push(next..=position - 1);
        }
        next = position.saturating_add(1);
    }
    runs
}

/// From the first to the last position of the runs. There is at least one.
pub(super) fn span(runs: &[RangeInclusive<i64>]) -> RangeInclusive<u64> {
    let bound = |position: Option<&i64>| position.and_then(|at| u64::try_from(*at).ok()).unwrap_or(0);
    bound(runs.first().map(RangeInclusive::start))..=bound(runs.last().map(RangeInclusive::end))
}

pub(super) fn contains(runs: &[RangeInclusive<i64>], position: i64) -> bool {
    let run = runs.get(runs.partition_point(|run| *run.end() < position));
    run.is_some_and(|run| run.contains(&position))
}

/// The parts of the runs that lie in `range`.
pub(super) fn within(runs: &[RangeInclusive<i64>], range: &RangeInclusive<u64>) -> Vec<RangeInclusive<i64>> {
    let bound = |position: &u64| i64::try_from(*position).unwrap_or(i64::MAX);
    let (start, end) = (bound(range.start()), bound(range.end()));
    let parts = runs.iter().map(|run| (*run.start()).max(start)..=(*run.end()).min(end));
    parts.filter(|part| !part.is_empty()).collect()
}

pub(super) fn count(runs: &[RangeInclusive<i64>]) -> u64 {
    runs.iter().map(|run| run.end().abs_diff(*run.start()).saturating_add(1)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_before_and_between() {
        type Case<'c> = (i64, &'c [i64], Vec<RangeInclusive<i64>>);
        let cases: [Case<'_>; 6] = [
            (0, &[], vec![]),
            (5, &[5, 6, 7], vec![]),
            (5, &[7], vec![5..=6]),
            (0, &[0, 2, 3, 9], vec![1..=1, 4..=8]),
            (0, &[i64::MAX], vec![0..=i64::MAX - 1]),
            (i64::MAX, &[i64::MAX], vec![]),
        ];
        for (next, positions, expected) in cases {
            assert_eq!(missing(next, positions.iter().copied()), expected, "{next} {positions:?}");
        }
        assert_eq!(count(&[0..=0, 5..=9]), 6);
        assert_eq!(count(&[i64::MIN..=i64::MAX, 0..=0]), u64::MAX);
    }

    #[test]
    fn what_expired_counts_where_it_was_missing() {
        let runs = [1..=5, 8..=9];
        assert_eq!(span(&runs), 1..=9);
        assert_eq!(within(&runs, &(0..=8)), [1..=5, 8..=8]);
        assert_eq!(within(&runs, &(6..=7)), []);
        let inside: Vec<i64> = (0..12).filter(|position| contains(&runs, *position)).collect();
        assert_eq!(inside, [1, 2, 3, 4, 5, 8, 9]);
    }

    proptest! {
        #[test]
        fn runs_and_positions_fill_the_range(next in 0_i64..50, steps in prop::collection::vec(1_i64..5, 0..40)) {
            let positions: Vec<i64> =
                steps.iter().scan(next - 1, |at, step| { *at += step; Some(*at) }).collect();
            let mut all = positions.clone();
            for run in missing(next, positions.iter().copied()) {
                prop_assert!(!run.is_empty());
                all.extend(run);
            }
            all.sort_unstable();
            prop_assert!(all.iter().copied().eq(next..next + all.len() as i64));
            prop_assert_eq!(all.last(), positions.last());
        }
    }
}
