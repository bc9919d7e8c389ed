//! What loaders leave that die, and that nothing else goes.

use weir_warehouse::{Error, Limits, Plan, Warehouse, Watermark};

use super::super::tables::{Reader, Site, rows, tick};
use super::engine::{Break, Engine};
use super::faults::{changes, site};
use super::loads::{append, held, row, settled, tables, target};

const DAY_S: u64 = 86_400;

/// The loader dies at one statement after the other of a reload into a new table, at any of which tables of its own may
/// be there. Whoever loads after its time is over ends with the lake's rows and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_load_drops_what_dead_ones_left() {
    let mut left_behind = 0;
    for at in 0.. {
        let engine = Engine::start().await;
        // A column that the next table has not: the reload cannot be in place.
        let old = Site::new().open(false, 1).await;
        engine.reads(&old);
        append(&old, "1", &[row("a", 1, "k1", "1")], 1).await;
        tick(&old, &engine.pool(), &target(1), Limits::default()).await.unwrap();
        let table = Site::new().open(false, 0).await;
        engine.reads(&table);
        changes(&table).await;
        *engine.world.fault.lock().unwrap() = Some(Break::After(at));
        let _ = tick(&table, &engine.pool(), &target(2), Limits::default()).await;
        let met = engine.world.fault.lock().unwrap().take().is_none();
        left_behind +=
            tables(&engine).await.iter().filter(|name| name.starts_with("weir_") || name.starts_with("stage_")).count();
        engine.sleep(2 * DAY_S);
        append(&table, "7", &[row("e", 1, "k6", "6")], 0).await;
        let pool = engine.pool();
        tick(&table, &pool, &target(3), Limits::default()).await.unwrap();
        let (version, now) = rows(&table).await;
        assert_eq!(held(&engine).await, now, "at {at}");
        assert_eq!(pool.watermark(&target(4)).await.unwrap().unwrap().version, version);
        // What the last load has put aside goes with the next one after its time.
        engine.sleep(2 * DAY_S);
        append(&table, "8", &[row("f", 1, "k7", "7")], 0).await;
        tick(&table, &pool, &target(5), Limits::default()).await.unwrap();
        settled(&engine).await;
        // The table's own files are noted still, however old its reload is.
        let noted = engine.rows("SELECT [path] FROM [weir].[loaded_file_orders]").await.len();
        assert_eq!(noted, table.snapshot().await.unwrap().files.len(), "at {at}");
        if !met {
            break;
        }
    }
    assert!(left_behind > 10, "only {left_behind} tables were left behind, and dropped");
}

/// The names say whose a table is, and until when that load may run; what is younger, or named by others, stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_living_load_may_need_stays() {
    let (engine, table) = site().await;
    let mut load = target(1);
    load.time_limit = Some(std::time::Duration::from_secs(60));
    tick(&table, &engine.pool(), &load, Limits::default()).await.unwrap();
    let dying =
        ["[weir].[stage_1700001000_0_a_0]", "[dbo].[weir_new_1700001000_OWN_a]", "[dbo].[weir_old_1700001000_OWN_a]"];
    let foreign = [
        "[weir].[stage_mine]",
        "[dbo].[weir_new_year]",
        "[dbo].[weir_new_17_OWN_a]",
        "[dbo].[weir_new_1700001000_ffffffff_a]",
        "[dbo].[stage_1700001000_0_a_1]",
    ];
    for name in dying.iter().chain(&foreign) {
        engine.execute(&format!("CREATE TABLE {} ([a] int NULL)", name.replace("OWN", OWN))).await;
    }
    let all = tables(&engine).await;
    append(&table, "2", &[row("b", 1, "k3", "3")], 0).await;
    tick(&table, &engine.pool(), &target(2), Limits::default()).await.unwrap();
    assert_eq!(tables(&engine).await, all);
    engine.sleep(1_001);
    append(&table, "3", &[row("c", 1, "k3", "3")], 0).await;
    tick(&table, &engine.pool(), &target(3), Limits::default()).await.unwrap();
    let odd = format!("weir_new_17_{OWN}_a");
    let mut expected = vec!["loaded_file_orders", "orders", "stage_1700001000_0_a_1", "stage_mine", "watermark_orders"];
    expected.extend(["weir_new_1700001000_ffffffff_a", &*odd, "weir_new_year"]);
    expected.sort_unstable();
    assert_eq!(tables(&engine).await, expected);
}

/// Stands for `orders` in names.
const OWN: &str = "00125d92";

/// A reload that was noted long ago, found by a loader that had planned before.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_noted_stays_however_old_it_is() {
    let (engine, table) = site().await;
    let pool = engine.pool();
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    let from = pool.watermark(&target(1)).await.unwrap().unwrap();
    engine.execute(&format!("CREATE TABLE [dbo].[weir_new_1600000000_{OWN}_a] ([a] int NULL)")).await;
    let note = format!(
        "UPDATE [weir].[watermark_orders] SET [pending] = N'weir_new_1600000000_{OWN}_a', [pending_table_id] = N't', \
         [pending_version] = 77, [pending_schema] = N'{{}}'"
    );
    engine.execute(&note).await;
    let reader = Reader { table: &table, files: Vec::new() };
    let plan = Plan::Load { to: Watermark { version: from.version + 1, ..from.clone() }, from, steps: Vec::new() };
    let error = pool.apply(&target(2), &plan, &reader).await.unwrap_err();
    assert!(matches!(error, Error::LostRace { found: Some(77), .. }), "{error}");
    assert_eq!(engine.rows("SELECT [a] FROM [dbo].[orders]").await.len(), 0, "the noted table is in its place");
}

/// A load ends before its tables count as left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_gives_itself_up_when_its_time_is_over() {
    let (engine, table) = site().await;
    let (reached, _go) = engine.hold("COPY INTO", 0);
    let mut load = target(1);
    load.time_limit = Some(std::time::Duration::from_millis(300));
    let pool = engine.pool();
    let load = tick(&table, &pool, &load, Limits::default());
    let error = tokio::time::timeout(std::time::Duration::from_secs(3), load).await.unwrap().unwrap_err();
    reached.notified().await;
    assert!(error.is_retryable() && error.to_string().starts_with("loading: "), "{error}");
    tick(&table, &engine.pool(), &target(2), Limits::default()).await.unwrap();
    assert_eq!(held(&engine).await, rows(&table).await.1);
}
