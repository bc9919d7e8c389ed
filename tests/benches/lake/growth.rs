//! What must not grow: the cost of a commit with the age of the table, and with the number of its producers.

use std::sync::Arc;
use std::time::Instant;

use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::DataFrame;
use serde_json::json;
use weir_lake::{Append, Lake, LakeOptions, Table};

use crate::data::{Clicks, bodies, counted, now_ms, producer};
use crate::{Result, local, met, percentile};

const SOURCE: &str = "eventhub:bench/clicks/weir/0";

pub(crate) async fn depth() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let clicks = Clicks::new()?;
    let lake = Lake::new(local(folder.path())?, "lake".into(), LakeOptions::new(now_ms));
    let table = lake.table(&clicks.table).await?;
    let frame = clicks.frame(SOURCE, 1, &bodies(1, 10))?;
    let mut times = Vec::new();
    for version in 1..=5_200 {
        times.push(append(&table, &frame, SOURCE, version).await?);
    }
    println!("depth: a commit of 10 events, local disk, no checkpoint; ms");
    let at = |depth: usize| {
        let mut window = times[depth..depth + 200].to_vec();
        window.sort_by(f64::total_cmp);
        (percentile(&window, 0.5), percentile(&window, 0.99))
    };
    for depth in [10, 1_000, 2_500, 5_000] {
        let (p50, p99) = at(depth);
        println!("  depth {depth:>5}   p50 {p50:.3}   p99 {p99:.3}");
    }
    let ratio = at(5_000).0 / at(10).0;
    println!("  ratio 5,000 to 10: {ratio:.2}, target <= 1.3: {}\n", met(ratio <= 1.3));
    Ok(())
}

/// Milliseconds.
async fn append(table: &Arc<Table>, frame: &DataFrame, source: &str, version: i64) -> Result<f64> {
    let rows = table.stage(frame.clone()).await?;
    let append = Append { producer: producer(source, version), rows, books: counted(frame.height()) };
    let began = Instant::now();
    table.append(append, (version > 1).then(|| version - 1)).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

pub(crate) async fn transaction_ids() -> Result<()> {
    println!("ids: transaction ids of one table, local disk");
    println!(
        "  {:>8}{:>16}{:>20}{:>16}{:>16}",
        "ids", "cold load, ms", "from checkpoint, ms", "commit p50, ms", "p99, ms"
    );
    for ids in [10, 10_000, 100_000] {
        let folder = tempfile::tempdir()?;
        let clicks = Clicks::new()?;
        let store = local(folder.path())?;
        let open = || Lake::new(Arc::clone(&store), "lake".into(), LakeOptions::new(now_ms));
        open().table(&clicks.table).await?;
        write_ids(&store, ids).await?;
        let began = Instant::now();
        let table = open().table(&clicks.table).await?;
        let cold = began.elapsed().as_secs_f64() * 1e3;
        table.checkpoint().await?;
        let began = Instant::now();
        let table = open().table(&clicks.table).await?;
        let checkpointed = began.elapsed().as_secs_f64() * 1e3;
        let frame = clicks.frame(SOURCE, 1, &bodies(1, 10))?;
        let mut times = Vec::new();
        for version in 1..=300 {
            times.push(append(&table, &frame, SOURCE, version).await?);
        }
        times.sort_by(f64::total_cmp);
        let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
        println!("  {ids:>8}{cold:>16.1}{checkpointed:>20.1}{p50:>16.3}{p99:>16.3}");
    }
    println!();
    Ok(())
}

/// Commits as blobs leave them, 1,000 ids each.
async fn write_ids(store: &Arc<dyn ObjectStore>, ids: usize) -> Result<()> {
    let now_ms = now_ms();
    let all: Vec<usize> = (0..ids).collect();
    for (commit, chunk) in all.chunks(1_000).enumerate() {
        let lines = chunk.iter().map(|id| {
            let app_id = format!("blob:landing/sales/2026/11/25/part-{id:08}.csv@0x8DCF1A2B3C4D5E6#0");
            format!("{}\n", json!({"txn": {"appId": app_id, "version": 1_000, "lastUpdated": now_ms}}))
        });
        let info = format!("{}\n", json!({"commitInfo": {"timestamp": now_ms, "operation": "WRITE"}}));
        let body: String = std::iter::once(info).chain(lines).collect();
        store.put(&format!("lake/clicks/_delta_log/{:020}.json", commit + 1).into(), body.into()).await?;
    }
    Ok(())
}
