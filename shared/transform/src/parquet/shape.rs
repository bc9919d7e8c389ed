//! The columns of a file by their Parquet types alone: what Arrow's writers note beside them never wins.

use std::ops::Range;
use std::slice;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels, parquet_to_arrow_schema};
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use weir_contract::DataType as T;

use super::caught;
use crate::json::quoted;

/// A column of a row.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) name: String,
    /// As a reason shows it.
    pub(crate) type_name: String,
    /// Its places among the file's columns of values.
    pub(super) leaves: Range<usize>,
    /// How it is decoded, or why it cannot be.
    pub(super) form: Result<Form, String>,
}

#[derive(Debug)]
pub(super) struct Form {
    pub(super) levels: FieldLevels,
    /// The same with INT96 in milliseconds, if there are such values: microseconds wrap.
    pub(super) millis: Option<FieldLevels>,
    pub(super) shape: Arc<Shape>,
    pub(super) leaves: Vec<LeafForm>,
    /// The type of the contract that holds its values, if they are no nested ones.
    pub(super) holder: T,
}

/// How a column of values is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeafForm {
    pub(super) repeats: bool,
    /// Bytes of a value in memory, without what a view refers to.
    pub(super) width: usize,
    pub(super) is_view: bool,
}

/// What Arrow's type leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Leaf(Leaf),
    List(Box<Shape>),
    /// Names as JSON, with their colons.
    Struct(Vec<(String, Shape)>),
    Map(Box<Shape>, Box<Shape>),
}

impl Default for Shape {
    fn default() -> Self {
        Self::Leaf(Leaf::Plain)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Arrow's type says it.
    Plain,
    /// Bytes that are to be UTF-8. They are looked at value by value, because one that is not refuses its row alone.
    Text,
    Uuid,
    /// Months, days and milliseconds, four bytes each.
    Interval,
}

impl Root {
    /// The columns of a file, in order.
    pub(super) fn all(schema: &SchemaDescriptor) -> Vec<Arc<Self>> {
        let mut leaf = 0;
        let roots = schema.root_schema().get_fields().iter().map(|field| {
            let first = leaf;
            leaf += leaves(field);
            Arc::new(Self {
                name: field.name().to_owned(),
                type_name: type_name(field),
                leaves: first..leaf,
                form: caught(|| Form::of(field)),
            })
        });
        roots.collect()
    }
}

fn leaves(field: &Type) -> usize {
    match field {
        Type::PrimitiveType { .. } => 1,
        Type::GroupType { fields, .. } => fields.iter().map(|field| leaves(field)).sum(),
    }
}

impl Form {
    fn of(field: &TypePtr) -> Result<Self, String> {
        if let Some(unknown) = unreadable(field) {
            return Err(unknown);
        }
        let wrong = |_| "is not a type that can be read".to_owned();
        let original = sub_schema(Arc::clone(field)).map_err(wrong)?;
        let schema = sub_schema(plain(field).map_err(wrong)?).map_err(wrong)?;
        let natural = parquet_to_arrow_schema(&schema, None).map_err(wrong)?;
        let Some(natural) = natural.fields().first() else { return Err("has no values".to_owned()) };
        let mut columns = original.columns().iter();
        let shape = Shape::of(natural.data_type(), &mut columns).ok_or("is not a type that can be read")?;
        let mut forms = Vec::new();
        leaf_types(natural.data_type(), &mut |data_type| forms.push(leaf_form(data_type)));
        for (form, column) in forms.iter_mut().zip(original.columns()) {
            form.repeats = column.max_rep_level() > 0;
        }
        let read_as = |unit| {
            let fields = Fields::from(vec![hinted(natural, &mut original.columns().iter(), unit)]);
            parquet_to_arrow_field_levels(&schema, ProjectionMask::all(), Some(&fields)).map_err(wrong)
        };
        let has_int96 = original.columns().iter().any(|column| column.physical_type() == Physical::INT96);
        Ok(Self {
            levels: read_as(TimeUnit::Microsecond)?,
            millis: has_int96.then(|| read_as(TimeUnit::Millisecond)).transpose()?,
            holder: holder(&shape, natural.data_type()),
            shape: Arc::new(shape),
            leaves: forms,
        })
    }
}

/// The narrowest type of a contract that holds every value of a column; text for what only text tells of.
fn holder(shape: &Shape, natural: &DataType) -> T {
    if *shape != Shape::Leaf(Leaf::Plain) {
        return T::String;
    }
    match natural {
        DataType::Boolean => T::Boolean,
        DataType::Int8 => T::Byte,
        DataType::UInt8 | DataType::Int16 => T::Short,
        DataType::UInt16 | DataType::Int32 => T::Integer,
        DataType::UInt32 | DataType::Int64 => T::Long,
        DataType::UInt64 => T::Decimal { precision: 20, scale: 0 },
        DataType::Float16 | DataType::Float32 => T::Float,
        DataType::Float64 => T::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => match u8::try_from(*scale) {
            Ok(scale) if scale <= *precision => T::Decimal { precision: *precision, scale },
            _ => T::Decimal { precision: 38, scale: 0 },
        },
        DataType::Date32 | DataType::Date64 => T::Date,
        DataType::Timestamp(..) => T::Timestamp,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => T::Binary,
        _ => T::String,
    }
}

fn sub_schema(field: TypePtr) -> parquet::errors::Result<SchemaDescriptor> {
    let root = Type::group_type_builder("schema").with_fields(vec![field]).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

/// Types whose values nothing here knows the meaning of.
fn unreadable(field: &Type) -> Option<String> {
    match field.get_basic_info().logical_type_ref() {
        Some(LogicalType::Variant(_)) => return Some("is a VARIANT, which Weir does not read".to_owned()),
        Some(LogicalType::_Unknown { .. }) => return Some("has a logical type that Weir does not know".to_owned()),
        _ => {}
    }
    match field {
        Type::PrimitiveType { .. } => None,
        Type::GroupType { fields, .. } if fields.is_empty() => Some("has no fields".to_owned()),
        Type::GroupType { fields, .. } => fields.iter().find_map(|field| unreadable(field)),
    }
}

fn is_text(logical: Option<&LogicalType>, converted: ConvertedType) -> bool {
    matches!(logical, Some(LogicalType::String | LogicalType::Enum | LogicalType::Json))
        || matches!(converted, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON)
}

/// The same field in a form that Arrow reads as the format's rules say. Levels and columns stay as they are.
///
/// Texts and intervals are their bytes: Arrow would refuse a page for one value of it, and drop parts of intervals.
fn plain(field: &TypePtr) -> Built {
    let info = field.get_basic_info();
    match field.as_ref() {
        Type::PrimitiveType { physical_type, type_length, .. }
            if info.converted_type() == ConvertedType::INTERVAL
                || (*physical_type == Physical::BYTE_ARRAY
                    && is_text(info.logical_type_ref(), info.converted_type())) =>
        {
            let built = Type::primitive_type_builder(field.name(), *physical_type);
            Ok(Arc::new(built.with_repetition(repetition(field)).with_length(*type_length).build()?))
        }
        Type::PrimitiveType { .. } => Ok(Arc::clone(field)),
        // A list or a map on each element of a list that nothing says.
        Type::GroupType { .. } if repetition(field) == Repetition::REPEATED && (is_list(field) || is_map(field)) => {
            list_of(field.name(), Repetition::REQUIRED, field)
        }
        Type::GroupType { fields, .. } => match fields.as_slice() {
            // Two levels, where the repeated group is no wrapper but the element: it has a repeated field itself.
            [element] if is_list(field) && holds_repeated(element) => list_of(field.name(), repetition(field), element),
            // What repeats in a list or a map is part of it.
            [entry] if is_list(field) || is_map(field) => group_of(field, vec![of_plain_fields(entry)?]),
            _ => of_plain_fields(field),
        },
    }
}

type Built = parquet::errors::Result<TypePtr>;

/// A list of three levels, which stands for one of two.
fn list_of(name: &str, repetition: Repetition, element: &TypePtr) -> Built {
    let Type::GroupType { fields, .. } = element.as_ref() else { return plain(element) };
    let info = element.get_basic_info();
    let element = Type::group_type_builder(element.name())
        .with_repetition(Repetition::REQUIRED)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(fields.clone());
    let element = plain(&Arc::new(element.build()?))?;
    let entry = Type::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![element]);
    let list = Type::group_type_builder(name)
        .with_repetition(repetition)
        .with_converted_type(ConvertedType::LIST)
        .with_fields(vec![Arc::new(entry.build()?)]);
    Ok(Arc::new(list.build()?))
}

fn of_plain_fields(field: &TypePtr) -> Built {
    match field.as_ref() {
        Type::PrimitiveType { .. } => plain(field),
        Type::GroupType { fields, .. } => {
            group_of(field, fields.iter().map(plain).collect::<parquet::errors::Result<_>>()?)
        }
    }
}

/// The same group with other fields.
fn group_of(group: &Type, fields: Vec<TypePtr>) -> Built {
    let info = group.get_basic_info();
    let built = Type::group_type_builder(group.name())
        .with_repetition(repetition(group))
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(fields);
    Ok(Arc::new(built.build()?))
}

fn repetition(field: &Type) -> Repetition {
    let info = field.get_basic_info();
    if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED }
}

fn is_list(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.logical_type_ref().map_or(info.converted_type() == ConvertedType::LIST, |known| *known == LogicalType::List)
}

fn is_map(field: &Type) -> bool {
    let info = field.get_basic_info();
    let converted = matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    info.logical_type_ref().map_or(converted, |known| *known == LogicalType::Map)
}

/// Whether a group repeats, and its one field, too.
fn holds_repeated(group: &Type) -> bool {
    match group {
        Type::GroupType { fields, .. } if repetition(group) == Repetition::REPEATED => {
            matches!(fields.as_slice(), [field] if repetition(field) == Repetition::REPEATED)
        }
        _ => false,
    }
}

type Columns<'c> = slice::Iter<'c, Arc<parquet::schema::types::ColumnDescriptor>>;

impl Shape {
    /// Arrow's type and Parquet's columns have their values in the same order.
    fn of(data_type: &DataType, columns: &mut Columns<'_>) -> Option<Self> {
        Some(match data_type {
            DataType::List(item) => Self::List(Box::new(Self::of(item.data_type(), columns)?)),
            DataType::Struct(fields) => {
                let fields = fields
                    .iter()
                    .map(|field| Some((quoted(field.name()) + ":", Self::of(field.data_type(), columns)?)));
                Self::Struct(fields.collect::<Option<_>>()?)
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => {
                    let key = Box::new(Self::of(fields[0].data_type(), columns)?);
                    Self::Map(key, Box::new(Self::of(fields[1].data_type(), columns)?))
                }
                _ => return None,
            },
            _ => {
                let column = columns.next()?;
                Self::Leaf(match (column.logical_type_ref(), column.converted_type()) {
                    (Some(LogicalType::Uuid), _) if column.type_length() == 16 => Leaf::Uuid,
                    (_, ConvertedType::INTERVAL) => Leaf::Interval,
                    (logical, converted)
                        if column.physical_type() == Physical::BYTE_ARRAY && is_text(logical, converted) =>
                    {
                        Leaf::Text
                    }
                    _ => Leaf::Plain,
                })
            }
        })
    }
}

/// The same field with texts and bytes as views, which a dictionary's values are not copied for, and INT96 in `unit`.
fn hinted(field: &Field, columns: &mut Columns<'_>, unit: TimeUnit) -> Field {
    field.clone().with_data_type(hinted_type(field.data_type(), columns, unit))
}

fn hinted_type(data_type: &DataType, columns: &mut Columns<'_>, unit: TimeUnit) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(Arc::new(hinted(item, columns, unit))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| hinted(field, columns, unit)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(hinted(entries, columns, unit)), *sorted),
        leaf => {
            let is_int96 = columns.next().is_some_and(|column| column.physical_type() == Physical::INT96);
            match leaf {
                DataType::Binary => DataType::BinaryView,
                DataType::Timestamp(..) if is_int96 => DataType::Timestamp(unit, None),
                other => other.clone(),
            }
        }
    }
}

fn leaf_types(data_type: &DataType, visit: &mut impl FnMut(&DataType)) {
    match data_type {
        DataType::List(item) => leaf_types(item.data_type(), visit),
        DataType::Struct(fields) => fields.iter().for_each(|field| leaf_types(field.data_type(), visit)),
        DataType::Map(entries, _) => leaf_types(entries.data_type(), visit),
        leaf => visit(leaf),
    }
}

fn leaf_form(data_type: &DataType) -> LeafForm {
    let is_view = matches!(data_type, DataType::Binary);
    let width = match data_type {
        DataType::FixedSizeBinary(length) => usize::try_from(*length).unwrap_or(0),
        other => other.primitive_width().unwrap_or(16),
    };
    LeafForm { repeats: false, width: width.max(1), is_view }
}

/// `INT64 TIMESTAMP(MICROS,UTC)`, `group LIST`.
fn type_name(field: &Type) -> String {
    let info = field.get_basic_info();
    let physical = match field {
        Type::PrimitiveType { physical_type: Physical::FIXED_LEN_BYTE_ARRAY, type_length, .. } => {
            format!("FIXED_LEN_BYTE_ARRAY({type_length})")
        }
        Type::PrimitiveType { physical_type, .. } => physical_type.to_string(),
        Type::GroupType { .. } => "group".to_owned(),
    };
    let meaning = match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Decimal(decimal)), _) => format!("DECIMAL({},{})", decimal.precision, decimal.scale),
        (Some(LogicalType::Integer(int)), _) => {
            format!("{}{}", if int.is_signed { "INT_" } else { "UINT_" }, int.bit_width)
        }
        (Some(LogicalType::Timestamp(time)), _) => {
            format!("TIMESTAMP({:?},{})", time.unit, if time.is_adjusted_to_u_t_c { "UTC" } else { "local" })
        }
        (Some(LogicalType::Time(time)), _) => format!("TIME({:?})", time.unit),
        (Some(LogicalType::_Unknown { field_id }), _) => format!("unknown logical type {field_id}"),
        (Some(LogicalType::Unknown), _) => "NULL".to_owned(),
        (Some(LogicalType::Geometry(_)), _) => "GEOMETRY".to_owned(),
        (Some(LogicalType::Geography(_)), _) => "GEOGRAPHY".to_owned(),
        (Some(LogicalType::Variant(_)), _) => "VARIANT".to_owned(),
        (Some(other), _) => format!("{other:?}").to_uppercase(),
        (None, ConvertedType::NONE) => String::new(),
        (None, converted) => converted.to_string(),
    };
    if meaning.is_empty() { physical } else { format!("{physical} {meaning}") }
}
