//! Formats in the notation of Java, Spark and .NET, and other names for epochs: what the one who wrote it meant.

use super::{EPOCHS, TimeFormat};
use crate::keys;
use crate::model::DataType;

/// Letters of one kind, as Java and .NET write them.
const WORDS: [(&str, &str); 28] = [
    ("yyyy", "%Y"),
    ("uuuu", "%Y"),
    ("YYYY", "%Y"),
    ("yy", "%y"),
    ("YY", "%y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("M", "%-m"),
    ("DD", "%d"),
    ("dd", "%d"),
    ("d", "%-d"),
    ("EEEE", "%A"),
    ("EEE", "%a"),
    ("HH", "%H"),
    ("H", "%-H"),
    ("hh", "%I"),
    ("h", "%-I"),
    ("mm", "%M"),
    ("ss", "%S"),
    ("SSSSSS", "%6f"),
    ("SSS", "%3f"),
    ("ffffff", "%6f"),
    ("fff", "%3f"),
    ("a", "%p"),
    ("tt", "%p"),
    ("XXX", "%:z"),
    ("Z", "%z"),
];

/// The format in our notation, if it would do.
pub(super) fn suggestion(format: &str, data_type: DataType) -> Option<String> {
    let lower = format.to_lowercase();
    let epoch = match lower.as_str() {
        "epoch" | "unix" | "unixtime" | "timestamp" | "s" | "seconds" | "unix_s" => Some("epoch_s"),
        "epochmillis" | "epoch_millis" | "unix_ms" | "ms" | "millis" | "milliseconds" => Some("epoch_ms"),
        "epoch_micros" | "unix_us" | "us" | "micros" | "microseconds" => Some("epoch_us"),
        "epoch_nanos" | "unix_ns" | "ns" | "nanos" | "nanoseconds" => Some("epoch_ns"),
        _ => None,
    };
    let near = || translated(format).filter(|format| TimeFormat::new(format, data_type).is_ok());
    let named = || keys::nearest(format, EPOCHS.iter().map(|(name, _)| *name)).map(str::to_owned);
    epoch.map(str::to_owned).or_else(near).or_else(named)
}

fn translated(format: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), format);
    while let Some(first) = rest.chars().next() {
        let length = rest.chars().take_while(|letter| *letter == first).map(char::len_utf8).sum();
        let (run, after) = rest.split_at(length);
        rest = after;
        if first == '\'' {
            let (quoted, after) = after.split_once('\'')?;
            out.push_str(quoted);
            rest = after;
        } else if matches!(first, 'T' | 'Z') && length == 1 {
            out.push(first);
        } else if first.is_ascii_alphabetic() {
            out.push_str(WORDS.iter().find(|(word, _)| *word == run)?.1);
        } else {
            out.push_str(run);
        }
    }
    out.contains('%').then_some(out)
}
