//! The headline guarantee, by simulation: several processes deliver the same ordered sources, cut into batches as each
//! likes, over a store that loses requests and answers, while others compact and write checkpoints. Whatever happens,
//! the table ends up with every row once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::ObjectStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_lake::{CompactOptions, ErrorKind, Outcome, Table};

use super::faulty::{Faulty, Weather, names};
use super::{actions, append, books, counted, definition, lake, memory, model, of_kind, open, rows};

const PROCESSES: u64 = 3;
const SOURCES: [&str; 3] = ["hub/0", "hub/1", "hub/2"];
const POSITIONS: i64 = 20;

/// One process that delivers one source from its beginning to its end, at least once.
async fn deliver(table: Arc<Table>, source: &str, mut random: StdRng) {
    let mut next = 1;
    while next <= POSITIONS {
        let last = (next + random.random_range(0..6)).min(POSITIONS);
        // What a function does: look how far the source is, leave out what is there, append the rest. Now and then it
        // looks at its own memory alone, which may be old.
        if random.random_bool(0.7) && table.refresh().await.is_err() {
            continue;
        }
        let after = table.committed(source);
        let first = after.map_or(next, |after| next.max(after + 1));
        if first > last {
            next = last + 1;
            continue;
        }
        let batch = model(source, first..=last);
        let appending = append(&table, &batch, after);
        let appended = if random.random_bool(0.1) {
            // The deadline of an invocation.
            tokio::time::timeout(Duration::from_millis(random.random_range(0..4)), appending).await.ok()
        } else {
            Some(appending.await)
        };
        match appended {
            Some(Ok(Outcome::Committed { .. })) => next = last + 1,
            // Again, from what is there now.
            Some(Ok(Outcome::AlreadyCommitted { .. } | Outcome::Overlaps { .. })) | None => {}
            Some(Ok(Outcome::Superseded)) => panic!("no condition was made"),
            Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::Retryable, "{error}"),
        }
    }
}

/// One process that compacts and now and then writes a checkpoint, until the others are done.
async fn maintain(table: Arc<Table>, mut random: StdRng) {
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..15))).await;
        // Either may fail in such weather; what must not happen is that it harms.
        if let Err(error) = table.compact(CompactOptions::default(), None).await {
            assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
        }
        if random.random_bool(0.2) {
            let _ = table.checkpoint().await;
        }
    }
}

/// A failure names the seed; the order of events is the scheduler's, the faults and the batches are the seed's.
async fn simulate(seed: u64, inner: Arc<dyn ObjectStore>) {
    let mut random = StdRng::seed_from_u64(seed);
    let weather =
        Weather { faults: random.random_range(0.0..0.2), latency: Duration::from_micros(random.random_range(1..800)) };
    let mut stores = Vec::new();
    let mut processes = Vec::new();
    for process in 0..PROCESSES {
        let store = Faulty::new(Arc::clone(&inner), random.random(), weather);
        stores.push(Arc::clone(&store));
        let store: Arc<dyn ObjectStore> = store;
        let table = loop {
            // The processes race to create it, too.
            match lake(&store).table(&definition()).await {
                Ok(table) => break table,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retryable, "seed {seed}: {error}"),
            }
        };
        // Within a process a source may be delivered twice at the same time.
        let twice = SOURCES[random.random_range(0..SOURCES.len())];
        for source in SOURCES.into_iter().chain([twice]) {
            let random = StdRng::seed_from_u64(random.random());
            processes.push(tokio::spawn(deliver(Arc::clone(&table), source, random)));
        }
        if process > 0 {
            processes.push(tokio::spawn(maintain(table, StdRng::seed_from_u64(random.random()))));
        }
    }
    for process in join_all(processes).await {
        process.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    for store in stores {
        store.settle().await;
    }
    check(seed, &inner).await;
}

/// What a new process finds, over a store that works.
async fn check(seed: u64, store: &Arc<dyn ObjectStore>) {
    let table = open(store).await;
    let expected: Vec<_> = SOURCES.into_iter().flat_map(|source| model(source, 1..=POSITIONS)).collect();
    assert_eq!(rows(&table).await, sorted(expected.clone()), "seed {seed}");
    assert_eq!(books(&table).await, counted(expected.len()), "seed {seed}");
    let snapshot = table.snapshot().await.unwrap();
    for source in SOURCES {
        assert_eq!(snapshot.transactions[source], POSITIONS, "seed {seed}");
    }
    // Every commit is there once, and the changes that it announces are the rows that came in.
    let mut ids = HashSet::new();
    let mut announced = BTreeMap::<bool, u64>::new();
    for version in 1..=snapshot.version {
        let actions = actions(store, version).await;
        let id = of_kind(&actions, "commitInfo")[0]["txnId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "seed {seed}: commit {version} is a copy");
        for add in of_kind(&actions, "add") {
            let stats: serde_json::Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
            *announced.entry(add["dataChange"].as_bool().unwrap()).or_default() +=
                stats["numRecords"].as_u64().unwrap();
        }
    }
    assert_eq!(announced[&true], expected.len() as u64, "seed {seed}");
    let objects: HashSet<_> = names(store, "lake/orders").await.into_iter().collect();
    assert!(snapshot.files.iter().all(|file| objects.contains(file.object.as_ref())), "seed {seed}");
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_there_once_whatever_the_store_does() {
    // Side by side, so that their back-offs overlap.
    join_all((0..120).map(|seed| simulate(seed, memory()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_there_once_on_the_local_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let simulations = (1000..1008).map(|seed| {
        let root = folder.path().join(seed.to_string());
        std::fs::create_dir(&root).unwrap();
        simulate(seed, Arc::new(object_store::local::LocalFileSystem::new_with_prefix(root).unwrap()))
    });
    join_all(simulations).await;
}
