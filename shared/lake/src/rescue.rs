//! Values of columns that a table has not, kept as JSON in `_rescued`: what was there stays to the letter.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use polars::prelude::{Column, DataFrame, DataType as PolarsType, NamedFrom, PlSmallStr, PolarsResult, Series};
use weir_contract::{RESCUED, TableColumn};

use crate::data::partition::to_texts;

/// `_rescued` of every row: what it was, and the values of `unknown`. What was there is not parsed, so that its numbers
/// keep their digits.
pub(crate) fn rescued(frame: &DataFrame, unknown: &[TableColumn]) -> PolarsResult<Series> {
    let before = frame.column(RESCUED).ok().map(|column| column.str()).transpose()?;
    let mut columns = Vec::with_capacity(unknown.len());
    for column in unknown {
        columns.push((quoted(&column.name), json(frame.column(&column.name)?)?));
    }
    let mut texts: Vec<Option<String>> = Vec::with_capacity(frame.height());
    for row in 0..frame.height() {
        let kept = before.and_then(|before| before.get(row)).map(members);
        let mut all: Vec<Cow<'_, str>> = kept.into_iter().filter(|members| !members.is_empty()).collect();
        for (name, values) in &columns {
            all.extend(values.get(row).and_then(Option::as_ref).map(|value| format!("{name}:{value}").into()));
        }
        texts.push(if all.is_empty() { None } else { Some(format!("{{{}}}", all.join(","))) });
    }
    Ok(Series::new(PlSmallStr::from_static(RESCUED), texts))
}

/// What is between the braces of a JSON object. Another text is kept whole, under the column's own name.
fn members(text: &str) -> Cow<'_, str> {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.map_or_else(|| format!("{}:{}", quoted(RESCUED), quoted(text)).into(), |inner| inner.trim().into())
}

/// The values as JSON; as text where JSON has no such type, in the form that a contract of that type reads again.
fn json(column: &Column) -> PolarsResult<Vec<Option<String>>> {
    Ok(match column.dtype() {
        PolarsType::Binary => column.binary()?.iter().map(|bytes| Some(quoted(&BASE64.encode(bytes?)))).collect(),
        PolarsType::Float32 | PolarsType::Float64 => {
            let values = column.cast(&PolarsType::Float64)?;
            let json = |value| match serde_json::Number::from_f64(value) {
                Some(number) => number.to_string(),
                None => quoted(&value.to_string()),
            };
            values.f64()?.iter().map(|value| value.map(json)).collect()
        }
        PolarsType::Boolean | PolarsType::Int8 | PolarsType::Int16 | PolarsType::Int32 | PolarsType::Int64 => {
            to_texts(column, false)?
        }
        _ => to_texts(column, false)?.into_iter().map(|text| Some(quoted(&text?))).collect(),
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
