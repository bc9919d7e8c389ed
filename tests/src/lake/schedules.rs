//! The lake's guarantees, by simulation: processes deliver, replace, erase, upsert, compact and clean up at the same
//! time, over a network that fails in every way it can, and die at every moment they can; whatever happens, the table
//! holds what the sequential model holds after the operations in the order of the log.
//!
//! A schedule is its seed: clock, dice, faults and deaths come from it. `WEIR_TEST_SEEDS=100000` runs more of them,
//! `WEIR_TEST_SEED=4711` runs that one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use polars::prelude::df;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use weir_lake::{
    Append, CheckpointPolicy, CompactOptions, Deletion, ErrorKind, Lake, LakeError, LogCleanupOptions, Outcome,
    Producer, Replacement, Table, Upsert, VacuumOptions,
};

use super::simulation::{self, Effect, GENERATION, LONGEST, Model, Row, frame, rows_in, rows_of};
use super::storm::{Line, Network, Weather};
use super::{counted, producer};

const PROCESSES: u64 = 3;
const POSITIONS: i64 = 12;
const BLOB_ROWS: i64 = 5;
const ROOT: &str = "lake/orders";

/// What a task of a process has to bring about, however often it must begin again.
#[derive(Debug, Clone)]
enum Work {
    /// Deliver a source from its beginning to its end, at least once.
    Deliver {
        source: &'static str,
        upsert: bool,
    },
    /// Put the rows of one version of a blob in place of those of another; the second version is the newer one.
    Blob {
        source: &'static str,
        version: i64,
    },
    /// Put the second version's rows in place once more, although they are there.
    Reprocess {
        source: &'static str,
    },
    /// Replace some positions of a source that has delivered them.
    Correct {
        source: &'static str,
        first: i64,
        last: i64,
    },
    Erase {
        key: &'static str,
    },
    /// Compact, and one of: checkpoint, log clean-up, vacuum. Tried once: what fails is left to the next.
    Maintain,
}

fn effects(id: &str, at: i64) -> Effect {
    let words: Vec<_> = id.split('|').collect();
    match words[..] {
        ["blob", source] => Effect::Publish { source: source.to_owned(), rows: blob(source, at % GENERATION) },
        ["reprocess", _] => Effect::Mark,
        ["correct", source, first, last] => {
            let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
            let rows = rows_of(source, "corrected", first..=last);
            Effect::Replace { source: source.to_owned(), positions: Some((first, last)), rows }
        }
        ["erase", key] => Effect::Delete { key: key.to_owned() },
        [source] if source.starts_with("up") => Effect::Upsert { source: source.to_owned() },
        [source] => Effect::Append { source: source.to_owned(), version: "1".to_owned() },
        _ => panic!("nobody made the producer {id}"),
    }
}

/// The rows of one version of a blob.
fn blob(source: &str, version: i64) -> Vec<Row> {
    rows_of(source, &format!("e{version}"), 1..=BLOB_ROWS + version)
}

/// The works of one task and how far it is: the host's memory, which outlives the process.
#[derive(Debug)]
struct Task {
    works: Vec<Work>,
    done: AtomicUsize,
}

fn tasks(random: &mut StdRng) -> Vec<Vec<Arc<Task>>> {
    let deliver = |source| Work::Deliver { source, upsert: false };
    let upsert = |source| Work::Deliver { source, upsert: true };
    let blob = |source, version| Work::Blob { source, version };
    let mut lists = vec![
        vec![deliver("hub/0")],
        // The old owner of a partition goes on for a while.
        vec![deliver("hub/0"), Work::Correct { source: "hub/0", first: 4, last: 9 }],
        vec![deliver("hub/1"), blob("a.csv", 1)],
        vec![blob("a.csv", 1), Work::Reprocess { source: "a.csv" }],
        vec![Work::Reprocess { source: "a.csv" }, blob("a.csv", 2)],
        vec![upsert("up/0")],
        vec![upsert("up/1"), Work::Erase { key: "k1" }],
        vec![Work::Erase { key: "k2" }, deliver("hub/2")],
        vec![Work::Maintain; 3],
        vec![Work::Maintain; 3],
    ];
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| Vec::new()).collect();
    for works in lists.drain(..) {
        let process = random.random_range(0..processes.len());
        processes[process].push(Arc::new(Task { works, done: AtomicUsize::new(0) }));
    }
    processes
}

/// A process, from its first start to the end of its work; it dies and starts again on the way.
async fn process(network: Arc<Network>, partitioned: bool, mut random: StdRng, tasks: Vec<Arc<Task>>) {
    let faults = random.random_range(0.0..0.25);
    for incarnation in 0.. {
        // Early, so that every moment of a start is met, or in the middle of the work.
        let longest = [12, 60, 400][random.random_range(0..3)];
        let dies_at = (incarnation < 3).then(|| random.random_range(0..longest));
        let latency_max = Duration::from_millis(random.random_range(1..80));
        let line = Line::new(&network, random.random(), Weather { faults, latency_max, dies_at });
        let lake = Lake::new(Arc::clone(&line) as _, "lake".into(), simulation::options());
        let mut running = JoinSet::new();
        let seeds: Vec<u64> = tasks.iter().map(|_| random.random()).collect();
        let own = tasks.clone();
        running.spawn(async move {
            let table = open(&lake, partitioned).await;
            let works = own
                .into_iter()
                .zip(seeds)
                .map(|(task, seed)| tokio::spawn(run(Arc::clone(&table), task, StdRng::seed_from_u64(seed))));
            // Dropped with this task, so that a dead process's tasks do nothing more.
            let mut works = AbortAll(works.collect());
            for work in &mut works.0 {
                work.await.unwrap();
            }
        });
        tokio::select! {
            () = line.death() => {}
            done = running.join_next() => return done.unwrap().unwrap(),
        }
    }
}

pub(super) struct AbortAll(pub(super) Vec<tokio::task::JoinHandle<()>>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn open(lake: &Lake, partitioned: bool) -> Arc<Table> {
    loop {
        match lake.table(&simulation::definition(partitioned)).await {
            Ok(table) => return table,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retryable, "{error}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn run(table: Arc<Table>, task: Arc<Task>, mut random: StdRng) {
    while let Some(work) = task.works.get(task.done.load(Ordering::SeqCst)) {
        // The deadline of an invocation: the caller is dropped, what it began may go on.
        let deadline = match random.random_bool(0.15) {
            true => Duration::from_millis(random.random_range(1..400)),
            false => LONGEST - Duration::from_secs(15),
        };
        match timeout(deadline, attempt(&table, work, &mut random)).await {
            Ok(Ok(true)) => {
                task.done.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                assert!(matches!(error.kind(), ErrorKind::Retryable | ErrorKind::Conflict), "{work:?}: {error}");
            }
        }
        sleep(Duration::from_millis(random.random_range(0..3_000))).await;
    }
}

/// True when the work is done.
async fn attempt(table: &Arc<Table>, work: &Work, random: &mut StdRng) -> Result<bool, LakeError> {
    match *work {
        Work::Deliver { source, upsert } => deliver(table, source, upsert, random).await,
        Work::Blob { source, version } => {
            if random.random_bool(0.7) {
                table.refresh().await?;
            }
            let held = table.committed(&format!("blob|{source}")).map(|at| at % GENERATION);
            if held >= Some(version) {
                return Ok(true);
            }
            publish(table, source, version, Vec::new()).await
        }
        Work::Reprocess { source } => {
            let request = producer(&format!("reprocess|{source}"), 1);
            if table.committed(&request.id).is_some() {
                return Ok(true);
            }
            publish(table, source, 2, vec![request]).await
        }
        Work::Correct { source, first, last } => {
            table.refresh().await?;
            if table.committed(source).is_none_or(|at| at < last) {
                return Ok(false);
            }
            let rows = rows_of(source, "corrected", first..=last);
            let id = format!("correct|{source}|{first}|{last}");
            let replacement = replacement(table, &id, source, Some(first..=last), &rows).await?;
            table.replace_source(replacement).await.map(|_| true)
        }
        Work::Erase { key } => {
            let keys = df!("key" => [key]).unwrap();
            table.delete_where(Deletion { producer: producer(&format!("erase|{key}"), 1), keys }).await.map(|_| true)
        }
        Work::Maintain => {
            sleep(Duration::from_millis(random.random_range(0..9_000))).await;
            match maintain(table, random).await {
                Err(error) if error.kind() != ErrorKind::Retryable => Err(error),
                _ => Ok(true),
            }
        }
    }
}

/// As `functions/pipeline/blob/publish.rs` does it. False when somebody else was there first.
async fn publish(table: &Arc<Table>, source: &str, version: i64, raises: Vec<Producer>) -> Result<bool, LakeError> {
    let id = format!("blob|{source}");
    let after = table.committed(&id);
    let next = producer(&id, (after.unwrap_or(0) / GENERATION + 1) * GENERATION + version);
    let rows = blob(source, version);
    let replacement = Replacement { producer: next, ..replacement(table, &id, source, None, &rows).await? };
    let outcome = match after {
        None => {
            let Replacement { producer, rows, books, .. } = replacement;
            table.append_raising(Append { producer, rows, books }, None, raises).await?
        }
        Some(_) => table.replace_source_after(replacement, after, raises).await?,
    };
    Ok(matches!(outcome, Outcome::Committed { .. }))
}

async fn deliver(
    table: &Arc<Table>,
    source: &'static str,
    upsert: bool,
    random: &mut StdRng,
) -> Result<bool, LakeError> {
    // What a function does: look how far the source is, leave out what is there, append the rest. Now and then it looks
    // at its own memory alone, which may be old.
    if random.random_bool(0.7) {
        table.refresh().await?;
    }
    let after = table.committed(source);
    let first = after.unwrap_or(0) + 1;
    if first > POSITIONS {
        return Ok(true);
    }
    let last = (first + random.random_range(0..6)).min(POSITIONS);
    let frame = frame(&rows_of(source, "1", first..=last));
    let (producer, books) = (producer(source, last), counted((last - first + 1) as usize));
    if upsert {
        let keys = vec!["value".to_owned()];
        table.upsert(Upsert { producer, after, frame, keys, order_by: None, books }).await?;
    } else {
        let rows = table.stage(frame).await?;
        table.append(Append { producer, rows, books }, after).await?;
    }
    Ok(false)
}

async fn replacement(
    table: &Arc<Table>,
    id: &str,
    source: &str,
    positions: Option<std::ops::RangeInclusive<i64>>,
    rows: &[Row],
) -> Result<Replacement, LakeError> {
    let books = counted(rows.len());
    let rows = table.stage(frame(rows)).await?;
    Ok(Replacement { source: source.to_owned(), positions, producer: producer(id, 1), rows, books })
}

async fn maintain(table: &Arc<Table>, random: &mut StdRng) -> Result<(), LakeError> {
    // Under a lease, as `maintain` does it, or without one, as two that both believe to have it.
    let mut lease = match random.random_bool(0.5) {
        true => table.lease("simulation", Duration::from_secs(20)).await?,
        false => None,
    };
    table.compact(CompactOptions::default(), lease.as_mut()).await?;
    match random.random_range(0..4) {
        0 => _ = table.checkpoint().await?,
        1 => {
            let policy = CheckpointPolicy { commits: 5, age: Duration::from_secs(30) };
            table.checkpoint_if_due(policy).await?;
        }
        2 => _ = table.clean_log(LogCleanupOptions::default()).await?,
        _ => {
            let options = VacuumOptions { orphan_age: LONGEST * 2, longest_invocation: LONGEST, dry_run: false };
            table.vacuum(options).await?;
        }
    }
    if let Some(lease) = lease {
        lease.release().await?;
    }
    Ok(())
}

async fn simulate(seed: u64) {
    simulation::begin(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let partitioned = random.random_bool(0.5);
    let network = Arc::new(Network::default());
    let mut running = JoinSet::new();
    for tasks in tasks(&mut random) {
        running.spawn(process(Arc::clone(&network), partitioned, StdRng::seed_from_u64(random.random()), tasks));
    }
    while let Some(process) = running.join_next().await {
        process.unwrap();
    }
    network.settle().await;
    check(&network, partitioned).await;
}

/// What a new process finds, in fair weather.
async fn check(network: &Arc<Network>, partitioned: bool) {
    let store: Arc<dyn ObjectStore> = Line::new(network, 0, Weather::FAIR);
    let table = open(&Lake::new(Arc::clone(&store), "lake".into(), simulation::options()), partitioned).await;
    let snapshot = table.snapshot().await.unwrap();

    assert!(!network.forked.load(Ordering::SeqCst), "the log has forked");
    let mut model = Model::default();
    let log = network.log();
    assert_eq!(log.keys().copied().collect::<Vec<_>>(), (0..=snapshot.version).collect::<Vec<_>>());
    for (version, actions) in &log {
        model.commit(*version, actions, &effects);
    }
    let mut expected = model.rows;
    let mut found = Vec::new();
    for file in &snapshot.files {
        let frame = table.read(file).await.unwrap();
        assert_eq!(file.rows, Some(frame.height() as u64), "numRecords of {}", file.log_path);
        found.extend(rows_in(&frame));
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    for source in ["hub/0", "hub/1", "hub/2", "up/0", "up/1"] {
        assert_eq!(model.producers[source], POSITIONS, "{source}");
    }
    assert_eq!((model.producers["reprocess|a.csv"], model.producers["erase|k1"]), (1, 1));
    let statistics = snapshot.statistics();
    assert!(statistics.books.balanced());
    assert_eq!(statistics.rows + statistics.books.replaced, statistics.books.committed);
    let names: Vec<_> = store.list(Some(&Path::from(ROOT))).try_collect().await.unwrap();
    for file in &snapshot.files {
        assert!(names.iter().any(|object| object.location == file.object), "{} is gone", file.log_path);
    }
}

impl Network {
    /// Every commit that was ever made, also those that were cleaned up.
    fn log(&self) -> BTreeMap<i64, Vec<Value>> {
        let prefix = format!("{ROOT}/_delta_log/");
        let commits = self.created.lock().unwrap();
        let version = |path: &Path| path.as_ref().strip_prefix(&prefix)?.strip_suffix(".json")?.parse().ok();
        let commits = commits.iter().filter_map(|(path, bytes)| Some((version(path)?, bytes)));
        let lines = |bytes: &[u8]| {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
        };
        commits.map(|(version, bytes)| (version, lines(bytes))).collect()
    }
}

/// Runs a world on a clock of its own.
pub(super) fn in_simulated_time<F: Future>(world: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).max_blocking_threads(2).build().unwrap().block_on(world)
}

#[allow(clippy::disallowed_methods)] // a switch of the test suite
pub(super) fn setting(key: &str) -> Option<u64> {
    std::env::var(key).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{key} is no number")))
}

/// Runs worlds on two threads. `key`: the setting that runs one of them again.
pub(super) fn run_seeds<F: Future<Output = ()>>(
    key: &str,
    seeds: impl Iterator<Item = u64> + Send,
    simulate: impl Fn(u64) -> F + Sync,
) {
    let seeds = std::sync::Mutex::new(seeds);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let Some(seed) = seeds.lock().unwrap().next() else { break };
                        let world = std::panic::AssertUnwindSafe(|| in_simulated_time(simulate(seed)));
                        if let Err(panic) = std::panic::catch_unwind(world) {
                            println!("{key}={seed} fails");
                            std::panic::resume_unwind(panic);
                        }
                    }
                })
            })
            .collect();
        let failed = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        assert_eq!(failed, 0, "see the seed above");
    });
}

#[test]
fn every_schedule_ends_as_the_model_says() {
    match setting("WEIR_TEST_SEED") {
        Some(seed) => in_simulated_time(simulate(seed)),
        None => run_seeds("WEIR_TEST_SEED", 0..setting("WEIR_TEST_SEEDS").unwrap_or(1_000), simulate),
    }
}
