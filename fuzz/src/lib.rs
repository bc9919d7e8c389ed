//! What the targets of hostile input share: the limits of each input, and mutations that know its format.
//!
//! An input is a file, body, message or text as it would come. libFuzzer changes bytes and keeps what reaches new code;
//! every fourth time the grammar of `tests/hostile` makes a new one instead, or takes blocks out, repeats or overwrites them.

mod memory;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::LazyLock;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_hostile::{MAX_MEMORY, Target, cpu, damaged};

/// The worst so far: milliseconds of CPU, bytes at the peak.
static WORST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// The target of `WEIR_FUZZ_TARGET`.
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("WEIR_FUZZ_TARGET").unwrap_or_default();
    Target::of(&name).unwrap_or_else(|| panic!("WEIR_FUZZ_TARGET is `{name}`, and there is no such target"))
});

/// Makes once what is made once, which is not the first input's.
pub fn begin() {
    LazyLock::force(&TARGET);
    // libFuzzer's own ends the process at once, and some panics of decoders are caught, on purpose.
    std::panic::set_hook(Box::new(|_| {}));
    (TARGET.take)(b"");
}

/// Takes an input, and ends the process where something does not hold or where it costs too much.
pub fn measure(input: &[u8]) {
    let (before, base) = (cpu(), memory::begin());
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (TARGET.take)(input))) {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        stop(&format!("it does not hold: {}", text.unwrap_or("a panic")));
    }
    let (took, peak) = (cpu() - before, memory::peak().saturating_sub(base));
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let worst = [millis, peak];
    let old: Vec<u64> = WORST.iter().zip(worst).map(|(kept, new)| kept.fetch_max(new, Ordering::Relaxed)).collect();
    if millis > old[0] + 50 || peak > old[1] + (8 << 20) {
        let [millis, peak] = WORST.each_ref().map(|kept| kept.load(Ordering::Relaxed));
        eprintln!("worst so far: {millis} ms, {} MiB", peak >> 20);
    }
    if took > allowed() {
        stop(&format!("{took:?} of CPU, of at most {:?}", allowed()));
    }
    if peak > MAX_MEMORY {
        stop(&format!("{} MiB, of at most {}", peak >> 20, MAX_MEMORY >> 20));
    }
}

/// Code that counts what it reaches is slower than what is shipped; `WEIR_FUZZ_SLOWER` says how many times.
fn allowed() -> Duration {
    let slower = std::env::var("WEIR_FUZZ_SLOWER").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    TARGET.max_cpu * slower
}

/// Ends the process as libFuzzer expects it of a crash, so that it keeps the input.
fn stop(why: &str) -> ! {
    eprintln!("FOUND: {why}");
    std::process::abort()
}

/// The next input, in place; gives its length.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = StdRng::seed_from_u64(seed.into());
    let made = match random.random_range(0..8) {
        0 => TARGET.input(random.random()),
        1 | 2 => damaged(&data[..size], &mut random),
        _ => return libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    };
    let length = made.len().min(max_size);
    data[..length].copy_from_slice(&made[..length]);
    length
}
