//! When a fault strikes, and which one.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};

use super::Plan;

/// Deals faults at random moments, each kind once before any comes again.
///
/// The gap between two faults is uniform in `1..2 * mean_gap`: as irregular as it needs to be, yet `n` records bring at
/// least `n / (2 * mean_gap - 1)` faults. So a data set that is long enough shows every kind, whatever the seed.
#[derive(Debug)]
pub(super) struct Faults<K: 'static> {
    rng: StdRng,
    kinds: &'static [K],
    hand: Vec<K>,
    mean_gap: u32,
    gap: u32,
}

/// 0.5 % of the records.
pub(super) const MEAN_GAP: u32 = 200;

impl<K: Copy> Faults<K> {
    pub(super) fn new(plan: &Plan, dataset: &str, kinds: &'static [K], mean_gap: u32) -> Self {
        let mut faults =
            Self { rng: rng(plan, &format!("{dataset} faults")), kinds, hand: Vec::new(), mean_gap, gap: 0 };
        faults.gap = faults.draw_gap();
        faults
    }

    /// The fault of the next record; `None` for a sound one.
    pub(super) fn next(&mut self) -> Option<K> {
        self.gap -= 1;
        if self.gap > 0 {
            return None;
        }
        self.gap = self.draw_gap();
        if self.hand.is_empty() {
            self.hand.extend_from_slice(self.kinds);
            self.hand.shuffle(&mut self.rng);
        }
        self.hand.pop()
    }

    /// For the details of a fault, so that they leave the data's own randomness alone.
    pub(super) fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    fn draw_gap(&mut self) -> u32 {
        self.rng.random_range(1..2 * self.mean_gap)
    }
}

/// A stream of random numbers of its own for each use, so that more draws in one do not disturb another.
/// The first 24 bytes of `use_name` count.
pub(super) fn rng(plan: &Plan, use_name: &str) -> StdRng {
    let mut seed = [0; 32];
    for (slot, byte) in seed.iter_mut().zip(plan.seed.to_le_bytes().into_iter().chain(use_name.bytes())) {
        *slot = byte;
    }
    StdRng::from_seed(seed)
}

/// Cuts a record somewhere inside, as a crashed writer would. What is left of a JSON object is never valid.
pub(super) fn truncate(record: &mut Vec<u8>, rng: &mut StdRng) {
    let length = record.len() as u64;
    record.truncate(rng.random_range(1..length.max(2)) as usize);
}

/// Overwrites a byte in the middle of the text `within` the record by one that no UTF-8 has.
pub(super) fn spoil_utf8(record: &mut [u8], within: &str) {
    let Some(start) = record.windows(within.len()).position(|window| window == within.as_bytes()) else { return };
    record[start + within.len() / 2] = 0xFF;
}

/// One of `choices`, which must not be empty.
pub(super) fn pick<T: Copy>(rng: &mut StdRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

/// Adds the field, or replaces its value in place.
pub(super) fn set(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}
