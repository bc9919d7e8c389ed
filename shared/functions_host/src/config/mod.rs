//! `host.json`, the `function.json` files and app settings, parsed once. What this host does not understand is an
//! error with file and key: nothing is ignored in silence.

mod connection;
mod function_json;
mod host_json;
mod local_settings;
mod reader;
mod schedule;
#[cfg(test)]
mod tests;

pub use connection::QueueName;
pub(crate) use connection::{DEFAULT_CONNECTION, QueueService, queue_services};
pub(crate) use function_json::{
    AuthLevel, Cardinality, EventHubTrigger, Function, HttpTrigger, OutputKind, QueueTrigger, RetryPolicy,
    TimerTrigger, Trigger, read_functions,
};
pub(crate) use host_json::HostJson;
pub(crate) use local_settings::local_settings;
pub(crate) use schedule::Schedule;

use crate::error::HostError;

/// A queue name, as Azure Storage allows it.
pub(crate) fn check_queue_name(name: &str) -> Result<(), HostError> {
    let rule = "3 to 63 lower-case letters, digits and single hyphens, beginning and ending with a letter or digit";
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (3..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good { Ok(()) } else { Err(HostError::Name { what: "queue name", name: name.to_owned(), rule }) }
}

/// An Event Hub or consumer group name. They become folder names, so no dot may lead.
pub(crate) fn check_hub_name(what: &'static str, name: &str) -> Result<(), HostError> {
    let rule = "1 to 256 letters, digits, `.`, `_`, `-` (and `$Default`), beginning with a letter or digit";
    let mut bytes = name.bytes();
    let good = name == "$Default"
        || (name.len() <= 256
            && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')));
    if good { Ok(()) } else { Err(HostError::Name { what, name: name.to_owned(), rule }) }
}
