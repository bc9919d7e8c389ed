//! Input that is small and asks for much: memory follows the budget, time follows the bytes, and every delivery gets
//! further.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use serde_json::{Value, json};
use weir_hostile::number;

use super::handler::{Batch, Handler, books};
use super::site::{CLICKS, ORDERS, Site};

const BUDGET: (&str, &str) = ("WEIR_MEMORY_BUDGET_MB", "512");
/// The budget and 200 MB.
const MOST_MEMORY: u64 = (512 + 200) << 20;
const SOURCE: &str = "eventhub:ns/clicks/0";

/// Takes bodies of every kind; every column may be null, and none is judged.
fn any_record() -> String {
    let (before, _) = CLICKS.split_once("[[rules]]").unwrap();
    before.replace("[format]\ntype = \"ndjson\"\n", "").replace("nullable = false\n", "")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An object container file with one record in one block.
fn avro(schema: &Value, datum: &[u8]) -> Vec<u8> {
    let text = |text: &str| [number(text.len() as i64), text.as_bytes().to_vec()].concat();
    let header =
        [b"Obj\x01".to_vec(), number(1), text("avro.schema"), text(&schema.to_string()), number(0), vec![7; 16]];
    [header.concat(), number(1), number(datum.len() as i64), datum.to_vec(), vec![7; 16]].concat()
}

/// An array of nulls in many blocks, each of which says that it has as many items as there are bytes left.
fn array_without_end(blocks: i64) -> Vec<u8> {
    let schema = json!({ "type": "record", "name": "R", "fields": [
        { "name": "n", "type": { "type": "array", "items": "null" } }] });
    let datum: Vec<u8> = (0..blocks).rev().flat_map(|left| number(2 * left + 1)).chain([0]).collect();
    avro(&schema, &datum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_asks_for_time_without_end_stops_nobody() {
    let site = Site::new();
    site.contract("clicks", &any_record());
    let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_DEADLINE_S", "10")]).await;
    let bodies = [array_without_end(100), array_without_end(1_000), array_without_end(300_000)];
    let mut events: Vec<(i64, Vec<u8>)> = (0..).zip(bodies).collect();
    events.push((3, b"{\"n\":3}".to_vec()));
    let began = Instant::now();
    let receipt = handler.events(&Batch { partition: 0, events }).await.receipt();
    assert_eq!(books(&receipt)[0], 4);
    assert!(site.rows("clicks", &["n"]).await.contains(&"3".to_owned()));
    let quarantined = site.quarantined("clicks", SOURCE).await;
    assert!(
        quarantined.iter().any(|record| record.position == 2 && record.reasons.contains("512 times")),
        "{:?}",
        quarantined.iter().map(|record| &record.reasons).collect::<Vec<_>>()
    );
    // Next to it the partition goes on.
    assert_eq!(books(&handler.events(&Batch::of(0, &[(4, "{\"n\":4}")])).await.receipt()), [1, 1, 0, 0]);
    println!("{:?}, {} MiB", began.elapsed(), handler.peak_memory() >> 20);
    assert!(handler.peak_memory() < MOST_MEMORY);
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_paid_for_with_bytes() {
    let site = Site::new();
    site.contract("clicks", &any_record());
    let handler = Handler::start_with(&site, &[BUDGET]).await;
    // A million records of two bytes; 3 kB packed.
    let packed = gzip(&b"{}\n".repeat(1_000_000));
    assert!(packed.len() < 5_000, "{}", packed.len());
    let batch = Batch { partition: 0, events: (0..32).map(|at| (at, packed.clone())).collect() };
    assert_eq!(books(&handler.events(&batch).await.receipt()), [32, 0, 32, 0]);
    let quarantined = site.quarantined("clicks", SOURCE).await;
    let reason = "the body unpacks to more than 200 times its size and 1 MiB";
    assert!(quarantined.iter().all(|record| record.reasons == reason), "{}", quarantined[0].reasons);
    // At the limit an empty record is a record, packed and plain; one more, and there is none.
    let (just, above) = (b"{}\n".repeat(10_000), b"{}\n".repeat(10_000 + 100));
    let events = vec![(32, gzip(&just)), (33, gzip(&above)), (34, b"{}\n".repeat(100_000)), (35, b"{}".to_vec())];
    assert_eq!(books(&handler.events(&Batch { partition: 0, events }).await.receipt()), [110_002, 110_001, 1, 0]);
    // Plain events of a megabyte, all of them empty records.
    let crowd = b"{}\n".repeat(340_000);
    let batch = Batch { partition: 0, events: (36..44).map(|at| (at, crowd.clone())).collect() };
    assert_eq!(books(&handler.events(&batch).await.receipt()), [2_720_000, 2_720_000, 0, 0]);
    println!("{} MiB", handler.peak_memory() >> 20);
    assert!(handler.peak_memory() < MOST_MEMORY, "{} MiB", handler.peak_memory() >> 20);
    assert_eq!(handler.status().await["balanced"], true);
}

/// The time of an invocation is not enough for the batch: each delivery commits some of it, and the last one the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_takes_longer_than_an_invocation_gets_further_each_time() {
    let site = Site::new();
    site.contract("clicks", &any_record());
    let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_DEADLINE_S", "1")]).await;
    let lines: String = (0..12_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let (events, records) = (1_000, 12_000_u64);
    let body = gzip(lines.as_bytes());
    let batch = Batch { partition: 0, events: (0..events).map(|at| (at, body.clone())).collect() };
    let (mut deliveries, mut before) = (0, 0);
    let receipt = loop {
        deliveries += 1;
        let answer = handler.events(&batch).await;
        if answer.status == 200 {
            break answer.receipt();
        }
        let (log, unfinished) = (site.log("clicks").len(), answer.text.contains("the next delivery goes on with them"));
        assert!(!unfinished || log > before, "nothing was committed: {}", answer.text);
        before = log;
        assert!(deliveries < 100, "{}", answer.text);
    };
    println!("{deliveries} deliveries, {} commits, {} MiB", site.log("clicks").len(), handler.peak_memory() >> 20);
    assert!(deliveries > 1 && site.log("clicks").len() > 2, "{deliveries}");
    assert_eq!(books(&receipt)[0], books(&receipt)[1] + books(&receipt)[3]);
    let status = handler.status().await;
    let clicks = super::operations::dataset(&status, "clicks");
    assert_eq!(clicks["table"]["books"]["committed"], events as u64 * records);
    assert_eq!(status["balanced"], true);
    assert!(handler.peak_memory() < MOST_MEMORY, "{} MiB", handler.peak_memory() >> 20);
}

/// A rule that holds a batch back judges what is committed together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_holds_back_does_not_stop_a_batch_that_takes_long() {
    let site = Site::new();
    site.contract("clicks", &CLICKS.replace("[format]\ntype = \"ndjson\"\n", ""));
    let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_DEADLINE_S", "2")]).await;
    let lines: String = (0..12_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let body = gzip(lines.as_bytes());
    let batch = Batch { partition: 0, events: (0..200).map(|at| (at, body.clone())).collect() };
    let mut deliveries = 0;
    while handler.events(&batch).await.status != 200 {
        deliveries += 1;
        assert!(deliveries < 100);
    }
    let status = handler.status().await;
    let clicks = super::operations::dataset(&status, "clicks");
    assert_eq!(clicks["table"]["books"]["committed"], 200 * 12_000);
    assert_eq!(status["balanced"], true);
}

/// Through a temporary file, in parts; delivered twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_above_the_limit_is_committed_in_parts() {
    let site = Site::new();
    site.contract("clicks", &any_record());
    let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_MAX_BODY_MB", "1")]).await;
    let pad = "x".repeat(100_000);
    let events = (0..60).map(|n| (n, format!("{{\"n\":{n},\"pad\":\"{pad}\"}}").into_bytes())).collect();
    let batch = Batch { partition: 0, events };
    let receipt = handler.events(&batch).await.receipt();
    assert_eq!(receipt["outcome"], "committed", "of the last part");
    let mut rows = site.rows("clicks", &["n"]).await;
    rows.sort_by_key(|row| row.parse::<i64>().unwrap());
    assert_eq!(rows, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(site.log("clicks").len() > 10, "in parts");
    assert_eq!(handler.events(&batch).await.receipt()["outcome"], "alreadyCommitted");
    // One event alone is larger than the limit; what is no base64 stays what it was.
    let wide = format!("{{\"n\":60,\"pad\":\"{}\"}}", "x".repeat(900_000));
    let events = vec![(60, wide.into_bytes()), (61, b"{\"n\":61}".to_vec()), (62, vec![b'{'; 300_000])];
    assert_eq!(handler.events(&Batch { partition: 0, events }).await.status, 200);
    assert_eq!(site.each_place_once("clicks").await, 63);
    assert_eq!(site.quarantined("clicks", SOURCE).await[0].position, 62);
    assert_eq!(handler.status().await["balanced"], true);
    // What is no batch is refused as before.
    let text = format!("{{\"Data\":{{\"events\":\"{}\"}},\"Metadata\":{{}}}}", "x".repeat(2 << 20));
    assert_eq!(handler.post("ingest_clicks", text).await.status, 413);
    assert_eq!(handler.post("ingest_blob", "x".repeat(2 << 20)).await.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_hundreds_of_megabytes_takes_a_part_of_them() {
    let site = Site::new();
    site.contract("clicks", &any_record());
    let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_MAX_BODY_MB", "16")]).await;
    let event = format!("{{\"n\":1,\"pad\":\"{}\"}}", "x".repeat(900 << 10)).into_bytes();
    let batch = Batch { partition: 0, events: (0..250).map(|at| (at, event.clone())).collect() };
    let body = batch.envelope().to_string();
    assert!(body.len() > 280 << 20);
    assert_eq!(handler.post("ingest_clicks", body).await.status, 200);
    assert_eq!(site.rows("clicks", &["n"]).await.len(), 250);
    println!("{} MiB", handler.peak_memory() >> 20);
    assert!(handler.peak_memory() < MOST_MEMORY, "{} MiB", handler.peak_memory() >> 20);
}

/// Records that are short, many, and wide by what stands around them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_takes_no_more_memory_than_the_budget() {
    let added = ORDERS
        .replace("orders/*.csv\", \"orders/*.csv.gz", "orders/*.ndjson")
        .replace("type = \"csv\"", "type = \"ndjson\"")
        .replace("nullable = false\n", "")
        + "[drift]\nunknown_fields = \"add\"\nmax_added_columns = 1024\n";
    let plain = added.replace("\"add\"\nmax_added_columns = 1024", "\"rescue\"");
    let fields = |row: usize| -> String {
        let members: Vec<String> = (0..40).map(|at| format!("\"f{}\":1", (row * 40 + at) % 1_024)).collect();
        format!("{{{}}}\n", members.join(","))
    };
    let wide: String = (0..12_000).map(fields).collect();
    let columns: String = (0..300).map(|at| format!("[[columns]]\nname = \"c{at}\"\ntype = \"string\"\n")).collect();
    let many = plain.replace(
        "[[rules]]\nname = \"amount_is_positive\"",
        &format!("{columns}[[rules]]\nname = \"amount_is_positive\""),
    );
    let open: String = (0..1_000_000).map(|n| format!("\"{n},1.00,x\n")).collect();
    let cases = [
        ("lines that open a quote", ORDERS.to_owned(), "orders/a.csv", open),
        ("added columns", added, "orders/a.ndjson", wide),
        ("empty records", plain, "orders/a.ndjson", "{}\n".repeat(5_000_000)),
        ("empty records of many columns", many, "orders/a.ndjson", "{}\n".repeat(300_000)),
    ];
    for (what, contract, path, content) in cases {
        let site = Site::new();
        site.contract("orders", &contract);
        let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_DEADLINE_S", "240")]).await;
        let (began, bytes) = (Instant::now(), content.len());
        let message = site.put(path, content).await;
        let receipt = handler.ingest(&message).await;
        let (peak, took) = (handler.peak_memory(), began.elapsed());
        println!("{what}: {bytes} bytes, {:?}, {} MiB, {took:?}", books(&receipt), peak >> 20);
        assert!(peak < MOST_MEMORY, "{what}: {} MiB", peak >> 20);
        assert!(took < Duration::from_secs(120), "{what}: {took:?}");
    }
}
