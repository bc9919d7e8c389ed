//! Input that was made to cost or to deceive: what makes it, what takes it, and what it may take.
//!
//! Each [`Target`] has a generator that knows the grammar of its format (lengths, counts, nesting, dictionaries, repeated
//! blocks) and a taker that drives the product's own code as the app drives it and checks what must hold. `tests/src/hostile`
//! replays the corpus and some generated inputs in every test run; `fuzz/` searches for hours with the same two functions.

// As in `tests/src`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]

mod damage;
mod make;
mod take;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use damage::damaged;
pub use make::avro::number;
pub use make::sql::Grammar as SqlGrammar;
pub use take::decoders::{Made, contracts};
pub use take::take;

/// A kind of input: how one is made, what takes it, and what that may cost.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// An input of about a megabyte at most.
    pub make: fn(&mut StdRng) -> Vec<u8>,
    /// Takes an input, and panics where something does not hold.
    pub take: fn(&[u8]),
    pub max_cpu: Duration,
    /// Generated inputs that every test run takes.
    pub rounds: u64,
    /// Inputs that were found to cost and are too large for the tree, by name.
    pub known: fn() -> Vec<(String, Vec<u8>)>,
}

/// Add a line for each further decoder.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "parquet",
        make: make::parquet::file,
        take: take::parquet::file,
        max_cpu: MAX_CPU,
        rounds: 300,
        known: Vec::new,
    },
    Target {
        name: "avro",
        make: make::avro::file,
        take: take::decoders::avro,
        max_cpu: SLOWEST,
        rounds: 100,
        known: Vec::new,
    },
    Target {
        name: "json",
        make: make::text::json,
        take: take::decoders::json,
        max_cpu: MAX_CPU,
        rounds: 100,
        known: Vec::new,
    },
    Target {
        name: "csv",
        make: make::text::csv,
        take: take::decoders::csv,
        max_cpu: MAX_CPU,
        rounds: 100,
        known: make::text::csv_known,
    },
    Target {
        name: "body",
        make: make::body::body,
        take: take::decoders::body,
        max_cpu: MAX_CPU,
        rounds: 150,
        known: Vec::new,
    },
    Target {
        name: "tasks",
        make: make::tasks::message,
        take: take::tasks::message,
        max_cpu: MAX_CPU,
        rounds: 2000,
        known: Vec::new,
    },
    Target {
        name: "sql",
        make: make::sql::text,
        take: take::sql::text,
        max_cpu: MAX_CPU,
        rounds: 1000,
        known: Vec::new,
    },
];

/// Longest input.
pub const MAX_BYTES: usize = 1 << 20;
/// Memory that one input may take at its peak.
pub const MAX_MEMORY: u64 = 256 << 20;
/// CPU time that one input may take, in all threads.
pub const MAX_CPU: Duration = Duration::from_secs(2);
/// A file that unpacks to all that it may: docs/limits.md.
const SLOWEST: Duration = Duration::from_secs(10);

impl Target {
    /// The target of this name.
    pub fn of(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// The input of a seed: the same for the same one. Some are damaged.
    pub fn input(&self, seed: u64) -> Vec<u8> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut input = (self.make)(&mut random);
        input.truncate(MAX_BYTES);
        if random.random_ratio(1, 6) { damaged(&input, &mut random) } else { input }
    }

    /// The inputs that are kept in the tree: `fuzz/corpus/<name>`.
    pub fn corpus(&self) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(self.name);
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        files
    }
}

/// Bytes, of `/proc/self/status`.
pub fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// CPU time of all threads of this process, in steps of 10 ms.
pub fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}
