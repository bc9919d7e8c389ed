//! NDJSON and event bodies.

use proptest::prelude::*;
use serde_json::Value;
use weir_contract::DataType;

use super::{checked, clean, column, contract, lineage, orders, quarantined, refused, run_ndjson, transform};

struct Case {
    name: &'static str,
    bytes: &'static [u8],
    clean: &'static [&'static str],
    refused: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "any order, missing and null fields, blank lines, CRLF, byte order mark",
        bytes: b"\xEF\xBB\xBF{\"id\":1,\"name\":\"a\",\"price\":2.5,\"day\":\"2024-01-01\"}\r\n \t\r\n\n{ \"day\" : null , \"id\" : 2 }",
        clean: &["1: 1|a|2.50|2024-01-01", "2: 2|~|~|~"],
        refused: &[],
    },
    Case { name: "empty", bytes: b"", clean: &[], refused: &[] },
    Case {
        name: "unknown fields keep their own text",
        bytes: b"{\"id\":1,\"x\":1.10,\"y\":{\"z\":[1,2]},\"q\\\"\":null}\n",
        clean: &["1: 1|~|~|~|{\"x\":1.10,\"y\":{\"z\":[1,2]},\"q\\\"\":null}"],
        refused: &[],
    },
    Case {
        name: "a string column takes any value as its JSON text",
        bytes: b"{\"id\":1,\"name\":{\"first\": \"a\"}}\n{\"id\":2,\"name\":12.50}\n{\"id\":3,\"name\":\"\\u00e9\\n\"}\n{\"id\":4,\"name\":true}\n",
        clean: &["1: 1|{\"first\": \"a\"}|~|~", "2: 2|12.50|~|~", "3: 3|\u{e9}\n|~|~", "4: 4|true|~|~"],
        refused: &[],
    },
    Case {
        name: "numbers keep every digit, also in strings",
        bytes: b"{\"id\":9223372036854775807,\"price\":1234567.89}\n{\"id\":\"2\",\"price\":\"0.10\"}\n{\"id\":3,\"price\":1e2}\n",
        clean: &["1: 9223372036854775807|~|1234567.89|~", "2: 2|~|0.10|~", "3: 3|~|100.00|~"],
        refused: &[],
    },
    Case {
        name: "wrong types",
        bytes: b"{\"id\":1.0}\n{\"id\":true,\"price\":\"x\",\"day\":20240101}\n{\"id\":[1]}\n{\"id\":{}}\n{\"name\":\"a\"}\n{\"id\":null}\n{\"id\":\"\"}\n{\"id\":9223372036854775808}\n",
        clean: &[],
        refused: &[
            "1: column `id`: not a long",
            "2: column `id`: not a long; column `price`: not a decimal(9,2); column `day`: not a date",
            "3: column `id`: not a long",
            "4: column `id`: not a long",
            "5: column `id`: null",
            "6: column `id`: null",
            "7: column `id`: not a long",
            "8: column `id`: out of range for a long",
        ],
    },
    Case {
        name: "no JSON objects",
        bytes: b"[1]\n1\nnull\n{\"id\":1\n{\"id\":1}}\n{\"id\":1,}\n{'id':1}\n{\"id\":01}\n{\"id\":NaN}\nid\n{\"id\":1}{\"id\":2}\n{\"id\":7}\n",
        clean: &["12: 7|~|~|~"],
        refused: &[
            "1: not one JSON object: a JSON array; set `[format] type` to \"auto\" or \"json\", or send its elements",
            "2: not one JSON object: a JSON number",
            "3: not one JSON object: a JSON null",
            "4: not one JSON object: a JSON object that ends too early",
            "5: not one JSON object: a JSON object and something behind it",
            "6: not one JSON object: it has a comma before a closing bracket",
            "7: not one JSON object: it has single quotes, as Python prints a dict",
            "8: not one JSON object",
            "9: not one JSON object: it has NaN or Infinity, which JSON has not",
            "10: not one JSON object: text",
            "11: not one JSON object: several JSON objects without a line break between them",
        ],
    },
    Case {
        name: "strings that no warehouse takes",
        bytes: b"{\"id\":1,\"name\":\"a\\u0000\"}\n{\"id\":2,\"name\":\"\\ud800\"}\n{\"id\":3,\"name\":\"\xff\"}\n{\"id\":4,\"name\":\"\0\"}\n{\"id\":5,\"name\":\"\\ud83d\\ude00\"}\n",
        clean: &["5: 5|\u{1f600}|~|~"],
        refused: &[
            "1: column `name`: NUL character",
            "2: column `name`: not a sound JSON string",
            "3: not UTF-8, not one JSON object: text that is not UTF-8 (Latin-1 or Windows-1252, perhaps)",
            "4: not one JSON object",
        ],
    },
    Case {
        name: "a field given twice",
        bytes: b"{\"id\":1,\"id\":2}\n{\"id\":3}\n",
        clean: &["2: 3|~|~|~"],
        refused: &["1: column `id`: given twice"],
    },
];

#[test]
fn nasty_lines() {
    for case in CASES {
        let output = run_ndjson(&orders(), case.bytes);
        assert_eq!(clean(&output), case.clean, "{}", case.name);
        assert_eq!(refused(&output), case.refused, "{}", case.name);
    }
}

#[test]
fn deep_nesting_costs_no_stack() {
    let depth = 200_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let output = run_ndjson(&orders(), format!("{{\"id\":1,\"x\":{deep}}}\n{{\"id\":{deep}}}\n").as_bytes());
    assert_eq!((output.clean.height(), refused(&output)), (1, vec!["2: column `id`: not a long".to_owned()]));
}

#[test]
fn fields_are_found_by_their_source_names() {
    let mut contract = orders();
    contract.columns[0].from = Some("Id".to_owned());
    contract.drift.match_case = true;
    let output = run_ndjson(&contract, b"{\"Id\":1,\"id\":2}\n");
    assert_eq!(clean(&output), ["1: 1|~|~|~|{\"id\":2}"]);
}

#[test]
fn each_event_body_is_one_record_with_its_own_position() {
    let contract = contract(vec![column("at!", DataType::Timestamp), column("value", DataType::Double)]);
    let bodies: Vec<&[u8]> = vec![
        b"{\"at\":\"2024-01-01T00:00:00Z\",\n \"value\":1}",
        b"",
        b"\xff\xfe",
        b"{\"at\":1700000000}",
        b"{\"at\":\"2024-01-01T00:00:01Z\",\"value\":\"NaN\"}",
    ];
    let positions = [10, 12, 13, 20, 21];
    let output = transform(&contract).events(&bodies, &positions, &lineage()).unwrap();
    let output = checked(&contract, output);
    assert_eq!(clean(&output), ["10: 2024-01-01 00:00:00 UTC|1.0"]);
    assert_eq!(
        refused(&output),
        [
            "12: not one JSON object: empty (a tombstone)",
            "13: not one JSON object: UTF-16 text; send UTF-8",
            "20: column `at`: not a timestamp",
            "21: column `value`: not a double",
        ]
    );
    assert_eq!(quarantined(&output)[1].2, b"\xff\xfe");
    assert!(transform(&contract).events(&bodies, &[1], &lineage()).is_err());
    assert_eq!(checked(&contract, transform(&contract).events(&[], &[], &lineage()).unwrap()).records, 0);
}

#[test]
fn many_events_are_the_same_in_parallel() {
    let contract = contract(vec![column("n!", DataType::Long)]);
    let bodies: Vec<String> =
        (0..100_000).map(|n| if n % 1_000 == 7 { "{}".to_owned() } else { format!("{{\"n\":{n}}}") }).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(String::as_bytes).collect();
    let positions: Vec<i64> = (0..100_000).map(|n| n * 3).collect();
    let output = checked(&contract, transform(&contract).events(&bodies, &positions, &lineage()).unwrap());
    assert_eq!((output.clean.height(), output.quarantined.height()), (99_900, 100));
    let values = output.clean.column("n").unwrap().i64().unwrap().clone();
    let given = output.clean.column("_source_position").unwrap().i64().unwrap().clone();
    assert!(values.iter().zip(given.iter()).all(|(value, position)| value.unwrap() * 3 == position.unwrap()));
    assert!(quarantined(&output).iter().all(|(position, _, _)| (position / 3) % 1_000 == 7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What is one JSON object, and which text each value has: as `serde_json` reads it.
    #[test]
    fn objects_are_those_of_serde_json(soup in prop::collection::vec(prop::sample::select(TOKENS.to_vec()), 0..14)) {
        let text = format!("{{{}}}", soup.concat());
        let expected = serde_json::from_str::<serde_json::Map<String, Value>>(&text).is_ok();
        // serde_json's own trees have a limit of depth, which raw texts have not.
        let raw = serde_json::from_str::<std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>>(&text);
        prop_assert!(raw.is_ok() || !expected);
        let contract = contract(vec![column("id", DataType::String)]);
        let output = run_ndjson(&contract, text.as_bytes());
        let not_object = refused(&output).iter().any(|reason| reason.contains("not one JSON object"));
        prop_assert_eq!(not_object, raw.is_err(), "{}", text);
        if let (Ok(raw), Some(rescued)) = (raw, output.clean.column("_rescued").unwrap().str().unwrap().iter().next().flatten()) {
            for (name, value) in serde_json::from_str::<std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>>(rescued).unwrap() {
                prop_assert_eq!(value.get(), raw[&name].get());
            }
        }
    }
}

/// Pieces of JSON, and of what is nearly JSON.
const TOKENS: [&str; 44] = [
    "\"id\":",
    "\"a\":",
    "\"b\" : ",
    ",",
    " , ",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    "[1,2]",
    "{\"x\":[]}",
    "1",
    "-1",
    "0",
    "01",
    "-",
    "1.5",
    "1.",
    ".5",
    "1e5",
    "1E+5",
    "1e-",
    "-0.0e0",
    "true",
    "false",
    "null",
    "nul",
    "True",
    "\"",
    "\"text\"",
    "\"\\n\\u00e9\"",
    "\"\\u12\"",
    "\"\\x\"",
    "\"\\ud800\"",
    "\"\t\"",
    "\u{e9}",
    " ",
    "\t",
    "\r",
    ":",
    "\"\\\"",
    "\"12345678\\\"9\"",
];

/// Names in the contract's order are compared and not scanned, and what stands between them is looked at all the same.
#[test]
fn names_in_their_order_are_held_to_the_grammar() {
    let sound = [
        r#"{"id":1,"name":"a","price":1,"day":null}"#,
        r#" { "id" :1 , "name": "a" ,"price" :1,"day":null } "#,
        r#"{"name":"a","price":1,"id":1}"#,
    ];
    for text in sound {
        assert_eq!(clean(&run_ndjson(&orders(), text.as_bytes())), ["1: 1|a|1.00|~"], "{text}");
    }
    let malformed = [
        r#"{"id":1 "name":"a"}"#,
        r#"{"id":1,,"name":"a"}"#,
        r#"{,"id":1,"name":"a"}"#,
        r#"{"id":1,"name":"a",}"#,
        r#"{"id":1,"name"::"a"}"#,
        r#"{"id":1,"name":}"#,
        r#"{"name":"id":1}"#,
        r#"{"id":1,"name":"a"},"price":1"#,
        r#"{"id":1,"name":"a""price":1}"#,
        r#""id":1,"name":"a"}"#,
    ];
    for text in malformed {
        let output = run_ndjson(&orders(), text.as_bytes());
        assert!(quarantined(&output)[0].1[0].starts_with("not one JSON object"), "{text}");
    }
}
