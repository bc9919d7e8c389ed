//! SQL text for SQLite: quoted names, table definitions, and how each type is stored.

use weir_contract::{DataType, SOURCE, SOURCE_POSITION, TableColumn};

use crate::Error;

/// Longer names are refused; the contract's own limits are far below.
const MAX_NAME_BYTES: usize = 512;

/// A decimal of this many digits survives the way through a double: SQLite prints it back digit by digit.
const DOUBLE_DIGITS: u8 = 15;
/// An integer of this many digits fits 64 bits.
const LONG_DIGITS: u8 = 18;

/// How a column is stored.
///
/// | lake | SQLite | note |
/// |---|---|---|
/// | byte … long, boolean | `INTEGER` | booleans are 0 and 1 |
/// | float, double | `REAL` | NaN becomes null, SQLite has none; the column is therefore never `NOT NULL` |
/// | string | `TEXT` | |
/// | date | `TEXT` | `2026-11-24` |
/// | timestamp | `TEXT` | `2026-11-24T01:58:51.000000Z`: sorts in time order, SQLite's date functions read it |
/// | binary | `BLOB` | |
/// | decimal, scale 0, up to 18 digits | `INTEGER` | exact |
/// | decimal, up to 15 digits | `REAL` | the nearest double, which prints back as the exact value: `=`, `<`, `ORDER BY` are right, and `SUM` (compensated in SQLite) is right to 15 digits |
/// | decimal, more digits | `TEXT` | exact, all digits of the scale; `CAST(x AS REAL)` to compute |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Integer,
    Real,
    Text,
    Blob,
}

impl Storage {
    pub(crate) fn of(data_type: DataType) -> Self {
        match data_type {
            DataType::Long | DataType::Integer | DataType::Short | DataType::Byte | DataType::Boolean => {
                Storage::Integer
            }
            DataType::Double | DataType::Float => Storage::Real,
            DataType::String | DataType::Date | DataType::Timestamp => Storage::Text,
            DataType::Binary => Storage::Blob,
            DataType::Decimal { precision, scale: 0 } if precision <= LONG_DIGITS => Storage::Integer,
            DataType::Decimal { precision, .. } if precision <= DOUBLE_DIGITS => Storage::Real,
            DataType::Decimal { .. } => Storage::Text,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Storage::Integer => "INTEGER",
            Storage::Real => "REAL",
            Storage::Text => "TEXT",
            Storage::Blob => "BLOB",
        }
    }
}

pub(crate) fn create_table(table: &str, columns: &[TableColumn]) -> Result<String, Error> {
    let columns = columns.iter().map(definition).collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!("CREATE TABLE {} ({columns}) STRICT", quoted("table", table)?))
}

/// `column` must be nullable: the rows that exist get null.
pub(crate) fn add_column(table: &str, column: &TableColumn) -> Result<String, Error> {
    Ok(format!("ALTER TABLE {} ADD COLUMN {}", quoted("table", table)?, definition(column)?))
}

/// One row by positional parameters, in the order of `columns`.
pub(crate) fn insert(table: &str, columns: &[TableColumn]) -> Result<String, Error> {
    let names = columns.iter().map(|column| quoted("column", &column.name)).collect::<Result<Vec<_>, _>>()?.join(", ");
    let places = vec!["?"; columns.len()].join(", ");
    Ok(format!("INSERT INTO {} ({names}) VALUES ({places})", quoted("table", table)?))
}

pub(crate) fn select(table: &str, columns: &[TableColumn]) -> Result<String, Error> {
    let names = columns.iter().map(|column| quoted("column", &column.name)).collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!("SELECT {names} FROM {}", quoted("table", table)?))
}

/// Rows of one source (?1), all of them or those at positions ?2 to ?3 and ?4 to ?5.
pub(crate) fn delete_source(table: &str, by_position: bool) -> Result<String, Error> {
    let position = format!(r#""{SOURCE_POSITION}""#);
    let bounds = format!(" AND ({position} BETWEEN ?2 AND ?3 OR {position} BETWEEN ?4 AND ?5)");
    let bounds = if by_position { &*bounds } else { "" };
    Ok(format!(r#"DELETE FROM {} WHERE "{SOURCE}" = ?1{bounds}"#, quoted("table", table)?))
}

pub(crate) fn create_index(name: &str, table: &str, columns: &[String]) -> Result<String, Error> {
    let columns = columns.iter().map(|column| quoted("column", column)).collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!("CREATE INDEX {} ON {} ({columns})", quoted("index", name)?, quoted("table", table)?))
}

/// A temporary table of rows that are to go.
pub(crate) fn create_list(name: &str, columns: &[TableColumn]) -> Result<String, Error> {
    let columns = columns.iter().map(definition).collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!("CREATE TEMP TABLE IF NOT EXISTS {} ({columns}) STRICT", quoted("table", name)?))
}

/// The rows of `table` that are in the temporary table `list`, by these columns. Nulls are in none.
///
/// `row_number` is what SQLite calls a row's number in `table`.
pub(crate) fn delete_listed(
    table: &str,
    row_number: &str,
    list: &str,
    columns: &[TableColumn],
) -> Result<String, Error> {
    let names = columns.iter().map(|column| quoted("column", &column.name)).collect::<Result<Vec<_>, _>>()?;
    let equal: Vec<_> = names.iter().map(|name| format!("target.{name} = list.{name}")).collect();
    let (table, list, equal) = (quoted("table", table)?, quoted("table", list)?, equal.join(" AND "));
    // CROSS JOIN fixes the order: an index of the table is used where there is one, else SQLite makes one.
    Ok(format!(
        "DELETE FROM {table} WHERE {row_number} IN \
         (SELECT target.{row_number} FROM temp.{list} AS list CROSS JOIN {table} AS target ON {equal})"
    ))
}

/// SQLite's name for the number of a row that none of the columns has taken.
pub(crate) fn row_number(columns: &[TableColumn]) -> Result<&'static str, Error> {
    let is_free = |name: &&str| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    let why = "a table of SQLite cannot have `rowid`, `_rowid_` and `oid` all as columns";
    ["rowid", "_rowid_", "oid"].into_iter().find(is_free).ok_or(Error::Name { what: "column", bytes: 3, why })
}

/// SQLite compares names without regard to ASCII case.
pub(crate) fn check_columns(columns: &[TableColumn]) -> Result<(), Error> {
    let mut names = std::collections::HashSet::new();
    match columns.iter().find(|column| !names.insert(column.name.to_ascii_lowercase())) {
        Some(column) => Err(Error::SameName { column: column.name.clone() }),
        None => row_number(columns).map(drop),
    }
}

fn definition(column: &TableColumn) -> Result<String, Error> {
    let is_float = matches!(column.data_type, DataType::Double | DataType::Float);
    let not_null = if column.nullable || is_float { "" } else { " NOT NULL" };
    Ok(format!("{} {}{not_null}", quoted("column", &column.name)?, Storage::of(column.data_type).sql()))
}

/// The name as a quoted identifier. `what` is for the error.
pub(crate) fn quoted(what: &'static str, name: &str) -> Result<String, Error> {
    let refuse = |why| Err(Error::Name { what, bytes: name.len(), why });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return refuse("it is longer than 512 bytes");
    }
    if name.contains('\0') {
        return refuse("it contains a NUL");
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// Refuses a table name that belongs to SQLite or to the loader's own state.
pub(crate) fn check_target(table: &str) -> Result<(), Error> {
    quoted("table", table)?;
    let lower = table.to_ascii_lowercase();
    if lower.starts_with("sqlite_") || lower.starts_with("weir_") {
        return Err(Error::Name { what: "table", bytes: table.len(), why: "sqlite_ and weir_ are reserved" });
    }
    Ok(())
}
