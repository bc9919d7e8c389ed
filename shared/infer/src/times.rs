//! The ways in which people write dates and times, as formats of a contract. Those that mean the same are not listed twice.

use std::sync::OnceLock;

use weir_contract::{DataType, TimeFormat};

/// A format that texts may have.
#[derive(Debug)]
pub(crate) struct Written {
    /// As a contract says it; `None`: the form that needs no format.
    pub(crate) format: Option<String>,
    pub(crate) data_type: DataType,
    pub(crate) parsed: Option<TimeFormat>,
    pub(crate) order: Order,
}

/// Whether the day or the month comes first where both are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Told,
    DayFirst,
    MonthFirst,
}

const DATES: [(&str, Order); 24] = [
    ("%Y-%m-%d", Order::Told),
    ("%Y/%m/%d", Order::Told),
    ("%Y.%m.%d", Order::Told),
    ("%d.%m.%Y", Order::Told),
    ("%d/%m/%Y", Order::DayFirst),
    ("%m/%d/%Y", Order::MonthFirst),
    ("%d-%m-%Y", Order::DayFirst),
    ("%m-%d-%Y", Order::MonthFirst),
    ("%d %b %Y", Order::Told),
    ("%d %B %Y", Order::Told),
    ("%d-%b-%Y", Order::Told),
    ("%d/%b/%Y", Order::Told),
    ("%b %d %Y", Order::Told),
    ("%b %d, %Y", Order::Told),
    ("%B %d, %Y", Order::Told),
    ("%B %d %Y", Order::Told),
    ("%a, %d %b %Y", Order::Told),
    ("%A, %B %d, %Y", Order::Told),
    ("%d.%m.%y", Order::Told),
    ("%d/%m/%y", Order::DayFirst),
    ("%m/%d/%y", Order::MonthFirst),
    ("%d-%b-%y", Order::Told),
    ("%b-%d-%y", Order::Told),
    ("%Y%m%d", Order::Told),
];

const CLOCKS: [&str; 10] = [
    "%H:%M:%S",
    "%H:%M",
    "%H:%M:%S%.f",
    "%H:%M:%S,%f",
    "%I:%M:%S %p",
    "%I:%M %p",
    "%I:%M:%S%p",
    "%I:%M%p",
    "%H:%M:%S %z",
    "%H:%M:%S%#z",
];

/// Between a date and a clock.
const BETWEEN: [&str; 3] = [" ", "T", ", "];

/// Forms of whole instants that are not made of the parts above.
const INSTANTS: [&str; 5] =
    ["%a %b %e %H:%M:%S %Y", "%a %b %e %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z", "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S"];

/// Every form, those that say most first.
pub(crate) fn all() -> &'static [Written] {
    static ALL: OnceLock<Vec<Written>> = OnceLock::new();
    ALL.get_or_init(|| {
        let plain = |data_type| Written { format: None, data_type, parsed: None, order: Order::Told };
        let mut all = vec![plain(DataType::Date), plain(DataType::Timestamp)];
        let mut add = |format: String, data_type, order| {
            if let Ok(parsed) = TimeFormat::new(&format, data_type) {
                all.push(Written { format: Some(format), data_type, parsed: Some(parsed), order });
            }
        };
        for (date, order) in DATES.into_iter().filter(|(date, _)| *date != "%Y-%m-%d") {
            add(date.to_owned(), DataType::Date, order);
        }
        for (date, order) in DATES {
            for between in BETWEEN {
                for clock in CLOCKS {
                    add(format!("{date}{between}{clock}"), DataType::Timestamp, order);
                }
            }
        }
        for instant in INSTANTS {
            add(instant.to_owned(), DataType::Timestamp, Order::Told);
        }
        all
    })
}

/// The unit of numbers that are instants, by their size: those of the years 2001 to 2100.
pub(crate) fn epoch(least: i64, most: i64) -> Option<&'static str> {
    const FIRST: i64 = 978_307_200;
    const LAST: i64 = 4_102_444_800;
    [("epoch_s", 1), ("epoch_ms", 1_000), ("epoch_us", 1_000_000), ("epoch_ns", 1_000_000_000)]
        .into_iter()
        .find(|(_, unit)| least / unit >= FIRST && most / unit < LAST)
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_one_that_contracts_take() {
        let dates = DATES.len() - 1;
        assert_eq!(all().len(), 2 + dates + DATES.len() * BETWEEN.len() * CLOCKS.len() + INSTANTS.len());
    }

    #[test]
    fn numbers_are_instants_by_their_size() {
        assert_eq!(epoch(1_700_000_000, 1_700_000_100), Some("epoch_s"));
        assert_eq!(epoch(1_700_000_000_123, 1_700_000_000_124), Some("epoch_ms"));
        assert_eq!(epoch(1_700_000_000_000_000_000, 1_700_000_000_000_000_000), Some("epoch_ns"));
        assert_eq!(epoch(0, 1_700_000_000), None);
        assert_eq!(epoch(1, 2), None);
    }
}
