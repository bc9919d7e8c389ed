//! Text to value, for every type but strings and times (see [`crate::times`]): the one grammar of CSV fields, JSON values and text columns of Parquet.
//!
//! Nothing is rounded, wrapped or guessed: a text that is not exactly a value of the type is a [`Mismatch`].

use data_encoding::BASE64;
use weir_contract::{DataType, TimeFormat};

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

/// Whether a text is a value of a type, as a field of a CSV file or a string of JSON would be.
pub fn reads_as(text: &str, data_type: DataType, format: Option<&TimeFormat>) -> bool {
    let trimmed = trim(text);
    match data_type {
        DataType::String => !text.contains('\0'),
        DataType::Long => long(trimmed).is_ok(),
        DataType::Integer => long(trimmed).is_ok_and(|value| i32::try_from(value).is_ok()),
        DataType::Short => long(trimmed).is_ok_and(|value| i16::try_from(value).is_ok()),
        DataType::Byte => long(trimmed).is_ok_and(|value| i8::try_from(value).is_ok()),
        DataType::Double => double(trimmed).is_ok(),
        DataType::Float => float(trimmed).is_ok(),
        DataType::Decimal { precision, scale } => decimal(trimmed, precision, scale).is_ok(),
        DataType::Boolean => boolean(trimmed).is_ok(),
        DataType::Date => crate::times::date(trimmed, format).is_ok(),
        DataType::Timestamp => crate::times::timestamp(trimmed, format).is_ok(),
        DataType::Binary => BASE64.decode(trimmed.as_bytes()).is_ok(),
    }
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
pub(crate) fn power_of_ten(exponent: u32) -> Option<i128> {
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
