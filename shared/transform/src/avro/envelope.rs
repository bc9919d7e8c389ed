//! A record within a field of another, as Event Hubs Capture writes events: the object in the body, and those fields around
//! it that are columns and that the body has not itself.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::cursor::{Cursor, Result};
use super::datum::{Lines, Want};
use super::schema::{Schema, Schemas};

/// The field that holds the record, and which of the others columns ask for.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) body: usize,
    pub(crate) wanted: Vec<bool>,
}

impl Lines<'_> {
    pub(super) fn enveloped(
        &mut self,
        cursor: &mut Cursor<'_>,
        schemas: &Schemas,
        wants: &[Want],
        envelope: &Envelope,
    ) -> Result<()> {
        let mut body: &[u8] = b"";
        let mut around: Vec<(&str, Vec<u8>)> = Vec::new();
        for (index, field) in schemas.top().fields.iter().enumerate() {
            if index == envelope.body {
                body = body_of(cursor, &field.schema)?;
                continue;
            }
            // Written where the line will be, then set aside.
            let begin = self.mark();
            let want = wants.get(index).copied().unwrap_or_default();
            self.value(cursor, schemas, &field.schema, want, 0)?;
            let value = self.take_from(begin);
            self.draw(value.len() as u64)?;
            if envelope.wanted.get(index).copied().unwrap_or_default() {
                around.push((&field.name, value));
            }
        }
        let body = body.trim_ascii();
        let names: HashMap<&str, ()> = around.iter().map(|(name, _)| (*name, ())).collect();
        let given = top_level_names(body, &names);
        let begin = self.mark();
        match given {
            // The decoder of the lines refuses it.
            None => self.put(if body.is_empty() { b"null" } else { body }),
            Some(given) => {
                self.put(b"{");
                for (name, value) in around.iter().filter(|(name, _)| !given.contains(*name)) {
                    self.string(name.as_bytes());
                    self.put(b":");
                    self.put(value);
                    self.put(b",");
                }
                let inside = body[1..].trim_ascii_start();
                if inside == b"}" {
                    self.take_back(b',');
                }
                self.put(inside);
            }
        }
        // Between tokens a line break is a blank; within one the object was refused above.
        self.blank_line_breaks(begin);
        Ok(())
    }
}

fn body_of<'d>(cursor: &mut Cursor<'d>, schema: &Schema) -> Result<&'d [u8]> {
    match schema {
        Schema::Union(branches) => {
            let branch = cursor.branch(branches)?;
            // Unions do not nest in unions.
            if matches!(branch, Schema::Null) { Ok(b"") } else { cursor.bytes() }
        }
        Schema::Null => Ok(b""),
        _ => cursor.bytes(),
    }
}

/// Which of `names` the object gives itself; `None` when the text is not one JSON object.
fn top_level_names<'n>(text: &[u8], names: &HashMap<&'n str, ()>) -> Option<HashSet<&'n str>> {
    struct Names<'v, 'n>(&'v HashMap<&'n str, ()>);

    impl<'de, 'n> Visitor<'de> for Names<'_, 'n> {
        type Value = HashSet<&'n str>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Self::Value, M::Error> {
            let mut found = HashSet::new();
            while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                map.next_value::<IgnoredAny>()?;
                found.extend(self.0.get_key_value(&*name).map(|(wanted, ())| *wanted));
            }
            Ok(found)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(text);
    let found = json.deserialize_map(Names(names)).ok()?;
    json.end().is_ok().then_some(found)
}
