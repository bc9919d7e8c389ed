//! What planning and loading cost: `cargo bench --workspace --bench warehouse [-- --rows N]`.
//!
//! The rows per second of a first load into SQLite stand beside `sqlite3`'s own `.import` of the same rows as CSV, into a
//! table with the same columns; both on the same disk, one after the other.
#![allow(clippy::print_stdout)] // the tables are the product

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::local::LocalFileSystem;
use polars::prelude::*;
use serde_json::json;
use weir_contract::{DataType as Type, NewColumns, TableColumn};
use weir_lake::{Append, Books, FileEntry, Lake, LakeOptions, Producer, Table, TableDefinition};
use weir_warehouse::{
    DataFile, FileLayout, FileReader, Limits, LogWindow, Physical, Plan, RawCommit, ReadError, ReloadReason, TableLoad,
    Watermark, async_trait, plan,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Rows of one append.
const CHUNK: usize = 500_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let rows = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 10_000_000,
        ["--rows", rows] => rows.parse()?,
        _ => {
            println!("cargo bench --workspace --bench warehouse [-- --rows N]");
            return Ok(());
        }
    };
    planning()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(loading(rows))
}

fn planning() -> Result<()> {
    println!("planning       commits      seconds    µs a commit");
    let schema = json!({"type": "struct", "fields": [
        {"name": "_source", "type": "string", "nullable": false, "metadata": {}},
        {"name": "_source_position", "type": "long", "nullable": false, "metadata": {}}]})
    .to_string();
    for count in [2_500, 5_000, 10_000, 20_000, 40_000] {
        let bodies: Vec<String> = (1..=count).map(commit).collect();
        let commits: Vec<_> =
            (1..).zip(&bodies).map(|(version, body)| RawCommit { version, body: body.as_bytes() }).collect();
        let from = Watermark { table_id: "t".to_owned(), version: 0, schema: schema.clone() };
        let window = LogWindow { table_id: "t", schema: &schema, latest: count, commits: &commits };
        let limits = Limits { commits: usize::MAX, files: usize::MAX, data_bytes: u64::MAX, ..Limits::default() };
        let began = Instant::now();
        let planned = plan(Some(&from), &window, limits)?;
        let took = began.elapsed();
        let Plan::Load { to, .. } = planned else { return Err("not a load".into()) };
        if to.version != count {
            return Err("the plan ends early".into());
        }
        println!("{:>22}{:>13.3}{:>15.1}", count, took.as_secs_f64(), took.as_secs_f64() * 1e6 / count as f64);
    }
    Ok(())
}

/// Appends, upserts, a compaction now and then, with statistics as the lake writes them.
fn commit(version: i64) -> String {
    let stats = json!({"numRecords": 500, "minValues": {"_source": "hub/0", "_source_position": version * 500},
        "maxValues": {"_source": "hub/0", "_source_position": version * 500 + 499}, "nullCount": {"_source": 0}});
    let add = |name: &str, change: bool| {
        json!({"add": {"path": format!("part-{version}-{name}.snappy.parquet"), "partitionValues": {}, "size": 40_000,
            "modificationTime": 1, "dataChange": change, "stats": stats.to_string()}})
        .to_string()
    };
    let remove = |change: bool| {
        let path = format!("part-{}-a.snappy.parquet", version - 1);
        json!({"remove": {"path": path, "dataChange": change, "deletionTimestamp": 1}}).to_string()
    };
    let info = |note: serde_json::Value| json!({"commitInfo": {"operation": "WRITE", "weir": note}}).to_string();
    let lines = match version % 20 {
        0 => vec![info(json!({"operation": "OPTIMIZE"})), remove(false), add("a", false)],
        5 => {
            let note = json!({"operation": "upsert", "keys": ["_source_position"], "covered": true});
            vec![info(note), remove(true), add("a", true), add("b", false)]
        }
        _ => vec![info(json!({"operation": "WRITE", "books": {"records_in": 500}})), add("a", true)],
    };
    lines.join("\n")
}

async fn loading(rows: usize) -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let table = lake(folder.path(), rows).await?;
    let database = folder.path().join("warehouse.db");
    let warehouse = weir_warehouse::open(&format!("sqlite://{}", database.display()), None).await?;
    let load = TableLoad {
        source_table: "lines".to_owned(),
        table: "lines".to_owned(),
        run_id: "bench".to_owned(),
        physical: Physical::default(),
        time_limit: None,
    };
    let snapshot = table.snapshot().await?;
    let to = Watermark {
        table_id: snapshot.table_id.clone(),
        version: snapshot.version,
        schema: snapshot.schema_string.clone(),
    };
    let reload = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
    // From here on the peak counts anew.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let (began, before) = (Instant::now(), memory_mb("VmRSS")?);
    let report = warehouse.apply(&load, &reload, &Reader { table: &table, files: snapshot.files }).await?;
    let took = began.elapsed();
    if report.rows_inserted != rows as u64 {
        return Err("rows are missing".into());
    }
    let peak = memory_mb("VmHWM")?.saturating_sub(before);
    let baseline = import(folder.path(), &database)?;
    let rate = |took: Duration| rows as f64 / took.as_secs_f64();
    println!("\nloading              rows      seconds         rows/s");
    println!(
        "lake to SQLite{:>11}{:>13.1}{:>15.0}   peak {peak} MB above the start",
        rows,
        took.as_secs_f64(),
        rate(took)
    );
    println!("sqlite3 .import{:>10}{:>13.1}{:>15.0}", rows, baseline.as_secs_f64(), rate(baseline));
    println!("ratio {:.2}", rate(took) / rate(baseline));
    Ok(())
}

/// The same rows as CSV, by the command line's own bulk import.
fn import(folder: &Path, database: &Path) -> Result<Duration> {
    let csv = folder.join("lines.csv");
    let shell = |database: &Path, script: &str| -> Result<()> {
        let done = Command::new("sqlite3").arg(database).arg("-batch").args(script.split('\n')).status()?;
        if done.success() { Ok(()) } else { Err("sqlite3 failed".into()) }
    };
    shell(database, &format!(".mode csv\n.output {}\nSELECT * FROM lines;", csv.display()))?;
    let other = folder.join("import.db");
    let create = "CREATE TABLE lines (_source TEXT, _source_version TEXT, _source_position INTEGER, id INTEGER, day TEXT, \
                  amount REAL, quantity INTEGER, flag INTEGER, name TEXT, price REAL, at TEXT);";
    let began = Instant::now();
    let script = format!(
        "PRAGMA journal_mode=wal;\nPRAGMA synchronous=normal;\n{create}\n.import --csv {} lines",
        csv.display()
    );
    shell(&other, &script)?;
    Ok(began.elapsed())
}

async fn lake(folder: &Path, rows: usize) -> Result<Arc<Table>> {
    let root = folder.join("lake");
    std::fs::create_dir_all(&root)?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(root)?);
    let column = |name: &str, data_type, nullable| TableColumn { name: name.to_owned(), data_type, nullable };
    let definition = TableDefinition {
        name: "lines".to_owned(),
        columns: vec![
            column("_source", Type::String, false),
            column("_source_version", Type::String, false),
            column("_source_position", Type::Long, false),
            column("id", Type::Long, true),
            column("day", Type::Date, true),
            column("amount", Type::Decimal { precision: 12, scale: 2 }, true),
            column("quantity", Type::Integer, true),
            column("flag", Type::Boolean, true),
            column("name", Type::String, true),
            column("price", Type::Double, true),
            column("at", Type::Timestamp, true),
        ],
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Fail,
        added_columns: None,
        transactions: Vec::new(),
    };
    let table = Lake::new(store, "lake".into(), LakeOptions::new(|| 1_800_000_000_000)).table(&definition).await?;
    for (version, first) in (1..).zip((0..rows).step_by(CHUNK)) {
        let count = CHUNK.min(rows - first);
        let append = Append {
            producer: Producer { id: "blob:in/lines".to_owned(), version, expires: false },
            rows: table.stage(frame(first as i64, count as i64)?).await?,
            books: Books { records_in: count as u64, committed: count as u64, ..Books::default() },
        };
        table.append(append, (version > 1).then_some(version - 1)).await?;
    }
    Ok(table)
}

fn frame(first: i64, count: i64) -> PolarsResult<DataFrame> {
    let numbers = || first..first + count;
    let names = numbers().map(|number| format!("customer {} of region {}", number % 10_007, number % 25));
    df!(
        "_source" => vec!["blob:in/lines"; count as usize],
        "_source_version" => vec!["0x8DD00000000"; count as usize],
        "_source_position" => numbers().collect::<Vec<_>>(),
        "id" => numbers().map(|number| number * 7).collect::<Vec<_>>(),
        "day" => numbers().map(|number| (20_000 + number % 900) as i32).collect::<Vec<_>>(),
        "amount" => numbers().map(|number| (number % 1_000_000) as f64 / 100.0).collect::<Vec<_>>(),
        "quantity" => numbers().map(|number| (number % 50) as i32).collect::<Vec<_>>(),
        "flag" => numbers().map(|number| number % 3 == 0).collect::<Vec<_>>(),
        "name" => names.collect::<Vec<_>>(),
        "price" => numbers().map(|number| number as f64 * 0.37).collect::<Vec<_>>(),
        "at" => numbers().map(|number| 1_700_000_000_000_000 + number * 1_000_003).collect::<Vec<i64>>(),
    )?
    .lazy()
    .with_columns([
        col("day").cast(DataType::Date),
        col("amount").cast(DataType::Decimal(12, 2)),
        col("at").cast(DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC))),
    ])
    .collect()
}

fn memory_mb(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(key)).ok_or("no such line")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kilobytes / 1024)
}

struct Reader<'a> {
    table: &'a Arc<Table>,
    files: Vec<FileEntry>,
}

#[async_trait]
impl FileReader for Reader<'_> {
    async fn read(&self, file: &DataFile) -> std::result::Result<DataFrame, ReadError> {
        let entry = self.table.file(&file.path, BTreeMap::new()).ok_or(ReadError::NotFound)?;
        self.table.read(&entry).await.map_err(|error| ReadError::Other(Box::new(error)))
    }

    async fn layout(&self, _: &DataFile) -> std::result::Result<FileLayout, ReadError> {
        Err(ReadError::NotFound)
    }

    async fn snapshot_files(&self, _: i64) -> std::result::Result<Vec<DataFile>, ReadError> {
        let file = |file: &FileEntry| DataFile {
            path: file.path(),
            partition_values: BTreeMap::new(),
            num_records: file.rows,
            size_bytes: file.size,
        };
        Ok(self.files.iter().map(file).collect())
    }
}
