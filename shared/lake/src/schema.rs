//! Columns: what a table has, what its contract wants, and how a frame is made to fit.
//!
//! Guarantees: a frame that is written has the table's columns, in the table's order, with the table's types. A value
//! is widened only where nothing is lost; everything else is refused by column, before anything is stored.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use polars::prelude::{
    Column, DataFrame, DataType as PolarsType, NamedFrom, PlSmallStr, PolarsResult, Series, TimeUnit, TimeZone,
};
use serde::{Deserialize, Serialize};
use weir_contract::{DataType, NewColumns, RESCUED, TableColumn};

use crate::data::partition::to_texts;
use crate::error::LakeError;
use crate::log::Location;
use crate::log::actions::Metadata;
use crate::table::TableDefinition;

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
            r#type: serde_json::Value::String(delta_type(column.data_type)),
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
            let Some(data_type) = field.r#type.as_str().and_then(data_type_named) else {
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
        Ok(Self {
            table: at.name.clone(),
            columns,
            partition_by: metadata.partition_columns.clone(),
            cluster_by: wanted.cluster_by.clone(),
            wanted: wanted.columns.clone(),
            new_columns: wanted.new_columns,
        })
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Those of `columns` that the table lacks.
    ///
    /// # Errors
    /// [`LakeError::Schema`] for one that the table has with a type it does not fit into, or in other letters.
    pub(crate) fn missing(&self, columns: &[TableColumn]) -> Result<Vec<TableColumn>, LakeError> {
        let mut missing = Vec::new();
        for column in columns {
            match self.column(&column.name) {
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

    /// Makes a frame fit. What it has beyond the table's columns is treated as the contract's `new_columns` says; what
    /// it lacks, because the table got it after the rows were made, is null.
    pub(crate) fn conform(&self, frame: DataFrame) -> Result<Conformed, LakeError> {
        let mut unknown = Vec::new();
        for column in frame.columns() {
            let name = column.name().as_str();
            if self.column(name).is_some() {
                continue;
            }
            check_case(name, &self.columns).map_err(|message| self.error(message))?;
            let data_type = data_type_of(column.dtype()).ok_or_else(|| {
                self.error(format!("frame column `{name}` of type {}, which Delta has not", column.dtype()))
            })?;
            unknown.push(TableColumn { name: name.to_owned(), data_type, nullable: true });
        }
        let frame = match (unknown.as_slice(), self.new_columns) {
            ([], _) => frame,
            (_, NewColumns::Add) => return Ok(Conformed::Needs(unknown)),
            ([column, ..], NewColumns::Fail) => {
                let name = &column.name;
                return Err(
                    self.error(format!("frame column `{name}` is not in the table, and `new_columns` is \"fail\""))
                );
            }
            (_, NewColumns::Rescue) => self.rescue(frame, &unknown)?,
        };
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
                    delta_type(own.data_type),
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

    fn error(&self, message: String) -> LakeError {
        LakeError::Schema { table: self.table.clone(), message }
    }

    fn frame_error(&self, source: polars::error::PolarsError) -> LakeError {
        LakeError::Frame { table: self.table.clone(), action: "fit a frame", source }
    }
}

/// `_rescued` of every row: what it was, and the values of `unknown`. What was there is not parsed, so that its numbers
/// keep their digits.
fn rescued(frame: &DataFrame, unknown: &[TableColumn]) -> PolarsResult<Series> {
    let before = frame.column(RESCUED).ok().map(|column| column.str()).transpose()?;
    let mut columns = Vec::with_capacity(unknown.len());
    for column in unknown {
        columns.push((quoted(&column.name), json(frame.column(&column.name)?)?));
    }
    let mut texts: Vec<Option<String>> = Vec::with_capacity(frame.height());
    for row in 0..frame.height() {
        let kept = before.and_then(|before| before.get(row)).map(members);
        let mut all: Vec<Cow<'_, str>> = kept.into_iter().filter(|members| !members.is_empty()).collect();
        for (name, values) in &columns {
            all.extend(values.get(row).and_then(Option::as_ref).map(|value| format!("{name}:{value}").into()));
        }
        texts.push(if all.is_empty() { None } else { Some(format!("{{{}}}", all.join(","))) });
    }
    Ok(Series::new(PlSmallStr::from_static(RESCUED), texts))
}

/// What is between the braces of a JSON object. Another text is kept whole, under the column's own name.
fn members(text: &str) -> Cow<'_, str> {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.map_or_else(|| format!("{}:{}", quoted(RESCUED), quoted(text)).into(), |inner| inner.trim().into())
}

/// The values as JSON; as text where JSON has no such type, in the form that a contract of that type reads again.
fn json(column: &Column) -> PolarsResult<Vec<Option<String>>> {
    Ok(match column.dtype() {
        PolarsType::Binary => column.binary()?.iter().map(|bytes| Some(quoted(&BASE64.encode(bytes?)))).collect(),
        PolarsType::Float32 | PolarsType::Float64 => {
            let values = column.cast(&PolarsType::Float64)?;
            let json = |value| match serde_json::Number::from_f64(value) {
                Some(number) => number.to_string(),
                None => quoted(&value.to_string()),
            };
            values.f64()?.iter().map(|value| value.map(json)).collect()
        }
        PolarsType::Boolean | PolarsType::Int8 | PolarsType::Int16 | PolarsType::Int32 | PolarsType::Int64 => {
            to_texts(column, false)?
        }
        _ => to_texts(column, false)?.into_iter().map(|text| Some(quoted(&text?))).collect(),
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
            delta_type(contract.data_type),
            delta_type(table)
        ));
    }
    if contract.nullable && !table_nullable {
        return Err(format!("column `{name}` may be null in the contract and must not be in the table"));
    }
    Ok(())
}

/// Whether every value of `from` is one of `to`.
pub(crate) fn widens(from: DataType, to: DataType) -> bool {
    use DataType::{Byte, Decimal, Double, Float, Integer, Long, Short};
    // Decimal digits that every value of an integer type fits into.
    let digits = match from {
        Byte => Some(3),
        Short => Some(5),
        Integer => Some(10),
        Long => Some(19),
        _ => None,
    };
    match (from, to) {
        (Byte, Short | Integer | Long | Float | Double)
        | (Short, Integer | Long | Float | Double)
        | (Integer, Long | Double)
        | (Float, Double) => true,
        (Decimal { precision, scale }, Decimal { precision: wider, scale: finer }) => {
            finer >= scale && wider.saturating_sub(finer) >= precision.saturating_sub(scale)
        }
        (_, Decimal { precision, scale }) => digits.is_some_and(|digits| precision.saturating_sub(scale) >= digits),
        _ => false,
    }
}

pub(crate) fn delta_type(data_type: DataType) -> String {
    let name: Cow<'_, str> = match data_type {
        DataType::String => "string".into(),
        DataType::Long => "long".into(),
        DataType::Integer => "integer".into(),
        DataType::Short => "short".into(),
        DataType::Byte => "byte".into(),
        DataType::Double => "double".into(),
        DataType::Float => "float".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date => "date".into(),
        DataType::Timestamp => "timestamp".into(),
        DataType::Binary => "binary".into(),
        DataType::Decimal { precision, scale } => format!("decimal({precision},{scale})").into(),
    };
    name.into_owned()
}

fn data_type_named(name: &str) -> Option<DataType> {
    if let Some(arguments) = name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        let (precision, scale) = arguments.split_once(',')?;
        return Some(DataType::Decimal {
            precision: precision.trim().parse().ok()?,
            scale: scale.trim().parse().ok()?,
        });
    }
    Some(match name {
        "string" => DataType::String,
        "long" => DataType::Long,
        "integer" => DataType::Integer,
        "short" => DataType::Short,
        "byte" => DataType::Byte,
        "double" => DataType::Double,
        "float" => DataType::Float,
        "boolean" => DataType::Boolean,
        "date" => DataType::Date,
        "timestamp" => DataType::Timestamp,
        "binary" => DataType::Binary,
        _ => return None,
    })
}

/// The Polars type whose Parquet form every Delta reader takes for the Delta type.
pub(crate) fn polars_type(data_type: DataType) -> PolarsType {
    match data_type {
        DataType::String => PolarsType::String,
        DataType::Long => PolarsType::Int64,
        DataType::Integer => PolarsType::Int32,
        DataType::Short => PolarsType::Int16,
        DataType::Byte => PolarsType::Int8,
        DataType::Double => PolarsType::Float64,
        DataType::Float => PolarsType::Float32,
        DataType::Boolean => PolarsType::Boolean,
        DataType::Date => PolarsType::Date,
        DataType::Timestamp => PolarsType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        DataType::Binary => PolarsType::Binary,
        DataType::Decimal { precision, scale } => PolarsType::Decimal(precision.into(), scale.into()),
    }
}

/// The Delta type of a Polars type; `None` where Delta has none (unsigned integers, times without a zone, …).
fn data_type_of(dtype: &PolarsType) -> Option<DataType> {
    Some(match dtype {
        PolarsType::String => DataType::String,
        PolarsType::Int64 => DataType::Long,
        PolarsType::Int32 => DataType::Integer,
        PolarsType::Int16 => DataType::Short,
        PolarsType::Int8 => DataType::Byte,
        PolarsType::Float64 => DataType::Double,
        PolarsType::Float32 => DataType::Float,
        PolarsType::Boolean => DataType::Boolean,
        PolarsType::Date => DataType::Date,
        PolarsType::Datetime(TimeUnit::Microseconds, Some(zone)) if *zone == TimeZone::UTC => DataType::Timestamp,
        PolarsType::Binary => DataType::Binary,
        PolarsType::Decimal(precision, scale) => {
            DataType::Decimal { precision: u8::try_from(*precision).ok()?, scale: u8::try_from(*scale).ok()? }
        }
        _ => return None,
    })
}

/// The metadata with more columns, at the end.
pub(crate) fn with_columns(at: &Location, metadata: &Metadata, columns: &[TableColumn]) -> Result<Metadata, LakeError> {
    let mut schema = Schema::parse(at, metadata)?;
    schema.fields.extend(columns.iter().map(Field::of));
    let schema_string = serde_json::to_string(&schema).map_err(|error| at.corrupt(&at.root, error))?;
    Ok(Metadata { schema_string, ..metadata.clone() })
}
