//! Messages of the queue `tasks`: sound ones, forged ones, ones of other releases, signed and not, and JSON that costs.

use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::{few, one, text};
use crate::take::tasks::{KEY, NOW_MS, OTHER};

const NAMES: [&str; 10] =
    ["orders", "people", "clicks", "totals", "orders__quarantine", "weir__parked", "", "../x", "x\u{1}<b>", "Orders"];
const CONTAINERS: [&str; 7] = ["landing", "landing", "landing", "lake", "hr", "$web", ".."];
const PATHS: [&str; 10] = [
    "orders/a.csv",
    "orders/2026/b.csv",
    "people/a.ndjson",
    "orders/../people/a.ndjson",
    "orders//a.csv",
    "orders/_temporary/a.csv",
    "orders/_SUCCESS",
    "",
    "orders/a.csv\u{0}",
    "orders/\u{202e}vsc.csv",
];
const KINDS: [&str; 11] = [
    "maintain",
    "sweep",
    "reprocess",
    "ingest_blob",
    "ingest_part",
    "remove_blob",
    "vanished",
    "replay",
    "retry",
    "erase",
    "Maintain",
];
const KEYS: [&str; 16] = [
    "dataset",
    "container",
    "path",
    "etag",
    "request",
    "part",
    "prefix",
    "marker",
    "after",
    "since_ms",
    "asked",
    "partition",
    "window",
    "parked",
    "handed_on",
    "task",
];

pub(crate) fn message(random: &mut StdRng) -> Vec<u8> {
    let task = match random.random_range(0..12) {
        0 => return text::json(random),
        1 => value(random, 3).to_string(),
        _ => task(random),
    };
    match random.random_range(0..6) {
        0 => sealed(&task, KEY, NOW_MS).into_bytes(),
        1 => {
            let made_ms = NOW_MS + one(random, &[0, -1, -16 * 86_400_000, 86_400_000, i64::MAX - NOW_MS]);
            let key = one(random, &[KEY, OTHER]);
            altered(random, sealed(&task, key, made_ms))
        }
        2 => json!({ "task": task, "made_ms": random.random::<i64>(), "mac": "0".repeat(few(random, 64)) })
            .to_string()
            .into_bytes(),
        _ => task.into_bytes(),
    }
}

/// Signed as docs/ARCHITECTURE.md and `functions/signed.rs` say, by other code.
fn sealed(task: &str, key: &str, made_ms: i64) -> String {
    let key: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(b"weir task 1");
    mac.update(&made_ms.to_be_bytes());
    mac.update(task.as_bytes());
    let mac: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "task": task, "made_ms": made_ms, "mac": mac }).to_string()
}

/// One thing of a signed message is another.
fn altered(random: &mut StdRng, sealed: String) -> Vec<u8> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&sealed) else { return sealed.into_bytes() };
    match random.random_range(0..5) {
        0 => drop(fields.insert("task".to_owned(), task(random).into())),
        1 => drop(fields.insert("made_ms".to_owned(), random.random::<i64>().into())),
        2 => drop(fields.insert("mac".to_owned(), value(random, 0))),
        3 => drop(fields.insert(one(random, &KEYS).to_owned(), value(random, 1))),
        _ => {}
    }
    Value::Object(fields).to_string().into_bytes()
}

fn task(random: &mut StdRng) -> String {
    let mut fields = Map::new();
    let kind = one(random, &KINDS);
    fields.insert("task".to_owned(), kind.into());
    let wanted: &[&str] = match kind {
        "maintain" => &["dataset"],
        "sweep" => &["dataset", "marker", "prefix", "since_ms", "asked"],
        "reprocess" => &["dataset", "prefix", "request"],
        "ingest_blob" => &["dataset", "container", "path", "etag"],
        "ingest_part" => &["dataset", "container", "path", "etag", "part"],
        "remove_blob" => &["dataset", "container", "path"],
        "vanished" => &["dataset", "prefix", "after"],
        "replay" => &["dataset", "partition", "window", "request"],
        "retry" => &["parked", "handed_on"],
        _ => &KEYS,
    };
    for key in wanted {
        fields.insert((*key).to_owned(), field(random, key));
    }
    // One too many, one too few, one of another kind.
    match random.random_range(0..8) {
        0 => drop(fields.insert(one(random, &KEYS).to_owned(), value(random, 2))),
        1 => drop(fields.remove(one(random, &KEYS))),
        2 => {
            let key = one(random, &KEYS);
            fields.insert(key.to_owned(), field(random, key));
        }
        _ => {}
    }
    let mut text = Value::Object(fields).to_string();
    if random.random_ratio(1, 10) {
        // A key twice: who believes the first, and who the last?
        let key = one(random, &KEYS);
        text.insert_str(1, &format!("\"{key}\":{},", field(random, key)));
    }
    text
}

fn field(random: &mut StdRng, key: &str) -> Value {
    if random.random_ratio(1, 25) {
        return value(random, 3);
    }
    match key {
        "dataset" => if random.random_bool(0.7) { one(random, &NAMES[..4]) } else { one(random, &NAMES) }.into(),
        "container" => one(random, &CONTAINERS).into(),
        "path" | "prefix" | "marker" | "after" => match random.random_range(0..10) {
            0 => Value::from("orders/".to_owned() + &"p".repeat(few(random, 10_000))),
            1 => "orders/".into(),
            _ => one(random, &PATHS).into(),
        },
        "etag" | "request" => match random.random_range(0..6) {
            0 => Value::from("e".repeat(few(random, 1_000))),
            1 => "a b".into(),
            2 => Value::Null,
            _ => "0x8DC0FFEE".into(),
        },
        "part" => {
            let key = one(random, &["0", "a", "g"]).repeat(one(random, &[32, 32, 32, 0, 64]));
            let parts: u32 = one(random, &[0, 1, 4, 10_000, 10_001, u32::MAX]);
            json!({ "key": key, "part": one(random, &[0, 1, 3, 9_999, u32::MAX]), "parts": parts })
        }
        "since_ms" => one(random, &[0, -1, 1_700_000_000_000_i64, i64::MIN]).into(),
        "asked" | "handed_on" => random.random_bool(0.5).into(),
        "partition" => one(random, &[0_u64, 31, 4_095, 4_096, u32::MAX.into(), u64::MAX]).into(),
        "window" => window(random),
        "parked" => match random.random_range(0..4) {
            0 => "tasks/../../x".into(),
            1 => Value::from("tasks/".to_owned() + &"0".repeat(24)),
            2 => Value::from("blob-events/".to_owned() + &"f".repeat(few(random, 48))),
            _ => "tasks/x".into(),
        },
        _ => value(random, 1),
    }
}

fn window(random: &mut StdRng) -> Value {
    let mut window = Map::new();
    for key in ["from", "to", "since_ms", "until_ms"] {
        if random.random_bool(0.5) {
            let number = one(random, &[0, 1, 1_000, 1 << 53, (1 << 53) + 1, -1, i64::MAX, i64::MIN]);
            window.insert(key.to_owned(), number.into());
        }
    }
    Value::Object(window)
}

fn value(random: &mut StdRng, depth: usize) -> Value {
    match random.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => random.random_bool(0.5).into(),
        2 => random.random::<i64>().into(),
        3 => json!(random.random::<f64>()),
        4 => Value::from("v".repeat(few(random, 20_000))),
        5 => one(random, &NAMES).into(),
        6 => {
            let count = few(random, 50);
            (0..count).map(|_| value(random, depth - 1)).collect()
        }
        _ => {
            let count = few(random, 50);
            Value::Object((0..count).map(|at| (format!("k{at}"), value(random, depth - 1))).collect())
        }
    }
}
