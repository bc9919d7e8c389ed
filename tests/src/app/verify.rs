//! `weir verify`: what tables hold is what their sources give, or it is told which rows are not, and how to put them right.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use event_hubs_service::{HubLog, NewEvent};
use polars::prelude::*;
use serde_json::{Value, json};
use weir_contract::{position_of, sequence_of};
use weir_lake::{Append, Books, Producer, Replacement};

use super::bodies::gzip;
use super::command_line::weir;
use super::gaps::{Hub, deliver};
use super::handler::{Batch, Handler, books, http_envelope};
use super::large;
use super::site::{CLICKS, ORDERS, PEOPLE, Site};

static TAMPERED: AtomicU64 = AtomicU64::new(0);
const A: &str = "blob:landing/orders/a.csv";
const FILE: &str = "id,amount,note\n1,1.00,one\n2,2.00,two\n3,-3.00,three\n4,4.00,four\n";

/// Exit code and report; what is told to people in the same case.
fn verified(site: &Site, arguments: &[&str], extra: &[(&str, &str)]) -> (i32, Value, String) {
    let (told_code, told, stderr) = weir(site, &[&["verify"], arguments].concat(), extra);
    let (code, stdout, _) = weir(site, &[&["verify"], arguments, &["--json"]].concat(), extra);
    assert_eq!(code, told_code, "{told}{stderr}");
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")), told)
}

/// Nothing is said but that, and the exit code is 0; returns how many records were compared.
fn assert_clean(site: &Site, arguments: &[&str], extra: &[(&str, &str)]) -> u64 {
    let (code, report, told) = verified(site, arguments, extra);
    let summary = format!(
        "{} records of {} sources compared: all rows are as their sources give them\n",
        report["records"], report["sources"]
    );
    assert_eq!((code, &*told, &report["equal"]), (0, &*summary, &json!(true)), "{report}");
    report["records"].as_u64().unwrap()
}

/// The exit code is 2, nothing is on stdout, and why is on stderr.
fn assert_error(site: &Site, arguments: &[&str], extra: &[(&str, &str)], why: &str) {
    let (code, stdout, stderr) = weir(site, &[&["verify"], arguments].concat(), extra);
    assert_eq!((code, &*stdout), (2, ""), "{arguments:?}: {stderr}");
    assert!(stderr.contains(why), "{arguments:?}: {stderr}");
}

/// Puts other rows in place of those that a table has of a source (of an event, by its number), with a lineage that says nothing of it.
async fn tamper(
    site: &Site,
    table: &str,
    source: &str,
    positions: RangeInclusive<i64>,
    edit: impl Fn(DataFrame) -> DataFrame,
) {
    let rows = site.frames(table).await.into_iter().map(|frame| {
        let position = frame.column("_source_position").unwrap().i64().unwrap();
        let position: Int64Chunked = position.iter().map(|position| position.map(sequence_of)).collect();
        let mine = frame.column("_source").unwrap().str().unwrap().equal(source);
        let mask = mine & position.gt_eq(*positions.start()) & position.lt_eq(*positions.end());
        edit(frame.filter(&mask).unwrap())
    });
    let rows: Vec<DataFrame> = rows.filter(|frame| frame.height() > 0).collect();
    let table = site.table(table).await.unwrap();
    let mut writer = table.write();
    for frame in rows {
        writer.write(frame).await.unwrap();
    }
    let producer =
        Producer { id: format!("tamper:{}", TAMPERED.fetch_add(1, Ordering::Relaxed)), version: 1, expires: true };
    let rows = writer.finish().await.unwrap();
    let replacement =
        Replacement { source: source.to_owned(), positions: Some(positions), producer, rows, books: Books::default() };
    table.replace_source(replacement).await.unwrap();
}

fn with_text(mut frame: DataFrame, column: &str, text: &str) -> DataFrame {
    let values = vec![text; frame.height()];
    frame.with_column(Column::new(column.into(), values)).unwrap();
    frame
}

/// Position, kind and columns of the rows that are told of a source.
fn rows(report: &Value, source: &str) -> Vec<(i64, String, Vec<String>)> {
    let told = report["differences"][source]["rows"].as_array().unwrap_or_else(|| panic!("{report}"));
    let strings = |value: &Value| {
        let texts = value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned());
        texts.collect::<Vec<_>>()
    };
    let row = |row: &Value| {
        (row["position"].as_i64().unwrap(), row["kind"].as_str().unwrap().to_owned(), strings(&row["columns"]))
    };
    told.iter().map(row).collect()
}

fn row(position: i64, kind: &str, columns: &[&str]) -> (i64, String, Vec<String>) {
    (position, kind.to_owned(), columns.iter().map(|column| (*column).to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_as_ingested_are_silent() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    assert_eq!(assert_clean(&site, &["orders"], &[]), 0, "there is no table yet");
    for name in ["a", "b", "c"] {
        handler.ingest(&site.put(&format!("orders/{name}.csv"), FILE).await).await;
    }
    // Of several versions, with a blob that is held back whole, one that is empty, and one that went with its rows.
    handler.ingest(&site.put("orders/a.csv", FILE.replace("one", "1st")).await).await;
    handler.ingest(&site.put("orders/empty.csv", "id,amount,note\n").await).await;
    handler.ingest(&site.put("orders/no_header.csv", "1;2;3\n4;5;6\n").await).await;
    handler
        .ingest(
            &site.put("stock/a.ndjson", "{\"item\":\"x\",\"pieces\":1}\n{\"item\":\"y\",\"pieces\":9999999}\n").await,
        )
        .await;
    handler
        .ingest(&site.put("stock/b.ndjson", "{\"item\":\"x\",\"pieces\":1}\n{\"item\":\"y\",\"pieces\":-1}\n").await)
        .await;
    let people = "{\"id\":1,\"email\":\"a@example.org\",\"name\":\"Ada\",\"phone\":\"1\",\"extra\":5}\n{\"id\":2}\n";
    handler.ingest(&site.put("people/a.ndjson", people).await).await;
    assert_eq!(assert_clean(&site, &["orders"], &[]), 14);
    assert_eq!(assert_clean(&site, &["orders", "--source", "orders/b.csv"], &[]), 4);
    // No pattern has brackets.
    for nothing in ["orders/[ab].csv", "**/nothing*", "orders/nothing.csv", ""] {
        assert_error(&site, &["orders", "--source", nothing], &[], "hold nothing of what is asked for");
    }
    assert_eq!(assert_clean(&site, &["orders", "--source", "orders/?.csv"], &[]), 12);
    assert_eq!(assert_clean(&site, &["stock"], &[]), 3, "one record stands for the blob that is held back");
    assert_eq!(assert_clean(&site, &["people"], &[]), 2);
    // Also of compacted files, whose rows are in another order, and beside a running app.
    let logs = site.log("orders").len();
    assert_clean(&site, &["orders"], &[]);
    assert_eq!(site.log("orders").len(), logs, "it writes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_that_differs_is_told_with_what_puts_it_right() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    for name in ["a", "b"] {
        handler.ingest(&site.put(&format!("orders/{name}.csv"), FILE).await).await;
    }
    // A value, a row, a row too many, one twice, a refused record that is not what came, and one that was taken as well.
    tamper(&site, "orders", A, 1..=1, |frame| with_text(frame, "note", "other")).await;
    tamper(&site, "orders", A, 2..=2, |frame| frame.head(Some(0))).await;
    tamper(&site, "orders", A, 4..=4, |frame| {
        let mut more = frame.clone();
        let positions = vec![99_i64; more.height()];
        more.with_column(Column::new("_source_position".into(), positions)).unwrap();
        frame.vstack(&frame).unwrap().vstack(&more).unwrap()
    })
    .await;
    tamper(&site, "orders__quarantine", A, 3..=3, |mut frame| {
        let raw = vec![b"3,-3.00,altered".as_slice(); frame.height()];
        frame.with_column(Column::new("_raw".into(), raw)).unwrap();
        let mut as_well = frame.clone();
        as_well.with_column(Column::new("_source_position".into(), vec![1_i64; frame.height()])).unwrap();
        frame.vstack(&as_well).unwrap()
    })
    .await;
    let (code, report, told) = verified(&site, &["orders"], &[]);
    assert_eq!(code, 1);
    let found = rows(&report, A);
    let expected = [
        row(1, "differs", &["note"]),
        row(1, "extra", &[]),
        row(2, "missing", &[]),
        row(3, "differs", &["_raw"]),
        row(4, "extra", &[]),
        row(99, "extra", &[]),
    ];
    assert_eq!(found, expected, "{report}");
    assert_eq!(report["differences"].as_object().unwrap().len(), 1, "the other blob is as it was");
    let command = format!("POST /api/reprocess {}", json!({ "dataset": "orders", "path": "orders/a.csv" }));
    assert_eq!(report["differences"][A]["command"], command);
    assert!(told.contains(&format!("{A} at 1: differs in note\n")) && told.contains(&command), "{told}");
    // No value, unless it is asked for; what came with a refused record is never shown.
    assert!(!told.contains("other") && !report.to_string().contains("other"), "{told}");
    let (code, report, told) = verified(&site, &["orders", "--show-values"], &[]);
    assert_eq!(code, 1);
    let first = &report["differences"][A]["rows"][0];
    assert_eq!((&first["held"]["note"], &first["now"]["note"]), (&json!("other"), &json!("one")));
    assert!(told.contains("note: held \"other\", now \"one\"") && !told.contains("altered"), "{told}");
    // All are counted, whatever is told.
    let (_, report, _) = verified(&site, &["orders", "--limit", "1"], &[]);
    assert_eq!(rows(&report, A).len(), 1);
    assert_eq!(report["differences"][A]["counts"], json!({ "differs": 2, "missing": 1, "extra": 3 }));
    // The command does put it right.
    let body = json!({ "dataset": "orders", "path": "orders/a.csv" }).to_string();
    let answer = handler.post("reprocess", http_envelope("reprocess", Some(&body))).await;
    let tasks = answer.json()["Outputs"]["tasks"].clone();
    handler.queue("run_task", tasks[0].as_str().unwrap().as_bytes()).await.receipt();
    assert_eq!(assert_clean(&site, &["orders"], &[]), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_that_changed_moves_records_between_the_tables() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    handler.ingest(&site.put("orders/a.csv", FILE).await).await;
    handler.kill();
    site.contract("orders", &ORDERS.replace("amount > 0", "amount < 4"));
    let (code, report, _) = verified(&site, &["orders"], &[]);
    assert_eq!(code, 1);
    assert_eq!(rows(&report, A), [row(3, "takenNow", &[]), row(4, "refusedNow", &[])], "{report}");
    // A column that the table is to get, and one that it has and the contract has not.
    site.contract("orders", &ORDERS.replace("name = \"note\"", "name = \"remark\"\nfrom = \"note\""));
    let (code, report, _) = verified(&site, &["orders"], &[]);
    assert_eq!(code, 1);
    assert_eq!(rows(&report, A), [1, 2, 4].map(|at| row(at, "differs", &["remark"])), "{report}");
    // Reasons that are worded otherwise are none.
    site.contract("orders", &ORDERS.replace("amount_is_positive", "amount_is_above_zero"));
    let (code, report, told) = verified(&site, &["orders"], &[]);
    assert_eq!((code, &report["reworded"]), (0, &json!(1)));
    assert!(told.ends_with("; the reasons of 1 in quarantine are worded otherwise now\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_personal_columns_are_never_shown() {
    const MARK: &str = "zz-private-zz";
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let line = |id| format!("{{\"id\":{id},\"email\":\"{MARK}\",\"name\":\"{MARK}\",\"phone\":\"{MARK}\"}}\n");
    handler.ingest(&site.put("people/a.ndjson", line(1) + &line(2)).await).await;
    assert_clean(&site, &["people"], &[]);
    tamper(&site, "people", "blob:landing/people/a.ndjson", 1..=2, |frame| {
        with_text(with_text(frame, "email", MARK), "name", MARK)
    })
    .await;
    let (code, report, told) = verified(&site, &["people", "--show-values"], &[]);
    assert_eq!(code, 1);
    let expected = [1, 2].map(|at| row(at, "differs", &["email", "name"]));
    assert_eq!(rows(&report, "blob:landing/people/a.ndjson"), expected);
    assert!(!report.to_string().contains(MARK) && !told.contains(MARK), "{told}");
    // Nor what a contract makes of them now, of which an earlier one has left pseudonyms and masks.
    for before in ["pseudonym", "mask"] {
        site.contract("people", &PEOPLE.replace(&format!("personal = \"{before}\""), "personal = \"drop\""));
        let (code, report, told) = verified(&site, &["people", "--show-values"], &[]);
        assert_eq!(code, 1, "{told}");
        for found in [report.to_string(), told] {
            assert!(!found.contains(MARK) && !found.contains("p1:") && !found.contains("**"), "{before}: {found}");
        }
    }
    // What is told of a column that is not personal stands beside them.
    site.contract("people", PEOPLE);
    tamper(&site, "people", "blob:landing/people/a.ndjson", 1..=1, |mut frame| {
        frame.with_column(Column::new("id".into(), [4711_i64])).unwrap();
        with_text(frame, "_rescued", MARK)
    })
    .await;
    let (_, report, told) = verified(&site, &["people", "--show-values"], &[]);
    let first = &report["differences"]["blob:landing/people/a.ndjson"]["rows"][0];
    assert_eq!((&first["held"], &first["now"]), (&json!({ "id": "4711" }), &json!({ "id": "1" })), "{report}");
    assert_eq!(first["columns"], json!(["id", "email", "name", "_rescued"]));
    assert!(!report.to_string().contains(MARK) && !told.contains(MARK), "{told}");
    // With another key all pseudonyms would differ, and no reprocessing could mend that.
    let key = "11b26d90c64461324989eb4a66fee497fed2dd6f36bc10ae4ec8548f414ea1c8";
    assert_error(&site, &["people"], &[("WEIR_PSEUDONYM_KEY", key)], "key");
}

/// A contract that changed concerns many blobs: of their rows some are told, all are counted, and one command is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_sources_all_are_counted_and_some_rows_are_told() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    for name in ["2026-\u{202e}a", "2026-b", "2026-c"] {
        handler.ingest(&site.put(&format!("orders/{name}.csv"), FILE).await).await;
    }
    site.contract("orders", &ORDERS.replace("name = \"note\"", "name = \"remark\"\nfrom = \"note\""));
    let (code, report, told) = verified(&site, &["orders", "--limit", "4"], &[]);
    assert_eq!((code, &report["differing"], &report["counts"]), (1, &json!(3), &json!({ "differs": 9 })), "{report}");
    let all: usize =
        report["differences"].as_object().unwrap().values().map(|found| found["rows"].as_array().unwrap().len()).sum();
    assert_eq!(all, 4);
    for found in report["differences"].as_object().unwrap().values() {
        assert_eq!((&found["counts"], &found["columns"]), (&json!({ "differs": 3 }), &json!(["remark"])));
    }
    let command = "POST /api/reprocess {\"dataset\":\"orders\",\"prefix\":\"orders/2026-\"}";
    assert_eq!(report["command"], command);
    assert!(told.contains(command) && told.ends_with("12 records of 3 sources compared: 3 sources differ\n"), "{told}");
    assert!(told.contains("\\u202ea.csv") && !told.contains('\u{202e}'), "{told}");
    // It does put them right.
    let handler = Handler::start(&site).await;
    let body = json!({ "dataset": "orders", "prefix": "orders/2026-" }).to_string();
    let answer = handler.post("reprocess", http_envelope("reprocess", Some(&body))).await;
    for task in answer.json()["Outputs"]["tasks"].as_array().unwrap() {
        handler.queue("run_task", task.as_str().unwrap().as_bytes()).await.receipt();
    }
    assert_eq!(assert_clean(&site, &["orders"], &[]), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_that_nobody_can_read_again_are_named() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    for name in ["gone", "changed", "same"] {
        handler.ingest(&site.put(&format!("orders/{name}.csv"), FILE).await).await;
    }
    site.delete("orders/gone.csv");
    site.put("orders/changed.csv", "id,amount,note\n9,9.00,nine\n").await;
    let (code, report, told) = verified(&site, &["orders"], &[]);
    assert_eq!((code, &report["sources"], &report["unverifiedCount"]), (0, &json!(1), &json!(2)), "{report}");
    assert!(told.contains("not verified: blob:landing/orders/gone.csv: the blob is gone\n"), "{told}");
    let changed = "not verified: blob:landing/orders/changed.csv: the blob was overwritten, and its newest version is not \
                   ingested yet; weir backfill orders\n";
    assert!(told.contains(changed), "{told}");
    assert!(weir(&site, &["backfill", "orders"], &[]).0 == 0);
    assert_eq!(verified(&site, &["orders"], &[]).1["unverifiedCount"], 1);
    // Rows of nobody.
    let mut row = site.frames("orders").await.remove(0).head(Some(1));
    row.with_column(Column::new("_source".into(), ["elsewhere"])).unwrap();
    let table = site.table("orders").await.unwrap();
    let producer = Producer { id: "somebody".to_owned(), version: 1, expires: true };
    let rows = table.stage(row).await.unwrap();
    table.append(Append { producer, rows, books: Books::default() }, None).await.unwrap();
    let (code, report, told) = verified(&site, &["orders"], &[]);
    assert_eq!((code, &report["strangers"]), (1, &json!({ "elsewhere": 1 })));
    assert!(told.contains("elsewhere: 1 rows that no ingestion brought"), "{told}");
    assert_eq!(verified(&site, &["orders", "--source", "orders/same.csv"], &[]).0, 0);
    // What cannot be asked is an error of its own.
    let wrong = [
        (&["nothing"][..], "nothing"),
        (&["orders", "--partition", "0", "--source", "x"], "--source"),
        (&["orders", "--limit", "10001"], "10001"),
        (&["orders", "--partition", "0"], "events"),
        (&["clicks"], "EventHub"),
    ];
    for (arguments, why) in wrong {
        assert_error(&site, arguments, &[], why);
    }
    // A data file that is gone.
    let files = fs::read_dir(site.path("lake/orders")).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "parquet"))
        .for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(weir(&site, &["verify", "orders"], &[]).0, 2);
}

/// Every version that was appended is a source of its own, and only the newest can be read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_append_the_newest_version_is_compared() {
    let site = Site::new();
    site.contract("orders", &ORDERS.replace("path = [", "on_overwrite = \"append\"\npath = ["));
    let handler = Handler::start(&site).await;
    handler.ingest(&site.put("orders/a@b.csv", FILE).await).await;
    handler.ingest(&site.put("orders/a@b.csv", FILE.replace("one", "1st")).await).await;
    let (code, report, told) = verified(&site, &["orders"], &[]);
    assert_eq!((code, &report["sources"], &report["unverifiedCount"]), (0, &json!(1), &json!(1)), "{report}");
    assert!(told.contains("this version of the blob was overwritten"), "{told}");
}

/// Read in parts, or piece by piece, and compared in more than one go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_blobs_are_compared_where_their_parts_stand() {
    const PART: i64 = 1 << 40;
    for (format, last) in [
        ("type = \"csv\"\nquoted_newlines = false\nsplit_bytes = 8_388_608", 2 * PART + 5),
        ("type = \"csv\"\nsplit_bytes = 8_388_608", 590_000),
    ] {
        let site = Site::new();
        site.contract("orders", &large::contract(format));
        let handler = Handler::start(&site).await;
        let lines: String = (0..600_000).map(|n| format!("{n},1.00,{n:020}\n")).collect();
        let message = site.put("orders/a.csv", format!("id,amount,note\n{lines}")).await;
        let mut waiting = large::tasks(&handler.queue("ingest_blob", &message).await);
        while let Some(task) = waiting.pop() {
            waiting.extend(large::tasks(&handler.queue("run_task", task.to_string().as_bytes()).await));
        }
        assert_eq!(assert_clean(&site, &["orders"], &[]), 600_000);
        tamper(&site, "orders", A, last..=last, |frame| with_text(frame, "note", "other")).await;
        tamper(&site, "orders", A, 7..=7, |frame| frame.head(Some(0))).await;
        let (code, report, _) = verified(&site, &["orders"], &[]);
        assert_eq!((code, rows(&report, A)), (1, vec![row(7, "missing", &[]), row(last, "differs", &["note"])]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_compared_as_a_replay_would_read_them() {
    let (site, hub) = (Site::new(), Hub::start(100).await);
    site.contract("clicks", &CLICKS.replace("n >= 0", "n >= 5"));
    let connection = hub.service.connection_string();
    let extra = [("EventHub", connection.as_str())];
    let handler = hub.handler(&site).await;
    deliver(&handler, 0..=79).await;
    handler.events(&Batch::counting(1, 0..=19)).await.receipt();
    assert_eq!(assert_clean(&site, &["clicks"], &extra), 100, "what is not committed yet is not asked for");
    let source = "eventhub:ns/clicks/0";
    tamper(&site, "clicks", source, 20..=20, |mut frame| {
        frame.with_column(Column::new("n".into(), [4711_i64])).unwrap();
        frame
    })
    .await;
    tamper(&site, "clicks", source, 30..=31, |frame| frame.head(Some(0))).await;
    tamper(&site, "clicks__quarantine", source, 2..=2, |frame| frame.head(Some(0))).await;
    let (code, report, told) = verified(&site, &["clicks"], &extra);
    assert_eq!(code, 1, "{told}");
    let expected =
        [row(2, "missing", &[]), row(20, "differs", &["n"]), row(30, "missing", &[]), row(31, "missing", &[])];
    assert_eq!(rows(&report, source), expected, "{report}");
    assert_eq!(report["differences"][source]["command"], "weir replay clicks --partition 0 --from 2 --to 31");
    for nothing in [&["--partition", "7"][..], &["--from", "80"], &["--partition", "1", "--from", "20"]] {
        assert_error(&site, &[&["clicks"], nothing].concat(), &extra, "hold nothing of what is asked for");
    }
    // A range, and another partition.
    assert_eq!(assert_clean(&site, &["clicks", "--partition", "1"], &extra), 20);
    assert_eq!(assert_clean(&site, &["clicks", "--partition", "0", "--from", "40", "--to", "49"], &extra), 10);
    let (_, report, _) = verified(&site, &["clicks", "--partition", "0", "--from", "25", "--to", "30"], &extra);
    assert_eq!(rows(&report, source), [row(30, "missing", &[])]);
    // The command puts it right.
    let replay = ["replay", "clicks", "--partition", "0", "--from", "2", "--to", "31"];
    assert_eq!(weir(&site, &replay, &extra).0, 0);
    assert_eq!(assert_clean(&site, &["clicks"], &extra), 100);
    let receipt = deliver(&handler, 80..=99).await;
    assert_eq!(books(&receipt), [20, 20, 0, 0]);
    assert_eq!(assert_clean(&site, &["clicks"], &extra), 120);
}

/// Rows whose events the hub has forgotten are counted, and not called wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_have_expired_are_not_verified() {
    use event_hubs_service::{MemoryLog, Retention};
    let log = MemoryLog::with_retention(2, Retention { events: Some(40), age_ms: None });
    let (site, hub) = (Site::new(), Hub::with(log, 40).await);
    let connection = hub.service.connection_string();
    let extra = [("EventHub", connection.as_str())];
    let handler = hub.handler(&site).await;
    deliver(&handler, 0..=39).await;
    let more: Vec<String> = (40..60).map(|n| json!({ "n": n }).to_string()).collect();
    hub.add(0, &more.iter().map(String::as_str).collect::<Vec<_>>());
    let (code, report, told) = verified(&site, &["clicks"], &extra);
    assert_eq!((code, &report["records"], &report["equal"]), (0, &json!(20), &json!(true)), "{report}");
    assert!(told.contains("eventhub:ns/clicks/0: the hub has these events no more: 20 rows"), "{told}");
}

/// Events that unpack to many times their size are compared a round at a time, and each row where it belongs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_many_records_are_compared_in_rounds() {
    const RECORDS: i64 = 40_000;
    let (site, hub) = (Site::new(), Hub::start(0).await);
    let connection = hub.service.connection_string();
    let extra = [("EventHub", connection.as_str())];
    // Three rounds, about; the last event but one is refused, and stands after the others of its round.
    let body =
        |event: i64| -> String { (0..RECORDS).map(|n| format!("{{\"n\":{}}}\n", event * RECORDS + n)).collect() };
    let mut bodies: Vec<Vec<u8>> = (0..12).map(|event| gzip(body(event).as_bytes())).collect();
    bodies[10].truncate(50);
    hub.log.append(0, bodies.iter().map(|body| NewEvent::new(body.clone())).collect()).unwrap();
    let handler = hub.handler(&site).await;
    let receipt = handler.events(&Batch { partition: 0, events: (0..).zip(bodies).collect() }).await.receipt();
    let records = 11 * RECORDS as u64 + 1;
    assert_eq!(books(&receipt)[0], records);
    assert_eq!(assert_clean(&site, &["clicks"], &extra), records);
    let source = "eventhub:ns/clicks/0";
    tamper(&site, "clicks", source, 6..=6, |mut frame| {
        let wrong =
            frame.column("n").unwrap().i64().unwrap().iter().map(|n| n.map(|n| n + i64::from(n == 6 * RECORDS + 7)));
        let wrong: Int64Chunked = wrong.collect();
        frame.with_column(Column::new("n".into(), wrong.into_series())).unwrap();
        frame
    })
    .await;
    tamper(&site, "clicks", source, 9..=9, |frame| frame.head(Some(frame.height() - 1))).await;
    tamper(&site, "clicks__quarantine", source, 10..=10, |frame| frame.head(Some(0))).await;
    let (code, report, _) = verified(&site, &["clicks"], &extra);
    let at = |event: i64, index: usize| position_of(event, index).unwrap();
    let found = rows(&report, source);
    assert_eq!((code, found.len()), (1, 3), "{report}");
    assert_eq!((&found[0], &found[1]), (&row(10, "missing", &[]), &row(at(6, 7), "differs", &["n"])));
    assert_eq!((sequence_of(found[2].0), &*found[2].1), (9, "missing"));
    assert_eq!(report["differences"][source]["command"], "weir replay clicks --partition 0 --from 6 --to 10");
}
