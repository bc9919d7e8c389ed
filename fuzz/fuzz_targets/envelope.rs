//! Whatever is posted to the handler: every trigger decodes it or refuses it.
#![no_main]

use azure_functions_custom_handler::{
    DataType, Envelope, EventBatch, EventGridEvent, QueueMessage, TimerInfo, Trigger,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    decode::<QueueMessage>(body);
    decode::<EventBatch>(body);
    decode::<EventGridEvent>(body);
    decode::<TimerInfo>(body);
});

fn decode<T: Trigger>(body: &[u8]) {
    for data_type in [DataType::Binary, DataType::String] {
        if let Ok(mut envelope) = Envelope::parse(body) {
            let _ = T::decode(&mut envelope, data_type);
        }
    }
}
