//! What maintenance asks of the store for the warehouse: next to nothing when nothing is new; and when the store is too slow
//! for a run, each run brings something.

use axum::http::Method;
use serde_json::{Value, json};

use super::account::{Account, EventGrid};
use super::gates::{Gate, Gates, Moment};
use crate::app::handler::{Handler, queue_envelope};

async fn maintain(handler: &Handler) -> Value {
    let task = json!({ "task": "maintain", "dataset": "orders" }).to_string();
    handler.post("run_task", queue_envelope(task.as_bytes())).await.receipt()
}

async fn ingest(account: &Account, handler: &Handler, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let path = format!("orders/{number}.csv");
        let etag = account.upload(&path, format!("id,amount,note\n{number},1.00,a\n")).await;
        handler.ingest(EventGrid.event(&path, &etag).as_bytes()).await;
    }
}

/// Another instance has the lease: what is left of maintenance is the load.
async fn leave_to_another(account: &Account) {
    let lease = json!({ "owner": "another", "expiresMs": i64::MAX }).to_string();
    account.put_note("tables/orders/_weir_lease/00000000000000000077.json", lease.into()).await;
}

/// The warehouse looks for the next commit, once a table, and reads nothing else. The lease has looked as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_with_nothing_new_is_one_small_read() {
    let account = Account::new().await;
    let gates = Gates::before(account.blob_url()).await;
    let handler = account.handler(Some(&gates)).await;
    ingest(&account, &handler, 0..3).await;
    assert_eq!(maintain(&handler).await["rowsLoaded"], 3);
    leave_to_another(&account).await;
    gates.passed();
    let report = maintain(&handler).await;
    assert_eq!((&report["busy"], &report["rowsLoaded"]), (&json!(1), &json!(0)), "{report}");
    let asked = gates.passed();
    let of_table: Vec<&String> = asked.iter().filter(|request| request.contains("/tables/orders/")).collect();
    let log: Vec<&&String> = of_table.iter().filter(|request| request.contains("_delta_log")).collect();
    // The lease asks for the store's time by an object of its own.
    let is_of_lease =
        |request: &&&String| request.contains("_weir_lease") || request.contains("_weir_maintenance/clock");
    let leases = of_table.iter().filter(is_of_lease).count();
    assert_eq!(of_table.len(), log.len() + leases, "{asked:?}");
    // Whether it is still the same table: its first entry and its newest, for the lease and for the load.
    let (looks, reads): (Vec<&&String>, Vec<&&String>) =
        log.iter().copied().partition(|request| request.starts_with("HEAD "));
    assert_eq!(looks.len(), 4, "{asked:?}");
    let [of_lease, of_load] = reads.as_slice() else { panic!("{log:?}") };
    assert!(of_lease == of_load && of_load.starts_with("GET ") && of_load.ends_with(".json"), "{log:?}");
}

/// The store keeps a file back, so that a run is cut off after some.
fn stuck_after(gates: &Gates, reads: usize) -> Gate {
    gates.hold_after(reads, Moment::Before, |method, path| {
        *method == Method::GET && path.contains("/tables/orders/") && path.ends_with(".parquet")
    })
}

/// What a run cannot load at once, because it takes longer than a run has, comes in parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_every_run_comes_in_parts() {
    let account = Account::new().await;
    let gates = Gates::before(account.blob_url()).await;
    let handler = account.handler_with(Some(&gates), &[("WEIR_DEADLINE_S", "4")]).await;
    ingest(&account, &handler, 0..1).await;
    leave_to_another(&account).await;
    assert_eq!(maintain(&handler).await["rowsLoaded"], 1);
    ingest(&account, &handler, 1..9).await;
    let rows = || -> i64 {
        let warehouse = rusqlite::Connection::open(account.path("warehouse.db")).unwrap();
        warehouse.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
    };
    // Cut off in the middle of a load, which leaves nothing of itself but that it has to come in parts.
    let held = stuck_after(&gates, 3);
    let report = maintain(&handler).await;
    held.reached().await;
    assert_eq!((&report["rowsLoaded"], &report["filesToLoad"], rows()), (&json!(0), &json!(9), 1), "{report}");
    assert!(report["commitsToLoad"].as_u64().unwrap() >= 8 && report["warehouseNeeds"].is_null(), "{report}");
    assert!(handler.logged().contains("a part at each run"), "{}", handler.logged());
    // Cut off in the middle of that, twice: what is done is done.
    let mut left = 9;
    for _ in 0..2 {
        let held = stuck_after(&gates, 3);
        let report = maintain(&handler).await;
        held.reached().await;
        let now = report["filesToLoad"].as_u64().unwrap();
        assert!(now > 0 && now < left && rows() == 1, "{report}");
        left = now;
    }
    let report = maintain(&handler).await;
    assert_eq!((&report["reloads"], &report["filesToLoad"], rows()), (&json!(1), &json!(0), 9), "{report}");
    assert_eq!(report["rowsLoaded"], left, "only what was left");
}
