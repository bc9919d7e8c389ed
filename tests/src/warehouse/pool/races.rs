//! Loaders that meet, where it matters.

use std::sync::Arc;

use weir_lake::Table;
use weir_warehouse::tsql::Flavor;
use weir_warehouse::{Error, Limits, LoadReport, Plan, Warehouse};

use super::super::tables::{rows, tick};
use super::engine::Engine;
use super::loads::{append, held, row, settled, target};

type Ticked = Result<Option<(Plan, LoadReport)>, Error>;

/// A load of its own.
fn starts(engine: &Arc<Engine>, table: &Arc<Table>, run: usize) -> tokio::task::JoinHandle<Ticked> {
    let (pool, table) = (engine.pool(), Arc::clone(table));
    tokio::spawn(async move { tick(&table, &pool, &target(run), Limits::default()).await })
}

/// Two rows to begin with.
async fn first(engine: &Arc<Engine>) -> Arc<Table> {
    let table = engine.site().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k1", "1"), row("a", 2, "k2", "2")], 0).await;
    table
}

/// What the gate in `engine.rs` is there for. If this fails the engine has learnt to do without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_the_engine_undoes_what_others_did() {
    let engine = Engine::start().await;
    let connect = || async { engine.straight().await };
    let (mut one, mut two) = (connect().await, connect().await);
    one.execute("", "CREATE TABLE [dbo].[theirs] ([a] int NULL)").await.unwrap();
    one.execute("", "BEGIN TRANSACTION").await.unwrap();
    one.execute("", "INSERT INTO [dbo].[theirs] ([a]) SELECT 1").await.unwrap();
    two.execute("", "CREATE TABLE [dbo].[mine] ([a] int NULL)").await.unwrap();
    assert_eq!(two.rows("", "SELECT COUNT(*) FROM [dbo].[mine]").await.unwrap().len(), 1);
    one.execute("", "COMMIT TRANSACTION").await.unwrap();
    let gone = two.rows("", "SELECT COUNT(*) FROM [dbo].[mine]").await.unwrap_err();
    assert!(matches!(gone, Error::Server { number: 208, .. }), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_loaders_one_wins_and_nothing_is_doubled() {
    two_loaders(&Engine::start().await, 20).await;
}

pub(super) async fn two_loaders(engine: &Arc<Engine>, rounds: usize) {
    let table = first(engine).await;
    tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
    for round in 0..rounds {
        append(&table, &format!("r{round}"), &[row(&format!("r{round}"), 1, "k9", "9")], 0).await;
        let (left, right) = (starts(engine, &table, 10 + 2 * round), starts(engine, &table, 11 + 2 * round));
        for outcome in [left.await.unwrap(), right.await.unwrap()] {
            if let Err(error) = outcome {
                assert!(matches!(error, Error::LostRace { .. }), "{error}");
            }
        }
        assert_eq!(held(engine).await, rows(&table).await.1, "round {round}");
    }
    settled(engine).await;
}

/// The second is as far as it can come before the first has committed.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_finds_the_watermark_moved() {
    second(&Engine::start().await).await;
}

pub(super) async fn second(engine: &Arc<Engine>) {
    let table = first(engine).await;
    tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
    append(&table, "2", &[row("b", 1, "k3", "3")], 0).await;
    for (round, in_place) in [(0, false), (1, true)] {
        let table = if in_place { engine.site().open(false, 0).await } else { Arc::clone(&table) };
        engine.reads(&table);
        append(&table, "3", &[row("c", 1, "k4", "4")], 0).await;
        let (reached, go) = engine.hold("BEGIN TRANSACTION", 0);
        let late = starts(engine, &table, 10 + round);
        reached.notified().await;
        tick(&table, &engine.pool(), &target(20 + round), Limits::default()).await.unwrap();
        go.notify_one();
        let error = late.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::LostRace { .. }), "{error}");
        assert_eq!(held(engine).await, rows(&table).await.1);
        settled(engine).await;
    }
}

/// An old table with a column more, and the new one that has to take its place.
async fn swap(engine: &Arc<Engine>) -> Arc<Table> {
    let old = engine.site().open(false, 1).await;
    engine.reads(&old);
    append(&old, "1", &[row("a", 1, "k1", "1")], 1).await;
    tick(&old, &engine.pool(), &target(1), Limits::default()).await.unwrap();
    let table = engine.site().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("b", 1, "k1", "1"), row("b", 2, "k2", "2")], 0).await;
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reloads_one_table_takes_the_place() {
    for round in 0..12 {
        let flavor = if round % 2 == 0 { Flavor::Dedicated } else { Flavor::Fabric };
        two_reloads(&Engine::of(flavor).await, round).await;
    }
}

pub(super) async fn two_reloads(engine: &Arc<Engine>, round: usize) {
    let table = swap(engine).await;
    let (left, right) = (starts(engine, &table, 10), starts(engine, &table, 11));
    for outcome in [left.await.unwrap(), right.await.unwrap()] {
        if let Err(error) = outcome {
            assert!(matches!(error, Error::LostRace { .. }), "round {round}: {error}");
        }
    }
    assert_eq!(held(engine).await, rows(&table).await.1, "round {round}");
    settled(engine).await;
}

/// Two reloads are ready, one is noted: the other must not note itself over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_noted_reload_is_not_noted_over() {
    let engine = Engine::start().await;
    let table = swap(&engine).await;
    let (second_is_ready, second_goes) = engine.hold("INSERT INTO [weir].[loaded_file_orders]", 0);
    let second = starts(&engine, &table, 10);
    second_is_ready.notified().await;
    let (first_is_noted, first_goes) = engine.hold("RENAME OBJECT [dbo].[orders] TO", 0);
    let first = starts(&engine, &table, 11);
    first_is_noted.notified().await;
    second_goes.notify_one();
    let error = second.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::LostRace { .. }), "{error}");
    first_goes.notify_one();
    first.await.unwrap().unwrap();
    assert_eq!(held(&engine).await, rows(&table).await.1);
    settled(&engine).await;
}

/// A reload that is ready when others have come further: it must not bring an older state back.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_was_overtaken_is_given_up() {
    let engine = Engine::start().await;
    let table = swap(&engine).await;
    let (reached, go) = engine.hold("INSERT INTO [weir].[loaded_file_orders]", 0);
    let late = starts(&engine, &table, 10);
    reached.notified().await;
    tick(&table, &engine.pool(), &target(11), Limits::default()).await.unwrap();
    append(&table, "2", &[row("c", 1, "k3", "3")], 0).await;
    tick(&table, &engine.pool(), &target(12), Limits::default()).await.unwrap();
    go.notify_one();
    let error = late.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::LostRace { .. }), "{error}");
    assert_eq!(held(&engine).await, rows(&table).await.1);
    settled(&engine).await;
}

/// Whoever has noted a reload is late, and another loader, which found it noted, has brought it to its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_somebody_else_has_finished_is_finished() {
    // Where the late one stands: before it reads whether it has noted, before either of its renames, before it settles.
    let places = [
        ("SELECT [target]", 3),
        ("RENAME OBJECT [dbo].[orders] TO", 0),
        ("RENAME OBJECT [dbo].[weir_new_", 0),
        ("UPDATE [weir].[watermark_orders] SET [table_id] = [pending_table_id]", 0),
    ];
    for (begins, skip) in places {
        let engine = Engine::start().await;
        let table = swap(&engine).await;
        let (reached, go) = engine.hold(begins, skip);
        let late = starts(&engine, &table, 10);
        reached.notified().await;
        let pool = engine.pool();
        pool.watermark(&target(11)).await.unwrap();
        append(&table, "2", &[row("c", 1, "k3", "3")], 0).await;
        tick(&table, &pool, &target(12), Limits::default()).await.unwrap();
        go.notify_one();
        match late.await.unwrap() {
            Ok(_) | Err(Error::LostRace { .. }) => {}
            Err(error) => panic!("{begins}: {error}"),
        }
        assert_eq!(held(&engine).await, rows(&table).await.1, "{begins}");
        assert!(tick(&table, &pool, &target(13), Limits::default()).await.unwrap().is_none(), "{begins}");
        settled(&engine).await;
        // The files still count as loaded: a row that is there does not come a second time.
        let noted = engine.rows("SELECT [path] FROM [weir].[loaded_file_orders]").await.len();
        assert_eq!(noted, table.snapshot().await.unwrap().files.len(), "{begins}");
    }
}
