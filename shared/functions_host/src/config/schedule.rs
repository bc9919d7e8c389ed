//! Timer schedules: NCRONTAB with six fields (five mean second 0) or a time span, in UTC.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::{Cron, parser::CronParser};

use super::reader::time_span;

#[derive(Debug, Clone)]
pub(crate) enum Schedule {
    Cron(Box<Cron>),
    Every(Duration),
}

impl Schedule {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let problem = |why: &str| {
            format!("{text:?} {why}; use {{second}} {{minute}} {{hour}} {{day}} {{month}} {{day of week}} or hh:mm:ss")
        };
        if text.contains(':') {
            return match time_span(text) {
                Some(span) if span >= Duration::from_millis(100) => Ok(Self::Every(span)),
                Some(_) => Err(problem("is shorter than 100 ms")),
                None => Err(problem("is not a time span")),
            };
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        if !matches!(fields.len(), 5 | 6) {
            return Err(problem("has not six fields"));
        }
        let first_named = fields.len() - 2; // month and day of week may be names
        for (index, field) in fields.iter().enumerate() {
            if !field.split([',', '-', '/']).all(|atom| is_atom(atom, index >= first_named)) {
                return Err(problem(&format!("has a field NCRONTAB does not know: {field:?}")));
            }
        }
        let pattern = if fields.len() == 5 { format!("0 {text}") } else { text.to_owned() };
        // Day of month and day of week must both match, unlike in Unix cron; `0/10` counts from 0.
        let parser = CronParser::builder().dom_and_dow(true).sloppy_ranges(true).build();
        let cron = parser.parse(&pattern).map_err(|error| problem(&format!("is not a schedule ({error})")))?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The first occurrence after `now`; None for a schedule that never comes again.
    pub(crate) fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron(cron) => cron.find_next_occurrence(&now, false).ok(),
            Self::Every(span) => now.checked_add_signed(TimeDelta::from_std(*span).ok()?),
        }
    }

    /// The host keeps no schedule status for these.
    pub(crate) fn below_a_minute(&self) -> bool {
        let Some(first) = self.next(DateTime::UNIX_EPOCH) else { return false };
        let mut last = first;
        for _ in 0..5 {
            let Some(next) = self.next(last) else { return false };
            if next - last < TimeDelta::minutes(1) {
                return true;
            }
            last = next;
        }
        false
    }

    /// `Schedule.AdjustForDST` of the timer payload.
    pub(crate) fn adjusts_for_dst(&self) -> bool {
        matches!(self, Self::Cron(_))
    }
}

fn is_atom(atom: &str, named: bool) -> bool {
    const NAMES: &str = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC SUN MON TUE WED THU FRI SAT";
    let number = !atom.is_empty() && atom.len() <= 2 && atom.bytes().all(|b| b.is_ascii_digit());
    atom == "*" || number || (named && atom.len() == 3 && NAMES.contains(&atom.to_ascii_uppercase()))
}
