//! `[drift]` and `[quality]`: what may change in the data, and how much of it may be faulty.

use toml::de::DeValue;

use super::columns::Columns;
use crate::drift::{Drift, MissingColumns, PersonalUnknownFields, Quality, Share, UnknownFields};
use crate::error::ErrorKind;
use crate::keys;
use crate::model::{NewColumns, TableSpec};
use crate::reader::{At, Report, Table, kind_of};

const UNKNOWN_FIELDS: [(&str, UnknownFields); 3] =
    [("rescue", UnknownFields::Rescue), ("add", UnknownFields::Add), ("fail", UnknownFields::Fail)];
const MISSING_COLUMNS: [(&str, MissingColumns); 2] = [("null", MissingColumns::Null), ("fail", MissingColumns::Fail)];
const PERSONAL_UNKNOWN_FIELDS: [(&str, PersonalUnknownFields); 3] = [
    ("drop", PersonalUnknownFields::Drop),
    ("rescue", PersonalUnknownFields::Rescue),
    ("add", PersonalUnknownFields::Add),
];
/// As many as a contract may have itself.
const MOST_ADDED_COLUMNS: u64 = 1024;

pub(super) fn read(top: &Table<'_>, columns: &Columns<'_>, table_spec: &TableSpec, report: &mut Report<'_>) -> Drift {
    let mut drift = Drift::default();
    if let Some(table) = top.table("drift", &keys::DRIFT, report) {
        let unknown_fields = table.choice("unknown_fields", "choice", &UNKNOWN_FIELDS, report);
        if let Some(At { value: UnknownFields::Add, place }) = &unknown_fields
            && table_spec.new_columns != NewColumns::Add
        {
            let message = "gives the table columns that it has not: `[table] new_columns` has to be \"add\" as well";
            report.add(ErrorKind::Conflict, place, format!("`add` {message}"));
        }
        drift.personal_unknown_fields = personal(&table, unknown_fields.as_ref(), columns, report);
        drift.unknown_fields = unknown_fields.map(|choice| choice.value).unwrap_or_default();
        if let Some(most) = table.count("max_added_columns", report) {
            if drift.unknown_fields != UnknownFields::Add {
                report.add(ErrorKind::Conflict, &most.place, "belongs to `unknown_fields = \"add\"`");
            }
            match usize::try_from(most.value) {
                Ok(count) if (1..=MOST_ADDED_COLUMNS).contains(&most.value) => drift.max_added_columns = count,
                _ => {
                    let message = format!("is {}: it must be 1 to {MOST_ADDED_COLUMNS}", most.value);
                    report.add(ErrorKind::InvalidValue, &most.place, message);
                }
            }
        }
        let missing_columns = table.choice("missing_columns", "choice", &MISSING_COLUMNS, report);
        drift.missing_columns = missing_columns.map(|choice| choice.value).unwrap_or_default();
        drift.match_case = table.flag("match_case", report).is_some_and(|flag| flag.value);
    }
    if !drift.match_case {
        columns.check_case(report);
    }
    drift
}

/// Where a column is personal, unknown fields reach the table only if the contract says that they do, by name.
fn personal(
    table: &Table<'_>,
    unknown_fields: Option<&At<UnknownFields>>,
    columns: &Columns<'_>,
    report: &mut Report<'_>,
) -> PersonalUnknownFields {
    let adds = unknown_fields.filter(|choice| choice.value == UnknownFields::Add);
    let Some(choice) = table.choice("personal_unknown_fields", "choice", &PERSONAL_UNKNOWN_FIELDS, report) else {
        if let Some(At { place, .. }) = adds.filter(|_| columns.any_personal()) {
            let message = "a column is personal, and an unknown field may be as personal: say `personal_unknown_fields = \"add\"` as well, or leave `add` out";
            report.add(ErrorKind::Conflict, place, message);
        }
        return PersonalUnknownFields::default();
    };
    let conflict = match choice.value {
        _ if !columns.any_personal() => Some("belongs to a dataset with a personal column"),
        PersonalUnknownFields::Add if adds.is_none() => Some("`add` belongs to `unknown_fields = \"add\"`"),
        PersonalUnknownFields::Drop | PersonalUnknownFields::Rescue if adds.is_some() => {
            Some("says otherwise than `unknown_fields = \"add\"`: let both be \"add\", or leave that out")
        }
        _ => None,
    };
    if let Some(message) = conflict {
        report.add(ErrorKind::Conflict, &choice.place, message);
    }
    choice.value
}

pub(super) fn read_quality(top: &Table<'_>, events: bool, report: &mut Report<'_>) -> Quality {
    let mut quality = Quality::default();
    let Some(table) = top.table("quality", &keys::QUALITY, report) else { return quality };
    if events && let Some(place) = top.key_place("quality") {
        let message =
            "belongs to `kind = \"blob\"`: what is held back is read again from its blob, and events have none";
        report.add(ErrorKind::Conflict, &place, message);
    }
    quality.max_faulty = share(&table, report);
    if let Some(least) = table.count("min_records", report) {
        if table.key_place("max_faulty").is_none() {
            report.add(ErrorKind::Conflict, &least.place, "belongs to `max_faulty`");
        }
        quality.min_records = least.value;
    }
    quality
}

fn share(table: &Table<'_>, report: &mut Report<'_>) -> Option<Share> {
    let (value, place) = table.get("max_faulty")?;
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        other => {
            let message = format!("expected a number from 0 to 1, found {}", kind_of(other));
            report.add(ErrorKind::WrongType, &place, message);
            return None;
        }
    };
    let number = text.parse::<f64>().unwrap_or(f64::NAN);
    if !(0.0..=1.0).contains(&number) {
        report.add(ErrorKind::InvalidValue, &place, format!("is {text}: it must be 0 to 1 (0.05 is 5 %)"));
        return None;
    }
    let millionths = (number * 1e6).round();
    if (millionths / 1e6 - number).abs() > 1e-12 {
        let message = format!("is {text}: at most six digits after the point are allowed");
        report.add(ErrorKind::InvalidValue, &place, message);
    }
    // From 0 to a million, as was just seen.
    Share::from_millionths(millionths as u32)
}
