//! From the text of a contract to a sound [`Contract`]. Each part is read with a stand-in where it is wrong, so that
//! one run finds every error; nothing with a stand-in in it ever leaves this module.

mod columns;
mod dedupe;
mod derived;
mod drift;
mod format;
mod source;
mod table;

use std::collections::HashSet;

use toml::de::DeTable;

use crate::error::{ContractErrors, ErrorKind};
use crate::keys;
use crate::model::{Contract, Rule, RuleAction, Source};
use crate::reader::{At, Place, Report, Table, check_bytes, quoted};

use columns::Columns;

/// A contract is written by hand; more is a mistake.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
const MAX_RULES: usize = 256;
const MAX_EXPR_BYTES: usize = 8 * 1024;
const MAX_DESCRIPTION_BYTES: usize = 4 * 1024;
const MAX_SQL_BYTES: usize = 64 * 1024;
/// Longest name of a dataset or of a rule, in characters.
const MAX_NAME: usize = 63;

/// A contract and where it says what only one contract may say.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) contract: Contract,
    pub(crate) name: Place,
    /// The entries of `source.path`, or `source.hub`, or what `derived` reads and its `of`.
    pub(crate) claims: Vec<Place>,
    pub(crate) warehouse_table: Option<Place>,
}

impl Contract {
    /// Reads and validates one contract. `file` is what errors call it. On failure returns every error in the text.
    pub fn parse(text: &str, file: &str) -> Result<Contract, ContractErrors> {
        parse(text, file).map(|parsed| parsed.contract)
    }
}

pub(crate) fn parse(text: &str, file: &str) -> Result<Parsed, ContractErrors> {
    if text.len() > MAX_FILE_BYTES {
        let mut report = Report::new(file, "");
        let message = format!("the file has {} bytes: at most {MAX_FILE_BYTES} are allowed", text.len());
        report.add(ErrorKind::TooLarge, &whole_file(), message);
        return Err(report.into_errors());
    }
    let mut report = Report::new(file, text);
    let (document, faults) = DeTable::parse_recoverable(text);
    for fault in faults {
        let place = Place { key: String::new(), start: fault.span().map_or(0, |span| span.start) };
        report.add(ErrorKind::Syntax, &place, format!("not valid TOML: {}", fault.message().trim()));
    }
    if !report.is_empty() {
        return Err(report.into_errors()); // what the recovery guessed would only breed false errors
    }
    let parsed = read(&Table::open(document.get_ref(), whole_file(), &keys::TOP, &mut report), &mut report);
    if report.is_empty() { Ok(parsed) } else { Err(report.into_errors()) }
}

fn whole_file() -> Place {
    Place { key: String::new(), start: 0 }
}

fn read(top: &Table<'_>, report: &mut Report<'_>) -> Parsed {
    let name = dataset_name(top, report);
    let description = description(top, report);
    let source = source::read(top, report);
    let columns = Columns::read(top, report);
    let source = derived::read(top, &columns, report).unwrap_or(source);
    if source.value.is_events() {
        columns.check_event_fields(report);
    }
    let format = format::read(top, &source.value, &columns, report);
    columns.check_origins(&format, report);
    let rules = rules(top, report);
    let derived = matches!(source.value, Source::Derived(_));
    let table = table::read(top, derived, &columns, report);
    let drift = drift::read(top, &columns, &table, report);
    let quality = drift::read_quality(top, source.value.is_events(), report);
    let dedupe = dedupe::read(top, derived || source.value.is_events(), &columns, report);
    let warehouse = table::read_warehouse(top, &columns, report);
    Parsed {
        name: name.place,
        claims: source.claims,
        warehouse_table: warehouse.as_ref().map(|warehouse| warehouse.place.clone()),
        contract: Contract {
            name: name.value.to_owned(),
            description,
            source: source.value,
            format,
            columns: columns.into_model(),
            rules,
            drift,
            quality,
            dedupe,
            table,
            warehouse: warehouse.map(|warehouse| warehouse.value),
        },
    }
}

fn dataset_name<'a>(top: &Table<'a>, report: &mut Report<'_>) -> At<&'a str> {
    let Some(name) = top.required_text("name", report) else { return At { value: "", place: whole_file() } };
    if name.value.starts_with('_') {
        report.add(ErrorKind::InvalidValue, &name.place, "names that begin with `_` are reserved for Weir");
    } else if name.value.ends_with("__quarantine") || name.value.ends_with("__parked") {
        let message = "names that end in `__quarantine` or `__parked` are reserved for Weir's own tables";
        report.add(ErrorKind::InvalidValue, &name.place, message);
    } else {
        check_name(&name, report);
    }
    name
}

/// `^[a-z][a-z0-9_]{0,62}$`
fn check_name(name: &At<&str>, report: &mut Report<'_>) {
    let sound = name.value.starts_with(|first: char| first.is_ascii_lowercase())
        && name.value.len() <= MAX_NAME
        && name.value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !sound {
        let message = format!(
            "{} is not a name: a lower-case letter, then at most {} lower-case letters, digits and `_`",
            quoted(name.value),
            MAX_NAME - 1
        );
        report.add(ErrorKind::InvalidValue, &name.place, message);
    }
}

fn description(table: &Table<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = table.text("description", report)?;
    check_bytes(text.value, MAX_DESCRIPTION_BYTES, &text.place, report);
    Some(text.value.to_owned())
}

fn rules(top: &Table<'_>, report: &mut Report<'_>) -> Vec<Rule> {
    const ACTIONS: [RuleAction; 4] = [RuleAction::Warn, RuleAction::Label, RuleAction::Quarantine, RuleAction::Fail];
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for table in top.tables("rules", &keys::RULES, 0..=MAX_RULES, report) {
        let name = table.required_text("name", report);
        if let Some(name) = &name {
            check_name(name, report);
            if !names.insert(name.value) {
                let message = format!("there is a rule {} already", quoted(name.value));
                report.add(ErrorKind::Conflict, &name.place, message);
            }
        }
        let expr = table.required_text("expr", report);
        if let Some(expr) = &expr {
            check_bytes(expr.value, MAX_EXPR_BYTES, &expr.place, report);
            if expr.value.trim().is_empty() {
                report.add(ErrorKind::InvalidValue, &expr.place, "is empty: write an SQL condition (`quantity > 0`)");
            }
        }
        let action = table.required_choice("action", "action", &ACTIONS.map(|action| (action.name(), action)), report);
        rules.push(Rule {
            name: name.map(|name| name.value.to_owned()).unwrap_or_default(),
            line: expr.as_ref().map_or(0, |expr| report.line(expr.place.start)),
            expr: expr.map(|expr| expr.value.to_owned()).unwrap_or_default(),
            action: action.map_or(RuleAction::Warn, |action| action.value),
        });
    }
    rules
}
