//! What bodies of events hold, for every form, and for any bytes.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;
use weir_contract::limits::body_bytes;
use weir_contract::{Compression, Contract, Format, FormatKind, MAX_EVENT_RECORDS};
use weir_intake::Body;

fn format(kind: FormatKind, compression: Compression) -> Format {
    let text =
        "name = \"c\"\nsource = { kind = \"events\", hub = \"h\" }\ncolumns = [{ name = \"n\", type = \"long\" }]";
    Format { kind, compression, ..Contract::parse(text, "c.toml").unwrap().format }
}

fn auto() -> Format {
    format(FormatKind::Auto, Compression::Auto)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn avro(name: &str) -> Vec<u8> {
    std::fs::read(crate::support::repository().join("tests/data/avro").join(name)).unwrap()
}

/// One record in brackets, several parted by `|`, or the reason of a refusal behind `!`.
fn shown(body: &[u8], format: &Format) -> String {
    match Body::read(&Bytes::copy_from_slice(body), format) {
        Ok(Body::One(text)) => format!("<{}>", String::from_utf8_lossy(&text)),
        Ok(Body::Several { text, records }) => {
            let records = records.into_iter().map(|range| String::from_utf8_lossy(&text[range]).into_owned());
            records.collect::<Vec<_>>().join("|")
        }
        Ok(Body::Avro(avro)) => format!("avro {} {}", avro.codec, avro.blocks.iter().map(|block| block.0).sum::<u64>()),
        Err(reason) => format!("!{reason}"),
    }
}

#[test]
fn every_form_by_the_contract() {
    let kinds = [FormatKind::Auto, FormatKind::Json, FormatKind::Ndjson];
    // A body, and what it is as `auto`, as `json` and as `ndjson`; `=`: one record, as it came.
    let cases: [(&str, [&str; 3]); 26] = [
        ("{\"n\":1}", ["="; 3]),
        (" \r\n{\"n\":1}\r\n\r\n", ["="; 3]),
        ("\u{feff}{\"n\":1}", ["="; 3]),
        ("{\n \"n\": [1,\n 2]\n}", ["="; 3]),
        ("{\n \"n\": [1,\n 2]\n", ["="; 3]),
        ("", ["="; 3]),
        ("  ", ["="; 3]),
        ("hello", ["="; 3]),
        ("1\n2\n", ["="; 3]),
        ("[]", ["", "", "="]),
        (" [ \n ] ", ["", "", "="]),
        ("[{\"n\":1}]", ["{\"n\":1}", "{\"n\":1}", "="]),
        ("\u{feff}[{\"n\":1},{\"n\":2}]\n", ["{\"n\":1}|{\"n\":2}", "{\"n\":1}|{\"n\":2}", "="]),
        ("[ 1 , \"a]\\\"\" ,{\"a\":[\"}\",{}]}\n, null]", {
            const PARTS: &str = "1|\"a]\\\"\"|{\"a\":[\"}\",{}]}|null";
            [PARTS, PARTS, "="]
        }),
        ("[{\"n\":1},{\"n\":2}", ["!the body's JSON array is not closed", "!the body's JSON array is not closed", "="]),
        ("[{\"n\":1},", ["!the body's JSON array is not closed", "!the body's JSON array is not closed", "="]),
        ("[\"a", ["!the body's JSON array is not closed", "!the body's JSON array is not closed", "="]),
        ("[{\"n\":1} {\"n\":2}]", {
            const BROKEN: &str = "!the body's JSON array is broken between its elements";
            [BROKEN, BROKEN, "="]
        }),
        ("[1,,2]", {
            const BROKEN: &str = "!the body's JSON array is broken between its elements";
            [BROKEN, BROKEN, "="]
        }),
        ("[1]2", {
            const MORE: &str = "!the body has more than its JSON array";
            [MORE, MORE, "="]
        }),
        ("{\"n\":1}\n{\"n\":2}", ["{\"n\":1}|{\"n\":2}", "=", "{\"n\":1}|{\"n\":2}"]),
        ("\u{feff}{\"n\":1}\r\n\r\n \t{\"n\":2} \n", ["{\"n\":1}|{\"n\":2}", "=", "{\"n\":1}|{\"n\":2}"]),
        ("{\"n\":1}\noops\n{\"n\"", ["{\"n\":1}|oops|{\"n\"", "=", "{\"n\":1}|oops|{\"n\""]),
        ("oops\n{\"n\":1}", ["oops|{\"n\":1}", "=", "oops|{\"n\":1}"]),
        ("{\"n\":1}{\"n\":2}", ["="; 3]),
        // An object over several lines, then another: no lines.
        ("{\n\"n\":1\n}\n{\n\"n\":2\n}", ["="; 3]),
    ];
    for (body, expected) in cases {
        for (kind, expected) in kinds.into_iter().zip(expected) {
            let whole = format!("<{body}>");
            let expected = if expected == "=" { &*whole } else { expected };
            assert_eq!(shown(body.as_bytes(), &format(kind, Compression::Auto)), expected, "{body:?} as {kind:?}");
            let packed = [gzip(body.as_bytes()), zstd::encode_all(body.as_bytes(), 1).unwrap()];
            for packed in packed {
                assert_eq!(shown(&packed, &format(kind, Compression::Auto)), expected, "{body:?} as {kind:?}, packed");
            }
        }
    }
}

#[test]
fn what_is_no_text_says_what_it_is() {
    let object: &[u8] = b"{\"n\":1}";
    let packed = gzip(object);
    let orders = avro("orders.null.avro");
    let cases: [(&[u8], FormatKind, Compression, &str); 12] = [
        (&packed, FormatKind::Auto, Compression::Gzip, "<{\"n\":1}>"),
        (&packed, FormatKind::Auto, Compression::None, "!looks like a gzip stream: set `[format] compression`"),
        (&packed, FormatKind::Auto, Compression::Zstd, "!not a zstd stream, it looks like a gzip stream"),
        (object, FormatKind::Auto, Compression::Gzip, "!not a gzip stream, it looks like something else"),
        (&gzip(&packed), FormatKind::Json, Compression::Auto, "!looks like a gzip stream within a gzip stream"),
        (&packed[..packed.len() - 3], FormatKind::Auto, Compression::Auto, "!the gzip stream is truncated"),
        (&orders, FormatKind::Auto, Compression::Auto, "avro null "),
        (&gzip(&orders), FormatKind::Avro, Compression::Auto, "avro null "),
        (&orders, FormatKind::Json, Compression::Auto, "!looks like an Avro file: set `[format] type` to \"avro\""),
        (object, FormatKind::Avro, Compression::Auto, "!not an Avro file, it looks like something else"),
        (b"\0\0\0\0\x01\x02", FormatKind::Avro, Compression::Auto, "!looks like Avro with its schema in a registry"),
        (b"PAR1\x15\x04", FormatKind::Auto, Compression::Auto, "!looks like a Parquet file: events hold JSON or Avro"),
    ];
    for (body, kind, compression, expected) in cases {
        let found = shown(body, &format(kind, compression));
        assert!(found.starts_with(expected), "{found} instead of {expected}");
    }
}

#[test]
fn bombs_and_crowds_are_refused() {
    let large = "!the body unpacks to more than 64 MiB";
    let much = "!the body unpacks to more than 200 times its size and 1 MiB";
    let zeros = vec![b' '; 65 * 1024 * 1024];
    for packed in [gzip(&zeros), zstd::encode_all(&zeros[..], 1).unwrap()] {
        let found = shown(&packed, &auto());
        let refused = found == large || found == much || found.contains("expands more than 200 times");
        assert!(refused, "{found}");
    }
    // What its own size pays for, and a byte more.
    let most = |unpacked: usize| {
        let packed = zstd::encode_all(&zeros[..unpacked], 1).unwrap();
        (body_bytes(packed.len()), shown(&packed, &auto()))
    };
    let (limit, _) = most(1 << 20);
    assert!(limit > 1 << 20 && limit < (1 << 20) + 100_000, "{limit}");
    assert_eq!(most(limit).1.len(), limit + 2);
    // Larger ones may take some bytes more when they are packed.
    let (_, found) = most(limit + 2_000);
    assert!(found == much, "{found:.100}");
    let crowd = format!("!the body has more than {MAX_EVENT_RECORDS} records");
    let array = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    assert_eq!(shown(array(MAX_EVENT_RECORDS + 1).as_bytes(), &auto()), crowd);
    assert!(!shown(array(MAX_EVENT_RECORDS).as_bytes(), &auto()).starts_with('!'));
    assert_eq!(shown("{}\n".repeat(MAX_EVENT_RECORDS + 1).as_bytes(), &auto()), crowd);
    // Nesting takes no stack.
    let deep = "[".repeat(1 << 20);
    assert_eq!(shown(deep.as_bytes(), &auto()), "!the body's JSON array is not closed");
    let deep = format!("[{}{}]", "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert_eq!(shown(deep.as_bytes(), &auto()).len(), deep.len() - 2);
}

/// Wherever an Avro file ends or is damaged in its structure, it is refused whole.
#[test]
fn an_avro_file_is_taken_whole_or_not() {
    let bytes = avro("orders.deflate.avro");
    let Ok(Body::Avro(whole)) = Body::read(&Bytes::from(bytes.clone()), &auto()) else { panic!("it is sound") };
    let marker: Vec<u8> = (100..116).collect();
    let block_ends: Vec<usize> = (16..=bytes.len()).filter(|at| bytes[at - 16..*at] == marker[..]).collect();
    for cut in 4..bytes.len() {
        let found = Body::read(&Bytes::copy_from_slice(&bytes[..cut]), &auto());
        match found {
            // A file may end behind a block.
            Ok(Body::Avro(part)) => {
                assert!(block_ends.contains(&cut), "{cut}");
                assert!(whole.blocks.starts_with(&part.blocks));
            }
            Ok(other) => panic!("{cut}: {other:?}"),
            Err(reason) => assert!(reason.contains("truncated"), "{cut}: {reason}"),
        }
    }
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let reason = Body::read(&Bytes::from(damaged), &auto()).unwrap_err();
    assert_eq!(reason, "the Avro block does not end with the file's sync marker");
    assert_eq!(shown(&avro("empty.avro"), &auto()), "avro null 0");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[\\PC\"\\\\\\[\\]{},\n ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\]]{0,3}", inner, 0..4)
                .prop_map(|map| Value::from(map.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

proptest! {
    /// An array gives its elements however it is written; lines give theirs.
    #[test]
    fn elements_are_the_elements(values in prop::collection::vec(json(), 0..6), pretty in any::<bool>()) {
        let array = Value::from(values.clone());
        let text = if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
        let Ok(Body::Several { text, records }) = Body::read(&Bytes::from(text), &auto()) else {
            return Err(TestCaseError::fail("several"));
        };
        let found: Vec<Value> = records.into_iter().map(|range| serde_json::from_slice(&text[range]).unwrap()).collect();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn lines_are_the_lines(objects in prop::collection::vec(json(), 2..6), end in any::<bool>()) {
        let objects: Vec<String> = objects.into_iter().map(|value| serde_json::json!({ "v": value }).to_string()).collect();
        let text = objects.join("\n") + if end { "\n" } else { "" };
        prop_assert_eq!(shown(text.as_bytes(), &auto()), objects.join("|"));
    }

    /// Whatever the bytes are: records are in order, apart, and neither blank nor larger than the body.
    #[test]
    fn any_bytes(
        head in prop::sample::select(vec![&b""[..], b"[", b"{}\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"Obj\x01"]),
        body in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"[]{},\"\\\n 1a"[..])], 0..80),
        kind in prop::sample::select(&[FormatKind::Auto, FormatKind::Json, FormatKind::Ndjson, FormatKind::Avro][..]),
    ) {
        let body = Bytes::from([head, &body[..]].concat());
        match Body::read(&body, &format(kind, Compression::Auto)) {
            Ok(Body::Several { text, records }) => {
                let mut end = 0;
                for record in records {
                    prop_assert!(record.start >= end && record.end > record.start && record.end <= text.len());
                    prop_assert!(!text[record.clone()].trim_ascii().is_empty());
                    end = record.end;
                }
            }
            Ok(Body::One(_) | Body::Avro(_)) => {}
            Err(reason) => prop_assert!(!reason.is_empty()),
        }
    }
}
