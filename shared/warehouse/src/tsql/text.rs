//! The one place where names and values become T-SQL text.
//!
//! Guarantee: whatever a name or a value holds, the text that comes out is one identifier or one string literal of
//! exactly that content. Control characters never stand in the text: a line break after a backslash would vanish from a
//! literal.

use std::fmt::Write;

use crate::Error;

/// T-SQL's own limit, in UTF-16 units.
const MAX_NAME_UNITS: usize = 128;

/// `[name]`. `what` is for the error.
pub(crate) fn name(what: &'static str, name: &str) -> Result<String, Error> {
    let refuse = |why| Err(Error::Name { what, bytes: name.len(), why });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.encode_utf16().count() > MAX_NAME_UNITS {
        return refuse("it is longer than 128 characters");
    }
    if name.chars().any(char::is_control) {
        return refuse("it contains a control character");
    }
    if name.starts_with(' ') || name.ends_with(' ') {
        return refuse("it begins or ends with a blank");
    }
    Ok(format!("[{}]", name.replace(']', "]]")))
}

/// `N'value'`, or literals joined by `+` where the value has control characters.
pub(crate) fn literal(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 3);
    let mut open = false;
    for character in value.chars() {
        if character.is_control() {
            if open {
                out.push('\'');
                open = false;
            }
            out.push_str(if out.is_empty() { "" } else { "+" });
            let _ = write!(out, "NCHAR({})", u32::from(character));
            continue;
        }
        if !open {
            out.push_str(if out.is_empty() { "N'" } else { "+N'" });
            open = true;
        }
        out.push(character);
        if character == '\'' {
            out.push('\'');
        }
    }
    match (out.is_empty(), open) {
        (true, _) => out.push_str("N''"),
        (false, true) => out.push('\''),
        (false, false) => {}
    }
    out
}

/// A plain literal for addresses of files, which `COPY INTO` takes no expression for.
pub(crate) fn address(url: &str) -> Result<String, Error> {
    if url.chars().any(|character| character.is_control() || character == '\'') {
        return Err(Error::Name { what: "file address", bytes: url.len(), why: "it is not percent-encoded" });
    }
    Ok(format!("'{url}'"))
}

/// A contract's `schema.table` or `table`, which is in `dbo` then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) schema: String,
    pub(crate) table: String,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (schema, table) = text.split_once('.').unwrap_or(("dbo", text));
        let target = Self { schema: schema.to_owned(), table: table.to_owned() };
        name("schema", schema)?;
        name("table", table)?;
        if schema.eq_ignore_ascii_case(super::STATE_SCHEMA) {
            return Err(Error::Name { what: "table", bytes: text.len(), why: "the schema `weir` is the loader's own" });
        }
        Ok(target)
    }

    /// A table beside it.
    pub(crate) fn beside(&self, table: String) -> Self {
        Self { schema: self.schema.clone(), table }
    }

    pub(crate) fn sql(&self) -> Result<String, Error> {
        Ok(format!("{}.{}", name("schema", &self.schema)?, name("table", &self.table)?))
    }

    /// Both parts in one literal, for `OBJECT_ID`.
    pub(crate) fn quoted(&self) -> Result<String, Error> {
        Ok(literal(&self.sql()?))
    }
}
