//! Delta's interval properties, such as `interval 30 days`.

use std::time::Duration;

/// `None` for a text that is no interval.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut words = text.split_ascii_whitespace().peekable();
    words.next_if(|word| word.eq_ignore_ascii_case("interval"));
    let mut total = Duration::ZERO;
    let mut any = false;
    while let Some(count) = words.next() {
        let seconds = match words.next()?.to_ascii_lowercase().trim_end_matches('s') {
            "week" => 604_800.0,
            "day" => 86_400.0,
            "hour" => 3_600.0,
            "minute" => 60.0,
            "second" => 1.0,
            "millisecond" => 0.001,
            "microsecond" => 0.000_001,
            _ => return None,
        };
        let count: u32 = count.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(f64::from(count) * seconds).ok()?)?;
        any = true;
    }
    any.then_some(total)
}
