//! Dates, timestamps and decimals as text, written into a reused buffer: these run once per value.

use std::fmt::Write;

const DAY_US: i64 = 86_400_000_000;

/// `YYYY-MM-DD` for days since 1970-01-01. Years outside 0 to 9999 get a sign, as ISO 8601 has it.
pub(super) fn date(out: &mut String, days: i64) {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        digits(out, year.unsigned_abs(), 4);
    } else {
        let _ = write!(out, "{year:+05}");
    }
    out.push('-');
    digits(out, month, 2);
    out.push('-');
    digits(out, day, 2);
}

/// `YYYY-MM-DDTHH:MM:SS.ffffffZ` for microseconds since 1970-01-01.
pub(super) fn timestamp(out: &mut String, micros: i64) {
    date(out, micros.div_euclid(DAY_US));
    let rest = micros.rem_euclid(DAY_US).unsigned_abs();
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    for (mark, value, width) in
        [('T', seconds / 3600, 2), (':', seconds / 60 % 60, 2), (':', seconds % 60, 2), ('.', fraction, 6)]
    {
        out.push(mark);
        digits(out, value, width);
    }
    out.push('Z');
}

/// `unscaled / 10^scale` with all digits of the scale, such as `-0.0500`.
pub(crate) fn decimal(out: &mut String, unscaled: i128, scale: usize) {
    if unscaled < 0 {
        out.push('-');
    }
    let magnitude = unscaled.unsigned_abs();
    let start = out.len();
    let _ = write!(out, "{magnitude:0width$}", width = scale + 1);
    if scale > 0 {
        let point = out.len() - scale;
        debug_assert!(point > start);
        out.insert(point, '.');
    }
}

fn digits(out: &mut String, mut value: u64, width: usize) {
    let mut buffer = [b'0'; 8];
    let buffer = &mut buffer[..width];
    for place in buffer.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend(buffer.iter().map(|digit| char::from(*digit)));
}

/// Proleptic Gregorian year, month and day (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}
