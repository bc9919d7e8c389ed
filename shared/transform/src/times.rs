//! Text to dates and instants: ISO 8601 as databases and languages print it, or the column's format, to the letter.
//!
//! Without a format: `YYYY-MM-DD`, and `YYYY-MM-DD(T| )HH:MM[:SS[(.|,)f…]][zone]` with any number of digits in the
//! fraction and a zone of `Z`, `±HH`, `±HHMM`, `±HH:MM` or `±HH:MM:SS`, or after a blank `UTC` or one of the numbers.

mod pattern;

use weir_contract::{Epoch, TimeFormat};

use crate::text::{Mismatch, decimal};

/// Days since 1970-01-01. Years 1 to 9999, as warehouses hold them.
#[inline]
pub(crate) fn date(text: &str, format: Option<&TimeFormat>) -> Result<i32, Mismatch> {
    match format {
        None if text.len() == 10 => iso_date(text.as_bytes()).ok_or(Mismatch::Form),
        None => Err(Mismatch::Form),
        Some(TimeFormat::Epoch(epoch)) => {
            let micros = instant(text, *epoch)?;
            if micros.rem_euclid(DAY_MICROS) != 0 {
                return Err(Mismatch::Form);
            }
            i32::try_from(micros / DAY_MICROS).map_err(|_| Mismatch::Range)
        }
        Some(TimeFormat::Pattern(pieces)) => pattern::date(text, pieces),
    }
}

/// Microseconds since 1970-01-01 UTC. Without a zone the text is UTC. Digits beyond the microsecond are cut (clocks of
/// .NET and Go write seven and nine).
#[inline]
pub(crate) fn timestamp(text: &str, format: Option<&TimeFormat>) -> Result<i64, Mismatch> {
    match format {
        None => in_years(iso_timestamp(text.as_bytes()).ok_or(Mismatch::Form)?),
        Some(TimeFormat::Epoch(epoch)) => instant(text, *epoch),
        Some(TimeFormat::Pattern(pieces)) => pattern::timestamp(text, pieces),
    }
}

const DAY_MICROS: i64 = 86_400_000_000;
const YEAR_1: i64 = -62_135_596_800_000_000;
const YEAR_10000: i64 = 253_402_300_800_000_000;

#[inline]
fn in_years(micros: i64) -> Result<i64, Mismatch> {
    if (YEAR_1..YEAR_10000).contains(&micros) { Ok(micros) } else { Err(Mismatch::Range) }
}

/// A number of units since 1970, with a fraction or without, to nanoseconds; what is beyond a microsecond is cut.
fn instant(text: &str, epoch: Epoch) -> Result<i64, Mismatch> {
    let nanos = decimal(text, 38, epoch.places())?;
    in_years(i64::try_from(nanos.div_euclid(1_000)).map_err(|_| Mismatch::Range)?)
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let tens = text.get(at)?.wrapping_sub(b'0');
    let ones = text.get(at + 1)?.wrapping_sub(b'0');
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

#[inline]
fn iso_date(text: &[u8]) -> Option<i32> {
    if text.get(4) != Some(&b'-') || text.get(7) != Some(&b'-') {
        return None;
    }
    civil(two(text, 0)? * 100 + two(text, 2)?, two(text, 5)?, two(text, 8)?)
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// A day of the calendar, of the years from 1 on.
#[inline]
fn civil(year: u32, month: u32, day: u32) -> Option<i32> {
    let length = match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > length || year == 0 {
        return None;
    }
    Some(days_from_civil(year.cast_signed(), month.cast_signed(), day.cast_signed()))
}

/// Howard Hinnant's algorithm: the year starts in March, so that the leap day is its last.
#[inline]
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = year - i32::from(month <= 2);
    let era = year / 400;
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn iso_timestamp(text: &[u8]) -> Option<i64> {
    let days = i64::from(iso_date(text.get(..10)?)?);
    if !matches!(text.get(10)?, b'T' | b't' | b' ') || text.get(13)? != &b':' {
        return None;
    }
    let (hour, minute) = (two(text, 11)?, two(text, 14)?);
    let mut rest = &text[16..];
    let (mut second, mut micros) = (0, 0);
    if let [b':', after @ ..] = rest {
        second = two(after, 0)?;
        rest = &after[2..];
        if let [b'.' | b',', digits @ ..] = rest {
            let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 {
                return None;
            }
            micros = fraction(&digits[..count]);
            rest = &digits[count..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second) - zone(rest)?;
    Some(seconds * 1_000_000 + micros)
}

/// The microseconds that the digits behind a point are.
#[inline]
fn fraction(digits: &[u8]) -> i64 {
    let digit = |index: usize| digits.get(index).map_or(0, |byte| i64::from(byte - b'0'));
    (0..6).fold(0, |value, index| value * 10 + digit(index))
}

/// Seconds east of UTC.
#[inline]
fn zone(text: &[u8]) -> Option<i64> {
    match text {
        [] | [b'Z' | b'z'] | [b' ', b'U', b'T', b'C'] => return Some(0),
        _ => {}
    }
    // As SQL Server and Ruby print it.
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, digits) = sign(text)?;
    let (hours, minutes, seconds) = match digits {
        [_, _] => (two(digits, 0)?, 0, 0),
        [_, _, _, _] => (two(digits, 0)?, two(digits, 2)?, 0),
        [_, _, b':', _, _] => (two(digits, 0)?, two(digits, 3)?, 0),
        [_, _, b':', _, _, b':', _, _] => (two(digits, 0)?, two(digits, 3)?, two(digits, 6)?),
        _ => return None,
    };
    offset(sign, hours, minutes, seconds)
}

fn sign(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        [b'+', digits @ ..] => Some((1, digits)),
        [b'-', digits @ ..] => Some((-1, digits)),
        _ => None,
    }
}

fn offset(sign: i64, hours: u32, minutes: u32, seconds: u32) -> Option<i64> {
    (hours <= 23 && minutes <= 59 && seconds <= 59).then(|| sign * i64::from(hours * 3_600 + minutes * 60 + seconds))
}
