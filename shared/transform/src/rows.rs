//! Rows that were read from Parquet, brought to the contract's columns under the same rules as text: what the type cannot
//! hold exactly is a fault of its row.

use std::borrow::Cow;
use std::sync::Arc;

use polars::prelude::{Column, IntoColumn};
use rayon::prelude::*;
use weir_contract::limits::MAX_REASONS;
use weir_contract::{Stop, UnknownFields};

use crate::added::{Added, Form};
use crate::columns::{Bounds, Target, dtype};
use crate::convert::{Converted, convert};
use crate::error::{Result, TransformError};
use crate::faults::{self, Fault, Reason, Shared, UnknownNames};
use crate::fields::Fields;
use crate::json::quoted;
use crate::parquet::{Given, HEAD_BYTES, ParquetStep};
use crate::values::Values;

pub(crate) struct Conformed {
    pub(crate) columns: Vec<Column>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rescued: Vec<(usize, String)>,
    pub(crate) added: Added,
}

/// The member that names the fields of which the file has no readable value. It is no value itself.
const UNREADABLE: &str = "_unreadable";

/// Rows that are worth a hand-over to another thread.
const PART_ROWS: usize = 512;

/// Maps columns with the source's field names to the contract's.
pub(crate) fn conform(
    targets: &[Target],
    fields: &Fields,
    Bounds { max_record_bytes, stop, .. }: Bounds<'_>,
    step: &ParquetStep,
) -> Result<Conformed> {
    let height = step.rows;
    let mut found_faults = Found::new(height);
    let mut fault = |row: usize, reason: Reason| found_faults.push(row, reason);
    let names: Vec<&str> = step.columns.iter().map(|given| given.root.name.as_str()).collect();
    let found = fields.columns_of(&names);
    let mut places: Vec<Option<usize>> = vec![None; targets.len()];
    found.iter().enumerate().for_each(|(place, column)| column.iter().for_each(|column| places[*column] = Some(place)));

    let passed: Vec<bool> = match step.sizes.iter().any(|size| *size > max_record_bytes) {
        true => step.sizes.iter().map(|size| *size > max_record_bytes).collect(),
        false => Vec::new(),
    };
    let converted: Vec<Option<Read>> = (0..targets.len())
        .into_par_iter()
        .map(|index| {
            let place = places[index].filter(|_| !stop.is_set());
            place.map(|place| read(&targets[index], &step.columns[place], &passed))
        })
        .collect();
    if stop.is_set() {
        return Err(TransformError::Stopped);
    }
    let is_told = converted.iter().flatten().any(|read| matches!(read, Read::Unreadable(_)));
    let lost = lost(step).filter(|_| !is_told);
    let mut columns = Vec::with_capacity(targets.len());
    for (index, (target, read)) in targets.iter().zip(converted).enumerate() {
        let null = || Column::full_null(target.name.as_str().into(), height, &dtype(target.data_type));
        columns.push(match read {
            None => {
                // A path leads nowhere here: its column would be null without a word.
                let refused = !target.nullable || fields.refuses_without(target) || target.path.is_some();
                if lost.is_none() && refused {
                    (0..height).for_each(|row| fault(row, Reason::Missing(index)));
                }
                null()
            }
            Some(Read::Unreadable(why)) => {
                (0..height).for_each(|row| fault(row, Reason::Text(Arc::clone(&why))));
                null()
            }
            Some(Read::Converted(Converted { series, mismatches }, nulls)) => {
                mismatches.into_iter().for_each(|(row, mismatch)| fault(row, Reason::Mismatch(index, mismatch)));
                if !target.nullable {
                    nulls.into_iter().for_each(|row| fault(row, Reason::Null(index)));
                }
                series.into_column()
            }
        });
    }
    if let Some(why) = lost {
        (0..height).for_each(|row| fault(row, Reason::Text(Arc::clone(&why))));
    }
    for row in (0..passed.len()).filter(|row| passed[*row]) {
        fault(row, Reason::TooLong(max_record_bytes));
    }

    let mut unknown: Vec<&Given> =
        step.columns.iter().zip(&found).filter(|(_, column)| column.is_none()).map(|(given, _)| given).collect();
    let mut added = Added::new(Form::Json);
    match fields.unknown {
        UnknownFields::Rescue => {}
        UnknownFields::Add => unknown.retain(|given| !add(&mut added, fields, given, &passed)),
        UnknownFields::Fail => {
            let mut names = UnknownNames::default();
            unknown.drain(..).for_each(|given| names.push(&given.root.name));
            if let Some(reason) = names.take() {
                (0..height).for_each(|row| fault(row, reason.clone()));
            }
        }
    }
    let rescued = Objects::new(&unknown, |_| false).all(height, &passed, stop);
    Ok(Conformed { columns, faults: found_faults.finish(), rescued, added })
}

/// Faults in the order of columns, on their way to that of rows.
struct Found {
    reasons: Vec<(usize, Reason)>,
    /// How many each row has.
    counts: Vec<u16>,
}

impl Found {
    fn new(height: usize) -> Self {
        Self { reasons: Vec::new(), counts: vec![0; height] }
    }

    fn push(&mut self, row: usize, reason: Reason) {
        let Some(count) = self.counts.get_mut(row) else { return };
        // One more than are listed says that there are more.
        if usize::from(*count) <= MAX_REASONS {
            *count += 1;
            self.reasons.push((row, reason));
        }
    }

    fn finish(mut self) -> Vec<Fault> {
        self.reasons.sort_by_key(|(row, _)| *row); // stable
        let (mut shared, mut reasons) = (Shared::default(), Vec::new());
        let rows = self.reasons.chunk_by(|left, right| left.0 == right.0);
        rows.map(|of_row| {
            reasons.clear();
            of_row.iter().for_each(|(_, reason)| faults::add(&mut reasons, reason.clone()));
            shared.fault(of_row[0].0, &reasons)
        })
        .collect()
    }
}

enum Read {
    /// And the rows that are null in the file, if that is a fault.
    Converted(Converted, Vec<usize>),
    Unreadable(Arc<str>),
}

fn read(target: &Target, given: &Given, passed: &[bool]) -> Read {
    let values = match &given.values {
        Ok(array) => Values::of(array, &given.shape),
        Err(why) => return Read::Unreadable(Arc::clone(why)),
    };
    let Some(values) = values else { return Read::Unreadable(no_type(given)) };
    let nulls = match target.nullable {
        true => Vec::new(),
        false => (0..values.length).filter(|row| values.is_null(*row)).collect(),
    };
    Read::Converted(convert(target, &values, passed), nulls)
}

fn no_type(given: &Given) -> Arc<str> {
    format!(
        "field {} ({}) is not a type that can be read",
        crate::faults::shown(&given.root.name),
        given.root.type_name
    )
    .into()
}

/// Why nothing at all is known of the rows, which are counted only by the footer then.
fn lost(step: &ParquetStep) -> Option<Arc<str>> {
    let none = !step.columns.is_empty() && step.columns.iter().all(|given| given.values.is_err());
    let why = none.then(|| step.columns.iter().find_map(|given| given.values.as_ref().err().cloned())).flatten()?;
    Some(format!("no column of the row can be read; {why}").into())
}

/// False if the column can be none of the table: its name, or a value that is no text.
fn add(added: &mut Added, fields: &Fields, given: &Given, passed: &[bool]) -> bool {
    let Ok(array) = &given.values else { return false };
    let Some(values) = Values::of(array, &given.shape) else { return false };
    let Some(place) = added.place(fields, &given.root.name) else { return false };
    let mut json = String::new();
    for row in (0..values.length).filter(|row| !passed.get(*row).is_some_and(|passed| *passed)) {
        if values.is_null(row) {
            continue;
        }
        json.clear();
        if !values.json(row, &mut json) || !added.put(place, row, &json) {
            added.withdraw(place);
            return false;
        }
    }
    true
}

/// Rows as JSON objects.
struct Objects<'a> {
    /// With the name as JSON, and whether a null of it is shown.
    columns: Vec<(String, Values<'a>, bool)>,
    /// The member that names the others.
    unreadable: Option<String>,
}

impl<'a> Objects<'a> {
    /// Nulls are left out, but of the columns that `shows_null`.
    fn new(given: &[&'a Given], shows_null: impl Fn(&Given) -> bool) -> Self {
        let (mut columns, mut unreadable) = (Vec::new(), Vec::new());
        for given in given {
            match given.values.as_ref().ok().and_then(|array| Values::of(array, &given.shape)) {
                Some(values) => columns.push((quoted(&given.root.name) + ":", values, shows_null(given))),
                None => unreadable.push(given.root.name.as_str()),
            }
        }
        let names = || format!("{}:{}", quoted(UNREADABLE), serde_json::Value::from(unreadable.clone()));
        let unreadable = (!unreadable.is_empty()).then(names);
        Self { columns, unreadable }
    }

    /// `None` if it has no member.
    fn of(&self, row: usize, most: usize) -> Option<String> {
        let mut object = String::new();
        for (name, values, shows_null) in &self.columns {
            if object.len() > most {
                break;
            }
            if *shows_null || !values.is_null(row) {
                object.push(if object.is_empty() { '{' } else { ',' });
                object.push_str(name);
                if values.size(row) > most {
                    // Its head will do, and it is cut anyway.
                    values.head(row, most, &mut object);
                    break;
                }
                values.json(row, &mut object);
            }
        }
        if let Some(member) = &self.unreadable {
            object.push(if object.is_empty() { '{' } else { ',' });
            object.push_str(member);
        }
        if object.is_empty() {
            return None;
        }
        object.push('}');
        Some(object)
    }

    /// Of all rows but those that are passed over.
    fn all(&self, height: usize, passed: &[bool], stop: &Stop) -> Vec<(usize, String)> {
        let is_empty = |(_, values, _): &(String, Values<'_>, bool)| {
            values.nulls.is_some_and(|nulls| nulls.null_count() == values.length)
                || matches!(values.kind, crate::values::Kind::Null)
        };
        if self.unreadable.is_none() && self.columns.iter().all(is_empty) {
            return Vec::new();
        }
        let of = |row: usize| match passed.get(row) {
            Some(true) => None,
            _ if stop.is_set() => None,
            _ => self.of(row, usize::MAX).map(|object| (row, object)),
        };
        (0..height).into_par_iter().with_min_len(PART_ROWS).filter_map(of).collect()
    }
}

/// One row as a JSON object, as quarantine keeps it: nulls of the contract's columns are shown.
pub(crate) struct Raw<'a> {
    objects: Objects<'a>,
    sizes: &'a [usize],
    max_record_bytes: usize,
}

impl<'a> Raw<'a> {
    pub(crate) fn new(step: &'a ParquetStep, fields: &Fields, max_record_bytes: usize) -> Self {
        let all: Vec<&Given> = step.columns.iter().collect();
        let objects = Objects::new(&all, |given| fields.column(&given.root.name).is_some());
        Self { objects, sizes: &step.sizes, max_record_bytes }
    }

    pub(crate) fn of(&self, row: usize) -> Cow<'a, [u8]> {
        let is_long = self.sizes.get(row).is_some_and(|size| *size > self.max_record_bytes);
        let object = self.objects.of(row, if is_long { HEAD_BYTES } else { usize::MAX });
        let mut bytes = object.unwrap_or_else(|| "{}".to_owned()).into_bytes();
        if is_long {
            bytes.truncate(HEAD_BYTES);
        }
        Cow::Owned(bytes)
    }
}
