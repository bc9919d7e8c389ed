//! A contract that changes while its table lives: the host restarts, the table and the warehouse follow, the books
//! balance.

use serde_json::json;

use super::operations::{dataset, maintained, returned, settle, start, status};
use super::site::{ORDERS, Site};

/// `ORDERS` with one more column, a narrower amount, and without the note.
fn next() -> String {
    let text = ORDERS.replace("decimal(12,2)", "decimal(10,2)");
    let channel = "[[columns]]\nname = \"channel\"\ntype = \"string\"\n[[rules]]\nname = \"amount_is_positive\"";
    let text = text.replace("[[rules]]\nname = \"amount_is_positive\"", channel);
    text.replace("[[columns]]\nname = \"note\"\ntype = \"string\"\n", "")
}

/// Rows of the warehouse's table, as text.
pub(super) fn loaded(site: &Site, columns: &str) -> Vec<String> {
    let warehouse = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    let texts: Vec<_> = columns.split(", ").map(|name| format!("ifnull({name}, 'null')")).collect();
    let sql = format!("SELECT {} FROM orders ORDER BY id", texts.join(" || '|' || "));
    let mut statement = warehouse.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_may_get_a_column_leave_one_and_narrow_one() {
    let site = Site::new();
    let host = start(&site).await;
    site.put("orders/1.csv", "id,amount,note,channel\n1,1.00,a,shop\n2,-1.00,b,shop\n3,3.00,c,\n").await;
    settle(&host).await;
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    assert_eq!(loaded(&site, "id, note"), ["1|a", "3|c"]);
    assert_eq!(site.rows("orders", &["id", "_rescued"]).await, ["1|{\"channel\":\"shop\"}", "3|{\"channel\":null}"]);

    site.contract("orders", &next());
    host.kill_handler().await;
    site.put("orders/2.csv", "id,amount,channel,note\n4,4.50,web,d\n5,5.25,,\n6,-6.00,web,f\n").await;
    settle(&host).await;
    // The table has the type and the column that it had before, and the new one, which its older rows lack.
    let expected = ["1|1.00|a|null", "3|3.00|c|null", "4|4.50|null|web", "5|5.25|null|null"];
    assert_eq!(site.rows("orders", &["id", "amount", "note", "channel"]).await, expected);
    assert_eq!(site.rows("orders", &["id", "_rescued"]).await[2], "4|{\"note\":\"d\"}");
    let (columns, schema) =
        (site.table("orders").await.unwrap().columns(), site.table("orders").await.unwrap().identity().1);
    assert_eq!(columns.last().unwrap().name, "channel");
    assert!(schema.contains("decimal(12,2)") && !schema.contains("decimal(10,2)"), "{schema}");
    assert_eq!(site.each_place_once("orders").await, 6);

    let mut reports = host.subscribe();
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    let done = returned(&mut reports, "run_task");
    let orders = maintained(&done, "orders");
    assert_eq!((&orders["rowsLoaded"], &orders["reloads"]), (&json!(2), &json!(0)), "{orders}");
    assert_eq!(loaded(&site, "id, note, channel"), ["1|a|null", "3|c|null", "4|null|web", "5|null|null"]);

    let books = status(&host).await;
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(dataset(&books, "orders")["warehouseRows"], 4);

    // The old release is still there and gets a delivery, then a release that wants the table wider than it is.
    site.contract("orders", ORDERS);
    host.kill_handler().await;
    site.put("orders/3.csv", "id,amount,note\n7,7.00,g\n").await;
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id", "note", "channel"]).await[4], "7|g|null");
    site.contract("orders", &ORDERS.replace("decimal(12,2)", "decimal(14,2)"));
    host.kill_handler().await;
    let mut reports = host.subscribe();
    site.put("orders/4.csv", "id,amount,note\n8,8.00,h\n").await;
    settle(&host).await;
    let mut refusals = 0;
    while let Ok(report) = reports.try_recv() {
        refusals += usize::from(report.function == "ingest_blob" && !report.ok);
    }
    assert!(refusals > 0, "a table's type does not change");
    site.contract("orders", ORDERS);
    assert_eq!(site.rows("orders", &["id"]).await.len(), 5, "nothing was written");
    host.kill_handler().await;
    assert_eq!(status(&host).await["parkedCount"], 1, "until somebody mends the contract");
    host.shutdown().await;
}
