//! What the pieces of a format say together: a whole date, a whole time, and nothing twice.

use super::{FormatProblem, Name, Number, Piece};
use crate::model::DataType;

/// The specifier that says a part, by part.
#[derive(Debug, Default)]
pub(super) struct Said {
    year: Option<String>,
    month: Option<String>,
    day: Option<String>,
    iso_year: Option<String>,
    iso_week: Option<String>,
    weekday: Option<String>,
    hour: Option<String>,
    hour_of_12: Option<String>,
    half: Option<String>,
    minute: Option<String>,
    second: Option<String>,
    fraction: Option<String>,
    offset: Option<String>,
}

impl Said {
    /// Notes a piece that `spelling` stands for.
    pub(super) fn note(&mut self, piece: &Piece, spelling: &str) -> Result<(), FormatProblem> {
        let (part, what) = match piece {
            Piece::Literal(_) => return Ok(()),
            Piece::Number(number, _) => match number {
                Number::Year | Number::YearOfCentury => (&mut self.year, "year"),
                Number::IsoYear => (&mut self.iso_year, "year"),
                Number::IsoWeek => (&mut self.iso_week, "week"),
                Number::Month => (&mut self.month, "month"),
                Number::Day => (&mut self.day, "day"),
                Number::DayOfYear => {
                    once(&mut self.month, "month", spelling)?;
                    (&mut self.day, "day")
                }
                Number::WeekdayFromMonday | Number::WeekdayFromSunday => (&mut self.weekday, "weekday"),
                Number::Hour => (&mut self.hour, "hour"),
                Number::HourOf12 => (&mut self.hour_of_12, "hour"),
                Number::Minute => (&mut self.minute, "minute"),
                Number::Second => (&mut self.second, "second"),
            },
            Piece::Name(Name::ShortMonth | Name::Month) => (&mut self.month, "month"),
            Piece::Name(Name::ShortWeekday | Name::Weekday) => (&mut self.weekday, "weekday"),
            Piece::Name(Name::Half) => (&mut self.half, "half of the day"),
            Piece::Fraction(_) => (&mut self.fraction, "fraction"),
            Piece::Offset(_) => (&mut self.offset, "offset"),
        };
        once(part, what, spelling)
    }

    pub(super) fn check(&self, data_type: DataType) -> Result<(), FormatProblem> {
        self.check_date()?;
        if data_type == DataType::Timestamp
            && (self.hour.is_none() && self.hour_of_12.is_none() || self.minute.is_none())
        {
            return Err("does not say hour and minute (as `%Y-%m-%dT%H:%M:%S` does)".to_owned().into());
        }
        if let (Some(hour), Some(other)) = (&self.hour, &self.hour_of_12) {
            return Err(twice("hour", hour, other));
        }
        if let (Some(hour), None) = (&self.hour_of_12, &self.half) {
            let message = format!("has `{hour}`, an hour from 1 to 12, without `%p` (AM or PM)");
            return Err(FormatProblem { message, suggestion: Some("%H".to_owned()) });
        }
        if let (Some(half), None) = (&self.half, &self.hour_of_12) {
            let message = format!("has `{half}` (AM or PM), which belongs to an hour from 1 to 12");
            return Err(FormatProblem { message, suggestion: Some("%I".to_owned()) });
        }
        if let (Some(fraction), None) = (&self.fraction, &self.second) {
            let message = format!("has `{fraction}`, a fraction of a second, but no second (`%S`)");
            return Err(message.into());
        }
        Ok(())
    }

    fn check_date(&self) -> Result<(), FormatProblem> {
        let (calendar, iso) = (
            self.year.as_ref().or(self.month.as_ref()).or(self.day.as_ref()),
            self.iso_year.as_ref().or(self.iso_week.as_ref()),
        );
        if let (Some(calendar), Some(iso)) = (calendar, iso) {
            let message = format!(
                "mixes `{calendar}` with `{iso}`: days of ISO weeks are said as in `%G-W%V-%u`, others as in `%Y-%m-%d`"
            );
            return Err(message.into());
        }
        let calendar = self.year.is_some() && self.month.is_some() && self.day.is_some();
        let iso = self.iso_year.is_some() && self.iso_week.is_some() && self.weekday.is_some();
        if calendar || iso {
            return Ok(());
        }
        Err("does not say year, month and day (as `%Y-%m-%d` does)".to_owned().into())
    }
}

fn once(part: &mut Option<String>, what: &str, spelling: &str) -> Result<(), FormatProblem> {
    match part {
        Some(earlier) => Err(twice(what, earlier, spelling)),
        None => {
            *part = Some(spelling.to_owned());
            Ok(())
        }
    }
}

fn twice(what: &str, earlier: &str, later: &str) -> FormatProblem {
    format!("says the {what} twice, by `{earlier}` and `{later}`").into()
}
