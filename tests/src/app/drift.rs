//! Data that changes while nobody changes its contract: table, warehouse and books keep up.

use super::contract_change::loaded;
use super::operations::{dataset, settle, start, status};
use super::site::{ORDERS, Site};

/// `ORDERS`, open to two further columns.
fn open_to_columns() -> String {
    let label = ORDERS.replace("action = \"warn\"", "action = \"label\"");
    format!("{label}[drift]\nunknown_fields = \"add\"\nmax_added_columns = 2\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_come_by_themselves_reach_table_and_warehouse() {
    let site = Site::new();
    site.contract("orders", &open_to_columns());
    let host = start(&site).await;
    site.put("orders/1.csv", "id,amount,note\n1,1.00,a\n").await;
    settle(&host).await;
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;

    site.put("orders/2.csv", "ID, Amount ,channel,note\n2,2.00,web,b\n3,-1.00,shop,c\n4,5000.00,,d\n").await;
    settle(&host).await;
    site.put("orders/3.csv", "id,size,Channel,colour,channel\n5,7,app,red,x\n6,,,,\n").await;
    settle(&host).await;
    let expected =
        ["1|1.00|null|null|null|null", "2|2.00|web|null|null|null", "4|5000.00|null|null|[\"amount_is_small\"]|null"];
    let rows = site.rows("orders", &["id", "amount", "channel", "size", "_labels", "_rescued"]).await;
    assert_eq!(rows[..3], expected);
    // `Channel` came first in its file and is the table's `channel`; there is no room for `colour`.
    assert_eq!(
        rows[3..],
        ["5|null|app|7|null|{\"channel#2\":\"x\",\"colour\":\"red\"}", "6|null|null|null|null|{\"channel#2\":null}"]
    );
    assert_eq!(site.each_place_once("orders").await, 6);
    assert_no_bounds_of_added_columns(&site);

    // A release that knows nothing of it writes on; maintenance compacts and loads.
    site.contract("orders", ORDERS);
    host.kill_handler().await;
    site.put("orders/4.csv", "id,amount,note,channel\n7,7.00,g,web\n").await;
    settle(&host).await;
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    assert_no_bounds_of_added_columns(&site);
    let rows = site.rows("orders", &["id", "channel", "size", "_rescued"]).await;
    assert_eq!((rows[1].as_str(), rows[5].as_str()), ("2|web|null|null", "7|null|null|{\"channel\":\"web\"}"));
    assert_eq!(
        loaded(&site, "id, channel, size, _labels"),
        [
            "1|null|null|null",
            "2|web|null|null",
            "4|null|null|[\"amount_is_small\"]",
            "5|app|7|null",
            "6|null|null|null",
            "7|null|null|null"
        ]
    );
    let books = status(&host).await;
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(dataset(&books, "orders")["warehouseRows"], 6);
    host.shutdown().await;
}

/// What a column from data holds may be personal, and the log is read by more people than the rows are.
fn assert_no_bounds_of_added_columns(site: &Site) {
    let mut seen = 0;
    for entry in site.log("orders") {
        for line in std::fs::read_to_string(entry).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(stats) = action["add"]["stats"].as_str() else { continue };
            let stats: serde_json::Value = serde_json::from_str(stats).unwrap();
            for bounds in ["minValues", "maxValues"] {
                assert!(stats[bounds]["id"].is_i64(), "{stats}");
                assert!(stats[bounds]["channel"].is_null() && stats[bounds]["size"].is_null(), "{stats}");
            }
            seen += usize::from(stats["nullCount"]["channel"].is_u64());
        }
    }
    assert!(seen > 0, "no file has the column");
}
