//! What becomes of a blob's rows when the blob changes: overwritten, deleted, written again, in whatever order its events
//! come.

use serde_json::{Value, json};

use super::handler::{Handler, books};
use super::site::{ORDERS, Site, blob_deleted};

const SOURCE: &str = "blob:landing/orders/a.csv";

fn with(keys: &str) -> String {
    ORDERS.replace("path = [", &format!("{keys}\npath = ["))
}

async fn rows(site: &Site) -> Vec<String> {
    site.rows("orders", &["id", "note"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_takes_the_place_of_the_old_one_in_both_tables() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let first = site.put("orders/a.csv", "id,amount,note\n1,1.00,old\n2,-1.00,old\n3,1.00,old\n").await;
    let other = site.put("orders/b.csv", "id,amount,note\n9,1.00,other\n8,-1.00,other\n").await;
    assert_eq!(books(&handler.ingest(&first).await), [3, 2, 1, 0]);
    assert_eq!(books(&handler.ingest(&other).await), [2, 1, 1, 0]);

    let second = site.put("orders/a.csv", "id,amount,note\n1,1.00,new\n2,1.00,new\n").await;
    assert_eq!(books(&handler.ingest(&second).await), [2, 2, 0, 0]);
    assert_eq!(rows(&site).await, ["1|new", "2|new", "9|other"]);
    assert_eq!(site.quarantined("orders", SOURCE).await, [], "what the old version left in quarantine is gone");
    assert_eq!(site.quarantined("orders", "blob:landing/orders/b.csv").await.len(), 1);
    // One commit, which readers of the log can follow.
    let entry = std::fs::read_to_string(site.log("orders").pop().unwrap()).unwrap();
    let info: Value = serde_json::from_str(entry.lines().next().unwrap()).unwrap();
    assert_eq!(info["commitInfo"]["weir"]["operation"], "replace_source");
    assert_eq!(info["commitInfo"]["weir"]["source"], SOURCE);

    // Late events of both versions, and a version that is bad throughout.
    assert_eq!(handler.ingest(&first).await["outcome"], "overwritten");
    assert_eq!(handler.ingest(&second).await["outcome"], "alreadyCommitted");
    let third = site.put("orders/a.csv", "id,amount,note\nx,1.00,bad\n").await;
    assert_eq!(books(&handler.ingest(&third).await), [1, 0, 1, 0]);
    assert_eq!(rows(&site).await, ["9|other"]);
    assert_eq!(site.each_place_once("orders").await, 3);
    // A redelivery may come when the blob is long gone.
    site.delete("orders/a.csv");
    assert_eq!(handler.ingest(&third).await["outcome"], "alreadyCommitted");
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_append_the_rows_of_every_version_stay() {
    let site = Site::new();
    site.contract("orders", &with("on_overwrite = \"append\""));
    let handler = Handler::start(&site).await;
    for note in ["old", "new"] {
        let message = site.put("orders/a.csv", format!("id,amount,note\n1,1.00,{note}\n")).await;
        assert_eq!(books(&handler.ingest(&message).await), [1, 1, 0, 0]);
        assert_eq!(handler.ingest(&message).await["outcome"], "alreadyCommitted");
    }
    assert_eq!(rows(&site).await, ["1|new", "1|old"]);
    let sources = site.rows("orders", &["_source"]).await;
    assert!(sources.iter().all(|source| source.starts_with(&format!("{SOURCE}@"))), "{sources:?}");
    assert_eq!(site.each_place_once("orders").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_takes_the_rows_along_if_the_contract_says_so() {
    for (keys, outcome, left) in [("on_delete = \"remove\"", "removed", 0), ("on_delete = \"keep\"", "kept", 1)] {
        let site = Site::new();
        site.contract("orders", &with(keys));
        let handler = Handler::start(&site).await;
        let created = site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n2,-1.00,b\n").await;
        handler.ingest(&created).await;
        site.delete("orders/a.csv");
        let deleted = blob_deleted("orders/a.csv");
        assert_eq!(handler.ingest(&deleted).await["outcome"], outcome);
        assert_eq!((rows(&site).await.len(), site.quarantined("orders", SOURCE).await.len()), (left, left));
        let log = site.log("orders");
        assert_eq!(handler.ingest(&deleted).await["outcome"], if left == 0 { "gone" } else { "kept" });
        assert_eq!(site.log("orders"), log, "a repeated event made a commit");

        // It comes back; the event of its deletion is late; then both come once more.
        let again = site.put("orders/a.csv", "id,amount,note\n3,1.00,c\n").await;
        assert_eq!(books(&handler.ingest(&again).await), [1, 1, 0, 0]);
        assert_eq!(handler.ingest(&deleted).await["outcome"], "kept");
        assert_eq!(handler.ingest(&again).await["outcome"], "alreadyCommitted");
        assert_eq!(rows(&site).await, ["3|c"]);
        assert_eq!(handler.status().await["balanced"], true);
    }
}

/// The event of a version that was overwritten before its table commit finds what the version left in quarantine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_died_between_its_commits_leaves_nothing_in_quarantine() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let first = site.put("orders/a.csv", "id,amount,note\n1,1.00,old\n2,-1.00,old\n").await;
    handler.ingest(&first).await;
    handler.kill();
    std::fs::remove_file(site.log("orders").pop().unwrap()).unwrap();
    let second = site.put("orders/a.csv", "id,amount,note\n1,1.00,new\n").await;
    let handler = Handler::start(&site).await;
    assert_eq!(handler.ingest(&first).await["outcome"], "overwritten");
    assert_eq!(site.quarantined("orders", SOURCE).await, []);
    assert_eq!(books(&handler.ingest(&second).await), [1, 1, 0, 0]);
    assert_eq!(rows(&site).await, ["1|new"]);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Versions race with their own reprocessing, on two instances. The last one written is what the table ends with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_race_end_with_the_newest() {
    let site = Site::new();
    let handlers = [Handler::start(&site).await, Handler::start(&site).await];
    for round in 0..6 {
        let mut messages = Vec::new();
        for version in 0..4 {
            let lines: String = (0..50).map(|id| format!("{id},{}.00,r{round}v{version}\n", id % 5 - 1)).collect();
            messages.push(site.put("orders/a.csv", format!("id,amount,note\n{lines}")).await);
            let deliveries =
                messages.iter().enumerate().map(|(n, message)| handlers[n % 2].queue("ingest_blob", message));
            let task = json!({
                "task": "ingest_blob", "dataset": "orders", "container": "landing", "path": "orders/a.csv",
                "request": format!("r{round}v{version}"),
            });
            let task = task.to_string();
            let reprocess = handlers[version % 2].queue("run_task", task.as_bytes());
            let (answers, again) = tokio::join!(futures::future::join_all(deliveries), reprocess);
            answers.iter().chain([&again]).for_each(|answer| drop(answer.receipt()));
            assert_eq!(site.each_place_once("orders").await, 50, "round {round}, version {version}");
            let notes = site.rows("orders", &["note"]).await;
            assert!(notes.iter().all(|note| *note == format!("r{round}v{version}")), "{notes:?}");
        }
    }
    assert_eq!(handlers[0].status().await["balanced"], true);
}
