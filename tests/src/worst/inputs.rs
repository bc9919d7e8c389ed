//! Inputs that ask for the most that a limit allows, or for more: one for each thing that costs without weighing.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type, Int96, Int96Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use weir_hostile::number;

use super::MAX_BYTES;

pub(super) type Named = (&'static str, Vec<u8>);

/// Of one target.
pub(super) fn inputs(target: &str) -> Vec<Named> {
    match target {
        "avro" => avro(),
        "parquet" => parquet(),
        "packed" => packed(),
        "csv" => vec![
            ("lines of one field", b"n,s,b,d\n".iter().copied().chain(b"x\n".repeat(MAX_BYTES / 2)).collect()),
            ("lines of two fields", b"n,s,b,d\n".iter().copied().chain(b",\n".repeat(MAX_BYTES / 2)).collect()),
            ("lone carriage returns", b"n,s,b,d\r".iter().copied().chain(b"x\r".repeat(MAX_BYTES / 2)).collect()),
            ("a record of many lines before many", {
                let one = [&b"\""[..], &b"\n".repeat(MAX_BYTES / 3), b"\"\n"].concat();
                [&b"n,s,b,d\n"[..], &one, &b"x\n".repeat(MAX_BYTES / 3)].concat()
            }),
            ("a header of faulty fields", b"\"a\"b,".repeat(MAX_BYTES / 5)),
            ("a line of faulty fields", [&b"n,s,b,d\n"[..], &b"\"a\"b,".repeat(MAX_BYTES / 5)].concat()),
            (
                "lines of faulty fields",
                (b"\"a\"b,".repeat(255).into_iter().chain(*b"\n").collect::<Vec<_>>()).repeat(820),
            ),
        ],
        "json" => vec![
            ("empty records", b"{}\n".repeat(MAX_BYTES / 3)),
            ("no records", b"1\n".repeat(MAX_BYTES / 2)),
            ("a document of numbers", [&b"["[..], &b"1,".repeat(MAX_BYTES / 2 - 2), b"1]"].concat()),
            ("short fields", b"{\"n\":1,\"n\":1,\"q\":1,\"r\":1,\"t\":1,\"u\":1,\"v\":1}\n".repeat(MAX_BYTES / 45)),
        ],
        _ => Vec::new(),
    }
}

/// Text in a megabyte that is packed well.
fn packed() -> Vec<Named> {
    let text = |line: &[u8]| gzip(&line.repeat((280 << 20) / line.len()));
    vec![
        ("empty records", text(b"{}\n")),
        ("no records", text(b"1\n")),
        ("short fields", text(b"{\"q\":1,\"r\":1,\"t\":1,\"u\":1,\"v\":1}\n")),
        ("members", gzip(b"{}\n").repeat(MAX_BYTES / gzip(b"{}\n").len())),
    ]
}

/// Blocks that are next to nothing when they are packed, in a file that is large by what nobody reads.
fn avro() -> Vec<Named> {
    let record = |fields: Value| json!({ "type": "record", "name": "R", "fields": fields });
    let one = |kind: Value| record(json!([{ "name": "q", "type": kind }]));
    let many = |count: usize, kind: &str| {
        record((0..count).map(|at| json!({ "name": format!("f{at}"), "type": kind })).collect())
    };
    let text = |bytes: &[u8]| [number(bytes.len() as i64), bytes.to_vec()].concat();
    let symbol = "S".repeat(100_000);
    vec![
        ("empty records", bomb(&record(json!([])), b"")),
        ("fields that are null", bomb(&many(100, "null"), b"")),
        ("fields that no column has", bomb(&many(100, "long"), &[0; 100])),
        (
            "columns",
            bomb(&record(json!([{ "name": "n", "type": "long" }, { "name": "s", "type": "string" }])), &[0, 0]),
        ),
        ("doubles", bomb(&many(50, "double"), &[0x3f; 400])),
        ("instants", bomb(&one(json!({ "type": "long", "logicalType": "timestamp-micros" })), &[0])),
        ("durations", {
            let kind = json!({ "type": "fixed", "name": "D", "size": 12, "logicalType": "duration" });
            bomb(&one(kind), &[1; 12])
        }),
        ("numbers of many digits", {
            let kind = json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 });
            bomb(&one(kind), &text(&[0x55; 4_096]))
        }),
        ("numbers of some digits", {
            let kind = json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 });
            bomb(&one(kind), &text(&[0x55; 64]))
        }),
        ("a long symbol", bomb(&one(json!({ "type": "enum", "name": "E", "symbols": [symbol] })), &[0])),
        ("no text", bomb(&one("string".into()), &text(&[0xff; 2_000]))),
        ("control characters", bomb(&one("string".into()), &text(&[1; 2_000]))),
        ("a map", {
            let entries = [number(200), [2, b'k'].repeat(200), vec![0]].concat();
            bomb(&one(json!({ "type": "map", "values": "null" })), &entries)
        }),
        ("blocks of one record", {
            let block = [&[2, 2, 0][..], &[7; 16]].concat();
            [header(&one("long".into()), "null"), block.repeat(MAX_BYTES / block.len() - 20)].concat()
        }),
    ]
}

fn header(schema: &Value, codec: &str) -> Vec<u8> {
    let text = |text: &str| [number(text.len() as i64), text.as_bytes().to_vec()].concat();
    let entries = [text("avro.schema"), text(&schema.to_string()), text("avro.codec"), text(codec)].concat();
    [b"Obj\x01".to_vec(), number(2), entries, vec![0], vec![7; 16]].concat()
}

/// As many of this datum as the file's bytes may be said to pay for.
fn bomb(schema: &Value, datum: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 8 << 20;
    let (count, data) = match datum.len() {
        0 => (BLOCK, vec![0; BLOCK]),
        length => (BLOCK / length, datum.repeat(BLOCK / length)),
    };
    let block = |packed: &[u8]| [&number(count as i64)[..], &number(packed.len() as i64), packed, &[7; 16]].concat();
    let packed = zstd::encode_all(&data[..], 3).unwrap();
    let mut file = header(schema, "zstandard");
    let others = block(&packed).repeat(100);
    // A frame that decoders skip.
    let room = (MAX_BYTES - 200).saturating_sub(file.len() + others.len() + packed.len());
    let skipped = [&0x184d_2a50_u32.to_le_bytes()[..], &(room as u32).to_le_bytes(), &vec![1; room]].concat();
    file.extend(block(&[packed, skipped].concat()));
    file.extend(others);
    file
}

fn parquet() -> Vec<Named> {
    let plain = WriterProperties::builder();
    let long = ByteArray::from(Bytes::from(vec![b'x'; 1_000_000]));
    let delta = |count: usize| {
        let properties = plain
            .clone()
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BYTE_ARRAY)
            .set_data_page_size_limit(1 << 30);
        texts(properties, &vec![long.clone(); count])
    };
    let wide = ByteArray::from(Bytes::from(vec![b'y'; 32 << 10]));
    vec![
        ("one number on all rows", {
            let mut file = writer("message m { required int64 n; }", plain.clone());
            let mut group = file.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            for _ in 0..40 {
                column.typed::<Int64Type>().write_batch(&vec![7; 1 << 20], None, None).unwrap();
            }
            column.close().unwrap();
            group.close().unwrap();
            file.into_inner().unwrap()
        }),
        ("rows of which no column can be read", {
            // The footer's text pays for rows as any stored byte does.
            let text = KeyValue::new("x".to_owned(), "x".repeat(MAX_BYTES - 16_384));
            let properties = plain.clone().set_key_value_metadata(Some(vec![text]));
            let mut file = writer("message m { required int96 d; }", properties);
            let mut group = file.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            for _ in 0..4 {
                column.typed::<Int96Type>().write_batch(&vec![Int96::new(); 1 << 20], None, None).unwrap();
            }
            column.close().unwrap();
            group.close().unwrap();
            file.into_inner().unwrap()
        }),
        ("one text on all rows", texts(plain.clone().set_dictionary_page_size_limit(1 << 30), &vec![wide; 65_536])),
        ("prefixes", delta(60)),
        ("prefixes without end", delta(2_000)),
        ("a page for each row", {
            let properties = plain.clone().set_dictionary_enabled(false).set_data_page_row_count_limit(1);
            texts(properties.set_write_batch_size(1), &vec![ByteArray::from("x"); 15_000])
        }),
        ("damaged pages", {
            let properties = plain.clone().set_dictionary_enabled(false).set_data_page_row_count_limit(1);
            let mut file = texts(properties.set_write_batch_size(1), &vec![ByteArray::from("xyzw"); 15_000]);
            // Each text is then longer than its page.
            let text = [4, 0, 0, 0, b'x', b'y', b'z', b'w'];
            for at in 0..file.len() - text.len() {
                if file[at..].starts_with(&text) {
                    file[at] = 200;
                }
            }
            file
        }),
    ]
}

fn writer(schema: &str, properties: WriterPropertiesBuilder) -> SerializedFileWriter<Vec<u8>> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).unwrap()
}

fn texts(properties: WriterPropertiesBuilder, values: &[ByteArray]) -> Vec<u8> {
    let mut file = writer("message m { required binary s (UTF8); }", properties);
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    for values in values.chunks(1_000) {
        column.typed::<ByteArrayType>().write_batch(values, None, None).unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    file.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
