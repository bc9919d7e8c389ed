//! The expectations are checked by an oracle: a reader of its own that knows the contracts' rules and sees only bytes.
//! It returns, for each record, the fault it found; [`CLEAN_FAULTS`] are those that keep the record in the table.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::*;

const PLAN: Plan = Plan { seed: 42, scale: 1 };
const CLEAN_FAULTS: [&str; 2] = ["unknown field", "warning"];

type Oracle = fn(&[u8]) -> Option<&'static str>;

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_seed_does_not() {
    fn check<T: PartialEq>(make: impl Fn(&Plan) -> Vec<T>) {
        let once = make(&PLAN);
        assert!(once == make(&PLAN));
        assert!(once != make(&Plan { seed: 43, ..PLAN }));
    }
    check(|plan| sales(plan).collect());
    check(|plan| customers(plan).collect());
    check(|plan| clickstream(plan).collect());
    check(|plan| sensors(plan).unwrap().collect());
}

/// Pins the bytes, so that new random numbers or formats in a dependency do not go unseen. Gzip is looked into, because
/// its bytes depend on the library that `flate2` was built with.
#[test]
fn the_bytes_are_known() {
    let first = sales(&PLAN).next().unwrap();
    assert_eq!(first.path, "sales/001_shop.csv");
    let text = String::from_utf8_lossy(plain(&first.content)).into_owned();
    let line = "1,1552,93,1,17,24710.35,0.04,0.02,N,O,1996-03-13,1996-02-12,1996-03-22,DELIVER IN PERSON,TRUCK,";
    assert!(text.lines().nth(1).unwrap().starts_with(line), "{:?}", text.lines().nth(1));

    let batch = sensors(&PLAN).unwrap().next().unwrap();
    let body = String::from_utf8(batch.events[0].body.clone()).unwrap();
    let start =
        r#"{"station":"EWR","time":"2013-01-01T06:00:00Z","temperature_f":39.02,"dew_point":26.06,"humidity":59.37"#;
    assert!(body.starts_with(start), "{body}");

    let crc = |parts: &mut dyn Iterator<Item = Vec<u8>>| {
        let mut crc = flate2::Crc::new();
        parts.for_each(|part| crc.update(&part));
        crc.sum()
    };
    let bodies = |batch: EventBatchOut| batch.events.into_iter().map(|event| event.body);
    let unpack = |blob: Blob| match blob.content {
        Content::Bytes(bytes) => unpacked(&bytes),
        Content::Customers(rows) => format!("{rows:?}").into_bytes(),
    };
    assert_eq!(crc(&mut sales(&PLAN).map(unpack)), 10_722_847);
    assert_eq!(crc(&mut customers(&PLAN).map(unpack)), 1_039_485_871);
    assert_eq!(crc(&mut clickstream(&PLAN).flat_map(bodies)), 295_432_030);
    assert_eq!(crc(&mut sensors(&PLAN).unwrap().flat_map(bodies)), 1_322_012_003);
}

#[test]
fn sales_hold_what_they_promise() {
    for plan in [PLAN, Plan { seed: 7, scale: 2 }] {
        let (mut total, mut found) = (Expected::default(), BTreeMap::new());
        for blob in sales(&plan) {
            let bytes = unpacked(plain(&blob.content));
            let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let fields = lines.next().unwrap_or_default().split(|byte| *byte == b',').count();
            let oracle = |line: &[u8]| line_fault(line, fields);
            let seen = tally(lines.filter(|line| !line.is_empty()), oracle, &mut found);
            assert_eq!(seen, blob.expected, "{}", blob.path);
            total += seen;
        }
        assert!((59_000..61_500).contains(&(total.records / u64::from(plan.scale))), "{total:?}");
        assert_kinds(
            &found,
            &["bad date", "not a number", "not utf-8", "nul", "ragged: long", "ragged: short", "rule", "warning"],
            total,
        );
    }
}

#[test]
fn customers_hold_what_they_promise() {
    for plan in [PLAN, Plan { seed: 7, scale: 3 }] {
        let (mut total, mut lines, mut rows) = (Expected::default(), BTreeMap::new(), BTreeMap::new());
        for blob in customers(&plan) {
            let seen = match &blob.content {
                Content::Bytes(bytes) => {
                    let bytes = unpacked(bytes);
                    let records = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    tally(records, |line| json_fault(line, customer_fault), &mut lines)
                }
                Content::Customers(records) => tally(records.iter(), row_fault, &mut rows),
            };
            assert_eq!(seen, blob.expected, "{}", blob.path);
            total += seen;
        }
        assert_eq!(total.records, 15_000 * u64::from(plan.scale));
        let mut both = lines.clone();
        rows.iter().for_each(|(kind, count)| *both.entry(*kind).or_default() += count);
        assert_kinds(&both, &["missing", "not an object", "not utf-8", "rule", "unknown field", "wrong type"], total);
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), ["missing", "rule", "unknown field"]);
    }
}

#[test]
fn clickstream_holds_what_it_promises() {
    let plan = Plan { seed: 7, scale: 2 };
    let (total, found) = check_events(clickstream(&plan), "clickstream", |body| json_fault(body, click_fault));
    assert_eq!(total.records, 40_000);
    let kinds =
        ["bad time", "empty", "missing", "not an object", "not utf-8", "nul", "rule", "unknown field", "warning"];
    assert_kinds(&found, &[&kinds[..], &["wrong type"]].concat(), total);
}

#[test]
fn sensors_hold_what_they_promise() {
    let (total, found) = check_events(sensors(&PLAN).unwrap(), "sensors", |body| json_fault(body, reading_fault));
    assert_eq!(total.records, 6_000);
    let kinds = ["bad time", "empty", "missing", "not an object", "not utf-8", "real", "rule", "unknown field"];
    assert_kinds(&found, &[&kinds[..], &["wrong type"]].concat(), total);
    assert_eq!(found["real"], 1, "the wind over Newark");
}

#[test]
fn every_shape_of_file_occurs() {
    let blobs: Vec<Blob> = sales(&PLAN).collect();
    let content = |name: &str| {
        let path = format!("sales/001_{name}");
        plain(&blobs.iter().find(|blob| blob.path == path).unwrap().content)
    };
    assert!(content("outlet.csv.gz").starts_with(&[0x1f, 0x8b]));
    assert!(content("partner_windows.csv").starts_with("\u{feff}l_orderkey,".as_bytes()));
    assert!(content("partner_windows.csv").ends_with(b"\"\r\n"));
    assert!(content("closed.csv").ends_with(b"l_comment\n") && content("closed.csv").len() < 300);
    assert!(content("lost.csv").is_empty());
    assert!(!content("shop.csv").ends_with(b"\n"));
    let header = content("campaign.csv").split(|byte| *byte == b'\n').next().unwrap();
    assert!(header.ends_with(b",l_comment,l_promotion"));

    let blobs = blobs.into_iter().chain(customers(&PLAN));
    let mixed = |blob: &Blob| blob.expected.clean > 0 && blob.expected.quarantined > 0;
    assert!(blobs.filter(|blob| blob.expected.records > 1_000).all(|blob| mixed(&blob)));
}

#[test]
fn files_grow_with_the_scale_and_are_made_one_at_a_time() {
    let large = Plan { seed: 1, scale: 4_000 };
    let first = sales(&large).next().unwrap();
    assert_eq!(first.expected.records, 60_000 * 8 * 20 / 1000);
    assert_eq!(clickstream(&large).take(3).count(), 3);
    let zero = Plan { seed: 42, scale: 0 };
    assert!(clickstream(&zero).eq(clickstream(&PLAN)));
}

/// The contracts are other people's files: a renamed column must not pass unnoticed.
#[test]
fn fields_are_those_of_the_contracts() {
    let header = sales(&PLAN).next().map(|blob| plain(&blob.content).to_vec()).unwrap();
    let header = String::from_utf8_lossy(&header).lines().next().unwrap().to_owned();
    let names = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(names(&header), contract_fields(include_str!("../../../../shared/datasets/sales.toml")));

    let sound = |body: &[u8]| serde_json::from_slice::<Map<String, Value>>(body).ok();
    let keys = |map: Map<String, Value>| map.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    let line = customers(&PLAN).next().map(|blob| plain(&blob.content).to_vec()).unwrap();
    let line = line.split(|byte| *byte == b'\n').find_map(sound).unwrap();
    assert_eq!(keys(line), contract_fields(include_str!("../../../../shared/datasets/customers.toml")));

    let click = clickstream(&PLAN).next().and_then(|batch| sound(&batch.events[0].body)).unwrap();
    assert_eq!(keys(click), contract_fields(include_str!("../../../../shared/datasets/clickstream.toml")));

    let contract = contract_fields(include_str!("../../../../shared/datasets/sensors.toml"));
    let readings = sensors(&PLAN).unwrap().flat_map(|batch| batch.events);
    let complete = readings.filter_map(|event| sound(&event.body)).map(keys).find(|keys| *keys == contract);
    assert!(complete.is_some());
}

#[test]
fn people_are_invented_and_events_small() {
    for blob in customers(&PLAN) {
        let Content::Customers(rows) = blob.content else { continue };
        for email in rows.iter().filter_map(|row| row.email.as_deref()) {
            assert!(
                email.is_ascii() && (email.ends_with("@example.com") || email.ends_with("@example.org")),
                "{email}"
            );
        }
        assert!(rows.iter().any(|row| row.email.is_none()));
    }
    assert!(clickstream(&PLAN).flat_map(|batch| batch.events).all(|event| event.body.len() < 1_000));
}

#[test]
fn faults_are_half_a_per_cent_and_each_comes_before_any_comes_twice() {
    let kinds: &[u8] = &[0, 1, 2, 3, 4];
    let mut faults = faults::Faults::new(&PLAN, "test", kinds, faults::MEAN_GAP);
    let struck: Vec<u8> = (0..200_000).filter_map(|_| faults.next()).collect();
    assert!((900..1_100).contains(&struck.len()), "{}", struck.len());
    assert!(struck.chunks_exact(5).all(|round| round.iter().collect::<BTreeSet<_>>().len() == 5));
}

/// The tightest cases at scale 1: 12 kinds in 20,000 events, 9 in 9,750 lines, 8 in 6,000 readings, 5 in 5,250 rows.
#[test]
fn every_kind_comes_whatever_the_seed() {
    const KINDS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    const CASES: [(&[u8], u32); 4] =
        [(&KINDS, 20_000), (KINDS.split_at(9).0, 9_750), (KINDS.split_at(8).0, 6_000), (KINDS.split_at(5).0, 5_250)];
    for (kinds, records) in CASES {
        for seed in 0..100 {
            let mut faults = faults::Faults::new(&Plan { seed, ..PLAN }, "test", kinds, faults::MEAN_GAP);
            let struck: BTreeSet<u8> = (0..records).filter_map(|_| faults.next()).collect();
            assert_eq!(struck.len(), kinds.len(), "seed {seed}");
        }
    }
}

// The oracle.

fn tally<R>(
    records: impl Iterator<Item = R>,
    oracle: impl Fn(R) -> Option<&'static str>,
    found: &mut BTreeMap<&'static str, u64>,
) -> Expected {
    let mut seen = Expected::default();
    for record in records {
        let fault = oracle(record);
        fault.into_iter().for_each(|kind| *found.entry(kind).or_default() += 1);
        let clean = fault.is_none_or(|kind| CLEAN_FAULTS.contains(&kind));
        seen.count(if clean { Verdict::Clean } else { Verdict::Quarantined });
    }
    seen
}

#[track_caller]
fn assert_kinds(found: &BTreeMap<&str, u64>, kinds: &[&str], total: Expected) {
    assert_eq!(found.keys().copied().collect::<BTreeSet<_>>(), kinds.iter().copied().collect());
    let rate = found.values().sum::<u64>() as f64 / total.records as f64;
    assert!((0.003..0.007).contains(&rate), "{rate}");
}

fn check_events(
    batches: impl Iterator<Item = EventBatchOut>,
    hub: &str,
    oracle: Oracle,
) -> (Expected, BTreeMap<&'static str, u64>) {
    let (mut total, mut found) = (Expected::default(), BTreeMap::new());
    for batch in batches {
        assert_eq!(batch.hub, hub);
        assert!(batch.events.len() <= 400 && batch.events.iter().all(|event| !event.key.is_empty()));
        let seen = tally(batch.events.iter().map(|event| event.body.as_slice()), oracle, &mut found);
        assert_eq!(seen, batch.expected);
        total += seen;
    }
    (total, found)
}

fn plain(content: &Content) -> &[u8] {
    match content {
        Content::Bytes(bytes) => bytes,
        Content::Customers(_) => panic!("not bytes"),
    }
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// Fields of a CSV line; commas inside quotes belong to their field.
fn split_csv(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .collect()
}

fn line_fault(line: &[u8], expected: usize) -> Option<&'static str> {
    let Ok(line) = std::str::from_utf8(line) else { return Some("not utf-8") };
    if line.contains('\0') {
        return Some("nul");
    }
    let fields = split_csv(line);
    match fields.len().cmp(&expected) {
        std::cmp::Ordering::Less => return Some("ragged: short"),
        std::cmp::Ordering::Greater => return Some("ragged: long"),
        std::cmp::Ordering::Equal => {}
    }
    let numbers: Vec<Option<f64>> = fields[..8].iter().map(|field| field.parse().ok()).collect();
    let dates: Vec<bool> = fields[10..13].iter().map(|field| field.parse::<chrono::NaiveDate>().is_ok()).collect();
    if numbers.contains(&None) {
        return Some("not a number");
    }
    if dates.contains(&false) {
        return Some("bad date");
    }
    let (quantity, discount) = (numbers[4].unwrap(), numbers[6].unwrap());
    if quantity <= 0.0 || fields[12] < fields[10] {
        return Some("rule");
    }
    (!(0.0..=1.0).contains(&discount)).then_some("warning")
}

fn json_fault(body: &[u8], fault: fn(&Map<String, Value>) -> Option<&'static str>) -> Option<&'static str> {
    if body.is_empty() {
        return Some("empty");
    }
    match std::str::from_utf8(body).map(serde_json::from_str::<Map<String, Value>>) {
        Err(_) => Some("not utf-8"),
        Ok(Err(_)) => Some("not an object"),
        Ok(Ok(fields)) if fields.values().any(|value| value.as_str().is_some_and(|text| text.contains('\0'))) => {
            Some("nul")
        }
        Ok(Ok(fields)) => fault(&fields),
    }
}

fn null(fields: &Map<String, Value>, required: &[&str]) -> bool {
    required.iter().any(|name| fields.get(*name).is_none_or(Value::is_null))
}

fn not_number(fields: &Map<String, Value>, numeric: &[&str]) -> bool {
    numeric.iter().filter_map(|name| fields.get(*name)).any(|value| !value.is_null() && !value.is_number())
}

const SEGMENTS: [&str; 5] = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"];

fn customer_fault(fields: &Map<String, Value>) -> Option<&'static str> {
    if null(fields, &["customer_key", "name", "nation_key", "market_segment"]) {
        return Some("missing");
    }
    if not_number(fields, &["customer_key", "nation_key", "account_balance"]) {
        return Some("wrong type");
    }
    if !SEGMENTS.contains(&fields["market_segment"].as_str().unwrap()) {
        return Some("rule");
    }
    let cents = fields["account_balance"].to_string();
    assert!(cents.rsplit_once('.').is_none_or(|(_, digits)| digits.len() <= 2), "{cents}");
    (fields.len() > 9).then_some("unknown field")
}

fn row_fault(row: &CustomerRow) -> Option<&'static str> {
    match row {
        CustomerRow { customer_key: None, .. } | CustomerRow { name: None, .. } => Some("missing"),
        CustomerRow { nation_key: None, .. } | CustomerRow { market_segment: None, .. } => Some("missing"),
        CustomerRow { market_segment: Some(segment), .. } if !SEGMENTS.contains(&segment.as_str()) => Some("rule"),
        row => row.loyalty_tier.is_some().then_some("unknown field"),
    }
}

fn bad_time(value: &Value) -> bool {
    value.as_str().is_none_or(|text| chrono::DateTime::parse_from_rfc3339(text).is_err())
}

fn click_fault(fields: &Map<String, Value>) -> Option<&'static str> {
    if null(fields, &["event_id", "event_type", "event_time", "url"]) {
        return Some("missing");
    }
    if not_number(fields, &["duration_ms"]) {
        return Some("wrong type");
    }
    if bad_time(&fields["event_time"]) {
        return Some("bad time");
    }
    let types = ["page_view", "click", "search", "add_to_cart", "purchase"];
    if !types.contains(&fields["event_type"].as_str().unwrap()) {
        return Some("rule");
    }
    if fields["duration_ms"].as_i64().is_some_and(|duration| duration < 0) {
        return Some("warning");
    }
    (fields.len() > 10).then_some("unknown field")
}

fn reading_fault(fields: &Map<String, Value>) -> Option<&'static str> {
    let measures = ["temperature_f", "dew_point", "humidity", "wind_direction", "wind_speed", "wind_gust"];
    if null(fields, &["station", "time"]) {
        return Some("missing");
    }
    if not_number(fields, &measures) {
        return Some("wrong type");
    }
    if bad_time(&fields["time"]) {
        return Some("bad time");
    }
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    if number("wind_speed").is_some_and(|speed| speed >= 200.0) {
        return Some("real");
    }
    if number("humidity").is_some_and(|humidity| !(0.0..=100.0).contains(&humidity)) {
        return Some("rule");
    }
    fields.contains_key("battery").then_some("unknown field")
}

/// The source's field names: `from`, or else `name`, of each `[[columns]]`. The files are ours and plainly written.
fn contract_fields(toml: &str) -> BTreeSet<String> {
    let columns = toml.split("\n[[").filter_map(|section| section.strip_prefix("columns]]"));
    let value = |section: &str, key: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    columns.map(|section| value(section, "from").or_else(|| value(section, "name")).unwrap()).collect()
}
