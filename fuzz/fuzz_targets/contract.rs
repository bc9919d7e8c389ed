//! Whatever a user writes: a contract, or errors that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_contract::Contracts;

fuzz_target!(|text: &str| {
    if let Err(errors) = Contracts::parse_all(vec![("a.toml".to_owned(), text.to_owned())]) {
        assert!(!errors.to_string().is_empty());
    }
});
