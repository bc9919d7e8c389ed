//! Fields of JSON objects, those within others by their paths.

use std::collections::HashMap;

use serde_json::{Map, Value};
use weir_contract::{field_of, pushed};

use crate::values::Seen;

/// Objects within each other whose fields become columns; what is deeper is text.
const MAX_DEPTH: usize = 4;
/// Fields of one object that are told apart; one with more is a map, whose keys are data.
const MAX_FIELDS: usize = 200;
const MAX_COLUMNS: usize = 500;

/// The fields of records that were seen so far, in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) records: u64,
    entries: Vec<Field>,
    by_path: HashMap<String, usize>,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// The names from the outermost in.
    pub(crate) names: Vec<String>,
    pub(crate) seen: Seen,
    /// Objects whose fields are fields of their own.
    objects: u64,
    /// Anything else but null.
    others: u64,
}

impl Field {
    /// As `from` says it: the name, or a path.
    pub(crate) fn from(&self) -> String {
        field_of(&self.names)
    }
}

impl Fields {
    pub(crate) fn record(&mut self, record: &Map<String, Value>) {
        self.records += 1;
        self.object(record, &mut Vec::new());
    }

    fn object(&mut self, object: &Map<String, Value>, names: &mut Vec<String>) {
        for (name, value) in object {
            names.push(name.clone());
            self.value(value, names);
            names.pop();
        }
    }

    fn value(&mut self, value: &Value, names: &mut Vec<String>) {
        let Some(at) = self.place(names) else { return };
        let field = &mut self.entries[at];
        match value {
            Value::Null => field.seen.missing(),
            Value::Object(object) if names.len() < MAX_DEPTH && !object.is_empty() && object.len() <= MAX_FIELDS => {
                field.objects += 1;
                self.object(object, names);
            }
            Value::Object(_) | Value::Array(_) => {
                field.others += 1;
                field.seen.nested = true;
                field.seen.values += 1;
            }
            Value::String(text) => {
                field.others += 1;
                field.seen.quoted = true;
                field.seen.value(text);
            }
            Value::Number(number) => {
                field.others += 1;
                field.seen.value(&number.to_string());
            }
            Value::Bool(value) => {
                field.others += 1;
                field.seen.value(if *value { "true" } else { "false" });
            }
        }
    }

    fn place(&mut self, names: &[String]) -> Option<usize> {
        let path = names.iter().fold(String::new(), |path, name| pushed(&path, name));
        if let Some(at) = self.by_path.get(&path) {
            return Some(*at);
        }
        if self.entries.len() >= 4 * MAX_COLUMNS {
            return None;
        }
        self.by_path.insert(path, self.entries.len());
        self.entries.push(Field { names: names.to_vec(), seen: Seen::default(), objects: 0, others: 0 });
        Some(self.entries.len() - 1)
    }

    /// The fields that become columns. An object that is sometimes something else, or whose keys are data, is one column
    /// of text.
    pub(crate) fn columns(mut self) -> (u64, Vec<Field>) {
        let is_map = |fields: &Self, at: usize| {
            let own = &fields.entries[at];
            let depth = own.names.len();
            let children = fields
                .entries
                .iter()
                .filter(|field| field.names.len() == depth + 1 && field.names.starts_with(&own.names));
            let (count, values) =
                children.fold((0_u64, 0), |(count, values), field| (count + 1, values + field.objects + field.others));
            // Most of its keys come once in a while: they are values.
            count > MAX_FIELDS as u64 || count > 16 && values < own.objects.saturating_mul(count) / 8
        };
        let whole: Vec<Vec<String>> = (0..self.entries.len())
            .filter(|at| self.entries[*at].objects > 0 && (self.entries[*at].others > 0 || is_map(&self, *at)))
            .map(|at| self.entries[at].names.clone())
            .collect();
        let records = self.records;
        self.entries.retain(|field| {
            let within = whole.iter().any(|names| field.names.len() > names.len() && field.names.starts_with(names));
            !within && (field.objects == 0 || whole.contains(&field.names))
        });
        for field in &mut self.entries {
            if field.objects > 0 {
                field.seen.nested = true;
            }
            let there = field.seen.values + field.seen.nulls.values().sum::<u64>();
            field.seen.missing = records.saturating_sub(there.min(records));
        }
        self.entries.truncate(MAX_COLUMNS);
        (records, self.entries)
    }
}

/// Where the records of a document are, if not in the document itself: the longest array of objects among the fields of an
/// object, at most two levels in.
pub(crate) fn records_within(object: &Map<String, Value>) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    let mut look = |value: &Value, path: String| {
        let Value::Array(items) = value else { return };
        if items.len() > 1
            && items.iter().all(Value::is_object)
            && best.as_ref().is_none_or(|(most, _)| items.len() > *most)
        {
            best = Some((items.len(), path));
        }
    };
    for (name, value) in object {
        look(value, pushed("", name));
        for (inner, value) in value.as_object().into_iter().flatten() {
            look(value, pushed(&pushed("", name), inner));
        }
    }
    best.map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(records: &[&str]) -> Vec<String> {
        let mut fields = Fields::default();
        for record in records {
            fields.record(serde_json::from_str::<Value>(record).unwrap().as_object().unwrap());
        }
        fields.columns().1.iter().map(Field::from).collect()
    }

    #[test]
    fn objects_become_paths_and_arrays_do_not() {
        assert_eq!(paths(&[r#"{"id":1,"at":{"lat":1.5,"lon":2},"tags":["a"]}"#]), ["id", "/at/lat", "/at/lon", "tags"]);
        assert_eq!(paths(&[r#"{"a/b":{"c~d":1}}"#]), ["/a~1b/c~0d"]);
    }

    #[test]
    fn what_is_an_object_only_sometimes_is_one_column() {
        assert_eq!(paths(&[r#"{"a":{"b":1}}"#, r#"{"a":"x"}"#]), ["a"]);
        let many: Vec<String> = (0..40).map(|key| format!(r#"{{"counts":{{"user{key}":1}}}}"#)).collect();
        assert_eq!(paths(&many.iter().map(String::as_str).collect::<Vec<_>>()), ["counts"]);
    }

    #[test]
    fn records_are_found_within_documents() {
        let document = r#"{"type":"FeatureCollection","features":[{"a":1},{"a":2}]}"#;
        assert_eq!(
            records_within(serde_json::from_str::<Value>(document).unwrap().as_object().unwrap()).unwrap(),
            "/features"
        );
        let one = r#"{"id":1,"tags":["a","b"]}"#;
        assert_eq!(records_within(serde_json::from_str::<Value>(one).unwrap().as_object().unwrap()), None);
    }
}
