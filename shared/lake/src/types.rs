//! Types: how a column's type is written by Polars, and which value of one type is one of another.

use polars::prelude::{DataType as PolarsType, TimeUnit, TimeZone};
use weir_contract::DataType;

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
pub(crate) fn data_type_of(dtype: &PolarsType) -> Option<DataType> {
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
