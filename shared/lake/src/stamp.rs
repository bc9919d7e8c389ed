//! Versions of transaction ids that name something: which version of a blob a table holds, which contract is in force, what a
//! derived table is made by.
//!
//! Such a version is `generation · 2^39 + tag`. The generation grows by one with every commit for the id, so the number
//! only grows, as Delta wants it, and a commit that was planned against another generation is told so. The tag is the first
//! 39 bits of the SHA-256 of a name, such as a blob's etag: enough that a new version of the same blob is taken for the old
//! one in one of 500 billion overwrites.

use sha2::{Digest, Sha256};

const TAG_BITS: u32 = 39;
/// 16 million generations: a blob that is overwritten every minute has them for 31 years.
const MAX_GENERATION: i64 = (1 << 24) - 1;
/// Stands for a blob that was deleted and whose rows are gone. No etag is empty.
pub const REMOVED: &str = "";

/// Whether the id is at what `name` names, as a table has it.
pub fn holds(known: Option<i64>, name: &str) -> bool {
    known.is_some_and(|version| version & ((1 << TAG_BITS) - 1) == tag(name))
}

/// The id's next version, for a commit of what `name` names; `None` when there is none any more.
pub fn next(known: Option<i64>, name: &str) -> Option<i64> {
    of_generation(generation(known) + 1, name)
}

/// How often the id was moved; 0 before the first time.
pub fn generation(known: Option<i64>) -> i64 {
    known.map_or(0, |version| version >> TAG_BITS)
}

/// The version of a generation that is known; `None` above the last.
pub fn of_generation(generation: i64, name: &str) -> Option<i64> {
    (generation <= MAX_GENERATION).then(|| generation << TAG_BITS | tag(name))
}

fn tag(name: &str) -> i64 {
    let digest = Sha256::digest(name.as_bytes());
    let head = digest.iter().take(8).fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    (head >> (64 - TAG_BITS)).cast_signed()
}
