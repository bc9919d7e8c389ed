//! What a task may ask for. Everything in a message is held against the contracts before anything is done: a message that
//! was made up, or is of another release, can name what it likes.

use weir_contract::{Contract, Contracts, Source};

use super::events::window::Window;
use super::pages::narrower;
use super::parked;
use crate::error::AppError;
use crate::tasks::Task;

/// Longest of what a task carries as text.
const MAX_TEXT: usize = 4_096;
/// Etags, ids of requests and messages.
const MAX_ID: usize = 200;
/// Messages that one blob becomes at most.
pub(crate) const MAX_PARTS: u32 = 10_000;
/// No hub has as many.
const MAX_PARTITIONS: u32 = 4_096;
/// A hub that took a million events a second would count for 285 years.
pub(crate) const MAX_SEQUENCE: i64 = 1 << 53;

/// Whether the task asks for what the contracts have.
///
/// # Errors
/// What is wrong with it, without a word of the message.
pub(crate) fn check(contracts: &Contracts, task: &Task) -> Result<(), AppError> {
    match task {
        Task::Maintain { dataset } => contract(contracts, dataset).map(|_| ()),
        Task::Sweep { dataset, marker, prefix, since_ms, .. } => {
            let prefix = prefix.as_deref().unwrap_or_default();
            listing(contracts, dataset, prefix, marker.as_deref())?;
            require(since_ms.is_none_or(|since_ms| since_ms >= 0), "its time is before 1970")
        }
        Task::Reprocess { dataset, prefix, marker, request } => {
            listing(contracts, dataset, prefix, marker.as_deref())?;
            id(request, "its request")
        }
        Task::Vanished { dataset, prefix, after } => listing(contracts, dataset, prefix, after.as_deref()),
        Task::IngestBlob { dataset, container, path, etag, request } => {
            blob(contracts, dataset, container, path)?;
            each(etag.as_deref(), |etag| id(etag, "its etag"))?;
            each(request.as_deref(), |request| id(request, "its request"))
        }
        Task::IngestPart { dataset, container, path, etag, request, part } => {
            blob(contracts, dataset, container, path)?;
            id(etag, "its etag")?;
            each(request.as_deref(), |request| id(request, "its request"))?;
            require((1..=MAX_PARTS).contains(&part.parts), "a blob has 1 to 10,000 parts")?;
            require(part.part < part.parts, "the blob has no such part")?;
            let is_key = part.key.len() == 32 && part.key.bytes().all(|byte| byte.is_ascii_hexdigit());
            require(is_key, "its key names no reading")
        }
        Task::RemoveBlob { dataset, container, path } => blob(contracts, dataset, container, path),
        Task::Replay { dataset, partition, window, request } => {
            let contract = contract(contracts, dataset)?;
            require_source(contract, matches!(contract.source, Source::Events { .. }), "events")?;
            id(request, "its request")?;
            require(*partition < MAX_PARTITIONS, "no hub has such a partition")?;
            require(is_possible(window), "its range is none that a hub has")
        }
        Task::Retry { parked, .. } => require(parked::is_id(parked), "its id is none of a parked message"),
    }
}

fn require(holds: bool, problem: &'static str) -> Result<(), AppError> {
    if holds { Ok(()) } else { Err(AppError::Refused { problem }) }
}

fn require_source(contract: &Contract, holds: bool, given: &'static str) -> Result<(), AppError> {
    let wrong = || AppError::WrongSource { name: contract.name.clone(), takes: contract.source.takes(), given };
    if holds { Ok(()) } else { Err(wrong()) }
}

fn each(value: Option<&str>, check: impl Fn(&str) -> Result<(), AppError>) -> Result<(), AppError> {
    value.map_or(Ok(()), check)
}

/// A dataset's name is not shown: it may be anything.
fn contract<'a>(contracts: &'a Contracts, dataset: &str) -> Result<&'a Contract, AppError> {
    let shown = dataset.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '_').take(63);
    contracts.get(dataset).ok_or_else(|| AppError::UnknownDataset { name: shown.collect() })
}

/// The blob is one of the dataset's: its container's, by its globs.
fn blob(contracts: &Contracts, dataset: &str, container: &str, path: &str) -> Result<(), AppError> {
    let contract = contract(contracts, dataset)?;
    require_source(contract, matches!(contract.source, Source::Blob { .. }), "blobs")?;
    require(contract.source.matches(container, path), "the contract does not take this blob")
}

fn listing(contracts: &Contracts, dataset: &str, prefix: &str, marker: Option<&str>) -> Result<(), AppError> {
    let contract = contract(contracts, dataset)?;
    require_source(contract, matches!(contract.source, Source::Blob { .. }), "blobs")?;
    require(narrower(contract.source.common_prefix(), prefix).is_some(), "the contract takes no blob of this prefix")?;
    require(prefix.len() <= MAX_TEXT && marker.is_none_or(|marker| marker.len() <= MAX_TEXT), "it is too long")
}

/// One word of visible ASCII: what storage, the host and Weir make such ids of.
fn id(text: &str, what: &'static str) -> Result<(), AppError> {
    let is_word = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word { Ok(()) } else { Err(AppError::RefusedId { what }) }
}

fn is_possible(window: &Window) -> bool {
    let Window { from, to, since_ms, until_ms } = *window;
    let sequences = [from, to].into_iter().flatten().all(|number| (0..=MAX_SEQUENCE).contains(&number));
    let times = [since_ms, until_ms].into_iter().flatten().all(|time| (0..=MAX_SEQUENCE).contains(&time));
    let ordered = |first: Option<i64>, last: Option<i64>| first.zip(last).is_none_or(|(first, last)| first <= last);
    sequences && times && ordered(from, to) && ordered(since_ms, until_ms)
}
