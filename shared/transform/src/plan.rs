//! A contract made ready: columns, rules and protections checked and compiled once, used for every chunk.

use polars::prelude::{Field, Schema};
use weir_contract::limits::{FRAME_BYTES, MAX_ADDED_CELLS, ROW_BYTES};
use weir_contract::{Contract, DataType, EventField, Origin, Source, Treatment, UnknownFields};

use crate::columns::{Target, dtype};
use crate::csv::Dialect;
use crate::error::{Result, TransformError};
use crate::fields::Fields;
use crate::json::Shape;
use crate::privacy::{Protection, PseudonymKey};
use crate::rules::CompiledRule;

/// However wide they are.
const LEAST_ROWS: usize = 256;

#[derive(Debug)]
pub(crate) struct Plan {
    /// The contract's columns: first those that records give, then those that take something of their event, then those that
    /// are made of others.
    pub(crate) targets: Vec<Target>,
    /// How many of them records give.
    pub(crate) of_body: usize,
    /// What those of the event take.
    pub(crate) event_fields: Vec<EventField>,
    /// The columns whose days the last ones are.
    pub(crate) days: Vec<usize>,
    /// Their places in the contract's order.
    pub(crate) order: Vec<usize>,
    /// Per column: what is done to it because it is personal.
    pub(crate) protections: Vec<Option<Protection>>,
    pub(crate) fields: Fields,
    /// The string columns that the table is partitioned by, as far as their values are folder names as they came.
    pub(crate) partition_texts: Vec<usize>,
    pub(crate) rules: Vec<CompiledRule>,
    /// Whether what was rescued stays out of the table.
    pub(crate) leaves_out: bool,
    /// Whether the table has `_labels`.
    pub(crate) has_labels: bool,
    pub(crate) dialect: Dialect,
    pub(crate) max_record_bytes: usize,
    /// Where records are within what JSON blobs and bodies hold.
    pub(crate) shape: Shape,
    /// The field of an Avro record that holds the record.
    pub(crate) payload: Option<String>,
    /// Quarantine then says what stood around a record's event.
    pub(crate) is_of_events: bool,
    /// What a row takes in a frame, about.
    pub(crate) row_bytes: usize,
    /// Rows of one frame.
    pub(crate) max_rows: usize,
    /// Rows of one frame, as far as columns are concerned that are added for its unknown fields.
    pub(crate) max_added_rows: usize,
}

impl Plan {
    /// The columns that are not made of others.
    pub(crate) fn given(&self) -> &[Target] {
        &self.targets[..self.targets.len() - self.days.len()]
    }

    /// The columns that records give.
    pub(crate) fn of_body(&self) -> &[Target] {
        &self.targets[..self.of_body]
    }

    pub(crate) fn new(contract: &Contract, key: Option<&PseudonymKey>) -> Result<Self> {
        let of_event = |column: &weir_contract::Column| contract.event_field(column);
        let mut places: Vec<usize> = (0..contract.columns.len()).collect();
        places.sort_by_key(|place| match contract.origin(&contract.columns[*place]) {
            Origin::Field | Origin::Path(_) => 0,
            Origin::Event(_) => 1,
            Origin::DayOf(_) => 2,
        });
        let columns: Vec<_> = places.iter().map(|place| &contract.columns[*place]).collect();
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|index| places[*index]);
        let event_fields: Vec<EventField> = columns.iter().filter_map(|column| of_event(column)).collect();
        let day_of = |column: &weir_contract::Column| match contract.origin(column) {
            Origin::DayOf(source) => Some(source),
            _ => None,
        };
        let sources = columns.iter().filter_map(|column| day_of(column));
        let days = sources.map(|source| {
            let place = columns.iter().position(|column| column.name == source);
            place.ok_or_else(|| TransformError::column(&source, "is to give its day, and is not there"))
        });
        let days = days.collect::<Result<Vec<usize>>>()?;
        let of_body = columns.len() - event_fields.len() - days.len();

        let targets =
            columns.iter().map(|column| Target::new(column, contract.origin(column))).collect::<Result<Vec<_>>>()?;
        let protect = |column: &&weir_contract::Column| {
            column.personal.map(|treatment| Protection::new(&column.name, treatment, key)).transpose()
        };
        let protections = columns.iter().map(protect).collect::<Result<Vec<_>>>()?;
        // A pseudonym is never empty.
        let is_folder = |column: &weir_contract::Column| {
            column.data_type == DataType::String
                && matches!(column.personal, None | Some(Treatment::Mask))
                && contract.table.partition_by.contains(&column.name)
        };
        let partition_texts = (0..columns.len()).filter(|index| is_folder(columns[*index])).collect();
        let schema: Schema =
            targets.iter().map(|target| Field::new(target.name.as_str().into(), dtype(target.data_type))).collect();
        let row_bytes = ROW_BYTES + targets.iter().map(|target| width(target.data_type)).sum::<usize>();
        let max_added_rows = match contract.drift.unknown_fields {
            UnknownFields::Add => MAX_ADDED_CELLS / contract.drift.max_added_columns.max(1),
            _ => usize::MAX,
        };
        Ok(Self {
            row_bytes,
            max_rows: (FRAME_BYTES / row_bytes).min(max_added_rows).max(LEAST_ROWS),
            max_added_rows,
            rules: contract.rules.iter().map(|rule| CompiledRule::new(rule, &schema)).collect::<Result<Vec<_>>>()?,
            dialect: Dialect::new(&contract.format)?,
            max_record_bytes: contract.format.max_record_bytes,
            shape: Shape::new(&contract.format)?,
            fields: Fields::new(contract, &targets, of_body)?,
            leaves_out: contract.leaves_unknown_fields_out(),
            has_labels: contract.has_labels(),
            partition_texts,
            payload: contract.format.payload.clone(),
            is_of_events: matches!(contract.source, Source::Events { .. }),
            targets,
            of_body,
            event_fields,
            days,
            order,
            protections,
        })
    }
}

/// What a cell takes, beside the text that does not fit into it.
fn width(data_type: DataType) -> usize {
    match data_type {
        DataType::Boolean | DataType::Byte => 1,
        DataType::Short => 2,
        DataType::Integer | DataType::Float | DataType::Date => 4,
        DataType::Long | DataType::Double | DataType::Timestamp => 8,
        DataType::String | DataType::Binary | DataType::Decimal { .. } => 16,
    }
}
