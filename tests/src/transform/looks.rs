//! What a record is instead of one JSON object: one table of kinds.

use serde_json::{Map, Value, json};
use weir_contract::{DataType, Gap, Source};
use weir_transform::{EventMeta, EventRecord};

use super::{column, contract, lineage, refused, transform};

/// A record, and what is said of it.
fn table() -> Vec<(Vec<u8>, &'static str)> {
    let utf16 = |text: &str, little: bool| -> Vec<u8> {
        let each = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        text.encode_utf16().flat_map(each).collect()
    };
    let marked = |mark: &[u8], rest: Vec<u8>| [mark, &rest].concat();
    let azure = b"\0\0\0\x000123456789abcdef0123456789abcdef\x02a".to_vec();
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (text("{\"id\":\"\\x\"}"), "not one JSON object"),
        (text("{\"id\":01}"), "not one JSON object"),
        (text("{\"id\":}"), "not one JSON object"),
        (text(""), "empty (a tombstone)"),
        (text(" \r\n\t"), "nothing but blanks"),
        (b"\xef\xbb\xbf".to_vec(), "nothing but a byte order mark"),
        (utf16("{\"id\":1}", true), "UTF-16"),
        (utf16("{\"id\":1}", false), "UTF-16"),
        (marked(b"\xff\xfe", utf16("{\"id\":\"é\"}", true)), "UTF-16"),
        (marked(b"\xfe\xff", utf16("{\"id\":\"日本\"}", false)), "UTF-16"),
        (b"\xff\xfe\0\0{\0\0\0}\0\0\0".to_vec(), "UTF-32"),
        (b"{\0\0\0\"\0\0\0a\0\0\0\"\0\0\0".to_vec(), "UTF-32"),
        (b"{\"name\":\"Caf\xe9\"}".to_vec(), "text that is not UTF-8"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "a gzip stream"),
        (b"x\x9c\xabV\xcaLQ\xb2R\xaa\xca\xc9LR\xaa\x05\x00\x1c\xc2\x049".to_vec(), "a zlib stream"),
        (b"x\x01\xab\x56\x4a\x03\x00\x02\x2c\x01\x13".to_vec(), "a zlib stream"),
        (b"\x28\xb5\x2f\xfd\x04\0".to_vec(), "a zstd stream"),
        (b"\x04\x22\x4d\x18\x64\x40".to_vec(), "an LZ4 stream"),
        (b"\xff\x06\0\0sNaPpY\x01".to_vec(), "a Snappy stream"),
        (b"PK\x03\x04\x14\0".to_vec(), "a zip archive"),
        (b"PAR1\x15\x04".to_vec(), "a Parquet file"),
        (b"Obj\x01\x04\x14avro".to_vec(), "an Avro file"),
        (b"\xc3\x01\x11\x22\x33\x44\x55\x66\x77\x88\x02a".to_vec(), "single-object encoding"),
        (b"\0\0\0\0\x07\x02a".to_vec(), "Confluent's schema registry (schema 7)"),
        (b"\0\0\x01\x86\xa0\x00\x0a\x02id".to_vec(), "(schema 100000)"),
        (b"\0\0\0\0\x2a{\"id\":1}".to_vec(), "JSON behind the five bytes of Confluent's schema registry (schema 42)"),
        (azure, "Azure's schema registry (schema 0123456789abcdef0123456789abcdef)"),
        (b"\x0a\x05hello\x10\x96\x01".to_vec(), "reads as Protobuf"),
        (b"\x08\x96\x01".to_vec(), "reads as Protobuf"),
        (b"\x0d\0\0\x80\x3f\x12\x03abc".to_vec(), "reads as Protobuf"),
        (b"\x82\xa2id\x01\xa1x\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18".to_vec(), "reads as MessagePack"),
        (b"\xa2bid\x01ax\xf6".to_vec(), "reads as CBOR"),
        (b"\x0d\0\0\0\x10id\0\x01\0\0\0\0".to_vec(), "reads as BSON"),
        (b"\x02a".to_vec(), "an Avro value without its file"),
        (b"\x06foo\x80\x01\xff\xfe\x00".to_vec(), "an Avro value without its file"),
        (text("[{\"id\":1}]"), "a JSON array; set"),
        (text(" [1,2]"), "a JSON array; set"),
        (text("[{\"id\":1},"), "a JSON array that is not closed"),
        (text("-12.5e3"), "a JSON number"),
        (text("true"), "a JSON boolean"),
        (text("null"), "a JSON null"),
        (text("\"hello\""), "a JSON string"),
        (text("\"{\\\"id\\\":1}\""), "it was encoded twice"),
        (text("{\"id\":\"a\"}{\"id\":\"b\"}"), "several JSON objects without a line break"),
        (text("{\"id\":\"a\"} , {\"id\":\"b\"}"), "several JSON objects without a line break"),
        (text("{\"id\":\"a\"}\0"), "a JSON object and something behind it"),
        (text("{\"id\":\"a\"} ok"), "a JSON object and something behind it"),
        (text("{\"id\":\"a"), "a JSON object that ends too early"),
        (text("{\"id\":[1,{\"b\":2}"), "a JSON object that ends too early"),
        (text("{"), "a JSON object that ends too early"),
        (text("{\"id\":\"nan\",\"x\":NaN}"), "NaN or Infinity"),
        (text("{\"x\":-Infinity}"), "NaN or Infinity"),
        (text("{\"x\":[1, inf]}"), "NaN or Infinity"),
        (text("{'id':'single'}"), "single quotes"),
        (text("{\"id\": 'single'}"), "single quotes"),
        (text("{\"id\": None, \"b\": True}"), "None, True or False"),
        (text("{\"id\":undefined}"), "`undefined`"),
        (text("{id:1}"), "names or words without quotes"),
        (text("{\"id\":abc}"), "names or words without quotes"),
        (text("{\"id\":1 /* one */}"), "comments"),
        (text("{\"id\":1 // one\n}"), "comments"),
        (text("{\"id\":1,}"), "a comma before a closing bracket"),
        (text("{\\\"id\\\":1}"), "backslashes outside of strings"),
        (text("eyJpZCI6ImI2NCJ9"), "base64 of a JSON object"),
        (text("eyJpZCI6ImI2NCJ9\n"), "base64 of a JSON object"),
        (text("SGVsbG8sIHdvcmxkISBIb3cgYXJlIHlvdT8="), "base64 text"),
        (text("<?xml version=\"1.0\"?><a/>"), ": XML"),
        (text("\u{feff}<a><b>1</b></a>"), ": XML"),
        (text("<!DOCTYPE html><html></html>"), ": HTML"),
        (text("id=1&name=a%20b"), "a web form"),
        (text("id,name,price\n1,a,2.5\n"), "delimited text"),
        (text("1;a;2,5"), "delimited text"),
        (text("1\ta\t2.5"), "delimited text"),
        (text("hello, world"), ": text"),
        (text("INFO started in 5 ms"), ": text"),
        (text("password"), ": text"),
    ]
}

/// What is said of records that are bodies of events.
fn said(bodies: &[Vec<u8>], content_type: Option<&str>) -> Vec<String> {
    let source = Source::Events { hub: "h".to_owned(), consumer_group: "g".to_owned(), gap: Gap::Heal, epoch: 1 };
    let contract = weir_contract::Contract { source, ..contract(vec![column("id", DataType::String)]) };
    let system = System(
        content_type.map(|value| Map::from_iter([("content-type".to_owned(), json!(value))])).unwrap_or_default(),
    );
    let meta = EventMeta { system: Some(&system), ..EventMeta::default() };
    let records: Vec<_> =
        bodies.iter().zip(0..).map(|(body, position)| EventRecord { body, position, event: 0 }).collect();
    let output = transform(&contract).event_records(&records, &[meta], &lineage()).unwrap();
    assert_eq!(output.clean.height(), 0);
    let said = refused(&output).into_iter();
    said.map(|reason| reason.split_once(": ").unwrap().1.to_owned()).collect()
}

struct System(Map<String, Value>);

impl AsRef<Map<String, Value>> for System {
    fn as_ref(&self) -> &Map<String, Value> {
        &self.0
    }
}

#[test]
fn every_kind_is_told() {
    let table = table();
    let bodies: Vec<Vec<u8>> = table.iter().map(|(body, _)| body.clone()).collect();
    for ((body, expected), said) in table.iter().zip(said(&bodies, None)) {
        let is_it = if *expected == "not one JSON object" { said == *expected } else { said.contains(expected) };
        assert!(is_it && said.contains("not one JSON object"), "{}: {said}, not {expected}", body.escape_ascii());
    }
    let mut kinds: Vec<_> = table.iter().map(|(_, kind)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.len() >= 48, "{}", kinds.len());
}

/// Azure's serializer for .NET leaves nothing in the body that tells.
#[test]
fn a_content_type_says_more_than_bytes() {
    let id = "0123456789abcdef0123456789abcdef";
    let body = [b"\x02a".to_vec()];
    for content_type in [format!("avro/binary+{id}"), "Avro/Binary+01234567-89ab-cdef-0123-456789abcdef".to_owned()] {
        assert!(said(&body, Some(&content_type))[0].contains(&format!("Azure's schema registry (schema {id})")));
    }
    assert!(said(&body, Some("avro/binary+x"))[0].contains("Azure's schema registry;"));
    for other in ["application/json", "avro/binary", "application/cloudevents+json", ""] {
        assert_eq!(said(&body, Some(other)), said(&body, None), "{other}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_look_like_something(record in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        check(&record)?;
    }

    #[test]
    fn any_text_looks_like_something(record in "[{}\\[\\]\"',:a-zN0-9 \\\\/\\n<=&;-]{0,60}") {
        check(record.as_bytes())?;
    }
}

/// A sound object is none of them; whatever else it is, its reason is bounded.
fn check(record: &[u8]) -> Result<(), proptest::test_runner::TestCaseError> {
    if serde_json::from_slice::<Map<String, Value>>(record).is_err() {
        let contract = contract(vec![column("id", DataType::String)]);
        let output = transform(&contract).events(&[record], &[1], &lineage()).unwrap();
        if let Some(said) = refused(&output).first() {
            proptest::prop_assert!(said.len() < 300, "{}", said);
        }
    }
    Ok(())
}
