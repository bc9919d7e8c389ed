//! What quarantine says of events: what stood around the body, and what the body is instead of a record.

use std::path::PathBuf;

use polars::prelude::{DataFrame, ParquetReader, SerReader};
use serde_json::{Value, json};

use super::handler::{Answer, Batch, Handler, books};
use super::site::{Site, files};
use crate::support::repository;

fn case(name: &str, file: &str) -> String {
    let path: PathBuf = repository().join("tests/data/cases/events").join(name).join(file);
    std::fs::read_to_string(path).unwrap()
}

/// A site whose hub `clicks` is read by another contract.
fn site(contract: &str) -> Site {
    let site = Site::new();
    std::fs::remove_file(site.path("datasets/clicks.toml")).unwrap();
    site.contract("t", contract);
    site
}

async fn post(handler: &Handler, envelope: &Value) -> Answer {
    handler.post("ingest_t", envelope.to_string().replace("ingest_clicks", "ingest_t")).await
}

/// Position, reasons and `_event`, read by no code of Weir's.
fn quarantined(site: &Site) -> Vec<(i64, String, Value)> {
    let mut found = Vec::new();
    for file in files(&site.path("lake/t__quarantine"), "parquet") {
        let frame: DataFrame = ParquetReader::new(std::fs::File::open(file).unwrap()).finish().unwrap();
        let text = |name: &str, row: usize| {
            let column = frame.column(name).ok()?;
            Some(column.str().unwrap().get(row)?.to_owned())
        };
        for (row, position) in frame.column("_source_position").unwrap().i64().unwrap().iter().enumerate() {
            let event = text("_event", row).map_or(Value::Null, |event| serde_json::from_str(&event).unwrap());
            found.push((position.unwrap(), text("_reasons", row).unwrap(), event));
        }
    }
    found.sort_by_key(|(position, ..)| *position);
    found
}

/// Events with what may stand around them.
fn around(events: &[(i64, &[u8])], keys: &Value, properties: &Value, system: &Value) -> Value {
    let events = events.iter().map(|(number, body)| (*number, body.to_vec())).collect();
    let mut envelope = Batch { partition: 0, events }.spelled("ns.servicebus.windows.net", "t", "$Default");
    let count = keys.as_array().unwrap().len();
    let times: Vec<&str> = (0..count).map(|_| "2026-01-05T10:00:00.123").collect();
    for (name, value) in [
        ("PartitionKeyArray", keys),
        ("PropertiesArray", properties),
        ("SystemPropertiesArray", system),
        ("EnqueuedTimeUtcArray", &json!(times)),
    ] {
        envelope["Metadata"][name] = Value::String(value.to_string());
    }
    envelope
}

/// The case `quarantine_forgets_key_and_properties`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantine_keeps_what_stood_around_the_body() {
    let site = site(&case("quarantine_forgets_key_and_properties", "contract.toml"));
    let handler = Handler::start(&site).await;
    let system = json!([
        { "SequenceNumber": 0, "Offset": 0, "PartitionKey": "key-1", "iothub-connection-device-id": "dev-1" },
        { "SequenceNumber": 1, "Offset": 64, "PartitionKey": "key-2" },
        { "SequenceNumber": 2, "Offset": 128 },
        { "SequenceNumber": 3, "Offset": 192 },
    ]);
    let properties = json!([{ "tenant": "acme", "n": 7 }, {}, { "Offset": "own", "big": "x".repeat(100_000) }, {}]);
    let envelope = around(
        &[
            (0, br#"{"id":"bad"}"#),
            (1, b""),
            (2, b"{\"id\":\"bad\"}\n{\"id\":1}\n{\"id\":\"bad\"}"),
            (3, br#"{"id":1}"#),
        ],
        &json!(["key-1", "key-2", null, "key-4"]),
        &properties,
        &system,
    );
    assert_eq!(books(&post(&handler, &envelope).await.receipt()), [6, 2, 4, 0]);
    let found = quarantined(&site);
    let at = "2026-01-05T10:00:00.123000Z";
    assert_eq!(
        found[0].2,
        json!({
            "sequence_number": 0, "enqueued_time": at, "offset": "0", "partition_key": "key-1",
            "properties": { "tenant": "acme", "n": 7 },
            "system_properties": { "iothub-connection-device-id": "dev-1" },
        })
    );
    assert_eq!(
        found[1].2,
        json!({ "sequence_number": 1, "enqueued_time": at, "offset": "64", "partition_key": "key-2" })
    );
    assert!(found[1].1.contains("empty (a tombstone)"), "{}", found[1].1);
    // What is larger than people read loses its largest members; each record of an event has what is left.
    for (position, _, event) in &found[2..] {
        assert_eq!(event["sequence_number"], 2, "{position}");
        assert_eq!((&event["properties"], &event["left_out"]), (&json!({ "Offset": "own" }), &json!(1)));
    }
    assert_eq!(found.len(), 4);
    assert_eq!(handler.status().await["balanced"], true);
}

/// What the host gave no place is kept with what stood around it, too; and what is not even bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_a_place_and_bodies_that_are_refused_keep_theirs() {
    let site = site(&case("quarantine_forgets_key_and_properties", "contract.toml"));
    let handler = Handler::start(&site).await;
    let both = |numbered: bool| {
        let events: [(i64, &[u8]); 2] = [(5, b"\x1f\x8b\x08torn"), (6, b"PK\x03\x04zip")];
        let properties = json!([{ "tenant": "a" }, { "tenant": "b" }]);
        let mut envelope = around(&events, &json!(["k", null]), &properties, &json!([{}, {}]));
        if !numbered {
            envelope["Metadata"].as_object_mut().unwrap().remove("SequenceNumberArray");
        }
        envelope
    };
    for numbered in [true, false] {
        assert_eq!(books(&post(&handler, &both(numbered)).await.receipt()), [2, 0, 2, 0]);
    }
    let found = quarantined(&site);
    let tenants: Vec<_> = found.iter().map(|(.., event)| event["properties"]["tenant"].clone()).collect();
    assert_eq!(tenants, ["a", "b", "a", "b"]);
    assert_eq!(found.iter().filter(|(.., event)| event["partition_key"] == "k").count(), 2);
}

/// The case `one_reason_for_everything`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_says_what_a_body_is() {
    let site = site(&case("one_reason_for_everything", "contract.toml"));
    let handler = Handler::start(&site).await;
    let bodies: [(&[u8], &str); 12] = [
        (b"", "empty (a tombstone)"),
        (br#"{"id":"a"}{"id":"b"}"#, "several JSON objects without a line break"),
        (br#"{"id":"nan","x":NaN}"#, "NaN or Infinity"),
        (b"\0\0\0\0\x07\x02a", "Confluent's schema registry (schema 7)"),
        (b"eyJpZCI6ImI2NCJ9", "base64 of a JSON object"),
        (b"{\0\"\0i\0d\0\"\0:\x001\0}\0", "UTF-16"),
        (b"{'id':'single'}", "single quotes"),
        (b"x\x9c\xabV\xcaLQ\xb2R\xaa\xca\xc9LR\xaa\x05\x00\x1c\xc2\x049", "zlib"),
        // Not of the case.
        (b"<event id=\"1\"/>", "XML"),
        (b"\x08\x96\x01\x12\x04\xff\xfe\xfd\xfc", "Protobuf"),
        (b"a,b,c", "delimited text"),
        (b"\x02a\x00\x04bc", "Azure's schema registry (schema 0123456789abcdef0123456789abcdef)"),
    ];
    // Those of the case are as its file has them: Python's literals.
    let literals = case("one_reason_for_everything", "bodies.txt");
    assert_eq!(literals.lines().count(), 8);
    let events: Vec<(i64, &[u8])> = (0..).zip(bodies).map(|(number, (body, _))| (number, body)).collect();
    let none = |count: usize| (0..count).map(|_| json!(null)).collect::<Vec<_>>();
    let mut system: Vec<Value> = (0..bodies.len()).map(|_| json!({})).collect();
    system[11] = json!({ "content-type": "avro/binary+0123456789abcdef0123456789abcdef" });
    let envelope = around(&events, &json!(none(bodies.len())), &json!(vec![json!({}); bodies.len()]), &json!(system));
    let receipt = post(&handler, &envelope).await.receipt();
    assert_eq!(books(&receipt), [12, 0, 12, 0]);
    for ((_, reasons, _), (body, expected)) in quarantined(&site).iter().zip(bodies) {
        assert!(reasons.contains(expected), "{}: {reasons}", body.escape_ascii());
    }
}

/// A contract that wants Avro tells what came instead, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_avro_file_is_told_apart() {
    let contract = case("one_reason_for_everything", "contract.toml");
    let site =
        site(&contract.replace("[[columns]]\nname = \"id\"", "[format]\ntype = \"avro\"\n[[columns]]\nname = \"id\""));
    let handler = Handler::start(&site).await;
    let bodies: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (br#"{"id":"a"}"#, "a JSON object; set"),
        (b"\0\0\0\0\x07\x02a", "schema 7"),
        (b"\xc3\x01\x11\x22\x33\x44\x55\x66\x77\x88\x02a", "single-object encoding"),
        (b"<a/>", "XML"),
    ];
    let events: Vec<(i64, &[u8])> = (0..).zip(bodies).map(|(number, (body, _))| (number, body)).collect();
    let empty = json!(vec![json!({}); 5]);
    let envelope = around(&events, &json!([null, null, null, null, null]), &empty, &empty);
    assert_eq!(books(&post(&handler, &envelope).await.receipt()), [5, 0, 5, 0]);
    for ((_, reasons, _), (_, expected)) in quarantined(&site).iter().zip(bodies) {
        assert!(reasons.contains("not an Avro file: ") && reasons.contains(expected), "{expected}: {reasons}");
    }
}
