//! Tables of loads that died.
//!
//! Guarantee: what a load makes goes, by itself or by whoever loads into that pool later; and nothing goes that a load which
//! is still running, or a reload that was noted, may need. The names of these tables say until when their load may run, by
//! the pool's own clock; a load gives itself up before that.

use std::time::Duration;

use super::ledger::Ledger;
use super::session::Session;
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
    format!("{until:010}_{:08x}_{:016x}", short(&table.source_table) >> 32, short(attempt))
}

/// Where the table that a reload puts aside goes.
pub(super) fn aside(pending: &str) -> String {
    pending.replacen(NEW, OLD, 1)
}

/// Drops what loads left that cannot run any more, and tells the pool's time.
pub(super) async fn sweep(session: &mut dyn Session, ledger: &Ledger, target: &Target) -> Result<u64, Error> {
    let now_s = number(session, "asking for the time", statements::NOW_SECONDS).await?;
    let found = session.rows("looking for what loads left", &statements::left_over(&target.schema)).await?;
    let tables = found.into_iter().filter_map(|mut row| {
        let (table, schema) = (row.pop()??, row.pop()??);
        Some(Target { schema, table }).filter(|table| is_over(&table.table, &ledger.source, now_s))
    });
    let tables: Vec<_> = tables.collect();
    let files = session.rows("looking for files of no table", &ledger.generations()).await?;
    let files = files.into_iter().filter_map(|row| row.into_iter().next().flatten());
    let files: Vec<_> = files.filter(|generation| is_over(generation, &ledger.source, now_s)).collect();
    if tables.is_empty() && files.is_empty() {
        return Ok(now_s);
    }
    let state = ledger.read(session).await?;
    let counts = |generation: &str| {
        state
            .as_ref()
            .is_some_and(|state| state.generation == generation || state.pending.as_deref() == Some(generation))
    };
    let noted = state.as_ref().and_then(|state| state.pending.as_deref());
    for table in tables.iter().filter(|table| noted != Some(&*table.table.replacen(OLD, NEW, 1))) {
        // Whoever else has found it drops it; and if nobody can, a load is no worse for it.
        if let Err(error) = session.execute("dropping what a load left", &statements::drop_table(table)?).await {
            tracing::debug!(table = table.table, %error, "what a load left was not dropped");
        }
    }
    for generation in files.iter().filter(|generation| !counts(generation)) {
        session.execute("forgetting files", &ledger.forget_generation("=", generation)).await?;
    }
    Ok(now_s)
}

/// Whether the load that a table belongs to is over. What is not named by us is nobody's business; what stands beside a
/// target is that of its own source, which alone knows whether it is noted.
fn is_over(name: &str, source: &str, now_s: u64) -> bool {
    let own = format!("{:08x}_", short(source) >> 32);
    let rest = [STAGE, NEW, OLD].iter().find_map(|kind| name.strip_prefix(kind));
    let Some((until, rest)) = rest.and_then(|rest| rest.split_once('_')) else { return false };
    let is_ours = until.len() == 10 && (name.starts_with(STAGE) || rest.starts_with(&own));
    is_ours && until.parse::<u64>().is_ok_and(|until| until < now_s)
}

/// Stands for a text: FNV-1a, which never changes.
fn short(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
