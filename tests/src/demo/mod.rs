//! `weir demo`, as a user runs it, and then read by programs that share no code with Weir.

/// The generator's own tests: the binary has no test build.
#[path = "../../../functions/commands/demo/data/mod.rs"]
mod data;

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::python;
use crate::support::weir_binary;

const DATASETS: [&str; 4] = ["clickstream", "customers", "sales", "sensors"];
const COUNTS: [&str; 9] = [
    "records_in",
    "committed",
    "quarantined",
    "already_committed",
    "table_rows",
    "distinct_positions",
    "files_before_compaction",
    "files_after_compaction",
    "warehouse_rows",
];

/// Rows, distinct positions of the table, the same of its quarantine, and positions that are in both; one line a table.
const READ: &str = r#"
import sys
from deltalake import DeltaTable, QueryBuilder

lake, datasets = sys.argv[1], sys.argv[2:]
positions = "SELECT DISTINCT _source, _source_version, _source_position FROM"
for name in datasets:
    query = QueryBuilder()
    query.register("t", DeltaTable(f"{lake}/{name}")).register("q", DeltaTable(f"{lake}/{name}__quarantine"))
    def count(rows):
        return query.execute(f"SELECT count(*) AS n FROM ({rows})").read_all()["n"][0].as_py()
    print(name, count("SELECT 1 FROM t"), count(f"{positions} t"), count("SELECT 1 FROM q"), count(f"{positions} q"),
          count(f"{positions} t INTERSECT {positions} q"))
"#;

#[test]
fn balances_for_itself_and_for_an_independent_reader() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let books = run(&dir);
    for (name, line) in DATASETS.iter().zip(&books) {
        let count = |key: &str| line[key].as_u64().unwrap();
        assert!(count("committed") > 1_000 && count("quarantined") > 0, "{line:?}");
        assert_eq!(count("records_in"), count("committed") + count("quarantined") + count("already_committed"));
        assert_eq!(count("table_rows"), count("committed"), "{name}");
        assert_eq!(count("distinct_positions"), count("table_rows"), "{name}");
        assert_eq!(count("warehouse_rows"), count("table_rows"), "{name}");
        // Where blobs shared their commits there may be too few files to be worth one.
        assert!(count("files_before_compaction") >= count("files_after_compaction"), "{line:?}");
        assert!(count("files_after_compaction") > 0, "{line:?}");
    }
    let files = |key: &str| books.iter().map(|line| line[key].as_u64().unwrap()).sum::<u64>();
    assert!(files("files_before_compaction") > files("files_after_compaction"), "{books:?}");
    assert!(books.iter().any(|line| line["already_committed"] != 0), "nothing was delivered twice");
    delta_agrees(&dir.join("lake"), &books);
    sqlite_agrees(&dir.join("warehouse.db"), &books);
}

/// The lines of the datasets, in order.
fn run(dir: &Path) -> Vec<Map<String, Value>> {
    let output = Command::new(weir_binary()).args(["demo", "--json", "--dir"]).arg(dir).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {stdout}{stderr}", output.status);
    let answer: Map<String, Value> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(keys(&answer), ["balanced", "datasets"]);
    assert_eq!(answer["balanced"], true);
    let lines = answer["datasets"].as_array().unwrap().iter().map(|line| line.as_object().unwrap().clone());
    let lines: Vec<_> = lines.collect();
    for line in &lines {
        assert_eq!(keys(line), [&["name"][..], &COUNTS].concat());
        assert!(COUNTS.iter().all(|key| line[*key].is_u64()), "{line:?}");
    }
    let names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, DATASETS);
    lines
}

fn keys(object: &Map<String, Value>) -> Vec<&str> {
    object.keys().map(String::as_str).collect()
}

fn delta_agrees(lake: &Path, books: &[Map<String, Value>]) {
    let arguments: Vec<&str> = [lake.to_str().unwrap()].into_iter().chain(DATASETS).collect();
    let read = python::run(READ, &arguments);
    let expected: Vec<String> = books
        .iter()
        .map(|line| {
            let (name, rows, quarantined) = (line["name"].as_str().unwrap(), &line["table_rows"], &line["quarantined"]);
            format!("{name} {rows} {rows} {quarantined} {quarantined} 0")
        })
        .collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
}

fn sqlite_agrees(file: &Path, books: &[Map<String, Value>]) {
    let warehouse = rusqlite::Connection::open(file).unwrap();
    let count = |sql: String| warehouse.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap();
    for (name, line) in DATASETS.iter().zip(books) {
        assert_eq!(count(format!("SELECT count(*) FROM {name}")), line["warehouse_rows"]);
        let positions = format!("SELECT DISTINCT _source, _source_version, _source_position FROM {name}");
        assert_eq!(count(format!("SELECT count(*) FROM ({positions})")), line["warehouse_rows"]);
    }
}

/// A folder that some other program made is not cleared.
#[test]
fn leaves_other_peoples_folders_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.md"), "years").unwrap();
    let output = Command::new(weir_binary()).args(["demo", "--dir"]).arg(folder.path()).output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("give --dir another folder"), "{stderr}");
    assert_eq!(std::fs::read_to_string(folder.path().join("thesis.md")).unwrap(), "years");
}
