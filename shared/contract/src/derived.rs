//! Tables that are made of other tables, unit by unit: a day of sales, an hour of readings.
//!
//! What a row of the followed table belongs to is arithmetic and nothing else: a unit is a whole number (days, or
//! microseconds, since 1970, or the number itself), in order, and truncation never turns that order around. So the
//! statistics of a file say which units it may hold.

use chrono::{DateTime, Datelike, Months, NaiveDate};

use crate::model::{Contract, DataType, Source};

/// A table that SQL makes of other tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// One query over `follows` and `lookups`.
    pub sql: String,
    /// Line of `sql` in the contract file, for errors found later.
    pub line: usize,
    /// The dataset whose changes are followed.
    pub follows: String,
    /// Other datasets that the query reads, each whole.
    pub lookups: Vec<String>,
    pub on_lookup_change: OnLookupChange,
    pub unit: Unit,
}

/// What is made anew when some of it changes: all rows of the followed table with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The column of the derived table that holds the unit. The query finds it in the followed table.
    pub by: String,
    /// The column of the followed table that it is made of.
    pub of: String,
    pub every: Option<Every>,
}

/// What becomes of a derived table when a lookup changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLookupChange {
    /// All units are made anew.
    #[default]
    Refresh,
    /// Units take what is there when they are made.
    Keep,
}

/// A span that times are cut to, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    Hour,
    Day,
    Month,
    Year,
}

const US_PER_HOUR: i64 = 3_600_000_000;
const US_PER_DAY: i64 = 24 * US_PER_HOUR;

impl Every {
    /// The first microsecond of the span that an instant is in; both since 1970. Instants that no calendar has are
    /// their own spans.
    pub fn start_us(self, us: i64) -> i64 {
        let floor = |width: i64| us.div_euclid(width).checked_mul(width).unwrap_or(us);
        match self {
            Self::Hour => floor(US_PER_HOUR),
            Self::Day => floor(US_PER_DAY),
            Self::Month | Self::Year => {
                let date = DateTime::from_timestamp_micros(us).map(|time| time.date_naive());
                let first = date.and_then(|date| self.first_day(date)).and_then(|date| date.and_hms_opt(0, 0, 0));
                first.map_or(us, |time| time.and_utc().timestamp_micros())
            }
        }
    }

    /// The first day of the span that a day is in; both since 1970.
    pub fn start_day(self, day: i64) -> i64 {
        let date = i32::try_from(day).ok().and_then(NaiveDate::from_epoch_days);
        date.and_then(|date| self.first_day(date)).map_or(day, |date| i64::from(date.to_epoch_days()))
    }

    fn first_day(self, date: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Hour | Self::Day => Some(date),
            Self::Month => date.with_day(1),
            Self::Year => date.with_day(1)?.checked_sub_months(Months::new(date.month0())),
        }
    }
}

impl Unit {
    /// The unit of a value of [`Unit::of`], whose type in the followed table is `of`, as a value of [`Unit::by`] of type
    /// `by`: days or microseconds since 1970, or a whole number.
    pub fn start(&self, value: i64, of: DataType, by: DataType) -> i64 {
        match (of, by) {
            (DataType::Date, _) => self.every.map_or(value, |every| every.start_day(value)),
            (DataType::Timestamp, DataType::Date) => {
                let start = self.every.unwrap_or(Every::Day).start_us(value);
                start.div_euclid(US_PER_DAY)
            }
            (DataType::Timestamp, _) => self.every.map_or(value, |every| every.start_us(value)),
            _ => value,
        }
    }

    /// How a unit is called, as the `_source` of its rows; dates and times as people write them.
    pub fn source(&self, unit: Option<i64>, by: DataType) -> String {
        let Self { by: column, .. } = self;
        let Some(unit) = unit else { return format!("derived:{column} is null") };
        let text = match by {
            DataType::Date => {
                let date = i32::try_from(unit).ok().and_then(NaiveDate::from_epoch_days);
                date.map(|date| date.to_string())
            }
            DataType::Timestamp => {
                let time = DateTime::from_timestamp_micros(unit);
                time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
            }
            _ => None,
        };
        format!("derived:{column}={}", text.unwrap_or_else(|| unit.to_string()))
    }

    /// Why units of such a column cannot be values of such a column; `None` when they can.
    pub(crate) fn misfit(&self, of: DataType, by: DataType) -> Option<String> {
        use DataType::{Byte, Date, Integer, Long, Short, Timestamp};
        let fits = match (of, by) {
            (Date, Date) => self.every != Some(Every::Hour),
            (Timestamp, Date) => matches!(self.every, Some(Every::Day | Every::Month | Every::Year)),
            (Timestamp, Timestamp) => true,
            (Long | Integer | Short | Byte, Long | Integer | Short | Byte) => self.every.is_none(),
            _ => false,
        };
        (!fits).then(|| {
            let every = match self.every {
                None => "no `every`".to_owned(),
                Some(every) => format!("`every = \"{}\"`", every.name()),
            };
            format!(
                "is {of}, and `{}` is {by} with {every}: a unit is a whole number, a date, or a time; of a timestamp it is a \
                 timestamp, or a date with `every`",
                self.by
            )
        })
    }
}

impl Every {
    /// As a contract writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

impl Contract {
    /// What a derived table is made of; `None` for a dataset whose records come from outside.
    pub fn derived(&self) -> Option<&Derived> {
        match &self.source {
            Source::Derived(derived) => Some(derived),
            Source::Blob { .. } | Source::Events { .. } => None,
        }
    }
}

impl Derived {
    /// The datasets that the query reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.follows.as_str()).chain(self.lookups.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(every: Option<Every>) -> Unit {
        Unit { by: "day".to_owned(), of: "at".to_owned(), every }
    }

    fn us(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect(text).timestamp_micros()
    }

    #[test]
    fn times_are_cut_to_spans() {
        let at = us("2024-02-29T23:59:59.999999Z");
        for (every, start) in [
            (Every::Hour, "2024-02-29T23:00:00Z"),
            (Every::Day, "2024-02-29T00:00:00Z"),
            (Every::Month, "2024-02-01T00:00:00Z"),
            (Every::Year, "2024-01-01T00:00:00Z"),
        ] {
            assert_eq!(every.start_us(at), us(start), "{every:?}");
        }
        // Before 1970 a span begins before, too.
        assert_eq!(Every::Hour.start_us(-1), -US_PER_HOUR);
        assert_eq!(unit(Some(Every::Day)).start(-1, DataType::Timestamp, DataType::Date), -1);
        assert_eq!(unit(Some(Every::Month)).start(31, DataType::Date, DataType::Date), 31);
        assert_eq!(unit(Some(Every::Month)).start(30, DataType::Date, DataType::Date), 0);
        assert_eq!(unit(None).start(7, DataType::Long, DataType::Long), 7);
    }

    #[test]
    fn units_have_names() {
        let unit = unit(None);
        assert_eq!(unit.source(Some(19_782), DataType::Date), "derived:day=2024-02-29");
        assert_eq!(
            unit.source(Some(us("2024-02-29T23:00:00Z")), DataType::Timestamp),
            "derived:day=2024-02-29T23:00:00Z"
        );
        assert_eq!(unit.source(Some(-7), DataType::Long), "derived:day=-7");
        assert_eq!(unit.source(None, DataType::Long), "derived:day is null");
    }

    proptest! {
        /// What pruning by statistics rests on.
        #[test]
        fn spans_keep_the_order_and_begin_with_themselves(a: i64, b: i64, which in 0_usize..4) {
            let every = [Every::Hour, Every::Day, Every::Month, Every::Year][which];
            // All years that a timestamp can have in every engine.
            let (a, b) = (a % (8_000 * 366 * US_PER_DAY), b % (8_000 * 366 * US_PER_DAY));
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(every.start_us(low) <= every.start_us(high));
            prop_assert!(every.start_us(low) <= low);
            prop_assert_eq!(every.start_us(every.start_us(low)), every.start_us(low));
            let unit = unit(Some(every));
            prop_assert_eq!(
                unit.start(low, DataType::Timestamp, DataType::Date),
                unit.start(low.div_euclid(US_PER_DAY), DataType::Date, DataType::Date)
            );
        }
    }
}
