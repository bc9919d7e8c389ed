//! Batches a second: one writer, a crowd in one process, and many processes on one table.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use object_store::ObjectStore;
use polars::prelude::DataFrame;
use serde_json::{Value, json};
use weir_lake::{Append, Lake, LakeOptions, Outcome, Table};

use crate::data::{Clicks, bodies, counted, now_ms, producer};
use crate::{Result, azurite, baseline, local, met, percentile};

/// Makes this very binary one of the racing processes: `--race-child URL CONTAINER PROCESS BATCHES`.
pub(crate) const CHILD: &str = "--race-child";
const ROWS: usize = 500;

fn source(index: usize) -> String {
    format!("eventhub:bench/clicks/weir/{index}")
}

async fn append(table: &Arc<Table>, source: &str, frame: DataFrame, batch: i64) -> Result<()> {
    let (rows, after) = (frame.height(), (batch > 1).then(|| (batch - 1) * ROWS as i64));
    let append = Append {
        producer: producer(source, batch * ROWS as i64),
        rows: table.stage(frame).await?,
        books: counted(rows),
    };
    match table.append(append, after).await? {
        Outcome::Committed { .. } => Ok(()),
        other => Err(format!("{source}, batch {batch}: {other:?}").into()),
    }
}

/// From the events' bodies to the durable commit; and the commit alone, from frames.
pub(crate) async fn events() -> Result<()> {
    const BATCHES: i64 = 1_000;
    println!("events: {ROWS} events of 1 KB a batch, {BATCHES} batches, one writer, local disk; batches a second");
    let clicks = Clicks::new()?;
    let modes = [("bodies to commit", false, "append"), ("frames to commit", true, "append-frames")];
    for (name, frames_first, command) in modes {
        let folder = tempfile::tempdir()?;
        let lake = Lake::new(local(folder.path())?, "lake".into(), LakeOptions::new(now_ms));
        let table = lake.table(&clicks.table).await?;
        let mut seconds = 0.0;
        for batch in 1..=BATCHES {
            let first = (batch - 1) * ROWS as i64 + 1;
            let bodies = bodies(first, ROWS);
            let mut began = Instant::now();
            let frame = clicks.frame(&source(0), first, &bodies)?;
            if frames_first {
                began = Instant::now();
            }
            append(&table, &source(0), frame, batch).await?;
            seconds += began.elapsed().as_secs_f64();
        }
        let ours = BATCHES as f64 / seconds;
        println!("  {name}: Weir {ours:.0}");
        // The first is what most would write; a batch that is delivered twice at once gets in twice there.
        for (what, option) in
            [("loads the table anew to write", None), ("writes through the table it checked", Some("--pass-handle"))]
        {
            let theirs = tempfile::tempdir()?;
            let path = theirs.path().join("table").to_string_lossy().into_owned();
            let (batches, rows) = (BATCHES.to_string(), ROWS.to_string());
            let arguments: Vec<_> = [command, &path, &batches, &rows].into_iter().chain(option).collect();
            let answer = baseline::run(&arguments)?;
            let python = BATCHES as f64 / answer["seconds"].as_f64().unwrap_or(f64::NAN);
            let ratio = ours / python;
            println!("    Python, {what}: {python:.1}; ratio {ratio:.1}, target >= 20: {}", met(ratio >= 20.0));
        }
    }
    println!();
    Ok(())
}

/// Closed loops: each caller brings its next batch when the last one is committed.
pub(crate) async fn crowd() -> Result<()> {
    const BATCHES: i64 = 100;
    const CALLERS: usize = 16;
    println!(
        "crowd: {CALLERS} concurrent invocations of one process against one; {ROWS}-event frames, {BATCHES} batches each"
    );
    let clicks = Clicks::new()?;
    let folder = tempfile::tempdir()?;
    let stores = [("local disk", local(folder.path())?), ("Azurite", azurite::container().await)];
    for (name, store) in stores {
        let mut rates = Vec::new();
        for callers in [1, CALLERS] {
            let lake = Lake::new(Arc::clone(&store), format!("lake{callers}").into(), LakeOptions::new(now_ms));
            let table = lake.table(&clicks.table).await?;
            let frames: Vec<_> =
                (0..callers).map(|caller| clicks.frame(&source(caller), 1, &bodies(1, ROWS))).collect::<Result<_>>()?;
            let began = Instant::now();
            let callers_at_work = frames.into_iter().enumerate().map(|(caller, frame)| {
                let table = Arc::clone(&table);
                async move {
                    for batch in 1..=BATCHES {
                        append(&table, &source(caller), frame.clone(), batch).await?;
                    }
                    Result::Ok(())
                }
            });
            // As invocations are: tasks of their own.
            let tasks: Vec<_> = callers_at_work.map(tokio::spawn).collect();
            try_join_all(tasks).await?.into_iter().collect::<Result<Vec<()>>>()?;
            let seconds = began.elapsed().as_secs_f64();
            let batches = callers as f64 * BATCHES as f64;
            let snapshot = table.snapshot().await?;
            let rows = snapshot.statistics().rows;
            if rows != (callers as u64) * (BATCHES as u64) * ROWS as u64 {
                return Err(format!("{rows} rows").into());
            }
            let per_file = batches / snapshot.files.len() as f64;
            println!("  {name}, {callers:>2}: {:.0} batches/s, {per_file:.1} batches a file", batches / seconds);
            rates.push((batches / seconds, per_file));
        }
        let ratio = rates[1].0 / rates[0].0;
        println!(
            "  {name}: ratio {ratio:.1}, target >= 5: {}; batches a file, target >= 8: {}",
            met(ratio >= 5.0),
            met(rates[1].1 >= 8.0)
        );
    }
    println!();
    Ok(())
}

/// Processes that know nothing of each other, on one table.
pub(crate) async fn race() -> Result<()> {
    const PROCESSES: usize = 8;
    const BATCHES: i64 = 200;
    println!("race: {PROCESSES} processes x {BATCHES} batches of {ROWS} events on one table, Azurite");
    let (url, container) = azurite::named_container().await;
    let clicks = Clicks::new()?;
    let lake = Lake::new(azurite::store(&url, &container), "lake".into(), LakeOptions::new(now_ms));
    let table = lake.table(&clicks.table).await?;
    let began = Instant::now();
    let children: Vec<_> = (0..PROCESSES)
        .map(|process| {
            let mut child = tokio::process::Command::new(std::env::current_exe()?);
            child.args([CHILD, &url, &container, &process.to_string(), &BATCHES.to_string()]);
            Ok(child.stdout(Stdio::piped()).spawn()?)
        })
        .collect::<Result<_>>()?;
    let (mut times, mut failed, mut busy) = (Vec::new(), 0, 0.0_f64);
    for child in children {
        let output = child.wait_with_output().await?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        failed += report["failed"].as_u64().unwrap_or(u64::MAX);
        busy = busy.max(report["seconds"].as_f64().unwrap_or(f64::NAN));
        times.extend(report["ms"].as_array().into_iter().flatten().filter_map(Value::as_f64));
    }
    times.sort_by(f64::total_cmp);
    table.refresh().await?;
    let statistics = table.snapshot().await?.statistics();
    let exact = statistics.rows == (PROCESSES as u64) * (BATCHES as u64) * ROWS as u64;
    println!(
        "  {} failed: {}; content exact: {}; {:.0} commits/s; p50 {:.0} ms, p99 {:.0} ms, slowest {:.0} ms; {:.0} s with start\n",
        failed,
        met(failed == 0),
        met(exact),
        times.len() as f64 / busy,
        percentile(&times, 0.5),
        percentile(&times, 0.99),
        percentile(&times, 1.0),
        began.elapsed().as_secs_f64(),
    );
    Ok(())
}

pub(crate) async fn race_child(url: &str, container: &str, process: &str, batches: i64) -> Result<()> {
    let clicks = Clicks::new()?;
    let store: Arc<dyn ObjectStore> = azurite::store(url, container);
    let lake = Lake::new(store, "lake".into(), LakeOptions::new(now_ms));
    let table = lake.table(&clicks.table).await?;
    let source = source(process.parse()?);
    let frame = clicks.frame(&source, 1, &bodies(1, ROWS))?;
    // All have started before any writes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (began, mut times, mut failed) = (Instant::now(), Vec::new(), 0);
    for batch in 1..=batches {
        let one = Instant::now();
        match append(&table, &source, frame.clone(), batch).await {
            Ok(()) => times.push(one.elapsed().as_secs_f64() * 1e3),
            Err(_) => failed += 1,
        }
    }
    println!("{}", json!({"failed": failed, "ms": times, "seconds": began.elapsed().as_secs_f64()}));
    Ok(())
}
