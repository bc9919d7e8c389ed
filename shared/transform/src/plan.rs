//! A contract made ready: columns, rules and protections checked and compiled once, used for every chunk.

use polars::prelude::{Field, Schema};
use weir_contract::{Contract, EventField};

use crate::columns::{Target, dtype};
use crate::csv::Dialect;
use crate::error::Result;
use crate::fields::Fields;
use crate::privacy::{Protection, PseudonymKey};
use crate::rules::CompiledRule;

#[derive(Debug)]
pub(crate) struct Plan {
    /// The contract's columns: first those that records give, then those that take something of their event.
    pub(crate) targets: Vec<Target>,
    /// How many of them records give.
    pub(crate) of_body: usize,
    /// What the others take.
    pub(crate) event_fields: Vec<EventField>,
    /// Their places in the contract's order.
    pub(crate) order: Vec<usize>,
    /// Per column: what is done to it because it is personal.
    pub(crate) protections: Vec<Option<Protection>>,
    pub(crate) fields: Fields,
    pub(crate) rules: Vec<CompiledRule>,
    /// Whether what was rescued stays out of the table.
    pub(crate) leaves_out: bool,
    /// Whether the table has `_labels`.
    pub(crate) has_labels: bool,
    pub(crate) dialect: Dialect,
    pub(crate) max_record_bytes: usize,
    /// The field of an Avro record that holds the record.
    pub(crate) payload: Option<String>,
}

impl Plan {
    /// The columns that records give.
    pub(crate) fn of_body(&self) -> &[Target] {
        &self.targets[..self.of_body]
    }

    pub(crate) fn new(contract: &Contract, key: Option<&PseudonymKey>) -> Result<Self> {
        let of_event = |column: &weir_contract::Column| contract.event_field(column);
        let mut places: Vec<usize> = (0..contract.columns.len()).collect();
        places.sort_by_key(|place| of_event(&contract.columns[*place]).is_some());
        let columns: Vec<_> = places.iter().map(|place| &contract.columns[*place]).collect();
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|index| places[*index]);
        let event_fields: Vec<EventField> = columns.iter().filter_map(|column| of_event(column)).collect();
        let of_body = columns.len() - event_fields.len();

        let targets = columns.iter().map(|column| Target::new(column)).collect::<Result<Vec<_>>>()?;
        let protect = |column: &&weir_contract::Column| {
            column.personal.map(|treatment| Protection::new(&column.name, treatment, key)).transpose()
        };
        let protections = columns.iter().map(protect).collect::<Result<Vec<_>>>()?;
        let schema: Schema =
            targets.iter().map(|target| Field::new(target.name.as_str().into(), dtype(target.data_type))).collect();
        Ok(Self {
            rules: contract.rules.iter().map(|rule| CompiledRule::new(rule, &schema)).collect::<Result<Vec<_>>>()?,
            dialect: Dialect::new(&contract.format)?,
            max_record_bytes: contract.format.max_record_bytes,
            fields: Fields::new(contract, &targets, of_body)?,
            leaves_out: contract.leaves_unknown_fields_out(),
            has_labels: contract.has_labels(),
            payload: contract.format.payload.clone(),
            targets,
            of_body,
            event_fields,
            order,
            protections,
        })
    }
}
