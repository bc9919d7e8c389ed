//! Logical types as text: total, so that no value of the base type is lost or changed.

use std::fmt;

/// ISO 8601; years beyond four digits have their sign. Days since 1970-01-01.
pub(super) struct Date(pub(super) i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0);
        match year {
            0..=9999 => write!(f, "{year:04}-{month:02}-{day:02}"),
            10_000.. => write!(f, "+{year}-{month:02}-{day:02}"),
            _ => write!(f, "-{:04}-{month:02}-{day:02}", year.unsigned_abs()),
        }
    }
}

/// Howard Hinnant's algorithm: the year starts in March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// So many units of a second since midnight.
pub(super) struct Time(pub(super) i64, pub(super) i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, per_second) = self;
        let (seconds, rest) = (value.div_euclid(*per_second), value.rem_euclid(*per_second));
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:06}", rest * (1_000_000 / per_second))
    }
}

/// So many units of a second since 1970-01-01; with the zone `Z` if it is an instant.
pub(super) struct Timestamp {
    pub(super) value: i64,
    pub(super) per_second: i64,
    pub(super) zoned: bool,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, per_second, zoned } = self;
        let (seconds, rest) = (value.div_euclid(*per_second), value.rem_euclid(*per_second));
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let nanos = rest * (1_000_000_000 / per_second);
        let zone = if *zoned { "Z" } else { "" };
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}.{nanos:09}{zone}", Date(day))
    }
}

impl Timestamp {
    /// The same text, for the years 0 to 9999, and its length.
    pub(super) fn digits(&self) -> Option<([u8; 30], usize)> {
        let (seconds, rest) = (self.value.div_euclid(self.per_second), self.value.rem_euclid(self.per_second));
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, date) = civil(day);
        if !(0..=9999).contains(&year) {
            return None;
        }
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut write = |at: std::ops::Range<usize>, mut value: i64| {
            for byte in text[at].iter_mut().rev() {
                *byte = b'0' + u8::try_from(value % 10).unwrap_or_default();
                value /= 10;
            }
        };
        write(0..4, year);
        write(5..7, month);
        write(8..10, date);
        write(11..13, second / 3_600);
        write(14..16, second / 60 % 60);
        write(17..19, second % 60);
        write(20..29, rest * (1_000_000_000 / self.per_second));
        Some((text, if self.zoned { 30 } else { 29 }))
    }
}

/// Months, days and milliseconds, as ISO 8601.
pub(super) struct Duration(pub(super) [u8; 12]);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |at: usize| u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]]);
        let (months, days, millis) = (part(0), part(4), part(8));
        write!(f, "P{months}M{days}DT{}.{:03}S", millis / 1_000, millis % 1_000)
    }
}

pub(super) struct Uuid(pub(super) [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; 36];
        for (bytes, at) in [(0..4, 0), (4..6, 9), (6..8, 14), (8..10, 19), (10..16, 24)] {
            let digits = at..at + 2 * bytes.len();
            data_encoding::HEXLOWER.encode_mut(&self.0[bytes], &mut text[digits]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// All digits of a two's complement number of any width, its point `scale` digits from the right.
pub(super) fn decimal(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    // Of the sign's bytes one stays, so that the sign does.
    let padding = bytes.iter().take_while(|byte| **byte == fill).count();
    let rest = &bytes[padding..];
    let mut digits = if rest.len() < 16 {
        let mut wide = [fill; 16];
        wide[16 - rest.len()..].copy_from_slice(rest);
        i128::from_be_bytes(wide).unsigned_abs().to_string()
    } else {
        wide_digits(rest, negative)
    };
    if scale > 0 {
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        digits.insert(digits.len() - scale, '.');
    }
    if negative {
        digits.insert(0, '-');
    }
    digits
}

/// The digits of a magnitude, by dividing it by a billion again and again.
fn wide_digits(bytes: &[u8], negative: bool) -> String {
    const BILLION: u64 = 1_000_000_000;
    let mut limbs: Vec<u32> = bytes
        .rchunks(4)
        .rev()
        .map(|chunk| chunk.iter().fold(0, |limb, byte| limb << 8 | u32::from(if negative { !byte } else { *byte })))
        .collect();
    if negative {
        let mut carry = true;
        for limb in limbs.iter_mut().rev() {
            (*limb, carry) = limb.overflowing_add(u32::from(carry));
        }
        if carry {
            limbs.insert(0, 1);
        }
    }
    let mut groups = Vec::new();
    let mut first = limbs.iter().take_while(|limb| **limb == 0).count();
    while first < limbs.len() {
        let mut rest = 0_u64;
        for limb in &mut limbs[first..] {
            let value = rest << 32 | u64::from(*limb);
            *limb = u32::try_from(value / BILLION).unwrap_or_default();
            rest = value % BILLION;
        }
        groups.push(rest);
        first += limbs[first..].iter().take_while(|limb| **limb == 0).count();
    }
    let mut digits = groups.pop().unwrap_or_default().to_string();
    groups.iter().rev().for_each(|group| digits.push_str(&format!("{group:09}")));
    digits
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_beyond_calendars() {
        assert_eq!(Date(0).to_string(), "1970-01-01");
        assert_eq!(Date(2_932_896).to_string(), "9999-12-31");
        assert_eq!(Date(2_932_897).to_string(), "+10000-01-01");
        assert_eq!(Date(-719_529).to_string(), "-0001-12-31");
        assert_eq!(Date(i64::from(i32::MIN)).to_string(), "-5877641-06-23");
        let at = |value, per_second| Timestamp { value, per_second, zoned: true }.to_string();
        assert_eq!(at(-1, 1_000), "1969-12-31T23:59:59.999000000Z");
        assert_eq!(at(i64::MAX, 1_000), "+292278994-08-17T07:12:55.807000000Z");
        assert_eq!(at(i64::MIN, 1_000_000_000), "1677-09-21T00:12:43.145224192Z");
    }

    #[test]
    fn durations_and_uuids() {
        let mut bytes = [0; 12];
        (bytes[0], bytes[4], bytes[8], bytes[9]) = (14, 3, 0xe9, 3);
        assert_eq!(Duration(bytes).to_string(), "P14M3DT1.001S");
        assert_eq!(Uuid(*b"0123456789abcdef").to_string(), "30313233-3435-3637-3839-616263646566");
    }

    proptest! {
        #[test]
        fn instants_by_hand_are_what_the_formatter_writes(value: i64, small in -100_000_000_000_i64..200_000_000_000) {
            for (value, per_second) in [(value, 1_000), (value, 1_000_000), (value, 1_000_000_000), (small, 1_000)] {
                for zoned in [false, true] {
                    let instant = Timestamp { value, per_second, zoned };
                    if let Some((text, length)) = instant.digits() {
                        prop_assert_eq!(std::str::from_utf8(&text[..length]).unwrap(), instant.to_string());
                    }
                }
            }
            let years = -62_167_219_200_000..=253_402_300_799_999;
            let has = Timestamp { value: small * 1_000, per_second: 1_000, zoned: true }.digits().is_some();
            prop_assert_eq!(has, years.contains(&(small * 1_000)));
        }

        #[test]
        fn dates_as_chrono_has_them(days in -95_000_000_i64..95_000_000) {
            let date = NaiveDate::from_num_days_from_ce_opt(i32::try_from(days + 719_163).unwrap()).unwrap();
            prop_assert_eq!(civil(days), (i64::from(date.year()), i64::from(date.month()), i64::from(date.day())));
        }

        #[test]
        fn decimals_of_any_width(value: i128, scale in 0..50_usize, padding in 0..20_usize) {
            let fill = if value < 0 { 0xff } else { 0 };
            let bytes = [&vec![fill; padding][..], &value.to_be_bytes()].concat();
            let shown = decimal(&bytes, scale);
            let (sign, magnitude) = (if value < 0 { "-" } else { "" }, value.unsigned_abs().to_string());
            let padded = format!("{magnitude:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            let point = if scale > 0 { "." } else { "" };
            prop_assert_eq!(shown, format!("{sign}{whole}{point}{fraction}"));
        }

        /// By Horner's rule, digit by digit, in a base that has nothing to do with the other one.
        #[test]
        fn wide_decimals_are_what_their_digits_say(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let shown = decimal(&bytes, 0);
            let (negative, digits) = shown.strip_prefix('-').map_or((false, &*shown), |digits| (true, digits));
            let mut back = vec![0_u8; bytes.len() + 1];
            for digit in digits.bytes() {
                let mut carry = u16::from(digit - b'0');
                for byte in back.iter_mut().rev() {
                    let value = u16::from(*byte) * 10 + carry;
                    (*byte, carry) = (u8::try_from(value & 0xff).unwrap(), value >> 8);
                }
            }
            if negative {
                let mut carry = true;
                back.iter_mut().rev().for_each(|byte| (*byte, carry) = (!*byte).overflowing_add(u8::from(carry)));
            }
            let fill = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
            prop_assert_eq!(back, [&[fill][..], &bytes].concat());
        }
    }
}
