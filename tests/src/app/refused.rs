//! Records that are refused, millions of them: memory follows the budget, however short they are and whatever is wrong.

use std::sync::Arc;
use std::time::Instant;

use parquet::data_type::Int64Type;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use weir_hostile::number;

use super::handler::{Handler, books};
use super::site::{ORDERS, Site};

const BUDGET: (&str, &str) = ("WEIR_MEMORY_BUDGET_MB", "512");
/// The budget and 200 MB.
const MOST_MEMORY: u64 = (512 + 200) << 20;

async fn refused(what: &str, path: &str, records: usize, content: Vec<u8>) {
    let site = Site::new();
    let (before, _) = ORDERS.split_once("[warehouse]").unwrap();
    site.contract(
        "orders",
        &before.replace("\"orders/*.csv\", \"orders/*.csv.gz\"", "\"orders/*\"").replace("type = \"csv\"\n", ""),
    );
    let handler = Handler::start_with(&site, &[BUDGET, ("WEIR_DEADLINE_S", "240")]).await;
    let (began, bytes) = (Instant::now(), content.len());
    let message = site.put(path, content).await;
    let receipt = handler.ingest(&message).await;
    let (peak, took) = (handler.peak_memory(), began.elapsed());
    println!("{what}: {bytes} bytes, {:?}, {} MiB, {took:?}", books(&receipt), peak >> 20);
    assert_eq!(books(&receipt), [records as u64, 0, records as u64, 0], "{what}");
    assert!(peak < MOST_MEMORY, "{what}: {} MiB", peak >> 20);
}

const LINES: usize = 7_500_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lines_that_are_refused_take_no_more_than_the_budget() {
    let lines = |header: &str, line: &[u8]| [header.as_bytes(), &line.repeat(LINES)].concat();
    refused("one field", "orders/a.csv", LINES, lines("id,amount,note\n", b"x\n")).await;
    refused("two fields", "orders/a.csv", LINES, lines("id,amount,note\n", b",\n")).await;
    refused("no text", "orders/a.csv", LINES, lines("id,amount,note\n", b"\xff\n")).await;
    refused("lone carriage returns", "orders/a.csv", LINES, lines("id,amount,note\r", b",\r")).await;
    refused("no objects", "orders/a.ndjson", LINES, lines("", b"1\n")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_with_hundreds_of_faults_take_no_more_than_the_budget() {
    let line = [&b"\"a\"b,".repeat(300)[..], b"\n"].concat();
    let lines = (32 << 20) / line.len();
    refused("fields", "orders/a.csv", lines, [&b"id,amount,note\n"[..], &line.repeat(lines)].concat()).await;
    let line = [&b"{"[..], &b"\"id\":1,".repeat(300), b"\"x\":1}\n"].concat();
    let lines = (32 << 20) / line.len();
    refused("given twice", "orders/a.ndjson", lines, line.repeat(lines)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_refused_take_no_more_than_the_budget() {
    let rows = 4_000_000;
    let schema = Arc::new(parse_message_type("message m { required int64 other; }").unwrap());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    for some in (0..rows as i64).collect::<Vec<_>>().chunks(100_000) {
        column.typed::<Int64Type>().write_batch(some, None, None).unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    refused("parquet", "orders/a.parquet", rows, file.into_inner().unwrap()).await;
    let schema = json!({ "type": "record", "name": "R", "fields": [{ "name": "id", "type": "string" }] }).to_string();
    let text = |text: &str| [number(text.len() as i64), text.as_bytes().to_vec()].concat();
    let header = [b"Obj\x01".to_vec(), number(1), text("avro.schema"), text(&schema), vec![0], vec![7; 16]];
    let data = [2, b'x'].repeat(rows / 8);
    let block = [number(rows as i64 / 8), number(data.len() as i64), data, vec![7; 16]];
    refused("avro", "orders/a.avro", rows, [header.concat(), block.concat().repeat(8)].concat()).await;
}
