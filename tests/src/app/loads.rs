//! Loads of the warehouse by the real binary, killed anywhere: what the warehouse says it holds it holds, and in the end
//! that is what the lake does.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use polars::prelude::{ParquetReader, SerReader, StringChunked};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::command_line::weir;
use super::handler::{Handler, queue_envelope};
use super::site::Site;
use crate::support::weir_binary;
use crate::warehouse::operations::{Event, World};
use crate::warehouse::tables;

type Row = tables::Row;

/// The table of [`World`], as a dataset.
const ORDERS: &str = r#"
name = "orders"
[source]
kind = "blob"
container = "landing"
path = ["orders/*.csv"]
[format]
type = "csv"
[[columns]]
name = "key"
type = "string"
[[columns]]
name = "value"
type = "string"
[warehouse]
table = "orders"
"#;

/// Rounds of work in the lake, each with loaders that are killed.
const ROUNDS: usize = 24;
/// A signal of the kernel to whoever makes a file larger than allowed.
const SIGXFSZ: i32 = 25;

async fn world(site: &Site) -> World {
    site.contract("orders", ORDERS);
    fs::create_dir_all(site.path("lake")).unwrap();
    let store = LocalFileSystem::new_with_prefix(site.path("")).unwrap();
    World::new(tables::Site::over(Arc::new(store)), false).await
}

/// A loader that runs until it has ended or is killed. `limit`: files may grow to so many blocks of 512 bytes.
fn loader(site: &Site, limit: Option<usize>) -> Child {
    let mut command = match limit {
        None => Command::new(weir_binary()),
        Some(blocks) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(weir_binary());
            shell
        }
    };
    command.args(["warehouse", "load", "--json", "--dataset", "orders"]);
    command.env_clear().envs(site.settings()).current_dir(site.path("")).stdin(Stdio::null());
    let log = || File::options().create(true).append(true).open(site.path("loader.log")).unwrap();
    command.stdout(log()).stderr(log()).spawn().unwrap()
}

/// Version and rows of the warehouse, at one moment; none before the first load.
fn held(site: &Site) -> Option<(i64, Vec<Row>)> {
    if !site.path("warehouse.db").exists() {
        return None;
    }
    let mut connection = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let moment = connection.transaction().unwrap();
    let version = "SELECT version FROM weir_watermark WHERE source_table = 'orders'";
    let version = moment.query_row(version, [], |row| row.get(0)).ok()?;
    let mut find = moment.prepare("SELECT _source, _source_position, key, value FROM orders").unwrap();
    let rows = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let mut rows: Vec<Row> = rows.map(Result::unwrap).collect();
    rows.sort();
    Some((version, rows))
}

/// Whoever was killed, the warehouse is at some version, in full. True when that version is one that the model knows: the
/// parts of an operation that makes several commits it does not.
fn is_whole(site: &Site, world: &World, what: &str) -> bool {
    let Some((version, rows)) = held(site) else { return true };
    let known = world.versions.get(&version);
    if let Some(expected) = known {
        assert_eq!(&rows, expected, "version {version} after {what}");
    }
    known.is_some()
}

/// The lake, read by delta-rs and Polars alone.
async fn lake_by_others(site: &Site) -> Vec<Row> {
    let url = url::Url::from_directory_path(site.path("lake/orders")).unwrap();
    let mut rows = Vec::new();
    for file in deltalake::open_table(url).await.unwrap().get_file_uris().unwrap() {
        let path = file.strip_prefix("file://").unwrap_or(&file).to_owned();
        let frame = ParquetReader::new(Cursor::new(fs::read(path).unwrap())).finish().unwrap();
        let text = |name: &str| -> StringChunked { frame.column(name).unwrap().str().unwrap().clone() };
        let (sources, keys, values) = (text("_source"), text("key"), text("value"));
        let positions = frame.column("_source_position").unwrap().i64().unwrap();
        rows.extend((0..frame.height()).map(|row| {
            let owned = |column: &StringChunked| column.get(row).map(str::to_owned);
            (owned(&sources).unwrap(), positions.get(row).unwrap(), owned(&keys), owned(&values))
        }));
    }
    rows.sort();
    rows
}

fn random_event(random: &mut StdRng) -> Event {
    match random.random_range(0..16) {
        0..5 => Event::Append { rows: random.random_range(1..400), together: random.random_range(1..3) },
        5..8 => Event::Replace {
            source: random.random_range(0..3),
            first: random.random_range(1..9),
            rows: random.random_range(0..4),
            whole: random.random(),
            settles: random.random(),
        },
        8..11 => Event::Upsert { rows: random.random_range(1..6), by_value: random.random() },
        11..13 => Event::Delete { key: random.random_range(0..4) },
        13 => Event::Compact,
        14 => Event::Checkpoint,
        _ => Event::Column,
    }
}

fn task(dataset: &str) -> String {
    queue_envelope(json!({ "task": "maintain", "dataset": dataset }).to_string().as_bytes())
}

/// What only a reload tells: commits that the warehouse has not read are gone.
fn forget_log(site: &Site, up_to: i64) {
    for version in 0..=up_to {
        let _ = fs::remove_file(site.path(&format!("lake/orders/_delta_log/{version:020}.json")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loaders_killed_at_random_moments_leave_what_the_lake_holds() {
    let seed = std::env::var("WEIR_TEST_SEED").map_or(20_261_125, |seed| seed.parse::<u64>().unwrap());
    println!("seed {seed}; WEIR_TEST_SEED sets another");
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::new();
    let mut world = world(&site).await;
    let (mut killed, mut ended, mut known, mut reach_ms) = (0, 0, 0, 60);
    for round in 0..ROUNDS {
        for _ in 0..random.random_range(1..4) {
            let event = random_event(&mut random);
            world.act(&event).await;
        }
        if round % 8 == 7 {
            // The log begins with a checkpoint of now: the next load is a reload, unless it has been read so far.
            world.act(&Event::Checkpoint).await;
            forget_log(&site, world.versions.last_key_value().map_or(0, |(version, _)| version - 1));
        }
        let life = Duration::from_millis(random.random_range(1..reach_ms));
        let died = if round % 6 == 5 {
            let handler = Handler::start(&site).await;
            let answer = tokio::time::timeout(life * 2, handler.try_post("run_task", task("orders"))).await;
            if let Ok(Some(answer)) = &answer {
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
            handler.kill();
            // What it compacted changed no row.
            world.look().await;
            answer.is_err()
        } else {
            let mut loaders: Vec<_> = (0..random.random_range(1..3)).map(|_| loader(&site, None)).collect();
            tokio::time::sleep(life).await;
            let mut died = false;
            for loader in &mut loaders {
                let _ = loader.kill();
                let status = loader.wait().unwrap();
                died |= status.signal().is_some();
                // Of two, one may find the other in its way for too long; it is then tried again.
                assert!(status.code().is_none_or(|code| code == 0), "{status}: {}", log(&site));
            }
            died
        };
        known += usize::from(is_whole(&site, &world, &format!("round {round}, seed {seed}")));
        (killed, ended) = (killed + usize::from(died), ended + usize::from(!died));
        reach_ms = if died { (reach_ms * 3 / 2).min(1_500) } else { (reach_ms * 2 / 3).max(20) };
    }
    println!("{killed} rounds were cut off, {ended} ended, {known} at a version that the model knows");
    assert!(killed >= ROUNDS / 5 && ended >= 2, "{killed} killed, {ended} ended: the lives do not fit this machine");
    assert!(known >= ROUNDS / 2, "{known}");
    let (code, _, told) = weir(&site, &["warehouse", "load"], &[]);
    assert_eq!(code, 0, "{told}");
    let lake = lake_by_others(&site).await;
    assert_eq!(held(&site).unwrap().1, lake, "seed {seed}");
    let (code, told, _) = weir(&site, &["warehouse", "verify", "--dataset", "orders"], &[]);
    assert!(code == 0 && told.contains("equal"), "{told}");
    let left = "SELECT (SELECT count(*) FROM weir_pending) + (SELECT count(*) FROM weir_pending_file)
                + (SELECT count(*) FROM sqlite_schema WHERE name LIKE 'weir_reload%' OR name LIKE 'weir_replace%')";
    let warehouse = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    assert_eq!(warehouse.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "nothing is left behind");
}

fn log(site: &Site) -> String {
    fs::read_to_string(site.path("loader.log")).unwrap_or_default()
}

/// The files of the warehouse, beside it or back.
fn copy_warehouse(site: &Site, from: &str, to: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let at = |name: &str| -> PathBuf { site.path(&format!("{name}{suffix}")) };
        let _ = fs::remove_file(at(to));
        if at(from).exists() {
            fs::copy(at(from), at(to)).unwrap();
        }
    }
}

/// The kernel kills who makes a file larger than its limit: one page more at a time, a loader dies at each of its writes, into
/// SQLite's log, its index and, after the commit, the file itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_that_dies_at_any_write_leaves_a_whole_version() {
    let site = Site::new();
    let mut world = world(&site).await;
    world.act(&Event::Append { rows: 300, together: 2 }).await;
    let mut deaths = [0, 0];
    for (round, reload) in [true, false].into_iter().enumerate() {
        if !reload {
            for event in [
                Event::Append { rows: 40, together: 1 },
                Event::Replace { source: 0, first: 3, rows: 3, whole: false, settles: false },
                Event::Upsert { rows: 5, by_value: false },
                Event::Upsert { rows: 5, by_value: true },
                Event::Delete { key: 1 },
                Event::Compact,
                Event::Column,
                Event::Append { rows: 40, together: 2 },
                Event::Replace { source: 1, first: 1, rows: 2, whole: true, settles: true },
            ] {
                world.act(&event).await;
            }
        }
        copy_warehouse(&site, "warehouse.db", "before.db");
        let size = |name: &str| fs::metadata(site.path(name)).map_or(0, |file| file.len());
        let mut blocks = 1;
        loop {
            copy_warehouse(&site, "before.db", "warehouse.db");
            let status = loader(&site, Some(blocks)).wait().unwrap();
            if status.success() {
                break;
            }
            // Its own log is a file, too: what it says there is cut off first.
            assert!(status.signal() == Some(SIGXFSZ), "{blocks} blocks: {status}: {}", log(&site));
            deaths[round] += 1;
            is_whole(&site, &world, &format!("a death at {blocks} blocks"));
            assert!(blocks < 10_000, "{}", size("warehouse.db"));
            blocks += 9 + blocks / 20;
            // Whoever comes then brings it to its end.
            if deaths[round] % 4 == 0 {
                assert!(loader(&site, None).wait().unwrap().success(), "{}", log(&site));
                assert_eq!(held(&site).unwrap().1, lake_by_others(&site).await, "after a death at {blocks} blocks");
            }
        }
        assert_eq!(held(&site).unwrap().1, lake_by_others(&site).await);
    }
    println!("{deaths:?} deaths in a reload and in a load of what the log says");
    assert!(deaths.iter().all(|deaths| *deaths >= 8), "{deaths:?}");
}
