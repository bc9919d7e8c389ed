//! What events may hold, through the handler: records of every kind of body, each in its place once, and what stands
//! around the body, whichever way the event came.

use std::io::Write;

use azure_messaging_eventhubs::{SendEventOptions, models::EventData};
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use weir_contract::{FIRST_OF_SEVERAL, position_of};
use weir_hostile::number;
use weir_intake::hub::HubConnection;

use super::crash::take_back_last_commit;
use super::gaps::{Hub, deliver};
use super::handler::{Batch, Handler, books};
use super::site::{CLICKS, Site};

const SOURCE: &str = "eventhub:ns/clicks/0";

/// Takes bodies of every kind; quarantines what is negative.
fn any_body() -> String {
    CLICKS.replace("[format]\ntype = \"ndjson\"\n", "")
}

/// The same for a hub whose numbers have holes.
fn with_holes() -> String {
    any_body().replace("hub = \"clicks\"", "hub = \"clicks\"\ngap = \"ignore\"")
}

async fn started(contract: &str) -> (Site, Handler) {
    let site = Site::new();
    site.contract("clicks", contract);
    let handler = Handler::start(&site).await;
    (site, handler)
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An object container file of records `{n: long}`, not packed.
pub(super) fn avro(numbers: &[i64]) -> Vec<u8> {
    let text = |text: &str| [number(text.len() as i64), text.as_bytes().to_vec()].concat();
    let schema = json!({ "type": "record", "name": "Click", "fields": [{ "name": "n", "type": "long" }] }).to_string();
    let data: Vec<u8> = numbers.iter().flat_map(|value| number(*value)).collect();
    let header = [b"Obj\x01".to_vec(), number(1), text("avro.schema"), text(&schema), number(0), vec![7; 16]].concat();
    [header, number(numbers.len() as i64), number(data.len() as i64), data, vec![7; 16]].concat()
}

/// `position: n` of the table.
async fn rows(site: &Site) -> Vec<(i64, i64)> {
    let rows = site.rows("clicks", &["_source_position", "n"]).await;
    let number = |text: &str| text.parse::<i64>().unwrap();
    let mut rows: Vec<_> =
        rows.iter().map(|row| row.split_once('|').unwrap()).map(|(at, n)| (number(at), number(n))).collect();
    rows.sort_unstable();
    rows
}

fn at(sequence: i64, index: usize) -> i64 {
    position_of(sequence, index).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_body_gives_its_records() {
    let (site, handler) = started(&any_body()).await;
    let torn = gzip(b"{\"n\":50}")[..20].to_vec();
    let mut damaged = gzip("[{\"n\":51}, {\"n\":52}]".repeat(100).as_bytes());
    damaged[40] ^= 0x55;
    let short = avro(&[60, 61]);
    let short = short[..short.len() - 5].to_vec();
    let bodies: Vec<Vec<u8>> = vec![
        b"{\"n\":1}".to_vec(),
        b"[{\"n\":10},{\"n\":-11},{\"n\":\"x\"},{\"n\":12}]".to_vec(),
        b"{\"n\":20}\n{\"n\":21}\noops\n".to_vec(),
        gzip(b"{\"n\":30}"),
        zstd::encode_all(&b"[{\"n\":31}]"[..], 1).unwrap(),
        avro(&[40, -41, 42]),
        gzip(&avro(&[43])),
        b"[]".to_vec(),
        torn.clone(),
        damaged.clone(),
        short.clone(),
        b"[{\"n\":70}".to_vec(),
        b"{\"n\":-80}".to_vec(),
    ];
    let batch = Batch { partition: 0, events: (0..).zip(bodies).collect() };
    let receipt = handler.events(&batch).await.receipt();
    assert_eq!(books(&receipt), [19, 10, 9, 0]);
    let one = [(0, 1), (3, 30)];
    let several = [
        (at(1, 0), 10),
        (at(1, 3), 12),
        (at(2, 0), 20),
        (at(2, 1), 21),
        (at(4, 0), 31),
        (at(5, 0), 40),
        (at(5, 2), 42),
        (at(6, 0), 43),
    ];
    assert_eq!(rows(&site).await, [&one[..], &several].concat());
    let quarantined = site.quarantined("clicks", SOURCE).await;
    let expected: [(i64, &str, &[u8]); 9] = [
        (8, "the gzip stream is truncated", &torn),
        (9, "the gzip stream is damaged", &damaged),
        (10, "the Avro file is truncated", &short),
        (11, "the body's JSON array is not closed", b"[{\"n\":70}"),
        (12, "rule `n_is_not_negative`", b"{\"n\":-80}"),
        (at(1, 1), "rule `n_is_not_negative`", b"{\"n\":-11}"),
        (at(1, 2), "column `n`: not a long", b"{\"n\":\"x\"}"),
        (at(2, 2), "not one JSON object: text", b"oops"),
        (at(5, 1), "rule `n_is_not_negative`", b"{\"n\":-41}"),
    ];
    for (record, (position, reason, raw)) in quarantined.iter().zip(expected) {
        assert_eq!((record.position, &*record.reasons, &*record.raw), (position, reason, raw));
    }
    assert_eq!(quarantined.len(), expected.len());
    // What was committed before is not unpacked again: each event counts once.
    assert_eq!(books(&handler.events(&batch).await.receipt()), [13, 0, 0, 13]);
    assert_eq!(site.each_place_once("clicks").await, 19);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Azure Monitor's bodies: one object with an array of records. Each has a place of its own, whoever reads it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_within_a_body_have_places_of_their_own() {
    let (site, handler) = started(&(any_body() + "\n[format]\nrecords = \"/records\"\n")).await;
    let bodies = [
        "{\"records\":[{\"n\":1},{\"n\":-2},{\"n\":3}],\"more\":1}",
        "{\"records\":[]}",
        "[{\"records\":[{\"n\":4}]},{\"records\":[{\"n\":5},{\"n\":\"x\"}]}]",
        "{\"n\":6}",
        "{\"records\":[{\"n\":7}]}\n{\"records\":[{\"n\":8}]}",
        "{\"records\":[{\"n\":9}]",
    ];
    let events: Vec<(i64, &str)> = (0..).zip(bodies).collect();
    assert_eq!(books(&handler.events(&Batch::of(0, &events)).await.receipt()), [10, 6, 4, 0]);
    let expected = [(0, 0, 1), (0, 2, 3), (2, 0, 4), (2, 1, 5), (4, 0, 7), (4, 1, 8)];
    assert_eq!(rows(&site).await, expected.map(|(sequence, index, n)| (at(sequence, index), n)));
    let refused = site.quarantined("clicks", SOURCE).await;
    let reasons: Vec<(i64, &str)> = refused.iter().map(|record| (record.position, &*record.reasons)).collect();
    let expected = [
        (3, "there is no array at `/records`, where `[format] records` is to be"),
        (5, "not one JSON object"),
        (at(0, 1), "rule `n_is_not_negative`"),
        (at(2, 2), "column `n`: not a long"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(refused[0].raw, b"{\"n\":6}");
    assert_eq!(site.each_place_once("clicks").await, 10);
    assert_eq!(handler.status().await["balanced"], true);
}

/// The stand-in for the host delivers text that is no base64; the rest of its batch goes its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_base64_stands_at_its_sequence_number() {
    let (site, handler) = started(&any_body()).await;
    let mut envelope = Batch::of(0, &[(0, "{\"n\":1}"), (1, "[{\"n\":2},{\"n\":3}]"), (2, "")]).envelope();
    let bodies = envelope["Data"]["events"].as_str().unwrap().to_owned();
    let mut bodies: Vec<Value> = serde_json::from_str(&bodies).unwrap();
    bodies[2] = json!("%% [{\"n\":1}] %%");
    envelope["Data"]["events"] = json!(Value::from(bodies).to_string());
    let receipt = handler.post("ingest_clicks", envelope.to_string()).await.receipt();
    assert_eq!(books(&receipt), [4, 3, 1, 0]);
    let quarantined = site.quarantined("clicks", SOURCE).await;
    assert_eq!((quarantined[0].position, &*quarantined[0].reasons), (2, "the body is not base64"));
    assert_eq!(quarantined[0].raw, b"%% [{\"n\":1}] %%");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_every_size() {
    let (site, handler) = started(&with_holes()).await;
    let send = |events: Vec<(i64, Vec<u8>)>| {
        let (handler, batch) = (&handler, Batch { partition: 0, events });
        async move { books(&handler.events(&batch).await.receipt()) }
    };
    assert_eq!(send(vec![]).await, [0; 4]);
    assert_eq!(send(vec![(0, b"{\"n\":0}".to_vec())]).await, [1, 1, 0, 0]);
    // One event of a megabyte: one record too many bytes, and many small ones.
    let wide = format!("{{\"n\":1,\"pad\":\"{}\"}}", "x".repeat(1 << 20));
    let crowd = format!("[{}]", vec!["{\"n\":2}"; 131_000].join(","));
    assert_eq!(crowd.len() >> 20, 0);
    assert_eq!(send(vec![(1, wide.into_bytes()), (2, crowd.into_bytes())]).await, [131_001, 131_000, 1, 0]);
    let object = |n: i64| (n, format!("{{\"n\":{n}}}").into_bytes());
    assert_eq!(send((3..5_003).map(object).collect()).await, [5_000, 5_000, 0, 0]);
    assert_eq!(send((5_003..10_003).map(|n| (n, b"oops".to_vec())).collect()).await, [5_000, 0, 5_000, 0]);
    assert_eq!(send((10_003..15_003).map(|n| (n, b"[]".to_vec())).collect()).await, [0; 4]);
    let pairs = |n: i64| (n, b"[{\"n\":1},{\"n\":-1}]".to_vec());
    assert_eq!(send((15_003..20_003).map(pairs).collect()).await, [10_000, 5_000, 5_000, 0]);
    // Nothing of it was committed twice, nor is it now.
    assert_eq!(send((0..20_003).map(|n| (n, Vec::new())).collect()).await, [20_003, 0, 0, 20_003]);
    assert_eq!(site.each_place_once("clicks").await, 131_002 + 5_000 + 5_000 + 10_000);
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequence_numbers_at_the_limits() {
    let (site, handler) = started(&with_holes()).await;
    let (last, beyond) = ((1_i64 << 42) - 1, 1_i64 << 42);
    let array = "[{\"n\":1},{\"n\":2}]";
    type Delivery<'e> = (&'e [(i64, &'e str)], [u64; 4]);
    let deliveries: [Delivery<'_>; 4] = [
        (&[(0, array)], [2, 2, 0, 0]),
        (&[(last, array), (beyond, array), (beyond + 1, "{\"n\":3}")], [4, 3, 1, 0]),
        // No hub counts so far: they cannot be told from other places.
        (&[(FIRST_OF_SEVERAL, "{\"n\":5}"), (i64::MAX, array), (-1, "{\"n\":6}")], [3, 0, 3, 0]),
        (&[(0, array), (last, array), (beyond + 1, "")], [3, 0, 0, 3]),
    ];
    for (events, expected) in deliveries {
        assert_eq!(books(&handler.events(&Batch::of(0, events)).await.receipt()), expected, "{events:?}");
    }
    // A number that no partition reaches would make all true events committed ones.
    let answer = handler.events(&Batch::of(0, &[(FIRST_OF_SEVERAL - 1, "{\"n\":4}")])).await;
    assert!(answer.status == 500 && answer.text.contains("cannot have an event"), "{}", answer.text);
    let expected = [(beyond + 1, 3), (at(0, 0), 1), (at(0, 1), 2), (at(last, 0), 1), (at(last, 1), 2)];
    assert_eq!(rows(&site).await, expected);
    let quarantined = site.quarantined("clicks", SOURCE).await;
    assert_eq!((quarantined.len(), quarantined[0].position, &*quarantined[0].raw), (1, beyond, array.as_bytes()));
    assert!(quarantined[0].reasons.contains("leaves no places"), "{}", quarantined[0].reasons);
    assert_eq!(site.each_place_once("clicks").await, 9);
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_unpacks_without_end_is_one_record_of_quarantine() {
    let (site, handler) = started(&any_body()).await;
    let zeros = vec![b' '; 100 << 20];
    let bomb = gzip(&zeros);
    let events = (0..40).map(|n| (n, if n % 2 == 0 { bomb.clone() } else { b"{\"n\":1}".to_vec() })).collect();
    let receipt = handler.events(&Batch { partition: 0, events }).await.receipt();
    assert_eq!(books(&receipt), [40, 20, 20, 0]);
    let quarantined = site.quarantined("clicks", SOURCE).await;
    assert!(
        quarantined.iter().all(|record| record.raw == bomb && record.reasons.contains("64 MiB")),
        "{}",
        quarantined[0].reasons
    );
    assert!(handler.peak_memory() < 700 << 20, "{} MiB", handler.peak_memory() >> 20);
}

/// Each line has fewer records than an event may have; the event has more. One element is an element, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_several_lines_are_counted_together() {
    let (site, handler) = started(&format!("{}\n[format]\nrecords = \"/records\"\n", any_body())).await;
    let line = format!("{{\"records\":[{}]}}", vec!["{\"n\":1}"; 8_000].join(","));
    let bodies =
        [gzip(line.as_bytes()), gzip(format!("{line}\n{line}").as_bytes()), b"{\"records\":[{\"n\":5}]}".to_vec()];
    let batch = Batch { partition: 0, events: (0..).zip(bodies).collect() };
    assert_eq!(books(&handler.events(&batch).await.receipt()), [8_002, 8_001, 1, 0]);
    let quarantined = site.quarantined("clicks", SOURCE).await;
    assert_eq!(quarantined[0].position, 1);
    assert!(quarantined[0].reasons.contains("the body has more than 11"), "{}", quarantined[0].reasons);
    assert_eq!(rows(&site).await.pop(), Some((at(2, 0), 5)));
}

/// A batch of more than one round, and its last record breaks the rule that holds the whole back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_holds_back_all_rounds_of_a_batch() {
    let (site, handler) = started(&any_body()).await;
    let wide = |n: i64| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(900 << 10)).into_bytes();
    let mut events: Vec<(i64, Vec<u8>)> = (0..40).map(|n| (n, wide(n))).collect();
    events.push((40, b"[{\"n\":1},{\"n\":2000000000}]".to_vec()));
    let batch = Batch { partition: 0, events };
    assert_eq!(books(&handler.events(&batch).await.receipt()), [42, 0, 42, 0]);
    let quarantined = site.quarantined("clicks", SOURCE).await;
    let held = quarantined.iter().filter(|record| record.reasons == "held back by rule `n_is_possible`").count();
    assert_eq!((held, &*quarantined[41].reasons), (41, "rule `n_is_possible`"));
    assert!(rows(&site).await.is_empty());
    // The next batch is not held back.
    assert_eq!(books(&handler.events(&Batch::of(0, &[(41, "[{\"n\":1}]")])).await.receipt()), [1, 1, 0, 0]);
    assert_eq!(site.each_place_once("clicks").await, 43);
}

async fn replay(handler: &Handler, request: &str, window: Value) -> Value {
    let task = json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": window, "request": request });
    handler.queue("run_task", task.to_string().as_bytes()).await.receipt()
}

/// Arrays were refused, the contract learns them, the events are read again; and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_learns_arrays_gets_those_that_it_refused() {
    let (site, hub) = (Site::new(), Hub::start(0).await);
    hub.add(0, &["{\"n\":0}", "[{\"n\":1},{\"n\":-1}]", "[{\"n\":2},{\"n\":3}]", "{\"n\":-4}", "[]"]);
    site.contract("clicks", CLICKS);
    let handler = hub.handler(&site).await;
    let receipt = handler.events(&Batch::of(0, &[(4, "[]")])).await.receipt();
    assert_eq!(books(&receipt), [5, 1, 4, 0]);
    assert_eq!(rows(&site).await, [(0, 0)]);
    handler.kill();

    site.contract("clicks", &any_body());
    let handler = hub.handler(&site).await;
    hub.add(0, &["[{\"n\":5}]"]);
    assert_eq!(books(&handler.events(&Batch::of(0, &[(5, "[{\"n\":5}]")])).await.receipt()), [1, 1, 0, 0]);
    // A part of it first, then all, then all again.
    let receipt = replay(&handler, "a", json!({ "from": 2, "to": 3 })).await;
    assert_eq!(books(&receipt), [3, 2, 1, 0], "{receipt}");
    assert_eq!(rows(&site).await, [(0, 0), (at(2, 0), 2), (at(2, 1), 3), (at(5, 0), 5)]);
    for request in ["b", "c"] {
        let receipt = replay(&handler, request, json!({})).await;
        assert_eq!(books(&receipt), [7, 5, 2, 0], "{receipt}");
        assert_eq!(rows(&site).await, [(0, 0), (at(1, 0), 1), (at(2, 0), 2), (at(2, 1), 3), (at(5, 0), 5)]);
        let quarantined = site.quarantined("clicks", SOURCE).await;
        let places: Vec<i64> = quarantined.iter().map(|record| record.position).collect();
        assert_eq!(places, [3, at(1, 1)]);
        assert_eq!(site.each_place_once("clicks").await, 7);
    }
    handler.kill();

    site.contract("clicks", CLICKS);
    let handler = hub.handler(&site).await;
    replay(&handler, "d", json!({ "to": 2 })).await;
    assert_eq!(rows(&site).await, [(0, 0), (at(5, 0), 5)]);
    assert_eq!(site.each_place_once("clicks").await, 5);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Quarantine was committed, the table was not, and the contract is another when the batch comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_two_contracts_leaves_each_place_once() {
    let events = [(0, "{\"n\":0}"), (1, "[{\"n\":1},{\"n\":-1}]"), (2, "[{\"n\":2}]"), (3, "{\"n\":-3}")];
    let one_by_one = CLICKS.to_owned();
    // What quarantine took whole stays whole, and what it took of an event stays there.
    let cases = [
        (&one_by_one, &any_body(), vec![(0, 0)], vec![1, 2, 3]),
        (&any_body(), &one_by_one, vec![(0, 0)], vec![1, 2, 3, at(1, 1)]),
        (&any_body(), &any_body(), vec![(0, 0), (at(1, 0), 1), (at(2, 0), 2)], vec![3, at(1, 1)]),
    ];
    for (first, second, expected, refused) in cases {
        let (site, handler) = started(first).await;
        handler.events(&Batch::of(0, &events)).await.receipt();
        handler.kill();
        take_back_last_commit(&site, "clicks");
        site.contract("clicks", second);
        let handler = Handler::start(&site).await;
        let [records_in, committed, quarantined, already] =
            books(&handler.events(&Batch::of(0, &events)).await.receipt());
        assert_eq!((records_in, already), (committed + quarantined, 0));
        assert_eq!(rows(&site).await, expected);
        let found = site.quarantined("clicks", SOURCE).await;
        assert_eq!(found.iter().map(|record| record.position).collect::<Vec<_>>(), refused);
        site.each_place_once("clicks").await;
        assert_eq!(handler.status().await["balanced"], true);
    }
}

/// Every part of an event as a column, some as text and some by their types.
fn with_columns() -> String {
    let column = |name: &str, kind: &str, from: &str| {
        format!("[[columns]]\nname = \"{name}\"\ntype = \"{kind}\"\nfrom = \"event:{from}\"\n")
    };
    let columns = [
        column("at", "timestamp", "enqueued_time"),
        column("number", "long", "sequence_number"),
        column("start", "string", "offset"),
        column("key", "string", "partition_key"),
        column("partition", "integer", "partition"),
        column("hub", "string", "hub"),
        column("tenant", "string", "property:tenant"),
        column("size", "long", "property:size"),
        column("ratio", "double", "property:ratio"),
        column("ok", "boolean", "property:ok"),
        column("sent", "timestamp", "property:sent"),
        column("trace", "string", "property:trace"),
        column("raw", "binary", "property:raw"),
    ];
    any_body().replace(
        "[[rules]]\nname = \"n_is_not_negative\"",
        &(columns.concat() + "[[rules]]\nname = \"n_is_not_negative\""),
    )
}

const AROUND: [&str; 14] =
    ["n", "at", "number", "start", "key", "partition", "hub", "tenant", "size", "ratio", "ok", "sent", "trace", "raw"];

/// The envelope as the host writes it for events that `Hub` has, its metadata taken from what the SDK's reader says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_says_the_same_from_the_host_and_from_the_hub() {
    let hub = Hub::start(0).await;
    let connection = HubConnection::parse(&hub.service.connection_string()).unwrap();
    let client = connection.producer("clicks").await.unwrap();
    let sent = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_767_607_200_120);
    for body in ["[{\"n\":0},{\"n\":1}]", "{\"n\":2}"] {
        let event = EventData::builder()
            .with_body(body.as_bytes().to_vec())
            .add_property("tenant".to_owned(), "a")
            .add_property("size".to_owned(), 12_i64)
            .add_property("ratio".to_owned(), 0.1_f32)
            .add_property("ok".to_owned(), true)
            .add_property("sent".to_owned(), azure_core_amqp::AmqpTimestamp::from(sent))
            .add_property("trace".to_owned(), azure_core::Uuid::from_u128(7))
            .add_property("raw".to_owned(), vec![1_u8, 2, 3])
            .build();
        let options = SendEventOptions { partition_id: Some("0".to_owned()) };
        client.send_event(event, Some(options)).await.unwrap();
    }
    hub.add(0, &["{\"n\":3}"]);
    let range = weir_intake::hub::HubRange::Sequences(0..=2);
    let reader = weir_intake::hub::HubReader::new(connection);
    let read = reader.read("clicks", "$Default", 0, range, weir_intake::hub::ReadLimits::default()).await.unwrap();

    // As Newtonsoft has .NET's values.
    let given = json!({
        "tenant": "a", "size": 12, "ratio": 0.1, "ok": true, "sent": "2026-01-05T10:00:00.12Z",
        "trace": "00000000-0000-0000-0000-000000000007", "raw": "AQID",
    });
    let mut batch = Batch { partition: 0, events: Vec::new() };
    batch.events.extend(read.events.iter().map(|event| (event.sequence as i64, event.body.as_ref().unwrap().to_vec())));
    let mut envelope = batch.envelope();
    let array = |values: Vec<Value>| Value::String(Value::from(values).to_string());
    let time =
        |ms: i64| chrono::DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    let metadata = &mut envelope["Metadata"];
    metadata["EnqueuedTimeUtcArray"] = array(read.events.iter().map(|event| json!(time(event.enqueued_ms))).collect());
    metadata["OffsetStringArray"] = array(read.events.iter().map(|event| json!(event.offset)).collect());
    metadata["PartitionKeyArray"] = array(vec![Value::Null; 3]);
    metadata["PropertiesArray"] = array(vec![given.clone(), given, json!({})]);

    let by_host = Site::new();
    by_host.contract("clicks", &with_columns());
    let handler = Handler::start(&by_host).await;
    let answer = handler.post("ingest_clicks", envelope.to_string()).await;
    assert_eq!(books(&answer.receipt()), [4, 4, 0, 0]);

    let healed = Site::new();
    healed.contract("clicks", &with_columns());
    let handler = hub.handler(&healed).await;
    hub.add(0, &["{\"n\":9}"]);
    assert_eq!(books(&deliver(&handler, 3..=3).await), [5, 5, 0, 0]);
    let mut of_hub = healed.rows("clicks", &AROUND).await;
    assert_eq!(of_hub.len(), 5);
    of_hub.retain(|row| !row.contains("|3|"));
    let of_host = by_host.rows("clicks", &AROUND).await;
    assert_eq!(
        of_hub.iter().filter(|row| of_host.contains(row)).count(),
        4,
        "\n{}\n\n{}",
        of_host.join("\n"),
        of_hub.join("\n")
    );
    println!("{}", of_host.join("\n"));
    assert!(of_host[0].contains("|clicks|a|12|0.1|true|"), "{}", of_host[0]);
}
