//! Honest and hostile input mixed, seeded, against two real processes: files of every format by the grammars of
//! `tests/hostile`, damaged ones and bombs; events that are meant to stop their partition; tasks that nobody handed out;
//! requests that are none; maintenance in between. In the end the honest part is exact, the books balance, nothing that is
//! personal stands elsewhere, and the processes that saw it all are alive and small.
//!
//! `WEIR_TEST_HOSTILE_S` says for how long. With `WEIR_TEST_FAKETIME=<libfaketime.so.1>` a day passes in that time: the
//! processes' clock runs as much faster, so leases, sweeps, clean-up and ages of notes come as in a day; deadlines do not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use polars::prelude::{ChunkFull, DataFrame, IntoColumn, NamedFrom, ParquetWriter, Series, StringChunked, df};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use weir_hostile::{Target, damaged, number};

use super::bodies::gzip;
use super::handler::{Batch, Handler, http_envelope, queue_envelope};
use super::site::{CLICKS, Site};

const BUDGET_MB: u64 = 256;
/// What a process may hold beyond its budget.
const SLACK_MB: u64 = 200;
const PARTITIONS: u32 = 2;
const DATASETS: [&str; 7] = ["orders", "people", "stock", "clicks", "meters", "readings", "guests"];
/// One text that all 65,536 rows of a Parquet file refer to, in a blob and in an event; and columns that are all null.
const TEXT_BYTES: [usize; 2] = [2 * 1024, 16 * 1024];
const NULL_COLUMNS: usize = 2_000;
/// In every honest personal value, and nowhere but in the clear columns of quarantine and `_rescued` of its own dataset.
const MARK: &str = "MARK-of-a-person";

const METERS: &str = r#"
name = "meters"
[source]
kind = "blob"
container = "landing"
path = ["meters/*.parquet"]
[format]
type = "parquet"
[[columns]]
name = "id"
type = "long"
nullable = false
[[columns]]
name = "v"
type = "string"
"#;

const READINGS: &str = r#"
name = "readings"
[source]
kind = "blob"
container = "landing"
path = ["readings/*.avro"]
[format]
type = "avro"
[[columns]]
name = "n"
type = "long"
nullable = false
"#;

/// The fields of `people`, none of them protected: where a forged task would like to have them.
const GUESTS: &str = r#"
name = "guests"
[source]
kind = "blob"
container = "landing"
path = ["guests/*.ndjson"]
[format]
type = "ndjson"
[[columns]]
name = "id"
type = "long"
nullable = false
[[columns]]
name = "email"
type = "string"
"#;

fn parquet(mut frame: DataFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    bytes
}

/// An object container file with one block.
fn avro(fields: &serde_json::Value, count: i64, data: &[u8]) -> Vec<u8> {
    let text = |text: &str| [number(text.len() as i64), text.as_bytes().to_vec()].concat();
    let schema = json!({ "type": "record", "name": "R", "fields": fields }).to_string();
    let header = [b"Obj\x01".to_vec(), number(1), text("avro.schema"), text(&schema), number(0), vec![7; 16]].concat();
    [header, number(count), number(data.len() as i64), data.to_vec(), vec![7; 16]].concat()
}

fn readings(numbers: &[i64]) -> Vec<u8> {
    let data: Vec<u8> = numbers.iter().flat_map(|value| number(*value)).collect();
    avro(&json!([{ "name": "n", "type": "long" }]), numbers.len() as i64, &data)
}

/// Items that take no bytes, in as many blocks as fit: work that grows with the square of the file.
fn items_of_nothing() -> Vec<u8> {
    let mut data = Vec::new();
    for left in (1..120_i64).rev() {
        data.extend(number(left));
    }
    data.extend(number(0));
    avro(&json!([{ "name": "n", "type": { "type": "array", "items": "null" } }]), 1, &data)
}

/// A file of a few kilobytes, however long the text is.
fn repeated_text(bytes: usize) -> Vec<u8> {
    let text = StringChunked::full("v".into(), &"x".repeat(bytes), 65_536);
    let ids = Series::new("id".into(), (0..65_536_i64).collect::<Vec<_>>());
    parquet(DataFrame::new(65_536, vec![ids.into_column(), text.into_column()]).unwrap())
}

fn wide(columns: usize) -> Vec<u8> {
    let empty =
        |column: usize| Series::full_null(format!("c{column}").into(), 4_096, &polars::prelude::DataType::Int32);
    parquet(DataFrame::new(4_096, (0..columns).map(|column| empty(column).into_column()).collect()).unwrap())
}

/// Sound files, which are then damaged, and files that are made to hurt.
struct Arsenal {
    sound: Vec<(&'static str, Vec<u8>)>,
    bombs: Vec<(&'static str, Vec<u8>)>,
    events: Vec<Vec<u8>>,
}

impl Arsenal {
    fn new() -> Self {
        let rows =
            |count: i64| df!("id" => (0..count).collect::<Vec<i64>>(), "v" => vec!["a"; count as usize]).unwrap();
        let csv: String = (0..200).map(|id| format!("{id},1.50,\"n, {id}\"\n")).collect();
        let lines: String =
            (0..200).map(|n| json!({ "item": n.to_string(), "pieces": n }).to_string() + "\n").collect();
        let sound = vec![
            ("orders/x.csv", format!("id,amount,note\n{csv}").into_bytes()),
            ("orders/x.csv.gz", gzip(format!("id,amount,note\n{csv}").as_bytes())),
            ("stock/x.ndjson", lines.into_bytes()),
            ("meters/x.parquet", parquet(rows(500))),
            ("readings/x.avro", readings(&(0..500).collect::<Vec<_>>())),
        ];
        let many = |text: &str, count: usize| text.repeat(count).into_bytes();
        let bombs = vec![
            ("meters/x.parquet", repeated_text(TEXT_BYTES[0])),
            ("meters/x.parquet", wide(NULL_COLUMNS)),
            ("readings/x.avro", items_of_nothing()),
            ("orders/x.csv.gz", gzip(&vec![b'0'; 64 << 20])),
            ("orders/x.csv.gz", gzip(&gzip(&vec![0; 16 << 20]))),
            ("orders/x.csv", many("1,\"1.00,a\n", 200_000)),
            ("orders/x.csv", [b"id,amount,note,".to_vec(), many("c,", 100_000), b"\n1,1.00,a\n".to_vec()].concat()),
            ("stock/x.ndjson", many("[", 500_000)),
            ("stock/x.ndjson", many("{\"a\":", 200_000)),
            (
                "stock/x.ndjson",
                [b"{".to_vec(), many("\"k\":1,", 60_000), b"\"item\":\"a\",\"pieces\":1}\n".to_vec()].concat(),
            ),
            ("stock/x.ndjson", [b"{\"item\":\"a\",\"pieces\":".to_vec(), many("9", 900_000), b"}\n".to_vec()].concat()),
        ];
        let events = vec![
            items_of_nothing(),
            repeated_text(TEXT_BYTES[1]),
            gzip(&many("{}\n", 100_000)),
            gzip(&gzip(&vec![0; 8 << 20])),
            many("[", 100_000),
            many("{\"n\":", 50_000),
            many("{\"n\":1}\n", 1_000),
            b"\x28\xb5\x2f\xfd\xff\xff\xff\xff".to_vec(),
            readings(&[1, -1, 2]),
        ];
        Self { sound, bombs, events }
    }

    /// Where it is put, and what.
    fn blob(&self, random: &mut StdRng) -> (&'static str, Vec<u8>) {
        match random.random_range(0..8) {
            0 => self.bombs.choose(random).unwrap().clone(),
            1 | 2 => {
                let (path, bytes) = self.sound.choose(random).unwrap();
                (path, damaged(bytes, random))
            }
            _ => {
                let kinds = [
                    ("parquet", "meters/x.parquet"),
                    ("avro", "readings/x.avro"),
                    ("json", "stock/x.ndjson"),
                    ("json", "people/x.ndjson"),
                    ("csv", "orders/x.csv"),
                ];
                let (target, path) = *kinds.choose(random).unwrap();
                (path, generated(target, random))
            }
        }
    }

    fn event(&self, random: &mut StdRng) -> Vec<u8> {
        match random.random_range(0..5) {
            0 => self.events.choose(random).unwrap().clone(),
            1 => damaged(&self.sound.choose(random).unwrap().1, random),
            2 => (0..random.random_range(0..200)).map(|_| random.random()).collect(),
            _ => generated("body", random),
        }
    }
}

/// By the grammar of a target. Most are small, so that there are many.
fn generated(target: &str, random: &mut StdRng) -> Vec<u8> {
    let target = Target::of(target).unwrap();
    loop {
        let input = target.input(random.random());
        if input.len() < 50_000 || random.random_ratio(1, 8) {
            return input;
        }
    }
}

/// Tasks that nobody handed out.
fn forged(random: &mut StdRng, honest: &BTreeMap<String, Vec<String>>) -> serde_json::Value {
    let people = format!("people/h-{}.ndjson", random.random_range(0..4));
    let part = |parts: u32| json!({ "key": "0".repeat(64), "part": 0, "parts": parts });
    let some =
        honest.keys().next().map_or("orders/none.csv", |source| source.trim_start_matches("blob:landing/")).to_owned();
    let blob = |dataset: &str, container: &str, path: &str| json!({ "task": "ingest_blob", "dataset": dataset, "container": container, "path": path });
    match random.random_range(0..12) {
        0 => blob("guests", "landing", &people),
        1 => blob("orders", "landing", &people),
        2 => blob("orders", "hr", "orders/salaries.csv"),
        3 => blob("clicks", "landing", &people),
        4 => blob("people", "..", "lake/people/x"),
        5 => {
            json!({ "task": "ingest_part", "dataset": "orders", "container": "landing", "path": some, "etag": "0x8D", "part": part(1) })
        }
        6 => {
            json!({ "task": "ingest_part", "dataset": "orders", "container": "landing", "path": some, "etag": "0x8D", "part": part(0) })
        }
        7 => {
            json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": { "from": 0, "to": i64::MAX }, "request": "x" })
        }
        8 => json!({ "task": "retry", "parked": "tasks/".to_owned() + &"0".repeat(24) }),
        _ => serde_json::from_slice(&generated("tasks", random)).unwrap_or_default(),
    }
}

/// What was sent in good faith.
#[derive(Default)]
struct Honest {
    /// Source → its rows, by position, as text.
    blobs: BTreeMap<String, Vec<String>>,
    /// Of each partition: sequence number → `n`.
    events: [BTreeMap<i64, i64>; PARTITIONS as usize],
    /// Of each partition: the next sequence number.
    next: [i64; PARTITIONS as usize],
}

/// Delivers a message until it is settled, as the host does: a few attempts, then it is parked.
async fn deliver(handler: &Handler, function: &str, message: &[u8]) {
    for _ in 0..2 {
        let answer = handler.try_post(function, queue_envelope(message)).await;
        let answer = answer.unwrap_or_else(|| panic!("the handler died: {}", tail(handler)));
        if answer.status == 200 {
            return;
        }
    }
    let park = if function == "run_task" { "park_tasks" } else { "park_blob_events" };
    let envelope = queue_envelope(message).replace("\"DequeueCount\":\"1\"", "\"DequeueCount\":\"2\"");
    let answer = handler.try_post(park, envelope).await;
    let answer = answer.unwrap_or_else(|| panic!("the handler died: {}", tail(handler)));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn tail(handler: &Handler) -> String {
    let log = handler.logged();
    log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
}

/// A partition always gets further, whatever is in it.
async fn deliver_events(handler: &Handler, batch: &Batch) {
    for attempt in 0.. {
        let answer = handler.try_post("ingest_clicks", batch.envelope().to_string()).await;
        let answer = answer.unwrap_or_else(|| panic!("the handler died: {}", tail(handler)));
        if answer.status == 200 {
            return;
        }
        assert!(attempt < 8, "the partition stands still: {}", answer.text);
    }
}

/// The settings of both processes.
fn settings(seconds: u64) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("WEIR_MEMORY_BUDGET_MB", BUDGET_MB.to_string()),
        ("WEIR_DEADLINE_S", "20".to_owned()),
        ("WEIR_LOG", "error".to_owned()),
    ];
    if let Ok(library) = std::env::var("WEIR_TEST_FAKETIME") {
        settings.extend([
            ("LD_PRELOAD", library),
            ("FAKETIME", format!("+0 x{}", 86_400 / seconds)),
            // Only the time of day: what waits waits as long as ever.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]);
    }
    settings
}

fn site() -> Site {
    let site = Site::new();
    let clicks = CLICKS
        .replace("[format]\ntype = \"ndjson\"\n", "")
        .replace("hub = \"clicks\"", "hub = \"clicks\"\ngap = \"ignore\"");
    for (name, text) in [("clicks", &*clicks), ("meters", METERS), ("readings", READINGS), ("guests", GUESTS)] {
        site.contract(name, text);
    }
    std::fs::create_dir_all(site.path("landing/hr/orders")).unwrap();
    let salaries = format!("id,amount,note\n1,1.00,{MARK}\n");
    std::fs::write(site.path("landing/hr/orders/salaries.csv"), salaries).unwrap();
    site
}

/// One of everything; gives the events of each partition.
struct Round {
    messages: Vec<(&'static str, Vec<u8>)>,
    batches: Vec<Batch>,
}

async fn round(number: u64, site: &Site, arsenal: &Arsenal, random: &mut StdRng, honest: &mut Honest) -> Round {
    let mut messages: Vec<(&str, Vec<u8>)> = Vec::new();
    for (path, content, rows) in [honest_orders(number, random), honest_people(number)] {
        messages.push(("ingest_blob", site.put(&path, &content).await));
        honest.blobs.insert(format!("blob:landing/{path}"), rows);
    }
    for at in 0..2 {
        let (path, bytes) = arsenal.blob(random);
        let path = path.replace("/x", &format!("/x-{number}-{at}"));
        messages.push(("ingest_blob", site.put(&path, bytes).await));
    }
    messages.push(("run_task", forged(random, &honest.blobs).to_string().into_bytes()));
    messages.push(("run_task", generated("tasks", random)));
    messages.push(("ingest_blob", generated("tasks", random)));
    if number % 4 == 3 {
        let dataset = DATASETS.choose(random).unwrap();
        messages.push(("run_task", json!({ "task": "maintain", "dataset": dataset }).to_string().into_bytes()));
        messages.push(("run_task", json!({ "task": "sweep", "dataset": "orders" }).to_string().into_bytes()));
    }
    let batches = (0..PARTITIONS).map(|partition| events(partition, arsenal, random, honest)).collect();
    Round { messages, batches }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_input_neither_stops_nor_moves_nor_takes_away_what_is_honest() {
    let seed = std::env::var("WEIR_TEST_SEED").map_or(20_261_201, |seed| seed.parse::<u64>().unwrap());
    let seconds = std::env::var("WEIR_TEST_HOSTILE_S").map_or(12, |seconds| seconds.parse::<u64>().unwrap());
    println!("seed {seed}, {seconds} s; WEIR_TEST_SEED and WEIR_TEST_HOSTILE_S set others");
    let (mut random, arsenal, site) = (StdRng::seed_from_u64(seed), Arsenal::new(), site());
    let settings = settings(seconds);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let handlers = [Handler::start_with(&site, &settings).await, Handler::start_with(&site, &settings).await];
    let (mut honest, mut rounds, began) = (Honest::default(), 0_u64, Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) || rounds < 3 {
        let Round { messages, batches } = round(rounds, &site, &arsenal, &mut random, &mut honest).await;
        let handler = |at: usize| &handlers[(at + rounds as usize) % 2];
        let delivered =
            messages.iter().enumerate().map(|(at, (function, message))| deliver(handler(at), function, message));
        let events = batches.iter().enumerate().map(|(at, batch)| deliver_events(handler(at), batch));
        tokio::join!(join_all(delivered), join_all(events));
        let body = if random.random() { "[[[[" } else { "{\"dataset\":\"orders\",\"path\":\"people/h-0.ndjson\"}" };
        assert!(handler(0).try_post("reprocess", http_envelope("reprocess", Some(body))).await.is_some());
        for handler in &handlers {
            assert!(handler.alive().await, "after {rounds} rounds: {}", tail(handler));
        }
        rounds += 1;
    }
    let status = handlers[0].status().await;
    let peaks = handlers.each_ref().map(|handler| handler.peak_memory() >> 20);
    let events: usize = honest.events.iter().map(BTreeMap::len).sum();
    println!(
        "{rounds} rounds, {} honest blobs and {events} honest events, {} parked, at most {peaks:?} MB",
        honest.blobs.len(),
        status["parkedCount"]
    );
    check(&site, &honest).await;
    assert_eq!(status["balanced"], true, "{status}");
    let most = BUDGET_MB + SLACK_MB;
    assert!(peaks.iter().all(|peak| *peak < most), "{peaks:?} MB resident, of at most {most}");
}

fn honest_orders(round: u64, random: &mut StdRng) -> (String, String, Vec<String>) {
    let rows: Vec<(u64, u32)> =
        (0..random.random_range(1..400)).map(|row| (round * 1_000 + row, random.random_range(1..99))).collect();
    let text: String = rows.iter().map(|(id, cents)| format!("{id},1.{cents:02},honest\n")).collect();
    let expected = rows.iter().map(|(id, cents)| format!("{id}|1.{cents:02}|honest")).collect();
    (format!("orders/h-{round}.csv"), format!("id,amount,note\n{text}"), expected)
}

/// Personal values that have to stay where their contract puts them.
fn honest_people(round: u64) -> (String, String, Vec<String>) {
    let line = |row: u64| {
        let id = round * 100 + row;
        json!({ "id": id, "email": format!("{MARK}{id}@example.com"), "name": MARK, "phone": format!("{MARK}{id}") })
    };
    let text: String = (0..20).map(|row| line(row).to_string() + "\n").collect();
    (format!("people/h-{round}.ndjson"), text, (0..20).map(|row| (round * 100 + row).to_string()).collect())
}

fn events(partition: u32, arsenal: &Arsenal, random: &mut StdRng, honest: &mut Honest) -> Batch {
    let (sent, next) = (&mut honest.events[partition as usize], &mut honest.next[partition as usize]);
    let mut events = Vec::new();
    for _ in 0..random.random_range(1..60) {
        let n = random.random_range(0..1_000_000);
        if random.random_ratio(1, 20) {
            events.push((*next, arsenal.event(random)));
        } else {
            events.push((*next, json!({ "n": n }).to_string().into_bytes()));
            sent.insert(*next, n);
        }
        *next += 1;
    }
    Batch { partition, events }
}

/// Each table has rows of its own sources alone, and no value of a person.
async fn check_places(site: &Site) {
    let tables: [(&str, &[&str], &str); 6] = [
        ("orders", &["note", "_rescued"], "blob:landing/orders/"),
        ("stock", &["item", "_rescued"], "blob:landing/stock/"),
        ("guests", &["email", "_rescued"], "blob:landing/guests/"),
        ("meters", &["_rescued"], "blob:landing/meters/"),
        ("readings", &["_rescued"], "blob:landing/readings/"),
        ("clicks", &["_rescued"], "eventhub:ns/clicks/"),
    ];
    for (table, columns, prefix) in tables {
        let columns = [&["_source"], columns].concat();
        let look = |row: &str| {
            assert!(row.starts_with(prefix), "{table}: {row:.200}");
            assert!(!row.contains(MARK), "{table}: {row:.200}");
        };
        site.each_row(table, &columns, look).await;
    }
    site.each_row("people", &["id", "email", "name"], |row| assert!(!row.contains(MARK), "people: {row}")).await;
}

async fn check(site: &Site, honest: &Honest) {
    check_places(site).await;
    // What was sent in good faith is there once, and as it was sent.
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, columns) in [("orders", &["id", "amount", "note"][..]), ("people", &["id"])] {
        let take = |row: &str| {
            let (source, values) = row.split_once('|').unwrap();
            if honest.blobs.contains_key(source) {
                found.entry(source.to_owned()).or_default().push(values.to_owned());
            }
        };
        site.each_row(table, &[&["_source"], columns].concat(), take).await;
        site.each_row(&format!("{table}__quarantine"), &["_source"], |source| {
            assert!(!honest.blobs.contains_key(source), "{source} is in quarantine");
        })
        .await;
    }
    for (source, expected) in &honest.blobs {
        let (mut found, mut expected) = (found.remove(source).unwrap_or_default(), expected.clone());
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{source}");
    }
    check_events(site, honest).await;
}

async fn check_events(site: &Site, honest: &Honest) {
    let mut at: BTreeMap<(u32, i64), Vec<i64>> = BTreeMap::new();
    let place = |row: &str| {
        let fields: Vec<&str> = row.split('|').collect();
        let partition: u32 = fields[0].rsplit('/').next().unwrap().parse().unwrap();
        ((partition, fields[1].parse::<i64>().unwrap()), fields.get(2).map(|n| n.parse::<i64>().unwrap()))
    };
    site.each_row("clicks", &["_source", "_source_position", "n"], |row| {
        let (place, n) = place(row);
        at.entry(place).or_default().push(n.unwrap());
    })
    .await;
    site.each_row("clicks__quarantine", &["_source", "_source_position"], |row| {
        let ((partition, sequence), _) = place(row);
        assert!(!honest.events[partition as usize].contains_key(&sequence), "{row} is in quarantine");
    })
    .await;
    for (partition, events) in honest.events.iter().enumerate() {
        for (sequence, n) in events {
            let found = at.get(&(partition as u32, *sequence));
            assert_eq!(found, Some(&vec![*n]), "event {sequence} of partition {partition}");
        }
    }
}
