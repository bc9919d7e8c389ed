//! Files of others that were read wrong once, each with the right value.

use serde_json::{Value, json};
use weir_transform::Output;

use super::super::{clean, refused};
use super::{case, read_path, rescued};

fn of(name: &str) -> Output {
    let (contract, path) = case(name);
    read_path(&contract, &path)
}

#[test]
fn categories_are_their_texts() {
    assert_eq!(clean(&of("categorical_text")), ["1: 1|red", "2: 2|gr\"een", "3: 3|~"]);
}

#[test]
fn lists_of_a_fixed_size_are_whole() {
    let output = of("fixed_size_list");
    let text = output.clean.column("embedding").unwrap().str().unwrap().get(0).unwrap().to_owned();
    let numbers: Vec<f32> = serde_json::from_str(&text).unwrap();
    let expected: Vec<f32> = (0..384).map(|index| (f64::from(index) / 7.0) as f32).collect();
    assert_eq!((numbers, output.clean.height()), (expected, 2));
}

#[test]
fn zoned_instants_are_utc() {
    assert_eq!(clean(&of("zoned_timestamp_as_text")), ["1: 1|2024-10-27T00:30:00Z", "2: 2|2024-10-27T01:30:00Z"]);
    let output = of("half_hour_offset");
    assert_eq!(rescued(&output), vec![json!({"at": "2021-06-09T03:02:00Z"}); 2]);
}

#[test]
fn int96_has_its_full_range() {
    let output = of("int96_sentinels");
    assert_eq!(refused(&output), Vec::<String>::new());
    let rows = clean(&output);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().any(|row| row.ends_with("|9999-12-31 23:59:59 UTC")), "{rows:?}");
    assert!(rows.iter().any(|row| row.ends_with("|0001-01-01 00:00:00 UTC")), "{rows:?}");
}

#[test]
fn repeated_fields_without_a_list_are_lists() {
    assert_eq!(clean(&of("repeated_without_list")), ["1: 1|[7,8]", "2: 2|[]", "3: 3|[9]"]);
}

#[test]
fn small_unsigned_integers_and_lists_of_bytes_are_rescued() {
    let output = of("small_unsigned_integers");
    assert_eq!(rescued(&output), [json!({"flags": 1, "port": 80}), json!({"flags": 255, "port": 65535})]);
    let output = of("list_of_bytes_panics");
    assert_eq!(rescued(&output), [json!({"v": [1, 2]}), json!({"v": [3]})]);
}

#[test]
fn dates_that_arrow_notes_as_instants_are_dates() {
    assert_eq!(clean(&of("date64_of_arrow")), ["1: 1|2020-02-29", "2: 2|1500-01-01"]);
}

#[test]
fn a_footer_that_contradicts_itself_refuses_the_file() {
    let output = of("footer_says_no_rows");
    let expected = "1: the Parquet file's footer is damaged: it counts 0 rows, and its row groups together 3";
    assert_eq!(refused(&output), [expected]);
}

#[test]
fn rows_behind_a_broken_page_are_counted_and_judged() {
    let (contract, path) = case("rows_behind_a_broken_page");
    let output = read_path(&contract, &path);
    assert_eq!(output.records, 100_000);
    let lost = output.quarantined.height();
    assert_eq!(lost, 20_000, "one row group of five");
    let reason = output.report.reasons.keys().next().unwrap();
    assert!(
        reason.starts_with("field `id` (INT64): rows ") && reason.contains("of the file cannot be read"),
        "{reason}"
    );
    let held_back = output.report.verdict(&contract).unwrap();
    assert!(held_back.report[0].contains("20000 of 100000 records are faulty"), "{:?}", held_back.report);
    // Every row is itself, sound or not.
    let positions = |frame: &polars::prelude::DataFrame| -> Vec<i64> {
        frame.column("_source_position").unwrap().i64().unwrap().iter().flatten().collect()
    };
    let mut all = [positions(&output.clean), positions(&output.quarantined)].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=100_000).collect::<Vec<i64>>());
    let ids = output.clean.column("id").unwrap().i64().unwrap().clone();
    assert!(ids.iter().flatten().zip(positions(&output.clean)).all(|(id, position)| id + 1 == position));
}

#[test]
fn what_was_rescued_is_json_of_values() {
    for name in ["half_hour_offset", "small_unsigned_integers", "list_of_bytes_panics"] {
        assert!(rescued(&of(name)).iter().all(|row| !matches!(row, Value::Null)), "{name}");
    }
}
