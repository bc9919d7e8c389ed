//! How much may be faulty: reports of chunks, merged and judged.

use proptest::prelude::*;
use weir_contract::RuleAction::{Fail, Quarantine, Warn};
use weir_contract::{Contract, Share};
use weir_transform::QualityReport;

use super::{checked, lineage, orders, refused, rule, run_csv, run_ndjson, transform};

fn allowing(millionths: u32, min_records: u64) -> Contract {
    let mut contract = orders();
    contract.quality.max_faulty = Share::from_millionths(millionths);
    contract.quality.min_records = min_records;
    contract
}

fn counted(records: u64, faulty: u64) -> QualityReport {
    QualityReport { records, faulty, ..QualityReport::default() }
}

#[test]
fn a_report_counts_records_reasons_and_rules() {
    let mut contract = orders();
    contract.rules = vec![rule("positive", "price > 0", Quarantine), rule("named", "name IS NOT NULL", Warn)];
    let output = run_csv(&contract, b"id,name,price,day\n1,a,1,\nx,a,y,\nx,a,1,\n4,,0,\n5,,-1,\n6\n");
    let json = serde_json::to_value(&output.report).unwrap();
    let expected = serde_json::json!({
        "records": 6,
        "faulty": 5,
        "reasons": {
            "1 fields, expected 4": 1,
            "column `id`: not a long": 2,
            "column `price`: not a decimal(9,2)": 1,
            "rule `positive`": 2,
        },
        "rules": {
            "named": {"action": "warn", "violations": 2},
            "positive": {"action": "quarantine", "violations": 2},
        },
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<QualityReport>(json).unwrap(), output.report);
    let twice = run_ndjson(&contract, b"{\"id\":1,\"id\":2,\"id\":3}\n{\"id\":1,\"id\":2}\n");
    assert_eq!(twice.report.reasons.get("column `id`: given twice"), Some(&2), "a record counts once");
    let refusal: [(&[u8], i64, String); 2] = [(b"", 1, "too long".to_owned()), (b"", 2, "too long".to_owned())];
    let output = checked(&contract, transform(&contract).quarantine_records(&refusal, &lineage()).unwrap());
    assert_eq!(output.report.reasons.get("too long"), Some(&2));
}

#[test]
fn a_share_is_exceeded_exactly() {
    let cases = [
        (50_000, 1000, 50, false),
        (50_000, 1000, 51, true),
        (290_000, 100, 29, false),
        (290_000, 100, 30, true),
        (0, 100, 0, false),
        (0, 100, 1, true),
        (1_000_000, 100, 100, false),
        (0, 99, 99, false),
        (1, u64::MAX, u64::MAX / 1_000_000, false),
        (1, u64::MAX, u64::MAX / 1_000_000 + 1, true),
    ];
    for (millionths, records, faulty, held_back) in cases {
        let verdict = counted(records, faulty).verdict(&allowing(millionths, 100));
        assert_eq!(verdict.is_some(), held_back, "{faulty} of {records}, {millionths}");
    }
    assert!(counted(1, 1).verdict(&allowing(0, 0)).is_some());
    assert!(counted(0, 0).verdict(&allowing(0, 0)).is_none());
    assert!(counted(1000, 1000).verdict(&orders()).is_none(), "no limit, no verdict");
    assert!(Share::from_millionths(1_000_001).is_none());
}

#[test]
fn a_blob_that_is_held_back_leaves_one_record_that_says_why() {
    let mut contract = allowing(2_500, 5);
    contract.rules = vec![rule("dated", "day IS NOT NULL", Fail), rule("cheap", "price < 5", Fail)];
    let rows = b"id,name,price,day\n1,a,1,2024-01-01\nx,,y,z\nx,,y,z\nx,,y,\nx,,,\n6,,,\n7,,,\n8,,9,\n";
    let output = run_csv(&contract, rows);
    let held_back = output.report.verdict(&contract).unwrap();
    let record = transform(&contract).held_back_record(&held_back, &lineage()).unwrap();
    assert_eq!((record.clean.height(), record.records, &record.report), (0, 1, &QualityReport::default()));
    assert_eq!(
        refused(&record),
        ["0: held back: 3 of 8 records violate rule `dated`, whose action is `fail`; \
          held back: 1 of 8 records violate rule `cheap`, whose action is `fail`; \
          held back: 7 of 8 records are faulty, the contract allows 0.25 %; \
          4 records: column `id`: not a long; 3 records: column `price`: not a decimal(9,2); \
          3 records: rule `dated`; 2 records: column `day`: not a date; 1 record: rule `cheap`"]
    );
    let columns: Vec<String> = record.quarantined.columns().iter().map(|column| column.name().to_string()).collect();
    let wanted: Vec<String> = contract.quarantine_columns().into_iter().map(|column| column.name).collect();
    assert_eq!(columns, wanted);
    contract.rules.clear();
    contract.quality.min_records = 9;
    assert_eq!(output.report.verdict(&contract), None, "too few to judge, and no such rule any more");
}

#[test]
fn many_reasons_keep_the_most_frequent() {
    let contract = orders();
    let mut whole = QualityReport::default();
    for chunk in 0..3 {
        let lines: String = (5..200 + chunk).map(|fields| ",".repeat(fields - 1) + "\n").collect();
        let output = run_csv(&contract, format!("id,name,price,day\n{lines}x\nx,,,\nx,,,\n").as_bytes());
        assert!(output.report.reasons.len() <= 100);
        whole.merge(output.report);
    }
    assert_eq!(whole.reasons.len(), 100);
    assert_eq!(whole.reasons.get("column `id`: not a long"), Some(&9), "with the short record");
    let counted: u64 = whole.reasons.values().sum::<u64>() + whole.other_reasons;
    assert!(counted >= whole.faulty && whole.faulty == whole.records);
}

proptest! {
    /// Parts are reported where they are read; together they are what the whole is.
    #[test]
    fn merged_parts_are_the_whole(lines in prop::collection::vec(prop::sample::select(vec!["1,a,1,", "x,a,,", "2,,0,", "3", "4,,,x"]), 0..60), cut in 0..60_usize) {
        let mut contract = allowing(100_000, 1);
        contract.rules = vec![rule("named", "name IS NOT NULL", Warn), rule("positive", "price > 0", Fail)];
        let run = |lines: &[&str]| run_csv(&contract, format!("id,name,price,day\n{}\n", lines.join("\n")).as_bytes()).report;
        let (left, right) = lines.split_at(cut.min(lines.len()));
        let whole = run(&lines);
        for (first, second) in [(left, right), (right, left)] {
            let mut merged = run(first);
            merged.merge(run(second));
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(merged.verdict(&contract), whole.verdict(&contract));
        }
    }
}
