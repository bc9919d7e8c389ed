//! What the three actions of a rule do to a whole delivery.

use serde_json::json;

use super::handler::{Batch, Handler, books};
use super::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_rule_holds_the_whole_blob_back() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let line = |item: u32, pieces: i64| format!("{{\"item\":\"i{item}\",\"pieces\":{pieces}}}\n");
    // Longer than a chunk: what came before the violation was sound, and is held back all the same.
    let mut content: String = (0..700_000).map(|item| line(item, 5)).collect();
    assert!(content.len() > 16 * 1024 * 1024);
    content += &line(700_000, 1_000_000);
    content += &line(700_001, -1);
    let message = site.put("stock/a.ndjson", content).await;
    let receipt = handler.ingest(&message).await;
    assert_eq!((&receipt["outcome"], books(&receipt)), (&json!("heldBack"), [1, 0, 1, 0]));
    assert_eq!(handler.ingest(&message).await["outcome"], "alreadyCommitted");
    assert_eq!(site.rows("stock", &["item"]).await, [""; 0]);
    // One record stands for the blob, and says why.
    let quarantined = site.quarantined("stock", "blob:landing/stock/a.ndjson").await;
    assert_eq!(quarantined.iter().map(|record| record.position).collect::<Vec<_>>(), [0]);
    let reasons = &quarantined[0].reasons;
    assert!(reasons.contains("pieces_are_possible") && reasons.contains("700002"), "{reasons}");
    // Another blob of the same dataset is not concerned.
    let message = site.put("stock/b.ndjson", line(1, 5)).await;
    assert_eq!(books(&handler.ingest(&message).await), [1, 1, 0, 0]);
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_rule_holds_a_batch_of_events_back_and_a_warning_is_counted() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let batch =
        Batch::of(0, &[(1, r#"{"n":1}"#), (2, r#"{"n":2000000}"#), (3, r#"{"n":3000000}"#), (4, r#"{"n":-1}"#)]);
    let receipt = handler.events(&batch).await.receipt();
    assert_eq!(books(&receipt), [4, 3, 1, 0]);
    assert_eq!(receipt["rules"]["n_is_small"], json!({ "action": "warn", "violations": 2 }));
    let batch = Batch::of(0, &[(5, r#"{"n":5}"#), (6, r#"{"n":2000000000}"#), (7, "{")]);
    assert_eq!(books(&handler.events(&batch).await.receipt()), [3, 0, 3, 0]);
    assert_eq!(books(&handler.events(&batch).await.receipt()), [3, 0, 0, 3]);
    // The partition goes on.
    let receipt = handler.events(&Batch::counting(0, 8..10)).await.receipt();
    assert_eq!(books(&receipt), [2, 2, 0, 0]);
    assert!(receipt.get("rules").is_none(), "{receipt}");
    let quarantined = site.quarantined("clicks", &batch.source()).await;
    assert_eq!(quarantined.iter().map(|record| record.position).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert_eq!(quarantined[1].reasons, "held back by rule `n_is_possible`");
    assert_eq!(handler.status().await["balanced"], true);
}
