//! Checks of date and time patterns in chrono's notation, without chrono: each specifier is one that chrono can parse,
//! and together they say enough to make a date or a timestamp.

use crate::model::DataType;

const MAX_PATTERN_BYTES: usize = 64;

/// What the specifiers seen so far determine.
#[derive(Debug, Default)]
struct Known {
    year: bool,
    month: bool,
    day: bool,
    day_of_year: bool,
    iso_year: bool,
    iso_week: bool,
    weekday: bool,
    hour: bool,
    hour_of_12: bool,
    half_of_day: bool,
    minute: bool,
}

/// Why `pattern` cannot read a column of type `data_type`, which is a date or a timestamp.
pub(crate) fn check(pattern: &str, data_type: DataType) -> Result<(), String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("has {} bytes: at most {MAX_PATTERN_BYTES} are allowed", pattern.len()));
    }
    let mut known = Known::default();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let specifier = &rest[at + 1..];
        let length = known.take(specifier).ok_or_else(|| wrong_specifier(specifier))?;
        rest = &specifier[length..];
    }
    if !known.is_date() {
        return Err("does not say year, month and day (as `%Y-%m-%d` does)".to_owned());
    }
    if data_type == DataType::Timestamp && !known.is_time() {
        return Err("does not say hour and minute (as `%Y-%m-%dT%H:%M:%S` does)".to_owned());
    }
    Ok(())
}

impl Known {
    /// Notes the specifier at the head of `text` (after the `%`) and returns its length in bytes.
    fn take(&mut self, text: &str) -> Option<usize> {
        const FRACTIONS_AND_OFFSETS: [&str; 11] =
            [".3f", ".6f", ".9f", ".f", "3f", "6f", "9f", ":::z", "::z", ":z", "#z"];
        if let Some(known) = FRACTIONS_AND_OFFSETS.iter().find(|known| text.starts_with(**known)) {
            return Some(known.len());
        }
        let (padding, letter) = match text.strip_prefix(['-', '_', '0']) {
            Some(after) => (1, after.chars().next()?),
            None => (0, text.chars().next()?),
        };
        let numeric = "CyYqmdewuUWGgVjHkIlMSfs".contains(letter);
        if padding == 1 && !numeric {
            return None;
        }
        self.note(letter).then_some(padding + letter.len_utf8())
    }

    fn note(&mut self, letter: char) -> bool {
        match letter {
            'Y' | 'y' => self.year = true,
            'm' | 'b' | 'B' | 'h' => self.month = true,
            'd' | 'e' => self.day = true,
            'j' => self.day_of_year = true,
            'G' | 'g' => self.iso_year = true,
            'V' => self.iso_week = true,
            'a' | 'A' | 'u' | 'w' => self.weekday = true,
            'D' | 'x' | 'F' | 'v' => self.date(),
            'H' | 'k' => self.hour = true,
            'I' | 'l' => self.hour_of_12 = true,
            'P' | 'p' => self.half_of_day = true,
            'M' => self.minute = true,
            'R' | 'T' | 'X' | 'r' => self.time(),
            'c' | '+' | 's' => {
                self.date();
                self.time();
            }
            // They narrow nothing down by themselves: century, quarter, week, second, fraction, offset, blanks.
            'C' | 'q' | 'U' | 'W' | 'S' | 'f' | 'z' | 't' | 'n' | '%' => {}
            _ => return false,
        }
        true
    }

    fn date(&mut self) {
        (self.year, self.month, self.day) = (true, true, true);
    }

    fn time(&mut self) {
        (self.hour, self.minute) = (true, true);
    }

    fn is_date(&self) -> bool {
        let calendar = self.year && (self.month && self.day || self.day_of_year);
        calendar || self.iso_year && self.iso_week && self.weekday
    }

    fn is_time(&self) -> bool {
        (self.hour || self.hour_of_12 && self.half_of_day) && self.minute
    }
}

fn wrong_specifier(text: &str) -> String {
    match text.chars().next() {
        None => "ends in a lone `%`; write `%%` for a percent sign".to_owned(),
        Some('Z') => {
            "has `%Z`, but names of time zones are ambiguous; use `%z` (`+0100`) or `%:z` (`+01:00`)".to_owned()
        }
        Some(_) => {
            let length = if text.starts_with(['-', '_', '0']) { 2 } else { 1 };
            let shown: String = text.chars().take(length).flat_map(char::escape_default).collect();
            format!("has the unknown specifier `%{shown}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::model::DataType::{self, Date, Timestamp};

    #[test]
    fn accepts_what_chrono_can_parse() {
        let cases: [(DataType, &str); 14] = [
            (Date, "%Y-%m-%d"),
            (Date, "%d.%m.%y"),
            (Date, "%-d/%-m/%Y"),
            (Date, "%e %B %Y"),
            (Date, "%F"),
            (Date, "%Y%j"),
            (Date, "%G-W%V-%u"),
            (Date, "100%% %D"),
            (Timestamp, "%Y-%m-%dT%H:%M:%S%.fZ"),
            (Timestamp, "%Y-%m-%d %T%.3f %:z"),
            (Timestamp, "%d/%b/%Y:%H:%M:%S %z"),
            (Timestamp, "%m/%d/%Y %I:%M %p"),
            (Timestamp, "%s"),
            (Timestamp, "%+"),
        ];
        for (data_type, pattern) in cases {
            assert_eq!(check(pattern, data_type), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn explains_what_is_wrong() {
        let cases = [
            (Date, "yyyy-MM-dd", "does not say year, month and day"),
            (Date, "%Y-%m", "does not say year, month and day"),
            (Date, "%Y-%m-%d %", "lone `%`"),
            (Date, "%Y-%m-%d %N", "unknown specifier `%N`"),
            (Date, "%-F", "unknown specifier `%-F`"),
            (Date, "%Y-%m-%é", "unknown specifier"),
            (Timestamp, "%Y-%m-%d", "does not say hour and minute"),
            (Timestamp, "%Y-%m-%d %I:%M", "does not say hour and minute"),
            (Timestamp, "%F %T %Z", "`%Z`"),
        ];
        for (data_type, pattern, expected) in cases {
            let message = check(pattern, data_type).expect_err(pattern);
            assert!(message.contains(expected), "{pattern}: {message}");
        }
        assert!(check(&"%F".repeat(40), Date).is_err());
    }
}
