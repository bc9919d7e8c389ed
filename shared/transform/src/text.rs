//! Text to value, for every type but strings: the one grammar of CSV fields, JSON values and text columns of Parquet.
//!
//! Nothing is rounded, wrapped or guessed: a text that is not exactly a value of the type is a [`Mismatch`].

use std::fmt::Write;

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Datelike, NaiveDate};

/// Why a text is not a value of its column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mismatch {
    /// Not of the type's form.
    Form,
    /// Of the form, but the type cannot hold it.
    Range,
    /// A decimal with digits beyond the scale.
    Scale,
}

/// A contract's date or timestamp pattern, compiled once.
pub(crate) type Pattern = Vec<Item<'static>>;

/// Compiles chrono's `strftime` pattern, and makes sure that it gives a whole value: what it writes it must read.
pub(crate) fn pattern(text: &str, whole: impl Fn(&str, &Pattern) -> bool) -> Result<Pattern, String> {
    let problem =
        |why: &str| format!("`{text}` is not a usable date pattern ({why}); write one like %d.%m.%Y %H:%M:%S");
    let items = StrftimeItems::new(text).parse_to_owned().map_err(|_| problem("unknown specifier"))?;
    if items.iter().any(|item| matches!(item, Item::Error)) {
        return Err(problem("unknown specifier"));
    }
    let mut sample = String::new();
    let written = write!(sample, "{}", DateTime::UNIX_EPOCH.format_with_items(items.iter()));
    if written.is_err() || !whole(&sample, &items) {
        return Err(problem("it does not hold every part of the value"));
    }
    Ok(items)
}

/// Without the spaces and tabs around it. They mean nothing around a number, a date or a boolean.
#[inline]
pub(crate) fn trim(text: &str) -> &str {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    // Hardly a value is padded, and `trim_matches` decodes characters.
    if blank(bytes.first()) || blank(bytes.last()) { text.trim_matches([' ', '\t']) } else { text }
}

/// `[+-]?[0-9]+` within 64 bits.
#[inline]
pub(crate) fn long(text: &str) -> Result<i64, Mismatch> {
    let (negative, digits) = sign(text.as_bytes());
    if digits.is_empty() {
        return Err(Mismatch::Form);
    }
    let magnitude = if digits.len() <= 18 { short_digits(digits)? } else { long_digits(digits)? };
    let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { 0_i64.checked_add_unsigned(magnitude) };
    value.ok_or(Mismatch::Range)
}

#[inline]
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Up to 18 digits, which cannot overflow.
#[inline]
fn short_digits(digits: &[u8]) -> Result<u64, Mismatch> {
    let mut value = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Mismatch::Form);
        }
        value = value * 10 + u64::from(digit);
    }
    Ok(value)
}

fn long_digits(digits: &[u8]) -> Result<u64, Mismatch> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Mismatch::Form);
    }
    let add = |value: u64, byte: &u8| value.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
    digits.iter().try_fold(0_u64, add).ok_or(Mismatch::Range)
}

/// A finite number. `NaN` and infinities have no place in JSON, in statistics or in a sum, so they are refused.
#[inline]
pub(crate) fn double(text: &str) -> Result<f64, Mismatch> {
    numeric(text)?;
    let value: f64 = text.parse().map_err(|_| Mismatch::Form)?;
    if value.is_finite() { Ok(value) } else { Err(Mismatch::Range) }
}

/// As [`double`], to the nearest 32-bit value.
#[inline]
pub(crate) fn float(text: &str) -> Result<f32, Mismatch> {
    numeric(text)?;
    let value: f32 = text.parse().map_err(|_| Mismatch::Form)?;
    if value.is_finite() { Ok(value) } else { Err(Mismatch::Range) }
}

/// Refuses the words (`inf`, `nan`) that Rust's own parser would take.
#[inline]
fn numeric(text: &str) -> Result<(), Mismatch> {
    match sign(text.as_bytes()).1.first() {
        Some(byte) if byte.is_ascii_digit() || *byte == b'.' => Ok(()),
        _ => Err(Mismatch::Form),
    }
}

/// A decimal as its digits, scaled: `12.5` with scale 2 is 1250. Digits beyond the scale must be zeros.
#[inline]
pub(crate) fn decimal(text: &str, precision: u8, scale: u8) -> Result<i128, Mismatch> {
    let (negative, digits) = sign(text.as_bytes());
    let magnitude = match plain_decimal(digits, scale) {
        Some(value) => value,
        None => any_decimal(digits, scale)?,
    };
    if power_of_ten(u32::from(precision)).is_some_and(|limit| magnitude >= limit) {
        return Err(Mismatch::Range);
    }
    Ok(if negative { -magnitude } else { magnitude })
}

/// The common form: up to 18 digits, one point at most, no more places than the scale. `None` asks for the full parser.
#[inline]
fn plain_decimal(digits: &[u8], scale: u8) -> Option<i128> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let (mut value, mut point) = (0_u64, None);
    for (index, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(index);
        } else {
            return None;
        }
    }
    let places = point.map_or(0, |index| digits.len() - 1 - index);
    let missing = usize::from(scale).checked_sub(places)?;
    let factor = *POWERS.get(missing)?;
    match u64::try_from(factor).ok().and_then(|factor| value.checked_mul(factor)) {
        Some(scaled) => Some(scaled.into()),
        None => i128::from(value).checked_mul(factor),
    }
}

/// `digits[.digits][e[+-]digits]`, with up to 38 significant digits.
fn any_decimal(text: &[u8], scale: u8) -> Result<i128, Mismatch> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[..0]),
    };
    let digits = || whole.iter().chain(fraction);
    if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
        return Err(Mismatch::Form);
    }
    let zeros = digits().rev().take_while(|byte| **byte == b'0').count();
    let significant = whole.len() + fraction.len() - zeros;
    let add = |value: i128, byte: &u8| value.checked_mul(10)?.checked_add(i128::from(byte - b'0'));
    let value = digits().take(significant).try_fold(0_i128, add).ok_or(Mismatch::Range)?;
    if value == 0 {
        return Ok(0);
    }
    let places = i64::from(scale) + exponent + i64_of(zeros) - i64_of(fraction.len());
    let factor = u32::try_from(places).map_err(|_| Mismatch::Scale)?;
    power_of_ten(factor).and_then(|factor| value.checked_mul(factor)).ok_or(Mismatch::Range)
}

fn i64_of(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX / 4)
}

fn exponent(text: &[u8]) -> Result<i64, Mismatch> {
    let (negative, digits) = sign(text);
    match digits.len() {
        0 => Err(Mismatch::Form),
        1..=9 => short_digits(digits).map(|value| if negative { -value.cast_signed() } else { value.cast_signed() }),
        _ => Err(Mismatch::Range),
    }
}

/// 10 to the power of the index. Up to 38 digits a decimal has.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// 10 to the `exponent`; `None` beyond 38 digits.
#[inline]
fn power_of_ten(exponent: u32) -> Option<i128> {
    POWERS.get(exponent as usize).copied()
}

/// `true` or `false`, in any case.
#[inline]
pub(crate) fn boolean(text: &str) -> Result<bool, Mismatch> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(Mismatch::Form)
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, or of the contract's pattern. Years 1 to 9999, as warehouses hold them.
#[inline]
pub(crate) fn date(text: &str, pattern: Option<&Pattern>) -> Result<i32, Mismatch> {
    match pattern {
        None if text.len() == 10 => iso_date(text.as_bytes()),
        None => Err(Mismatch::Form),
        Some(items) => {
            let mut parsed = Parsed::new();
            parse(&mut parsed, text, items.iter()).map_err(|_| Mismatch::Form)?;
            days(parsed.to_naive_date().map_err(|_| Mismatch::Form)?)
        }
    }
}

/// Days from 0001-01-01 (chrono's day 1) to 1970-01-01.
const EPOCH_DAY: i32 = 719_163;

fn days(date: NaiveDate) -> Result<i32, Mismatch> {
    if (1..=9999).contains(&date.year()) { Ok(date.num_days_from_ce() - EPOCH_DAY) } else { Err(Mismatch::Range) }
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let tens = text.get(at)?.wrapping_sub(b'0');
    let ones = text.get(at + 1)?.wrapping_sub(b'0');
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

#[inline]
fn iso_date(text: &[u8]) -> Result<i32, Mismatch> {
    let parts = || Some((two(text, 0)? * 100 + two(text, 2)?, two(text, 5)?, two(text, 8)?));
    if text.get(4) != Some(&b'-') || text.get(7) != Some(&b'-') {
        return Err(Mismatch::Form);
    }
    let (year, month, day) = parts().ok_or(Mismatch::Form)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(Mismatch::Form),
    };
    if day == 0 || day > length || year == 0 {
        return Err(Mismatch::Form);
    }
    Ok(days_from_civil(year.cast_signed(), month.cast_signed(), day.cast_signed()))
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

/// Microseconds since 1970-01-01 UTC of an RFC 3339 text, or of the contract's pattern. Without a zone it is UTC. Digits
/// beyond the microsecond are cut (clocks of .NET and Go write seven and nine).
#[inline]
pub(crate) fn timestamp(text: &str, pattern: Option<&Pattern>) -> Result<i64, Mismatch> {
    match pattern {
        None => iso_timestamp(text.as_bytes()).ok_or(Mismatch::Form),
        Some(items) => {
            let mut parsed = Parsed::new();
            parse(&mut parsed, text, items.iter()).map_err(|_| Mismatch::Form)?;
            // A pattern without a zone leaves the offset unset, and the text is UTC.
            let offset = parsed.offset().unwrap_or(0);
            let local = parsed.to_naive_datetime_with_offset(offset).map_err(|_| Mismatch::Form)?;
            days(local.date())?;
            Ok(local.and_utc().timestamp_micros() - i64::from(offset) * 1_000_000)
        }
    }
}

/// `YYYY-MM-DD(T| )HH:MM[:SS[.f…]][Z|±HH[:]MM]`.
fn iso_timestamp(text: &[u8]) -> Option<i64> {
    let days = i64::from(iso_date(text.get(..10)?).ok()?);
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
            let digit = |index: usize| digits[..count].get(index).map_or(0, |byte| i64::from(byte - b'0'));
            micros = (0..6).fold(0, |value, index| value * 10 + digit(index));
            rest = &digits[count..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second) - zone(rest)?;
    Some(seconds * 1_000_000 + micros)
}

/// Seconds east of UTC.
fn zone(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', digits @ ..] => (false, digits),
        [b'-', digits @ ..] => (true, digits),
        _ => return None,
    };
    let minutes = match digits {
        [_, _, b':', _, _] => two(digits, 3)?,
        [_, _, _, _] => two(digits, 2)?,
        _ => return None,
    };
    let hours = two(digits, 0)?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3_600 + minutes * 60);
    Some(if negative { -seconds } else { seconds })
}
