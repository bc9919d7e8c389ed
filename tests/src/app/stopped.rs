//! Nothing runs on for an invocation that was answered: of each format, work that would take long ends soon after its
//! deadline.

use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use serde_json::json;
use weir_hostile::number;

use super::handler::{Batch, Handler};
use super::site::{CLICKS, ORDERS, Site};

const DEADLINE: (&str, &str) = ("WEIR_DEADLINE_S", "1");
/// CPU time that may go by after the answer.
const MOST: Duration = Duration::from_secs(2);
/// Work that takes less is none.
const IDLE: Duration = Duration::from_millis(30);
const LOOK: Duration = Duration::from_millis(250);

/// What the handler goes on with after it has answered. CPU time.
async fn goes_on(handler: &Handler) -> Duration {
    let answered = handler.cpu();
    let (mut before, began) = (answered, Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let now = handler.cpu();
        if now - before < IDLE || began.elapsed() > Duration::from_secs(60) {
            return now - answered;
        }
        before = now;
    }
}

/// Many columns, and rules and pseudonyms on them, so that there is much to do for each byte.
fn contract() -> String {
    let (before, _) = ORDERS.split_once("[[rules]]").unwrap();
    let before =
        before.replace("\"orders/*.csv\", \"orders/*.csv.gz\"", "\"orders/*\"").replace("type = \"csv\"\n", "");
    let columns: String = (0..60)
        .map(|at| format!("[[columns]]\nname = \"c{at}\"\ntype = \"string\"\npersonal = \"pseudonym\"\n"))
        .collect();
    before + &columns
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

const ROWS: usize = 400_000;

fn csv() -> Vec<u8> {
    let names: Vec<String> = (0..60).map(|at| format!("c{at}")).collect();
    let row = format!("1,{}\n", ["x"; 60].join(","));
    (format!("id,{}\n", names.join(",")) + &row.repeat(ROWS)).into_bytes()
}

fn object() -> String {
    let members: Vec<String> = (0..60).map(|at| format!("\"c{at}\":\"x\"")).collect();
    format!("{{\"id\":1,{}}}", members.join(","))
}

fn avro() -> Vec<u8> {
    let fields: Vec<_> = (0..60).map(|at| json!({ "name": format!("c{at}"), "type": "string" })).collect();
    let schema = json!({ "type": "record", "name": "R", "fields": fields }).to_string();
    let text = |text: &str| [number(text.len() as i64), text.as_bytes().to_vec()].concat();
    let header = [b"Obj\x01".to_vec(), number(1), text("avro.schema"), text(&schema), vec![0], vec![7; 16]].concat();
    let data = [2, b'x'].repeat(60 * ROWS / 10);
    let block = [number(ROWS as i64 / 10), number(data.len() as i64), data, vec![7; 16]].concat();
    [header, block.repeat(10)].concat()
}

fn parquet() -> Vec<u8> {
    use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom, ParquetWriter, Series};
    let column = |at: usize| Series::new(format!("c{at}").into(), vec!["x"; ROWS]).into_column();
    let columns: Vec<Column> = (0..60).map(column).collect();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut DataFrame::new(ROWS, columns).unwrap()).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_a_blob_ends_soon_after_its_answer() {
    let lines = || (object() + "\n").repeat(ROWS).into_bytes();
    let document = || [b"[".to_vec(), (object() + ",").repeat(ROWS).into_bytes(), b"{}]".to_vec()].concat();
    let blobs: [(&str, Vec<u8>); 6] = [
        ("orders/a.csv", csv()),
        ("orders/a.ndjson", lines()),
        ("orders/a.json", document()),
        ("orders/a.ndjson.gz", gzip(&lines())),
        ("orders/a.avro", avro()),
        ("orders/a.parquet", parquet()),
    ];
    for (path, content) in blobs {
        let site = Site::new();
        site.contract("orders", &contract());
        let handler = Handler::start_with(&site, &[DEADLINE]).await;
        let message = site.put(path, content).await;
        let (before, began) = (handler.cpu(), Instant::now());
        let answer = handler.queue("ingest_blob", &message).await;
        let (took, during) = (began.elapsed(), handler.cpu() - before);
        let after = goes_on(&handler).await;
        println!("{path}: {} after {took:?}, {during:?} of CPU, then {after:?}", answer.status);
        assert_eq!(answer.status, 500, "{path}: it was to be cut off: {}", answer.text);
        assert!(after < MOST, "{path}: went on for {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_events_ends_soon_after_its_answer() {
    let site = Site::new();
    let (before, _) = CLICKS.split_once("[[rules]]").unwrap();
    site.contract("clicks", &before.replace("[format]\ntype = \"ndjson\"\n", ""));
    let handler = Handler::start_with(&site, &[DEADLINE]).await;
    let lines: String = (0..100_000).map(|n| format!("{{\"n\":{n},\"x\":\"{n}\"}}\n")).collect();
    let body = gzip(lines.as_bytes());
    let batch = Batch { partition: 0, events: (0..60).map(|at| (at, body.clone())).collect() };
    let answer = handler.events(&batch).await;
    let after = goes_on(&handler).await;
    println!("events: {} then {after:?}", answer.status);
    assert!(after < MOST, "went on for {after:?}");
}
