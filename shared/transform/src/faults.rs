//! Why records are refused. A reason is a few bytes until it is shown, so that a chunk in which every record is faulty
//! costs about as much as a sound one.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::looks::Looks;
use crate::plan::Plan;
use crate::text::Mismatch;

/// Unknown fields that a reason names; the others are counted.
const NAMED_FIELDS: usize = 5;
/// Characters of a field's name that a reason shows.
const FIELD_CHARS: usize = 64;

/// Columns and rules by their place in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Mismatch(usize, Mismatch),
    Null(usize),
    Missing(usize),
    GivenTwice(usize),
    EmptyPartition(usize),
    Rule(usize),
    /// The rule cannot be evaluated on the record.
    Unevaluated(usize),
    /// It is not one JSON object, and what it is instead.
    Looks(Looks),
    Text(Arc<str>),
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Reason {
    pub(crate) fn text(&self, plan: &Plan) -> String {
        match self {
            Self::Mismatch(column, mismatch) => plan.targets[*column].reason(*mismatch),
            Self::Null(column) => format!("column `{}`: null", plan.targets[*column].name),
            Self::Missing(column) => format!("missing column `{}`", plan.targets[*column].name),
            Self::GivenTwice(column) => format!("column `{}`: given twice", plan.targets[*column].name),
            Self::EmptyPartition(column) => {
                format!("column `{}`: an empty text, which a partition column cannot hold", plan.targets[*column].name)
            }
            Self::Rule(rule) => format!("rule `{}`", plan.rules[*rule].name),
            Self::Unevaluated(rule) => format!("rule `{}`: cannot be evaluated", plan.rules[*rule].name),
            Self::Looks(looks) => looks.to_string(),
            Self::Text(text) => text.as_ref().to_owned(),
        }
    }
}

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) row: usize,
    pub(crate) reasons: Vec<Reason>,
}

/// The unknown fields of one record, where the contract refuses them.
#[derive(Debug, Default)]
pub(crate) struct UnknownNames {
    named: Vec<String>,
    more: usize,
}

impl UnknownNames {
    pub(crate) fn push(&mut self, name: &str) {
        if self.named.len() < NAMED_FIELDS { self.named.push(shown(name)) } else { self.more += 1 }
    }

    /// The reason, if there were any; they are forgotten.
    pub(crate) fn take(&mut self) -> Option<Reason> {
        let plural = match self.named.len() {
            0 => return None,
            1 => "",
            _ => "s",
        };
        let mut text = format!("unknown field{plural} {}", self.named.join(", "));
        if self.more > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, " and {} more", self.more);
        }
        *self = Self::default();
        Some(text.into())
    }
}

/// In back-ticks, one line, of bounded length.
pub(crate) fn shown(name: &str) -> String {
    let mut text = String::from("`");
    for character in name.chars().take(FIELD_CHARS) {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    if name.chars().nth(FIELD_CHARS).is_some() {
        text.push('…');
    }
    text.push('`');
    text
}
