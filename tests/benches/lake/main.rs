//! What a commit costs, beside what a Python user pays with `deltalake` and Polars:
//! `cargo bench --workspace --bench lake`.
//!
//! Everything that is compared runs in one go on one machine; ratios are of that run. The Python side is `baseline.py`,
//! by the Python that the tests install.
#![allow(clippy::print_stdout)] // the tables are the product

// The tests use the rest, and may panic.
#[allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
#[path = "../../src/azurite.rs"]
mod azurite;
mod baseline;
mod compaction;
mod data;
mod growth;
#[allow(dead_code)] // as above
#[path = "../../src/python.rs"]
mod python;
#[allow(dead_code, clippy::unwrap_used, clippy::panic)] // as above
#[path = "../../src/support.rs"]
mod support;
mod writers;

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "\
cargo bench --workspace --bench lake -- [--only NAME]
  depth     a commit at depth 10 and at depth 5,000 without a checkpoint
  decode    1,000 bodies of 1 KB, made a frame
  events    500-event batches, one writer, against Python
  crowd     16 concurrent invocations of one process against one
  race      8 processes x 200 batches on one table, on Azurite
  compact   1,000 small files, against delta-rs' optimize
  plan      planning the compaction of 100,000 files
  ids       100,000 live transaction ids";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match words[..] {
            [writers::CHILD, url, container, process, batches] => {
                writers::race_child(url, container, process, batches.parse()?).await
            }
            [compaction::CHILD, folder] => compaction::child(folder).await,
            [] => all(|_| true).await,
            ["--only", name] => all(|own| own == name).await,
            _ => {
                println!("{USAGE}");
                Ok(())
            }
        }
    })
}

async fn all(wanted: impl Fn(&str) -> bool) -> Result<()> {
    if wanted("depth") {
        growth::depth().await?;
    }
    if wanted("decode") {
        decode()?;
    }
    if wanted("events") {
        writers::events().await?;
    }
    if wanted("crowd") {
        writers::crowd().await?;
    }
    if wanted("race") {
        writers::race().await?;
    }
    if wanted("compact") {
        compaction::compact().await?;
    }
    if wanted("plan") {
        compaction::plan().await?;
    }
    if wanted("ids") {
        growth::transaction_ids().await?;
    }
    Ok(())
}

/// What transform does of a batch, without a table.
fn decode() -> Result<()> {
    const EVENTS: usize = 1_000;
    let (clicks, bodies) = (data::Clicks::new()?, data::bodies(1, EVENTS));
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let mut times = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        clicks.frame("eventhub:bench/clicks/weir/0", 1, &bodies)?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    println!("decode: {EVENTS} bodies, {bytes} bytes, made a frame with its lineage");
    println!("  p50 {:.3} ms   p99 {:.3} ms   {:.0} MB/s\n", p50 * 1e3, p99 * 1e3, bytes as f64 / p50 / 1e6);
    Ok(())
}

fn local(folder: &std::path::Path) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?))
}

/// The value below which `share` of the sorted times lie.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
