//! Parked messages that are many and large: what looks at them stays small, page by page.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use weir_contract::{Contract, NewColumns};
use weir_lake::{Lake, LakeOptions, TableDefinition};

use super::command_line::weir;
use super::handler::{Answer, Handler, http_envelope, queue_envelope};
use super::site::Site;

const BUDGET_MB: u64 = 64;
const MESSAGES: usize = 1_200;
const BYTES: usize = 45_000;

/// As a message whose last attempt did not end: it is not tried first.
async fn park(handler: &Handler, message: &[u8]) -> Answer {
    let envelope = queue_envelope(message).replace("\"DequeueCount\":\"1\"", "\"DequeueCount\":\"2\"");
    handler.post("park_blob_events", envelope).await
}

/// A blob event that carries much with it, which no compression takes away.
fn message(number: usize, random: &mut StdRng) -> Vec<u8> {
    let pad: String = (0..BYTES).map(|_| char::from(random.random_range(b'0'..=b'z')).to_ascii_lowercase()).collect();
    let url = format!("https://acct.blob.core.windows.net/landing/orders/{number}.csv");
    let data = json!({ "url": url, "eTag": "0x8D", "pad": pad });
    json!({ "id": number.to_string(), "eventType": "Microsoft.Storage.BlobCreated", "data": data })
        .to_string()
        .into_bytes()
}

async fn page(handler: &Handler, after: Option<&str>) -> Value {
    let mut url = url::Url::parse(&handler.url("/api/status")).unwrap();
    url.query_pairs_mut().extend_pairs(after.map(|after| ("parkedAfter", after)));
    let answer = handler.client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_parked_messages_are_listed_in_little_memory() {
    let site = Site::new();
    let budget = BUDGET_MB.to_string();
    let settings = [("WEIR_MEMORY_BUDGET_MB", budget.as_str()), ("WEIR_LOG", "warn")];
    let handler = Handler::start_with(&site, &settings).await;
    let mut random = StdRng::seed_from_u64(7);
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|number| message(number, &mut random)).collect();
    let parked = futures::stream::iter(&messages).map(|message| park(&handler, message)).buffer_unordered(8);
    parked.for_each(async |answer| assert_eq!(answer.status, 200, "{}", answer.text)).await;
    assert!(handler.logged().contains("many messages are parked"), "no alarm from a thousand on");
    drop(handler);

    // A new process has read none of them yet.
    let handler = Handler::start_with(&site, &settings).await;
    for _ in 0..3 {
        let requests = (0..16).map(|_| page(&handler, None));
        for status in futures::future::join_all(requests).await {
            assert_eq!((&status["parkedCount"], status["parked"].as_array().unwrap().len()), (&json!(MESSAGES), 100));
        }
    }
    let (mut ids, mut after, mut last, mut pages) = (BTreeSet::new(), None, 0, 0);
    loop {
        let status = page(&handler, after.as_deref()).await;
        for parked in status["parked"].as_array().unwrap() {
            let at = parked["parkedAtMs"].as_i64().unwrap();
            assert!(at >= last, "not the oldest first");
            last = at;
            assert!(parked["blob"].as_str().unwrap().starts_with("blob:landing/orders/"), "{parked}");
            assert!(parked.to_string().len() < 1_000, "its body is listed, too");
            assert!(ids.insert(parked["id"].as_str().unwrap().to_owned()), "listed twice: {parked}");
        }
        pages += 1;
        match status["parkedNext"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((pages, ids.len()), (12, MESSAGES));
    // All can be tried again, a few hundred an answer.
    let (mut handed_out, mut after, mut answers) = (BTreeSet::new(), Value::Null, 0);
    loop {
        let answer =
            handler.post("retry", http_envelope("retry", Some(&json!({ "all": true, "after": after }).to_string())));
        let answer = answer.await.json();
        for task in answer["Outputs"]["tasks"].as_array().unwrap() {
            let task: Value = serde_json::from_str(task.as_str().unwrap()).unwrap();
            assert!(handed_out.insert(task["parked"].as_str().unwrap().to_owned()), "handed out twice: {task}");
        }
        answers += 1;
        let body: Value = serde_json::from_str(answer["Outputs"]["res"]["body"].as_str().unwrap()).unwrap();
        assert!(body["retried"].as_u64().unwrap() <= 256, "{body}");
        after = body["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!((answers, &handed_out), (5, &ids));
    // One is found and read alone, all others stay; the sweep knows their blobs.
    let task = json!({ "task": "retry", "parked": ids.first().unwrap() }).to_string();
    assert_eq!(handler.queue("run_task", task.as_bytes()).await.status, 200);
    let sweep = json!({ "task": "sweep", "dataset": "orders", "asked": true }).to_string();
    assert_eq!(handler.queue("run_task", sweep.as_bytes()).await.status, 200);
    let all = handler.peak_memory() / 1_000_000;
    println!("{all} MB at the peak, for {} MB of parked messages", MESSAGES * BYTES / 1_000_000);
    assert!(all < BUDGET_MB + 100, "{all} MB resident");
    let (code, listed, _) = weir(&site, &["parked"], &[]);
    assert_eq!((code, listed.lines().count()), (0, MESSAGES), "{}", &listed[..300.min(listed.len())]);
    assert!(listed.trim_end().ends_with(&format!("{} parked", MESSAGES - 1)));
    let log = std::fs::read_dir(site.path("lake/weir__parked/_delta_log")).unwrap();
    assert!(
        log.filter(|entry| entry.as_ref().unwrap().path().ends_with("_last_checkpoint")).count() == 1,
        "a log of 1,200 commits"
    );
}

/// The lake's own table, with as many messages as it may hold.
async fn full(site: &Site, count: usize) {
    std::fs::create_dir_all(site.path("lake")).unwrap();
    let store = Arc::new(LocalFileSystem::new_with_prefix(site.path("lake")).unwrap());
    let lake = Lake::new(store, Path::default(), LakeOptions::new(|| 1_780_000_000_000));
    let definition = TableDefinition {
        name: "weir__parked".to_owned(),
        columns: Contract::refused_columns(),
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Add,
        added_columns: None,
        transactions: (0..count).map(|number| (format!("blob-events/{number:024x}"), 1)).collect(),
    };
    lake.table(&definition).await.unwrap();
}

/// Also a table of an earlier release, which had no columns for the blob.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_ten_thousand_messages_are_parked_and_one_can_be_given_up() {
    let site = Site::new();
    full(&site, 9_999).await;
    let handler = Handler::start(&site).await;
    let first = b"one more";
    let answer = park(&handler, first).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = park(&handler, b"and another").await;
    assert!(
        answer.status == 500 && answer.text.contains("10000 messages are parked, and no more are taken"),
        "{}",
        answer.text
    );
    // What is parked is not parked again, and so is no more either.
    assert_eq!(park(&handler, first).await.status, 200);
    let status = handler.status().await;
    assert_eq!((&status["parkedCount"], status["parked"].as_array().unwrap().len()), (&json!(10_000), 1));
    let id = status["parked"][0]["id"].as_str().unwrap();
    let (code, said, complaint) = weir(&site, &["parked", "--discard", id], &[]);
    assert!(code == 0 && said.contains("discarded"), "{said}{complaint}");
    assert_ne!(weir(&site, &["parked", "--discard", id], &[]).0, 0, "it is parked no longer");
    let answer = park(&handler, b"and another").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// What others wrote does not drive the terminal that lists it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_has_one_line_for_a_message_whatever_it_says() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let path = "orders/a\n\u{1b}[2Jforged  0 parked\r.csv";
    let data = json!({ "url": format!("https://acct.blob.core.windows.net/landing/{}", path.replace('\n', "%0A").replace('\u{1b}', "%1B").replace('\r', "%0D").replace(' ', "%20")) });
    let event = json!({ "id": "1", "eventType": "Microsoft.Storage.BlobCreated", "data": data }).to_string();
    assert_eq!(park(&handler, event.as_bytes()).await.status, 200);
    let (code, listed, _) = weir(&site, &["parked"], &[]);
    assert_eq!((code, listed.lines().count()), (0, 2), "{listed:?}");
    assert!(listed.contains("forged") && !listed.contains('\u{1b}') && !listed.contains('\r'), "{listed:?}");
}
