//! `[dedupe]`: events that a producer sent twice.

use std::time::Duration;

use super::columns::Columns;
use crate::error::ErrorKind;
use crate::keys;
use crate::model::{DataType, Dedupe};
use crate::reader::{Report, Table, quoted};

const MAX_KEY_COLUMNS: usize = 8;
/// What a process keeps of a partition is bounded by it, and by its own limit.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

pub(super) fn read(top: &Table<'_>, events: bool, columns: &Columns<'_>, report: &mut Report<'_>) -> Option<Dedupe> {
    let table = top.table("dedupe", &keys::DEDUPE, report)?;
    if !events && let Some(place) = top.key_place("dedupe") {
        let message = "belongs to `kind = \"events\"`: a blob is ingested once, whatever it holds";
        report.add(ErrorKind::Conflict, &place, message);
    }
    let mut key: Vec<String> = Vec::new();
    if table.key_place("key").is_none() {
        table.missing("key", "missing: name the column, or the columns, that name an event (`event_id`)", report);
    }
    for name in table.texts("key", 1..=MAX_KEY_COLUMNS, report) {
        let Some((column, data_type)) = columns.resolve(&name, report) else { continue };
        if key.iter().any(|earlier| earlier == column) {
            report.add(ErrorKind::Conflict, &name.place, format!("{} is there already", quoted(column)));
        } else if matches!(data_type, DataType::Double | DataType::Float | DataType::Binary) {
            let message = format!("{} is {data_type}: a key is text, a whole number, a date or a time", quoted(column));
            report.add(ErrorKind::Conflict, &name.place, message);
        }
        key.push(column.to_owned());
    }
    let within = table.required_text("within", report)?;
    let duration = duration(within.value);
    if duration.is_none() {
        let message =
            format!("{} is no span of time: write `10 minutes`, `24 hours` or `7 days`", quoted(within.value));
        report.add(ErrorKind::InvalidValue, &within.place, message);
    } else if duration.is_some_and(|duration| duration.is_zero() || duration > LONGEST) {
        report.add(ErrorKind::InvalidValue, &within.place, "must be 1 second to 31 days");
    }
    Some(Dedupe { key, within: duration.unwrap_or_default() })
}

/// One count and one unit.
fn duration(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_once(' ')?;
    let seconds = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 24 * 3600,
        _ => return None,
    };
    // `parse` would take a sign.
    let count: u64 = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
    count.checked_mul(seconds).map(Duration::from_secs)
}
