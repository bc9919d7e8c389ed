//! `[[columns]]`, and what the rest of a contract asks of them.

use std::collections::HashMap;

use super::description;
use crate::drift::{MAX_COLUMN_NAME, is_column_name};
use crate::error::ErrorKind;
use crate::event::{COLUMN_PREFIX, EVENT_FIELDS, EVENT_PREFIX, EventField, PROPERTY_PREFIX, SYSTEM_PREFIX};
use crate::keys;
use crate::model::{Column, DataType, Format, FormatKind, Treatment};
use crate::path::pointer;
use crate::pattern::TimeFormat;
use crate::reader::{At, Place, Report, Table, check_bytes, quoted};

const MAX_COLUMNS: usize = 1024;
const MAX_FIELD_BYTES: usize = 256;
const MAX_PRECISION: u8 = 38;

const TYPES: [(&str, DataType); 11] = [
    ("string", DataType::String),
    ("long", DataType::Long),
    ("integer", DataType::Integer),
    ("short", DataType::Short),
    ("byte", DataType::Byte),
    ("double", DataType::Double),
    ("float", DataType::Float),
    ("boolean", DataType::Boolean),
    ("date", DataType::Date),
    ("timestamp", DataType::Timestamp),
    ("binary", DataType::Binary),
];

/// What other systems call our types.
const FOREIGN_TYPES: [(&str, &str); 11] = [
    ("string", "varchar nvarchar char nchar character text str utf8 uuid json"),
    ("long", "bigint int64 i64"),
    ("integer", "int int32 i32"),
    ("short", "smallint int16 i16"),
    ("byte", "tinyint int8 i8"),
    ("double", "float64 f64"),
    ("float", "real float32 f32"),
    ("boolean", "bool bit"),
    ("timestamp", "datetime datetime2 timestamptz timestamp_ntz datetimeoffset"),
    ("binary", "varbinary bytes bytea blob"),
    ("decimal(18,2)", "decimal numeric number money"),
];

#[derive(Debug)]
struct Draft<'a> {
    /// With type `string` where the type could not be read, because nothing that refers to a string is an error.
    column: Column,
    /// `None` when it has no name.
    name: Option<At<&'a str>>,
    from: Option<At<&'a str>>,
    /// What only records from outside can have.
    of_records: Vec<Place>,
}

/// The columns of a contract that is being read.
#[derive(Debug)]
pub(super) struct Columns<'a>(Vec<Draft<'a>>);

impl<'a> Columns<'a> {
    pub(super) fn read(top: &Table<'a>, report: &mut Report<'_>) -> Self {
        let tables = top.tables("columns", &keys::COLUMNS, 1..=MAX_COLUMNS, report);
        if top.key_place("columns").is_none() {
            top.missing("columns", "missing: a contract needs at least one `[[columns]]`", report);
        }
        let columns = Self(tables.iter().map(|table| read_column(table, report)).collect());
        columns.check_unique(report);
        let none_kept = !columns.0.is_empty() && columns.kept().next().is_none();
        if let Some(place) = top.key_place("columns").filter(|_| none_kept) {
            report.add(ErrorKind::InvalidValue, &place, "no column reaches the table: keep at least one");
        }
        columns
    }

    /// The column that a setting names and its type in the table, if it is there: it must exist and not be dropped.
    /// The errors are reported here.
    pub(super) fn resolve(&self, name: &At<&str>, report: &mut Report<'_>) -> Option<(&str, DataType)> {
        let Some(draft) = self.0.iter().find(|draft| draft.column.name == name.value) else {
            let names = self.0.iter().map(|draft| draft.column.name.as_str());
            let suggestion = keys::nearest(name.value, names).map(str::to_owned);
            let message = format!("there is no column {}", quoted(name.value));
            report.add_with(ErrorKind::InvalidValue, &name.place, message, suggestion);
            return None;
        };
        let Some(data_type) = draft.column.table_type() else {
            let message =
                format!("column {} is dropped (`personal = \"drop\"`), so the table lacks it", quoted(name.value));
            report.add(ErrorKind::Conflict, &name.place, message);
            return None;
        };
        Some((&draft.column.name, data_type))
    }

    pub(super) fn any_personal(&self) -> bool {
        self.0.iter().any(|draft| draft.column.personal.is_some())
    }

    pub(super) fn is_personal(&self, name: &str) -> bool {
        self.0.iter().any(|draft| draft.column.name == name && draft.column.personal.is_some())
    }

    /// Names of the columns that reach the table.
    pub(super) fn kept(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|draft| draft.column.table_type().is_some()).map(|draft| draft.column.name.as_str())
    }

    /// The first column that has a `from` which names a field.
    pub(super) fn first_from(&self) -> Option<&At<&'a str>> {
        let names_field = |from: &&At<&str>| !from.value.starts_with(COLUMN_PREFIX);
        self.0.iter().find_map(|draft| draft.from.as_ref().filter(names_field))
    }

    /// Fields that differ by case alone can be told apart only if case counts.
    pub(super) fn check_case(&self, report: &mut Report<'_>) {
        let mut fields: HashMap<String, &Draft<'a>> = HashMap::new();
        for draft in &self.0 {
            let Some(name) = &draft.name else { continue };
            let field = draft.column.field();
            let Some(earlier) = fields.insert(field.to_lowercase(), draft) else { continue };
            if earlier.column.field() != field && earlier.column.name.to_lowercase() != name.value.to_lowercase() {
                let message = format!(
                    "field {} and {} of column {} differ by case alone: let `[drift] match_case` be true",
                    quoted(field),
                    quoted(earlier.column.field()),
                    quoted(&earlier.column.name)
                );
                report.add(ErrorKind::Conflict, &draft.from.as_ref().unwrap_or(name).place, message);
            }
        }
    }

    /// What columns take of an event beside its body has to be there, and of a type that holds it.
    pub(super) fn check_event_fields(&self, report: &mut Report<'_>) {
        for Draft { column, from, .. } in &self.0 {
            let Some(from) = from.as_ref().filter(|from| from.value.starts_with(EVENT_PREFIX)) else { continue };
            let Some(field) = EventField::named(from.value) else {
                if [PROPERTY_PREFIX, SYSTEM_PREFIX].contains(&from.value) {
                    let message = format!("names no property: write `{}` and its name", from.value);
                    report.add(ErrorKind::InvalidValue, &from.place, message);
                } else {
                    unknown_part(from, report);
                }
                continue;
            };
            let Some((words, types)) = field.types() else { continue };
            if !types.contains(&column.data_type) {
                let message = format!("{} is {words}, not {}", quoted(from.value), column.data_type);
                report.add(ErrorKind::Conflict, &from.place, message);
            } else if column.format.is_some() {
                let message = format!("{} is a time already: leave `format` out", quoted(from.value));
                report.add(ErrorKind::Conflict, &from.place, message);
            }
        }
    }

    /// Columns that are made of what is within a field, or of another column.
    pub(super) fn check_origins(&self, format: &Format, report: &mut Report<'_>) {
        for Draft { column, from, .. } in &self.0 {
            let Some(from) = from else { continue };
            if let Some(source) = from.value.strip_prefix(COLUMN_PREFIX) {
                self.check_day_of(source, column, from, report);
            } else if from.value.starts_with('/') {
                let problem = match pointer(from.value) {
                    Err(problem) => Some(problem),
                    Ok(names) if names.len() == 1 => {
                        Some(format!("is the field {} itself: leave the `/` out", quoted(&names[0])))
                    }
                    Ok(_) if matches!(format.kind, FormatKind::Csv | FormatKind::Parquet) => {
                        Some("is a path, which leads to values in JSON and Avro only".to_owned())
                    }
                    Ok(_) => None,
                };
                if let Some(problem) = problem {
                    report.add(ErrorKind::InvalidValue, &from.place, problem);
                }
            }
        }
    }

    /// `from = "column:ts"`: the day of a timestamp.
    fn check_day_of(&self, source: &str, column: &Column, from: &At<&str>, report: &mut Report<'_>) {
        let Some(Draft { column: other, from: others, .. }) = self.0.iter().find(|draft| draft.column.name == source)
        else {
            let names = self.0.iter().map(|draft| draft.column.name.as_str());
            let suggestion = keys::nearest(source, names).map(|name| format!("{COLUMN_PREFIX}{name}"));
            let message = format!("there is no column {}", quoted(source));
            return report.add_with(ErrorKind::InvalidValue, &from.place, message, suggestion);
        };
        let made = others.as_ref().is_some_and(|from| from.value.starts_with(COLUMN_PREFIX));
        if column.data_type != DataType::Date || other.data_type != DataType::Timestamp || made {
            let message = format!(
                "makes a {} of {}, a {}: it makes a date of a timestamp, which is its day in UTC",
                column.data_type,
                quoted(source),
                other.data_type
            );
            report.add(ErrorKind::Conflict, &from.place, message);
        } else if column.format.is_some() {
            let message = format!("{} is a time already: leave `format` out", quoted(source));
            report.add(ErrorKind::Conflict, &from.place, message);
        }
    }

    /// A query gives its columns by their names, as they are.
    pub(super) fn refuse_of_records(&self, report: &mut Report<'_>) {
        for place in self.0.iter().flat_map(|draft| &draft.of_records) {
            let message =
                "belongs to a dataset with a `[source]`: what `[derived]` reads has its names and its protection";
            report.add(ErrorKind::Conflict, place, message);
        }
    }

    pub(super) fn into_model(self) -> Vec<Column> {
        self.0.into_iter().map(|draft| draft.column).collect()
    }

    fn check_unique(&self, report: &mut Report<'_>) {
        let mut names: HashMap<String, &str> = HashMap::new();
        let mut fields: HashMap<&str, &str> = HashMap::new();
        for draft in &self.0 {
            let Some(name) = &draft.name else { continue };
            let lower = name.value.to_lowercase();
            if let Some(earlier) = names.get(&lower) {
                let case = if *earlier == name.value { "" } else { ", and SQL ignores case" };
                let message = format!("there is a column {} already{case}", quoted(earlier));
                report.add(ErrorKind::Conflict, &name.place, message);
                continue;
            }
            names.insert(lower, name.value);
            let field = draft.column.field();
            if let Some(earlier) = fields.get(field) {
                let place = &draft.from.as_ref().unwrap_or(name).place;
                let message = format!("field {} is column {} already", quoted(field), quoted(earlier));
                report.add(ErrorKind::Conflict, place, message);
            } else {
                fields.insert(field, name.value);
            }
        }
    }
}

fn read_column<'a>(table: &Table<'a>, report: &mut Report<'_>) -> Draft<'a> {
    let name = table.required_text("name", report);
    if let Some(name) = &name {
        check_column_name(name, report);
    }
    let type_text = table.required_text("type", report);
    let data_type = type_text.as_ref().and_then(|text| data_type(text, report));
    let from = table.text("from", report);
    if let Some(from) = &from {
        check_bytes(from.value, MAX_FIELD_BYTES, &from.place, report);
        if from.value.is_empty() {
            report.add(
                ErrorKind::InvalidValue,
                &from.place,
                "is empty: leave it out when the field has the column's name",
            );
        }
    }
    Draft {
        column: Column {
            name: name.as_ref().map(|name| name.value.to_owned()).unwrap_or_default(),
            data_type: data_type.unwrap_or(DataType::String),
            nullable: table.flag("nullable", report).is_none_or(|nullable| nullable.value),
            from: from.as_ref().map(|from| from.value.to_owned()),
            format: format(table, data_type, report),
            personal: treatment(table, data_type, report),
            description: description(table, report),
        },
        name,
        from,
        of_records: ["from", "format", "personal"].into_iter().filter_map(|key| table.key_place(key)).collect(),
    }
}

fn unknown_part(from: &At<&str>, report: &mut Report<'_>) {
    let names = EVENT_FIELDS.map(|(name, _)| name);
    // What all of them begin with does not make one near.
    let ends = names.iter().filter_map(|name| name.strip_prefix(EVENT_PREFIX));
    let nearest = keys::nearest(from.value.strip_prefix(EVENT_PREFIX).unwrap_or_default(), ends);
    let suggestion = nearest.map(|end| format!("{EVENT_PREFIX}{end}"));
    let mut message = format!("unknown part of an event {}", quoted(from.value));
    if suggestion.is_none() {
        message += &format!(": expected one of `{}`, `{PROPERTY_PREFIX}…`, `{SYSTEM_PREFIX}…`", names.join("`, `"));
    }
    report.add_with(ErrorKind::InvalidValue, &from.place, message, suggestion);
}

fn check_column_name(name: &At<&str>, report: &mut Report<'_>) {
    if name.value.starts_with('_') {
        let message = "names that begin with `_` are reserved for Weir; take the field by `from`";
        report.add(ErrorKind::InvalidValue, &name.place, message);
    } else if !is_column_name(name.value) {
        let message = format!(
            "{} is not a column name: a letter, then at most {} letters, digits and `_`; take the field by `from`",
            quoted(name.value),
            MAX_COLUMN_NAME - 1
        );
        report.add(ErrorKind::InvalidValue, &name.place, message);
    }
}

fn data_type(text: &At<&str>, report: &mut Report<'_>) -> Option<DataType> {
    if let Some((_, data_type)) = TYPES.iter().find(|(name, _)| *name == text.value) {
        return Some(*data_type);
    }
    if let Some(arguments) = text.value.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        return match decimal(arguments) {
            Ok(data_type) => Some(data_type),
            Err(message) => {
                report.add(ErrorKind::InvalidValue, &text.place, message);
                None
            }
        };
    }
    let lower = text.value.to_lowercase();
    let word = lower.split('(').next().unwrap_or_default().trim();
    let own_word = TYPES.iter().map(|(name, _)| *name).find(|name| *name == word);
    let translated = FOREIGN_TYPES.iter().find(|(_, foreign)| foreign.split(' ').any(|foreign| foreign == word));
    match own_word.or(translated.map(|(own, _)| *own)) {
        Some(own) => {
            let message = format!("unknown type {}", quoted(text.value));
            report.add_with(ErrorKind::InvalidValue, &text.place, message, Some(own.to_owned()));
        }
        None => {
            let mut names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
            names.push("decimal(18,2)");
            report.unknown("type", text.value, &text.place, &names);
        }
    }
    None
}

fn decimal(arguments: &str) -> Result<DataType, String> {
    let numbers = arguments
        .split_once(',')
        .and_then(|(precision, scale)| Some((precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?)));
    match numbers {
        None => Err("a decimal has a precision and a scale: `decimal(12,2)`".to_owned()),
        Some((precision, _)) if !(1..=MAX_PRECISION).contains(&precision) => {
            Err(format!("the precision is {precision}: it must be 1 to {MAX_PRECISION}"))
        }
        Some((precision, scale)) if scale > precision => {
            Err(format!("the scale is {scale}: it must not exceed the precision, {precision}"))
        }
        Some((precision, scale)) => Ok(DataType::Decimal { precision, scale }),
    }
}

fn treatment(table: &Table<'_>, data_type: Option<DataType>, report: &mut Report<'_>) -> Option<Treatment> {
    const TREATMENTS: [(&str, Treatment); 3] =
        [("pseudonym", Treatment::Pseudonym), ("mask", Treatment::Mask), ("drop", Treatment::Drop)];
    let treatment = table.choice("personal", "treatment", &TREATMENTS, report)?;
    use DataType::{Byte, Integer, Long, Short, String};
    let has_text = matches!(data_type, None | Some(String | Long | Integer | Short | Byte));
    if treatment.value != Treatment::Drop && !has_text {
        let message = "only text and whole numbers can be masked or made pseudonyms; `drop` takes every type";
        report.add(ErrorKind::Conflict, &treatment.place, message);
    }
    Some(treatment.value)
}

fn format(table: &Table<'_>, data_type: Option<DataType>, report: &mut Report<'_>) -> Option<std::string::String> {
    let format = table.text("format", report)?;
    match data_type {
        None => {}
        Some(data_type @ (DataType::Date | DataType::Timestamp)) => {
            if let Err(problem) = TimeFormat::new(format.value, data_type) {
                report.add_with(ErrorKind::InvalidValue, &format.place, problem.message, problem.suggestion);
            }
        }
        Some(_) => report.add(ErrorKind::Conflict, &format.place, "only a date or a timestamp has a format"),
    }
    Some(format.value.to_owned())
}
