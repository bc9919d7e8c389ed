//! The planner's promise on real Delta tables: every operation of the lake, cut into loads anywhere, leaves the
//! warehouse with what a full read gives, and without a reload as long as the log tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polars::prelude::df;
use proptest::prelude::*;
use tempfile::TempDir;
use weir_lake::{Append, CompactOptions, Deletion, Replacement, Table, Upsert};
use weir_warehouse::{Limits, Plan, ReloadReason, Step};

use super::tables::{Row, Site, counted, frame, producer, rows, tick};
use super::{connect, load_of, open};

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// So many rows, from so many producers at the same time: they share files and commits.
    Append {
        rows: i64,
        together: usize,
    },
    Replace {
        source: usize,
        first: i64,
        rows: i64,
        whole: bool,
        settles: bool,
    },
    Upsert {
        rows: i64,
        by_value: bool,
    },
    Delete {
        key: i64,
    },
    Compact,
    Checkpoint,
    Column,
    Load {
        commits: usize,
        files: usize,
    },
}

const SOURCES: [&str; 3] = ["hub/0", "it's [b] \"x\"; --", "up/ü"];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..6_i64, 1..3_usize).prop_map(|(rows, together)| Event::Append { rows, together }),
        3 => (0..3_usize, 1..9_i64, 0..4_i64, any::<bool>(), any::<bool>())
            .prop_map(|(source, first, rows, whole, settles)| Event::Replace { source, first, rows, whole, settles }),
        3 => (1..6_i64, any::<bool>()).prop_map(|(rows, by_value)| Event::Upsert { rows, by_value }),
        2 => (0..4_i64).prop_map(|key| Event::Delete { key }),
        2 => Just(Event::Compact),
        1 => Just(Event::Checkpoint),
        1 => Just(Event::Column),
        5 => (1..5_usize, 1..5_usize).prop_map(|(commits, files)| Event::Load { commits, files }),
    ]
}

/// Every row is its own: where it came from, one of four keys, a value that may come again.
fn made(source: &str, positions: std::ops::Range<i64>, tag: usize) -> Vec<Row> {
    let key = |position: i64| (position % 5 != 4).then(|| format!("k{}", position % 4));
    positions
        .map(|position| (source.to_owned(), position, key(position), Some(format!("v{}", (position + tag as i64) % 7))))
        .collect()
}

/// A table, and what it holds at each version by what was done to it.
pub(crate) struct World {
    site: Site,
    partitioned: bool,
    extra: usize,
    table: Arc<Table>,
    next: [i64; 3],
    request: usize,
    /// What each version holds.
    pub(crate) versions: BTreeMap<i64, Vec<Row>>,
}

impl World {
    pub(crate) async fn new(site: Site, partitioned: bool) -> Self {
        let table = site.open(partitioned, 0).await;
        Self { site, partitioned, extra: 0, table, next: [0; 3], request: 0, versions: BTreeMap::new() }
    }

    /// Notes what others did to the table, who changed no rows.
    pub(crate) async fn look(&mut self) {
        let (version, rows) = rows(&self.table).await;
        self.versions.insert(version, rows);
    }

    pub(crate) async fn act(&mut self, event: &Event) {
        self.request += 1;
        let id = format!("request{}", self.request);
        match *event {
            Event::Append { rows, together } => {
                let appends = (0..together).map(|source| {
                    let first = self.next[source];
                    self.next[source] += rows;
                    let rows = made(SOURCES[source], first..first + rows, self.request);
                    let (table, extra) = (Arc::clone(&self.table), self.extra);
                    let producer = producer(&format!("{id}/{source}"), 1);
                    async move {
                        let staged = table.stage(frame(&rows, extra)).await.unwrap();
                        table.append(Append { producer, rows: staged, books: counted(rows.len()) }, None).await.unwrap()
                    }
                });
                futures::future::join_all(appends).await;
            }
            Event::Replace { source, first, rows, whole, settles } => {
                let rows = made(SOURCES[source], first..first + rows, self.request);
                self.next[source] = self.next[source].max(first + rows.len() as i64);
                let staged = self.table.stage(frame(&rows, self.extra)).await.unwrap();
                let replacement = Replacement {
                    source: SOURCES[source].to_owned(),
                    positions: (!whole).then(|| first..=first + rows.len() as i64 - 1),
                    producer: producer(&id, 1),
                    rows: staged,
                    books: counted(rows.len()),
                };
                if settles {
                    let raises = vec![producer("settled", self.request as i64)];
                    self.table.replace_source_after(replacement, None, raises).await.unwrap();
                } else {
                    self.table.replace_source(replacement).await.unwrap();
                }
            }
            Event::Upsert { rows, by_value } => {
                let first = self.next[2];
                self.next[2] += rows;
                // A key is never null.
                let mut rows = made(SOURCES[2], first..first + rows, self.request);
                rows.iter_mut().for_each(|row| row.2 = Some(format!("k{}", row.1 % 4)));
                self.table.refresh().await.unwrap();
                let upsert = Upsert {
                    producer: producer(&id, 1),
                    after: None,
                    frame: frame(&rows, self.extra),
                    keys: vec!["key".to_owned()],
                    order_by: by_value.then(|| "value".to_owned()),
                    books: counted(rows.len()),
                };
                self.table.upsert(upsert).await.unwrap();
            }
            Event::Delete { key } => {
                let keys = df!("key" => [format!("k{key}")]).unwrap();
                self.table.delete_where(Deletion { producer: producer(&id, 1), keys }).await.unwrap();
            }
            Event::Compact => _ = self.table.compact(CompactOptions::default(), None).await.unwrap(),
            Event::Checkpoint => _ = self.table.checkpoint().await.unwrap(),
            Event::Column => {
                self.extra = (self.extra + 1).min(4);
                self.table = self.site.open(self.partitioned, self.extra).await;
            }
            Event::Load { .. } => {}
        }
        self.look().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_operation_in_any_chunking_is_the_full_read(
        partitioned: bool,
        events in prop::collection::vec(event(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(play(partitioned, &events));
    }
}

async fn play(partitioned: bool, events: &[Event]) {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let connection = connect(&folder);
    let load = load_of("orders", "orders");
    let site = Site::new();
    let mut world = World::new(site, partitioned).await;
    let mut reloads = 0;
    let finish = [Event::Load { commits: 3, files: usize::MAX }].into_iter().cycle().take(40);
    for event in events.iter().cloned().chain(finish) {
        let Event::Load { commits, files } = event else {
            world.act(&event).await;
            continue;
        };
        let limits = Limits { commits, files, ..Limits::default() };
        let Some((planned, report)) = tick(&world.table, warehouse.as_ref(), &load, limits).await.unwrap() else {
            continue;
        };
        if let Plan::Reload { reason, .. } = planned {
            assert_eq!((reason, reloads), (ReloadReason::FirstLoad, 0));
            reloads += 1;
        }
        // Commits that share one call of the lake (a column and its rows) have no version of their own in the model.
        if let Some(expected) = world.versions.get(&report.version) {
            assert_eq!(&held(&connection), expected, "version {} of {:?}", report.version, events);
        }
    }
    let (version, expected) = rows(&world.table).await;
    assert_eq!(warehouse.watermark(&load).await.unwrap().unwrap().version, version);
    assert_eq!(held(&connection), expected);
}

fn held(connection: &rusqlite::Connection) -> Vec<Row> {
    let mut statement = connection.prepare("SELECT _source, _source_position, key, value FROM orders").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let mut rows: Vec<Row> = rows.map(Result::unwrap).collect();
    rows.sort();
    rows
}

async fn append(table: &Arc<Table>, id: &str, rows: &[Row]) {
    let staged = table.stage(frame(rows, 0)).await.unwrap();
    let append = Append { producer: producer(id, 1), rows: staged, books: counted(rows.len()) };
    table.append(append, None).await.unwrap();
}

fn row(source: &str, position: i64, key: &str, value: &str) -> Row {
    (source.to_owned(), position, Some(key.to_owned()), Some(value.to_owned()))
}

/// A key that is there twice, once older and once newer than what comes: the older row goes and nothing comes in.
#[tokio::test]
async fn an_upsert_that_takes_a_row_and_brings_none_is_told_by_its_files() {
    let folder = TempDir::new().unwrap();
    let (warehouse, load) = (open(&folder).await, load_of("orders", "orders"));
    let connection = connect(&folder);
    let table = Site::new().open(false, 0).await;
    append(&table, "a", &[row("a", 1, "k", "1"), row("a", 2, "k", "9"), row("a", 3, "other", "5")]).await;
    tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap();
    let upsert = |id: &str, rows: &[Row]| Upsert {
        producer: producer(id, 1),
        after: None,
        frame: frame(rows, 0),
        keys: vec!["key".to_owned()],
        order_by: Some("value".to_owned()),
        books: counted(rows.len()),
    };
    table.upsert(upsert("b", &[row("b", 1, "k", "5")])).await.unwrap();
    let (planned, report) = tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap().unwrap();
    assert!(steps(&planned).iter().any(|step| matches!(step, Step::Rewrite { .. })), "{planned:?}");
    assert_eq!((report.rows_deleted, report.rows_inserted), (1, 0));
    assert_eq!(held(&connection), [row("a", 2, "k", "9"), row("a", 3, "other", "5")]);
    // The usual one is by key, and reads no file that went.
    table.upsert(upsert("c", &[row("c", 1, "k", "99"), row("c", 2, "new", "1")])).await.unwrap();
    let (planned, report) = tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap().unwrap();
    assert!(steps(&planned).iter().any(|step| matches!(step, Step::Upsert { .. })), "{planned:?}");
    assert_eq!((report.rows_deleted, report.rows_inserted), (1, 2));
    assert_eq!(held(&connection), rows(&table).await.1);
}

/// Erasure empties the old files early: what it took out is then told by the snapshot.
#[tokio::test]
async fn a_deletion_whose_files_are_vacuumed_is_a_reload_with_that_reason() {
    let folder = TempDir::new().unwrap();
    let (warehouse, load) = (open(&folder).await, load_of("orders", "orders"));
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let table = Site::over(Arc::clone(&store)).open(false, 0).await;
    append(&table, "a", &[row("a", 1, "k", "1"), row("a", 2, "other", "2")]).await;
    tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap();
    let before: BTreeSet<_> = table.snapshot().await.unwrap().files.into_iter().map(|file| file.object).collect();
    let keys = df!("key" => ["k"]).unwrap();
    table.delete_where(Deletion { producer: producer("erase", 1), keys }).await.unwrap();
    for object in &before {
        object_store::ObjectStoreExt::delete(&store, object).await.unwrap();
    }
    let (planned, report) = tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap().unwrap();
    let Plan::Reload { reason: ReloadReason::FileMissing { .. }, .. } = planned else { panic!("{planned:?}") };
    assert!(report.reloaded);
    assert_eq!(held(&connect(&folder)), [row("a", 2, "other", "2")]);
}

/// SQLite's own name for a row's number is a column's here, with the same value in each row.
#[tokio::test]
async fn a_column_that_is_called_rowid_takes_no_other_rows_along() {
    let folder = TempDir::new().unwrap();
    let (warehouse, load) = (open(&folder).await, load_of("orders", "orders"));
    let site = Site::new();
    let mut definition = super::tables::definition(false, 0);
    for name in ["rowid", "_rowid_"] {
        let column = weir_contract::TableColumn { name: name.to_owned(), ..definition.columns[2].clone() };
        definition.columns.push(weir_contract::TableColumn { nullable: true, ..column });
    }
    let table = site.table(&definition).await;
    let numbered = |rows: &[Row]| {
        let mut frame = frame(rows, 0);
        for name in ["rowid", "_rowid_"] {
            let ones = polars::prelude::Column::new(name.into(), vec![1_i64; rows.len()]);
            frame.with_column(ones).unwrap();
        }
        frame
    };
    let held_rows = [row("a", 1, "k", "1"), row("a", 2, "l", "2"), row("a", 3, "m", "3")];
    let staged = table.stage(numbered(&held_rows)).await.unwrap();
    table.append(Append { producer: producer("a", 1), rows: staged, books: counted(3) }, None).await.unwrap();
    tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap();
    let upsert = Upsert {
        producer: producer("b", 1),
        after: None,
        frame: numbered(&[row("b", 1, "k", "9")]),
        keys: vec!["key".to_owned()],
        order_by: None,
        books: counted(1),
    };
    table.upsert(upsert).await.unwrap();
    let keys = df!("key" => ["l"]).unwrap();
    table.delete_where(Deletion { producer: producer("c", 1), keys }).await.unwrap();
    let (planned, report) = tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap().unwrap();
    assert!(matches!(planned, Plan::Load { .. }), "{planned:?}");
    assert_eq!((report.rows_deleted, report.rows_inserted), (2, 1));
    assert_eq!(held(&connect(&folder)), [row("a", 3, "m", "3"), row("b", 1, "k", "9")]);
}

/// The last row goes, and later there are rows again.
#[tokio::test]
async fn a_deletion_that_empties_the_table_leaves_none() {
    let folder = TempDir::new().unwrap();
    let (warehouse, load) = (open(&folder).await, load_of("orders", "orders"));
    let table = Site::new().open(false, 0).await;
    append(&table, "a", &[row("a", 1, "k", "1"), row("a", 2, "k", "2")]).await;
    tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap();
    let keys = df!("key" => ["k"]).unwrap();
    table.delete_where(Deletion { producer: producer("erase", 1), keys }).await.unwrap();
    let (planned, report) = tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap().unwrap();
    assert!(matches!(planned, Plan::Load { .. }), "{planned:?}");
    assert_eq!((report.rows_deleted, held(&connect(&folder))), (2, vec![]));
    append(&table, "b", &[row("a", 1, "k", "1")]).await;
    tick(&table, warehouse.as_ref(), &load, Limits::default()).await.unwrap();
    assert_eq!(held(&connect(&folder)), [row("a", 1, "k", "1")]);
}

fn steps(plan: &Plan) -> &[Step] {
    match plan {
        Plan::Load { steps, .. } => steps,
        other => panic!("{other:?}"),
    }
}
