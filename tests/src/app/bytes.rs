//! Books know bytes as well as records: what a blob or an event has was read, all of it, or the books do not balance.

use std::fs;
use std::io::Cursor;

use polars::prelude::*;
use serde_json::{Value, json};
use weir_lake::{Append, Books, Producer};

use super::bodies::{avro, gzip};
use super::command_line::weir;
use super::gaps::Hub;
use super::handler::{Batch, Handler};
use super::identity::Former;
use super::large;
use super::operations::dataset;
use super::site::{CLICKS, Site};

/// Bytes in, bytes read, records that they are of, records in.
fn counted(books: &Value) -> [u64; 4] {
    ["bytesIn", "bytesRead", "recordsWithBytes", "recordsIn"].map(|key| books[key].as_u64().unwrap())
}

async fn books(handler: &Handler, name: &str) -> Value {
    dataset(&handler.status().await, name)["table"]["books"].clone()
}

/// A contract that takes numbers in any form.
fn numbers(format: &str) -> String {
    format!(
        "name = \"numbers\"\n[source]\nkind = \"blob\"\ncontainer = \"landing\"\npath = [\"numbers/**\"]\n[format]\n{format}\n\
         [[columns]]\nname = \"n\"\ntype = \"long\"\nnullable = false\n"
    )
}

/// The blocks of such files, one after the other.
fn avro_blocks(numbers: std::ops::Range<i64>, each: i64) -> Vec<u8> {
    let numbers: Vec<i64> = numbers.collect();
    let header = avro(&[]).len() - 18; // a block of nothing: two numbers and the marker
    let mut file = avro(&[])[..header].to_vec();
    numbers.chunks(each as usize).for_each(|block| file.extend_from_slice(&avro(block)[header..]));
    file
}

fn parquet(count: i64, each: usize) -> Vec<u8> {
    let mut frame =
        df!("n" => (0..count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())).collect::<Vec<_>>())
            .unwrap();
    let mut file = Cursor::new(Vec::new());
    ParquetWriter::new(&mut file).with_row_group_size(Some(each)).finish(&mut frame).unwrap();
    file.into_inner()
}

/// Gives a blob to a handler, and what it hands on, until nothing is left; the last receipt.
async fn ingest(site: &Site, handler: &Handler, path: &str, content: &[u8]) -> (Value, usize) {
    let message = site.put(path, content).await;
    let answer = handler.queue("ingest_blob", &message).await;
    let (mut last, mut waiting, mut parts) = (answer.receipt(), large::tasks(&answer), 0);
    while let Some(task) = waiting.pop() {
        let answer = handler.queue("run_task", task.to_string().as_bytes()).await;
        waiting.extend(large::tasks(&answer));
        (last, parts) = (answer.receipt(), parts + 1);
    }
    (last, parts)
}

/// In one go, in parts and piece by piece; whole, refused and damaged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_blob_is_in_the_books() {
    let site = Site::new();
    let lines = |count: i64, line: fn(i64) -> String| (0..count).map(line).collect::<String>().into_bytes();
    let csv = |count| [b"n\n".to_vec(), lines(count, |n| format!("{n}\n"))].concat();
    let json = |count| lines(count, |n| format!("{{\"n\":{n}}}\n"));
    let document =
        |count| [b"[\n".to_vec(), lines(count, |n| format!("{{\"n\":{n}}},\n")), b"{\"n\":1}]  \n".to_vec()].concat();
    let torn = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
    let behind = |bytes: Vec<u8>| [bytes, b"{\"n\":1} and more".to_vec()].concat();
    let large = 300_000;
    let utf16: Vec<u8> = "\u{feff}n\n1\n2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let zstd = zstd::encode_all(&*csv(9_000), 1).unwrap();
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("csv", "a.csv", csv(10)),
        ("csv", "empty.csv", Vec::new()),
        ("csv", "only_header.csv", b"n\n".to_vec()),
        ("csv", "marked.csv", [vec![0xef, 0xbb, 0xbf], csv(3)].concat()),
        ("csv", "other_header.csv", b"x\n1\n2\n".to_vec()),
        ("csv", "open_quote.csv", [csv(3), b"\"4\n5\n".to_vec()].concat()),
        ("csv", "in_fact.csv", parquet(10, 5)),
        ("csv", "packed.csv.gz", gzip(&csv(9_000))),
        ("csv", "several.csv.gz", [gzip(&csv(9)), gzip(b"10\n11\n")].concat()),
        ("csv", "torn.csv.gz", torn(gzip(&csv(9_000)))),
        ("csv", "behind.csv.gz", behind(gzip(&csv(9)))),
        ("csv", "packed.csv.zst", zstd.clone()),
        ("csv", "torn.csv.zst", torn(zstd)),
        ("csv", "wide.csv", utf16),
        ("ndjson", "a.ndjson", json(10)),
        ("ndjson", "no_end.ndjson", b"{\"n\":1}\n{\"n\":2".to_vec()),
        ("json", "document.json", document(10)),
        ("json", "behind.json", behind(document(10))),
        ("json", "torn.json", torn(document(10))),
        ("json", "document.json.gz", gzip(&document(10))),
        ("avro", "a.avro", avro(&[1, 2, 3])),
        ("avro", "torn.avro", torn(avro(&[1, 2, 3]))),
        ("avro", "behind.avro", behind(avro(&[1, 2, 3]))),
        ("avro", "no.avro", b"Obj\x01".to_vec()),
        ("parquet", "a.parquet", parquet(100, 10)),
        ("parquet", "torn.parquet", torn(parquet(100, 10))),
        // In parts.
        ("lines", "parts.csv", csv(large)),
        ("ndjson", "parts.ndjson", json(large)),
        ("avro", "parts.avro", avro_blocks(0..2 * large, 1_000)),
        ("avro", "lost_block.avro", [avro_blocks(0..2 * large, 1_000), vec![0; 99], avro_blocks(0..9, 3)].concat()),
        ("parquet", "parts.parquet", parquet(large, 20_000)),
        // Piece by piece.
        ("csv", "pieces.csv", csv(large)),
        ("csv", "pieces.csv.gz", gzip(&csv(20 * large))),
        ("csv", "torn_pieces.csv.gz", torn(gzip(&csv(20 * large)))),
        ("json", "pieces.json", document(large)),
        ("parquet", "one_group.parquet", parquet(large, 1 << 30)),
    ];
    let mut expected = 0;
    let mut handler: Option<(String, Handler)> = None;
    for (format, name, content) in cases {
        let (kind, more) = if format == "lines" { ("csv", "quoted_newlines = false\n") } else { (format, "") };
        let format = format!("type = \"{kind}\"\n{more}split_bytes = 1_048_576");
        if handler.as_ref().is_none_or(|(current, _)| *current != format) {
            site.contract("numbers", &numbers(&format));
            handler = Some((format.clone(), Handler::start(&site).await));
        }
        let (_, handler) = handler.as_ref().unwrap();
        let (receipt, parts) = ingest(&site, handler, &format!("numbers/{name}"), &content).await;
        let size = content.len() as u64;
        let [bytes, read, of, records] = counted(&receipt["books"]);
        assert_eq!((bytes, read, of), (size, size, records), "{name}: {receipt}");
        assert_eq!(parts > 1, name.starts_with("parts.") || name == "lost_block.avro", "{name}: {parts}");
        expected += size;
        assert_eq!(counted(&books(handler, "numbers").await)[..2], [expected; 2], "{name}");
        // Again it is not counted again.
        let again = handler.ingest(&site.event(&format!("numbers/{name}")).await).await;
        assert_eq!(again["books"]["bytesIn"], 0, "{name}: {again}");
    }
    let (_, handler) = handler.unwrap();
    let status = handler.status().await;
    assert_eq!(status["balanced"], true, "{status}");
    assert_eq!(dataset(&status, "numbers").get("recordsWithoutBytes"), None);
    let (code, told, _) = weir(&site, &["status"], &[]);
    let line = told.lines().find(|line| line.starts_with("numbers ")).unwrap();
    assert_eq!((code, line.split_whitespace().nth(2)), (0, Some(&*expected.to_string())), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_events_is_in_the_books() {
    let (site, hub) = (Site::new(), Hub::start(40).await);
    let handler = hub.handler(&site).await;
    let size = |numbers: std::ops::Range<i64>| numbers.map(|n| json!({ "n": n }).to_string().len() as u64).sum::<u64>();
    handler.events(&Batch::counting(0, 0..10)).await.receipt();
    // Some came before; in between the host passed some over; and one that is refused.
    handler.events(&Batch::counting(0, 5..20)).await.receipt();
    handler.events(&Batch::counting(0, 30..35)).await.receipt();
    assert_eq!(counted(&books(&handler, "clicks").await)[..2], [size(0..35); 2]);
    let packed = gzip(b"{\"n\":1}\n{\"n\":2}\n");
    let events = vec![(35, packed.clone()), (36, b"no record".to_vec()), (37, packed[..20].to_vec()), (38, Vec::new())];
    let receipt = handler.events(&Batch { partition: 0, events }).await.receipt();
    let own = (packed.len() + 9 + 20) as u64;
    assert_eq!(counted(&receipt["books"]), [own, own, 5, 5]);
    // One that holds all back, whose rules are asked twice.
    site.contract("clicks", &CLICKS.replace("n < 1000000000", "n < 30"));
    let second = hub.handler(&site).await;
    let receipt = second.events(&Batch::counting(1, 0..40)).await.receipt();
    assert_eq!(counted(&receipt["books"])[..2], [size(0..40); 2]);
    let task = json!({ "task": "replay", "dataset": "clicks", "partition": 1, "window": { "from": 10, "to": 19 }, "request": "r" });
    let receipt = second.queue("run_task", task.to_string().as_bytes()).await.receipt();
    assert_eq!(counted(&receipt["books"]), [size(10..20), size(10..20), 10, 10]);
    let status = second.status().await;
    assert_eq!(status["balanced"], true, "{status}");
    let total = size(0..35) + own + size(0..40) + size(10..20);
    assert_eq!(counted(&books(&second, "clicks").await)[..2], [total; 2]);
}

/// A commit of part of a blob, whoever made it: the records balance, the bytes do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_not_read_whole_does_not_balance() {
    let site = Site::new();
    site.contract("orders", &large::contract(large::CUT));
    let handler = Handler::start(&site).await;
    let content = large::content();
    let message = site.put("orders/big.csv", &content).await;
    let parts = large::tasks(&handler.queue("ingest_blob", &message).await);
    handler.queue("run_task", parts[1].to_string().as_bytes()).await.receipt();
    // What a reader would note that stopped early.
    let folder = fs::read_dir(site.path("lake/orders/_weir_staging")).unwrap().next().unwrap().unwrap().path();
    let note = folder.join("piece-000001");
    let mut piece: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let read = piece["bytes"]["end"].as_u64().unwrap() - piece["bytes"]["start"].as_u64().unwrap();
    assert_eq!(piece["read"], read);
    piece["read"] = json!(read - 100);
    fs::write(&note, piece.to_string()).unwrap();
    for part in parts.iter().enumerate().filter(|(number, _)| *number != 1) {
        // Not `receipt`, which would see it.
        let answer = handler.queue("run_task", part.1.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let status = handler.status().await;
    let orders = dataset(&status, "orders");
    let size = content.len() as u64;
    let books = &orders["table"]["books"];
    assert_eq!(counted(books)[..2], [size, size - 100], "{status}");
    assert_eq!(
        books["recordsIn"].as_u64(),
        books["committed"].as_u64().zip(books["quarantined"].as_u64()).map(|(a, b)| a + b)
    );
    assert_eq!(
        (&orders["balanced"], &status["balanced"], &status["healthy"]),
        (&json!(false), &json!(false), &json!(false))
    );
    let remark = format!("orders: {} bytes were read of sources that have {size}", size - 100);
    let (code, told, _) = weir(&site, &["status"], &[]);
    assert!(code == 1 && told.contains(&remark), "{told}");
    assert!(told.lines().any(|line| line.starts_with("orders ") && line.ends_with(" NO")), "{told}");
    let page = handler.client().get(handler.url("/api/status")).header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&remark), "{page}");
}

/// Tables of the release before count records alone: what they have is unknown, and what comes is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_nobody_counted_are_unknown() {
    let Former { site } = Former::new(&Former::contract("weir"));
    let handler = Handler::start(&site).await;
    let before = books(&handler, "clicks").await;
    let [bytes, read, of, records] = counted(&before);
    assert!(records > 100 && [bytes, read, of] == [0; 3], "{before}");
    let batch = Batch::counting(0, 45..55).spelled("ns.servicebus.windows.net", "clicks", "weir").to_string();
    handler.post("ingest_clicks", batch).await.receipt();
    let status = handler.status().await;
    let clicks = dataset(&status, "clicks");
    let size: u64 = (50..55).map(|n| json!({ "n": n }).to_string().len() as u64).sum();
    assert_eq!(counted(&clicks["table"]["books"]), [size, size, 10, records + 10]);
    assert_eq!((&clicks["balanced"], &clicks["recordsWithoutBytes"]), (&json!(true), &json!(records)), "{status}");
    let (code, told, _) = weir(&site, &["status"], &[]);
    let remark = format!(
        "clicks: the bytes of {records} of {} records in are unknown: an earlier release took them\n",
        records + 10
    );
    assert!(code == 0 && told.contains(&remark), "{told}");
    // A commit of that release beside this one's, too.
    let table = site.table("clicks").await.unwrap();
    let producer = Producer { id: "before".to_owned(), version: 1, expires: true };
    let books = Books { records_in: 3, already_committed: 3, ..Books::default() };
    table.append(Append { producer, rows: table.listed([]).unwrap(), books }, None).await.unwrap();
    let status = handler.status().await;
    assert_eq!(dataset(&status, "clicks")["recordsWithoutBytes"], records + 3);
}

/// A blob of which an earlier release has written some parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_two_releases_read_has_unknown_bytes() {
    let site = Site::new();
    site.contract("orders", &large::contract(large::CUT));
    let handler = Handler::start(&site).await;
    let message = site.put("orders/big.csv", large::content()).await;
    let parts = large::tasks(&handler.queue("ingest_blob", &message).await);
    handler.queue("run_task", parts[0].to_string().as_bytes()).await.receipt();
    let folder = fs::read_dir(site.path("lake/orders/_weir_staging")).unwrap().next().unwrap().unwrap().path();
    let mut piece: Value = serde_json::from_slice(&fs::read(folder.join("piece-000000")).unwrap()).unwrap();
    piece.as_object_mut().unwrap().remove("read").unwrap();
    fs::write(folder.join("piece-000000"), piece.to_string()).unwrap();
    for part in &parts[1..] {
        handler.queue("run_task", part.to_string().as_bytes()).await.receipt();
    }
    large::check(&site, &handler).await;
    let status = handler.status().await;
    let orders = dataset(&status, "orders");
    let [bytes, read, of, records] = counted(&orders["table"]["books"]);
    assert_eq!(([bytes, read, of], &orders["recordsWithoutBytes"]), ([0; 3], &json!(records)));
}

/// Fields that were left out beside a personal column are in the books, of blobs, parts and events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_were_left_out_are_in_the_books() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let line = |id: u32, more: &str| format!("{{\"id\":{id},\"email\":\"a\",\"name\":\"b\",\"phone\":\"1\"{more}}}\n");
    let first = line(1, ",\"mail\":\"a\"") + &line(2, "") + &line(3, ",\"mail\":\"a\",\"more\":1");
    let receipt = handler.ingest(&site.put("people/a.ndjson", first).await).await;
    assert_eq!((&receipt["leftOut"], &receipt["books"]["leftOut"]), (&json!(2), &json!(2)));
    handler.ingest(&site.put("people/b.ndjson", line(4, ",\"mail\":\"a\"")).await).await;
    assert_eq!(books(&handler, "people").await["leftOut"], 3);
    let clicks = CLICKS.replace(
        "[[rules]]\nname = \"n_is_not",
        "[[columns]]\nname = \"who\"\ntype = \"string\"\npersonal = \"mask\"\n[[rules]]\nname = \"n_is_not",
    );
    site.contract("clicks", &clicks);
    let handler = Handler::start(&site).await;
    handler.events(&Batch::of(0, &[(0, "{\"n\":1,\"whom\":\"a\"}"), (1, "{\"n\":1}")])).await.receipt();
    assert_eq!(books(&handler, "clicks").await["leftOut"], 1);
    let (_, told, _) = weir(&site, &["status"], &[]);
    for (name, records) in [("people", 3), ("clicks", 1)] {
        let remark = format!("{name}: unknown fields of {records} records were left out beside personal columns\n");
        assert!(told.contains(&remark), "{told}");
    }
    assert!(!told.contains("orders: "), "{told}");
}
