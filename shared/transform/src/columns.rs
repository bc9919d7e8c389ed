//! Columns under construction: one typed builder per column, one slot per record, and what was wrong with each record.

use std::ops::Range;

use data_encoding::BASE64;
use polars::prelude::{
    BinaryChunkedBuilder, BooleanChunkedBuilder, ChunkedBuilder, DataType as Dtype, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Int128Type, IntoSeries, PrimitiveChunkedBuilder, Series, StringChunkedBuilder,
    TimeUnit, TimeZone,
};
use weir_contract::{Column, DataType, FormatProblem, Origin, Stop, TimeFormat, Treatment};

use crate::added::Added;
use crate::error::{Result, TransformError};
use crate::faults::{self, Fault, Reason, Shared};
use crate::fields::Fields;
use crate::json;
use crate::text::{self, Mismatch};
use crate::times;

/// After so many records it is time to look whether somebody still waits.
const LOOK_ROWS: usize = 1_024;

/// What the decoding of a chunk is bounded by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'s> {
    pub(crate) max_record_bytes: usize,
    /// Rows that room is made for before they are read, at most.
    pub(crate) max_rows: usize,
    pub(crate) stop: &'s Stop,
}

/// The Polars type of a contract's type: what the lake writes.
pub(crate) fn dtype(data_type: DataType) -> Dtype {
    match data_type {
        DataType::String => Dtype::String,
        DataType::Long => Dtype::Int64,
        DataType::Integer => Dtype::Int32,
        DataType::Short => Dtype::Int16,
        DataType::Byte => Dtype::Int8,
        DataType::Double => Dtype::Float64,
        DataType::Float => Dtype::Float32,
        DataType::Boolean => Dtype::Boolean,
        DataType::Date => Dtype::Date,
        DataType::Timestamp => Dtype::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        DataType::Binary => Dtype::Binary,
        DataType::Decimal { precision, scale } => Dtype::Decimal(usize::from(precision), usize::from(scale)),
    }
}

/// A column of the contract, ready for decoding.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// The field's name in the source.
    pub(crate) field: String,
    /// How JSON mostly writes that name, with its colon.
    pub(crate) json_name: String,
    /// The names that lead to the value, if it is within a field.
    pub(crate) path: Option<Vec<String>>,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// It does not reach the table.
    pub(crate) dropped: bool,
    format: Option<TimeFormat>,
}

impl Target {
    pub(crate) fn new(column: &Column, origin: Origin) -> Result<Self> {
        let format = match (&column.format, column.data_type) {
            (None, _) => None,
            (Some(format), data_type @ (DataType::Date | DataType::Timestamp)) => {
                let unusable = |problem: FormatProblem| {
                    TransformError::column(&column.name, format!("its `format` {}", problem.message))
                };
                Some(TimeFormat::new(format, data_type).map_err(unusable)?)
            }
            (Some(_), _) => {
                return Err(TransformError::column(&column.name, "only a date or a timestamp has a format; remove it"));
            }
        };
        Ok(Self {
            name: column.name.clone(),
            field: column.field().to_owned(),
            json_name: json::quoted(column.field()) + ":",
            path: match origin {
                Origin::Path(names) => Some(names),
                Origin::Field | Origin::Event(_) | Origin::DayOf(_) => None,
            },
            data_type: column.data_type,
            nullable: column.nullable,
            dropped: column.personal == Some(Treatment::Drop),
            format,
        })
    }

    /// The reason that quarantine gives for a value that is not of the column's type.
    pub(crate) fn reason(&self, mismatch: Mismatch) -> String {
        let noun = match self.data_type {
            DataType::String => "a string".to_owned(),
            DataType::Long => "a long".to_owned(),
            DataType::Integer => "an integer".to_owned(),
            DataType::Short => "a short".to_owned(),
            DataType::Byte => "a byte".to_owned(),
            DataType::Double => "a double".to_owned(),
            DataType::Float => "a float".to_owned(),
            DataType::Boolean => "a boolean".to_owned(),
            DataType::Date => "a date".to_owned(),
            DataType::Timestamp => "a timestamp".to_owned(),
            DataType::Binary => "binary in base64".to_owned(),
            DataType::Decimal { precision, scale } => format!("a decimal({precision},{scale})"),
        };
        match mismatch {
            Mismatch::Form => format!("column `{}`: not {noun}", self.name),
            Mismatch::Range => format!("column `{}`: out of range for {noun}", self.name),
            Mismatch::Scale => format!("column `{}`: more digits after the point than {noun} holds", self.name),
        }
    }
}

/// The values of one column so far.
pub(crate) struct Builder<'t> {
    target: &'t Target,
    values: Values,
}

enum Values {
    String(StringChunkedBuilder),
    Long(PrimitiveChunkedBuilder<Int64Type>),
    Integer(PrimitiveChunkedBuilder<Int32Type>),
    Short(PrimitiveChunkedBuilder<Int16Type>),
    Byte(PrimitiveChunkedBuilder<Int8Type>),
    Double(PrimitiveChunkedBuilder<Float64Type>),
    Float(PrimitiveChunkedBuilder<Float32Type>),
    Boolean(BooleanChunkedBuilder),
    Date(PrimitiveChunkedBuilder<Int32Type>),
    Timestamp(PrimitiveChunkedBuilder<Int64Type>),
    Binary(BinaryChunkedBuilder),
    Decimal(PrimitiveChunkedBuilder<Int128Type>, u8, u8),
}

/// Appends the value, or null and the mismatch, so that the column always keeps in step.
macro_rules! append {
    ($builder:expr, $result:expr) => {
        match $result {
            Ok(value) => {
                $builder.append_value(value);
                Ok(())
            }
            Err(mismatch) => {
                $builder.append_null();
                Err(mismatch)
            }
        }
    };
}

impl<'t> Builder<'t> {
    pub(crate) fn new(target: &'t Target, capacity: usize) -> Self {
        let name = || target.name.as_str().into();
        let values = match target.data_type {
            DataType::String => Values::String(StringChunkedBuilder::new(name(), capacity)),
            DataType::Long => Values::Long(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Integer => Values::Integer(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Short => Values::Short(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Byte => Values::Byte(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Double => Values::Double(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Float => Values::Float(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Boolean => Values::Boolean(BooleanChunkedBuilder::new(name(), capacity)),
            DataType::Date => Values::Date(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Timestamp => Values::Timestamp(PrimitiveChunkedBuilder::new(name(), capacity)),
            DataType::Binary => Values::Binary(BinaryChunkedBuilder::new(name(), capacity)),
            DataType::Decimal { precision, scale } => {
                Values::Decimal(PrimitiveChunkedBuilder::new(name(), capacity), precision, scale)
            }
        };
        Self { target, values }
    }

    pub(crate) fn append_null(&mut self) {
        match &mut self.values {
            Values::String(builder) => builder.append_null(),
            Values::Long(builder) | Values::Timestamp(builder) => builder.append_null(),
            Values::Integer(builder) | Values::Date(builder) => builder.append_null(),
            Values::Short(builder) => builder.append_null(),
            Values::Byte(builder) => builder.append_null(),
            Values::Double(builder) => builder.append_null(),
            Values::Float(builder) => builder.append_null(),
            Values::Boolean(builder) => builder.append_null(),
            Values::Binary(builder) => builder.append_null(),
            Values::Decimal(builder, _, _) => builder.append_null(),
        }
    }

    /// Reads `text` as a value of the column's type. What is not one becomes a null and a mismatch.
    #[inline]
    pub(crate) fn append_text(&mut self, text: &str) -> std::result::Result<(), Mismatch> {
        let format = self.target.format.as_ref();
        match &mut self.values {
            Values::String(builder) => {
                builder.append_value(text);
                Ok(())
            }
            Values::Long(builder) => append!(builder, text::long(text::trim(text))),
            Values::Integer(builder) => append!(builder, narrow::<i32>(text)),
            Values::Short(builder) => append!(builder, narrow::<i16>(text)),
            Values::Byte(builder) => append!(builder, narrow::<i8>(text)),
            Values::Double(builder) => append!(builder, text::double(text::trim(text))),
            Values::Float(builder) => append!(builder, text::float(text::trim(text))),
            Values::Boolean(builder) => append!(builder, text::boolean(text::trim(text))),
            Values::Date(builder) => append!(builder, times::date(text::trim(text), format)),
            Values::Timestamp(builder) => append!(builder, times::timestamp(text::trim(text), format)),
            Values::Binary(builder) => {
                append!(builder, BASE64.decode(text::trim(text).as_bytes()).map_err(|_| Mismatch::Form))
            }
            Values::Decimal(builder, precision, scale) => {
                append!(builder, text::decimal(text::trim(text), *precision, *scale))
            }
        }
    }

    pub(crate) fn finish(self) -> Series {
        match self.values {
            Values::String(builder) => builder.finish().into_series(),
            Values::Long(builder) => builder.finish().into_series(),
            Values::Integer(builder) => builder.finish().into_series(),
            Values::Short(builder) => builder.finish().into_series(),
            Values::Byte(builder) => builder.finish().into_series(),
            Values::Double(builder) => builder.finish().into_series(),
            Values::Float(builder) => builder.finish().into_series(),
            Values::Boolean(builder) => builder.finish().into_series(),
            Values::Date(builder) => builder.finish().into_date().into_series(),
            Values::Timestamp(builder) => {
                builder.finish().into_datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)).into_series()
            }
            Values::Binary(builder) => builder.finish().into_series(),
            Values::Decimal(builder, precision, scale) => {
                builder.finish().into_decimal_unchecked(usize::from(precision), usize::from(scale)).into_series()
            }
        }
    }
}

#[inline]
fn narrow<T: TryFrom<i64>>(text: &str) -> std::result::Result<T, Mismatch> {
    T::try_from(text::long(text::trim(text))?).map_err(|_| Mismatch::Range)
}

/// The records of one run of bytes, decoded: every column has a slot for every record, null where the record is faulty.
pub(crate) struct Decoded<'d> {
    pub(crate) columns: Vec<Series>,
    /// Each record as it came, without its line end.
    pub(crate) raw: Vec<&'d [u8]>,
    /// By row, ascending, at most one per row.
    pub(crate) faults: Vec<Fault>,
    /// The unknown fields of a record, as a JSON object; by row, ascending.
    pub(crate) rescued: Vec<(usize, String)>,
    /// Those that may become columns.
    pub(crate) added: Added,
}

/// Collects records one at a time. Every record gives each builder exactly one slot, then [`Batch::end`] is called.
pub(crate) struct Batch<'t, 'd> {
    pub(crate) targets: &'t [Target],
    pub(crate) fields: &'t Fields,
    pub(crate) added: Added,
    builders: Vec<Builder<'t>>,
    raw: Vec<&'d [u8]>,
    faults: Vec<Fault>,
    /// What is wrong with the record so far.
    reasons: Vec<Reason>,
    shared: Shared,
    rescued: Vec<(usize, String)>,
    bounds: Bounds<'t>,
}

impl<'t, 'd> Batch<'t, 'd> {
    pub(crate) fn new(
        targets: &'t [Target],
        fields: &'t Fields,
        added: Added,
        bounds: Bounds<'t>,
        capacity: usize,
    ) -> Self {
        Self {
            targets,
            fields,
            added,
            builders: targets.iter().map(|target| Builder::new(target, capacity)).collect(),
            raw: Vec::with_capacity(capacity),
            faults: Vec::new(),
            reasons: Vec::new(),
            shared: Shared::default(),
            rescued: Vec::new(),
            bounds,
        }
    }

    /// Whether nobody waits for the records any more; looked at now and then.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.raw.len().is_multiple_of(LOOK_ROWS) && self.bounds.stop.is_set()
    }

    /// The row under construction.
    pub(crate) fn row(&self) -> usize {
        self.raw.len()
    }

    #[inline]
    pub(crate) fn text(&mut self, column: usize, text: &str) {
        if let Err(mismatch) = self.builders[column].append_text(text) {
            self.fault(Reason::Mismatch(column, mismatch));
        }
    }

    /// A null that the record states or implies.
    #[inline]
    pub(crate) fn null(&mut self, column: usize) {
        self.builders[column].append_null();
        if !self.targets[column].nullable {
            self.fault(Reason::Null(column));
        }
    }

    /// Fills the slots of a record that is already known to be faulty.
    pub(crate) fn pad(&mut self, columns: Range<usize>) {
        self.builders[columns].iter_mut().for_each(Builder::append_null);
    }

    #[cold]
    pub(crate) fn fault(&mut self, reason: impl Into<Reason>) {
        faults::add(&mut self.reasons, reason.into());
    }

    pub(crate) fn rescue(&mut self, object: String) {
        self.rescued.push((self.row(), object));
    }

    #[inline]
    pub(crate) fn end(&mut self, raw: &'d [u8]) {
        if raw.len() > self.bounds.max_record_bytes {
            self.fault(Reason::TooLong(self.bounds.max_record_bytes));
        }
        if !self.reasons.is_empty() {
            self.refuse();
        }
        self.raw.push(raw);
    }

    #[cold]
    fn refuse(&mut self) {
        let fault = self.shared.fault(self.raw.len(), &self.reasons);
        self.faults.push(fault);
        self.reasons.clear();
    }

    pub(crate) fn finish(self) -> Decoded<'d> {
        Decoded {
            columns: self.builders.into_iter().map(Builder::finish).collect(),
            raw: self.raw,
            faults: self.faults,
            rescued: self.rescued,
            added: self.added,
        }
    }
}

impl<'d> Decoded<'d> {
    /// Refuses records for one reason, whatever else was found of them. By row, ascending.
    pub(crate) fn refuse(&mut self, refused: Vec<(usize, String)>) {
        if refused.is_empty() {
            return;
        }
        let rows: Vec<usize> = refused.iter().map(|(row, _)| *row).collect();
        self.faults.retain(|fault| rows.binary_search(&fault.row).is_err());
        let mut shared = Shared::default();
        self.faults.extend(refused.into_iter().map(|(row, reason)| shared.fault(row, &[reason.into()])));
        self.faults.sort_by_key(|fault| fault.row);
    }

    /// Joins the parts of one chunk, in order. Columns keep one Arrow chunk per part: nothing is copied.
    pub(crate) fn join(fields: &Fields, parts: Vec<Decoded<'d>>) -> Result<Decoded<'d>> {
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else {
            return Err(TransformError::Argument("a chunk has at least one part"));
        };
        for part in parts {
            let rows = whole.raw.len();
            for (column, more) in whole.columns.iter_mut().zip(part.columns) {
                column.append_owned(more)?;
            }
            whole.raw.extend(part.raw);
            whole.faults.extend(part.faults.into_iter().map(|fault| Fault { row: fault.row + rows, ..fault }));
            whole.rescued.extend(part.rescued.into_iter().map(|(row, object)| (row + rows, object)));
            whole.added.append(fields, rows, part.added);
        }
        Ok(whole)
    }
}
