//! What derived tables name in other contracts: it has to be there, of a type that makes units, and never the table
//! itself, however far around.

use std::collections::HashMap;

use crate::error::{ContractError, ContractErrors, ErrorKind};
use crate::keys;
use crate::model::Contract;
use crate::parse::Parsed;
use crate::reader::{Place, Report, quoted};

/// A contract as it was read: file, text, and what it says.
pub(crate) type Read<'t> = (&'t str, &'t str, &'t Parsed);

pub(crate) fn check(all: &[Read<'_>]) -> Result<(), ContractErrors> {
    let by_name: HashMap<&str, &Contract> =
        all.iter().map(|(.., parsed)| (parsed.contract.name.as_str(), &parsed.contract)).collect();
    let errors: Vec<ContractError> = all.iter().flat_map(|own| of(own, &by_name)).collect();
    if errors.is_empty() { Ok(()) } else { Err(ContractErrors::new(errors, 0)) }
}

fn of((file, text, parsed): &Read<'_>, all: &HashMap<&str, &Contract>) -> Vec<ContractError> {
    let Some(derived) = parsed.contract.derived() else { return Vec::new() };
    let [follows, of, lookups @ ..] = parsed.claims.as_slice() else { return Vec::new() };
    let report = Report::new(file, text);
    let mut errors = Vec::new();
    for (name, place) in derived.reads().zip(std::iter::once(follows).chain(lookups)) {
        if !all.contains_key(name) {
            let suggestion = keys::nearest(name, all.keys().copied()).map(str::to_owned);
            let message = format!("there is no dataset {}", quoted(name));
            errors.push(report.error(ErrorKind::InvalidValue, place, message, suggestion));
        } else if let Some(around) = way_back(name, &parsed.contract.name, all) {
            let message = format!("goes around in a circle: {}", around.join(" reads "));
            errors.push(report.error(ErrorKind::Conflict, place, message, None));
        }
    }
    if let Some(followed) = all.get(derived.follows.as_str()) {
        errors.extend(misfit(&parsed.contract, followed, of, &report));
    }
    errors
}

/// What is wrong with the unit's column in the followed table.
fn misfit(own: &Contract, followed: &Contract, place: &Place, report: &Report<'_>) -> Option<ContractError> {
    let unit = &own.derived()?.unit;
    let columns = followed.table_columns();
    let fail = |kind, message, suggestion| Some(report.error(kind, place, message, suggestion));
    let Some(column) = columns.iter().find(|column| column.name == unit.of) else {
        let names = followed.columns.iter().map(|column| column.name.as_str());
        let suggestion = keys::nearest(&unit.of, names).filter(|near| *near != unit.of).map(str::to_owned);
        let message = format!("the table of {} has no column {}", quoted(&followed.name), quoted(&unit.of));
        return fail(ErrorKind::InvalidValue, message, suggestion);
    };
    let by = own.columns.iter().find(|column| column.name == unit.by)?;
    if let Some(message) = unit.misfit(column.data_type, by.data_type) {
        return fail(ErrorKind::Conflict, format!("{} {message}", quoted(&unit.of)), None);
    }
    let taken = columns.iter().any(|column| column.name.eq_ignore_ascii_case(&unit.by));
    if taken && (unit.by != unit.of || unit.every.is_some()) {
        let message = format!(
            "{} has a column {} itself: the query could not tell it from the unit, call that something else",
            quoted(&followed.name),
            quoted(&unit.by)
        );
        return fail(ErrorKind::Conflict, message, None);
    }
    None
}

/// The datasets from `from` to `to`, both included, by what each reads.
fn way_back<'a>(from: &'a str, to: &'a str, all: &HashMap<&'a str, &'a Contract>) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = vec![from];
    while let Some(way) = ways.pop() {
        let here = way.last().copied().unwrap_or(from);
        if here == to {
            return Some([to].into_iter().chain(way).collect());
        }
        for next in all.get(here).and_then(|contract| contract.derived()).into_iter().flat_map(|own| own.reads()) {
            if !seen.contains(&next) {
                seen.push(next);
                ways.push(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}
