//! One JSON document: its elements come out one a line, whatever its layout is and however it arrives.

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_intake::{ChunkOptions, Framing};

use super::gzip::gzip;
use super::resume::check;
use super::{Stretch, joined, open, options, pieces, records, refused, store, too_long};

const LIMIT: usize = 24;
const DAMAGED: &str = "the document's array is damaged here: the rest cannot be read";
const OPEN_ARRAY: &str = "the document is truncated: its array is not closed";
const OPEN_OBJECT: &str = "the document is truncated: its object is not closed";
const BEHIND_ARRAY: &str = "text after the end of the document's array";
const BEHIND_OBJECT: &str = "text after the document's object; one object a line is `[format] type = \"ndjson\"`";
const NEITHER: &str = "the document is neither an array nor an object";

fn document(range_bytes: u64, limit: usize, chunk_bytes: usize) -> ChunkOptions {
    ChunkOptions { framing: Framing::Document, max_record_bytes: limit, chunk_bytes, ..options(range_bytes) }
}

#[tokio::test]
async fn elements_and_refusals() {
    let long = "{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxx\"}";
    let cases: Vec<(String, Vec<Stretch>)> = vec![
        ("".into(), vec![]),
        (" \n\t\r ".into(), vec![]),
        ("[]".into(), vec![]),
        (" [ \n ] \n".into(), vec![]),
        ("[{}]".into(), vec![records("{}\n")]),
        ("[{\"a\":1},{\"a\":2}]".into(), vec![records("{\"a\":1}\n{\"a\":2}\n")]),
        ("\u{feff}[\r\n  {\n\"a\": 1\n}\n,\n{}\n]\n".into(), vec![records("{ \"a\": 1 }\n{}\n")]),
        // Brackets, commas and quotes in strings are none.
        (r#"[{"a":"]},[{"},{"b\"]":"\\"}]"#.into(), vec![records("{\"a\":\"]},[{\"}\n{\"b\\\"]\":\"\\\\\"}\n")]),
        // What is no object is an element all the same; its decoder says so.
        ("[1, true,null ,\"a]\",[2,[3]],-1e5]".into(), vec![records("1\ntrue\nnull\n\"a]\"\n[2,[3]]\n-1e5\n")]),
        // A line break in a string is as wrong afterwards as before.
        ("[{\"a\":\"x\ny\\\nz\"}]".into(), vec![records("{\"a\":\"x\ry\\\rz\"}\n")]),
        // Brackets that do not fit cost their element.
        ("[{\"a\":1],{\"b\":2}]".into(), vec![records("{\"a\":1]\n{\"b\":2}\n")]),
        (format!("[{{}},{long},{{\"b\":2}}]"), vec![records("{}\n"), too_long(long, LIMIT), records("{\"b\":2}\n")]),
        // One object, laid out or not.
        ("{\n\"a\": [1,\n2]}\n".into(), vec![records("{ \"a\": [1, 2]}\n")]),
        (long.into(), vec![too_long(long, LIMIT)]),
        ("{\"a\":1}\n{\"a\":2}\n".into(), vec![refused("{\"a\":1}", BEHIND_OBJECT)]),
        // What breaks the structure ends the records.
        ("[{},]".into(), vec![records("{}\n"), refused("]", DAMAGED)]),
        ("[,{}]".into(), vec![refused(",", DAMAGED)]),
        ("[{} {}]".into(), vec![records("{}\n"), refused("{", DAMAGED)]),
        ("[{}},{}]".into(), vec![records("{}\n"), refused("}", DAMAGED)]),
        ("[{}] x".into(), vec![records("{}\n"), refused("x", BEHIND_ARRAY)]),
        ("[{}][{}]".into(), vec![records("{}\n"), refused("[", BEHIND_ARRAY)]),
        ("12".into(), vec![refused("1", NEITHER)]),
        ("a,b\n1,2\n".into(), vec![refused("a", NEITHER)]),
        // Truncated.
        ("[".into(), vec![refused("", OPEN_ARRAY)]),
        ("[{\"a\":1}".into(), vec![records("{\"a\":1}\n"), refused("", OPEN_ARRAY)]),
        ("[{\"a\":1},{\"a".into(), vec![records("{\"a\":1}\n"), refused("{\"a", OPEN_ARRAY)]),
        ("[1,2".into(), vec![records("1\n"), refused("2", OPEN_ARRAY)]),
        ("{\"a\":[1".into(), vec![refused("{\"a\":[1", OPEN_OBJECT)]),
        ("[[[[[[[[[[[[[[[[[[".into(), vec![refused("[[[[[[[[[[[[[[[[[", OPEN_ARRAY)]),
    ];
    for (text, expected) in cases {
        for (range, chunk) in [(1, 1), (3, 9), (100, 64)] {
            let whole = check(text.as_bytes(), &document(range, LIMIT, chunk)).await;
            assert_eq!(whole, expected, "{text:?} by {range}");
        }
        if !text.is_empty() {
            assert_eq!(check(&gzip(text.as_bytes()), &document(5, LIMIT, 1)).await, expected, "{text:?} in gzip");
        }
    }
}

#[tokio::test]
async fn a_torn_stream_ends_the_document_once() {
    let text = format!("[{}]", ["{\"a\":1}"; 200].join(" ,\n"));
    let packed = gzip(text.as_bytes());
    for length in (2..packed.len()).step_by(3) {
        let whole = check(&packed[..length], &document(16, 1024, 20)).await;
        let last = whole.last();
        let told = |reason: &str| reason == "the gzip stream is truncated";
        assert!(matches!(last, Some(Stretch::Refused { reason, .. }) if told(reason)), "{length}: {last:?}");
        assert!(whole.len() <= 2, "{whole:?}");
    }
}

/// Deep nesting costs no stack, and a document without end no memory.
#[tokio::test]
async fn hostile_documents() {
    let deep = format!("[{}", "[".repeat(3 << 20));
    let found = joined(pieces(open(&store(deep.as_bytes()).await).await.chunks(document(1 << 16, 1 << 20, 1))).await);
    let [Stretch::Refused { head, reason }] = &found[..] else { panic!("{}", found.len()) };
    assert_eq!((head.len(), reason.as_str()), (64 * 1024, OPEN_ARRAY));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\\\\\"\\[\\]{},\n\u{e9}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z\"\\\\]{0,3}", inner), 0..4)
                .prop_map(|fields| { Value::from(fields.into_iter().collect::<serde_json::Map<String, Value>>()) }),
        ]
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Against serde_json, which reads the whole.
    #[test]
    fn elements_are_those_of_the_whole(
        elements in prop::collection::vec(value(), 0..8),
        is_pretty in any::<bool>(),
        range in 1..60_u64,
        chunk in 1..60_usize,
    ) {
        let whole = json!(elements);
        let text = if is_pretty { serde_json::to_string_pretty(&whole) } else { serde_json::to_string(&whole) }.unwrap();
        let found = block_on(check(text.as_bytes(), &document(range, 1 << 20, chunk)));
        let lines = match &found[..] {
            [] => String::new(),
            // One char a byte.
            [Stretch::Records(lines)] => String::from_utf8(lines.chars().map(|byte| byte as u8).collect()).unwrap(),
            other => panic!("{other:?}"),
        };
        let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(read, elements);
    }

    /// Neither cuts nor stops change anything, whatever the bytes are.
    #[test]
    fn cuts_and_stops_change_nothing(
        soup in prop::collection::vec(
            prop::sample::select(vec!["[", "]", "{", "}", ",", "\"", "\\", "\n", " ", "a", "12", "{}", "[{", "\"x\":"]),
            0..40,
        ),
        in_array in any::<bool>(),
        limit in 1..30_usize,
        range in 1..60_u64,
        chunk in 1..60_usize,
    ) {
        let text = format!("{}{}", if in_array { "[" } else { "" }, soup.concat());
        let expected = block_on(check(text.as_bytes(), &document(1 << 20, limit, 1 << 20)));
        let found = block_on(check(text.as_bytes(), &document(range, limit, chunk)));
        prop_assert_eq!(found, expected);
    }
}
