//! What an Event Hub batch costs, from the request of the Functions host to the durable commit:
//! `cargo bench --workspace --bench events`.
//!
//! One handler process and what sends to it share the machine. Everything that is compared runs in one go; ratios are of
//! that run. The Python side is `baseline.py`, by the Python that the tests install.
#![allow(clippy::print_stdout)] // the tables are the product

// The tests use the rest, and may panic.
#[allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
#[path = "../../src/azurite.rs"]
mod azurite;
mod counting;
mod data;
#[allow(dead_code)] // the other bench uses the rest
#[path = "../ingest/handler.rs"]
mod handler;
mod load;
#[allow(dead_code)] // as above
#[path = "../../src/python.rs"]
mod python;
#[allow(dead_code, clippy::unwrap_used, clippy::panic)] // as above
#[path = "../../src/support.rs"]
mod support;

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use polars::prelude::*;

use data::{Batch, EVENTS_OF_A_BATCH};
use handler::Handler;
use load::Load;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) const PARTITIONS: usize = 32;
/// Batches of each partition before the clock starts.
const WARM_UP: usize = 4;

const USAGE: &str = "\
cargo bench --workspace --bench events -- [--only NAME] [--events N] [--weir PATH] [--against PATH]
  rate         events a second, against Polars alone and against Python (default 1,000,000 events)
  latency      from the request to the answer at half of that rate
  memory       the peak of resident memory as events come (--events 10000000 for the long run)
  operations   requests to storage for each million events, on Azurite
--weir takes that binary instead of one that is built first; --against compares its rate and its CPU time with those of
another weir, of a release before, in five pairs, and does nothing else";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut only, mut events, mut weir, mut against) = (None, 1_000_000_usize, None, None);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--only", Some(name)) => only = Some(name),
            ("--weir", Some(path)) => weir = Some(PathBuf::from(path)),
            ("--against", Some(path)) => against = Some(PathBuf::from(path)),
            ("--events", Some(number)) => events = number.replace(['_', ','], "").parse()?,
            _ => {
                println!("{USAGE}");
                return Ok(());
            }
        }
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).ok_or("the benchmark is not in a target folder")?;
    let folder = target.join("bench-data");
    std::fs::create_dir_all(&folder)?;
    let weir = match weir {
        Some(weir) => weir,
        None => handler::build(target)?,
    };
    let bench =
        Bench { weir, folder, batches: Arc::new(data::batches()), rounds: events / PARTITIONS / EVENTS_OF_A_BATCH };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        if let Some(before) = &against {
            return bench.against(before).await;
        }
        if wanted("rate") || wanted("latency") {
            bench.rate_and_latency(wanted("rate"), wanted("latency")).await?;
        }
        if wanted("memory") {
            bench.memory().await?;
        }
        if wanted("operations") {
            bench.operations().await?;
        }
        Ok(())
    })
}

struct Bench {
    weir: PathBuf,
    folder: PathBuf,
    batches: Arc<Vec<Batch>>,
    rounds: usize,
}

impl Bench {
    /// Two binaries in turn, each with a new lake.
    async fn against(&self, before: &Path) -> Result<()> {
        const PAIRS: usize = 5;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            for second in [false, true] {
                let is_ours = (pair % 2 == 0) != second;
                let (weir, figures) = if is_ours { (&*self.weir, &mut ours) } else { (before, &mut theirs) };
                let site = tempfile::tempdir_in(&self.folder)?;
                let handler = Handler::start(weir, site.path())?;
                let mut load = Load::new(handler.port(), &self.batches)?;
                load.run(WARM_UP, None).await?;
                let idle = handler.cpu_seconds().unwrap_or_default();
                let ran = load.run(self.rounds, None).await?;
                let cpu = handler.cpu_seconds().unwrap_or_default() - idle;
                figures.push((ran.events_per_second(), cpu / ran.events as f64 * 1e6));
            }
        }
        let middle = |figures: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = figures.iter().map(which).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        for (name, which) in
            [("events/s", (|both| both.0) as fn(&(f64, f64)) -> f64), ("s of CPU a million", |both| both.1)]
        {
            let (weir, before) = (middle(&ours, which), middle(&theirs, which));
            println!("{name}: weir {weir:.2}, before {before:.2}, ratio {:.3}", weir / before);
        }
        Ok(())
    }

    async fn rate_and_latency(&self, rate: bool, latency: bool) -> Result<()> {
        let site = tempfile::tempdir_in(&self.folder)?;
        let handler = Handler::start(&self.weir, site.path())?;
        let mut load = Load::new(handler.port(), &self.batches)?;
        load.run(WARM_UP, None).await?;
        let before = load::files(&site.path().join("lake/clickstream"))?;
        let ran = load.run(self.rounds, None).await?;
        let after = load::files(&site.path().join("lake/clickstream"))?;
        let weir = ran.events_per_second();
        println!("weir: {weir:.0} events/s ({} events in {:.1} s), {} partitions", ran.events, ran.seconds, PARTITIONS);
        println!("  p50 {:?}, p99 {:?} at full load", ran.quantile(0.5), ran.quantile(0.99));
        let million = 1e6 / ran.events as f64;
        println!(
            "  {:.0} files and {:.0} commits for each million events, before compaction",
            (after.0 - before.0) as f64 * million,
            (after.1 - before.1) as f64 * million
        );
        if let Some(peak) = handler.peak_bytes() {
            println!("  peak of resident memory {} MB", peak / 1_000_000);
        }
        if latency {
            // A minute of it.
            let rounds = (weir / 2.0 * 60.0) as usize / PARTITIONS / EVENTS_OF_A_BATCH;
            let ran = load.run(rounds.max(10), Some(weir / 2.0)).await?;
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| ran.quantile(share));
            println!("latency at {:.0} events/s: p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}", ran.events_per_second());
            println!("  p99 / p50 {:.1} (target at most 10)", p99.as_secs_f64() / p50.as_secs_f64());
        }
        drop(handler);
        if rate {
            let alone = self.polars_alone()?;
            println!("polars alone: {alone:.0} events/s; weir / polars {:.2} (target 0.5)", weir / alone);
            let python = self.python(site.path())?;
            println!("python function: {python:.0} events/s; weir / python {:.1} (target 20)", weir / python);
        }
        Ok(())
    }

    /// Parses the same bytes as one NDJSON text and writes one Parquet file, at least for as long as a second.
    fn polars_alone(&self) -> Result<f64> {
        let out = tempfile::tempdir_in(&self.folder)?;
        let text = |name| Field::new(PlSmallStr::from_static(name), DataType::String);
        let mut schema: Schema =
            ["event_id", "event_type", "user_id", "session_id", "url", "referrer", "ip", "user_agent"]
                .map(text)
                .into_iter()
                .collect();
        schema.insert("event_time".into(), DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)));
        schema.insert("duration_ms".into(), DataType::Int64);
        let schema = Arc::new(schema);
        let bodies: Vec<u8> = self
            .batches
            .iter()
            .cycle()
            .take(PARTITIONS)
            .flat_map(|batch| batch.bodies.iter().flat_map(|body| [body.as_bytes(), b"\n"].concat()))
            .collect();
        let (began, mut rounds) = (Instant::now(), 0);
        while began.elapsed().as_secs_f64() < 5.0 {
            let reader = JsonReader::new(Cursor::new(bodies.as_slice()))
                .with_json_format(JsonFormat::JsonLines)
                .with_schema(Arc::clone(&schema));
            let mut frame = reader.finish()?;
            let file = std::fs::File::create(out.path().join(format!("{rounds}.parquet")))?;
            ParquetWriter::new(file).with_compression(ParquetCompression::Snappy).finish(&mut frame)?;
            rounds += 1;
        }
        Ok((rounds * PARTITIONS * EVENTS_OF_A_BATCH) as f64 / began.elapsed().as_secs_f64())
    }

    fn python(&self, site: &Path) -> Result<f64> {
        let (envelopes, table) = (site.join("envelopes"), site.join("python"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&envelopes)?);
        for index in 0..self.rounds * PARTITIONS {
            let first = (index / PARTITIONS * EVENTS_OF_A_BATCH) as i64;
            let batch = &self.batches[index % self.batches.len()];
            writeln!(file, "{}", batch.envelope(index % PARTITIONS, first))?;
        }
        file.flush()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/events/baseline.py");
        let mut command = Command::new(python::python());
        let printed = support::checked(command.arg("-I").arg(script).arg(table).arg(envelopes), "baseline.py");
        let answer: serde_json::Value = serde_json::from_str(&printed)?;
        let figure = |key: &str| answer[key].as_f64().ok_or("baseline.py printed no figure");
        Ok(figure("events")? / figure("seconds")?)
    }

    async fn memory(&self) -> Result<()> {
        let site = tempfile::tempdir_in(&self.folder)?;
        let handler = Handler::start(&self.weir, site.path())?;
        let mut load = Load::new(handler.port(), &self.batches)?;
        let mut sent = 0;
        for _ in 0..10 {
            sent += load.run(self.rounds / 10, None).await?.events;
            // What is on the disk is not needed any more.
            clear(&site.path().join("lake/clickstream"))?;
            let [now, peak] = [handler.resident_bytes(), handler.peak_bytes()].map(Option::unwrap_or_default);
            println!("after {sent} events: {} MB resident, peak {} MB", now / 1_000_000, peak / 1_000_000);
        }
        Ok(())
    }

    /// The lake is on Azurite, behind a proxy that counts.
    async fn operations(&self) -> Result<()> {
        const ROUNDS: usize = 16;
        let (url, container) = azurite::named_container().await;
        let (target, account) = url.rsplit_once('/').ok_or("Azurite's address has no account")?;
        let (counting, port) = counting::Counting::start(target).await?;
        let lake = format!("http://127.0.0.1:{port}/{account}/{container}");
        let site = tempfile::tempdir_in(&self.folder)?;
        for (name, linger) in [("at full load", "20")] {
            let handler =
                Handler::start_with(&self.weir, site.path(), &[("WEIR_LAKE_URL", &lake), ("WEIR_LINGER_MS", linger)])?;
            let mut load = Load::new(handler.port(), &self.batches)?;
            load.run(WARM_UP, None).await?;
            counting.take();
            let ran = load.run(ROUNDS, None).await?;
            let counts = counting.take();
            let million = 1e6 / ran.events as f64;
            let all = counts.values().sum::<u64>() as f64 * million;
            println!(
                "storage {name}: {all:.0} requests for each million events, {:.0} events/s",
                ran.events_per_second()
            );
            for (what, count) in counts {
                println!("  {what}: {:.0}", count as f64 * million);
            }
        }
        Ok(())
    }
}

/// Data files go; the log stays, because the handler goes on writing it.
fn clear(table: &Path) -> Result<()> {
    for entry in std::fs::read_dir(table)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
