//! What a pool holds after every operation of the lake is what a full read gives.

use std::sync::Arc;

use polars::prelude::df;
use weir_contract::LongText;
use weir_lake::{Append, CompactOptions, Deletion, Replacement, Table, Upsert};
use weir_warehouse::tsql::{Flavor, Pool};
use weir_warehouse::{
    Error, ErrorKind, Limits, Physical, Plan, ReloadReason, Step, TableLoad, Verified, Warehouse, Watermark,
};

use super::super::tables::{Reader, Row, Site, counted, frame, producer, rows, tick};
use super::engine::{Engine, ROOT};
use super::stand_in::renames;

pub(super) fn target(run: usize) -> TableLoad {
    let physical = Physical { files: Some(ROOT.to_owned()), ..Physical::default() };
    TableLoad {
        source_table: "orders".to_owned(),
        table: "orders".to_owned(),
        run_id: format!("run-{run}"),
        physical,
        time_limit: None,
    }
}

pub(super) fn row(source: &str, position: i64, key: &str, value: &str) -> Row {
    (source.to_owned(), position, Some(key.to_owned()), Some(value.to_owned()))
}

pub(super) async fn append(table: &Arc<Table>, id: &str, rows: &[Row], extra: usize) {
    let staged = table.stage(frame(rows, extra)).await.unwrap();
    let append = Append { producer: producer(id, 1), rows: staged, books: counted(rows.len()) };
    table.append(append, None).await.unwrap();
}

pub(super) async fn replace(table: &Arc<Table>, id: &str, source: &str, positions: Option<(i64, i64)>, rows: &[Row]) {
    let replacement = Replacement {
        source: source.to_owned(),
        positions: positions.map(|(first, last)| first..=last),
        producer: producer(id, 1),
        rows: table.stage(frame(rows, 0)).await.unwrap(),
        books: counted(rows.len()),
    };
    table.replace_source(replacement).await.unwrap();
}

pub(super) async fn upsert(table: &Arc<Table>, id: &str, rows: &[Row]) {
    let upsert = Upsert {
        producer: producer(id, 1),
        after: None,
        frame: frame(rows, 0),
        keys: vec!["key".to_owned()],
        order_by: Some("value".to_owned()),
        books: counted(rows.len()),
    };
    table.upsert(upsert).await.unwrap();
}

pub(super) async fn erase(table: &Arc<Table>, id: &str, key: &str) {
    let keys = df!("key" => [key]).unwrap();
    table.delete_where(Deletion { producer: producer(id, 1), keys }).await.unwrap();
}

/// The target's rows, sorted.
pub(super) async fn held(engine: &Engine) -> Vec<Row> {
    let found = engine.rows("SELECT [_source], [_source_position], [key], [value] FROM [dbo].[orders]").await;
    let mut rows: Vec<Row> = found
        .into_iter()
        .map(|mut row| {
            let (value, key) = (row.pop().unwrap(), row.pop().unwrap());
            (row[0].clone().unwrap(), row[1].as_ref().unwrap().parse().unwrap(), key, value)
        })
        .collect();
    rows.sort();
    rows
}

pub(super) async fn verified(table: &Arc<Table>, pool: &Pool, load: &TableLoad) -> Verified {
    let snapshot = table.snapshot().await.unwrap();
    let reader = Reader { table, files: snapshot.files };
    let files = weir_warehouse::FileReader::snapshot_files(&reader, 0).await.unwrap();
    pool.verify(load, &snapshot.schema_string, &files, &reader).await.unwrap()
}

pub(super) async fn tables(engine: &Engine) -> Vec<String> {
    let found =
        engine.rows("SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA IN (N'dbo', N'weir')").await;
    let mut names: Vec<_> = found.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    names.sort();
    names
}

/// No table is there but the target and the loader's own, no file counts as loaded but the target's.
pub(super) async fn settled(engine: &Engine) {
    assert_eq!(tables(engine).await, ["loaded_file_orders", "orders", "watermark_orders"], "tables are left over");
    let current = engine.rows("SELECT [generation] FROM [weir].[watermark_orders]").await[0][0].clone().unwrap();
    let files = format!("SELECT [path] FROM [weir].[loaded_file_orders] WHERE [generation] <> N'{current}'");
    assert_eq!(engine.rows(&files).await, Vec::<Vec<_>>::new(), "files of no table");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_arrives() {
    for flavor in [Flavor::Dedicated, Flavor::Fabric] {
        for partitioned in [false, true] {
            operations(&Engine::of(flavor).await, partitioned).await;
        }
    }
}

pub(super) async fn operations(engine: &Arc<Engine>, partitioned: bool) {
    let pool = engine.pool();
    let site = engine.site();
    let table = site.open(partitioned, 0).await;
    engine.reads(&table);
    let hostile = "it's [b] \"x\"; --";
    append(&table, "1", &[row("a", 1, "k1", "1"), row("a", 2, "k2", "2"), row("A", 1, "k3", "3")], 0).await;
    append(&table, "2", &[row(hostile, 1, "k4", "it's"), row("a ", 1, "k5", "5")], 0).await;
    let (planned, report) = tick(&table, &pool, &target(1), Limits::default()).await.unwrap().unwrap();
    assert!(matches!(planned, Plan::Reload { reason: ReloadReason::FirstLoad, .. }));
    assert_eq!((report.rows_inserted, report.reloaded), (5, true));
    assert_eq!(held(engine).await, rows(&table).await.1);
    assert_eq!(pool.row_count(&target(1)).await.unwrap(), 5);

    append(&table, "3", &[row("b", 1, "k6", "6"), row("b", 2, "k7", "7")], 0).await;
    replace(&table, "4", hostile, None, &[row(hostile, 1, "k8", "8"), row(hostile, 2, "k9", "9")]).await;
    replace(&table, "5", "b", Some((2, 3)), &[row("b", 3, "k10", "10")]).await;
    // Neither `A` nor `a ` goes with it.
    replace(&table, "5a", "a", None, &[row("a", 9, "K6", "9")]).await;
    upsert(&table, "6", &[row("up", 1, "k1", "9"), row("up", 2, "new", "1")]).await;
    upsert(&table, "7", &[row("up", 3, "k1", "0")]).await;
    erase(&table, "8", "k2").await;
    table.compact(CompactOptions::default(), None).await.unwrap();
    append(&table, "9", &[row("c", 1, "k11", "11")], 0).await;
    // Cut anywhere; each plan is a transaction.
    let mut run = 2;
    while let Some((planned, _)) =
        tick(&table, &pool, &target(run), Limits { commits: 2, ..Limits::default() }).await.unwrap()
    {
        assert!(matches!(planned, Plan::Load { .. }), "{planned:?}");
        run += 1;
    }
    assert!(run > 4);
    assert_eq!(held(engine).await, rows(&table).await.1);

    let wider = site.open(partitioned, 2).await;
    append(&wider, "10", &[row("d", 1, "k12", "12")], 2).await;
    engine.reads(&wider);
    tick(&wider, &pool, &target(90), Limits::default()).await.unwrap().unwrap();
    assert_eq!(held(engine).await, rows(&wider).await.1);
    let extra = engine.rows("SELECT [extra1] FROM [dbo].[orders] WHERE [_source] = N'd'").await;
    assert_eq!(extra, [[Some("7".to_owned())]]);
    assert!(tick(&wider, &pool, &target(91), Limits::default()).await.unwrap().is_none());
    settled(engine).await;
    // All at once: files that have the new columns beside files that have not.
    engine.execute("DROP TABLE [dbo].[orders]").await;
    tick(&wider, &pool, &target(92), Limits::default()).await.unwrap().unwrap();
    assert_eq!(held(engine).await, rows(&wider).await.1);
    settled(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_table_takes_the_old_ones_place() {
    for flavor in [Flavor::Dedicated, Flavor::Fabric] {
        recreated(&Engine::of(flavor).await).await;
    }
}

pub(super) async fn recreated(engine: &Arc<Engine>) {
    let pool = engine.pool();
    let table = engine.site().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k", "1")], 0).await;
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    let table = engine.site().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("b", 1, "k", "2")], 0).await;
    let (planned, _) = tick(&table, &pool, &target(2), Limits::default()).await.unwrap().unwrap();
    assert!(matches!(planned, Plan::Reload { reason: ReloadReason::TableRecreated, .. }));
    assert_eq!(held(engine).await, [row("b", 1, "k", "2")]);
    settled(engine).await;
    // The old files are forgotten.
    let noted =
        engine.rows("SELECT [path] FROM [weir].[loaded_file_orders]").await.into_iter().map(|mut row| row.remove(0));
    let files = table.snapshot().await.unwrap().files;
    assert_eq!(noted.collect::<Vec<_>>(), files.iter().map(|file| Some(file.path())).collect::<Vec<_>>());
    // In one transaction: nobody is without a table, at any time.
    assert!(
        !engine
            .world
            .statements
            .lock()
            .unwrap()
            .iter()
            .any(|sql| renames(sql).is_some_and(|(from, _)| from == "orders"))
    );
    // With another column it is another table.
    let table = engine.site().open(false, 1).await;
    engine.reads(&table);
    append(&table, "1", &[row("c", 1, "k", "2")], 1).await;
    tick(&table, &pool, &target(3), Limits::default()).await.unwrap();
    let table = engine.site().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("d", 1, "k", "2")], 0).await;
    tick(&table, &pool, &target(4), Limits::default()).await.unwrap();
    assert_eq!(held(engine).await, [row("d", 1, "k", "2")]);
    assert!(
        engine
            .world
            .statements
            .lock()
            .unwrap()
            .iter()
            .any(|sql| renames(sql).is_some_and(|(from, _)| from == "orders"))
    );
    settled(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_texts_are_refused_by_column_or_cut_but_never_keys() {
    let engine = Engine::start().await;
    let pool = engine.pool();
    let table = Site::new().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k", "short"), row("a", 2, "k", "much longer")], 0).await;
    let with = |run, long_text, column: &str| {
        let mut load = target(run);
        load.physical.long_text = long_text;
        load.physical.text_lengths = vec![(column.to_owned(), 5)];
        load
    };
    let error = tick(&table, &pool, &with(1, LongText::Fail, "value"), Limits::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::TooLong { rows: 1, .. }) && error.kind() == ErrorKind::Config, "{text}");
    assert!(text.contains("`value`") && text.contains("text_lengths") && !text.contains("longer "), "{text}");
    assert!(
        engine.rows("SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = N'dbo'").await.is_empty()
    );
    tick(&table, &pool, &with(2, LongText::Truncate, "value"), Limits::default()).await.unwrap();
    assert_eq!(held(&engine).await, [row("a", 1, "k", "short"), row("a", 2, "k", "much ")]);
    // As a pool counts: an emoji is two. Half of one is never kept.
    append(&table, "e", &[row("e", 1, "k", "abcd😀"), row("e", 2, "k", "abc😀"), row("e", 3, "k", "éééééé")], 0).await;
    let error = tick(&table, &pool, &with(4, LongText::Fail, "value"), Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { rows: 2, .. }), "{error}");
    let load = with(5, LongText::Truncate, "value");
    tick(&table, &pool, &load, Limits::default()).await.unwrap();
    let cut: Vec<_> = held(&engine).await.into_iter().filter(|row| row.0 == "e").filter_map(|row| row.3).collect();
    assert_eq!(cut, ["abcd", "abc😀", "ééééé"]);
    assert!(verified(&table, &pool, &load).await.is_equal(), "what is cut as it should be is no difference");
    upsert(&table, "2", &[row("b", 1, "a long key", "1")]).await;
    let error = tick(&table, &pool, &with(3, LongText::Truncate, "key"), Limits::default()).await.unwrap_err();
    assert!(matches!(&error, Error::TooLong { column, .. } if column == "key"), "{error}");
}

/// Fabric counts bytes: an emoji has four.
#[tokio::test(flavor = "multi_thread")]
async fn long_texts_in_fabric() {
    let engine = Engine::of(Flavor::Fabric).await;
    let pool = engine.pool();
    let table = Site::new().open(false, 0).await;
    engine.reads(&table);
    append(&table, "e", &[row("e", 1, "k", "ab😀"), row("e", 2, "k", "a😀"), row("e", 3, "k", "ééé")], 0).await;
    let mut load = target(1);
    load.physical.text_lengths = vec![("value".to_owned(), 5)];
    let error = tick(&table, &pool, &load, Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { rows: 2, .. }), "{error}");
    load.physical.long_text = LongText::Truncate;
    tick(&table, &pool, &load, Limits::default()).await.unwrap();
    let cut: Vec<_> = held(&engine).await.into_iter().filter_map(|row| row.3).collect();
    assert_eq!(cut, ["ab", "a😀", "éé"]);
    assert!(verified(&table, &pool, &load).await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_somebody_else_is_not_touched() {
    let engine = Engine::start().await;
    let pool = engine.pool();
    let table = Site::new().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k", "1")], 0).await;
    engine.execute("CREATE TABLE [dbo].[orders] ([theirs] int NULL)").await;
    let error = tick(&table, &pool, &target(1), Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::TableTaken { .. }), "{error}");
}

/// A restore, or a writer that did not see its own commit: the same file comes as new data once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_loaded_is_not_loaded_again() {
    let engine = Engine::start().await;
    let pool = engine.pool();
    let table = Site::new().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k", "1")], 0).await;
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    append(&table, "2", &[row("b", 1, "k", "1")], 0).await;
    tick(&table, &pool, &target(2), Limits::default()).await.unwrap();
    let reader = Reader { table: &table, files: table.snapshot().await.unwrap().files };
    let files = weir_warehouse::FileReader::snapshot_files(&reader, 0).await.unwrap();
    let from = pool.watermark(&target(3)).await.unwrap().unwrap();
    let to = Watermark { version: from.version + 1, ..from.clone() };
    let again = Plan::Load { from, to: to.clone(), steps: vec![Step::Append { files: files.clone() }] };
    assert_eq!(pool.apply(&target(3), &again, &reader).await.unwrap().rows_inserted, 0);
    assert_eq!(held(&engine).await, rows(&table).await.1);
    // What is forgotten may come again.
    let paths = files.iter().map(|file| file.path.clone()).collect();
    let next = Watermark { version: to.version + 1, ..to.clone() };
    let forgotten = Plan::Load { from: to, to: next, steps: vec![Step::Forget { paths }, Step::Append { files }] };
    assert_eq!(pool.apply(&target(4), &forgotten, &reader).await.unwrap().rows_inserted, 2);
    assert_eq!(engine.rows("SELECT [path] FROM [weir].[loaded_file_orders]").await.len(), 2, "each file is noted once");
}
