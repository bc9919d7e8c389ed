//! Any sequence of operations, by any of several processes that have looked or have not, equals the sequential model.
//! Shrinks to the shortest sequence that does not; what happens at the same time and what fails is in `schedules`.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::ObjectStore;
use polars::prelude::df;
use proptest::prelude::*;
use weir_lake::{
    Append, CompactOptions, Deletion, Lake, LogCleanupOptions, Outcome, Replacement, Table, Upsert, VacuumOptions,
};

use super::schedules::in_simulated_time;
use super::simulation::{self, Effect, LONGEST, Model, Row, frame, rows_in, rows_of};
use super::storm::{Line, Network, Weather};
use super::{counted, producer};

const SOURCES: [&str; 3] = ["hub/0", "hub/1", "up/0"];

#[derive(Debug, Clone)]
enum Step {
    /// The next rows of a source, and some that are there already.
    Append {
        source: usize,
        again: i64,
        rows: i64,
    },
    Upsert {
        rows: i64,
    },
    Replace {
        source: usize,
        first: i64,
        last: i64,
        whole: bool,
    },
    Delete {
        key: i64,
    },
    Compact {
        small: bool,
    },
    Checkpoint,
    /// The clock moves on, far enough for what is old to go.
    CleanUp {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = (usize, bool, Step)> {
    let step = prop_oneof![
        5 => (0..2_usize, 0..3_i64, 1..6_i64).prop_map(|(source, again, rows)| Step::Append { source, again, rows }),
        2 => (1..6_i64).prop_map(|rows| Step::Upsert { rows }),
        2 => (0..3_usize, 1..9_i64, 0..4_i64, any::<bool>())
            .prop_map(|(source, first, more, whole)| Step::Replace { source, first, last: first + more, whole }),
        1 => (0..4_i64).prop_map(|key| Step::Delete { key }),
        2 => any::<bool>().prop_map(|small| Step::Compact { small }),
        1 => Just(Step::Checkpoint),
        1 => (0..400_u64).prop_map(|seconds| Step::CleanUp { seconds }),
    ];
    (0..2_usize, any::<bool>(), step)
}

struct World {
    model: Model,
    requests: HashMap<String, Effect>,
    version: i64,
}

impl World {
    /// What a commit of this producer does, now.
    fn commit(&mut self, id: &str, at: i64, effect: Effect) {
        self.requests.insert(id.to_owned(), effect);
        self.version += 1;
        let actions = [serde_json::json!({"txn": {"appId": id, "version": at}})];
        let requests = &self.requests;
        self.model.commit(self.version, &actions, &|id, _| requests[id].clone());
    }

    fn known(&self, id: &str) -> Option<i64> {
        self.model.producers.get(id).copied()
    }
}

async fn take(table: &Arc<Table>, world: &mut World, step: &Step, request: usize) {
    match *step {
        Step::Append { source, again, rows } => {
            let source = SOURCES[source];
            let at = world.known(source).unwrap_or(0);
            let (first, last) = ((at - again).max(0) + 1, at + rows);
            // Made against what this process knows; if that is not what is there, it is told, and makes it anew.
            let mut after = table.committed(source);
            loop {
                let fresh = after.map_or(first, |after| first.max(after + 1));
                let staged = table.stage(frame(&rows_of(source, "1", fresh..=last))).await.unwrap();
                let books = counted((last - fresh + 1) as usize);
                let append = Append { producer: producer(source, last), rows: staged, books };
                match table.append(append, after).await.unwrap() {
                    Outcome::Committed { .. } => break,
                    Outcome::Overlaps { producer_version } => after = Some(producer_version),
                    Outcome::AlreadyCommitted { .. } | Outcome::Superseded => panic!("nobody was there"),
                }
            }
            world.commit(source, last, Effect::Append { source: source.to_owned(), version: "1".to_owned() });
        }
        Step::Upsert { rows } => {
            let source = SOURCES[2];
            let at = world.known(source);
            let (first, last) = (at.unwrap_or(0) + 1, at.unwrap_or(0) + rows);
            table.refresh().await.unwrap();
            let upsert = Upsert {
                producer: producer(source, last),
                after: at,
                frame: frame(&rows_of(source, "1", first..=last)),
                keys: vec!["value".to_owned()],
                order_by: None,
                books: counted(rows as usize),
            };
            assert!(matches!(table.upsert(upsert).await.unwrap().outcome, Outcome::Committed { .. }));
            world.commit(source, last, Effect::Upsert { source: source.to_owned() });
        }
        Step::Replace { source, first, last, whole } => {
            let source = SOURCES[source];
            let positions = (!whole).then_some((first, last));
            let rows = rows_of(source, &format!("request{request}"), first..=last);
            let id = format!("replace|{request}");
            let staged = table.stage(frame(&rows)).await.unwrap();
            let replacement = Replacement {
                source: source.to_owned(),
                positions: positions.map(|(first, last)| first..=last),
                producer: producer(&id, 1),
                rows: staged,
                books: counted(rows.len()),
            };
            table.replace_source(replacement).await.unwrap();
            world.commit(&id, 1, Effect::Replace { source: source.to_owned(), positions, rows });
        }
        Step::Delete { key } => {
            let (id, key) = (format!("erase|{request}"), format!("k{key}"));
            let deletion = Deletion { producer: producer(&id, 1), keys: df!("key" => [key.as_str()]).unwrap() };
            table.delete_where(deletion).await.unwrap();
            world.commit(&id, 1, Effect::Delete { key });
        }
        Step::Compact { small } => {
            let memory_bytes = if small { 1 } else { CompactOptions::default().memory_bytes };
            let options = CompactOptions { memory_bytes, ..CompactOptions::default() };
            table.compact(options, None).await.unwrap();
        }
        Step::Checkpoint => _ = table.checkpoint().await.unwrap(),
        Step::CleanUp { seconds } => {
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            table.clean_log(LogCleanupOptions::default()).await.unwrap();
            let options = VacuumOptions { orphan_age: LONGEST * 2, longest_invocation: LONGEST, dry_run: false };
            table.vacuum(options).await.unwrap();
        }
    }
}

async fn content(table: &Arc<Table>) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        rows.extend(rows_in(&table.read(&file).await.unwrap()));
    }
    rows.sort();
    rows
}

async fn run(partitioned: bool, steps: &[(usize, bool, Step)]) {
    simulation::begin(0);
    let network = Arc::new(Network::default());
    let store: Arc<dyn ObjectStore> = Line::new(&network, 0, Weather::FAIR);
    let definition = simulation::definition(partitioned);
    let mut tables = Vec::new();
    for _ in 0..2 {
        let lake = Lake::new(Arc::clone(&store), "lake".into(), simulation::options());
        tables.push(lake.table(&definition).await.unwrap());
    }
    let mut world = World { model: Model::default(), requests: HashMap::new(), version: 0 };
    for (request, (process, looks, step)) in steps.iter().enumerate() {
        let table = &tables[*process];
        if *looks {
            table.refresh().await.unwrap();
        }
        take(table, &mut world, step, request).await;
        let mut expected = world.model.rows.clone();
        expected.sort();
        assert_eq!(content(table).await, expected, "after step {request}");
    }
    // A process that was never there.
    let lake = Lake::new(store, "lake".into(), simulation::options());
    let cold = lake.table(&definition).await.unwrap();
    let mut expected = world.model.rows;
    expected.sort();
    assert_eq!(content(&cold).await, expected);
    for (id, at) in world.model.producers {
        assert_eq!(cold.committed(&id), Some(at), "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_operations_equals_the_model(
        partitioned: bool,
        steps in prop::collection::vec(step(), 1..24),
    ) {
        in_simulated_time(run(partitioned, &steps));
    }
}
