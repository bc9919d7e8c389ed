//! `weir warehouse`: status, load, verify and views, as an operator uses them.

use serde_json::{Value, json};

use super::command_line::weir;
use super::site::Site;

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
    warehouse.execute("DELETE FROM orders WHERE id = 1", []).unwrap();
    let (code, told, _) = weir(&site, &["warehouse", "verify"], &[]);
    assert!(code == 1 && told.contains("DIFFERENT, 3 rows in the lake, 2 in the warehouse"), "{told}");

    let (code, _, told) = weir(&site, &["warehouse", "views"], &[]);
    assert!(code == 1 && told.contains("WEIR_LAKE_URL must be abfss://"), "{told}");
    let (code, _, told) = weir(&site, &["warehouse", "load", "--dataset", "nobody"], &[]);
    assert!(code == 1 && told.contains("nobody"), "{told}");
}
