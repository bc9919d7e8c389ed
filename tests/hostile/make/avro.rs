//! Avro files of every type, with counts, lengths and nesting that cost more than they weigh.

use std::io::Write;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::few;
use crate::MAX_BYTES;

pub(crate) fn file(random: &mut StdRng) -> Vec<u8> {
    let mut names = 0;
    let fields: Vec<Value> = (0..1 + few(random, 200))
        .map(|at| json!({ "name": field(random, at), "type": schema(random, &mut names, 4) }))
        .collect();
    let schema = json!({ "type": "record", "name": "Top", "fields": fields });
    let codec = ["null", "deflate", "zstandard", "snappy"][random.random_range(0..4)];
    let mut out = [b"Obj\x01".to_vec(), number(2)].concat();
    for (key, value) in [("avro.schema", schema.to_string()), ("avro.codec", codec.to_owned())] {
        out.extend([number(key.len() as i64), key.into(), number(value.len() as i64), value.into()].concat());
    }
    out.extend([&[0][..], &[7; 16]].concat());
    let total = [100, 10_000, MAX_BYTES][random.random_range(0..3)];
    // Blocks that are all alike, or each for itself.
    let repeated = random.random_bool(0.5).then(|| block(random, &schema, codec));
    while out.len() < total {
        out.extend(repeated.clone().unwrap_or_else(|| block(random, &schema, codec)));
    }
    out
}

fn field(random: &mut StdRng, at: usize) -> String {
    match random.random_range(0..4) {
        0 => ["n", "s", "b", "d"][at % 4].to_owned(),
        1 => "x".repeat(1 + few(random, 5_000)) + &at.to_string(),
        _ => format!("c{at}"),
    }
}

fn schema(random: &mut StdRng, names: &mut usize, depth: usize) -> Value {
    *names += 1;
    let name = format!("N{names}");
    if depth == 0 || *names > 500 {
        return ["null", "boolean", "int", "long", "float", "double", "bytes", "string"][random.random_range(0..8)]
            .into();
    }
    let mut inner = |random: &mut StdRng| schema(random, names, depth - 1);
    match random.random_range(0..14) {
        0 => "null".into(),
        1 => json!({ "type": "array", "items": "null" }),
        2 => json!({ "type": "array", "items": inner(random) }),
        3 => json!({ "type": "map", "values": inner(random) }),
        4 => json!({ "type": "fixed", "name": name, "size": few(random, 5_000) }),
        5 => {
            json!({ "type": "fixed", "name": name, "size": few(random, 5_000), "logicalType": "decimal", "precision": 9,
                     "scale": few(random, 4_096) })
        }
        6 => json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": few(random, 4_096) }),
        7 => {
            let symbol = "S".repeat(1 + few(random, 100_000));
            json!({ "type": "enum", "name": name, "symbols": (0..=few(random, 5)).map(|at| format!("{symbol}{at}")).collect::<Vec<_>>() })
        }
        8 => json!(["null", inner(random), { "type": "record", "name": name, "fields": [] }]),
        9 => {
            json!({ "type": "record", "name": name, "fields": [{ "name": "v", "type": "null" }, { "name": "next", "type": ["null", name] }] })
        }
        10 => {
            let fields: Vec<Value> =
                (0..few(random, 1_000)).map(|at| json!({ "name": format!("f{at}"), "type": "null" })).collect();
            json!({ "type": "record", "name": name, "fields": fields })
        }
        11 => {
            let fields: Vec<Value> =
                (0..few(random, 20)).map(|at| json!({ "name": format!("f{at}"), "type": inner(random) })).collect();
            json!({ "type": "record", "name": name, "fields": fields })
        }
        12 => json!({ "type": "array", "items": { "type": "record", "name": name, "fields": [] } }),
        _ => json!({ "type": "long", "logicalType": "timestamp-millis" }),
    }
}

fn block(random: &mut StdRng, schema: &Value, codec: &str) -> Vec<u8> {
    let mut data = Vec::new();
    let records = 1 + few(random, 2_000);
    let mut names = Vec::new();
    for _ in 0..records {
        value(random, schema, &mut names, &mut data, 0);
        if data.len() > 300_000 {
            break;
        }
    }
    let count = match random.random_range(0..6) {
        0 => data.len() as i64 + 1_000,
        1 => i64::MAX,
        _ => records as i64,
    };
    if random.random_ratio(1, 6) {
        // A long run is little when it is packed.
        data.resize(data.len() + few(random, 8 << 20), [0, 2, 0xff][random.random_range(0..3)]);
    }
    let packed = match codec {
        "deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&data).unwrap();
            encoder.finish().unwrap()
        }
        "zstandard" => zstd::encode_all(&data[..], 1).unwrap(),
        "snappy" => {
            let mut packed = snap::raw::Encoder::new().compress_vec(&data).unwrap();
            packed.extend(crc32fast::hash(&data).to_be_bytes());
            packed
        }
        _ => data,
    };
    [number(count), number(packed.len() as i64), packed, vec![7; 16]].concat()
}

/// A value, which may lie about its counts.
fn value(random: &mut StdRng, schema: &Value, names: &mut Vec<(String, Value)>, out: &mut Vec<u8>, depth: usize) {
    if out.len() > 400_000 {
        return;
    }
    if let Some(branches) = schema.as_array() {
        let at = if depth > 300 { 0 } else { random.random_range(0..branches.len()) };
        // Once a list has begun it goes on.
        let at = if depth > 4 && depth < 300 && random.random_bool(0.98) { branches.len() - 1 } else { at };
        out.extend(number(at as i64));
        return value(random, &branches[at], names, out, depth + 1);
    }
    let kind = schema.as_str().or(schema["type"].as_str()).unwrap();
    if let Some(name) = schema["name"].as_str()
        && !names.iter().any(|(known, _)| known == name)
    {
        names.push((name.to_owned(), schema.clone()));
    }
    match kind {
        "null" => {}
        "boolean" => out.push(random.random_range(0..2)),
        "int" => out.extend(number(random.random::<i32>().into())),
        "long" => out.extend(number(random.random())),
        "float" => out.extend(random.random::<[u8; 4]>()),
        "double" => out.extend(random.random::<[u8; 8]>()),
        "bytes" | "string" => {
            let length = few(random, 20_000);
            out.extend(number(length as i64));
            out.resize(out.len() + length, [b'a', b'"', 0xff, 0][random.random_range(0..4)]);
        }
        "fixed" => out.resize(out.len() + schema["size"].as_u64().unwrap() as usize, random.random()),
        "enum" => out.extend(number(random.random_range(0..schema["symbols"].as_array().unwrap().len()) as i64)),
        "array" | "map" => items(random, schema, kind == "map", names, out, depth),
        "record" => {
            for field in schema["fields"].as_array().unwrap() {
                value(random, &field["type"], names, out, depth + 1);
            }
        }
        name => {
            if let Some((_, schema)) = names.iter().find(|(known, _)| known == name).cloned() {
                value(random, &schema, names, out, depth + 1);
            }
        }
    }
}

fn items(
    random: &mut StdRng,
    schema: &Value,
    named: bool,
    names: &mut Vec<(String, Value)>,
    out: &mut Vec<u8>,
    depth: usize,
) {
    let items = if named { &schema["values"] } else { &schema["items"] };
    let lies = items == "null" && !named;
    for left in (0..few(random, 3_000)).rev() {
        if lies {
            // As many items as bytes are left, or many more: they take none.
            out.extend(number(
                [2 * left as i64 + 1, 1 << random.random_range(0..40)][usize::from(random.random_ratio(1, 50))],
            ));
            continue;
        }
        let count = 1 + few(random, 50);
        match random.random_bool(0.2) {
            true => out.extend([number(-(count as i64)), number(random.random_range(0..1_000))].concat()),
            false => out.extend(number(count as i64)),
        }
        for _ in 0..count {
            if named {
                out.extend([2, b'k']);
            }
            value(random, items, names, out, depth + 1);
        }
        if out.len() > 400_000 {
            break;
        }
    }
    out.push(0);
}

/// A number as Avro writes an int, a long or a length.
pub fn number(value: i64) -> Vec<u8> {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while bits >= 0x80 {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}
