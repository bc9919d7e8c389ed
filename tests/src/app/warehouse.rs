//! `weir warehouse`: status, load, verify and views, as an operator uses them; and what becomes of the warehouse when
//! something is wrong with it, with the lake or with a contract.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::command_line::weir;
use super::handler::{Handler, queue_envelope};
use super::site::{ORDERS, Site};
use crate::support::weir_binary;

fn answer(site: &Site, arguments: &[&str], expected: i32) -> Value {
    let (code, stdout, stderr) = weir(site, arguments, &[]);
    assert_eq!(code, expected, "{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_warehouse_is_loaded_and_compared_from_the_command_line() {
    let site = Site::new();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n2,2.00,b\n3,3.00,\n").await;
    assert_eq!(weir(&site, &["backfill", "orders"], &[]).0, 0);
    let status = answer(&site, &["warehouse", "status", "--json"], 0);
    assert_eq!(status["tables"][0]["next"], "reload: first load");
    // Behind is not equal.
    let behind = answer(&site, &["warehouse", "verify", "--dataset", "orders", "--json"], 1);
    assert_eq!(behind["equal"], false);
    assert!(behind["tables"][0]["why"].as_str().unwrap().contains("another version"), "{behind}");
    let loaded = answer(&site, &["warehouse", "load", "--json"], 0);
    assert_eq!(loaded["loads"][0]["loaded"]["rowsInserted"], 3);
    let equal = answer(&site, &["warehouse", "verify", "--json"], 0);
    assert_eq!((&equal["equal"], &equal["tables"][0]["lakeRows"]), (&json!(true), &json!(3)));
    let again = answer(&site, &["warehouse", "load", "--json"], 0);
    assert_eq!(again["loads"][0]["loaded"]["plans"], 0);
    let (_, told, _) = weir(&site, &["warehouse", "status"], &[]);
    assert!(told.lines().any(|line| line.starts_with("orders") && line.ends_with("nothing")), "{told}");

    // What somebody changed by hand is found, and named.
    let warehouse = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    warehouse.execute("UPDATE orders SET note = 'x', amount = 2.01 WHERE id = 2", []).unwrap();
    let differs = answer(&site, &["warehouse", "verify", "--json"], 1);
    assert_eq!(differs["tables"][0]["differing"], json!(["amount", "note"]));
    let place = json!([{ "source": "blob:landing/orders/a.csv", "lakeRows": 3, "warehouseRows": 3, "rows": 1,
                         "first": 2, "last": 2 }]);
    assert_eq!(differs["tables"][0]["places"], place);
    let (_, told, _) = weir(&site, &["warehouse", "verify"], &[]);
    assert!(told.contains("  `blob:landing/orders/a.csv`, positions 2 to 2: 1 rows differ"), "{told}");
    warehouse.execute("DELETE FROM orders WHERE id = 1", []).unwrap();
    let (code, told, _) = weir(&site, &["warehouse", "verify"], &[]);
    assert!(code == 1 && told.contains("DIFFERENT, 3 rows in the lake, 2 in the warehouse"), "{told}");

    let (code, _, told) = weir(&site, &["warehouse", "views"], &[]);
    assert!(code == 1 && told.contains("WEIR_LAKE_URL must be abfss://"), "{told}");
    let (code, _, told) = weir(&site, &["warehouse", "load", "--dataset", "nobody"], &[]);
    assert!(code == 1 && told.contains("nobody"), "{told}");
}

/// Orders and people, ingested and not loaded yet.
async fn ingested() -> Site {
    let site = Site::new();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n2,2.00,b\n").await;
    site.put("people/a.ndjson", "{\"id\":1,\"email\":\"a@b\",\"name\":\"Ann\",\"phone\":\"1\"}\n").await;
    for dataset in ["orders", "people"] {
        assert_eq!(weir(&site, &["backfill", dataset], &[]).0, 0);
    }
    site
}

fn ask<T: rusqlite::types::FromSql>(site: &Site, sql: &str) -> T {
    rusqlite::Connection::open(site.path("warehouse.db")).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn of<'a>(answer: &'a Value, key: &str, dataset: &str) -> &'a Value {
    answer[key].as_array().unwrap().iter().find(|said| said["dataset"] == dataset).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_be_loaded_hinders_no_other() {
    // Somebody else's table of that name.
    let site = ingested().await;
    let foreign = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    foreign.execute_batch("CREATE TABLE Orders (mine TEXT); INSERT INTO Orders VALUES ('kept')").unwrap();
    let loads = answer(&site, &["warehouse", "load", "--json"], 1);
    let error = of(&loads, "loads", "orders")["error"].as_str().unwrap();
    assert!(error.contains("drop or rename it"), "{error}");
    assert_eq!(of(&loads, "loads", "people")["loaded"]["rowsInserted"], 1);
    assert_eq!(ask::<String>(&site, "SELECT mine FROM Orders"), "kept");
    let (code, told, _) = weir(&site, &["warehouse", "load"], &[]);
    assert!(code == 1 && told.contains("orders: warehouse table `orders` exists"), "{told}");
    assert!(told.contains("people: version"), "{told}");

    // A lake's table that cannot be opened.
    foreign.execute_batch("DROP TABLE Orders").unwrap();
    fs::write(site.log("orders").last().unwrap(), "no log").unwrap();
    for (command, key) in [("load", "loads"), ("status", "tables"), ("verify", "tables")] {
        let said = answer(&site, &["warehouse", command, "--json"], 1);
        assert!(of(&said, key, "orders")["error"].is_string(), "{said}");
        assert!(of(&said, key, "people")["error"].is_null(), "{said}");
        let (code, told, _) = weir(&site, &["warehouse", command], &[]);
        assert!(code == 1 && told.lines().any(|line| line.starts_with("people")), "{told}");
    }
}

/// Nothing that is wrong with the warehouse's file keeps records from the lake, or the lake's tables from their upkeep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warehouse_that_cannot_be_used_stops_nothing_else() {
    let site = Site::new();
    fs::write(site.path("warehouse.db"), "this is no database; ".repeat(500)).unwrap();
    let handler = Handler::start(&site).await;
    for blob in 0..4 {
        let message = site.put(&format!("orders/{blob}.csv"), format!("id,amount,note\n{blob},1.00,a\n")).await;
        handler.ingest(&message).await;
    }
    let status = handler.status().await;
    let orders = status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == "orders").unwrap();
    assert!(orders["warehouseError"].as_str().unwrap().contains("move it away"), "{orders}");
    assert_eq!((&orders["warehouseRows"], &orders["table"]["rows"]), (&Value::Null, &json!(4)));
    let (code, told, _) = weir(&site, &["status"], &[]);
    assert!(code == 0 && told.contains("orders: nothing is known of the warehouse: "), "{told}");
    let task = queue_envelope(json!({ "task": "maintain", "dataset": "orders" }).to_string().as_bytes());
    let failed = handler.post("run_task", task.clone()).await;
    assert!(failed.status == 500 && failed.text.contains("move it away"), "{}", failed.text);
    assert_eq!(site.table("orders").await.unwrap().snapshot().await.unwrap().files.len(), 1, "it was compacted");
    // As the message says; the same process goes on.
    fs::rename(site.path("warehouse.db"), site.path("old.db")).unwrap();
    assert_eq!(handler.post("run_task", task).await.receipt()["rowsLoaded"], 4);
    assert_eq!(ask::<i64>(&site, "SELECT count(*) FROM orders"), 4);
}

/// Longer than SQLite waits for a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warehouse_that_another_program_holds_is_waited_for() {
    let site = ingested().await;
    assert_eq!(weir(&site, &["warehouse", "load"], &[]).0, 0);
    site.put("orders/b.csv", "id,amount,note\n3,1.00,a\n").await;
    assert_eq!(weir(&site, &["backfill", "orders"], &[]).0, 0);
    let holder = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE; DELETE FROM orders").unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(5_600)).await;
        holder.execute_batch("ROLLBACK").unwrap();
    };
    let command = tokio::task::spawn_blocking(move || {
        let done = weir(&site, &["warehouse", "load", "--dataset", "orders"], &[]);
        (site, done)
    });
    let ((), command) = tokio::join!(release, command);
    let (site, (code, told, _)) = command.unwrap();
    assert_eq!(code, 0, "{told}");
    assert_eq!(ask::<i64>(&site, "SELECT count(*) FROM orders"), 3);
}

/// A disk that is full in the middle of a load, as far as a test can have one: files may not grow beyond a limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_costs_nothing() {
    let site = Site::new();
    for blob in 0..4 {
        let lines: String = (0..1_000).map(|line| format!("{line},1.00,note {blob} {line}\n")).collect();
        site.put(&format!("orders/{blob}.csv"), format!("id,amount,note\n{lines}")).await;
        assert_eq!(weir(&site, &["backfill", "orders"], &[]).0, 0);
    }
    for blocks in [1, 150] {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" warehouse load");
        shell.args(["-c", &script]).arg(weir_binary()).env_clear().envs(site.settings()).stdin(Stdio::null());
        let output = shell.current_dir(site.path("")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && told.contains("orders: "), "{blocks}: {told}");
        assert!(told.contains("is full"), "{blocks}: {told}");
    }
    let loads = answer(&site, &["warehouse", "load", "--json"], 0);
    assert_eq!(of(&loads, "loads", "orders")["loaded"]["version"], site.log("orders").len() - 1);
    assert_eq!(ask::<i64>(&site, "SELECT count(*) FROM orders"), 4_000);
    assert_eq!(answer(&site, &["warehouse", "verify", "--json"], 0)["equal"], true);
}

/// What becomes of a table in the warehouse when its dataset is dropped, made anew, renamed or loaded elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_stays_until_its_dataset_is_loaded_anew() {
    let site = ingested().await;
    assert_eq!(weir(&site, &["warehouse", "load"], &[]).0, 0);
    // The lake's table is gone: what was loaded stays.
    fs::remove_dir_all(site.path("lake/orders")).unwrap();
    fs::remove_dir_all(site.path("lake/orders__quarantine")).ok();
    let loads = answer(&site, &["warehouse", "load", "--json"], 0);
    assert!(loads["loads"].as_array().unwrap().iter().all(|load| load["dataset"] != "orders"), "{loads}");
    assert_eq!(ask::<i64>(&site, "SELECT count(*) FROM orders"), 2);
    // Made anew, it takes the old one's place.
    site.delete("orders/a.csv");
    site.put("orders/b.csv", "id,amount,note\n7,1.00,a\n").await;
    assert_eq!(weir(&site, &["backfill", "orders"], &[]).0, 0);
    let status = answer(&site, &["warehouse", "status", "--dataset", "orders", "--json"], 0);
    assert_eq!(status["tables"][0]["next"], "reload: the table was recreated");
    assert_eq!(weir(&site, &["warehouse", "load"], &[]).0, 0);
    assert_eq!(ask::<i64>(&site, "SELECT id FROM orders"), 7);

    // Loaded elsewhere: the old table stays, as it was, and is nobody's.
    site.contract("orders", &ORDERS.replace("table = \"orders\"", "table = \"gold.orders\""));
    assert_eq!(weir(&site, &["warehouse", "load"], &[]).0, 0);
    assert_eq!(ask::<i64>(&site, "SELECT (SELECT count(*) FROM \"gold.orders\") * 10 + count(*) FROM orders"), 11);

    // Renamed: another dataset does not take over a table that it did not make.
    fs::remove_file(site.path("datasets/orders.toml")).unwrap();
    let renamed = ORDERS
        .replace("name = \"orders\"", "name = \"sales\"")
        .replace("table = \"orders\"", "table = \"gold.orders\"");
    site.contract("sales", &renamed);
    assert_eq!(weir(&site, &["backfill", "sales"], &[]).0, 0);
    let refused = answer(&site, &["warehouse", "load", "--dataset", "sales", "--json"], 1);
    let error = refused["loads"][0]["error"].as_str().unwrap();
    assert!(error.contains("`gold.orders` exists but was not loaded from `sales`; drop or rename it"), "{error}");
    let warehouse = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    warehouse.execute_batch("ALTER TABLE \"gold.orders\" RENAME TO old").unwrap();
    assert_eq!(answer(&site, &["warehouse", "load", "--json"], 0)["loads"].as_array().unwrap().len(), 2);
    assert_eq!(ask::<i64>(&site, "SELECT (SELECT count(*) FROM \"gold.orders\") * 10 + count(*) FROM old"), 11);
}
