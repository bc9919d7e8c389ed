//! Columns: what a table has, what its contract wants, and how a frame is made to fit.
//!
//! Guarantees: a frame that is written has the table's columns, in the table's order, with the table's types. A value
//! is widened only where nothing is lost; everything else is refused by column, before anything is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::{Column, DataFrame, DataType as PolarsType, PlSmallStr};
use serde::{Deserialize, Serialize};
use weir_contract::{DataType, NewColumns, RESCUED, TableColumn};

use crate::added::AddedColumns;
use crate::data::statistics::Indexed;
use crate::error::LakeError;
use crate::log::Location;
use crate::log::actions::Metadata;
use crate::rescue::rescued;
use crate::table::TableDefinition;
use crate::types::{data_type_of, polars_type, widens};

/// `metaData.schemaString`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Schema {
    r#type: String,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) r#type: serde_json::Value,
    pub(crate) nullable: bool,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, serde_json::Value>,
}

impl Schema {
    pub(crate) fn of(columns: &[TableColumn]) -> Self {
        Self { r#type: "struct".to_owned(), fields: columns.iter().map(Field::of).collect() }
    }

    pub(crate) fn parse(at: &Location, metadata: &Metadata) -> Result<Self, LakeError> {
        let parsed = serde_json::from_str(&metadata.schema_string);
        parsed.map_err(|cause| at.corrupt(at.root.clone().join("_delta_log"), format!("schemaString: {cause}")))
    }
}

impl Field {
    pub(crate) fn of(column: &TableColumn) -> Self {
        Self {
            name: column.name.clone(),
            r#type: serde_json::Value::String(column.data_type.to_string()),
            nullable: column.nullable,
            metadata: BTreeMap::new(),
        }
    }
}

/// A table's columns as they are now, beside what its contract wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    table: String,
    /// The table's own, in its order. Nullability is the table's: rows from before a contract forbade nulls must stay
    /// rewritable.
    pub(crate) columns: Vec<TableColumn>,
    pub(crate) partition_by: Vec<String>,
    pub(crate) cluster_by: Vec<String>,
    wanted: Vec<TableColumn>,
    new_columns: NewColumns,
    pub(crate) added: Option<AddedColumns>,
    pub(crate) indexed: Indexed,
    /// `delta.targetFileSize`.
    pub(crate) target_file_bytes: Option<usize>,
}

/// What a frame came to.
#[derive(Debug)]
pub(crate) enum Conformed {
    Fits(DataFrame),
    /// The table has to get these columns first.
    Needs(Vec<TableColumn>),
}

impl Layout {
    /// # Errors
    /// [`LakeError::Schema`] when the table is not one that the contract's rows fit into, by column.
    pub(crate) fn fit(at: &Location, wanted: &TableDefinition, metadata: &Metadata) -> Result<Self, LakeError> {
        let error = |message: String| LakeError::Schema { table: at.name.clone(), message };
        let fields = Schema::parse(at, metadata)?.fields;
        let mut columns = Vec::with_capacity(fields.len());
        for field in &fields {
            let contract = wanted.columns.iter().find(|column| column.name == field.name);
            let name = &field.name;
            let Some(data_type) = field.r#type.as_str().and_then(DataType::from_delta) else {
                return Err(error(format!("column `{name}` has a nested or unknown type, which Weir does not write")));
            };
            match contract {
                Some(contract) => check_types(contract, data_type, field.nullable).map_err(error)?,
                None if wanted.new_columns == NewColumns::Fail => {
                    return Err(error(format!(
                        "the table has column `{name}`, the contract has not, and `new_columns` is \"fail\""
                    )));
                }
                None if !field.nullable => {
                    return Err(error(format!(
                        "the table's column `{name}` must not be null, and the contract has it not"
                    )));
                }
                None => {}
            }
            columns.push(TableColumn { name: name.clone(), data_type, nullable: field.nullable });
        }
        let missing = || wanted.columns.iter().filter(|column| !columns.iter().any(|own| own.name == column.name));
        for column in missing() {
            check_case(&column.name, &columns).map_err(error)?;
        }
        if let (Some(column), NewColumns::Fail) = (missing().next(), wanted.new_columns) {
            return Err(error(format!(
                "the contract has column `{}`, the table has not, and `new_columns` is \"fail\": add it to the table, or \
                 let `new_columns` be \"add\"",
                column.name
            )));
        }
        if metadata.partition_columns != wanted.partition_by {
            let (table, contract) = (metadata.partition_columns.join(", "), wanted.partition_by.join(", "));
            return Err(error(format!(
                "partitioned by [{table}], and by [{contract}] in the contract; a table's partition columns stay: give the \
                 dataset a new table"
            )));
        }
        // What the contract sets holds from the first commit on; the table's own properties follow.
        let property = |key: &str| {
            let own = wanted.properties.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
            own.or_else(|| metadata.configuration.get(key).cloned().flatten())
        };
        Ok(Self {
            table: at.name.clone(),
            columns,
            partition_by: metadata.partition_columns.clone(),
            cluster_by: wanted.cluster_by.clone(),
            wanted: wanted.columns.clone(),
            new_columns: wanted.new_columns,
            added: wanted.added_columns,
            indexed: Indexed::of(property),
            target_file_bytes: property("delta.targetFileSize").and_then(|bytes| bytes.parse().ok()),
        })
    }

    /// Whether the contract has a column of this name.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.wanted.iter().any(|column| column.name == name)
    }

    /// Columns whose smallest and largest values the log may have: those that the contract names. Others hold what came with
    /// the data, or what a contract has given up.
    pub(crate) fn bounded(&self) -> Arc<[String]> {
        self.wanted.iter().map(|own| own.name.clone()).collect()
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Those of `columns` that the table lacks. Of those that come from data, as many as there is room for.
    ///
    /// # Errors
    /// [`LakeError::Schema`] for one of the contract that the table has with a type it does not fit into, or in other letters.
    pub(crate) fn missing(&self, columns: &[TableColumn]) -> Result<Vec<TableColumn>, LakeError> {
        let mut missing = Vec::new();
        for column in columns {
            match self.column(&column.name) {
                _ if self.comes_from_data(&column.name) => {
                    missing.extend(self.has_room_for(column, &missing).then(|| column.clone()));
                }
                Some(own) => check_types(column, own.data_type, true).map_err(|message| self.error(message))?,
                None => {
                    check_case(&column.name, self.columns.iter().chain(&missing))
                        .map_err(|message| self.error(message))?;
                    missing.push(TableColumn { nullable: true, ..column.clone() });
                }
            }
        }
        Ok(missing)
    }

    /// A frame that comes in must have every column of the contract.
    pub(crate) fn complete(&self, frame: &DataFrame) -> Result<(), LakeError> {
        match self.wanted.iter().find(|column| frame.get_column_index(&column.name).is_none()) {
            Some(absent) => Err(self.error(format!("a frame without column `{}`", absent.name))),
            None => Ok(()),
        }
    }

    /// The same, with columns that the table would get.
    pub(crate) fn with(&self, columns: Vec<TableColumn>) -> Self {
        let mut grown = self.clone();
        grown.columns.extend(columns.into_iter().map(|column| TableColumn { nullable: true, ..column }));
        grown
    }

    /// Makes a frame fit. What it has beyond the table's columns is treated as the contract's `new_columns` says; what
    /// it lacks, because the table got it after the rows were made, is null.
    pub(crate) fn conform(&self, frame: DataFrame) -> Result<Conformed, LakeError> {
        let mut added = self.sort_added(&frame)?;
        let mut unknown = Vec::new();
        for column in frame.columns() {
            let name = column.name().as_str();
            if self.column(name).is_some() || self.comes_from_data(name) {
                continue;
            }
            check_case(name, &self.columns).map_err(|message| self.error(message))?;
            let data_type = data_type_of(column.dtype()).ok_or_else(|| self.no_type(name, column.dtype()))?;
            unknown.push(TableColumn { name: name.to_owned(), data_type, nullable: true });
        }
        let frame = match (unknown.as_slice(), self.new_columns) {
            ([], _) if added.needed.is_empty() => frame,
            ([], _) => return Ok(Conformed::Needs(added.needed)),
            (_, NewColumns::Add) => {
                unknown.append(&mut added.needed);
                return Ok(Conformed::Needs(unknown));
            }
            ([column, ..], NewColumns::Fail) => {
                let name = &column.name;
                return Err(
                    self.error(format!("frame column `{name}` is not in the table, and `new_columns` is \"fail\""))
                );
            }
            (_, NewColumns::Rescue) => self.rescue(frame, &unknown)?,
        };
        let frame = if added.rescued.is_empty() { frame } else { self.rescue(frame, &added.rescued)? };
        let frame = added.rename(frame).map_err(|source| self.frame_error(source))?;
        let height = frame.height();
        let columns = self.columns.iter().map(|own| self.fitted(&frame, own)).collect::<Result<Vec<_>, _>>()?;
        DataFrame::new(height, columns).map(Conformed::Fits).map_err(|source| self.frame_error(source))
    }

    fn fitted(&self, frame: &DataFrame, own: &TableColumn) -> Result<Column, LakeError> {
        let (name, dtype) = (&own.name, polars_type(own.data_type));
        let Ok(found) = frame.column(name) else {
            return Ok(Column::full_null(PlSmallStr::from_str(name), frame.height(), &dtype));
        };
        let column = if *found.dtype() == dtype {
            found.clone()
        } else {
            let widened = data_type_of(found.dtype()).filter(|from| widens(*from, own.data_type));
            if widened.is_none() {
                return Err(self.error(format!(
                    "column `{name}` is {} in the table and {} in the frame, which does not fit without loss",
                    own.data_type,
                    found.dtype()
                )));
            }
            found.strict_cast(&dtype).map_err(|source| self.frame_error(source))?
        };
        // The contract may be stricter than the table, whose older rows may have nulls.
        let contract = self.wanted.iter().find(|column| column.name == *name);
        let nullable = own.nullable && contract.is_none_or(|column| column.nullable);
        if !nullable && column.null_count() > 0 {
            let nulls = column.null_count();
            return Err(self.error(format!("column `{name}` must not be null and has {nulls} nulls")));
        }
        if !nullable && self.partition_by.contains(name) && *column.dtype() == PolarsType::String {
            let texts = column.str().map_err(|source| self.frame_error(source))?;
            let empty = texts.iter().filter(|text| *text == Some("")).count();
            if empty > 0 {
                return Err(self.error(format!(
                    "partition column `{name}` must not be null and has {empty} empty texts, which the Delta protocol takes for \
                     null"
                )));
            }
        }
        Ok(column)
    }

    /// Values to look for rows by, with the types of the table's columns.
    pub(crate) fn key(&self, keys: &DataFrame) -> Result<DataFrame, LakeError> {
        let mut columns = Vec::with_capacity(keys.width());
        for column in keys.columns() {
            let name = column.name();
            let own = self.column(name).ok_or_else(|| self.error(format!("no column `{name}` to look for rows by")))?;
            columns.push(self.fitted(keys, &TableColumn { nullable: false, ..own.clone() })?);
        }
        if columns.is_empty() {
            return Err(self.error("no column to look for rows by".to_owned()));
        }
        DataFrame::new(keys.height(), columns).map_err(|source| self.frame_error(source))
    }

    /// Moves the values of columns that the table lacks into `_rescued`.
    fn rescue(&self, mut frame: DataFrame, unknown: &[TableColumn]) -> Result<DataFrame, LakeError> {
        let name = &unknown.first().map(|column| column.name.clone()).unwrap_or_default();
        if self.column(RESCUED).is_none() {
            return Err(self.error(format!(
                "frame column `{name}` is not in the table, and the table has no `{RESCUED}` to keep it in"
            )));
        }
        let rescued = rescued(&frame, unknown).map_err(|source| self.frame_error(source))?;
        frame.with_column(rescued.into()).map_err(|source| self.frame_error(source))?;
        Ok(frame.drop_many(unknown.iter().map(|column| column.name.as_str())))
    }

    pub(crate) fn no_type(&self, name: &str, dtype: &PolarsType) -> LakeError {
        self.error(format!("frame column `{name}` of type {dtype}, which Delta has not"))
    }

    fn error(&self, message: String) -> LakeError {
        LakeError::Schema { table: self.table.clone(), message }
    }

    fn frame_error(&self, source: polars::error::PolarsError) -> LakeError {
        LakeError::Frame { table: self.table.clone(), action: "fit a frame", source }
    }
}

/// Delta's column names differ by more than case: most engines ignore it.
fn check_case<'a>(name: &str, columns: impl IntoIterator<Item = &'a TableColumn>) -> Result<(), String> {
    let lower = name.to_lowercase();
    match columns.into_iter().find(|own| own.name != name && own.name.to_lowercase() == lower) {
        Some(own) => Err(format!(
            "column `{name}` and the table's column `{}` differ by case alone, which Delta ignores: give it the table's \
             name or another one",
            own.name
        )),
        None => Ok(()),
    }
}

fn check_types(contract: &TableColumn, table: DataType, table_nullable: bool) -> Result<(), String> {
    let name = &contract.name;
    if contract.data_type != table && !widens(contract.data_type, table) {
        return Err(format!(
            "column `{name}` is {} in the contract and {} in the table; a type change needs a reader that Synapse has \
             not: give the column a new name or the dataset a new table",
            contract.data_type, table
        ));
    }
    if contract.nullable && !table_nullable {
        return Err(format!("column `{name}` may be null in the contract and must not be in the table"));
    }
    Ok(())
}

/// What changes of a table's metadata beside its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MetadataChange {
    /// Columns that may be null from now on.
    pub(crate) nullable: Vec<String>,
    pub(crate) properties: Vec<(String, String)>,
}

impl MetadataChange {
    pub(crate) fn is_empty(&self) -> bool {
        self.nullable.is_empty() && self.properties.is_empty()
    }

    pub(crate) fn is_in(&self, metadata: &Metadata) -> bool {
        let schema: Option<Schema> = serde_json::from_str(&metadata.schema_string).ok();
        let is_nullable = |name: &String| {
            let fields = schema.iter().flat_map(|schema| &schema.fields);
            fields.filter(|field| field.name == *name).all(|field| field.nullable)
        };
        let is_set = |(key, value): &(String, String)| metadata.configuration.get(key) == Some(&Some(value.clone()));
        self.nullable.iter().all(is_nullable) && self.properties.iter().all(is_set)
    }
}

/// The metadata with more columns, at the end, and with other changes; `None` where it stays what it is.
pub(crate) fn changed<'a>(
    at: &Location,
    metadata: &Metadata,
    columns: &[TableColumn],
    changes: impl Iterator<Item = &'a MetadataChange>,
) -> Result<Option<Metadata>, LakeError> {
    let changes: Vec<_> = changes.filter(|change| !change.is_in(metadata)).collect();
    if columns.is_empty() && changes.is_empty() {
        return Ok(None);
    }
    let mut schema = Schema::parse(at, metadata)?;
    schema.fields.extend(columns.iter().map(Field::of));
    let mut configuration = metadata.configuration.clone();
    for MetadataChange { nullable, properties } in changes {
        for field in schema.fields.iter_mut().filter(|field| nullable.contains(&field.name)) {
            field.nullable = true;
        }
        configuration.extend(properties.iter().map(|(key, value)| (key.clone(), Some(value.clone()))));
    }
    let schema_string = serde_json::to_string(&schema).map_err(|error| at.corrupt(&at.root, error))?;
    Ok(Some(Metadata { schema_string, configuration, ..metadata.clone() }))
}
