//! Whatever stands in the queue of blob events.
#![no_main]

use azure_functions_custom_handler::BlobEvent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if let Ok(event) = BlobEvent::parse(message) {
        assert!(!event.container.is_empty() && !event.path.is_empty());
    }
});
