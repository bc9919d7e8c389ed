//! Avro: values of every type, Event Hubs Capture's envelope, and blocks that lie.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_contract::{Allowance, Column, Contract, DataType, Stop};
use weir_intake::{AvroHeader, AvroOptions, AvroPiece, Blob};
use weir_transform::{AvroChunk, AvroLayout};

use super::{clean, column, contract, quarantined, refused, run_ndjson, transform};

/// A file's header and blocks.
fn file(name: &str) -> (AvroHeader, Vec<(u64, bytes::Bytes)>) {
    let bytes = std::fs::read(crate::support::repository().join("tests/data/avro").join(name)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&Path::from("x"), bytes.into()).await.unwrap();
        let blob = Blob::open(store, Path::from("x"), None).await.unwrap();
        let header = blob.avro_header().await.unwrap().unwrap();
        let mut reader = blob.avro(&header, AvroOptions { range_bytes: 1 << 20, from: 0, part: None });
        let mut blocks = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            let AvroPiece::Block { count, data } = piece else { panic!("{piece:?}") };
            blocks.push((count, data));
        }
        (header, blocks)
    })
}

/// The lines and refusals of blocks.
fn lines(
    contract: &Contract,
    schema: &str,
    codec: &str,
    blocks: &[(u64, bytes::Bytes)],
    enough: usize,
) -> (String, Vec<String>) {
    let layout = transform(contract).avro_layout(schema, codec).unwrap();
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    let allowance = Allowance::of_avro_file();
    for (count, data) in blocks {
        let mut block = layout.block(*count, data, &allowance);
        while let Some(chunk) = block.next(enough, &Stop::never()) {
            match chunk {
                AvroChunk::Lines(more) => lines.extend(more),
                AvroChunk::Refused(reasons) => refused.extend(reasons),
            }
        }
    }
    (String::from_utf8_lossy(&lines).into_owned(), refused)
}

/// The first chunk of a block.
fn first(layout: &AvroLayout, count: u64, data: &[u8]) -> Option<AvroChunk> {
    layout.block(count, data, &Allowance::of_avro_file()).next(1 << 20, &Stop::never())
}

fn orders() -> Contract {
    let decimal = |precision, scale| DataType::Decimal { precision, scale };
    contract(vec![
        column("id!", DataType::Long),
        column("name", DataType::String),
        column("price", decimal(9, 2)),
        column("tax", decimal(18, 4)),
        column("day", DataType::Date),
        column("at_ms", DataType::Timestamp),
        column("at_us", DataType::Timestamp),
        column("clock", DataType::String),
        column("small", DataType::Float),
        column("large", DataType::Double),
        column("ok", DataType::Boolean),
        column("raw", DataType::Binary),
        column("note", DataType::String),
        column("state", DataType::String),
        column("tags", DataType::String),
    ])
}

#[test]
fn every_type_and_every_codec() {
    let mut all = Vec::new();
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let (header, blocks) = file(&format!("orders.{codec}.avro"));
        assert_eq!(header.codec, codec);
        let (text, refusals) = lines(&orders(), &header.schema, codec, &blocks, 1_000);
        assert_eq!((text.lines().count(), refusals.len()), (40, 0));
        let output = run_ndjson(&orders(), text.as_bytes());
        assert_eq!(refused(&output), Vec::<String>::new());
        all.push(clean(&output));
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    let rescued = r#"{"tree":{"v":1,"next":{"v":2,"next":null}}}"#;
    let expected = [
        format!(
            "1: -3|~|-0.50|0.0000|2024-02-28|2024-02-29 12:30:15.123 UTC|2024-02-29 12:30:15.123456 UTC|01:02:03.004000|\
             0.1|1.0000e300|true|[0, 255, 0]|größe 0|NEW|[]|{rescued}"
        ),
        "2: -2|na\"me\n1|-0.25|-0.0001|2024-02-29|2024-02-29 12:30:16.123 UTC|2024-02-29 12:30:16.123456 UTC|\
         01:02:03.004000|0.1|0.1|false|[0, 255, 1]|größe 1|PAID|[\"a\"]|{\"tree\":null}"
            .to_owned(),
        format!(
            "3: -1|na\"me\n2|0.00|-0.0002|2024-03-01|2024-02-29 12:30:17.123 UTC|2024-02-29 12:30:17.123456 UTC|\
             01:02:03.004000|0.1|-2.5|true|[0, 255, 2]|größe 2|NEW|[\"a\",\"b\\\\\"]|{rescued}"
        ),
    ];
    assert_eq!(all[0][..3], expected);
}

/// The body's fields are the record's; those around it only where a column asks for them.
#[test]
fn event_hubs_capture() {
    let (header, blocks) = file("capture.avro");
    let mut contract = contract(vec![
        column("page!", DataType::String),
        column("n", DataType::Long),
        Column { from: Some("SequenceNumber".to_owned()), ..column("sequence", DataType::Long) },
        Column { from: Some("Offset".to_owned()), ..column("offset", DataType::String) },
        Column { from: Some("Properties".to_owned()), ..column("properties", DataType::String) },
    ]);
    contract.format.payload = Some("Body".to_owned());
    let (text, refusals) = lines(&contract, &header.schema, &header.codec, &blocks, 100);
    assert_eq!(refusals, Vec::<String>::new());
    let output = run_ndjson(&contract, text.as_bytes());
    let found = clean(&output);
    assert_eq!(found.len(), 27);
    let properties = r#"{"a":1.5,"b":null}"#;
    assert_eq!(found[0], format!("1: /1|1|1|100|{properties}"));
    assert_eq!(found[4], format!("8: /8|~|8|own|{properties}"));
    assert_eq!(found[26], format!("30: /30|30|30|3000|{properties}"));
    let array = "a JSON array; set `[format] type` to \"auto\" or \"json\", or send its elements";
    let expected = [(5, "text", "not json"), (6, "a JSON null", "null"), (7, array, "[1]")];
    let not = |what: &str| vec![format!("not one JSON object: {what}")];
    let expected: Vec<_> = expected.map(|(at, what, raw)| (at, not(what), raw.as_bytes().to_vec())).to_vec();
    assert_eq!(quarantined(&output), expected);

    // Without payload the envelope is the record.
    contract.format.payload = None;
    contract.columns = vec![Column { from: Some("Body".to_owned()), ..column("body", DataType::String) }];
    let (text, _) = lines(&contract, &header.schema, &header.codec, &blocks, 100);
    let output = run_ndjson(&contract, text.as_bytes());
    let rest = r#"{"SequenceNumber":1,"Offset":"100","EnqueuedTimeUtc":"11/24/2026 6:25:00 AM","SystemProperties":{"x-opt-partition-key":"k"},"Properties":{"a":1.5,"b":null}}"#;
    assert_eq!(clean(&output)[0], format!("1: {{\"page\": \"/1\", \"n\": 1}}|{rest}"));
}

#[test]
fn a_schema_that_cannot_be_read_refuses_the_file() {
    let mut contract = contract(vec![column("id", DataType::Long)]);
    let long = json!({ "type": "record", "name": "R", "fields": [{ "name": "id", "type": "long" }] });
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let wide: Vec<Value> = (0..10_001).map(|_| json!("null")).collect();
    let cases: [(String, &str, &str); 12] = [
        (long.to_string(), "xz", "the Avro codec is none of null, deflate, snappy and zstandard"),
        ("{".to_owned(), "null", "the Avro file's schema is not JSON"),
        (deep, "null", "the Avro file's schema is not JSON"),
        ("\"long\"".to_owned(), "null", "the Avro file's schema is not a record: it has no fields"),
        (json!(wide).to_string(), "null", "the Avro file's schema: it has more than 10,000 types"),
        ("\"Other\"".to_owned(), "null", "the Avro file's schema: a type has an unknown name"),
        ("{}".to_owned(), "null", "the Avro file's schema: a type is missing"),
        ("1".to_owned(), "null", "the Avro file's schema: a type is neither a name, a list nor an object"),
        ("{\"type\":\"record\",\"name\":\"R\"}".to_owned(), "null", "the Avro file's schema: a record has no fields"),
        ("{\"type\":\"array\"}".to_owned(), "null", "the Avro file's schema: an array or a map does not say of what"),
        (long.to_string(), "null", "the Avro file has no field `Body`, which `[format] payload` names"),
        (
            long.to_string().replace("id", "Body"),
            "null",
            "the Avro file's field `Body` holds neither bytes nor a string",
        ),
    ];
    for (schema, codec, expected) in cases {
        contract.format.payload = expected.contains("`Body`").then(|| "Body".to_owned());
        assert_eq!(transform(&contract).avro_layout(&schema, codec).unwrap_err(), expected);
    }
}

/// A block of one schema, with what it says and what it holds.
fn block(schema: Value, count: u64, data: &[u8]) -> (String, Vec<String>) {
    let contract = contract(vec![column("id", DataType::Long)]);
    lines(&contract, &schema.to_string(), "null", &[(count, data.to_vec().into())], 1 << 20)
}

fn record(kind: Value) -> Value {
    json!({ "type": "record", "name": "R", "fields": [{ "name": "id", "type": kind }] })
}

#[test]
fn blocks_that_lie() {
    let long = || record(json!("long"));
    let cannot = |count: u64| vec![format!("the Avro block is damaged: {count} of its records cannot be read")];
    let more = vec!["the Avro block holds more than the records that it says it has".to_owned()];
    let two = "{\"id\":1}\n{\"id\":-2}\n".to_owned();
    assert_eq!(block(long(), 2, &[2, 3]), (two.clone(), vec![]));
    assert_eq!(block(long(), 3, &[2, 3]), (two.clone(), cannot(1)));
    assert_eq!(block(long(), 2, &[2, 3, 4]), (two, more.clone()));
    assert_eq!(block(long(), 0, &[2]), (String::new(), more));
    let many = vec!["the Avro block says that it has more records than bytes".to_owned()];
    assert_eq!(block(long(), u64::MAX, &[2, 3]), (String::new(), many.clone()));
    assert_eq!(block(record(json!("null")), 1 << 40, &[]), (String::new(), many));
    assert_eq!(block(record(json!("null")), 1, &[]), ("{\"id\":null}\n".to_owned(), vec![]));
    // Arrays that say they hold 2^62 nulls, negative lengths, unknown branches, symbols and truths.
    let nulls = record(json!({ "type": "array", "items": "null" }));
    let endless = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let much = "the Avro block gives, with all before it, more than 512 times the bytes of its file: 1 of its records \
                cannot be read";
    assert_eq!(block(nulls.clone(), 1, &endless), (String::new(), vec![much.to_owned()]));
    let (line, refusals) = block(nulls.clone(), 1, &[0x80, 0x89, 0x7a, 0]);
    assert_eq!((line.len(), refusals.len()), ((1 << 20) + 2, 0), "a million, too long for a record");
    assert_eq!(block(nulls, 1, &[4, 0, 0, 0]).1.len(), 1, "what is left over");
    assert_eq!(block(record(json!("bytes")), 1, &[1]), (String::new(), cannot(1)));
    assert_eq!(block(record(json!(["null", "int"])), 1, &[4, 0]), (String::new(), cannot(1)));
    assert_eq!(block(record(json!("boolean")), 1, &[2]), (String::new(), cannot(1)));
    assert_eq!(block(record(json!("int")), 1, &[0xfe, 0xff, 0xff, 0xff, 0x7f]), (String::new(), cannot(1)));
    let letters = record(json!({ "type": "enum", "name": "E", "symbols": ["A"] }));
    assert_eq!(block(letters, 1, &[2]), (String::new(), cannot(1)));
    // A recursive schema nests without end in few bytes.
    let tree = json!({ "type": "record", "name": "T", "fields": [{ "name": "id", "type": ["null", "T"] }] });
    assert_eq!(block(tree.clone(), 1, &[2, 2, 0]).0, "{\"id\":{\"id\":{\"id\":null}}}\n");
    let nested = |depth| block(tree.clone(), 1, &[&vec![2; depth][..], &[0]].concat());
    assert_eq!((nested(255).1.len(), nested(256)), (0, (String::new(), cannot(1))));
    assert_eq!(nested(100_000), (String::new(), cannot(1)));
    let itself = json!({ "type": "record", "name": "T", "fields": [{ "name": "id", "type": "T" }] });
    assert_eq!(block(itself, 1, &[0]), (String::new(), cannot(1)));
}

/// Nulls, empty records and blocks without bytes draw from what the bytes of the file have earned.
#[test]
fn what_takes_no_bytes_is_paid_for() {
    let contract = contract(vec![column("id", DataType::Long)]);
    let layout = |schema: Value| transform(&contract).avro_layout(&schema.to_string(), "null").unwrap();
    let read = |layout: &AvroLayout, count: u64, data: &[u8], allowance: &Allowance| {
        let mut block = layout.block(count, data, allowance);
        std::iter::from_fn(|| block.next(1 << 20, &Stop::never())).collect::<Vec<_>>()
    };
    let fits = |items: usize| {
        let nulls = layout(record(json!({ "type": "array", "items": "null" })));
        let data = [&[(items << 1) as u8 | 0x80, (items >> 6) as u8][..], &[0]].concat();
        matches!(read(&nulls, 1, &data, &Allowance::of(0))[..], [AvroChunk::Lines(_)])
    };
    // Three bytes earn 1,536. The data takes 3, the record 64 and its one column 8, the array 16, the line 10; each item 16
    // and five of the line, the first one less.
    let most = (1..2_000).take_while(|items| fits(*items)).count();
    assert_eq!(most, (1_536 - 3 - 72 - 16 - 9) / 21, "and one more is refused");
    assert!(!(most + 1..2_000).any(fits));
    // What one block has taken the next ones lack: here 100 units of each line of nothing.
    let (none, allowance) = (layout(record(json!("null"))), Allowance::of(1_000));
    let chunks = read(&none, 100, &[], &allowance);
    let [AvroChunk::Lines(lines), AvroChunk::Refused(reasons)] = &chunks[..] else { panic!("{chunks:?}") };
    let [reason] = &reasons[..] else { panic!("{reasons:?}") };
    let records = lines.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((lines.len(), records), (10 * 12, 10), "of 100 each");
    assert!(reason.ends_with("90 of its records cannot be read"), "{reason}");
    assert!(matches!(read(&none, 1, &[], &allowance)[..], [AvroChunk::Refused(_)]));
    assert_eq!(read(&none, 1, &[], &Allowance::of(100)).len(), 1);
    // One that nobody waits for ends, and says nothing.
    let stop = Stop::default();
    stop.set();
    let nulls = layout(record(json!({ "type": "array", "items": "null" })));
    let mut block = nulls.block(1, &[0x80, 0x89, 0x7a, 0], &Allowance::of_avro_file());
    assert_eq!(block.next(1, &stop), None);
}

#[test]
fn values_that_no_column_holds() {
    let logical = |kind: &str, name: &str| json!({ "type": kind, "logicalType": name });
    let decimal = json!({ "type": "bytes", "logicalType": "decimal", "scale": 2 });
    let cases: [(Value, Vec<u8>, &str); 14] = [
        (json!("double"), f64::NAN.to_le_bytes().to_vec(), "\"NaN\""),
        (json!("float"), f32::NEG_INFINITY.to_le_bytes().to_vec(), "\"-inf\""),
        (json!("float"), 0.1_f32.to_le_bytes().to_vec(), "0.10000000149011612"),
        (json!("double"), 0.1_f64.to_le_bytes().to_vec(), "0.1"),
        (decimal.clone(), vec![2, 0x80], "-1.28"),
        (decimal.clone(), vec![4, 0x00, 0x80], "1.28"),
        (decimal.clone(), vec![2, 0xff], "-0.01"),
        (decimal.clone(), [&[36][..], &[0xff; 17], &[0x80]].concat(), "-1.28"),
        (decimal, [&[34][..], &[1], &[0; 16]].concat(), "3402823669209384634633746074317682114.56"),
        (logical("int", "date"), vec![0xff, 0xff, 0xff, 0xff, 0x0f], "\"-5877641-06-23\""),
        (logical("long", "timestamp-millis"), vec![1], "\"1969-12-31T23:59:59.999000000Z\""),
        (logical("long", "local-timestamp-micros"), vec![2], "\"1970-01-01T00:00:00.000001000\""),
        (logical("int", "time-millis"), vec![1], "-1"),
        (json!("string"), vec![8, b'"', b'\\', 1, b'\n'], "\"\\\"\\\\\\u0001\\n\""),
    ];
    for (kind, data, expected) in cases {
        assert_eq!(block(record(kind.clone()), 1, &data).0, format!("{{\"id\":{expected}}}\n"), "{kind}");
    }
    // What is no UTF-8 is no text: the record is refused.
    let (header, mut contract) = (record(json!("bytes")).to_string(), contract(vec![column("id", DataType::String)]));
    let layout = transform(&contract).avro_layout(&header, "null").unwrap();
    let Some(AvroChunk::Lines(lines)) = first(&layout, 1, &[2, 0xff]) else { panic!() };
    assert_eq!(refused(&run_ndjson(&contract, &lines)), ["1: column `id`: not UTF-8"]);
    // A record beyond the limit is not kept whole.
    contract.format.max_record_bytes = 20;
    let layout = transform(&contract).avro_layout(&header, "null").unwrap();
    let long = [&[0xd0, 0x0f][..], &[b'a'; 1000], &[2, b'b']].concat();
    let Some(AvroChunk::Lines(lines)) = first(&layout, 2, &long) else { panic!() };
    assert_eq!(lines, b"{\"id\":\"aaaaaaaaaaaaaa\n{\"id\":\"b\"}\n");
    let faults = refused(&run_ndjson(&contract, &lines));
    assert!(faults.len() == 1 && faults[0].contains("record longer than 20 bytes"), "{faults:?}");
}

#[test]
fn a_bomb_is_not_unpacked() {
    let contract = contract(vec![column("id", DataType::Long)]);
    let zeros = vec![0_u8; 65 << 20];
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut deflate, &zeros).unwrap();
    let zstandard = zstd::encode_all(&zeros[..], 1).unwrap();
    let schema = record(json!("long")).to_string();
    let mut snappy = snap::raw::Encoder::new().compress_vec(&[2]).unwrap();
    snappy.extend((crc32fast::hash(&[2]) ^ 1).to_be_bytes());
    let cases = [
        ("snappy", snappy, "the Avro block is damaged: it cannot be unpacked"),
        ("deflate", deflate.finish().unwrap(), "the Avro block unpacks to more than 64 MiB"),
        ("zstandard", zstandard, "the Avro block unpacks to more than 64 MiB"),
        (
            "snappy",
            [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 20]].concat(),
            "the Avro block unpacks to more than 64 MiB",
        ),
        ("snappy", vec![1, 0, 0], "the Avro block is damaged: it cannot be unpacked"),
        ("deflate", vec![0xff; 9], "the Avro block is damaged: it cannot be unpacked"),
    ];
    for (codec, data, expected) in cases {
        let (_, refusals) = lines(&contract, &schema, codec, &[(1, data.into())], 1 << 20);
        assert_eq!(refusals, [expected], "{codec}");
    }
}

/// Bytes, counts and schemas that somebody has tampered with: no panic, and what is no refusal is JSON.
/// `WEIR_TEST_ROUNDS=100000` looks longer.
#[test]
fn whatever_was_tampered_with_gives_json_or_a_refusal() {
    let from_environment = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seed = from_environment("WEIR_TEST_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}; WEIR_TEST_SEED sets another");
    let mut random = StdRng::seed_from_u64(seed);
    let (contract, mut read, mut layouts) = (orders(), 0, 0);
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let (header, blocks) = file(&format!("orders.{codec}.avro"));
        for round in 0..from_environment("WEIR_TEST_ROUNDS").unwrap_or(400) {
            let (count, data) = &blocks[random.random_range(0..blocks.len())];
            let (mut data, mut schema) = (data.to_vec(), header.schema.clone().into_bytes());
            if round % 4 == 0 {
                tamper(&mut schema, &mut random);
            } else {
                tamper(&mut data, &mut random);
            }
            let count = if random.random_ratio(1, 8) { random.random() } else { *count };
            let Ok(layout) = transform(&contract).avro_layout(&String::from_utf8_lossy(&schema), codec) else {
                continue;
            };
            layouts += 1;
            let mut block = layout.block(count, &data, &Allowance::of_avro_file());
            while let Some(chunk) = block.next(1_000, &Stop::never()) {
                let AvroChunk::Lines(lines) = chunk else { continue };
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    // Half a character stands for a byte that is no UTF-8.
                    let line = String::from_utf8_lossy(line).replace("\\udc", "\\u00");
                    let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                    assert!(value.is_object(), "{line}");
                    read += 1;
                }
            }
        }
    }
    println!("{read} records of {layouts} files");
    assert!(read > 0);
}

fn tamper(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..5) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        let end = (at + random.random_range(1..20)).min(bytes.len());
        match random.random_range(0..5) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'"', b'{'][random.random_range(0..6)],
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            _ => bytes.truncate(at),
        }
    }
}
