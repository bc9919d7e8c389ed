//! All targets of hostile input in one binary, because each would be as large: `WEIR_FUZZ_TARGET` says which one it is.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: weir_fuzz::begin(), |input: &[u8]| weir_fuzz::measure(input));
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    weir_fuzz::mutate(data, size, max_size, seed)
});
