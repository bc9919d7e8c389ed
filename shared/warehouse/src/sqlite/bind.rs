//! Polars columns as SQL parameters: the types are matched once per file and column, each value then costs one typed
//! access and one bind.

use polars::prelude::{
    BinaryChunked, BooleanChunked, Column, DataFrame, DataType as Dtype, Float32Chunked, Float64Chunked, Int8Chunked,
    Int16Chunked, Int32Chunked, Int64Chunked, Int128Chunked, StringChunked, TimeUnit,
};
use rusqlite::Statement;
use rusqlite::types::Null;
use weir_contract::{DataType, TableColumn};

use super::ddl::Storage;
use super::text;
use crate::Error;

/// One column of one file.
pub(super) enum Cells<'a> {
    /// The file has no such column, or nothing in it.
    Null,
    Bool(&'a BooleanChunked),
    I8(&'a Int8Chunked),
    I16(&'a Int16Chunked),
    I32(&'a Int32Chunked),
    I64(&'a Int64Chunked),
    F32(&'a Float32Chunked),
    F64(&'a Float64Chunked),
    Text(&'a StringChunked),
    Blob(&'a BinaryChunked),
    Date(&'a Int32Chunked),
    Timestamp(&'a Int64Chunked),
    DecimalInteger(&'a Int128Chunked),
    /// With the power of ten to divide by.
    DecimalReal(&'a Int128Chunked, f64),
    /// With the scale.
    DecimalText(&'a Int128Chunked, usize),
}

/// The frame's columns in the order of `columns`. The frame must be rechunked, for access in constant time.
pub(super) fn cells<'a>(frame: &'a DataFrame, columns: &[TableColumn], path: &str) -> Result<Vec<Cells<'a>>, Error> {
    let cell = |column: &TableColumn| match frame.column(&column.name) {
        Ok(values) => Cells::new(values, column.data_type).ok_or_else(|| {
            let detail = format!("is {} in the file, where the table has {:?}", values.dtype(), column.data_type);
            Error::Column { path: path.to_owned(), column: column.name.clone(), detail }
        }),
        Err(_) if column.nullable => Ok(Cells::Null),
        Err(_) => {
            let detail = "is not in the file and may not be null".to_owned();
            Err(Error::Column { path: path.to_owned(), column: column.name.clone(), detail })
        }
    };
    columns.iter().map(cell).collect()
}

impl<'a> Cells<'a> {
    /// `None` when the file's type cannot be stored exactly as the table's.
    fn new(values: &'a Column, data_type: DataType) -> Option<Self> {
        let series = values.as_materialized_series();
        Some(match (data_type, series.dtype()) {
            (_, Dtype::Null) => Cells::Null,
            (DataType::Boolean, Dtype::Boolean) => Cells::Bool(series.bool().ok()?),
            (DataType::Byte | DataType::Short | DataType::Integer | DataType::Long, dtype) => match dtype {
                Dtype::Int8 => Cells::I8(series.i8().ok()?),
                Dtype::Int16 => Cells::I16(series.i16().ok()?),
                Dtype::Int32 => Cells::I32(series.i32().ok()?),
                Dtype::Int64 => Cells::I64(series.i64().ok()?),
                _ => return None,
            },
            (DataType::Float | DataType::Double, Dtype::Float32) => Cells::F32(series.f32().ok()?),
            (DataType::Float | DataType::Double, Dtype::Float64) => Cells::F64(series.f64().ok()?),
            (DataType::String, Dtype::String) => Cells::Text(series.str().ok()?),
            (DataType::Binary, Dtype::Binary) => Cells::Blob(series.binary().ok()?),
            (DataType::Date, Dtype::Date) => Cells::Date(series.date().ok()?.physical()),
            (DataType::Timestamp, Dtype::Datetime(TimeUnit::Microseconds, _)) => {
                Cells::Timestamp(series.datetime().ok()?.physical())
            }
            (DataType::Decimal { scale, .. }, Dtype::Decimal(_, found)) if usize::from(scale) == *found => {
                let unscaled = series.decimal().ok()?.physical();
                match Storage::of(data_type) {
                    Storage::Integer => Cells::DecimalInteger(unscaled),
                    Storage::Real => Cells::DecimalReal(unscaled, 10_f64.powi(i32::from(scale))),
                    Storage::Text | Storage::Blob => Cells::DecimalText(unscaled, *found),
                }
            }
            _ => return None,
        })
    }

    /// Binds the value at `row` to the 1-based parameter `index`. `scratch` is overwritten.
    pub(super) fn bind(
        &self,
        row: usize,
        statement: &mut Statement<'_>,
        index: usize,
        scratch: &mut String,
    ) -> rusqlite::Result<()> {
        scratch.clear();
        match self {
            Cells::Null => statement.raw_bind_parameter(index, Null),
            Cells::Bool(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::I8(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::I16(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::I32(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::I64(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::F32(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::F64(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::Text(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::Blob(values) => statement.raw_bind_parameter(index, values.get(row)),
            Cells::Date(values) => {
                let shown = values.get(row).map(|days| text::date(scratch, days.into()));
                statement.raw_bind_parameter(index, shown.map(|()| scratch.as_str()))
            }
            Cells::Timestamp(values) => {
                let shown = values.get(row).map(|micros| text::timestamp(scratch, micros));
                statement.raw_bind_parameter(index, shown.map(|()| scratch.as_str()))
            }
            // At most 18 digits by the table's type; a file that holds more fails its row instead of wrapping.
            Cells::DecimalInteger(values) => match values.get(row).map(i64::try_from).transpose() {
                Ok(value) => statement.raw_bind_parameter(index, value),
                Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(Box::new(error))),
            },
            // Both operands are exact doubles, so the quotient is the double nearest to the decimal.
            Cells::DecimalReal(values, power) => {
                statement.raw_bind_parameter(index, values.get(row).map(|unscaled| unscaled as f64 / power))
            }
            Cells::DecimalText(values, scale) => {
                let shown = values.get(row).map(|unscaled| text::decimal(scratch, unscaled, *scale));
                statement.raw_bind_parameter(index, shown.map(|()| scratch.as_str()))
            }
        }
    }
}
