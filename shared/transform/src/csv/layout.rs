//! What a file's first line says: which field is which column, or that it is no header.

use std::collections::{HashMap, HashSet};

use weir_contract::UnknownFields;

use super::{Dialect, content, field};
use crate::columns::Target;
use crate::error::{Result, TransformError};
use crate::faults::{Reason, UnknownNames};
use crate::fields::Fields;
use crate::json::quoted;

/// Which field of a record goes where: made once per blob, from its header record.
#[derive(Debug, Clone, Default)]
pub struct CsvLayout {
    pub(super) fields: Vec<Slot>,
    /// The fields that are columns, ascending, and those columns: a header may name a million others, and a record that is
    /// short must not look at each of them.
    columns: Vec<(usize, usize)>,
    /// Columns that the file does not have.
    pub(super) absent: Vec<usize>,
    /// Unknown fields that may become columns of the table.
    pub(super) added: Vec<String>,
    /// Why no record of this file can be accepted.
    pub(super) faults: Vec<Reason>,
    /// Why the first line is no header.
    pub(super) refusal: Option<String>,
}

impl CsvLayout {
    /// Why the first line is no header, so that it is a refused record like all that follow it: it is no text in its
    /// encoding, or it names no column of the contract.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The columns of the fields from this one on.
    pub(super) fn columns_from(&self, field: usize) -> impl Iterator<Item = usize> {
        let first = self.columns.partition_point(|(at, _)| *at < field);
        self.columns[first..].iter().map(|(_, column)| *column)
    }

    /// A layout of these fields.
    fn of(fields: Vec<Slot>) -> Self {
        let column =
            |(at, slot): (usize, &Slot)| if let Slot::Column(column) = slot { Some((at, *column)) } else { None };
        Self { columns: fields.iter().enumerate().filter_map(column).collect(), fields, ..Self::default() }
    }

    fn refused(targets: &[Target], reason: String) -> Self {
        Self {
            absent: (0..targets.len()).collect(),
            faults: vec![reason.clone().into()],
            refusal: Some(reason),
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Slot {
    Column(usize),
    /// An unknown field, by its place among those that may become columns.
    Added(usize),
    /// An unknown field, with its name as a JSON string.
    Rescued(String),
}

/// Maps the header's names to columns. The first of two equal names has the column.
pub(crate) fn layout(
    dialect: &Dialect,
    targets: &[Target],
    fields: &Fields,
    header: Option<&[u8]>,
) -> Result<CsvLayout> {
    let header = match (dialect.header, header) {
        (false, _) => {
            return Ok(CsvLayout::of((0..targets.len()).map(Slot::Column).collect()));
        }
        (true, None) => return Err(TransformError::Argument("the contract's CSV has a header; pass its record")),
        (true, Some(header)) => header.strip_prefix(BOM).unwrap_or(header),
    };
    let text = match text_of(dialect, header) {
        Ok(text) => text,
        Err(reason) => return Ok(CsvLayout::refused(targets, reason)),
    };
    let mut names = header_names(dialect, text);
    if dialect.trailing && names.len() > 1 && names.last().is_some_and(|name| name.trim().is_empty()) {
        names.pop();
    }
    if !fields.match_case() {
        names.iter_mut().for_each(|name| *name = crate::text::trim(name).to_owned());
    }
    let columns = fields.columns_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut seen, mut unknown, mut added) = (HashMap::<String, usize>::new(), UnknownNames::default(), Vec::new());
    let mut slots = Vec::with_capacity(names.len());
    for (mut name, column) in names.into_iter().zip(&columns) {
        let count = *seen.entry(fields.key(&name).into_owned()).and_modify(|count| *count += 1).or_insert(1);
        if let Some(column) = column {
            slots.push(Slot::Column(*column));
            continue;
        }
        if count > 1 {
            name = format!("{name}#{count}");
        }
        unknown.push(&name);
        if fields.may_be_added(&name) {
            slots.push(Slot::Added(added.len()));
            added.push(name);
        } else {
            slots.push(Slot::Rescued(quoted(&name)));
        }
    }
    let present: HashSet<usize> = columns.iter().flatten().copied().collect();
    let absent: Vec<usize> = (0..targets.len()).filter(|column| !present.contains(column)).collect();
    if absent.len() == targets.len() {
        return Ok(CsvLayout::refused(targets, no_column(dialect, fields, text)));
    }
    // A path leads nowhere in CSV: its column would be null without a word.
    let refused = |target: &Target| !target.nullable || fields.refuses_without(target) || target.path.is_some();
    let mut faults: Vec<Reason> =
        absent.iter().filter(|column| refused(&targets[**column])).map(|column| Reason::Missing(*column)).collect();
    faults.extend(unknown.take().filter(|_| fields.unknown == UnknownFields::Fail));
    Ok(CsvLayout { absent, added, faults, ..CsvLayout::of(slots) })
}

/// The header as text, without blank lines before it.
fn text_of<'h>(dialect: &Dialect, header: &'h [u8]) -> std::result::Result<&'h str, String> {
    let Ok(text) = std::str::from_utf8(header) else {
        return Err(format!("the header is {}: say by `[format] encoding` what it is", dialect.not_text));
    };
    if text.contains('\0') {
        return Err("the header has NUL characters: say by `[format] encoding` what it is, such as utf-16".to_owned());
    }
    let blanks = text.len() - text.trim_ascii_start().len();
    let line = text[..blanks].rfind('\n').map_or(0, |at| at + 1);
    Ok(&text[line..])
}

/// Why no column fits, and what would.
fn no_column(dialect: &Dialect, fields: &Fields, header: &str) -> String {
    let fits = |delimiter: &u8| {
        let dialect = Dialect { delimiter: *delimiter, ..dialect.clone() };
        header_names(&dialect, header).iter().any(|name| fields.column(crate::text::trim(name)).is_some())
    };
    let others = [(b',', ","), (b';', ";"), (b'\t', "\\t"), (b'|', "|")];
    let other = others.iter().filter(|(byte, _)| *byte != dialect.delimiter).find(|(byte, _)| fits(byte));
    let hint = match other {
        Some((_, name)) => format!("; with `[format] delimiter = \"{name}\"` it would"),
        None if header.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("sep=")) => {
            "; it says another delimiter than `[format] delimiter`".to_owned()
        }
        None => String::new(),
    };
    format!("the header has none of the contract's columns{hint}")
}

/// UTF-8's byte order mark.
pub(crate) const BOM: &[u8] = b"\xEF\xBB\xBF";

fn header_names(dialect: &Dialect, text: &str) -> Vec<String> {
    let (mut names, mut at) = (Vec::new(), 0);
    loop {
        let field = field(text.as_bytes(), at, dialect);
        names.push(content(text, &field, dialect).into_owned());
        if field.last {
            return names;
        }
        at = field.next;
    }
}
