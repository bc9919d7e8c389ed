//! A derived table through `maintain`: handlers that die before and after each write of it leave it as its query says, and
//! the warehouse with it.

use axum::http::Method;
use serde_json::{Value, json};

use super::account::{Account, EventGrid};
use super::gates::{Gates, Moment};
use crate::app::handler::{Handler, queue_envelope};

const SUMS: &str = r#"
name = "sums"
[derived]
follows = "orders"
by = "id"
sql = "SELECT id, COUNT(*) AS lines, SUM(amount) AS amount FROM orders GROUP BY id"
[[columns]]
name = "id"
type = "long"
nullable = false
[[columns]]
name = "lines"
type = "long"
nullable = false
[[columns]]
name = "amount"
type = "decimal(38,2)"
[warehouse]
table = "sums"
"#;

fn maintain(dataset: &str) -> String {
    queue_envelope(json!({ "task": "maintain", "dataset": dataset }).to_string().as_bytes())
}

async fn maintained(handler: &Handler) -> Value {
    handler.post("run_task", maintain("sums")).await.receipt()
}

async fn upload(account: &Account, handler: &Handler, path: &str, lines: &str) {
    let etag = account.upload(path, format!("id,amount,note\n{lines}")).await;
    let receipt = handler.ingest(EventGrid.event(path, &etag).as_bytes()).await;
    assert_eq!(receipt["outcome"], "committed", "{receipt}");
}

/// `id|lines|amount` of each row of the warehouse.
fn loaded(account: &Account) -> Vec<String> {
    let warehouse = rusqlite::Connection::open(account.path("warehouse.db")).unwrap();
    let mut rows = warehouse.prepare("SELECT id || '|' || lines || '|' || amount FROM sums ORDER BY id").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_dies_at_any_write_ends_as_its_query_says() {
    let account = Account::new().await;
    account.contract("sums", SUMS);
    let straight = account.handler(None).await;
    upload(&account, &straight, "orders/kept.csv", "1,1.25,a\n2,2.00,b\n").await;
    let mut deaths = 0;
    for moment in [Moment::Before, Moment::After] {
        for write in 0.. {
            // A row that comes, one that changes its unit, one whose unit is empty after it.
            let number = 10 + deaths;
            upload(&account, &straight, "orders/moving.csv", &format!("1,{number}.50,c\n{number},1.00,d\n")).await;
            let expected = vec![format!("1|2|{}.75", number + 1), "2|1|2.00".to_owned(), format!("{number}|1|1.00")];
            let gates = Gates::before(account.blob_url()).await;
            let gate = gates.hold_after(write, moment, |method, path| {
                [Method::PUT, Method::DELETE, Method::POST].contains(method)
                    && path.contains("/tables/sums/")
                    && !path.contains("_weir_lease")
            });
            let handler = account.handler(Some(&gates)).await;
            let died = tokio::select! {
                answer = handler.post("run_task", maintain("sums")) => {
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    false
                }
                () = gate.reached() => true,
            };
            handler.kill();
            if died {
                maintained(&straight).await;
            }
            assert_eq!(loaded(&account), expected, "write {write}, {moment:?}");
            assert_eq!(account.rows("sums", Some("amount")).await.len(), expected.len());
            if !died {
                break;
            }
            deaths += 1;
        }
    }
    println!("{deaths} deaths");
    assert!(deaths >= 4, "a file and a commit, before and after: {deaths}");
    // Nothing changed since: nothing is committed, also not by a compaction of what it follows.
    let commits = account.rows("sums", Some("amount")).await;
    assert!(straight.post("run_task", maintain("orders")).await.status == 200);
    let report = maintained(&straight).await;
    assert_eq!((&report["unitsRefreshed"], &report["rowsLoaded"]), (&json!(0), &json!(0)), "{report}");
    assert_eq!(account.rows("sums", Some("amount")).await, commits);
    let status = straight.status().await;
    let sums = status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == "sums").unwrap();
    assert_eq!((&sums["standsFor"]["dataset"], &sums["balanced"]), (&json!("orders"), &json!(true)), "{sums}");
}
