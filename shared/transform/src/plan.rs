//! A contract made ready: columns, rules and protections checked and compiled once, used for every chunk.

use polars::prelude::{Field, Schema};
use weir_contract::Contract;

use crate::columns::{Target, dtype};
use crate::csv::Dialect;
use crate::error::Result;
use crate::fields::Fields;
use crate::privacy::{Protection, PseudonymKey};
use crate::rules::CompiledRule;

#[derive(Debug)]
pub(crate) struct Plan {
    /// The contract's columns, in order.
    pub(crate) targets: Vec<Target>,
    /// Per column: what is done to it because it is personal.
    pub(crate) protections: Vec<Option<Protection>>,
    pub(crate) fields: Fields,
    pub(crate) rules: Vec<CompiledRule>,
    /// Whether the table has `_labels`.
    pub(crate) has_labels: bool,
    pub(crate) dialect: Dialect,
    pub(crate) max_record_bytes: usize,
    /// The field of an Avro record that holds the record.
    pub(crate) payload: Option<String>,
}

impl Plan {
    pub(crate) fn new(contract: &Contract, key: Option<&PseudonymKey>) -> Result<Self> {
        let targets = contract.columns.iter().map(Target::new).collect::<Result<Vec<_>>>()?;
        let protect = |column: &weir_contract::Column| {
            column.personal.map(|treatment| Protection::new(&column.name, treatment, key)).transpose()
        };
        let protections = contract.columns.iter().map(protect).collect::<Result<Vec<_>>>()?;
        let schema: Schema =
            targets.iter().map(|target| Field::new(target.name.as_str().into(), dtype(target.data_type))).collect();
        Ok(Self {
            rules: contract.rules.iter().map(|rule| CompiledRule::new(rule, &schema)).collect::<Result<Vec<_>>>()?,
            dialect: Dialect::new(&contract.format)?,
            max_record_bytes: contract.format.max_record_bytes,
            fields: Fields::new(contract, &targets)?,
            has_labels: contract.has_labels(),
            payload: contract.format.payload.clone(),
            targets,
            protections,
        })
    }
}
