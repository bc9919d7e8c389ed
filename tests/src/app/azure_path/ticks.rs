//! What maintenance asks of the store when there is nothing to do.

use serde_json::json;

use super::account::{Account, EventGrid};
use super::gates::Gates;
use crate::app::handler::{Handler, queue_envelope};

async fn maintain(handler: &Handler) -> serde_json::Value {
    let task = json!({ "task": "maintain", "dataset": "orders" }).to_string();
    handler.post("run_task", queue_envelope(task.as_bytes())).await.receipt()
}

/// The warehouse looks for the next commit, once a table, and reads nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_with_nothing_new_is_one_small_read() {
    let account = Account::new().await;
    let gates = Gates::before(account.blob_url()).await;
    let handler = account.handler(Some(&gates)).await;
    for number in 0..3 {
        let path = format!("orders/{number}.csv");
        let etag = account.upload(&path, format!("id,amount,note\n{number},1.00,a\n")).await;
        handler.ingest(EventGrid.event(&path, &etag).as_bytes()).await;
    }
    assert_eq!(maintain(&handler).await["rowsLoaded"], 3);
    // Another instance has the lease: what is left of maintenance is the load.
    let lease = json!({ "owner": "another", "expiresMs": i64::MAX }).to_string();
    account.put_note("tables/orders/_weir_lease/00000000000000000077.json", lease.into()).await;
    gates.passed();
    let report = maintain(&handler).await;
    assert_eq!((&report["busy"], &report["rowsLoaded"]), (&json!(1), &json!(0)), "{report}");
    let asked = gates.passed();
    let in_table = |request: &&String| request.contains("/tables/orders/");
    let log: Vec<&String> = asked.iter().filter(in_table).filter(|request| request.contains("_delta_log")).collect();
    let leases = asked.iter().filter(in_table).filter(|request| request.contains("_weir_lease")).count();
    assert_eq!(asked.iter().filter(in_table).count(), log.len() + leases, "{asked:?}");
    let [look] = log.as_slice() else { panic!("{log:?}") };
    assert!(look.starts_with("GET ") && look.ends_with(".json"), "{look}");
}
