//! Reads a text by a column's format: every byte of it has to be what the format says.

use weir_contract::{Digits, Name, Number, Offset, Piece};

use super::{DAY_MICROS, civil, fraction, in_years, is_leap, offset, sign, two};
use crate::text::Mismatch;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Letters of a short name.
const SHORT: usize = 3;

pub(super) fn date(text: &str, pieces: &[Piece]) -> Result<i32, Mismatch> {
    let parts = read(text, pieces).ok_or(Mismatch::Form)?;
    parts.time().ok_or(Mismatch::Form)?;
    parts.day()
}

pub(super) fn timestamp(text: &str, pieces: &[Piece]) -> Result<i64, Mismatch> {
    let parts = read(text, pieces).ok_or(Mismatch::Form)?;
    let time = parts.time().ok_or(Mismatch::Form)?;
    in_years(i64::from(parts.day()?) * DAY_MICROS + time - parts.offset * 1_000_000)
}

/// What a text says. The contract's check has made sure that it says enough, and nothing twice.
#[derive(Debug, Default)]
struct Parts {
    year: u32,
    month: u32,
    day: u32,
    day_of_year: u32,
    iso_week: u32,
    /// Monday is 0.
    weekday: Option<u32>,
    hour: u32,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    micros: i64,
    /// Seconds east of UTC.
    offset: i64,
}

impl Parts {
    fn day(&self) -> Result<i32, Mismatch> {
        let day = if self.iso_week > 0 {
            self.day_of_week()?
        } else {
            let day = match self.day_of_year {
                0 => civil(self.year, self.month, self.day),
                of_year if of_year <= 365 + u32::from(is_leap(self.year)) => {
                    civil(self.year, 1, 1).map(|first| first + of_year.cast_signed() - 1)
                }
                _ => None,
            };
            day.ok_or(Mismatch::Form)?
        };
        // 1970-01-01 was a Thursday.
        match self.weekday {
            Some(weekday) if (day + 3).rem_euclid(7) != weekday.cast_signed() => Err(Mismatch::Form),
            _ => Ok(day),
        }
    }

    /// The Monday of week 1 is that of the week with 4 January in it.
    fn day_of_week(&self) -> Result<i32, Mismatch> {
        let monday = |year| civil(year, 1, 4).map(|day| day - (day + 3).rem_euclid(7));
        let (first, next) = (monday(self.year), monday(self.year + 1));
        let (Some(first), Some(next), Some(weekday)) = (first, next, self.weekday) else {
            return Err(Mismatch::Form);
        };
        let day = first + (self.iso_week.cast_signed() - 1) * 7 + weekday.cast_signed();
        match day < next {
            true => in_years(i64::from(day) * DAY_MICROS).map(|_| day),
            false => Err(Mismatch::Form), // the year has no week 53
        }
    }

    /// Microseconds of the day.
    fn time(&self) -> Option<i64> {
        let hour = match self.afternoon {
            None => self.hour,
            Some(_) if !(1..=12).contains(&self.hour) => return None,
            Some(afternoon) => self.hour % 12 + 12 * u32::from(afternoon),
        };
        if hour > 23 || self.minute > 59 || self.second > 59 {
            return None;
        }
        Some(i64::from(hour * 3_600 + self.minute * 60 + self.second) * 1_000_000 + self.micros)
    }

    fn set(&mut self, number: Number, value: u32) -> Option<()> {
        match number {
            Number::Year | Number::IsoYear => self.year = value,
            Number::YearOfCentury => self.year = if value < 69 { 2000 + value } else { 1900 + value },
            Number::IsoWeek => self.iso_week = (value > 0).then_some(value)?,
            Number::Month => self.month = value,
            Number::Day => self.day = value,
            Number::DayOfYear => self.day_of_year = (value > 0).then_some(value)?,
            Number::WeekdayFromMonday => self.weekday = Some((1..=7).contains(&value).then(|| value - 1)?),
            Number::WeekdayFromSunday => self.weekday = Some((value <= 6).then_some((value + 6) % 7)?),
            Number::Hour | Number::HourOf12 => self.hour = value,
            Number::Minute => self.minute = value,
            Number::Second => self.second = value,
        }
        Some(())
    }

    fn name(&mut self, name: Name, text: &[u8]) -> Option<usize> {
        let of = |names: &[&str], short: bool| {
            names.iter().zip(0..).find_map(|(name, index)| {
                let name = if short { name.get(..SHORT)? } else { name };
                begins(text, name).then_some((index, name.len()))
            })
        };
        let (index, length) = match name {
            Name::ShortMonth => of(&MONTHS, true)?,
            Name::Month => of(&MONTHS, false)?,
            Name::ShortWeekday => of(&WEEKDAYS, true)?,
            Name::Weekday => of(&WEEKDAYS, false)?,
            Name::Half => of(&["AM", "PM"], false)?,
        };
        match name {
            Name::ShortMonth | Name::Month => self.month = index + 1,
            Name::ShortWeekday | Name::Weekday => self.weekday = Some(index),
            Name::Half => self.afternoon = Some(index == 1),
        }
        Some(length)
    }
}

/// In any case.
fn begins(text: &[u8], name: &str) -> bool {
    text.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name.as_bytes()))
}

fn read(text: &str, pieces: &[Piece]) -> Option<Parts> {
    let mut parts = Parts::default();
    let mut rest = text.as_bytes();
    for piece in pieces {
        let length = match piece {
            Piece::Literal(literal) => rest.starts_with(literal.as_bytes()).then_some(literal.len())?,
            Piece::Number(number, digits) => {
                let (value, length) = self::number(rest, *digits)?;
                parts.set(*number, value)?;
                length
            }
            Piece::Name(name) => parts.name(*name, rest)?,
            Piece::Fraction(form) => {
                let point = usize::from(form.point && rest.first() == Some(&b'.'));
                let digits = digits_of(&rest[point..], form.most);
                if form.point && point == 0 && form.optional {
                    0
                } else if usize::from(form.point) != point || digits < form.least {
                    return None;
                } else {
                    parts.micros = fraction(&rest[point..point + digits]);
                    point + digits
                }
            }
            Piece::Offset(form) => {
                let (seconds, length) = zone(rest, *form)?;
                parts.offset = seconds;
                length
            }
        };
        rest = rest.get(length..)?;
    }
    rest.is_empty().then_some(parts)
}

/// How many digits there are, up to `most`.
fn digits_of(text: &[u8], most: usize) -> usize {
    text.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count()
}

/// A number and its length in characters.
fn number(text: &[u8], digits: Digits) -> Option<(u32, usize)> {
    let (width, blanks) = match digits {
        Digits::Exactly(width) | Digits::Padded(width) | Digits::Plain(width) => (width, 0),
        Digits::Blank(width) => (width, text.iter().take(width - 1).take_while(|byte| **byte == b' ').count()),
    };
    let text = &text[blanks..];
    let count = digits_of(text, width - blanks);
    let sound = match digits {
        Digits::Exactly(width) => count == width,
        Digits::Padded(_) => count > 0,
        Digits::Plain(_) => count > 0 && (count == 1 || text[0] != b'0'),
        Digits::Blank(width) => {
            count > 0 && (count == 1 || text[0] != b'0') && (blanks == 0 || blanks + count == width)
        }
    };
    let value = text[..count].iter().fold(0, |value, byte| value * 10 + u32::from(byte - b'0'));
    sound.then_some((value, blanks + count))
}

/// Seconds east of UTC, and the length in characters.
fn zone(text: &[u8], form: Offset) -> Option<(i64, usize)> {
    if text.first() == Some(&b'Z') && matches!(form, Offset::Any | Offset::Any4 | Offset::Rfc3339) {
        return Some((0, 1));
    }
    let (sign, text) = sign(text)?;
    let hours = two(text, 0)?;
    let colon = text.get(2) == Some(&b':');
    let minutes = || two(text, 2 + usize::from(colon));
    let (minutes, seconds, length) = match (form, colon) {
        (Offset::Hours, _) => (0, 0, 2),
        (Offset::Seconds, true) if text.get(5) == Some(&b':') => (two(text, 3)?, two(text, 6)?, 8),
        (Offset::Seconds, _) | (Offset::Colon | Offset::Rfc3339, false) => return None,
        (Offset::Any4 | Offset::Any | Offset::Colon | Offset::Rfc3339, true) => (minutes()?, 0, 5),
        (Offset::Any, false) if minutes().is_none() => (0, 0, 2),
        (Offset::Any4 | Offset::Any, false) => (minutes()?, 0, 4),
    };
    Some((offset(sign, hours, minutes, seconds)?, 1 + length))
}
