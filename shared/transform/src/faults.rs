//! Why records are refused. A reason is a few bytes until it is shown, so that a chunk in which every record is faulty
//! costs about as much as a sound one.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use weir_contract::limits::MAX_REASONS;

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
    /// What is wrong with the value of a column.
    Column(usize, &'static str),
    /// What is wrong with a field of a line, by its place.
    Field(usize, &'static str),
    /// So many fields, and how many there should be.
    Fields(usize, usize),
    /// The record has more bytes than this.
    TooLong(usize),
    Word(&'static str),
    Text(Arc<str>),
}

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self::Word(text)
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
            Self::Column(column, problem) => format!("column `{}`: {problem}", plan.targets[*column].name),
            Self::Field(index, problem) => format!("field {}: {problem}", index + 1),
            Self::Fields(count, expected) => format!("{count} fields, expected {expected}"),
            Self::TooLong(most) => too_long(*most),
            Self::Word(text) => (*text).to_owned(),
            Self::Text(text) => text.as_ref().to_owned(),
        }
    }
}

/// The reasons of one record. Records that have the same ones share them: millions of refused records take little more
/// than their number.
pub(crate) type Reasons = Arc<[Reason]>;

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) row: usize,
    pub(crate) reasons: Reasons,
}

/// Lists of reasons that were seen, each once.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    known: HashSet<Reasons>,
    last: Option<Reasons>,
}

impl Shared {
    /// Records may all be faulty in ways of their own; then it is not worth while.
    const MOST: usize = 4_096;

    pub(crate) fn of(&mut self, reasons: &[Reason]) -> Reasons {
        if let Some(last) = self.last.as_ref().filter(|last| ***last == *reasons) {
            return Arc::clone(last);
        }
        let list = match self.known.get(reasons) {
            Some(known) => Arc::clone(known),
            None => {
                if self.known.len() >= Self::MOST {
                    self.known.clear();
                }
                let list: Reasons = reasons.into();
                self.known.insert(Arc::clone(&list));
                list
            }
        };
        self.last = Some(Arc::clone(&list));
        list
    }

    pub(crate) fn fault(&mut self, row: usize, reasons: &[Reason]) -> Fault {
        Fault { row, reasons: self.of(reasons) }
    }
}

/// Adds a reason to those of a record, of which so many are listed.
pub(crate) fn add(reasons: &mut Vec<Reason>, reason: Reason) {
    match reasons.len() {
        MAX_REASONS => reasons.push(Reason::Word("and more that is not listed")),
        more if more > MAX_REASONS => {}
        _ => reasons.push(reason),
    }
}

pub(crate) fn too_long(max_record_bytes: usize) -> String {
    format!("record longer than {max_record_bytes} bytes")
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
