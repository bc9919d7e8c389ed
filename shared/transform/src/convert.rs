//! The one conversion from Parquet's types to the contract's: a table of both, in which every pair has its arm.
//!
//! What the contract's type cannot hold exactly is a fault of its row. Pairs of types that text tells of go through the
//! one grammar of text.

use arrow_buffer::{ArrowNativeType, i256};
use arrow_schema::TimeUnit;
use polars::prelude::{
    BinaryChunkedBuilder, BooleanChunked, ChunkedArray, DataType as Dtype, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Int128Type, IntoSeries, PolarsNumericType, Series, StringChunkedBuilder,
    TimeUnit as Unit, TimeZone,
};
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use weir_contract::DataType as T;

use crate::columns::{Builder, Target, dtype};
use crate::text::{Mismatch, power_of_ten};
use crate::values::{Kind, Values, is_day, micros};

/// A column in the contract's type: null where a value does not fit.
pub(crate) struct Converted {
    pub(crate) series: Series,
    /// By row, ascending.
    pub(crate) mismatches: Vec<(usize, Mismatch)>,
}

/// Rows whose values are not worth a copy, because the row is refused anyway; none, or one flag a row.
pub(crate) type Passed<'p> = &'p [bool];

pub(crate) fn convert(target: &Target, given: &Values<'_>, passed: Passed<'_>) -> Converted {
    let to = To { target, given, passed };
    match target.data_type {
        T::String => to.string(),
        T::Long => to.integer::<Int64Type>(),
        T::Integer => to.integer::<Int32Type>(),
        T::Short => to.integer::<Int16Type>(),
        T::Byte => to.integer::<Int8Type>(),
        T::Double => to.double(),
        T::Float => to.float(),
        T::Decimal { precision, scale } => to.decimal(precision, scale),
        T::Boolean => to.boolean(),
        T::Date => to.date(),
        T::Timestamp => to.timestamp(),
        T::Binary => to.binary(),
    }
}

struct To<'c> {
    target: &'c Target,
    given: &'c Values<'c>,
    passed: Passed<'c>,
}

/// The whole numbers of a column, whatever their width.
macro_rules! whole {
    ($kind:expr, $values:ident => $then:expr, $($other:tt)*) => {
        match $kind {
            Kind::Int8($values) => $then,
            Kind::Int16($values) => $then,
            Kind::Int32($values) => $then,
            Kind::Int64($values) => $then,
            Kind::UInt8($values) => $then,
            Kind::UInt16($values) => $then,
            Kind::UInt32($values) => $then,
            Kind::UInt64($values) => $then,
            $($other)*
        }
    };
}

impl To<'_> {
    fn string(&self) -> Converted {
        let (Kind::Text(values) | Kind::Bytes(values)) = &self.given.kind else { return self.by_text() };
        let mut builder = StringChunkedBuilder::new(self.name(), self.given.length);
        let mut mismatches = Vec::new();
        for row in 0..self.given.length {
            if self.is_null(row) {
                builder.append_null();
                continue;
            }
            match text(values.value(row)) {
                Some(text) => builder.append_value(text),
                None => {
                    mismatches.push((row, Mismatch::Form));
                    builder.append_null();
                }
            }
        }
        Converted { series: builder.finish().into_series(), mismatches }
    }

    fn integer<P>(&self) -> Converted
    where
        P: PolarsNumericType,
        P::Native: ArrowNativeType
            + TryFrom<i8>
            + TryFrom<i16>
            + TryFrom<i32>
            + TryFrom<i64>
            + TryFrom<u8>
            + TryFrom<u16>
            + TryFrom<u32>
            + TryFrom<u64>
            + TryFrom<i128>,
        ChunkedArray<P>: IntoSeries,
    {
        let (null, form) = (P::Native::default(), Mismatch::Form);
        whole!(
            &self.given.kind,
            values => self.each::<P, _>(values, null, |value| value.try_into().map_err(|_| Mismatch::Range)),
            Kind::Float16(values) => self.each::<P, _>(values, null, |value| exact(value.to_f64())),
            Kind::Float32(values) => self.each::<P, _>(values, null, |value| exact(value.into())),
            Kind::Float64(values) => self.each::<P, _>(values, null, exact),
            Kind::Decimal128(values, scale) => self.each::<P, _>(values, null, |value| {
                narrow(scaled(i256::from_i128(value), *scale, 0).map_err(|_| form)?)
            }),
            Kind::Decimal256(values, scale) => self.each::<P, _>(values, null, |value| {
                narrow(scaled(value, *scale, 0).map_err(|_| form)?)
            }),
            Kind::Text(_) => self.by_text(),
            Kind::Null => self.nulls(),
            Kind::Boolean(_)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::Date(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::Timestamp { .. }
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => self.none_fits(),
        )
    }

    #[allow(clippy::cast_precision_loss, trivial_numeric_casts)] // A double is the nearest binary value.
    fn double(&self) -> Converted {
        whole!(
            &self.given.kind,
            values => self.each::<Float64Type, _>(values, 0.0, |value| Ok(value as f64)),
            Kind::Float16(values) => self.each::<Float64Type, _>(values, 0.0, |value| finite64(value.to_f64())),
            Kind::Float32(values) => self.each::<Float64Type, _>(values, 0.0, |value| finite64(value.into())),
            Kind::Float64(values) => self.each::<Float64Type, _>(values, 0.0, finite64),
            Kind::Decimal128(..) | Kind::Decimal256(..) | Kind::Text(_) => self.by_text(),
            Kind::Null => self.nulls(),
            Kind::Boolean(_)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::Date(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::Timestamp { .. }
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => self.none_fits(),
        )
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // As above.
    fn float(&self) -> Converted {
        whole!(
            &self.given.kind,
            values => self.each::<Float32Type, _>(values, 0.0, |value| Ok(value as f32)),
            Kind::Float16(values) => self.each::<Float32Type, _>(values, 0.0, |value| finite32(value.to_f32())),
            Kind::Float32(values) => self.each::<Float32Type, _>(values, 0.0, finite32),
            Kind::Float64(values) => self.each::<Float32Type, _>(values, 0.0, |value| finite32(value as f32)),
            Kind::Decimal128(..) | Kind::Decimal256(..) | Kind::Text(_) => self.by_text(),
            Kind::Null => self.nulls(),
            Kind::Boolean(_)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::Date(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::Timestamp { .. }
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => self.none_fits(),
        )
    }

    fn decimal(&self, precision: u8, scale: u8) -> Converted {
        let limit = power_of_ten(precision.into()).unwrap_or(i128::MAX);
        let to = i8::try_from(scale).unwrap_or(i8::MAX);
        let fit = |value: i256, from: i8| {
            let value = scaled(value, from, to)?.to_i128().ok_or(Mismatch::Range)?;
            if value.unsigned_abs() < limit.unsigned_abs() { Ok(value) } else { Err(Mismatch::Range) }
        };
        let mut converted = whole!(
            &self.given.kind,
            values => self.each::<Int128Type, _>(values, 0, |value| fit(i256::from_i128(value.into()), 0)),
            Kind::Decimal128(values, from) if *from == to => self.each::<Int128Type, _>(values, 0, |value| {
                if value.unsigned_abs() < limit.unsigned_abs() { Ok(value) } else { Err(Mismatch::Range) }
            }),
            Kind::Decimal128(values, from) => {
                self.each::<Int128Type, _>(values, 0, |value| fit(i256::from_i128(value), *from))
            }
            Kind::Decimal256(values, from) => self.each::<Int128Type, _>(values, 0, |value| fit(value, *from)),
            Kind::Float16(_) | Kind::Float32(_) | Kind::Float64(_) | Kind::Text(_) => return self.by_text(),
            Kind::Null => return self.nulls(),
            Kind::Boolean(_)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::Date(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::Timestamp { .. }
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => return self.none_fits(),
        );
        if let Ok(values) = converted.series.i128() {
            converted.series = values.clone().into_decimal_unchecked(precision.into(), scale.into()).into_series();
        }
        converted
    }

    fn boolean(&self) -> Converted {
        whole!(
            &self.given.kind,
            _values => self.none_fits(),
            Kind::Boolean(values) => {
                let rows = (0..self.given.length).map(|row| (!self.is_null(row)).then(|| values.value(row)));
                let series = rows.collect::<BooleanChunked>().with_name(self.name()).into_series();
                Converted { series, mismatches: Vec::new() }
            }
            Kind::Text(_) => self.by_text(),
            Kind::Null => self.nulls(),
            Kind::Float16(_)
            | Kind::Float32(_)
            | Kind::Float64(_)
            | Kind::Decimal128(..)
            | Kind::Decimal256(..)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::Date(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::Timestamp { .. }
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => self.none_fits(),
        )
    }

    fn date(&self) -> Converted {
        let day = |days: i32| if is_day(days) { Ok(days) } else { Err(Mismatch::Range) };
        let mut converted = whole!(
            &self.given.kind,
            // A format such as `%Y%m%d` may read a number.
            _values => return self.by_text(),
            Kind::Date(values) => self.each::<Int32Type, _>(values, 0, day),
            // Midnight is a day, exactly.
            Kind::Timestamp { values, unit, .. } => self.each::<Int32Type, _>(values, 0, |value| {
                let (of_day, second) = (per_second(*unit) * 86_400, value);
                if second.rem_euclid(of_day) != 0 {
                    return Err(Mismatch::Form);
                }
                i32::try_from(value.div_euclid(of_day)).map_err(|_| Mismatch::Range).and_then(day)
            }),
            Kind::Text(_) => return self.by_text(),
            Kind::Null => return self.nulls(),
            Kind::Boolean(_)
            | Kind::Float16(_)
            | Kind::Float32(_)
            | Kind::Float64(_)
            | Kind::Decimal128(..)
            | Kind::Decimal256(..)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => return self.none_fits(),
        );
        if let Ok(values) = converted.series.i32() {
            converted.series = values.clone().into_date().into_series();
        }
        converted
    }

    fn timestamp(&self) -> Converted {
        let mut converted = whole!(
            &self.given.kind,
            _values => return self.by_text(),
            // Local ones are taken as UTC.
            Kind::Timestamp { values, unit, .. } => {
                self.each::<Int64Type, _>(values, 0, |value| micros(value, *unit).ok_or(Mismatch::Range))
            }
            Kind::Date(_) | Kind::Text(_) => return self.by_text(),
            Kind::Null => return self.nulls(),
            Kind::Boolean(_)
            | Kind::Float16(_)
            | Kind::Float32(_)
            | Kind::Float64(_)
            | Kind::Decimal128(..)
            | Kind::Decimal256(..)
            | Kind::Bytes(_)
            | Kind::FixedBytes(_)
            | Kind::Uuid(_)
            | Kind::Interval(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => return self.none_fits(),
        );
        if let Ok(values) = converted.series.i64() {
            let values = values.clone().into_datetime(Unit::Microseconds, Some(TimeZone::UTC));
            converted.series = values.into_series();
        }
        converted
    }

    fn binary(&self) -> Converted {
        whole!(
            &self.given.kind,
            _values => self.none_fits(),
            Kind::Bytes(values) => self.bytes(|row| values.value(row)),
            Kind::FixedBytes(values) | Kind::Uuid(values) => self.bytes(|row| values.value(row)),
            // Base64.
            Kind::Text(_) => self.by_text(),
            Kind::Null => self.nulls(),
            Kind::Boolean(_)
            | Kind::Float16(_)
            | Kind::Float32(_)
            | Kind::Float64(_)
            | Kind::Decimal128(..)
            | Kind::Decimal256(..)
            | Kind::Interval(_)
            | Kind::Date(_)
            | Kind::TimeMillis(_)
            | Kind::Time(..)
            | Kind::Timestamp { .. }
            | Kind::List { .. }
            | Kind::Struct { .. }
            | Kind::Map { .. } => self.none_fits(),
        )
    }

    fn bytes<'v>(&self, value: impl Fn(usize) -> &'v [u8]) -> Converted {
        let mut builder = BinaryChunkedBuilder::new(self.name(), self.given.length);
        for row in 0..self.given.length {
            if self.is_null(row) { builder.append_null() } else { builder.append_value(value(row)) }
        }
        Converted { series: builder.finish().into_series(), mismatches: Vec::new() }
    }

    fn name(&self) -> polars::prelude::PlSmallStr {
        self.target.name.as_str().into()
    }

    fn is_null(&self, row: usize) -> bool {
        self.given.is_null(row) || self.passed.get(row).copied().unwrap_or(false)
    }

    /// Each value by itself. Without a fault the validity is copied as it is.
    fn each<P, S>(
        &self,
        values: &[S],
        null: P::Native,
        mut convert: impl FnMut(S) -> Result<P::Native, Mismatch>,
    ) -> Converted
    where
        P: PolarsNumericType,
        S: Copy,
        ChunkedArray<P>: IntoSeries,
    {
        let mut mismatches = Vec::new();
        let converted = values.iter().enumerate().map(|(row, value)| {
            convert(*value).unwrap_or_else(|mismatch| {
                // What stands where a null is means nothing.
                if !self.given.is_null(row) {
                    mismatches.push((row, mismatch));
                }
                null
            })
        });
        let converted: Vec<P::Native> = converted.collect();
        let validity = self.validity(&mismatches);
        let series = ChunkedArray::<P>::from_vec_validity(self.name(), converted, validity).into_series();
        Converted { series, mismatches }
    }

    fn validity(&self, mismatches: &[(usize, Mismatch)]) -> Option<Bitmap> {
        let length = self.given.length;
        let sound = self.given.nulls.map(|nulls| {
            let bits = nulls.inner().sliced();
            let bytes = bits.as_slice().get(..length.div_ceil(8)).unwrap_or_default().to_vec();
            Bitmap::try_new(bytes, length).unwrap_or_else(|_| nulls.iter().collect())
        });
        if mismatches.is_empty() {
            return sound;
        }
        let mut bits = sound.map_or_else(|| MutableBitmap::from_len_set(length), Bitmap::make_mut);
        mismatches.iter().for_each(|(row, _)| bits.set(*row, false));
        Some(bits.into())
    }

    /// Pairs of types that text tells of follow its one grammar.
    fn by_text(&self) -> Converted {
        let mut builder = Builder::new(self.target, self.given.length);
        let (mut mismatches, mut text) = (Vec::new(), String::new());
        for row in 0..self.given.length {
            if self.is_null(row) {
                builder.append_null();
                continue;
            }
            text.clear();
            let appended = if self.given.text(row, &mut text) && memchr::memchr(0, text.as_bytes()).is_none() {
                builder.append_text(&text)
            } else {
                builder.append_null();
                Err(Mismatch::Form)
            };
            mismatches.extend(appended.err().map(|mismatch| (row, mismatch)));
        }
        Converted { series: builder.finish(), mismatches }
    }

    fn nulls(&self) -> Converted {
        let dtype: Dtype = dtype(self.target.data_type);
        Converted { series: Series::full_null(self.name(), self.given.length, &dtype), mismatches: Vec::new() }
    }

    /// No value of the one type is one of the other.
    fn none_fits(&self) -> Converted {
        let rows = (0..self.given.length).filter(|row| !self.is_null(*row));
        Converted { mismatches: rows.map(|row| (row, Mismatch::Form)).collect(), ..self.nulls() }
    }
}

/// Warehouses refuse U+0000, so it is no text here either.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = if bytes.len() < 64 { std::str::from_utf8(bytes).ok() } else { simdutf8::basic::from_utf8(bytes).ok() };
    text.filter(|text| memchr::memchr(0, text.as_bytes()).is_none())
}

fn finite64(value: f64) -> Result<f64, Mismatch> {
    if value.is_finite() { Ok(value) } else { Err(Mismatch::Range) }
}

fn finite32(value: f32) -> Result<f32, Mismatch> {
    if value.is_finite() { Ok(value) } else { Err(Mismatch::Range) }
}

/// A whole number of the type.
#[allow(clippy::cast_possible_truncation)] // It is within 127 bits, and has no fraction.
fn exact<N: TryFrom<i128>>(value: f64) -> Result<N, Mismatch> {
    if !value.is_finite() || value.fract() != 0.0 {
        return Err(Mismatch::Form);
    }
    if value.abs() > 1e37 {
        return Err(Mismatch::Range);
    }
    N::try_from(value as i128).map_err(|_| Mismatch::Range)
}

fn narrow<N: TryFrom<i128>>(value: i256) -> Result<N, Mismatch> {
    value.to_i128().and_then(|value| N::try_from(value).ok()).ok_or(Mismatch::Range)
}

/// Digits at another scale; what is cut off has to be zeros.
fn scaled(value: i256, from: i8, to: i8) -> Result<i256, Mismatch> {
    let (places, zero) = (i16::from(to) - i16::from(from), i256::ZERO);
    if value == zero || places == 0 {
        return Ok(value);
    }
    let ten = i256::from_i128(10);
    let mut power = i256::ONE;
    for _ in 0..places.unsigned_abs() {
        power = match power.checked_mul(ten) {
            Some(power) => power,
            None if places > 0 => return Err(Mismatch::Range),
            None => return Err(Mismatch::Scale),
        };
    }
    if places > 0 {
        return value.checked_mul(power).ok_or(Mismatch::Range);
    }
    match value.checked_rem(power) {
        Some(rest) if rest == zero => value.checked_div(power).ok_or(Mismatch::Range),
        _ => Err(Mismatch::Scale),
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}
