//! From records to a durable commit. The functions call in here; nothing here knows triggers, and how files, logs and
//! SQL work is known only by the crates below.

pub(crate) mod blob;
mod bodies;
pub(crate) mod books;
pub(crate) mod checked;
pub(crate) mod derived;
pub(crate) mod events;
pub(crate) mod folders;
pub(crate) mod in_force;
pub(crate) mod maintain;
pub(crate) mod others;
pub(crate) mod pages;
pub(crate) mod parked;
pub(crate) mod reread;
mod sink;
pub(crate) mod sweep;
pub(crate) mod trial;
pub(crate) mod verify;
pub(crate) mod warehouse;
pub(crate) mod work;

use std::collections::BTreeMap;

use azure_functions_custom_handler::{HandlerError, Reply};
use serde::Serialize;
use weir_contract::Stop;
use weir_lake::Books;
use weir_transform::{RuleCount, most_frequent};

use crate::app::App;
use crate::error::AppError;
use crate::tasks::Task;
use events::GapReport;

/// What one delivery came to. Given to the host as the return value, so that books can be kept from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub(crate) dataset: String,
    pub(crate) outcome: Outcome,
    /// `recordsIn = committed + quarantined + alreadyCommitted`.
    pub(crate) books: Books,
    /// Delta version of the dataset's table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i64>,
    /// The rules that were violated, and how often.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) rules: BTreeMap<String, RuleCount>,
    /// The most frequent reasons to refuse a record, and how many records have each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Records of the table of which unknown fields were left out, because a column is personal.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) left_out: u64,
    /// Events that were left out by `[dedupe]`; among `alreadyCommitted`.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) duplicates: u64,
    /// Events that the host did not deliver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gap: Option<GapReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Committed,
    /// Nothing of the blob reached the table; quarantine says why.
    HeldBack,
    /// Everything in this delivery had been committed before.
    AlreadyCommitted,
    /// The blob is cut into parts, which are tasks now.
    HandedOut,
    /// Another message has handed the blob's parts out.
    InProgress,
    /// A part is written; the blob is not complete yet.
    PartWritten,
    /// So much is written; another invocation goes on.
    HandedOn,
    /// The blob was deleted before it was read, or its rows were not there to be removed.
    Gone,
    /// The blob was overwritten before it was read: the newer version has its own event.
    Overwritten,
    /// The blob was deleted, and its rows with it.
    Removed,
    /// There was nothing to be done.
    Nothing,
    /// The blob was deleted and its rows stay, or it is there again.
    Kept,
}

/// How much of a delivery was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// None, or at most a twentieth.
    Usual,
    /// More than a twentieth: WARN.
    Much,
    /// All of it: ERROR.
    Nothing,
}

/// What came of a message: an answer, and what is handed on.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) value: serde_json::Value,
    /// The line that the host correlates with the invocation.
    pub(crate) line: String,
    pub(crate) weight: Weight,
    pub(crate) tasks: Vec<Task>,
}

/// As many reasons as a receipt tells, the most frequent. Names of fields that no contract knows may be anything, even what
/// says who a person is; receipts and log lines go further than quarantine does, so they do not tell them.
fn frequent(reasons: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    const TOLD: usize = 10;
    const UNKNOWN: &str = "unknown field";
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, records) in reasons {
        let reason = if reason.starts_with(UNKNOWN) { format!("{UNKNOWN}s") } else { reason };
        *told.entry(reason).or_default() += records;
    }
    most_frequent(&told).into_iter().take(TOLD).collect()
}

/// serde hands a reference over.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Receipt {
    pub(crate) fn nothing(dataset: &str, outcome: Outcome) -> Self {
        Self {
            dataset: dataset.to_owned(),
            outcome,
            books: Books::default(),
            version: None,
            rules: BTreeMap::new(),
            reasons: BTreeMap::new(),
            left_out: 0,
            duplicates: 0,
            gap: None,
        }
    }

    pub(crate) fn already(dataset: &str, records: u64) -> Self {
        let books = Books { records_in: records, already_committed: records, ..Books::default() };
        Self { books, ..Self::nothing(dataset, Outcome::AlreadyCommitted) }
    }

    /// Two commits of one delivery, as one.
    pub(crate) fn followed_by(mut self, later: Self) -> Self {
        self.books += later.books;
        self.duplicates += later.duplicates;
        self.left_out += later.left_out;
        self.version = later.version.or(self.version);
        for (reason, records) in later.reasons {
            *self.reasons.entry(reason).or_default() += records;
        }
        for (rule, RuleCount { action, violations }) in later.rules {
            self.rules.entry(rule).or_insert(RuleCount { action, violations: 0 }).violations += violations;
        }
        self
    }

    fn line(&self) -> String {
        let Self { dataset, outcome, books, version, left_out, .. } = self;
        let Books { records_in, committed, quarantined, already_committed, .. } = books;
        let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
        let left_out = match left_out {
            0 => String::new(),
            records => format!(", unknown fields of {records} left out"),
        };
        let nothing = match outcome {
            Outcome::Committed if *records_in == 0 => ": there was no record, at most a header and blank lines",
            _ => "",
        };
        let why = self.why();
        format!(
            "{dataset}: {outcome:?}: {records_in} records in, {committed} committed, {quarantined} quarantined{why}, \
             {already_committed} already committed{version}{left_out}{nothing}"
        )
    }

    /// The share of refused records and the most frequent reasons, in brackets.
    fn why(&self) -> String {
        const SHOWN: usize = 3;
        let Books { records_in, quarantined, .. } = self.books;
        if quarantined == 0 || self.reasons.is_empty() {
            return String::new();
        }
        let reasons = most_frequent(&self.reasons);
        let mut shown: Vec<String> =
            reasons.iter().take(SHOWN).map(|(reason, records)| format!("{reason}: {records}")).collect();
        if reasons.len() > SHOWN {
            shown.push("others".to_owned());
        }
        let percent = quarantined as f64 * 100.0 / records_in.max(1) as f64;
        format!(" ({percent:.1} %; {})", shown.join("; "))
    }

    /// How loud the line is: a delivery of which all, or much, is refused needs a person.
    fn weight(&self) -> Weight {
        let Books { records_in, quarantined, .. } = self.books;
        match (quarantined, records_in) {
            (0, _) => Weight::Usual,
            (refused, all) if refused >= all => Weight::Nothing,
            (refused, all) if refused * 20 > all => Weight::Much,
            _ => Weight::Usual,
        }
    }
}

impl Done {
    pub(crate) fn of(receipt: Receipt) -> Result<Self, AppError> {
        let done = Self::report(&receipt, || receipt.line())?;
        Ok(Self { weight: receipt.weight(), ..done })
    }

    pub(crate) fn report(value: &impl Serialize, line: impl FnOnce() -> String) -> Result<Self, AppError> {
        let value = serde_json::to_value(value).map_err(|error| AppError::Task { message: error.to_string() })?;
        Ok(Self { value, line: line(), weight: Weight::Usual, tasks: Vec::new() })
    }

    pub(crate) fn said(line: &str) -> Self {
        Self { value: serde_json::Value::Null, line: line.to_owned(), weight: Weight::Usual, tasks: Vec::new() }
    }

    /// Two things that one message asked for, as one. The first one's answer stands, unless it has none.
    pub(crate) fn and(self, other: Self) -> Self {
        let value = if self.value.is_null() { other.value } else { self.value };
        let tasks = self.tasks.into_iter().chain(other.tasks).collect();
        let weight = if self.weight == Weight::Usual { other.weight } else { self.weight };
        Self { value, line: format!("{}; {}", self.line, other.line), weight, tasks }
    }

    pub(crate) fn with(self, tasks: Vec<Task>) -> Self {
        Self { tasks, ..self }
    }

    /// The value for machines, the line for people, what is handed on for the queue `tasks`.
    pub(crate) fn reply(self, app: &App) -> Result<Reply, HandlerError> {
        let Self { value, line, weight, tasks } = self;
        match weight {
            Weight::Usual => tracing::info!("{line}"),
            Weight::Much => tracing::warn!("{line}"),
            Weight::Nothing => tracing::error!("{line}"),
        }
        let mut reply = Reply::ok().return_value(value).log(line);
        if !tasks.is_empty() {
            reply = reply.output("tasks", app.seal(&tasks)?);
        }
        Ok(reply)
    }
}

/// Runs CPU work where it does not hold up the network. The work is handed a flag to look at: it is set when nobody waits
/// any more (at the deadline the invocation's future is dropped), because a thread that runs cannot be stopped from
/// outside.
async fn compute<T: Send + 'static>(work: impl FnOnce(Stop) -> T + Send + 'static) -> Result<T, AppError> {
    let stop = Stop::default();
    let _waiting = stop.set_on_drop();
    tokio::task::spawn_blocking(move || work(stop)).await.map_err(|_| AppError::Stopped)
}
