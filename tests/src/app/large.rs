//! Blobs that are larger than one go: cut into parts, or read piece by piece; visible in one commit.

use std::collections::VecDeque;
use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::handler::{Answer, Handler, books};
use super::site::{ORDERS, Site};

/// 1 MiB is the least that a contract may say.
pub(super) const CUT: &str = "type = \"csv\"\nquoted_newlines = false\nsplit_bytes = 1_048_576";
const PIECES: &str = "type = \"csv\"\nsplit_bytes = 1_048_576";
const RECORDS: u32 = 100_000;
const PART: i64 = 1 << 40;

pub(super) fn contract(format: &str) -> String {
    ORDERS.replace("type = \"csv\"", format)
}

/// 6 MB; every thousandth record is faulty.
pub(super) fn content() -> String {
    let mut content = "id,amount,note\n".to_owned();
    for id in 0..RECORDS {
        let amount = if id % 1_000 == 7 { "-1.00" } else { "12.50" };
        content += &format!("{id},{amount},a note that takes some bytes, number {id}\n").replace("bytes,", "bytes");
    }
    content
}

/// What an answer hands on to the queue `tasks`.
pub(super) fn tasks(answer: &Answer) -> Vec<Value> {
    let tasks = answer.json()["Outputs"]["tasks"].as_array().cloned().unwrap_or_default();
    tasks.iter().map(|task| serde_json::from_str(task.as_str().unwrap()).unwrap()).collect()
}

async fn run(handler: &Handler, task: &Value) -> Answer {
    handler.queue("run_task", task.to_string().as_bytes()).await
}

pub(super) async fn check(site: &Site, handler: &Handler) {
    let ids = site.rows("orders", &["id"]).await;
    assert_eq!(ids.len() as u32, RECORDS - RECORDS / 1_000);
    let quarantined = site.quarantined("orders", "blob:landing/orders/big.csv").await;
    assert_eq!(quarantined.len() as u32, RECORDS / 1_000);
    assert_eq!(site.each_place_once("orders").await as u32, RECORDS);
    let status = handler.status().await;
    assert_eq!(status["balanced"], true);
    let orders = super::operations::dataset(&status, "orders");
    assert_eq!(orders["inProgress"], json!([]), "notes are cleared away");
    assert_eq!(orders["table"]["books"]["recordsIn"], RECORDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_read_anywhere_in_any_order_twice_and_committed_once() {
    let site = Site::new();
    site.contract("orders", &contract(CUT));
    let handlers = [Handler::start(&site).await, Handler::start(&site).await];
    let content = content();
    let message = site.put("orders/big.csv", &content).await;
    let answer = handlers[0].queue("ingest_blob", &message).await;
    assert_eq!(answer.receipt()["outcome"], "handedOut");
    let mut parts = tasks(&answer);
    assert_eq!(parts.len(), content.len().div_ceil(1 << 20));
    // The same message again hands out the same; another message leaves it to that one.
    assert_eq!(tasks(&handlers[1].queue("ingest_blob", &message).await), parts);
    let task = json!({ "task": "ingest_blob", "dataset": "orders", "container": "landing", "path": "orders/big.csv" });
    let other = handlers[1].queue_with("run_task", task.to_string().as_bytes(), "another message").await;
    assert_eq!((other.receipt()["outcome"].as_str(), tasks(&other).len()), (Some("inProgress"), 0));

    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    parts.extend(parts.clone());
    parts.shuffle(&mut random);
    let half = parts.len() / 2;
    for (number, part) in parts.iter().take(half).enumerate() {
        run(&handlers[number % 2], part).await.receipt();
    }
    let status = handlers[0].status().await;
    let orders = super::operations::dataset(&status, "orders");
    if let Some(progress) = orders["inProgress"].as_array().unwrap().first() {
        assert_eq!(progress["source"], "blob:landing/orders/big.csv");
        assert_eq!(progress["parts"], parts.len() / 2);
        assert!(site.rows("orders", &["id"]).await.is_empty(), "nothing is visible before all is");
    }
    let rest = parts[half..].iter().enumerate().map(|(number, part)| run(&handlers[number % 2], part));
    let outcomes: Vec<_> =
        futures::future::join_all(rest).await.iter().map(|answer| answer.receipt()["outcome"].clone()).collect();
    println!("{outcomes:?}");
    check(&site, &handlers[0]).await;
    // One commit for all, beside the table's first.
    assert_eq!(site.log("orders").len(), 2);
    let positions = site.rows("orders", &["_source_position"]).await;
    let highest = positions.iter().map(|position| position.parse::<i64>().unwrap()).max().unwrap();
    assert_eq!(highest / PART, parts.len() as i64 / 2 - 1);
    assert_eq!(run(&handlers[1], &parts[0]).await.receipt()["outcome"], "alreadyCommitted");
}

/// With a header that the parts have to know, and content that one part alone would not tell the share of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_in_parts_is_held_back_whole() {
    let site = Site::new();
    site.contract("orders", &(contract(CUT) + "[quality]\nmax_faulty = 0.0005\n"));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", content()).await;
    let mut last = Value::Null;
    for part in tasks(&handler.queue("ingest_blob", &message).await) {
        last = run(&handler, &part).await.receipt();
    }
    assert_eq!((&last["outcome"], books(&last)), (&json!("heldBack"), [1, 0, 1, 0]));
    assert!(site.rows("orders", &["id"]).await.is_empty());
    let quarantined = site.quarantined("orders", "blob:landing/orders/big.csv").await;
    assert_eq!(quarantined.len(), 1);
    assert!(quarantined[0].reasons.contains("100 of 100000"), "{}", quarantined[0].reasons);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Every line of it is in the books once, the first too, and all parts agree on why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_in_parts_without_a_header_is_refused_whole() {
    let site = Site::new();
    site.contract("orders", &contract(CUT));
    let handler = Handler::start(&site).await;
    let content = content();
    let (_, headless) = content.split_once('\n').unwrap();
    let message = site.put("orders/big.csv", headless).await;
    let mut last = Value::Null;
    for part in tasks(&handler.queue("ingest_blob", &message).await) {
        last = run(&handler, &part).await.receipt();
    }
    let count = u64::from(RECORDS);
    assert_eq!(books(&last), [count, 0, count, 0]);
    let quarantined = site.quarantined("orders", "blob:landing/orders/big.csv").await;
    assert_eq!((quarantined.len() as u64, quarantined[0].position), (count, 0));
    let reason = "the header has none of the contract's columns";
    assert!(quarantined.iter().all(|record| record.reasons == reason), "{}", quarantined[1].reasons);
    assert_eq!(site.each_place_once("orders").await as u32, RECORDS);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Lone carriage returns end lines for whoever reads a part, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_in_parts_may_have_lone_carriage_returns() {
    let site = Site::new();
    site.contract("orders", &contract(CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", content().replace('\n', "\r")).await;
    for part in tasks(&handler.queue("ingest_blob", &message).await) {
        run(&handler, &part).await.receipt();
    }
    check(&site, &handler).await;
}

/// Parts that were written under another contract are not put together with those under this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_changes_on_the_way_begins_anew() {
    let site = Site::new();
    site.contract("orders", &contract(CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", content()).await;
    let parts = tasks(&handler.queue("ingest_blob", &message).await);
    for part in &parts[..parts.len() - 1] {
        assert_eq!(run(&handler, part).await.receipt()["outcome"], "partWritten");
    }
    handler.kill();
    site.contract("orders", &contract(CUT).replace("1_048_576", "2_097_152"));
    let handler = Handler::start(&site).await;
    let mut waiting = VecDeque::from(vec![parts[parts.len() - 1].clone()]);
    let mut steps = 0;
    while let Some(task) = waiting.pop_front() {
        waiting.extend(tasks(&run(&handler, &task).await));
        steps += 1;
    }
    assert!(steps > 3, "{steps}");
    let ids = site.rows("orders", &["id"]).await;
    assert_eq!(ids.len() as u32, RECORDS - RECORDS / 1_000);
    assert_eq!(site.each_place_once("orders").await as u32, RECORDS);
    assert_eq!(handler.status().await["balanced"], true);
}

/// A version that is overwritten when all of it but one part is written leaves nothing to the next version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_an_overwritten_version_stay_behind() {
    let site = Site::new();
    site.contract("orders", &contract(CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", content()).await;
    let old = tasks(&handler.queue("ingest_blob", &message).await);
    for part in &old[..old.len() - 1] {
        assert_eq!(run(&handler, part).await.receipt()["outcome"], "partWritten");
    }
    // As long as the first, so that it is cut at the same places.
    let message = site.put("orders/big.csv", content().replace("some", "more")).await;
    let parts = tasks(&handler.queue("ingest_blob", &message).await);
    assert_eq!(parts.len(), old.len());
    assert_eq!(run(&handler, &old[old.len() - 1]).await.receipt()["outcome"], "overwritten");
    for part in &parts {
        run(&handler, part).await.receipt();
    }
    let notes = site.rows("orders", &["note"]).await;
    assert_eq!(notes.len() as u32, RECORDS - RECORDS / 1_000);
    assert!(notes.iter().all(|note| note.contains("more")), "rows of the old version");
    assert_eq!(site.each_place_once("orders").await as u32, RECORDS);
}

/// Vacuum may have taken the files of notes that are a day old: they are not continued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_that_are_too_old_are_not_continued() {
    let site = Site::new();
    site.contract("orders", &contract(CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", content()).await;
    let parts = tasks(&handler.queue("ingest_blob", &message).await);
    for part in &parts[1..] {
        assert_eq!(run(&handler, part).await.receipt()["outcome"], "partWritten");
    }
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3_600);
    for key in std::fs::read_dir(site.path("lake/orders/_weir_staging")).unwrap() {
        for note in std::fs::read_dir(key.unwrap().path()).unwrap() {
            let note = std::fs::File::options().write(true).open(note.unwrap().path()).unwrap();
            note.set_modified(yesterday).unwrap();
        }
    }
    let answer = run(&handler, &parts[0]).await;
    assert_eq!(answer.receipt()["outcome"], "handedOut");
    let mut waiting = VecDeque::from(tasks(&answer));
    assert_eq!(waiting[0]["task"], "ingest_blob", "from the beginning");
    while let Some(task) = waiting.pop_front() {
        waiting.extend(tasks(&run(&handler, &task).await));
    }
    check(&site, &handler).await;
}

/// A blob that cannot be cut is read piece by piece: whoever is killed is followed by one that goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_where_a_kill_stopped_it() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    // Larger than many chunks, so that there are several pieces.
    let mut content = "id,amount,note\n".to_owned();
    let lines: u32 = 1_500_000;
    (0..lines).for_each(|id| content += &format!("{id},12.50,a note that takes some bytes {id}\n"));
    packed.write_all(content.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for (path, bytes) in [("orders/big.csv", content.into_bytes()), ("orders/big.csv.gz", packed)] {
        let site = Site::new();
        site.contract("orders", &contract(PIECES));
        let message = site.put(path, &bytes).await;
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut kills = 0;
        let pieces = || {
            let folder = site.path("lake/orders/_weir_staging");
            let notes = |key: std::fs::DirEntry| std::fs::read_dir(key.path()).map_or(0, Iterator::count);
            std::fs::read_dir(folder).map_or(0, |keys| keys.map_while(Result::ok).map(notes).sum())
        };
        let mut seen = Vec::new();
        let receipt = loop {
            let handler = Handler::start(&site).await;
            let patience =
                std::time::Duration::from_millis(if kills < 4 { random.random_range(300..1_500) } else { 60_000 });
            let answer = tokio::time::timeout(patience, handler.queue("ingest_blob", &message)).await;
            seen.push(pieces());
            handler.kill();
            match answer {
                Ok(answer) => break answer.receipt(),
                Err(_) => kills += 1,
            }
        };
        println!("{path}: {kills} kills, notes after each: {seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0] <= pair[1] || pair[1] == 0), "work was thrown away: {seen:?}");
        // A kill may come between the commit and the answer: who follows finds it done.
        if kills == 0 || receipt["outcome"] != "alreadyCommitted" {
            assert_eq!(books(&receipt), [u64::from(lines), u64::from(lines), 0, 0]);
        }
        assert_eq!(site.rows("orders", &["_source_position"]).await.len() as u32, lines);
        assert_eq!(site.each_place_once("orders").await as u32, lines);
        assert_eq!(site.log("orders").len(), 2, "one commit");
    }
}
