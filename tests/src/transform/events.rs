//! What stands around an event's body, as columns.

use serde_json::{Map, Value, json};
use weir_contract::{
    Column, Contract, DataType, FIRST_OF_SEVERAL, Gap, MissingColumns, RuleAction, Source, Treatment, position_of,
};
use weir_transform::{EventMeta, EventRecord, Output};

use super::{checked, clean, column, contract, lineage, refused, rule, transform};

fn from(spec: &str, data_type: DataType, from: &str) -> Column {
    Column { from: Some(from.to_owned()), ..column(spec, data_type) }
}

fn events(columns: Vec<Column>) -> Contract {
    let source = Source::Events { hub: "h".to_owned(), consumer_group: "g".to_owned(), gap: Gap::Heal, epoch: 1 };
    Contract { source, ..contract(columns) }
}

/// All parts of events, among columns of the body.
fn everything() -> Contract {
    events(vec![
        from("at!", DataType::Timestamp, "event:enqueued_time"),
        column("n!", DataType::Long),
        from("number", DataType::Long, "event:sequence_number"),
        from("offset", DataType::String, "event:offset"),
        from("key", DataType::String, "event:partition_key"),
        column("text", DataType::String),
        from("partition", DataType::Short, "event:partition"),
        from("hub", DataType::String, "event:hub"),
        from("size", DataType::Decimal { precision: 9, scale: 2 }, "event:property:Size"),
    ])
}

fn properties(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn meta(properties: &Map<String, Value>) -> EventMeta<'_> {
    EventMeta {
        sequence: Some(41),
        enqueued_us: Some(1_767_607_200_123_000),
        offset: Some("8589934592"),
        partition_key: Some("k"),
        hub: Some("clicks"),
        partition: Some("3"),
        properties: Some(properties),
        system: None,
    }
}

fn run(contract: &Contract, bodies: &[&str], events: &[(usize, EventMeta<'_>)]) -> Output {
    let metas: Vec<EventMeta<'_>> = events.iter().map(|(_, meta)| *meta).collect();
    let of = events.iter().enumerate().flat_map(|(event, (count, _))| vec![event; *count]);
    let records: Vec<EventRecord<'_>> = bodies
        .iter()
        .zip(of)
        .zip(1..)
        .map(|((body, event), position)| EventRecord { body: body.as_bytes(), position, event })
        .collect();
    assert_eq!(records.len(), bodies.len());
    checked(contract, transform(contract).event_records(&records, &metas, &lineage()).unwrap())
}

#[test]
fn each_part_is_typed_and_in_the_contracts_place() {
    let given = properties(json!({ "size": 1.5, "other": 1 }));
    let bodies = ["{\"n\":1,\"text\":\"a\",\"event:offset\":7}", "{\"text\":\"b\",\"n\":2}"];
    let output = run(&everything(), &bodies, &[(2, meta(&given))]);
    let around =
        |n: u32, text: &str| format!("{n}: 2026-01-05 10:00:00.123 UTC|{n}|41|8589934592|k|{text}|3|clicks|1.50");
    // A field of the body is no part of the event, whatever it is called.
    assert_eq!(clean(&output), [around(1, "a") + "|{\"event:offset\":7}", around(2, "b")]);
    // Nothing at all is known.
    let output = run(&everything(), &["{\"n\":1}", "oops"], &[(1, EventMeta::default()), (1, EventMeta::default())]);
    assert_eq!(refused(&output), ["1: column `at`: null", "2: not one JSON object: text; column `at`: null"]);
    assert_eq!(run(&everything(), &[], &[]).records, 0);
    // What no text column may hold.
    let odd = EventMeta { partition_key: Some("k\0"), hub: Some("\0"), ..meta(&given) };
    let output = run(&everything(), &["{\"n\":1}"], &[(1, odd)]);
    assert_eq!(refused(&output), ["1: column `key`: NUL character; column `hub`: NUL character"]);
}

#[test]
fn properties_are_read_as_fields_are() {
    let columns =
        |data_type| events(vec![column("n", DataType::Long), from("p!", data_type, "event:property:Trace-Id")]);
    let cases = [
        (DataType::String, json!({ "Trace-Id": "x" }), Ok("x")),
        (DataType::String, json!({ "trace-id": "x", "Trace-Id": "y" }), Ok("y")),
        (DataType::String, json!({ "TRACE-ID": 7 }), Ok("7")),
        (DataType::String, json!({ "Trace-Id": { "a": [1] } }), Ok("{\"a\":[1]}")),
        (DataType::String, json!({ "Trace-Id": true }), Ok("true")),
        (DataType::String, json!({ "Trace-Id": "a\0b" }), Err("column `p`: NUL character")),
        (DataType::Long, json!({ "Trace-Id": "12" }), Ok("12")),
        (DataType::Long, json!({ "Trace-Id": 12.5 }), Err("column `p`: not a long")),
        (DataType::Long, json!({ "Trace-Id": [1] }), Err("column `p`: not a long")),
        (DataType::Byte, json!({ "Trace-Id": 300 }), Err("column `p`: out of range for a byte")),
        (DataType::Timestamp, json!({ "Trace-Id": "2026-01-05T10:00:00.5Z" }), Ok("2026-01-05 10:00:00.500 UTC")),
        (DataType::Boolean, json!({ "Trace-Id": false }), Ok("false")),
        (DataType::String, json!({ "Trace-Id": null }), Err("column `p`: null")),
        (DataType::String, json!({ "trace_id": "x" }), Err("column `p`: null")),
    ];
    for (data_type, given, expected) in cases {
        let given = properties(given);
        let output = run(&columns(data_type), &["{\"n\":1}"], &[(1, meta(&given))]);
        match expected {
            Ok(value) => assert_eq!(clean(&output), [format!("1: 1|{value}")], "{given:?}"),
            Err(reason) => assert_eq!(refused(&output), [format!("1: {reason}")], "{given:?}"),
        }
    }
    let mut strict = columns(DataType::String);
    strict.drift.match_case = true;
    strict.drift.missing_columns = MissingColumns::Fail;
    let given = properties(json!({ "trace-id": "x" }));
    assert_eq!(refused(&run(&strict, &["{\"n\":1}"], &[(1, meta(&given))])), ["1: missing column `p`"]);
}

/// Rules and privacy see these columns as any other; a contract may consist of them.
#[test]
fn they_are_columns_as_any_other() {
    let mut contract = events(vec![
        from("key", DataType::String, "event:partition_key"),
        from("tenant", DataType::String, "event:property:tenant"),
    ]);
    contract.columns[0].personal = Some(Treatment::Mask);
    contract.rules = vec![rule("tenant_is_known", "tenant IN ('a', 'b')", RuleAction::Quarantine)];
    let (a, c) = (properties(json!({ "tenant": "a" })), properties(json!({ "tenant": "c" })));
    let output = run(&contract, &["{}", "{}", "{\"x\":1}"], &[(1, meta(&a)), (1, meta(&c)), (1, meta(&a))]);
    assert_eq!(clean(&output), ["1: ***|a", "3: ***|a"]);
    assert_eq!(output.report.left_out, 1);
    assert_eq!(refused(&output), ["2: rule `tenant_is_known`"]);
}

/// Enough for several threads: the columns are chunked as the others are, and no row changes its place.
#[test]
fn many_records_of_many_events() {
    let contract = everything();
    let bodies: Vec<String> = (0..20_000).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(60))).collect();
    let given: Vec<Map<String, Value>> = (0..1_000)
        .map(|event| properties(json!({ "Size": if event % 10 == 3 { json!("x") } else { json!(event) } })))
        .collect();
    let metas: Vec<EventMeta<'_>> =
        given.iter().zip(0..).map(|(given, event)| EventMeta { sequence: Some(event), ..meta(given) }).collect();
    let position = |n: usize| position_of((n / 20) as i64, n % 20).unwrap();
    let records: Vec<EventRecord<'_>> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| EventRecord { body: body.as_bytes(), position: position(n), event: n / 20 })
        .collect();
    let output = checked(&contract, transform(&contract).event_records(&records, &metas, &lineage()).unwrap());
    assert_eq!((output.clean.height(), output.quarantined.height()), (18_000, 2_000));
    let long = |name: &str| output.clean.column(name).unwrap().i64().unwrap().into_no_null_iter().collect::<Vec<_>>();
    let rows = long("n").into_iter().zip(long("number")).zip(long("_source_position"));
    for ((n, number), at) in rows {
        assert_eq!((number, at), (n / 20, position(n as usize)));
        assert!(at >= FIRST_OF_SEVERAL);
    }
    assert_eq!(output.report.faulty, 2_000);
}
