//! `[derived]`: what a table is made of that is made of other tables.

use super::MAX_SQL_BYTES;
use super::columns::Columns;
use super::source::SourceAt;
use crate::derived::{Derived, Every, OnLookupChange, Unit};
use crate::error::ErrorKind;
use crate::keys;
use crate::model::{DataType, Source};
use crate::reader::{At, Place, Report, Table, check_bytes, quoted};

const MAX_LOOKUPS: usize = 16;
const EVERY: [Every; 4] = [Every::Hour, Every::Day, Every::Month, Every::Year];

/// `None` when the contract has no `[derived]`. The claims are where `follows`, `of` and each lookup stand.
pub(super) fn read(top: &Table<'_>, columns: &Columns<'_>, report: &mut Report<'_>) -> Option<SourceAt> {
    let place = top.key_place("derived")?;
    for key in ["source", "format", "rules", "drift", "quality", "dedupe"] {
        if let Some(place) = top.key_place(key) {
            let message = match key {
                "source" => "a dataset has a `[source]` or is `[derived]`, not both",
                _ => "belongs to a dataset with a `[source]`: a derived table is what its `sql` gives",
            };
            report.add(ErrorKind::Conflict, &place, message);
        }
    }
    columns.refuse_of_records(report);
    let table = top.table("derived", &keys::DERIVED, report)?;
    let follows = table.required_text("follows", report);
    let (unit, of_place) = unit(&table, columns, report);
    let lookups = lookups(&table, follows.as_ref(), report);
    let changes = [("refresh", OnLookupChange::Refresh), ("keep", OnLookupChange::Keep)];
    let on_lookup_change = table.choice("on_lookup_change", "choice", &changes, report);
    if let Some(on_change) = on_lookup_change.as_ref().filter(|_| lookups.is_empty()) {
        report.add(ErrorKind::Conflict, &on_change.place, "belongs to `lookups`");
    }
    let sql = table.required_text("sql", report);
    if let Some(sql) = &sql {
        check_bytes(sql.value, MAX_SQL_BYTES, &sql.place, report);
        if sql.value.trim().is_empty() {
            report.add(ErrorKind::InvalidValue, &sql.place, "is empty: write a query (`SELECT … GROUP BY …`)");
        }
    }
    let follows_place = follows.as_ref().map_or(place, |follows| follows.place.clone());
    let claims = [follows_place, of_place].into_iter().chain(lookups.iter().map(|name| name.place.clone()));
    Some(SourceAt {
        claims: claims.collect(),
        value: Source::Derived(Derived {
            line: sql.as_ref().map_or(0, |sql| report.line(sql.place.start)),
            sql: sql.map(|sql| sql.value.to_owned()).unwrap_or_default(),
            follows: follows.map(|follows| follows.value.to_owned()).unwrap_or_default(),
            lookups: lookups.iter().map(|name| name.value.to_owned()).collect(),
            on_lookup_change: on_lookup_change.map(|at| at.value).unwrap_or_default(),
            unit,
        }),
    })
}

/// The unit, and where its `of` (else its `by`) stands.
fn unit(table: &Table<'_>, columns: &Columns<'_>, report: &mut Report<'_>) -> (Unit, Place) {
    let by = table.required_text("by", report);
    let of = table.text("of", report);
    let every = table.choice("every", "span", &EVERY.map(|every| (every.name(), every)), report);
    if let Some((_, data_type)) = by.as_ref().and_then(|by| columns.resolve(by, report)) {
        check_by(by.as_ref(), data_type, every.as_ref(), report);
    }
    let place = of.as_ref().or(by.as_ref()).map_or_else(|| table.place.clone(), |at| at.place.clone());
    let by = by.map_or("", |by| by.value);
    let of = of.map_or(by, |of| of.value);
    (Unit { by: by.to_owned(), of: of.to_owned(), every: every.map(|every| every.value) }, place)
}

/// Units stand in the log, so they can be no text: it might be somebody's name.
fn check_by(by: Option<&At<&str>>, data_type: DataType, every: Option<&At<Every>>, report: &mut Report<'_>) {
    use DataType::{Byte, Date, Integer, Long, Short, Timestamp};
    if let (Some(by), false) = (by, matches!(data_type, Long | Integer | Short | Byte | Date | Timestamp)) {
        let message = format!("{} is {data_type}: a unit is a date, a timestamp or a whole number", quoted(by.value));
        report.add(ErrorKind::Conflict, &by.place, message);
    } else if let Some(every) = every {
        let fits = match data_type {
            Timestamp => true,
            Date => every.value != Every::Hour,
            _ => false,
        };
        if !fits {
            let message = format!("a column of type {data_type} has no {} in it", every.value.name());
            report.add(ErrorKind::Conflict, &every.place, message);
        }
    }
}

fn lookups<'a>(table: &Table<'a>, follows: Option<&At<&str>>, report: &mut Report<'_>) -> Vec<At<&'a str>> {
    let mut lookups: Vec<At<&str>> = Vec::new();
    for name in table.texts("lookups", 0..=MAX_LOOKUPS, report) {
        if lookups.iter().any(|earlier| earlier.value == name.value) {
            report.add(ErrorKind::Conflict, &name.place, format!("{} is there already", quoted(name.value)));
        } else if follows.is_some_and(|follows| follows.value == name.value) {
            let message = format!("{} is followed already", quoted(name.value));
            report.add(ErrorKind::Conflict, &name.place, message);
        }
        lookups.push(name);
    }
    lookups
}
