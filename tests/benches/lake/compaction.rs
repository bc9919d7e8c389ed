//! Compaction of many small files, beside delta-rs' own; and what planning costs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStoreExt;
use serde_json::{Value, json};
use weir_lake::{Append, CompactOptions, Lake, LakeOptions};

use crate::data::{Clicks, bodies, counted, now_ms, producer};
use crate::{Result, baseline, local, met};

/// Makes this very binary a compaction in a process of its own: `--compact-child FOLDER`.
pub(crate) const CHILD: &str = "--compact-child";
const FILES: i64 = 1_000;
const ROWS: usize = 500;

pub(crate) async fn compact() -> Result<()> {
    println!("compact: {FILES} files of {ROWS} events, local disk, each in a process of its own, three times");
    let made = tempfile::tempdir()?;
    let clicks = Clicks::new()?;
    let lake = Lake::new(local(made.path())?, "lake".into(), LakeOptions::new(now_ms));
    let table = lake.table(&clicks.table).await?;
    for batch in 1..=FILES {
        let first = (batch - 1) * ROWS as i64 + 1;
        let frame = clicks.frame("hub/0", first, &bodies(first, ROWS))?;
        let rows = table.stage(frame).await?;
        let append = Append { producer: producer("hub/0", batch), rows, books: counted(ROWS) };
        table.append(append, (batch > 1).then(|| batch - 1)).await?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let copy = copied(made.path())?;
        ours.push(ours_in_a_process(copy.path())?);
        let copy = copied(made.path())?;
        let path = copy.path().join("lake/clicks");
        theirs.push(baseline::run(&["optimize", &path.to_string_lossy(), "--target-size", "67108864"])?);
    }
    let median = |runs: &[Value], key: &str| {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| run[key].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (our_s, their_s) = (median(&ours, "seconds"), median(&theirs, "seconds"));
    let (our_mb, their_mb) = (median(&ours, "peak_rss_mb"), median(&theirs, "peak_rss_mb"));
    println!("  Weir      {our_s:.2} s, peak {our_mb:.0} MB: {}", ours[0]["report"]);
    println!("  delta-rs  {their_s:.2} s, peak {their_mb:.0} MB (zstd)");
    println!(
        "  time ratio {:.2}, target <= 1: {}; memory ratio {:.2}, target <= 0.5: {}\n",
        our_s / their_s,
        met(our_s <= their_s),
        our_mb / their_mb,
        met(our_mb <= 0.5 * their_mb)
    );
    Ok(())
}

fn ours_in_a_process(folder: &Path) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).arg(folder).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) async fn child(folder: &str) -> Result<()> {
    let clicks = Clicks::new()?;
    let lake = Lake::new(local(Path::new(folder))?, "lake".into(), LakeOptions::new(now_ms));
    let table = lake.table(&clicks.table).await?;
    let began = Instant::now();
    let report = table.compact(CompactOptions::default(), None).await?;
    let seconds = began.elapsed().as_secs_f64();
    let rows = table.snapshot().await?.statistics().rows;
    if rows != FILES as u64 * ROWS as u64 {
        return Err(format!("{rows} rows").into());
    }
    println!("{}", json!({"seconds": seconds, "peak_rss_mb": peak_mb(), "report": format!("{report:?}")}));
    Ok(())
}

fn copied(from: &Path) -> Result<tempfile::TempDir> {
    let to = tempfile::tempdir()?;
    let status = Command::new("cp").arg("-r").arg(from.join("lake")).arg(to.path()).status()?;
    if status.success() { Ok(to) } else { Err("cp failed".into()) }
}

/// `VmHWM`; none but Linux tells.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0 / 1e6)
}

pub(crate) async fn plan() -> Result<()> {
    const PLANNED: usize = 100_000;
    let folder = tempfile::tempdir()?;
    let store = local(folder.path())?;
    let clicks = Clicks::new()?;
    let open = || Lake::new(Arc::clone(&store), "lake".into(), LakeOptions::new(now_ms));
    open().table(&clicks.table).await?;
    let files: Vec<usize> = (0..PLANNED).collect();
    for (commit, chunk) in files.chunks(1_000).enumerate() {
        let lines = chunk.iter().map(|file| {
            let stats = json!({
                "numRecords": 500,
                "minValues": {"_source": "eventhub:bench/clicks/weir/0", "_source_position": file * 500},
                "maxValues": {"_source": "eventhub:bench/clicks/weir/0", "_source_position": file * 500 + 499},
                "nullCount": {"_source": 0, "_source_position": 0},
            });
            let add = json!({"add": {
                "path": format!("part-{file:032x}.snappy.parquet"), "partitionValues": {}, "size": 200_000 + file % 7_000,
                "modificationTime": now_ms(), "dataChange": true, "stats": stats.to_string(),
            }});
            format!("{add}\n")
        });
        let body: String = lines.collect();
        store.put(&format!("lake/clicks/_delta_log/{:020}.json", commit + 1).into(), body.into()).await?;
    }
    let table = open().table(&clicks.table).await?;
    let began = Instant::now();
    let plan = table.plan_compaction(&CompactOptions::default()).await?;
    let from_log = began.elapsed().as_secs_f64();
    table.checkpoint().await?;
    let began = Instant::now();
    table.snapshot().await?;
    let snapshot = began.elapsed().as_secs_f64();
    let began = Instant::now();
    table.plan_compaction(&CompactOptions::default()).await?;
    let from_checkpoint = began.elapsed().as_secs_f64();
    println!(
        "plan: {PLANNED} files into {} bins: {from_log:.2} s from 100 commits, {from_checkpoint:.2} s from a checkpoint, of which reading the state {snapshot:.2} s; peak {:.0} MB\n",
        plan.bins.len(),
        peak_mb().unwrap_or(f64::NAN)
    );
    Ok(())
}
