//! Quality rules: what they decide, and which are refused when the contract is compiled.

use weir_contract::RuleAction::{Fail, Label, Quarantine, Warn};
use weir_contract::{DataType, FormatKind};
use weir_transform::{ErrorKind, RuleCount, Transform};

use super::{clean, column, contract, lineage, orders, quarantined, refused, rule, run_csv, transform};

#[test]
fn null_passes_warnings_count_and_quarantine_moves() {
    let mut contract = orders();
    contract.rules = vec![
        rule("positive", "price > 0", Quarantine),
        rule("named", "name IS NOT NULL", Warn),
        rule("short", "LENGTH(name) < 3 AND name NOT IN ('zz', 'yy')", Quarantine),
    ];
    let output = run_csv(&contract, b"id,name,price,day\n1,a,1,\n2,,,\n3,long,0,\nx,,-1,\n5,zz,1,\n");
    assert_eq!(clean(&output), ["1: 1|a|1.00|~", "2: 2|~|~|~"]);
    // A record that is faulty already is not judged.
    assert_eq!(refused(&output), ["3: rule `positive`; rule `short`", "4: column `id`: not a long", "5: rule `short`"]);
    assert_eq!(output.report.rules["named"], RuleCount { action: "warn".to_owned(), violations: 1 });
    assert_eq!(output.held_back, None);
    assert_eq!(quarantined(&output)[0].2, b"3,long,0,");
}

#[test]
fn fail_holds_the_chunk_back_and_the_rest_of_its_blob_can_follow() {
    let mut contract = orders();
    contract.rules = vec![rule("dated", "day >= DATE '2020-01-01'", Fail)];
    let sound = run_csv(&contract, b"id,name,price,day\n1,a,1,2024-01-01\n");
    assert_eq!((sound.clean.height(), sound.held_back), (1, None));

    let output = run_csv(&contract, b"id,name,price,day\n1,a,1,2024-01-01\n2,b,1,2019-12-31\n3,,x,\n");
    assert_eq!(output.held_back.as_deref(), Some("dated"));
    assert_eq!(clean(&output), ["1: 1|a|1.00|2024-01-01"], "the caller holds it back");
    assert_eq!(refused(&output), ["2: rule `dated`", "3: column `price`: not a decimal(9,2)"]);

    let all = transform(&contract).hold_back("dated");
    let layout = all.csv_layout(Some(b"id,day,price")).unwrap();
    let output = all.csv(&layout, b"4,,\n5,2019-12-31,\n6,,x\n", 4, &lineage()).unwrap();
    assert_eq!(output.held_back.as_deref(), Some("dated"));
    assert_eq!(
        refused(&output),
        ["4: held back by rule `dated`", "5: rule `dated`", "6: column `price`: not a decimal(9,2)"]
    );
    assert_eq!((output.clean.height(), output.report.faulty), (0, 3));
}

#[test]
fn labels_stay_with_their_rows() {
    let mut contract = orders();
    contract.rules = vec![
        rule("cheap", "price > 1", Label),
        rule("positive", "price > 0", Quarantine),
        rule("named", "name IS NOT NULL", Label),
        rule("dated", "day IS NOT NULL", Warn),
    ];
    let output = run_csv(&contract, b"id,name,price,day\n1,a,2,\n2,,1,\n3,,0,\nx,,1,\n5,,,\n");
    assert_eq!(
        clean(&output),
        ["1: 1|a|2.00|~", "2: 2|~|1.00|~|_labels=[\"cheap\",\"named\"]", "5: 5|~|~|~|_labels=[\"named\"]"]
    );
    assert_eq!(refused(&output), ["3: rule `positive`", "4: column `id`: not a long"]);
    let counts: Vec<String> = output
        .report
        .rules
        .iter()
        .map(|(rule, count)| format!("{rule}: {} {}", count.action, count.violations))
        .collect();
    assert_eq!(counts, ["cheap: label 2", "dated: warn 4", "named: label 3", "positive: quarantine 1"]);
    contract.rules.truncate(1);
    let output = run_csv(&contract, b"id,name,price,day\n1,a,2,\n");
    assert_eq!(output.clean.column("_labels").unwrap().null_count(), 1, "the column is there all the same");
}

#[test]
fn a_rule_that_cannot_be_evaluated_loses_and_fails_nothing() {
    let mut contract = orders();
    contract.columns.push(column("code", weir_contract::DataType::String));
    // A cast that fails gives null; a text that is no pattern cannot be evaluated at all.
    contract.rules =
        vec![rule("cast", "CAST(code AS BIGINT) > 5", Quarantine), rule("pattern", "name RLIKE code", Warn)];
    let output = run_csv(&contract, b"id,name,code\n1,a,7\n2,a,x\n3,a,3\n4,a,(\n");
    assert_eq!(output.records, 4);
    assert_eq!(refused(&output), ["3: rule `cast`"]);
    assert_eq!(output.report.rules["pattern"].violations, 4);
    assert_eq!(output.clean.height(), 3);
}

#[test]
fn rules_see_values_before_privacy() {
    let mut contract = orders();
    contract.columns[1].personal = Some(weir_contract::Treatment::Drop);
    contract.rules = vec![rule("known", "name = 'a'", Quarantine)];
    let output = run_csv(&contract, b"id,name\n1,a\n2,b\n");
    assert_eq!((clean(&output), refused(&output)), (vec!["1: 1|~|~".to_owned()], vec!["2: rule `known`".to_owned()]));
}

#[test]
fn many_forms_of_condition_work() {
    for expr in [
        "id BETWEEN 1 AND 10",
        "id IN (1, 2, 3)",
        "id NOT IN (7)",
        "name LIKE 'a%'",
        "name ~ '^a+$'",
        "UPPER(name) = 'A'",
        "COALESCE(name, 'a') = 'a'",
        "CASE WHEN price > 1 THEN name = 'a' ELSE TRUE END",
        "NOT (id = 2) AND (price + 1) * 2 > 0",
        "day < DATE '2030-01-01'",
        "EXTRACT(YEAR FROM day) = 2024",
        "ABS(price) >= 2.5",
        "price >= 2.5 OR price IS NULL",
        "ROUND(price, 0) < 100",
        "STARTS_WITH(name, 'a')",
        "LENGTH(TRIM(name)) > 0",
    ] {
        let mut contract = orders();
        contract.rules = vec![rule("r", expr, Quarantine)];
        let output = run_csv(&contract, b"id,name,price,day\n1,a,2.5,2024-01-01\n");
        assert_eq!(output.clean.height(), 1, "{expr}: {:?}", refused(&output));
    }
}

#[test]
fn what_is_no_condition_on_one_record_is_refused_with_line_and_remedy() {
    for (expr, part) in [
        ("colour = 'red'", "unknown column `colour`"),
        ("name = \"a\"", "single quotes"),
        ("price + 1", "not a boolean"),
        ("day < '2030-01-01'", "DATE '2024-01-31'"),
        ("price >", "unable to parse"),
        ("price > 0; DROP TABLE x", "unexpected"),
        ("1 = 1", "names no column"),
        ("price > AVG(price)", "aggregate"),
        ("COUNT(*) > 0", "not allowed"),
        ("SUM(price) OVER (PARTITION BY name) > 0", "not allowed"),
        ("id IN (SELECT id FROM other)", ""),
        ("RANDOM() > id", ""),
        ("name > id", ""),
        ("*", ""),
        ("", ""),
    ] {
        let mut contract = orders();
        contract.rules = vec![rule("odd", expr, Warn)];
        let error = Transform::new(&contract, None).expect_err(expr);
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Contract, "{text}");
        assert!(text.starts_with("rule `odd` (line 7): ") && text.contains(part), "{expr}: {text}");
    }
}

/// The engine fails a whole chunk for one record; the others are judged all the same.
#[test]
fn only_the_records_on_which_a_rule_cannot_be_evaluated_are_refused_for_it() {
    let decimal = DataType::Decimal { precision: 38, scale: 2 };
    let mut contract = contract(vec![
        column("id", DataType::Long),
        column("a", decimal),
        column("b", decimal),
        column("n", DataType::Long),
    ]);
    contract.format.kind = FormatKind::Csv;
    let huge = "99999999999999999999999999999999999.99";
    let text: String = (1..=1000)
        .map(|id| match id {
            1 | 500 | 501 | 1000 => format!("{id},1,0,0\n"),
            8 => format!("{id},0.5,1,1\n"),
            77 => format!("{id},{huge},{huge},1\n"),
            _ => format!("{id},{id},1,1\n"),
        })
        .collect();
    let text = format!("id,a,b,n\n{text}");
    let unknown = |rows: &[u32]| rows.iter().map(|row| (*row, "rule `r`: cannot be evaluated")).collect::<Vec<_>>();
    let violated = (8, "rule `r`");
    let with = |rows: &[u32]| {
        let mut all = unknown(rows);
        all.push(violated);
        all.sort_unstable();
        all
    };
    for (expr, expected) in [
        ("a / b >= 1", with(&[1, 500, 501, 1000])),
        ("(a / b) * 2 >= 2", with(&[1, 500, 501, 1000])),
        ("a * a * a >= 1", with(&[77])),
        // Where a condition says when it is asked.
        ("CASE WHEN a < 1 THEN FALSE ELSE TRUE END", vec![violated]),
    ] {
        for action in [Quarantine, Fail] {
            contract.rules = vec![rule("r", expr, action)];
            let output = run_csv(&contract, text.as_bytes());
            let told = expected.iter().map(|(row, reason)| format!("{row}: {reason}")).collect::<Vec<_>>();
            assert_eq!(refused(&output), told, "{expr}");
            assert_eq!(output.report.rules["r"].violations, expected.len() as u64, "{expr}");
            assert_eq!(output.held_back.is_some(), action == Fail, "{expr}");
        }
        contract.rules = vec![rule("r", expr, Warn), rule("sound", "id > 0", Quarantine)];
        let output = run_csv(&contract, text.as_bytes());
        assert_eq!(
            (output.clean.height(), output.report.rules["r"].violations),
            (1000, expected.len() as u64),
            "{expr}"
        );
    }
}
