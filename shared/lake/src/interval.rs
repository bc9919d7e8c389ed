//! Delta's interval properties, such as `interval 30 days`.

use std::time::Duration;

/// `None` for a text that is no interval: one count, one unit. Spark takes several units; the kernel that writes our
/// checkpoints reads only the first, and would forget a removed file before its time is over.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    let ["interval", count, unit] = words.as_slice() else { return None };
    let unit = match unit.strip_suffix('s').unwrap_or(unit) {
        "week" => Duration::from_secs(604_800),
        "day" => Duration::from_secs(86_400),
        "hour" => Duration::from_secs(3_600),
        "minute" => Duration::from_secs(60),
        "second" => Duration::from_secs(1),
        "millisecond" => Duration::from_millis(1),
        "microsecond" => Duration::from_micros(1),
        _ => return None,
    };
    unit.checked_mul(count.parse().ok()?)
}
