//! Delta's `schemaString` as columns, and what a change of it asks of the warehouse.

use serde::Deserialize;
use serde_json::Value;
use weir_contract::{DataType, TableColumn};

use crate::Error;

/// Delta tables may be wider, but no warehouse dialect is.
const MAX_COLUMNS: usize = 1_024;

/// The columns of a Delta `schemaString`, in its order. A type that no dialect can hold is an error that names it.
pub fn columns(schema: &str) -> Result<Vec<TableColumn>, Error> {
    let parsed: Struct = serde_json::from_str(schema)
        .map_err(|error| Error::Schema(format!("not a Delta schema (at column {} of the text)", error.column())))?;
    if parsed.fields.is_empty() || parsed.fields.len() > MAX_COLUMNS {
        return Err(Error::Schema(format!("{} columns, where 1 to {MAX_COLUMNS} are possible", parsed.fields.len())));
    }
    parsed.fields.into_iter().map(Field::column).collect()
}

/// How a table gets from one schema to another.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Same,
    /// Only new columns, all nullable: every row that exists is right with null in them.
    Added(Vec<TableColumn>),
    /// A column was dropped, retyped, changed its nullability, or came in as not null.
    Incompatible {
        column: String,
    },
}

pub(crate) fn change(old: &[TableColumn], new: &[TableColumn]) -> Change {
    let find = |columns: &[TableColumn], name: &str| columns.iter().find(|column| column.name == name).cloned();
    if let Some(gone) = old.iter().find(|column| find(new, &column.name).as_ref() != Some(column)) {
        return Change::Incompatible { column: gone.name.clone() };
    }
    let added: Vec<_> = new.iter().filter(|column| find(old, &column.name).is_none()).cloned().collect();
    match added.iter().find(|column| !column.nullable) {
        Some(column) => Change::Incompatible { column: column.name.clone() },
        None if added.is_empty() => Change::Same,
        None => Change::Added(added),
    }
}

#[derive(Deserialize)]
struct Struct {
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    data_type: Value,
    nullable: bool,
}

impl Field {
    fn column(self) -> Result<TableColumn, Error> {
        let known = self.data_type.as_str().and_then(DataType::from_delta);
        match known {
            Some(data_type) => Ok(TableColumn { name: self.name, data_type, nullable: self.nullable }),
            None => Err(Error::Schema(format!("column `{}` has a type the warehouse cannot hold", self.name))),
        }
    }
}
