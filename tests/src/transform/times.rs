//! Dates and instants by the letter: the default forms, and what a column's `format` takes and what it forbids.

use chrono::{DateTime, Datelike, NaiveDate};
use polars::prelude::DataType as Dtype;
use proptest::prelude::*;
use weir_contract::DataType::{self, Date, Timestamp};

use super::{column, contract, lineage, refused, transform};

const YEAR_1: i64 = -62_135_596_800_000_000;
const YEAR_10000: i64 = 253_402_300_800_000_000;

/// What a text is as a value of a column: days or microseconds, or the last words of the reason.
fn value(data_type: DataType, format: Option<&str>, text: &str) -> Result<i64, &'static str> {
    let mut contract = contract(vec![column("v", data_type)]);
    contract.columns[0].format = format.map(str::to_owned);
    let line = serde_json::json!({ "v": text }).to_string();
    let output = transform(&contract).ndjson(line.as_bytes(), 1, &lineage()).unwrap();
    if let Some(reason) = refused(&output).first() {
        return Err(match reason {
            reason if reason.contains("out of range") => "Range",
            reason if reason.contains("more digits") => "Scale",
            _ => "Form",
        });
    }
    let values = output.clean.column("v").unwrap().cast(&Dtype::Int64).unwrap();
    Ok(values.i64().unwrap().get(0).unwrap())
}

fn timestamp(text: &str, format: Option<&str>) -> Result<i64, &'static str> {
    value(Timestamp, format, text)
}

fn date(text: &str, format: Option<&str>) -> Result<i64, &'static str> {
    value(Date, format, text)
}

fn shown(result: Result<i64, &'static str>) -> String {
    match result {
        Ok(micros) => DateTime::from_timestamp_micros(micros).unwrap().format("%FT%T%.6f").to_string(),
        Err(mismatch) => mismatch.to_owned(),
    }
}

/// Of a text by a format; what is wrong with it else.
fn read(format: &str, text: &str) -> String {
    shown(timestamp(text, Some(format)))
}

fn day(format: &str, text: &str) -> String {
    match date(text, Some(format)) {
        Ok(days) => NaiveDate::from_num_days_from_ce_opt(days as i32 + 719_163).unwrap().to_string(),
        Err(mismatch) => mismatch.to_owned(),
    }
}

#[test]
fn what_databases_and_languages_print() {
    let cases = [
        ("2020-12-31 21:25:58.745232+02", "2020-12-31T19:25:58.745232"), // PostgreSQL
        ("2020-12-31 21:25:58-03", "2021-01-01T00:25:58.000000"),
        ("1890-01-01 00:00:00+00:53:28", "1889-12-31T23:06:32.000000"), // before zones were
        ("2020-12-31T21:25:58.745+0200", "2020-12-31T19:25:58.745000"), // Spark
        ("2020-12-31T21:25:58.745Z", "2020-12-31T21:25:58.745000"),
        ("2020-12-31T21:25:58.7452329+02:00", "2020-12-31T19:25:58.745232"), // .NET
        ("2020-12-31 21:25:58Z", "2020-12-31T21:25:58.000000"),
        ("2020-12-31 21:25:58.7452329 +02:00", "2020-12-31T19:25:58.745232"), // SQL Server
        ("2020-12-31 21:25:58.745232+05:30", "2020-12-31T15:55:58.745232"),   // Python
        ("2020-12-31 21:25:58,745", "2020-12-31T21:25:58.745000"),
        ("2020-12-31 21:25:58 UTC", "2020-12-31T21:25:58.000000"), // BigQuery
        ("2020-12-31 21:25:58 +0200", "2020-12-31T19:25:58.000000"), // Ruby
        ("2020-12-31 21:25", "2020-12-31T21:25:00.000000"),
        ("2020-12-31T21:25+01", "2020-12-31T20:25:00.000000"),
        ("0001-01-01T00:00:00+01", "Range"),
        ("9999-12-31T23:59:59.999999999-00:01", "Range"),
        ("9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59.999999"),
        ("2020-12-31", "Form"),
        ("2020-12-31 21", "Form"),
        ("2020-12-31 21:25:60", "Form"),
        ("2020-12-31 24:00:00", "Form"),
        ("2020-12-31 21:25:58.", "Form"),
        ("2020-12-31 21:25:58+2", "Form"),
        ("2020-12-31 21:25:58+020", "Form"),
        ("2020-12-31 21:25:58+24", "Form"),
        ("2020-12-31 21:25:58+02:60", "Form"),
        ("2020-12-31 21:25:58+02:00:60", "Form"),
        ("2020-12-31 21:25:58  +02", "Form"),
        ("2020-12-31 21:25:58 CET", "Form"),
        ("2020-12-31  21:25:58", "Form"),
        ("2020-12-31 9:25:58", "Form"),
        ("+2020-12-31 21:25:58", "Form"),
        ("2020-1-31 21:25:58", "Form"),
        ("2020-02-30 21:25:58", "Form"),
        ("20201231T212558Z", "Form"),
        ("1609449958", "Form"),
    ];
    for (text, expected) in cases {
        assert_eq!(shown(timestamp(text, None)), expected, "{text}");
    }
}

#[test]
fn fractions_are_fractions_of_a_second() {
    let pattern = "%Y-%m-%d %H:%M:%S.%f";
    let at = |fraction: &str| read(pattern, &format!("2024-01-05 10:00:00.{fraction}"));
    assert_eq!(at("5"), "2024-01-05T10:00:00.500000");
    assert_eq!(at("123456"), "2024-01-05T10:00:00.123456");
    assert_eq!(at("123"), "2024-01-05T10:00:00.123000");
    assert_eq!(at("1234567"), "2024-01-05T10:00:00.123456");
    assert_eq!(at("000000001"), "2024-01-05T10:00:00.000000");
    for text in ["", "1234567890", "-5", "+5", " 5", "5Z", "٥"] {
        assert_eq!(at(text), "Form", "{text}");
    }
    assert_eq!(read("%Y%m%d%H%M%S%f", "2024010510000012"), "2024-01-05T10:00:00.120000");
    for (specifier, digits) in [("3", 3), ("6", 6), ("9", 9)] {
        for count in 0..11 {
            let text = "123456789123".get(..count).unwrap();
            let expected =
                if count == digits { format!("2024-01-05T10:00:00.{:0<6.6}", text) } else { "Form".to_owned() };
            assert_eq!(read(&format!("%F %T.%{specifier}f"), &format!("2024-01-05 10:00:00.{text}")), expected);
            assert_eq!(read(&format!("%F %T%.{specifier}f"), &format!("2024-01-05 10:00:00.{text}")), expected);
        }
    }
    assert_eq!(read("%F %T%.fZ", "2024-01-05 10:00:00Z"), "2024-01-05T10:00:00.000000");
    assert_eq!(read("%F %T%.fZ", "2024-01-05 10:00:00.25Z"), "2024-01-05T10:00:00.250000");
    assert_eq!(read("%F %T%.fZ", "2024-01-05 10:00:00.Z"), "Form");
    assert_eq!(read("%F %T%.f", "2024-01-05 10:00:00,25"), "Form");
}

#[test]
fn what_the_format_forbids_is_refused() {
    let us = "%m/%d/%Y";
    for (text, expected) in [("01/05/2024", "2024-01-05"), ("1/5/2024", "2024-01-05"), ("12/31/1999", "1999-12-31")] {
        assert_eq!(day(us, text), expected);
    }
    for text in [
        "1/5/24",
        "12/31/99",
        "1/5/224",
        "1/5/02024",
        "1/5/20245",
        "001/5/2024",
        "1/005/2024",
        "1/ 5/2024",
        "1/5/ 2024",
        "+1/5/2024",
        "-1/5/2024",
        "1/5/+2024",
        "1/5/-2024",
        "1/5/2024x",
        "13/1/2024",
        "0/5/2024",
        "2/30/2024",
        "1//2024",
        "1/5",
        "",
        "1-5-2024",
        "١/5/2024",
    ] {
        assert_eq!(day(us, text), "Form", "{text}");
    }
    assert_eq!(day(us, "1/5/0000"), "Form");
    let cases = [
        ("%d.%m.%y", "05.01.24", "2024-01-05"),
        ("%d.%m.%y", "05.01.68", "2068-01-05"),
        ("%d.%m.%y", "05.01.69", "1969-01-05"),
        ("%d.%m.%y", "05.01.2024", "Form"),
        ("%d.%m.%y", "05.01.4", "Form"),
        ("%Y%m%d", "20240105", "2024-01-05"),
        ("%Y%m%d", "2024115", "Form"),
        ("%Y%j", "2024060", "2024-02-29"),
        ("%Y%j", "2023366", "Form"),
        ("%Y %j", "2024 366", "2024-12-31"),
        ("%Y %j", "2024 000", "Form"),
        ("%-d.%-m.%Y", "5.1.2024", "2024-01-05"),
        ("%-d.%-m.%Y", "15.11.2024", "2024-11-15"),
        ("%-d.%-m.%Y", "05.1.2024", "Form"),
        ("%Y %_j", "2024  60", "2024-02-29"),
        ("%Y %_j", "2024 60", "2024-02-29"),
        ("%Y %_j", "2024  5", "Form"),
        ("%b %e %Y", "Jan  5 2024", "2024-01-05"),
        ("%b %e %Y", "Jan 15 2024", "2024-01-15"),
        ("%b %e %Y", "Jan 5 2024", "2024-01-05"),
        ("%b %e %Y", "Jan 05 2024", "Form"),
        ("%b %e %Y", "Jan  15 2024", "Form"),
        ("%b %e %Y", "January 5 2024", "Form"),
        ("%B %e, %Y", "January 5, 2024", "2024-01-05"),
        ("%B %e, %Y", "Jan 5, 2024", "Form"),
        ("%B %e, %Y", "MAY 5, 2024", "2024-05-05"),
        ("%d %b %Y", "05  jan 2024", "Form"),
        ("%a, %d %b %Y", "Fri, 05 Jan 2024", "2024-01-05"),
        ("%a, %d %b %Y", "Thu, 05 Jan 2024", "Form"),
        ("%A %F", "friday 2024-01-05", "2024-01-05"),
        ("%G-W%V-%u", "2024-W01-5", "2024-01-05"),
        ("%G-W%V-%u", "2020-W53-7", "2021-01-03"),
        ("%G-W%V-%u", "2024-W53-1", "Form"),
        ("%G-W%V-%u", "2024-W01-8", "Form"),
        ("%G-W%V-%w", "2024-W01-0", "2024-01-07"),
        ("%F %T", "2024-01-05 23:59:59", "2024-01-05"),
        ("%F %T", "2024-01-05 23:59:60", "Form"),
        ("100%% %F", "100% 2024-01-05", "2024-01-05"),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(day(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn times_and_offsets_are_read_to_the_letter() {
    let cases = [
        ("%F %H:%M", "2024-01-05 9:05", "2024-01-05T09:05:00.000000"),
        ("%F %H:%M", "2024-01-05 24:00", "Form"),
        ("%F %H:%M", "2024-01-05 -9:05", "Form"),
        ("%F %H:%M", "2024-01-05  9:05", "Form"),
        ("%F %k:%M", "2024-01-05  9:05", "2024-01-05T09:05:00.000000"),
        ("%F %H%M", "2024-01-05 0905", "2024-01-05T09:05:00.000000"),
        ("%F %H%M", "2024-01-05 905", "Form"),
        ("%F %T", "2024-01-05 10:00:60", "Form"),
        ("%F %I:%M %p", "2024-01-05 12:00 AM", "2024-01-05T00:00:00.000000"),
        ("%F %I:%M %p", "2024-01-05 12:00 pm", "2024-01-05T12:00:00.000000"),
        ("%F %I:%M %p", "2024-01-05 11:59 PM", "2024-01-05T23:59:00.000000"),
        ("%F %I:%M %p", "2024-01-05 13:00 PM", "Form"),
        ("%F %I:%M %p", "2024-01-05 0:30 AM", "Form"),
        ("%F %I:%M%p", "2024-01-05 01:30 PM", "Form"),
        ("%F %T %z", "2024-01-05 10:00:00 +0130", "2024-01-05T08:30:00.000000"),
        ("%F %T %z", "2024-01-05 10:00:00 +01:30", "2024-01-05T08:30:00.000000"),
        ("%F %T%z", "2024-01-05 10:00:00Z", "2024-01-05T10:00:00.000000"),
        ("%F %T %z", "2024-01-05 10:00:00 +01", "Form"),
        ("%F %T %z", "2024-01-05 10:00:00 01:30", "Form"),
        ("%F %T %z", "2024-01-05 10:00:00 + 0130", "Form"),
        ("%F %T %z", "2024-01-05 10:00:00 UTC", "Form"),
        ("%F %T %z", "2024-01-05 10:00:00 +2400", "Form"),
        ("%F %T%:z", "2024-01-05 10:00:00-01:30", "2024-01-05T11:30:00.000000"),
        ("%F %T%:z", "2024-01-05 10:00:00-0130", "Form"),
        ("%F %T%:z", "2024-01-05 10:00:00Z", "Form"),
        ("%F %T%::z", "2024-01-05 10:00:00+01:00:30", "2024-01-05T08:59:30.000000"),
        ("%F %T%:::z", "2024-01-05 10:00:00+01", "2024-01-05T09:00:00.000000"),
        ("%F %T%:::z", "2024-01-05 10:00:00+01:00", "Form"),
        ("%F %T%#z", "2024-01-05 10:00:00+01", "2024-01-05T09:00:00.000000"),
        ("%F %T%#z", "2024-01-05 10:00:00+0115", "2024-01-05T08:45:00.000000"),
        ("%F %T%#z", "2024-01-05 10:00:00+01:15", "2024-01-05T08:45:00.000000"),
        ("%F %T%#z", "2024-01-05 10:00:00+01:", "Form"),
        ("%F %T%#z", "2024-01-05 10:00:00Z", "2024-01-05T10:00:00.000000"),
        ("%+", "2024-01-05T10:00:00.5+01:00", "2024-01-05T09:00:00.500000"),
        ("%+", "2024-01-05T10:00:00Z", "2024-01-05T10:00:00.000000"),
        ("%+", "2024-01-05 10:00:00Z", "Form"),
        ("%c", "Fri Jan  5 10:00:00 2024", "2024-01-05T10:00:00.000000"),
        ("%d/%b/%Y:%H:%M:%S %z", "05/Jan/2024:10:00:00 -0700", "2024-01-05T17:00:00.000000"),
        ("%Y-%m-%d %H:%M %z", "0001-01-01 00:00 +0100", "Range"),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(read(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn epochs() {
    let cases = [
        ("epoch_ms", "1767607200123", "2026-01-05T10:00:00.123000"),
        ("epoch_us", "1767607200123456", "2026-01-05T10:00:00.123456"),
        ("epoch_ns", "1767607200123456789", "2026-01-05T10:00:00.123456"),
        ("epoch_s", "1767607200", "2026-01-05T10:00:00.000000"),
        ("epoch_s", "1767607200.123", "2026-01-05T10:00:00.123000"),
        ("epoch_s", "1.767607200123e9", "2026-01-05T10:00:00.123000"),
        ("%s", "1767607200", "2026-01-05T10:00:00.000000"),
        ("epoch_ms", "-1", "1969-12-31T23:59:59.999000"),
        ("epoch_ns", "-1", "1969-12-31T23:59:59.999999"),
        ("epoch_ms", "0", "1970-01-01T00:00:00.000000"),
        ("epoch_ms", "1767607200123000", "Range"),
        ("epoch_s", "99999999999999999999999999999", "Range"),
        ("epoch_ns", "0.5", "Scale"),
        ("epoch_ms", "2026-01-05T10:00:00Z", "Form"),
        ("epoch_ms", "", "Form"),
        ("epoch_ms", "0x10", "Form"),
        ("epoch_ms", "1_000", "Form"),
        ("epoch_s", "NaN", "Form"),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(read(pattern, text), expected, "{pattern} {text}");
    }
    assert_eq!(day("epoch_ms", "86400000"), "1970-01-02");
    assert_eq!(day("epoch_s", "-86400"), "1969-12-31");
    assert_eq!(day("epoch_ms", "86400001"), "Form");
}

/// Formats whose texts differ only where a leading zero is missing, or in case.
const EXACT: [&str; 9] = [
    "%Y-%m-%d %H:%M:%S%.3f",
    "%d.%m.%Y %H:%M:%S.%6f",
    "%Y%m%d%H%M%S%9f",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%b/%Y:%H:%M:%S",
    "%A, %B %d, %Y %H.%M.%S",
    "%Y-%j %H:%M:%S",
    "%G-W%V-%u %H:%M:%S",
    "%F %T",
];

fn padded(text: &str) -> String {
    let digits: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for (index, digit) in digits.iter().enumerate() {
        let is_digit = |at: Option<usize>| at.and_then(|at| digits.get(at)).is_some_and(char::is_ascii_digit);
        if digit.is_ascii_digit() && !is_digit(index.checked_sub(1)) && !is_digit(Some(index + 1)) {
            out.push('0');
        }
        out.push(*digit);
    }
    out.to_lowercase()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What chrono writes by a format is read by it as what it was.
    #[test]
    fn what_is_written_is_read(micros in YEAR_1..YEAR_10000, pattern in prop::sample::select(EXACT.to_vec())) {
        let at = DateTime::from_timestamp_micros(micros).unwrap();
        let text = at.format(pattern).to_string();
        let unit = if pattern.contains('6') || pattern.contains('9') { 1 } else if pattern.contains('3') { 1_000 } else { 1_000_000 };
        if (1..=9999).contains(&at.iso_week().year()) {
            prop_assert_eq!(timestamp(&text, Some(pattern)), Ok(micros.div_euclid(unit) * unit), "{}", text);
        }
    }

    /// Whatever is accepted is what the format writes of it: no text is read that the format forbids.
    #[test]
    fn what_is_read_would_be_written(
        micros in YEAR_1..YEAR_10000,
        pattern in prop::sample::select(EXACT.to_vec()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop::sample::select("0123456789 +-:./TZaePpM".chars().collect::<Vec<_>>())), 1..4),
    ) {
        let mut text: Vec<char> = DateTime::from_timestamp_micros(micros).unwrap().format(pattern).to_string().chars().collect();
        for (at, kind, character) in edits {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = character,
                1 => text.insert(at, character),
                _ => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        // Blanks around a value mean nothing.
        let text = text.trim_matches(' ').to_owned();
        if let Ok(micros) = timestamp(&text, Some(pattern)) {
            let written = DateTime::from_timestamp_micros(micros).unwrap().format(pattern).to_string();
            // Digits beyond the microsecond are cut.
            let cut = |text: String| if pattern.ends_with("%9f") { text[..20].to_owned() } else { text };
            // A day of the week has one digit, one of the year three.
            let other_widths = pattern.contains("%j") || pattern.contains("%u");
            let expected = if other_widths { text.to_lowercase() } else { padded(&text) };
            prop_assume!(!other_widths || text.len() == written.len());
            prop_assert_eq!(cut(expected), cut(written.to_lowercase()), "{}", pattern);
        }
    }

    /// Any text at all, without a panic; and the default form is what chrono's own RFC 3339 reader says.
    #[test]
    fn any_text(text in "\\PC{0,30}", pattern in prop::sample::select(EXACT.to_vec())) {
        let _ = timestamp(&text, Some(pattern));
        let _ = date(&text, None);
        if let (Ok(micros), Ok(theirs)) = (timestamp(&text, None), DateTime::parse_from_rfc3339(&text)) {
            prop_assert_eq!(micros, theirs.timestamp_micros());
        }
    }

    #[test]
    fn days_of_the_calendar(days in -719_162..2_932_897_i32) {
        let at = NaiveDate::from_num_days_from_ce_opt(days + 719_163).unwrap();
        let days = i64::from(days);
        prop_assert_eq!(date(&at.to_string(), None), Ok(days));
        prop_assert_eq!(date(&at.format("%Y-%j").to_string(), Some("%Y-%j")), Ok(days));
        if (1..=9999).contains(&at.iso_week().year()) {
            prop_assert_eq!(date(&at.format("%G-W%V-%u").to_string(), Some("%G-W%V-%u")), Ok(days));
        }
    }
}
