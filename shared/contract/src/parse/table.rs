//! `[table]` and `[warehouse]`: how rows are stored and where they are loaded.

use toml::de::{DeTable, DeValue};

use super::columns::Columns;
use crate::error::ErrorKind;
use crate::keys;
use crate::model::{DataType, Distribution, LongText, NewColumns, TableSpec, WarehouseIndex, WarehouseSpec};
use crate::properties;
use crate::reader::{At, Place, Report, Table, check_bytes, kind_of, quoted};

const MAX_KEY_COLUMNS: usize = 16;
const MAX_PROPERTY_BYTES: usize = 1024;
const MAX_TABLE_NAME_PART: usize = 128;
/// The most that any warehouse has; a dedicated pool has 4,000.
const MAX_TEXT_LENGTH: i64 = 8_000;

pub(super) fn read(top: &Table<'_>, derived: bool, columns: &Columns<'_>, report: &mut Report<'_>) -> TableSpec {
    let Some(table) = top.table("table", &keys::TABLE, report) else { return TableSpec::default() };
    let partition_by = key_columns(&table, "partition_by", &[], columns, report);
    let cluster_by = key_columns(&table, "cluster_by", &partition_by, columns, report);
    if let Some(place) = table.key_place("partition_by").filter(|_| !partition_by.is_empty())
        && columns.kept().all(|column| partition_by.iter().any(|name| name == column))
    {
        let message = "takes every column: the files would be empty, leave at least one column out";
        report.add(ErrorKind::Conflict, &place, message);
    }
    let new_columns = new_columns(&table, report);
    if let Some(place) = table.key_place("new_columns").filter(|_| derived && new_columns == NewColumns::Rescue) {
        report.add(ErrorKind::Conflict, &place, "a derived table has no `_rescued` to keep values in");
    }
    let mut found = Vec::new();
    if let Some((entries, place)) = table.entries_of("properties", report) {
        collect(entries, &place, "", &mut found);
    }
    found.sort_by_key(|(property, _)| property.place.start);
    let properties = found.into_iter().filter_map(|(name, value)| property(name, value, columns, report)).collect();
    TableSpec { partition_by, cluster_by, new_columns, properties }
}

/// Columns named by `key`: each is in the table, none twice, none of `taken`, and fit for the purpose.
fn key_columns(
    table: &Table<'_>,
    key: &str,
    taken: &[String],
    columns: &Columns<'_>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in table.texts(key, 0..=MAX_KEY_COLUMNS, report) {
        let Some((column, data_type)) = columns.resolve(&name, report) else { continue };
        if names.iter().any(|earlier| earlier == column) {
            report.add(ErrorKind::Conflict, &name.place, format!("{} is there already", quoted(column)));
        } else if taken.iter().any(|other| other == column) {
            let message = format!("{} is a partition column: it is constant within a file", quoted(column));
            report.add(ErrorKind::Conflict, &name.place, message);
        } else if key == "partition_by" && columns.is_personal(column) {
            let message = format!("{} is personal: its values would be names of folders", quoted(column));
            report.add(ErrorKind::Conflict, &name.place, message);
        } else if let (true, DataType::Timestamp) = (key == "partition_by", data_type) {
            let message = format!(
                "{0} is a timestamp: each instant would be a folder. Take its day, a column \
                 `{{ name = \"day\", type = \"date\", from = \"column:{1}\" }}`",
                quoted(column),
                column
            );
            report.add(ErrorKind::Conflict, &name.place, message);
        } else if let (true, DataType::Binary | DataType::Double | DataType::Float) = (key == "partition_by", data_type)
        {
            let kind = format!("{data_type:?}").to_lowercase();
            let message = format!("{} is a {kind}: its values make no folder names", quoted(column));
            report.add(ErrorKind::Conflict, &name.place, message);
        }
        names.push(column.to_owned());
    }
    names
}

fn new_columns(table: &Table<'_>, report: &mut Report<'_>) -> NewColumns {
    let Some(text) = table.text("new_columns", report) else { return NewColumns::default() };
    match text.value {
        "add" => NewColumns::Add,
        "rescue" => NewColumns::Rescue,
        "fail" => NewColumns::Fail,
        other => {
            report.unknown("choice", other, &text.place, &["add", "rescue", "fail"]);
            NewColumns::default()
        }
    }
}

/// Properties under `prefix`. `delta.x = 1` and `"delta.x" = 1` are the same: a bare dotted key makes tables in TOML.
fn collect<'a>(entries: &'a DeTable<'a>, place: &Place, prefix: &str, found: &mut Vec<(At<String>, &'a DeValue<'a>)>) {
    for (key, value) in entries {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, place, &format!("{name}."), found),
            other => {
                let place = Place { key: format!("{}.{name}", place.key), start: key.span().start };
                found.push((At { value: name, place }, other));
            }
        }
    }
}

fn property(
    name: At<String>,
    value: &DeValue<'_>,
    columns: &Columns<'_>,
    report: &mut Report<'_>,
) -> Option<(String, String)> {
    let value = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Integer(number) => number.to_string(),
        other => {
            let message = format!("expected a string, an integer or a boolean, found {}", kind_of(other));
            report.add(ErrorKind::WrongType, &name.place, message);
            return None;
        }
    };
    if let Err((message, suggestion)) = properties::check_name(&name.value) {
        report.add_with(ErrorKind::InvalidValue, &name.place, message, suggestion);
        return None;
    }
    check_bytes(&value, MAX_PROPERTY_BYTES, &name.place, report);
    if let Err(expected) = properties::check_value(&name.value, &value) {
        let message = format!("is {}: expected {expected}", quoted(&value));
        report.add(ErrorKind::InvalidValue, &name.place, message);
        return None;
    }
    if name.value == "delta.dataSkippingStatsColumns" {
        // Those that begin with `_` are Weir's own.
        let is_column = |named: &String| named.starts_with('_') || columns.kept().any(|column| column == named);
        if let Some(unknown) = properties::names_in(&value).iter().find(|named| !is_column(named)) {
            let message = format!("names {}, which is no column of the table", quoted(unknown));
            report.add(ErrorKind::InvalidValue, &name.place, message);
            return None;
        }
    }
    Some((name.value, value))
}

/// The place is that of the table's name.
pub(super) fn read_warehouse(
    top: &Table<'_>,
    columns: &Columns<'_>,
    report: &mut Report<'_>,
) -> Option<At<WarehouseSpec>> {
    let table = top.table("warehouse", &keys::WAREHOUSE, report)?;
    let name = table.required_text("table", report);
    if let Some(name) = name.as_ref().filter(|name| !is_table_name(name.value)) {
        let message = format!(
            "{} is not a table: `table` or `schema.table`, each a letter or `_`, then letters, digits and `_`",
            quoted(name.value)
        );
        report.add(ErrorKind::InvalidValue, &name.place, message);
    }
    let spec = WarehouseSpec {
        table: String::new(),
        distribution: distribution(&table, columns, report),
        index: index(&table, columns, report),
        long_text: long_text(&table, report),
        text_lengths: text_lengths(&table, columns, report),
    };
    name.map(|name| name.map(|table| WarehouseSpec { table: table.to_owned(), ..spec }))
}

fn is_table_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.len() <= MAX_TABLE_NAME_PART
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.matches('.').count() <= 1 && name.split('.').all(is_part)
}

fn distribution(table: &Table<'_>, columns: &Columns<'_>, report: &mut Report<'_>) -> Distribution {
    let Some(text) = table.text("distribution", report) else { return Distribution::RoundRobin };
    if let Some(column) = text.value.strip_prefix("hash(").and_then(|rest| rest.strip_suffix(')')) {
        let column = At { value: column.trim(), place: text.place };
        let resolved = columns.resolve(&column, report);
        return resolved.map_or(Distribution::RoundRobin, |(column, _)| Distribution::Hash(column.to_owned()));
    }
    match text.value {
        "round_robin" => Distribution::RoundRobin,
        "replicate" => Distribution::Replicate,
        other => {
            report.unknown("distribution", other, &text.place, &["round_robin", "replicate", "hash(column)"]);
            Distribution::RoundRobin
        }
    }
}

fn index(table: &Table<'_>, columns: &Columns<'_>, report: &mut Report<'_>) -> WarehouseIndex {
    let Some(text) = table.text("index", report) else { return WarehouseIndex::default() };
    if let Some(column) = text.value.strip_prefix("clustered(").and_then(|rest| rest.strip_suffix(')')) {
        let resolved = columns.resolve(&At { value: column.trim(), place: text.place }, report);
        return resolved.map_or_else(Default::default, |(column, _)| WarehouseIndex::Clustered(column.to_owned()));
    }
    match text.value {
        "columnstore" => WarehouseIndex::Columnstore,
        "heap" => WarehouseIndex::Heap,
        other => {
            report.unknown("index", other, &text.place, &["columnstore", "heap", "clustered(column)"]);
            WarehouseIndex::default()
        }
    }
}

fn long_text(table: &Table<'_>, report: &mut Report<'_>) -> LongText {
    let Some(text) = table.text("long_text", report) else { return LongText::default() };
    match text.value {
        "fail" => LongText::Fail,
        "truncate" => LongText::Truncate,
        other => {
            report.unknown("choice", other, &text.place, &["fail", "truncate"]);
            LongText::default()
        }
    }
}

fn text_lengths(table: &Table<'_>, columns: &Columns<'_>, report: &mut Report<'_>) -> Vec<(String, u32)> {
    let Some((entries, place)) = table.entries_of("text_lengths", report) else { return Vec::new() };
    let mut lengths = Vec::new();
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let place = Place { key: format!("{}.{name}", place.key), start: key.span().start };
        let length = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let length = length
            .filter(|length| (1..=MAX_TEXT_LENGTH).contains(length))
            .and_then(|length| u32::try_from(length).ok());
        let Some(length) = length else {
            let message = format!("must be a whole number from 1 to {MAX_TEXT_LENGTH}");
            report.add(ErrorKind::InvalidValue, &place, message);
            continue;
        };
        let Some((column, data_type)) = columns.resolve(&At { value: name, place: place.clone() }, report) else {
            continue;
        };
        if data_type == DataType::String {
            lengths.push((column.to_owned(), length));
        } else {
            report.add(
                ErrorKind::Conflict,
                &place,
                format!("{} is no string column: it has no length", quoted(column)),
            );
        }
    }
    lengths
}
