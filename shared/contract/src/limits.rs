//! What a piece of input may take, in one place: the numbers, the [`Allowance`] that decoders draw from, and the [`Stop`]
//! that ends work for which nobody waits. `docs/limits.md` has all limits in one table.
//!
//! Amounts decide what becomes of data, time does not: the same input gets the same answer on a busy machine and on an
//! idle one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::event::MAX_EVENT_RECORDS;

const MIB: usize = 1024 * 1024;

/// Bytes that the body of one event unpacks to, at most.
pub const MAX_BODY_BYTES: usize = 64 * MIB;
/// Of that, what every event may have, however small it is.
const FREE_BODY_BYTES: usize = MIB;
/// How many times its own size a body may give beyond that, unpacked. JSON that is packed well is ten to fifty times as
/// large.
const BODY_EXPANSION: usize = 200;
/// Records that every event may have; beyond, one for each of its bytes.
const FREE_EVENT_RECORDS: usize = 10_000;

/// Bytes that an Avro file may give for nothing, and how many times its stored bytes beyond: unpacked blocks, lines, and
/// something for each value and record, so that arrays of nulls and empty records are paid for.
const FREE_AVRO_BYTES: u64 = 64 * MIB as u64;
const FREE_AVRO_BODY_BYTES: u64 = MIB as u64;
const AVRO_EXPANSION: u64 = 512;
/// What each value of an Avro file draws beside its text, and one whose text is made slowly.
pub const AVRO_VALUE: u64 = 16;
pub const AVRO_SLOW_VALUE: u64 = 64;
/// What a field of a record draws that no column of the contract takes: it is looked for, and kept beside the others.
pub const AVRO_UNKNOWN: u64 = 64;
/// What each record draws, and for each column of the contract, which it fills even if it has no field of it; and one
/// that is within a field of another.
pub const AVRO_RECORD: u64 = 64;
pub const AVRO_COLUMN: u64 = 8;
pub const AVRO_PAYLOAD: u64 = 128;
/// How deep Avro's values nest, unions counted.
pub const MAX_AVRO_DEPTH: usize = 512;
/// Types of one Avro schema.
pub const MAX_AVRO_TYPES: usize = 10_000;
/// The header of an Avro file, packed or not, and of one in an event.
pub const MAX_AVRO_HEADER_BYTES: usize = 4 * MIB;
/// A block of an Avro file, stored and unpacked.
pub const MAX_AVRO_BLOCK_BYTES: usize = 64 * MIB;
/// Bytes of an Avro decimal of which all digits are shown: 9,864 digits.
pub const MAX_AVRO_DECIMAL_BYTES: usize = 4 * 1024;

/// Units that a Parquet file may give for nothing, and how many for each stored byte beyond. A byte of text is a unit;
/// pages, rows and values draw some, so that what repeats itself, and is next to nothing in the file, is paid for.
const FREE_PARQUET: u64 = 512 * MIB as u64;
const PARQUET_EXPANSION: u64 = 512;
/// What each row of a Parquet file draws beside its values.
pub const PARQUET_ROW: u64 = 64;
/// And more where a column of its step cannot be read.
pub const PARQUET_UNREADABLE_ROW: u64 = 384;

/// Cells of one frame, in bytes, and what a row takes beside its columns: where it came from, its bytes, a reason.
pub const FRAME_BYTES: usize = 32 * MIB;
pub const ROW_BYTES: usize = 256;
/// Bytes of a frame for each byte of its text that are counted with the text itself: ordinary lines fill no more.
pub const CELLS_PER_BYTE: usize = 4;
/// Reasons that are listed of one record: a line of a megabyte may have a hundred thousand faulty fields.
pub const MAX_REASONS: usize = 256;
/// Rows times added columns of one frame.
pub const MAX_ADDED_CELLS: usize = 2 * MIB;

/// Bytes that this event's body may unpack to.
pub fn body_bytes(body: usize) -> usize {
    MAX_BODY_BYTES.min(FREE_BODY_BYTES.saturating_add(body.saturating_mul(BODY_EXPANSION)))
}

/// Records that this event's body may hold.
pub fn body_records(body: usize) -> usize {
    MAX_EVENT_RECORDS.min(FREE_EVENT_RECORDS.saturating_add(body))
}

/// An amount that may still be drawn. Clones share it.
#[derive(Debug, Clone)]
pub struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub fn of(amount: u64) -> Self {
        Self(Arc::new(AtomicU64::new(amount)))
    }

    /// Of an Avro file, before any of it was read.
    pub fn of_avro_file() -> Self {
        Self::of(FREE_AVRO_BYTES)
    }

    /// Of an Avro file in an event.
    pub fn of_avro_body() -> Self {
        Self::of(FREE_AVRO_BODY_BYTES)
    }

    /// Of a Parquet file, or a part of one, of so many bytes.
    pub fn of_parquet(bytes: u64) -> Self {
        Self::of(FREE_PARQUET.saturating_add(bytes.saturating_mul(PARQUET_EXPANSION)))
    }

    /// Adds what so many stored bytes of an Avro file earn.
    pub fn earn_avro(&self, stored: usize) {
        self.add((stored as u64).saturating_mul(AVRO_EXPANSION));
    }

    pub fn add(&self, amount: u64) {
        let add = |left: u64| Some(left.saturating_add(amount));
        // It always gives a value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// False if there is not so much left: then nothing is.
    pub fn take(&self, amount: u64) -> bool {
        let take = |left: u64| Some(left.saturating_sub(amount));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok_and(|left| left >= amount)
    }
}

/// A flag that blocking work looks at now and then. It is set when the answer that the work is for was given: at the
/// deadline of an invocation, or when its caller went away. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that nobody sets, for work that somebody certainly waits for.
    pub fn never() -> Self {
        Self::default()
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A guard that sets the flag when it is dropped, whether the work is done or was left.
    #[must_use]
    pub fn set_on_drop(&self) -> SetOnDrop {
        SetOnDrop(self.clone())
    }

    /// Whether nobody waits any more. A load without order: cheap enough for each block, row group or thousand values.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Held by whoever waits: see [`Stop::set_on_drop`].
#[derive(Debug)]
pub struct SetOnDrop(Stop);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_nobody_waits_for_is_told_to_stop() {
        let stop = Stop::default();
        let waiting = stop.set_on_drop();
        let working = stop.clone();
        let work = std::thread::spawn(move || {
            while !working.is_set() {
                std::thread::yield_now();
            }
        });
        assert!(!stop.is_set(), "the flag is down while somebody waits");
        drop(waiting);
        assert!(work.join().is_ok() && stop.is_set());
    }

    #[test]
    fn what_is_drawn_is_gone_and_is_shared() {
        let allowance = Allowance::of(10);
        let other = allowance.clone();
        assert!(allowance.take(7) && other.left() == 3);
        other.add(2);
        assert!(allowance.take(5) && !other.take(1));
        allowance.add(u64::MAX);
        allowance.earn_avro(usize::MAX);
        assert_eq!(allowance.left(), u64::MAX);
        allowance.take(1);
        assert!(!allowance.take(u64::MAX), "more than there is takes all");
        assert_eq!(allowance.left(), 0);
    }

    #[test]
    fn an_event_gives_what_its_bytes_pay_for() {
        assert_eq!((body_bytes(0), body_records(0)), (1 << 20, 10_000));
        assert_eq!((body_bytes(2_948), body_records(2_948)), ((1 << 20) + 589_600, 12_948));
        assert_eq!((body_bytes(1 << 20), body_records(1 << 20)), (64 << 20, 1 << 20));
        assert_eq!((body_bytes(usize::MAX), body_records(usize::MAX)), (64 << 20, 1 << 20));
    }
}
