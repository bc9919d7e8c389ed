//! The table's folder is deleted, object by object, while processes deliver, replace, compact and die over a network that
//! fails. Whatever happens, what is acknowledged after the last deletion is there, in a log that begins with
//! its version 0, has no gap and is of one table. A schedule is its seed, as in `schedules`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use weir_lake::{Append, CompactOptions, ErrorKind, Lake, LakeError, Outcome, Replacement, Table};

use super::faulty::names;
use super::schedules::{AbortAll, in_simulated_time, run_seeds, setting};
use super::simulation::{self, frame, rows_in, rows_of};
use super::storm::{Line, Network, Weather};
use super::{LOG, actions, counted, of_kind, producer};

const SEEDS: u64 = 200;
const WIPES: usize = 3;
const FOLDER: &str = "lake/orders";
const SOURCES: [&str; 4] = ["hub/0", "hub/1", "hub/2", "hub/3"];
/// After the last deletion: until entries have settled, and some commits more.
const AFTERWARDS: Duration = Duration::from_secs(16);

/// How far each source was told to be, in each table.
type Told = std::sync::Mutex<BTreeMap<(&'static str, String), i64>>;

#[derive(Default)]
struct World {
    network: Arc<Network>,
    over: AtomicBool,
    told: Told,
}

async fn table(lake: &Lake) -> Option<Arc<Table>> {
    match lake.table(&simulation::definition(false)).await {
        Ok(table) => Some(table),
        Err(error) => {
            // While the folder is being deleted its log is what is left of it.
            assert!(matches!(error.kind(), ErrorKind::Retryable | ErrorKind::Corrupt), "{error}");
            None
        }
    }
}

async fn deliver(table: &Arc<Table>, source: &'static str, random: &mut StdRng) -> Result<Option<i64>, LakeError> {
    if random.random_bool(0.7) {
        table.refresh().await?;
    }
    let after = table.committed(source);
    let first = after.unwrap_or(0) + 1;
    let last = first + random.random_range(0..4);
    let rows = table.stage(frame(&rows_of(source, "1", first..=last))).await?;
    let books = counted((last - first + 1) as usize);
    let append = Append { producer: producer(source, last), rows, books };
    let outcome = table.append(append, after).await?;
    Ok(matches!(outcome, Outcome::Committed { .. }).then_some(last))
}

async fn correct(table: &Arc<Table>, source: &'static str, random: &mut StdRng) -> Result<(), LakeError> {
    table.refresh().await?;
    let Some(at) = table.committed(source) else { return Ok(()) };
    let position = random.random_range(1..=at);
    let rows = table.stage(frame(&rows_of(source, "1", position..=position))).await?;
    let producer = producer(&format!("correct|{source}|{}", random.random::<u32>()), 1);
    let positions = Some(position..=position);
    let replacement = Replacement { source: source.to_owned(), positions, producer, rows, books: counted(1) };
    table.replace_source(replacement).await.map(drop)
}

async fn work(world: Arc<World>, lake: Arc<Lake>, source: &'static str, mut random: StdRng) {
    while !world.over.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(random.random_range(0..2_500))).await;
        let Some(table) = table(&lake).await else { continue };
        let (id, _) = table.identity();
        let done = match random.random_range(0..20) {
            0 => table.compact(CompactOptions::default(), None).await.map(|_| None),
            1 => correct(&table, source, &mut random).await.map(|()| None),
            _ => deliver(&table, source, &mut random).await,
        };
        match done {
            Ok(Some(last)) => _ = world.told.lock().unwrap().insert((source, id), last),
            Ok(None) => {}
            // Objects of the table go one by one: a rewrite may miss a file before it misses the log.
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported), "{source}: {error}")
            }
        }
    }
}

/// A process with two sources, that may die now and then, and its successors.
async fn process(world: Arc<World>, sources: &'static [&'static str], mut random: StdRng) {
    let faults = random.random_range(0.0..0.15);
    loop {
        let dies_at = random.random_bool(0.8).then(|| random.random_range(0..300));
        let latency_max = Duration::from_millis(random.random_range(1..80));
        let line = Line::new(&world.network, random.random(), Weather { faults, latency_max, dies_at });
        let lake = Arc::new(Lake::new(Arc::clone(&line) as _, "lake".into(), simulation::options()));
        let works = sources.iter().map(|source| {
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(work(Arc::clone(&world), Arc::clone(&lake), source, random))
        });
        // Dropped with this turn, so that a dead process's tasks do nothing more.
        let mut works = AbortAll(works.collect());
        let done = async {
            for work in &mut works.0 {
                work.await.unwrap();
            }
        };
        tokio::select! {
            () = line.death() => {}
            () = done => return,
        }
    }
}

async fn simulate(seed: u64) {
    simulation::begin(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let world = Arc::new(World::default());
    let mut running = JoinSet::new();
    for sources in SOURCES.chunks(2) {
        running.spawn(process(Arc::clone(&world), sources, StdRng::seed_from_u64(random.random())));
    }
    for _ in 0..WIPES {
        // Within the time that entries need to settle, and after it.
        sleep(Duration::from_millis(random.random_range(200..10_000))).await;
        world.network.wipe(FOLDER, &mut random).await;
    }
    sleep(AFTERWARDS).await;
    world.over.store(true, Ordering::SeqCst);
    while let Some(process) = running.join_next().await {
        process.unwrap();
    }
    world.network.settle().await;
    check(&world).await;
}

/// What a new process finds, in fair weather, and what any reader does once maintenance has run.
async fn check(world: &World) {
    let store: Arc<dyn ObjectStore> = Line::new(&world.network, 0, Weather::FAIR);
    let lake = Lake::new(Arc::clone(&store), "lake".into(), simulation::options());
    let began = Instant::now();
    let table = loop {
        match lake.table(&simulation::definition(false)).await {
            Ok(table) => break table,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retryable, "{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no table in a minute");
        sleep(Duration::from_secs(1)).await;
    };
    while let Err(error) = table.checkpoint().await {
        assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        sleep(Duration::from_secs(1)).await;
    }
    let snapshot = table.snapshot().await.unwrap();
    let log = names(&store, &format!("{FOLDER}/{LOG}")).await;
    let version = |name: &String| name.rsplit('/').next()?.strip_suffix(".json")?.parse::<i64>().ok();
    let versions: BTreeSet<i64> = log.iter().filter_map(version).collect();
    assert_eq!(versions, (0..=snapshot.version).collect(), "{log:?}");
    for version in 1..=snapshot.version {
        let actions = actions(&store, version).await;
        assert_eq!(of_kind(&actions, "commitInfo")[0]["weir"]["table"], snapshot.table_id, "{version}");
    }
    let mut found = Vec::new();
    for file in &snapshot.files {
        found.extend(rows_in(&table.read(file).await.unwrap()));
    }
    found.sort();
    let mut expected = Vec::new();
    for source in SOURCES {
        let at = table.committed(source).unwrap_or(0);
        let told = world.told.lock().unwrap().get(&(source, snapshot.table_id.clone())).copied().unwrap_or(0);
        assert!(at >= told, "{source}: {told} was acknowledged, and the table has {at}");
        expected.extend(rows_of(source, "1", 1..=at));
    }
    expected.sort();
    assert_eq!(found, expected);
    assert!(snapshot.statistics().books.balanced());
}

#[test]
fn what_is_acknowledged_after_a_deletion_is_there() {
    match setting("WEIR_TEST_WIPED_SEED") {
        Some(seed) => in_simulated_time(simulate(seed)),
        None => run_seeds("WEIR_TEST_WIPED_SEED", 0..setting("WEIR_TEST_WIPED_SEEDS").unwrap_or(SEEDS), simulate),
    }
}
