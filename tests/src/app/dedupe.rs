//! Events that a producer sent twice.

use serde_json::Value;

use super::handler::{Batch, Handler, books};
use super::site::{CLICKS, Site};

fn contract(within: &str) -> String {
    let column = "[[columns]]\nname = \"id\"\ntype = \"string\"\n[[columns]]\nname = \"n\"";
    let dedupe = format!("[dedupe]\nkey = \"id\"\nwithin = \"{within}\"\n");
    CLICKS.replacen("[[columns]]\nname = \"n\"", column, 1) + &dedupe
}

fn site(within: &str) -> Site {
    let site = Site::new();
    site.contract("clicks", &contract(within));
    site
}

/// From a sequence number on, events with these ids; `-` is a null, `!` makes a faulty one.
fn batch(partition: u32, from: i64, ids: &[&str]) -> Batch {
    let body = |id: &str| match (id, id.strip_prefix('!')) {
        ("-", _) => "{\"n\":1}".to_owned(),
        (_, Some(id)) => format!("{{\"n\":-1,\"id\":\"{id}\"}}"),
        _ => format!("{{\"n\":1,\"id\":\"{id}\"}}"),
    };
    Batch { partition, events: (from..).zip(ids).map(|(n, id)| (n, body(id).into_bytes())).collect() }
}

async fn deliver(handler: &Handler, batch: &Batch) -> ([u64; 4], u64) {
    let receipt: Value = handler.events(batch).await.receipt();
    (books(&receipt), receipt["duplicates"].as_u64().unwrap_or(0))
}

async fn ids(site: &Site) -> Vec<String> {
    site.rows("clicks", &["id"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_batch_across_batches_and_restarts() {
    let site = site("24 hours");
    let handler = Handler::start(&site).await;
    assert_eq!(deliver(&handler, &batch(0, 1, &["a", "b", "a", "-", "-", "!c"])).await, ([6, 4, 1, 1], 1));
    // One that is in quarantine is nobody's original.
    assert_eq!(deliver(&handler, &batch(0, 7, &["c", "b", "d"])).await, ([3, 2, 0, 1], 1));
    // The same delivery again, and a part of it that is new.
    assert_eq!(deliver(&handler, &batch(0, 7, &["c", "b", "d"])).await, ([3, 0, 0, 3], 0));
    assert_eq!(deliver(&handler, &batch(0, 8, &["b", "d", "e", "d"])).await, ([4, 1, 0, 3], 1));
    // Another partition is another producer's.
    assert_eq!(deliver(&handler, &batch(1, 1, &["a", "e"])).await, ([2, 2, 0, 0], 0));
    let other = Handler::start(&site).await;
    assert_eq!(deliver(&other, &batch(0, 12, &["a", "f", "e", "f"])).await, ([4, 1, 0, 3], 3));
    // The first one has to find out what the other committed.
    assert_eq!(deliver(&handler, &batch(0, 16, &["f", "g", "!g", "g"])).await, ([4, 1, 1, 2], 2));
    assert_eq!(ids(&site).await, ["a", "a", "b", "c", "d", "e", "e", "f", "g", "null", "null"]);
    assert_eq!(handler.status().await["balanced"], true);
    site.each_place_once("clicks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_window_is_forgotten() {
    let site = site("2 seconds");
    let handlers = [Handler::start(&site).await, Handler::start(&site).await];
    deliver(&handlers[0], &batch(0, 1, &["a", "b"])).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    // From memory, and from the table.
    assert_eq!(deliver(&handlers[0], &batch(0, 3, &["a"])).await, ([1, 1, 0, 0], 0));
    assert_eq!(deliver(&handlers[1], &batch(0, 4, &["b", "a"])).await.0, [2, 1, 0, 1]);
    assert_eq!(ids(&site).await, ["a", "a", "b", "b"]);
}

/// 64 MiB leave room for 131,072 keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_keys_than_fit_are_looked_up_in_the_table() {
    let site = site("1 day");
    let handler = Handler::start_with(&site, &[("WEIR_MEMORY_BUDGET_MB", "64")]).await;
    let numbers: Vec<String> = (0..140_000).map(|n| n.to_string()).collect();
    for (index, chunk) in numbers.chunks(10_000).enumerate() {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        assert_eq!(deliver(&handler, &batch(0, 1 + 10_000 * index as i64, &chunk)).await.0, [10_000, 10_000, 0, 0]);
    }
    let mixed = ["5", "139999", "new", "70000", "new"];
    assert_eq!(deliver(&handler, &batch(0, 140_001, &mixed)).await, ([5, 1, 0, 4], 4));
    assert!(handler.logged().contains("too many keys to remember"));
    // Another partition still has room.
    deliver(&handler, &batch(1, 1, &["x"])).await;
    assert_eq!(deliver(&handler, &batch(1, 2, &["x", "y"])).await, ([2, 1, 0, 1], 1));
}
