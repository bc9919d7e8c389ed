//! One fixture per wire shape, one row per fixture: what a handler sees.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Method, Request};
use serde_json::json;

use super::support::{fixture, fixture_dir};
use crate::*;

/// A fixture's name and what must be seen in it.
type Row = (&'static str, fn(&[u8]));

const TABLE: &[Row] = &[
    ("timer", |body| {
        let timer: TimerInfo = decode(body);
        assert!(!timer.is_past_due);
        assert_eq!(timer.adjust_for_dst, Some(true));
        let status = timer.schedule_status.unwrap();
        assert_eq!(status.last, Some(time("2026-01-05T09:00:00.0012Z")));
        assert_eq!(status.next, Some(time("2026-01-05T10:00:00Z")));
    }),
    ("timer_unmonitored", |body| {
        let timer: TimerInfo = decode(body);
        assert!(timer.is_past_due && timer.schedule_status.is_none());
    }),
    ("timer_first_run", |body| {
        let status = decode::<TimerInfo>(body).schedule_status.unwrap();
        assert_eq!((status.last, status.next), (None, Some(time("2026-01-05T11:00:00Z"))));
        assert_eq!(retry(body), Some((0, Some(5), false)));
    }),
    ("queue_binary", |body| {
        let message: QueueMessage = decode(body);
        assert_eq!((&message.body[..], message.body_encoding_error), (&b"hi"[..], false));
        assert_eq!(message.id.as_deref(), Some("9a5b2c1e-7f51-4f0e-9d3a-3c8a52d3f7aa"));
        assert_eq!(message.dequeue_count, Some(1));
        assert_eq!(message.insertion_time, Some(time("2026-01-05T10:00:00Z")));
        assert_eq!(message.expiration_time, Some(time("2026-01-12T10:00:00Z")));
        assert_eq!(message.next_visible_time, Some(time("2026-01-05T10:10:00Z")));
        assert_eq!(message.pop_receipt.as_deref(), Some("AgAAAAMAAAAAAAAA"));
        assert_eq!(retry(body), None);
    }),
    ("queue_binary_not_utf8", |body| assert_eq!(&decode::<QueueMessage>(body).body[..], b"\xff\x00\xfe")),
    ("queue_string", |body| {
        // The quoted form is recognised whatever was declared.
        for data_type in [DataType::Binary, DataType::String] {
            let message: QueueMessage = decode_as(body, data_type);
            assert_eq!(&message.body[..], b"order 4711: \"ready\"");
            assert!(message.id.is_some() && !message.body_encoding_error);
        }
    }),
    ("queue_string_merged", |body| {
        let message: QueueMessage = decode_as(body, DataType::String);
        // Overwritten by the body's own members, so not to be believed; a null overwrites nothing.
        assert_eq!((message.id, message.dequeue_count), (None, None));
        assert!(message.insertion_time.is_some() && message.pop_receipt.is_some());
    }),
    ("queue_unquoted_text", |body| {
        let message: QueueMessage = decode(body);
        assert_eq!((&message.body[..], message.body_encoding_error), (&b"not base64, not quoted"[..], true));
        assert!(!decode_as::<QueueMessage>(body, DataType::String).body_encoding_error);
    }),
    ("queue_native_metadata", |body| {
        let message: QueueMessage = decode(body);
        assert_eq!((message.id.as_deref(), message.dequeue_count), (Some("plain-id"), Some(3)));
        assert_eq!(message.insertion_time, Some(time("2026-01-05T10:00:00Z")));
    }),
    ("queue_event_grid", |body| check_created(&decode::<QueueMessage>(body).body)),
    ("queue_event_grid_base64_inside", |body| check_created(&decode::<QueueMessage>(body).body)),
    ("queue_event_grid_string", |body| {
        let message: QueueMessage = decode(body);
        check_created(&message.body);
        assert_eq!(message.id, None);
        assert_eq!(message.dequeue_count, Some(1));
    }),
    ("queue_cloud_events", |body| {
        let event = BlobEvent::parse(&decode::<QueueMessage>(body).body).unwrap();
        assert_eq!((event.kind, event.path.as_str()), (BlobEventKind::Deleted, "2026/a b.parquet"));
        assert_eq!(event.time, Some(time("2026-01-05T10:00:00.123Z")));
    }),
    ("event_grid", |body| {
        let event: EventGridEvent = decode(body);
        assert_eq!(event.schema, EventSchema::EventGrid);
        assert!(event.source.as_deref().unwrap().ends_with("/acct"));
        assert_eq!(BlobEvent::from_event(&event).unwrap().kind, BlobEventKind::Created);
    }),
    ("event_grid_cloud_events", |body| {
        let event: EventGridEvent = decode(body);
        assert_eq!(
            (event.schema, event.event_type.as_str()),
            (EventSchema::CloudEvents, "Microsoft.Storage.BlobDeleted")
        );
        assert!(event.source.as_deref().unwrap().ends_with("/acct"));
    }),
    ("event_grid_many", |body| {
        let schemas: Vec<_> = decode::<Vec<EventGridEvent>>(body).iter().map(|event| event.schema).collect();
        assert_eq!(schemas, [EventSchema::EventGrid, EventSchema::CloudEvents]);
        // Registered as one, a batch of two is refused rather than cut.
        assert!(try_decode::<EventGridEvent>(body, DataType::String).is_err());
    }),
    ("event_hub_many_binary", |body| {
        let batch: EventBatch = decode(body);
        check_partition(&batch);
        check_columns(&batch);
        assert_eq!(bodies(&batch), [&b"{\"a\":1}"[..], b"\xff\x00"]);
        assert!(batch.ignored_metadata.is_empty());
        assert_eq!(batch.events[0].properties, *json!({"ct": "a"}).as_object().unwrap());
        assert_eq!(retry(body), Some((2, None, false)));
    }),
    ("event_hub_many_retried", |body| {
        // From the second attempt on the context holds the whole exception, here of 11 kB with two inner ones.
        let batch: EventBatch = decode(body);
        check_partition(&batch);
        check_columns(&batch);
        assert_eq!(retry(body), Some((1, None, false)));
    }),
    ("event_hub_many_string", |body| {
        let batch: EventBatch = decode_as(body, DataType::String);
        check_columns(&batch);
        // `test` is valid base64: only the declared data type keeps it a text.
        assert_eq!(bodies(&batch), [&b"{\"a\":1}"[..], b"test"]);
    }),
    ("event_hub_many_json", |body| {
        let batch: EventBatch = decode_as(body, DataType::String);
        assert_eq!(bodies(&batch), [&b"{\"a\":1}"[..], b"text"]);
    }),
    ("event_hub_many_bad_base64", |body| {
        let batch: EventBatch = decode(body);
        check_columns(&batch);
        assert_eq!(bodies(&batch), [&b"{\"a\":1}"[..], b"%%% not base64 %%%"]);
        let marks: Vec<_> = batch.events.iter().map(|event| event.body_encoding_error).collect();
        assert_eq!(marks, [false, true]);
    }),
    ("event_hub_many_no_metadata", |body| {
        let batch: EventBatch = decode(body);
        assert_eq!(batch.events.len(), 2);
        assert!(batch.namespace.is_none() && batch.partition.is_none() && batch.ignored_metadata.is_empty());
        assert!(batch.events.iter().all(|event| event.sequence_number.is_none() && event.offset.is_none()));
    }),
    ("event_hub_many_missing_arrays", |body| {
        // The system properties step in for the arrays, PartitionContext for TriggerPartitionContext.
        let batch: EventBatch = decode(body);
        check_partition(&batch);
        check_columns(&batch);
    }),
    ("event_hub_many_properties", |body| {
        // Of every type, as Newtonsoft writes them; and a key that only the system properties have.
        let batch: EventBatch = decode(body);
        let given = json!({
            "tenant": "a", "size": 12, "ratio": 0.1, "ok": true, "sent": "2026-01-05T10:00:00.12Z",
            "trace": "00000000-0000-0000-0000-000000000007", "raw": "AQID", "none": null,
        });
        assert_eq!(
            (&serde_json::Value::from(batch.events[0].properties.clone()), batch.events[1].properties.len()),
            (&given, 0)
        );
        assert_eq!(batch.events[1].partition_key.as_deref(), Some("k1"));
    }),
    ("event_hub_many_uneven_arrays", |body| {
        let batch: EventBatch = decode(body);
        assert_eq!(batch.ignored_metadata, ["SequenceNumberArray", "PropertiesArray"]);
        assert!(batch.events.iter().all(|event| event.sequence_number.is_none() && event.properties.is_empty()));
        assert!(batch.events.iter().all(|event| event.enqueued_time.is_some()));
    }),
    ("event_hub_many_opaque_offsets", |body| {
        let batch: EventBatch = decode(body);
        assert!(batch.events.iter().all(|event| event.offset.is_none() && event.sequence_number.is_some()));
    }),
    ("event_hub_many_empty", |body| assert!(decode::<EventBatch>(body).events.is_empty())),
    ("event_hub_one_binary", |body| {
        let batch: EventBatch = decode(body);
        check_partition(&batch);
        assert_eq!(bodies(&batch), [b"{\"a\":1}"]);
        let event = &batch.events[0];
        assert_eq!((event.sequence_number, event.offset.as_deref()), (Some(42), Some("8589934680")));
        assert_eq!(event.enqueued_time, Some(time("2026-01-05T10:00:00.456Z")));
        assert_eq!((event.partition_key.as_deref(), event.properties.len()), (Some("k1"), 1));
    }),
    ("event_hub_one_string", |body| {
        let batch: EventBatch = decode_as(body, DataType::String);
        // The body's `sequenceNumber` (7) took the place of the true one, which the system properties still hold.
        assert_eq!(batch.events[0].sequence_number, Some(42));
        assert_eq!(bodies(&batch), [b"{\"a\":1,\"sequenceNumber\":7}"]);
    }),
    ("http_envelope", |body| {
        let request: Request<Bytes> = decode(body);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri().path_and_query().unwrap(), "/api/reprocess/in?force=1");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.headers().get_all("x-forwarded-for").iter().count(), 2);
        assert_eq!(request_body(&request).unwrap(), &Bytes::from_static(b"{\"from\":\"2026-01-01\"}"));
        assert_eq!(request.extensions().get::<RouteParams>().unwrap().0["container"], "in");
        let caller = &request.extensions().get::<Identities>().unwrap().0[0];
        assert!(caller.is_authenticated);
        assert_eq!((caller.claims[0].kind.as_str(), caller.claims[0].value.as_str()), ("roles", "Lake.Reprocess"));
    }),
    ("http_envelope_merged_metadata", |body| {
        // The body's members and the query stand in Metadata, too, a retry context among them; a key brings claims.
        let mut envelope = Envelope::parse(body).unwrap();
        assert!(envelope.metadata_members().iter().count() > 40);
        let request = Request::<Bytes>::decode(&mut envelope, DataType::String).unwrap();
        assert_eq!(request.uri().query(), Some("force=1&Data=x"));
        assert!(request_body(&request).unwrap().starts_with(b"{\"dataset\": \"orders\""));
        assert_eq!(RetryContext::read(&envelope), None, "a caller's word for a retry of the host");
        let callers = &request.extensions().get::<Identities>().unwrap().0;
        assert_eq!(callers.iter().map(|caller| caller.is_authenticated).collect::<Vec<_>>(), [true, false]);
        let claims: Vec<_> = callers[0].claims.iter().map(|claim| claim.value.as_str()).collect();
        assert_eq!(claims, ["Function", "default"]);
    }),
    ("http_envelope_without_body", |body| {
        let request: Request<Bytes> = decode(body);
        assert_eq!(request_body(&request), None);
    }),
    ("http_envelope_binary_body", |body| assert_eq!(&decode::<Request<Bytes>>(body).body()[..], b"\xff\x00")),
    ("retry_context", |body| assert_eq!(retry(body), Some((3, Some(3), true)))),
    ("input_bindings", |body| {
        assert_eq!(&decode::<QueueMessage>(body).body[..], b"hi");
        let envelope = Envelope::parse(body).unwrap();
        let inputs: Vec<_> = envelope.inputs().map(|input| input.name().to_owned()).collect();
        assert_eq!(inputs, ["settings", "limit"]);
    }),
];

#[test]
fn fixtures_decode_as_the_table_says() {
    for (name, check) in TABLE {
        println!("{name}");
        check(&fixture(name));
    }
}

#[test]
fn every_fixture_is_in_the_table() {
    let files: BTreeSet<String> = std::fs::read_dir(fixture_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let rows: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, rows);
}

#[test]
fn broken_envelopes_name_the_key_and_not_the_value() {
    let cases: &[(&str, &str)] = &[
        ("", "envelope"),
        ("[1]", "envelope"),
        (r#"{"Data":{"msg":"c2VjcmV0"}} trailing"#, "envelope"),
        (r#"{"Metadata":{}}"#, "Data"),
        (r#"{"Data":{}}"#, "Data"),
        (r#"{"Data":null}"#, "Data"),
        (r#"{"Data":"secret"}"#, "Data"),
        (r#"{"Data":{"msg":"secret}"#, "Data"),
        (r#"{"Data":{"msg":null}}"#, "Data.msg"),
        (r#"{"Data":{"msg":"\ud83d secret"}}"#, "Data.msg"),
        (r#"{"Data":{"msg":"aGk="},"Metadata":["secret"]}"#, "Metadata"),
    ];
    for (body, expected) in cases {
        let error = try_decode::<QueueMessage>(body.as_bytes(), DataType::Binary).unwrap_err();
        let Error::Envelope { key, .. } = &error else { panic!("{body}: {error}") };
        assert_eq!(key, expected, "{body}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn events_of_unusable_shape_are_errors_that_name_the_key() {
    let cases: &[(&str, &str)] = &[
        ("", "event"),
        ("[]", "event"),
        ("[{},{}]", "event"),
        ("!!", "event"),
        (r#"[[[[[[{}]]]]]]"#, "event"),
        (r#"{"eventType":"x"}"#, "id"),
        (r#"{"id":"1"}"#, "eventType"),
        (r#"{"id":"1","specversion":"1.0"}"#, "type"),
        (r#"{"id":"1","eventType":"x"}"#, "data.url"),
        (r#"{"id":"1","eventType":"x","data":{"url":"https://acct.blob.core.windows.net/"}}"#, "data.url"),
    ];
    for (body, expected) in cases {
        match BlobEvent::parse(body.as_bytes()) {
            Err(Error::Event { key, .. }) => assert_eq!(key, *expected, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn debug_output_shows_no_payload() {
    let message = QueueMessage::new("secret");
    let batch =
        EventBatch { events: vec![Event { body: "secret".into(), ..Event::default() }], ..EventBatch::default() };
    let event: EventGridEvent = decode(&fixture("event_grid"));
    let shown = format!("{message:?} {batch:?} {event:?}");
    assert!(!shown.contains("secret") && !shown.contains("windows.net"), "{shown}");
}

#[test]
fn a_batch_reads_the_same_by_the_short_and_the_long_way() {
    // An escape in one body sends the whole batch the long way.
    let short = format!(r#"{{"Data":{{"e":"{}"}}}}"#, r#"[\"aGk=\",\"\",\"+/8=\"]"#);
    let long = format!(r#"{{"Data":{{"e":"{}"}}}}"#, r#"[ \"aGk=\", \"\", \"\\u002b/8=\" ]"#);
    let (short, long): (EventBatch, EventBatch) = (decode(short.as_bytes()), decode(long.as_bytes()));
    assert_eq!(short, long);
    assert_eq!(bodies(&short), [&b"hi"[..], b"", b"\xfb\xff"]);
}

#[test]
fn native_arrays_and_broken_arrays_lose_nothing() {
    let native: EventBatch = decode(br#"{"Data":{"e":["aGk=","aGk"]},"Metadata":{"SequenceNumberArray":[1,"2"]}}"#);
    assert_eq!(bodies(&native), [b"hi", b"hi"]);
    assert_eq!(native.events[1].sequence_number, Some(2));
    let broken: EventBatch = decode(br#"{"Data":{"e":"[\"aGk=\",\"cut of"}}"#);
    assert_eq!(bodies(&broken), [br#"["aGk=","cut of"#]);
    assert!(broken.events[0].body_encoding_error);
}

#[test]
fn a_batch_of_too_many_events_is_refused() {
    let one_more = vec![r#"\"\""#; MAX_EVENTS + 1].join(",");
    let body = format!(r#"{{"Data":{{"e":"[{one_more}]"}}}}"#);
    let error = try_decode::<EventBatch>(body.as_bytes(), DataType::Binary).unwrap_err();
    assert!(error.to_string().contains("Data.e"), "{error}");
    let numbers = format!(r#"{{"Data":{{"e":[{}]}}}}"#, vec!["1"; MAX_EVENTS + 1].join(","));
    assert!(try_decode::<EventBatch>(numbers.as_bytes(), DataType::Binary).is_err());
}

fn check_created(body: &[u8]) {
    let event = BlobEvent::parse(body).unwrap();
    assert_eq!(event.kind, BlobEventKind::Created);
    assert_eq!((event.container.as_str(), event.path.as_str()), ("in", "2026/a b.parquet"));
    assert_eq!(event.url, "https://acct.blob.core.windows.net/in/2026/a%20b.parquet");
    assert_eq!(event.etag.as_deref(), Some("0x8DE4B5E6C3C1A2B"));
    assert_eq!(event.content_length, Some(524_288_000));
    assert_eq!(event.api.as_deref(), Some("PutBlockList"));
    assert_eq!(event.id, "6e1b0d42-b01e-0096-2c55-7f2b0a06c9f1");
    assert_eq!(event.time, Some(time("2026-01-05T10:00:00.123Z")));
    assert!(event.sequencer.is_some());
}

fn check_partition(batch: &EventBatch) {
    assert_eq!(batch.namespace.as_deref(), Some("ns.servicebus.windows.net"));
    assert_eq!(batch.hub.as_deref(), Some("telemetry"));
    assert_eq!(batch.consumer_group.as_deref(), Some("$Default"));
    assert_eq!(batch.partition.as_deref(), Some("3"));
}

fn check_columns(batch: &EventBatch) {
    let events = &batch.events;
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].sequence_number, events[1].sequence_number), (Some(41), Some(42)));
    assert_eq!(events[1].offset.as_deref(), Some("8589934680"));
    assert_eq!(events[0].enqueued_time, Some(time("2026-01-05T10:00:00.123Z")));
    assert_eq!((events[0].partition_key.as_deref(), events[1].partition_key.as_deref()), (None, Some("k1")));
}

fn bodies(batch: &EventBatch) -> Vec<&[u8]> {
    batch.events.iter().map(|event| &event.body[..]).collect()
}

fn try_decode<T: Trigger>(body: &[u8], data_type: DataType) -> Result<T, Error> {
    T::decode(&mut Envelope::parse(body)?, data_type)
}

fn decode_as<T: Trigger>(body: &[u8], data_type: DataType) -> T {
    try_decode(body, data_type).unwrap_or_else(|error| panic!("{error}"))
}

fn decode<T: Trigger>(body: &[u8]) -> T {
    decode_as(body, DataType::Binary)
}

fn retry(body: &[u8]) -> Option<(u32, Option<u32>, bool)> {
    let retry = RetryContext::read(&Envelope::parse(body).unwrap())?;
    Some((retry.retry_count, retry.max_retry_count, retry.is_last()))
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}
