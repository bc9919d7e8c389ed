//! A loader that dies at any statement, loses its connection anywhere, or races another: nothing lost, nothing doubled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_lake::Table;
use weir_warehouse::{Error, ErrorKind, Limits, Warehouse};

use super::super::tables::{Site, rows, tick};
use super::engine::{Break, Engine};
use super::loads::{append, erase, held, replace, row, target, upsert};

pub(super) async fn site() -> (Arc<Engine>, Arc<Table>) {
    let engine = Engine::start().await;
    let table = Site::new().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k1", "1"), row("a", 2, "k2", "2")], 0).await;
    (engine, table)
}

pub(super) async fn changes(table: &Arc<Table>) {
    append(table, "2", &[row("b", 1, "k3", "3")], 0).await;
    replace(table, "3", "a", None, &[row("a", 1, "k4", "4")]).await;
    upsert(table, "4", &[row("c", 1, "k4", "9")]).await;
    erase(table, "5", "k3").await;
    append(table, "6", &[row("d", 1, "k5", "5")], 0).await;
}

/// The connection breaks at one statement after the other, before it arrives or before its answer does, until a load
/// gets through. Whatever happened, the table is as before or as after, and its watermark says which.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_at_any_statement_of_a_load() {
    for after in [false, true] {
        for at in 0.. {
            let (engine, table) = site().await;
            let pool = engine.pool();
            tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
            let before = rows(&table).await;
            changes(&table).await;
            let now = rows(&table).await;
            *engine.world.fault.lock().unwrap() = Some(if after { Break::After(at) } else { Break::Before(at) });
            // Another process, which knows nothing of the pool yet.
            let outcome = tick(&table, &engine.pool(), &target(2), Limits::default()).await;
            let met = engine.world.fault.lock().unwrap().take().is_none();
            let version = pool.watermark(&target(3)).await.unwrap().unwrap().version;
            let expected = if version == now.0 { &now.1 } else { &before.1 };
            assert!(version == now.0 || version == before.0);
            assert_eq!(&held(&engine).await, expected, "at {at}, after {after}");
            match outcome {
                Ok(Some((_, report))) => assert_eq!(report.version, version),
                Ok(None) => panic!("there was something to load"),
                Err(error) => assert_eq!((error.kind(), version), (ErrorKind::Unavailable, before.0), "{error}"),
            }
            tick(&table, &pool, &target(4), Limits::default()).await.unwrap();
            assert_eq!(held(&engine).await, now.1, "loaded again, at {at}, after {after}");
            if !met {
                assert!(at > 40, "a load is more than {at} statements");
                break;
            }
        }
    }
}

/// The same for a load of the whole table: in place, and into a new table, whose swap is no transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_at_any_statement_of_a_reload() {
    for (in_place, after) in [(true, false), (true, true), (false, false), (false, true)] {
        for at in 0.. {
            let engine = Engine::start().await;
            let pool = engine.pool();
            let extra = usize::from(!in_place);
            let old = Site::new().open(false, extra).await;
            engine.reads(&old);
            append(&old, "1", &[row("a", 1, "k1", "1"), row("a", 2, "k2", "2")], extra).await;
            tick(&old, &pool, &target(1), Limits::default()).await.unwrap();
            let before = held(&engine).await;
            // The lake's table is made anew.
            let table = Site::new().open(false, 0).await;
            engine.reads(&table);
            changes(&table).await;
            let (version, now) = rows(&table).await;
            *engine.world.fault.lock().unwrap() = Some(if after { Break::After(at) } else { Break::Before(at) });
            let _ = tick(&table, &engine.pool(), &target(2), Limits::default()).await;
            let met = engine.world.fault.lock().unwrap().take().is_none();
            if in_place {
                let seen = held(&engine).await;
                assert!(seen == before || seen == now, "at {at}, after {after}: {seen:?}");
            }
            // Whoever looks next finishes what was noted, or starts anew.
            tick(&table, &pool, &target(3), Limits::default()).await.unwrap();
            assert_eq!(held(&engine).await, now, "at {at}, after {after}");
            assert_eq!(pool.watermark(&target(4)).await.unwrap().unwrap().version, version);
            append(&table, "7", &[row("e", 1, "k6", "6")], 0).await;
            tick(&table, &pool, &target(5), Limits::default()).await.unwrap();
            assert_eq!(held(&engine).await, rows(&table).await.1);
            if !met {
                assert!(at > 20, "a reload is more than {at} statements");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_the_pool_refuses_changes_nothing_and_leaves_nothing() {
    let (engine, table) = site().await;
    let pool = engine.pool();
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    let before = held(&engine).await;
    append(&table, "2", &[row("b", 1, "k3", "3")], 0).await;
    engine.world.refuse_copy.store(true, Ordering::SeqCst);
    let error = tick(&table, &pool, &target(2), Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::Server { number: 105_208, .. }), "{error}");
    assert_eq!(held(&engine).await, before);
    super::loads::settled(&engine).await;
    tick(&table, &pool, &target(3), Limits::default()).await.unwrap();
    assert_eq!(held(&engine).await, rows(&table).await.1);
}

/// What a pool tells when it has no room, is being scaled or moved, or has chosen a victim: nothing has changed, and the
/// next run gets through.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_has_no_time_just_now() {
    let statements =
        ["COPY INTO", "BEGIN", "UPDATE [weir].[watermark_orders]", "INSERT INTO [dbo]", "COMMIT", "SELECT COUNT_BIG"];
    for number in [1204, 1205, 1222, 4060, 10_928, 10_929, 40_197, 40_501, 40_613, 42_108, 42_109, 42_119, 49_918] {
        let (engine, table) = site().await;
        tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
        for (round, begins) in statements.into_iter().enumerate() {
            append(&table, begins, &[row(begins, 1, "k3", "3")], 0).await;
            let before = held(&engine).await;
            engine.world.errors.lock().unwrap().push((begins, number));
            let error = tick(&table, &engine.pool(), &target(10 + round), Limits::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{number} at {begins}: {error}");
            assert_eq!(held(&engine).await, before, "{number} at {begins}");
            tick(&table, &engine.pool(), &target(20 + round), Limits::default()).await.unwrap();
            assert_eq!(held(&engine).await, rows(&table).await.1, "{number} at {begins}");
        }
        super::loads::settled(&engine).await;
    }
}

/// Fabric lets nobody wait for a change of the same table: who is second is refused, and begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_of_two_transactions_is_a_lost_race() {
    for number in [24_556, 24_706] {
        let (engine, table) = site().await;
        tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
        for (round, begins) in ["UPDATE [weir]", "DELETE FROM [weir]", "COMMIT"].into_iter().enumerate() {
            append(&table, begins, &[row(begins, 1, "k3", "3")], 0).await;
            engine.world.errors.lock().unwrap().push((begins, number));
            let error = tick(&table, &engine.pool(), &target(10 + round), Limits::default()).await.unwrap_err();
            assert!(error.kind() == ErrorKind::Conflict && error.is_retryable(), "{error}");
            tick(&table, &engine.pool(), &target(20 + round), Limits::default()).await.unwrap();
            assert_eq!(held(&engine).await, rows(&table).await.1);
        }
        // Who asks what became of a lost commit is refused by it: then it has won.
        append(&table, "last", &[row("last", 1, "k3", "3")], 0).await;
        *engine.world.fault.lock().unwrap() = Some(Break::Lost);
        engine.world.errors.lock().unwrap().push((WAIT, number));
        tick(&table, &engine.pool(), &target(30), Limits::default()).await.unwrap().unwrap();
        assert_eq!(held(&engine).await, rows(&table).await.1);
    }
}

const WAIT: &str = "UPDATE [weir].[watermark_orders] SET [updated_at] = [updated_at]";

/// A pool that says that all went well, and has left a row out: of a staging table, of a new table.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_too_few_is_found_before_it_counts() {
    let (engine, table) = site().await;
    let pool = engine.pool();
    for (begins, version) in [("COPY INTO", None), ("INSERT INTO [dbo].[weir_new_", None), ("COPY INTO", Some(1))] {
        *engine.world.forgets_row.lock().unwrap() = Some(begins);
        let error = tick(&table, &pool, &target(1), Limits::default()).await.unwrap_err();
        assert!(matches!(error, Error::Staged { expected: 2, found: 1, .. }), "{error}");
        assert_eq!(pool.watermark(&target(1)).await.unwrap().map(|mark| mark.version), version);
        if begins != "COPY INTO" {
            tick(&table, &pool, &target(2), Limits::default()).await.unwrap();
            append(&table, "2", &[row("b", 1, "k3", "3"), row("b", 2, "k3", "3")], 0).await;
        }
    }
}

/// What the lost connection had sent still takes effect; whoever asks waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_effect_after_its_connection_was_lost() {
    let (engine, table) = site().await;
    let pool = engine.pool();
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    append(&table, "2", &[row("b", 1, "k3", "3")], 0).await;
    *engine.world.fault.lock().unwrap() = Some(Break::Late);
    tick(&table, &pool, &target(2), Limits::default()).await.unwrap().unwrap();
    assert_eq!(held(&engine).await, rows(&table).await.1);
}
