//! Unknown fields on their way to become columns of the table.
//!
//! Values are kept one after the other, with their rows, until the whole chunk is known: only then does it show which
//! fields are there and how many columns that would be. Memory: what the values take in the chunk, then at most
//! [`MAX_ADDED_CELLS`] cells, of 16 bytes where they are empty.

use std::collections::{BTreeMap, HashMap, HashSet};

use polars::prelude::{Column, IntoSeries, Series, StringChunkedBuilder};
use weir_contract::limits::MAX_ADDED_CELLS;

use crate::error::Result;
use crate::fields::Fields;
use crate::json;
use crate::output::chunked;
use crate::values::quote;

#[derive(Debug)]
pub(crate) struct Added {
    form: Form,
    fields: Vec<Field>,
    /// By what equal names have in common.
    known: HashMap<String, usize>,
    /// By name; `None` where it can be no column.
    spelt: HashMap<String, Option<usize>>,
    text: String,
}

/// What a kept value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

#[derive(Debug)]
struct Field {
    name: String,
    values: Vec<Value>,
}

/// Where a row's value is in the text.
#[derive(Debug, Clone, Copy)]
struct Value {
    row: usize,
    start: usize,
    end: usize,
}

impl Added {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, fields: Vec::new(), known: HashMap::new(), spelt: HashMap::new(), text: String::new() }
    }

    /// The place of a field that may become a column; `None` if it may not.
    pub(crate) fn place(&mut self, rules: &Fields, name: &str) -> Option<usize> {
        if let Some(place) = self.spelt.get(name) {
            return *place;
        }
        let place = rules.may_be_added(name).then(|| self.field(rules.key(name).into_owned(), name));
        self.spelt.insert(name.to_owned(), place);
        place
    }

    fn field(&mut self, key: String, name: &str) -> usize {
        *self.known.entry(key).or_insert_with(|| {
            self.fields.push(Field { name: name.to_owned(), values: Vec::new() });
            self.fields.len() - 1
        })
    }

    /// Keeps a value. False if the row has one already, or if it can be no text: nothing is kept then.
    pub(crate) fn put(&mut self, place: usize, row: usize, value: &str) -> bool {
        let values = &mut self.fields[place].values;
        if values.last().is_some_and(|last| last.row == row) || (self.form == Form::Json && json::text(value).is_err())
        {
            return false;
        }
        values.push(Value { row, start: self.text.len(), end: self.text.len() + value.len() });
        self.text.push_str(value);
        true
    }

    /// Gives up the values of a field.
    pub(crate) fn withdraw(&mut self, place: usize) {
        self.fields[place].values.clear();
    }

    /// Appends those of the next part of the chunk, whose first row is `rows`.
    pub(crate) fn append(&mut self, rules: &Fields, rows: usize, part: Self) {
        let shift = self.text.len();
        self.text.push_str(&part.text);
        for field in part.fields {
            let place = self.field(rules.key(&field.name).into_owned(), &field.name);
            let moved =
                |value: Value| Value { row: value.row + rows, start: value.start + shift, end: value.end + shift };
            self.fields[place].values.extend(field.values.into_iter().map(moved));
        }
    }

    /// The columns, in Arrow chunks of the given lengths. Fields that are too many, or that other letters made a column
    /// already, join what was rescued.
    pub(crate) fn columns(
        self,
        rules: &Fields,
        lengths: &[usize],
        rescued: &mut Vec<(usize, String)>,
    ) -> Result<Vec<Column>> {
        let rows: usize = lengths.iter().sum();
        let most = rules.most_added.min(MAX_ADDED_CELLS / rows.max(1));
        let mut names = HashSet::new();
        let (mut columns, mut surplus) = (Vec::new(), BTreeMap::<usize, String>::new());
        for field in self.fields.iter().filter(|field| !field.values.is_empty()) {
            if columns.len() < most && names.insert(field.name.to_ascii_lowercase()) {
                let values = field.values.iter().map(|value| (value.row, self.shown(*value)));
                columns.push(sparse(&field.name, lengths, values)?);
                continue;
            }
            for value in &field.values {
                member(surplus.entry(value.row).or_default(), &field.name, &self.json(*value));
            }
        }
        join(rescued, surplus);
        Ok(columns)
    }

    fn shown(&self, value: Value) -> std::borrow::Cow<'_, str> {
        let text = &self.text[value.start..value.end];
        match self.form {
            Form::Text => text.into(),
            // It was looked at before it was kept.
            Form::Json => json::text(text).ok().flatten().unwrap_or_default(),
        }
    }

    fn json(&self, value: Value) -> String {
        let text = &self.text[value.start..value.end];
        match self.form {
            Form::Text => json::quoted(text),
            Form::Json => text.to_owned(),
        }
    }
}

/// Adds a member to a JSON object that is not closed yet.
pub(crate) fn member(object: &mut String, name: &str, value: &str) {
    object.push(if object.is_empty() { '{' } else { ',' });
    quote(name, object);
    object.push(':');
    object.push_str(value);
}

/// Appends the members of open objects to those that were rescued, by row.
fn join(rescued: &mut Vec<(usize, String)>, mut surplus: BTreeMap<usize, String>) {
    if surplus.is_empty() {
        return;
    }
    for (row, object) in rescued.iter_mut() {
        if let Some(more) = surplus.remove(row) {
            object.pop();
            object.push(',');
            object.push_str(&more[1..]);
            object.push('}');
        }
    }
    rescued.extend(surplus.into_iter().map(|(row, object)| (row, object + "}")));
    rescued.sort_unstable_by_key(|(row, _)| *row);
}

/// A string column with a value on some rows, ascending.
pub(crate) fn sparse<T: AsRef<str>>(
    name: &str,
    lengths: &[usize],
    values: impl Iterator<Item = (usize, T)>,
) -> Result<Column> {
    let (mut values, mut row) = (values.peekable(), 0);
    chunked(lengths, |length| -> Series {
        let mut builder = StringChunkedBuilder::new(name.into(), length);
        for row in row..row + length {
            builder.append_option(values.next_if(|(at, _)| *at == row).map(|(_, value)| value));
        }
        row += length;
        builder.finish().into_series()
    })
}
