//! `weir demo`: the whole thing on one machine, with everything going wrong that does in production.
//!
//! It runs the real binary under the stand-in host on a fresh folder, feeds it files and events with faults in them,
//! delivers some twice, kills the handler in the middle, then runs the timer, reprocesses a blob, and checks the books
//! against what the generator knows and against the tables themselves.

mod data;
mod drive;
mod ledger;
mod parquet;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use functions_host::{ChildOutput, Host};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use weir_platform::Settings;

use self::ledger::{Ledger, Line};
use super::dev::Site;
use super::say;
use crate::app::App;
use crate::app_root::{assemble, shipped_datasets};

/// Left in a demo's folder, so that only a demo's folder is ever cleared.
const MARKER: &str = ".weir-demo";
const SEED: u64 = 42;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder to work in; it is cleared first if an earlier demo made it
    #[arg(long, default_value = "demo")]
    dir: PathBuf,
    /// Amount of data: N × 60,000 order lines, 15,000 customers and 20,000 page views
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    scale: u32,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    clear(&arguments.dir)?;
    let site = Site::create(&arguments.dir)?;
    std::fs::write(site.root().join(MARKER), "").context("mark the folder")?;
    assemble(&site.app(), &shipped_datasets(), impatient)?;
    let progress = Progress::new(arguments.json);

    let mut config = site.host_config()?;
    config.run_timers = false;
    config.stdio = ChildOutput::File(site.root().join("handler.log"));
    let host = Host::start(config).await.context("start the local Functions host")?;
    let app = App::load(Settings::parse(site.settings()?)?)?;
    let mut ledger = Ledger::listen(&host);

    let plan = data::Plan { seed: SEED, scale: arguments.scale };
    let fed = drive::feed(&host, &site, &plan, &progress).await?;
    progress.step("waiting for the last commit");
    drive::settle(&host).await?;
    let before = ledger.books(&app, &fed).await?;

    progress.step("timer: compaction, checkpoint, warehouse load");
    drive::maintain(&host).await?;
    progress.step("reprocessing one blob");
    drive::reprocess(&host, &fed.reprocess).await?;
    drive::maintain(&host).await?;

    progress.step("checking the books against the tables");
    let lines = ledger.close(&app, before, &fed).await?;
    let derived = ledger::derived(&app).await?;
    host.shutdown().await;
    progress.done();
    let balanced = lines.iter().all(|line| line.balanced);
    if arguments.json {
        say(json!({ "balanced": balanced, "datasets": lines }));
    } else {
        report(&lines, &derived, &fed, site.root(), balanced, began.elapsed());
    }
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A demo's folder may be cleared; anybody else's may not.
fn clear(dir: &Path) -> Result<()> {
    let Ok(mut entries) = std::fs::read_dir(dir) else { return Ok(()) };
    if entries.next().is_none() {
        return Ok(());
    }
    anyhow::ensure!(dir.join(MARKER).is_file(), "{} holds something else; give --dir another folder", dir.display());
    std::fs::remove_dir_all(dir).with_context(|| format!("clear {}", dir.display()))
}

/// The waits of production make a demo dull.
fn impatient(host: &mut Value) {
    host["extensions"]["queues"]["visibilityTimeout"] = "00:00:01".into();
    host["extensions"]["eventHubs"]["minEventBatchSize"] = 1.into();
}

fn report(lines: &[Line], derived: &[String], fed: &drive::Fed, root: &Path, balanced: bool, took: Duration) {
    say(format_args!(
        "\n{} files and {} events went in; {} deliveries were repeated on purpose and the handler was killed {} time{}.\n",
        fed.blobs,
        fed.events,
        fed.repeated,
        fed.kills,
        if fed.kills == 1 { "" } else { "s" },
    ));
    say(format_args!(
        "{:<12}{:>11}{:>11}{:>12}{:>9}{:>11}{:>11}{:>14}{:>11}  balanced",
        "dataset", "records in", "committed", "quarantined", "already", "rows", "distinct", "files", "warehouse"
    ));
    for line in lines {
        let files = format!("{} → {}", line.files_before_compaction, line.files_after_compaction);
        say(format_args!(
            "{:<12}{:>11}{:>11}{:>12}{:>9}{:>11}{:>11}{:>14}{:>11}  {}",
            line.name,
            line.records_in,
            line.committed,
            line.quarantined,
            line.already_committed,
            line.table_rows,
            line.distinct_positions,
            files,
            line.warehouse_rows,
            if line.balanced { "yes" } else { "NO" },
        ));
        line.faults.iter().for_each(|fault| say(format_args!("             ! {fault}")));
    }
    derived.iter().for_each(|table| say(format_args!("{table}")));
    let verdict = if balanced {
        "The books balance: every record is in a table or in quarantine, once."
    } else {
        "THE BOOKS DO NOT BALANCE."
    };
    let root = root.display();
    say(format_args!("\n{verdict}  ({:.1} s)\n", took.as_secs_f64()));
    say(format_args!("tables      {root}/lake/<dataset>, Delta Lake:"));
    say(format_args!("            python -c \"import polars; print(polars.read_delta('{root}/lake/sales'))\""));
    say(format_args!("quarantine  {root}/lake/<dataset>__quarantine: the raw record, where it was, and every reason"));
    say(format_args!("warehouse   sqlite3 {root}/warehouse.db '.tables'"));
    say(format_args!("handler log {root}/handler.log"));
}

/// Bars and steps on a terminal, nothing for machines.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        // indicatif draws to stderr, and only if that is a terminal.
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    pub(crate) fn count(&self, what: &'static str, total: u64) {
        let style = ProgressStyle::with_template("{spinner} {msg:<28} {bar:30} {pos}/{len}");
        if let Ok(style) = style {
            self.bar.set_style(style);
        }
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.set_message(what);
    }

    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }

    fn step(&self, what: &'static str) {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            self.bar.set_style(style);
        }
        self.bar.set_message(what);
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}
