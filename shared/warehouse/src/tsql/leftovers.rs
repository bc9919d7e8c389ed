//! Tables of loads that died.
//!
//! Guarantee: what a load makes goes, by itself or by whoever loads into that pool later; and nothing goes that a load which
//! is still running, or a reload that was noted, may need. The names of these tables say until when their load may run, by
//! the pool's own clock; a load gives itself up before that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::session::{Row, Session};
use super::text::Target;
use super::{number, statements};
use crate::{Error, TableLoad};

/// A load that nobody limits takes no longer.
const LONGEST: Duration = Duration::from_secs(86_400);
/// What a load sent just before it was given up has ended by then.
const MARGIN_S: u64 = 600;

pub(super) const STAGE: &str = "stage_";
pub(super) const NEW: &str = "weir_new_";
pub(super) const OLD: &str = "weir_old_";

/// How long a load of this table may run.
pub(super) fn limit(table: &TableLoad) -> Duration {
    table.time_limit.unwrap_or(LONGEST).min(LONGEST)
}

/// The end of the names of one load's tables.
pub(super) fn suffix(table: &TableLoad, attempt: &str, now_s: u64) -> String {
    let until = now_s + limit(table).as_secs() + MARGIN_S;
    format!("{until:010}_{}", short(&format!("{attempt} {}", table.source_table)))
}

/// Where the table that a reload puts aside goes.
pub(super) fn aside(pending: &str) -> String {
    pending.replacen(NEW, OLD, 1)
}

/// Drops what loads left that cannot run any more, and tells the pool's time.
pub(super) async fn sweep(session: &mut dyn Session, target: &Target) -> Result<u64, Error> {
    let now_s = number(session, "asking for the time", statements::NOW_SECONDS).await?;
    let found = session.rows("looking for what loads left", &statements::left_over(&target.schema)).await?;
    let tables = found.into_iter().filter_map(|mut row| {
        let (table, schema) = (row.pop()??, row.pop()??);
        Some(Target { schema, table }).filter(|table| is_over(&table.table, now_s))
    });
    let tables: Vec<_> = tables.collect();
    if !tables.is_empty() {
        let noted: BTreeSet<String> =
            first_column(session.rows("reading noted reloads", &statements::noted_reloads()).await?).collect();
        for table in tables.iter().filter(|table| !noted.contains(&table.table.replacen(OLD, NEW, 1))) {
            // Whoever else has found it drops it; and if nobody can, a load is no worse for it.
            if let Err(error) = session.execute("dropping what a load left", &statements::drop_table(table)?).await {
                tracing::debug!(table = table.table, %error, "what a load left was not dropped");
            }
        }
    }
    let files = session.rows("looking for files of no table", &statements::files_of_no_table()).await?;
    for generation in first_column(files).filter(|generation| is_over(generation, now_s)) {
        session.execute("forgetting files", &statements::forget_everywhere(&generation)).await?;
    }
    Ok(now_s)
}

fn first_column(rows: Vec<Row>) -> impl Iterator<Item = String> {
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten())
}

/// Whether the load that a table belongs to is over. What is not named by us is nobody's business.
fn is_over(name: &str, now_s: u64) -> bool {
    let rest = [STAGE, NEW, OLD].iter().find_map(|kind| name.strip_prefix(kind));
    let until = rest.and_then(|rest| rest.split_once('_')).filter(|(until, _)| until.len() == 10);
    until.and_then(|(until, _)| until.parse::<u64>().ok()).is_some_and(|until| until < now_s)
}

/// Sixteen hexadecimal digits that stand for a text: FNV-1a, which never changes.
fn short(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}
