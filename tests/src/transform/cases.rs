//! Inputs from public reports (`tests/data/cases`), each with its contract as it is, and what is right of it.

use std::fs;
use std::path::PathBuf;

use azure_functions_custom_handler::SystemProperties;
use serde_json::json;
use weir_contract::{Contract, DataType, Treatment};
use weir_transform::{EventMeta, EventRecord};

use super::corpus::read;
use super::{checked, clean, lineage, refused, transform};
use crate::support::repository;

fn folder(case: &str) -> PathBuf {
    repository().join("tests/data/cases").join(case)
}

fn contract(case: &str) -> Contract {
    let text = fs::read_to_string(folder(case).join("contract.toml")).unwrap();
    Contract::parse(&text, "contract.toml").unwrap_or_else(|errors| panic!("{case}: {errors}"))
}

/// The rows of a file, and what is refused of it, under a contract that `change` has changed.
async fn file_with(case: &str, name: &str, change: impl FnOnce(&mut Contract)) -> (Vec<String>, Vec<String>) {
    let mut contract = contract(case);
    change(&mut contract);
    let found = read(&contract, name, fs::read(folder(case).join(name)).unwrap()).await;
    (found.clean, found.refused)
}

async fn file(case: &str) -> (Vec<String>, Vec<String>) {
    file_with(case, "input.csv", |_| {}).await
}

/// The rows of events, one a line, and what is refused of them.
fn events_with(case: &str, bodies: &[u8], change: impl FnOnce(&mut Contract)) -> (Vec<String>, Vec<String>) {
    let mut contract = contract(case);
    change(&mut contract);
    let bodies: Vec<&[u8]> = bodies.split(|byte| *byte == b'\n').filter(|body| !body.is_empty()).collect();
    let positions: Vec<i64> = (0..bodies.len() as i64).collect();
    let output = transform(&contract).events(&bodies, &positions, &lineage()).unwrap();
    let output = checked(&contract, output);
    (clean(&output), refused(&output))
}

fn events(case: &str, change: impl FnOnce(&mut Contract)) -> (Vec<String>, Vec<String>) {
    events_with(case, &fs::read(folder(case).join("events.ndjson")).unwrap(), change)
}

/// What a text is as a file under the case's contract.
async fn text(case: &str, text: &[u8]) -> (Vec<String>, Vec<String>) {
    let found = read(&contract(case), "a.csv", text.to_vec()).await;
    (found.clean, found.refused)
}

#[tokio::test]
async fn a_fraction_is_one_of_a_second() {
    let (rows, refused) = file("files/fraction_specifier").await;
    let at = |row: &String| row.split_once("10:00:00").map(|(_, rest)| rest.to_owned()).unwrap();
    assert_eq!(rows.iter().map(at).collect::<Vec<_>>(), [".500 UTC", ".123456 UTC", ".123 UTC"]);
    assert!(refused.is_empty());
}

#[tokio::test]
async fn a_year_has_four_digits() {
    let (rows, refused) = file("files/two_digit_year_in_Y").await;
    assert_eq!(rows, ["1: 1|2024-01-05"]);
    assert_eq!(refused, [2, 3, 4].map(|row| format!("{row}: column `d`: not a date")));
}

#[tokio::test]
async fn postgres_writes_offsets_of_hours() {
    let (rows, refused) = file("files/postgres_offset").await;
    assert_eq!(rows, ["1: 1|2020-12-31 19:25:58.745232 UTC", "2: 2|2021-01-01 00:25:58 UTC"]);
    assert!(refused.is_empty());
}

#[tokio::test]
async fn lone_carriage_returns_end_lines() {
    let case = "files/cr_line_ends";
    let expected = (vec!["1: 1|a|1.50".to_owned(), "2: 2|b|2.50".to_owned()], Vec::new());
    assert_eq!(file(case).await, expected);
    for bytes in [
        "\u{feff}id,name,price\r1,a,1.50\r2,b,2.50\r",
        "\r\rid,name,price\r\r1,a,1.50\r2,b,2.50",
        "id,name,price\r1,\"a\",1.50\r2,b,\"2.50\"\r",
        "id,name,price\r\r\n1,a,1.50\r\r\n2,b,2.50\r\r\n",
        "\"id\",name,price\r1,a,1.50\n2,b,2.50\r\n",
    ] {
        assert_eq!(text(case, bytes.as_bytes()).await, expected, "{bytes:?}");
    }
    // Within quotes it is a character, and so it is in a file whose lines end otherwise.
    let (rows, _) = text(case, b"id,name,price\r1,\"a\rb\r\nc\",1.50\r").await;
    assert_eq!(rows, ["1: 1|a\rb\r\nc|1.50"]);
    let (rows, _) = text(case, b"id,name,price\n1,a\rb,1.50\n").await;
    assert_eq!(rows, ["1: 1|a\rb|1.50"]);
}

#[tokio::test]
async fn a_line_that_names_no_column_is_no_header() {
    const NONE: &str = "the header has none of the contract's columns";
    let case = "files/only_line_is_no_header";
    assert_eq!(file(case).await, (Vec::new(), vec![format!("0: {NONE}")]));
    let three = text(case, b"7,late,9.99\n8,x,1.00\n9,y,2.00\n").await;
    assert_eq!(three, (Vec::new(), [0, 1, 2].map(|at| format!("{at}: {NONE}")).to_vec()));
    // No line end, blank lines around it, another delimiter.
    assert_eq!(text(case, b"7,late,9.99").await.1.len(), 1);
    assert_eq!(text(case, b"\n \n7,late,9.99\n\n").await.1.len(), 1);
    let (_, refused) = text(case, b"id;name;price\n1;a;1.50\n").await;
    assert_eq!(refused[0], format!("0: {NONE}; with `[format] delimiter = \";\"` it would"));
    assert_eq!(refused.len(), 2);
    // These are empty.
    for nothing in ["", "\n\n", " \r\n\t\n", "id,name,price", "\n\nid,name,price\n\n", "\u{feff}"] {
        assert_eq!(text(case, nothing.as_bytes()).await, (Vec::new(), Vec::new()), "{nothing:?}");
    }
}

#[tokio::test]
async fn a_header_is_text_in_its_encoding() {
    let case = "files/header_not_utf8";
    let reason = "the header is not UTF-8: say by `[format] encoding` what it is";
    let (rows, refused) = file(case).await;
    assert!(rows.is_empty());
    assert_eq!(refused[..2], [0, 1].map(|at| format!("{at}: {reason}")));
    assert_eq!(refused.len(), 4);
    let (rows, refused) = file_with(case, "input.csv", |contract| contract.format.encoding = "windows-1252").await;
    assert_eq!(rows, ["1: 1|1.5|Bern", "2: 2|2.5|Zürich", "3: 3|3.5|Genf"]);
    assert!(refused.is_empty());
    for (bytes, count) in
        [(b"id,ort,\xff\n1,a,b\n".as_slice(), 2), (b"\xff\xfe\xfd", 1), (b"i\0d\0,\0o\0r\0t\0\n\0", 2)]
    {
        let (rows, refused) = text(case, bytes).await;
        assert!(rows.is_empty() && refused.len() == count, "{refused:?}");
        assert!(refused[0].starts_with("0: the header "), "{refused:?}");
    }
}

#[tokio::test]
async fn an_empty_text_is_null_in_a_partition() {
    let case = "files/empty_text_partition";
    assert_eq!(file(case).await, (["1: 1|~", "2: 2|~", "3: 3|x"].map(str::to_owned).to_vec(), Vec::new()));
    // A column that is no partition keeps it.
    let (rows, _) = file_with(case, "input.csv", |contract| contract.table.partition_by.clear()).await;
    assert_eq!(rows, ["1: 1|", "2: 2|~", "3: 3|x"]);
}

#[test]
fn an_empty_text_is_refused_in_a_partition_that_must_not_be_null() {
    const REASON: &str = "column `p`: an empty text, which a partition column cannot hold";
    let case = "events/empty_partition_text";
    let (rows, refused) = events(case, |_| {});
    assert_eq!(rows, ["0: 1|x", "2: 3|x"]);
    assert_eq!(refused, [format!("1: {REASON}")]);
    // With another fault; nullable; masked, where it would stay empty; a pseudonym, which is never empty.
    let bodies = b"{\"id\": \"x\", \"p\": \"\"}\n{\"id\": 2, \"p\": \"\"}\n{\"id\": 3, \"p\": \" \"}\n";
    let (rows, refused) = events_with(case, bodies, |_| {});
    assert_eq!(rows, ["2: 3| "]);
    assert_eq!(refused, [format!("0: column `id`: not a long; {REASON}"), format!("1: {REASON}")]);
    let (rows, _) = events_with(case, bodies, |contract| contract.columns[1].nullable = true);
    assert_eq!(rows, ["1: 2|~", "2: 3| "]);
    let (_, refused) = events_with(case, bodies, |contract| contract.columns[1].personal = Some(Treatment::Mask));
    assert_eq!(refused.len(), 2);
    let (rows, _) = events_with(case, bodies, |contract| contract.columns[1].personal = Some(Treatment::Pseudonym));
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn forms_that_spreadsheets_and_spark_write() {
    let case = "files/spreadsheet_csv";
    let one = vec!["1: 1|a|1.50".to_owned()];
    // Known by itself.
    assert_eq!(file_with(case, "sep_line.csv", |_| {}).await, (one.clone(), Vec::new()));
    let (rows, refused) = file_with(case, "preamble.csv", |contract| contract.format.skip_lines = 1).await;
    assert_eq!((rows, refused), (one.clone(), vec!["2: column `id`: not a long".to_owned()]));
    let trailing = file_with(case, "trailing.csv", |contract| contract.format.trailing_delimiter = true).await;
    assert_eq!(trailing, (one, Vec::new()));
    let escaped = file_with(case, "backslash.csv", |contract| contract.format.escape = Some(b'\\')).await;
    assert_eq!(escaped, (vec!["1: 1|5\" pipe|1.50".to_owned()], Vec::new()));
    // Without their keys they are refused, all of them.
    for (name, count) in [("preamble.csv", 4), ("trailing.csv", 1), ("backslash.csv", 1)] {
        let (rows, refused) = file_with(case, name, |_| {}).await;
        assert!(rows.is_empty() && refused.len() == count, "{name}: {refused:?}");
    }
}

/// What a text is under the case's contract with a change.
async fn text_with(case: &str, text: &[u8], change: impl FnOnce(&mut Contract)) -> (Vec<String>, Vec<String>) {
    let mut contract = contract(case);
    change(&mut contract);
    let found = read(&contract, "a.csv", text.to_vec()).await;
    (found.clean, found.refused)
}

#[tokio::test]
async fn keys_of_csv_go_together() {
    let case = "files/spreadsheet_csv";
    let rows = |found: (Vec<String>, Vec<String>)| {
        assert!(found.1.is_empty(), "{:?}", found.1);
        found.0
    };
    let skips = |lines: usize| move |contract: &mut Contract| contract.format.skip_lines = lines;
    assert_eq!(rows(text_with(case, b"a\r\nb;\"\r\nid;name;price\r\n1;a;1\r\n", skips(2)).await), ["1: 1|a|1.00"]);
    assert_eq!(rows(text_with(case, b"\xef\xbb\xbfa\rid;name;price\r1;a;1\r", skips(1)).await), ["1: 1|a|1.00"]);
    let mixed = b"a\rb\r\nc\r\nid;name;price\r\n1;a;1\r\n";
    assert_eq!(rows(text_with(case, mixed, skips(3)).await), ["1: 1|a|1.00"]);
    assert!(rows(text_with(case, b"a\nb", skips(5)).await).is_empty());
    assert_eq!(rows(text(case, b"\xef\xbb\xbfSEP=;\r\nid;name;price\r\n1;a;1\r\n").await), ["1: 1|a|1.00"]);
    assert_eq!(rows(text(case, b"sep=;\rid;name;price\r1;a;1\r").await), ["1: 1|a|1.00"]);
    let (_, refused) = text(case, b"sep=,\nid,name,price\n1,a,1\n").await;
    assert!(refused.len() == 3 && refused[0].contains("another delimiter than"), "{refused:?}");
    let comments = |contract: &mut Contract| {
        contract.format.comment = Some(b'#');
        contract.format.quoted_newlines = false;
    };
    let commented = b"# a;\"b\n#\nid;name;price\n1;#a;1\n#2;b;2\n3;c;3\n#";
    assert_eq!(rows(text_with(case, commented, comments).await), ["1: 1|#a|1.00", "2: 3|c|3.00"]);
    let trailing = |contract: &mut Contract| contract.format.trailing_delimiter = true;
    let both = b"id;name;price;\n1;a;1;\n2;b;2\n3;;;\n";
    assert_eq!(rows(text_with(case, both, trailing).await), ["1: 1|a|1.00", "2: 2|b|2.00", "3: 3|~|~"]);
    let (_, refused) = text_with(case, b"id;name;price\n1;a;1;;\n2;b;2;x\n3;c;3;\"\"\n", trailing).await;
    assert_eq!(refused, [(1, 5), (2, 4), (3, 4)].map(|(at, count)| format!("{at}: {count} fields, expected 3")));
    let escapes = |contract: &mut Contract| contract.format.escape = Some(b'\\');
    let spark = b"id;name;price\n1;\"a\\\\\";1\n2;\"b\\\";\n\\n\\\"\";2\n3;\"\";3\n4;c\\;4\n";
    let expected = ["1: 1|a\\|1.00", "2: 2|b\";\n\\n\"|2.00", "3: 3||3.00", "4: 4|c\\|4.00"];
    assert_eq!(rows(text_with(case, spark, escapes).await), expected);
    let (rows, refused) = text_with(case, b"id;name;price\n1;\"a\"\"b\";1\n2;b;2\n", escapes).await;
    assert_eq!(rows, ["2: 2|b|2.00"]);
    assert_eq!(refused, ["1: field 2: text after the closing quote"]);
    // The numbers that pandas calls missing.
    let nan = |contract: &mut Contract| contract.format.null_values = ["", "NaN", "-9,99"].map(str::to_owned).to_vec();
    let (rows, _) = text_with(case, b"id;name;price\n1;NaN;NaN\n2;\"NaN\"; NaN \n3;x;-9,99\n", nan).await;
    assert_eq!(rows, ["1: 1|~|~", "2: 2|NaN|~", "3: 3|x|~"]);
}

#[test]
fn a_column_takes_a_field_within_an_object() {
    let case = "events/nested_field";
    let path = |path: &'static str| move |contract: &mut Contract| contract.columns[1].from = Some(path.to_owned());
    let (rows, refused) = events(case, path("/data/temp"));
    let around = r#"{"specversion":"1.0","source":"/s","type":"t"}"#;
    assert_eq!((rows, refused), (vec![format!("0: a|21.5|{around}")], Vec::new()));
    // A dot means nothing.
    assert!(events(case, |_| {}).0[0].starts_with("0: a|~|"));
    let deep = br#"{"id":"a","data":{"x":[{"temp":1},{"Temp":"2.5","unit":"C"}],"y":{"z":null}}}
{"id":"b","DATA":{"x":[],"y":1}}
{"id":"c","data":null}
{"id":"d","data":"text"}
{"id":"e","data":{"x":[1,{"temp":"warm"}]}}
{"id":"f","data":{"x":[1,{"temp":{"a":1}}]}}
{"id":"g","data":{"x":[1,{"temp":1,"temp":2}]}}
{"id":"h"}
{"data":{"x":[1,{"temp":3}]},"id":"i"}
"#;
    let (rows, refused) = events_with(case, deep, path("/data/x/1/temp"));
    let expected = [
        r#"0: a|2.5|{"/data/x/0":{"temp":1},"/data/x/1/unit":"C","/data/y":{"z":null}}"#,
        r#"1: b|~|{"/DATA/y":1}"#,
        "2: c|~",
        r#"3: d|~|{"/data":"text"}"#,
        "7: h|~",
        r#"8: i|3.0|{"/data/x/0":1}"#,
    ];
    assert_eq!(rows, expected);
    let expected =
        ["4: column `temp`: not a double", "5: column `temp`: not a double", "6: column `temp`: given twice"];
    assert_eq!(refused, expected);
    // The object as a whole beside what is within; the order of fields does not matter.
    let both = |contract: &mut Contract| {
        contract.columns[0].from = Some("data".to_owned());
        contract.columns[1].from = Some("/data/a~1b".to_owned());
        contract.columns[0].nullable = true;
    };
    let (rows, _) = events_with(case, br#"{"x":1,"data":{"a/b":1,"c":2}}"#, both);
    assert_eq!(rows, [r#"0: {"a/b":1,"c":2}|1.0|{"x":1}"#]);
    // Required, and missing.
    let (_, refused) = events_with(case, br#"{"id":"a","data":{}}"#, |contract| {
        contract.columns[1].from = Some("/data/temp".to_owned());
        contract.columns[1].nullable = false;
    });
    assert_eq!(refused, ["0: column `temp`: null"]);
}

#[test]
fn numbers_since_1970_have_formats() {
    let case = "events/epoch_milliseconds";
    let (rows, refused) = events(case, |contract| contract.columns[1].format = Some("epoch_ms".to_owned()));
    let at = "2026-01-05 10:00:00.123 UTC";
    // Seconds that are read as milliseconds are a time of 1970: no reader can tell.
    assert_eq!(
        rows,
        [format!("0: ms|{at}"), format!("1: ms-text|{at}"), "3: s|1970-01-21 11:00:07.200 UTC".to_owned()]
    );
    assert_eq!(refused, ["2: column `ts`: out of range for a timestamp"]);
    for (format, row) in
        [("epoch_us", "2: us|2026-01-05 10:00:00.123 UTC"), ("epoch_s", "3: s|2026-01-05 10:00:00 UTC")]
    {
        let (rows, _) = events(case, |contract| contract.columns[1].format = Some(format.to_owned()));
        assert!(rows.contains(&row.to_owned()), "{format}: {rows:?}");
    }
}

#[tokio::test]
async fn a_payload_in_json_is_the_record() {
    let case = "events/iot_hub_json_in_storage";
    let bytes = fs::read(folder(case).join("events.ndjson")).unwrap();
    let mut contract = contract(case);
    let found = read(&contract, "iot/a.json", bytes.clone()).await;
    assert_eq!((found.clean, found.refused), (vec!["1: a|1.5".to_owned(), "2: b|2.5".to_owned()], Vec::new()));
    // With what stands around it.
    let mut device = contract.columns[0].clone();
    device.name = "device".to_owned();
    device.from = Some("/SystemProperties/connectionDeviceId".to_owned());
    contract.columns.push(device);
    let found = read(&contract, "iot/a.json", bytes).await;
    let rows = [r#"1: a|1.5|dev-1|{"/SystemProperties/contentType":"application/json"}"#, "2: b|2.5|dev-1"];
    assert_eq!(found.clean, rows);
    let odd = br#"{"Body": "{\"id\":\"c\"}", "id": "around"}
{"Body": {"id": "d"}}
{"Body": {}, "id": "e"}
{"body": {"id": "f"}}
{"Body": "AAAA"}
{"Body": 1}
{"id": "x"}
not JSON
"#;
    let found = read(&contract, "iot/a.json", odd.to_vec()).await;
    assert_eq!(found.clean, ["1: c|~|~", "2: d|~|~", "3: e|~|~", "4: f|~|~"]);
    let neither = "`Body` holds neither a JSON object nor base64 of one";
    let none = "there is no field `Body`, which `[format] payload` names";
    let expected =
        [format!("5: {neither}"), format!("6: {neither}"), format!("7: {none}"), "8: not one JSON object".to_owned()];
    assert_eq!(found.refused, expected);
}

#[tokio::test]
async fn records_are_the_elements_of_an_array() {
    let case = "events/azure_monitor_records";
    let line = fs::read(folder(case).join("events.ndjson")).unwrap();
    let mut contract = contract(case);
    contract.format.records = Some("/records".to_owned());
    let found = read(&contract, "a.json", line.clone()).await;
    assert!(found.refused.is_empty(), "{:?}", found.refused);
    let row = |n: i64| {
        let properties = format!(r#"{{"appName": "a", "n": {n}}}"#);
        format!("{n}: 2026-01-05 10:00:0{n}.123 UTC|/SUBSCRIPTIONS/X|FunctionAppLogs|op|Error|{properties}")
    };
    assert_eq!(found.clean, [1, 2, 3].map(row));
    // An array of such objects, none, and what has none.
    let found = read(&contract, "a.json", [b"[", &line[..], b",{\"records\":[]},", &line[..], b"]"].concat()).await;
    assert_eq!((found.clean.len(), found.refused.len()), (6, 0));
    contract.columns[0].nullable = true;
    let odd =
        "{\"a\":1}\n{\"Records\":[{\"level\":\"x\"},1]}\n{\"records\":null}\n{\"records\":[}\n{\"records\":[{}]}\n";
    let found = read(&contract, "a.ndjson", odd.as_bytes().to_vec()).await;
    assert_eq!(found.clean, ["2: ~|~|~|~|x|~", "6: ~|~|~|~|~|~"]);
    let none = "there is no array at `/records`, where `[format] records` is to be";
    let expected = [
        format!("1: {none}"),
        "3: not one JSON object: a JSON number".to_owned(),
        format!("4: {none}"),
        "5: not one JSON object".to_owned(),
    ];
    assert_eq!(found.refused, expected);
    contract.format.records = Some("/a/b".to_owned());
    let found = read(&contract, "a.json", b"{\"a\":{\"b\":[{\"level\":\"y\"}]}}".to_vec()).await;
    assert_eq!(found.clean, ["1: ~|~|~|~|y|~"]);
}

#[test]
fn no_more_elements_are_cut_out_of_a_line_than_are_asked_for() {
    let mut contract = contract("events/azure_monitor_records");
    contract.format.records = Some("/records".to_owned());
    let transform = transform(&contract);
    let line = br#"{"records":[{},{},{},{}]}"#;
    assert_eq!(transform.unfold(line, 4).unwrap().len(), 4);
    assert_eq!(transform.unfold(line, 3).unwrap_err(), "the array at `/records` has more than 3 records");
}

#[test]
fn a_day_is_made_of_a_timestamp() {
    let text = |name: &str| fs::read_to_string(folder("events/partition_by_day").join(name)).unwrap();
    // The same field twice is still an error; the column's day is what was meant.
    let twice = text("contract_a.toml");
    assert!(Contract::parse(&twice, "a").unwrap_err().to_string().contains("field `ts` is column `ts` already"));
    let day_of =
        twice.replace("from = \"ts\"", "from = \"column:ts\"").replace("format = \"%Y-%m-%dT%H:%M:%S%.fZ\"", "");
    let contract = Contract::parse(&day_of, "a").unwrap();
    let bodies: [&[u8]; 4] = [
        br#"{"id":"a","ts":"2026-01-05T23:30:00-01:00"}"#,
        br#"{"id":"b","ts":"1969-12-31T23:59:59.999999Z"}"#,
        br#"{"id":"c"}"#,
        br#"{"id":"d","ts":"x"}"#,
    ];
    let rows = |contract: &Contract| {
        let output = transform(contract).events(&bodies, &[0, 1, 2, 3], &lineage()).unwrap();
        let output = checked(contract, output);
        (clean(&output), refused(&output))
    };
    let (found, faults) = rows(&contract);
    assert_eq!(found[0], "0: a|2026-01-06 00:30:00 UTC|2026-01-06");
    assert_eq!(found[1..], ["1: b|1969-12-31 23:59:59.999999 UTC|1969-12-31", "2: c|~|~"].map(str::to_owned));
    assert_eq!(faults, ["3: column `ts`: not a timestamp"]);
    let mut needed = contract.clone();
    needed.columns.iter_mut().filter(|column| column.name == "day").for_each(|column| column.nullable = false);
    assert_eq!(rows(&needed).1, ["2: column `day`: null", "3: column `ts`: not a timestamp"]);
    // Of the time at which the hub took the event.
    let contract = Contract::parse(&text("contract_b.toml"), "b").unwrap();
    let meta = EventMeta { enqueued_us: Some(1_767_607_200_123_000), ..EventMeta::default() };
    let record = EventRecord { body: br#"{"id":"a"}"#, position: 7, event: 0 };
    let output = transform(&contract).event_records(&[record], &[meta], &lineage()).unwrap();
    assert_eq!(clean(&checked(&contract, output)), ["7: a|2026-01-05"]);
    assert!(
        Contract::parse(&day_of.replace("[\"day\"]", "[\"ts\"]"), "a").unwrap_err().to_string().contains("column:ts")
    );
}

/// What an IoT Hub writes on its messages, as the host gives it.
#[test]
fn the_device_of_an_iot_hub_is_a_system_property() {
    let case = "events/iot_hub_system_properties";
    let system = json!({
        "SequenceNumber": 0, "Offset": 0, "EnqueuedTimeUtc": "2026-01-05T10:00:00.123",
        "iothub-connection-device-id": "dev-1", "iothub-enqueuedtime": "2026-01-05T09:59:59.9Z",
        "iothub-message-source": "Telemetry", "content-type": "application/json", "correlation-id": "c",
    });
    let system = SystemProperties::new(system.as_object().cloned().unwrap());
    let meta = EventMeta { system: Some(&system), ..EventMeta::default() };
    let record = EventRecord { body: br#"{"temp":1.5}"#, position: 0, event: 0 };
    let row = |from: &str, data_type: DataType, meta: EventMeta<'_>| {
        let mut contract = contract(case);
        contract.columns[0].from = Some(from.to_owned());
        contract.columns[0].data_type = data_type;
        let output = transform(&contract).event_records(&[record], &[meta], &lineage()).unwrap();
        let output = checked(&contract, output);
        [clean(&output), refused(&output)].concat()
    };
    // An application property of that name is none.
    assert_eq!(row("event:property:iothub-connection-device-id", DataType::String, meta), ["0: column `device`: null"]);
    assert_eq!(row("event:system:iothub-connection-device-id", DataType::String, meta), ["0: dev-1|1.5"]);
    assert_eq!(row("event:system:Correlation-Id", DataType::String, meta), ["0: c|1.5"]);
    let at = row("event:system:iothub-enqueuedtime", DataType::Timestamp, meta);
    assert_eq!(at, ["0: 2026-01-05 09:59:59.900 UTC|1.5"]);
    assert_eq!(row("event:system:content-type", DataType::Long, meta), ["0: column `device`: not a long"]);
    assert_eq!(row("event:system:x", DataType::String, meta), ["0: column `device`: null"]);
    assert_eq!(row("event:system:x", DataType::String, EventMeta::default()), ["0: column `device`: null"]);
}
