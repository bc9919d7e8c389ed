//! One failure speaks for itself alone: what is wrong with a dataset hides nothing of the others.

use std::fs;
use std::process::{Command, Output};

use polars::prelude::{ParquetReader, ParquetWriter, SerReader};
use serde_json::{Value, json};

use super::handler::{Batch, Handler, books};
use super::site::Site;
use crate::support::{repository, weir_binary};

/// Two datasets of events; of others only what a test asks for.
fn site() -> Site {
    let site = Site::new();
    for name in ["orders", "stock", "clicks", "people"] {
        fs::remove_file(site.path(&format!("datasets/{name}.toml"))).unwrap();
    }
    for name in ["a", "b"] {
        let path = format!("tests/data/cases/events/one_refused_table_blinds_status/contract_{name}.toml");
        let contract = fs::read_to_string(repository().join(path)).unwrap();
        site.contract(name, &format!("{contract}\n[warehouse]\ntable = \"{name}\"\n"));
    }
    site
}

async fn deliver(handler: &Handler, name: &str, body: &str) {
    let batch = Batch::of(0, &[(0, body)]).spelled("ns.servicebus.windows.net", name, "$Default");
    assert_eq!(books(&handler.post(&format!("ingest_{name}"), batch.to_string()).await.receipt())[0], 1);
}

/// The newest commit's table, changed by another writer.
fn commit(site: &Site, table: &str, lines: &[Value]) {
    let version = site.log(table).len();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = site.path(&format!("lake/{table}/_delta_log/{version:020}.json"));
    assert!(!path.exists());
    fs::write(path, text).unwrap();
}

fn metadata(site: &Site, table: &str) -> Value {
    let first = fs::read_to_string(&site.log(table)[0]).unwrap();
    let mut lines = first.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.find(|line| line.get("metaData").is_some()).unwrap()
}

fn weir(site: &Site, arguments: &[&str]) -> Output {
    Command::new(weir_binary()).args(arguments).env_clear().envs(site.settings()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What others do that refuses a table.
fn refusals(site: &Site) -> Vec<(&'static str, Vec<Value>)> {
    let commit = json!({ "commitInfo": { "timestamp": 0, "operation": "ALTER", "engineInfo": "another" } });
    let mut constrained = metadata(site, "a");
    constrained["metaData"]["configuration"]["delta.constraints.positive"] = json!("id > 0");
    let mut retyped = metadata(site, "a");
    let schema = retyped["metaData"]["schemaString"].as_str().unwrap().replacen("\"long\"", "\"date\"", 1);
    retyped["metaData"]["schemaString"] = schema.into();
    let newer = json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7,
                        "readerFeatures": ["catalogManaged"], "writerFeatures": ["catalogManaged"] } });
    let third = json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 3 } });
    vec![
        ("a constraint", vec![commit.clone(), third, constrained]),
        ("a column of another type", vec![commit.clone(), retyped]),
        ("a feature", vec![commit.clone(), newer]),
        ("a commit that is torn", vec![commit, json!("torn")]),
    ]
}

/// The case `one_refused_table_blinds_status`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_refused_stands_beside_the_others_books() {
    let kinds = 4;
    for kind in 0..kinds {
        let site = site();
        let handler = Handler::start(&site).await;
        for name in ["a", "b"] {
            deliver(&handler, name, "{\"id\":1}").await;
        }
        assert_eq!(handler.status().await["healthy"], true);
        let (what, lines) = refusals(&site).remove(kind);
        commit(&site, "a", &lines);
        // The process that knows the table, and one that does not.
        let answers = [handler.status().await, Handler::start(&site).await.status().await];
        for status in answers {
            let [a, b] = status["datasets"].as_array().unwrap().as_slice() else { panic!("{status}") };
            assert!(a["error"].as_str().is_some_and(|error| error.contains("`a`")), "{what}: {a}");
            assert!(a.get("table").is_none() && a["quarantine"].is_object(), "{what}: {a}");
            assert_eq!((&a["balanced"], &b["balanced"]), (&json!(false), &json!(true)), "{what}");
            assert_eq!((&b["table"]["rows"], b.get("error")), (&json!(1), None), "{what}");
            assert_eq!((&status["healthy"], &status["balanced"]), (&json!(false), &json!(false)), "{what}");
        }
        let page = handler.client().get(handler.url("/api/status")).header("accept", "text/html");
        let page = page.send().await.unwrap();
        assert_eq!(page.status().as_u16(), 200);
        let page = page.text().await.unwrap();
        assert!(page.contains("cannot be read") && page.contains("<td>b<td>1"), "{what}: {page}");
        let output = weir(&site, &["status"]);
        let text = said(&output);
        assert!(!output.status.success(), "{what}: {text}");
        let line = text.lines().find(|line| line.starts_with("b ")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.ends_with("yes"), "{text}");
        assert!(text.contains("cannot be read") && text.contains("a: "), "{what}: {text}");
        let output = weir(&site, &["warehouse", "status", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!output.status.success());
        assert!(report["tables"][0]["error"].is_string() && report["tables"][1]["lakeVersion"].is_u64(), "{report}");
    }
}

/// The table of parked messages is nobody's dataset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_messages_that_cannot_be_read_hide_no_books() {
    let site = site();
    let handler = Handler::start(&site).await;
    deliver(&handler, "a", "{\"id\":1}").await;
    fs::create_dir_all(site.path("lake/weir__parked/_delta_log")).unwrap();
    fs::write(site.path("lake/weir__parked/_delta_log/00000000000000000000.json"), "torn").unwrap();
    let status = handler.status().await;
    assert!(status["parkedError"].is_string(), "{status}");
    assert_eq!((&status["healthy"], &status["balanced"]), (&json!(false), &json!(true)));
    assert_eq!(status["datasets"][0]["table"]["rows"], 1);
}

#[test]
fn a_contract_that_is_wrong_does_not_hide_the_sound_ones() {
    let site = site();
    let wrong = [
        ("c", "name = \"c\"\nnonsense"),
        ("d", "name = \"d\"\n[source]\nkind = \"events\"\nhub = \"a\"\n[[columns]]\nname = \"x\"\ntype = \"long\"\n"),
    ];
    for (name, text) in wrong {
        site.contract(name, text);
    }
    let rule = "[[rules]]\nname = \"r\"\nexpr = \"nothing > 1\"\naction = \"warn\"\n";
    let contract = fs::read_to_string(site.path("datasets/b.toml")).unwrap().replace("\"b\"", "\"e\"");
    site.contract("e", &format!("{contract}{rule}"));
    let derived = "name = \"f\"\n[derived]\nfollows = \"c\"\nby = \"id\"\nsql = \"SELECT id FROM c GROUP BY id\"\n\
                   [[columns]]\nname = \"id\"\ntype = \"long\"\n";
    site.contract("f", derived);
    let output = weir(&site, &["check", "--json"]);
    assert!(!output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["valid"], &report["datasets"]), (&json!(false), &json!(["a", "b"])));
    let errors = report["errors"].as_array().unwrap();
    // What names a contract that could not be read is not wrong itself.
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, file) in errors.iter().zip(["c.toml", "d.toml", "e.toml"]) {
        assert!(error["file"].as_str().unwrap().ends_with(file), "{error}");
    }
    let text = said(&weir(&site, &["check"]));
    assert!(text.contains("a: ok: ") && text.contains("b: ok: ") && text.contains("3 errors"), "{text}");
}

/// Rewrites a file without some of its rows, as a delete by another writer does.
fn delete(site: &Site, table: &str, rows: usize) {
    let mut adds: Vec<Value> = Vec::new();
    for entry in site.log(table) {
        let text = fs::read_to_string(entry).unwrap();
        for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            adds.retain(|add| add["path"] != line["remove"]["path"]);
            adds.extend(line.get("add").cloned());
        }
    }
    let count = |add: &Value| {
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        stats["numRecords"].as_u64().unwrap() as usize
    };
    let old = adds.into_iter().find(|add| count(add) > rows).unwrap();
    let folder = site.path(&format!("lake/{table}"));
    let file = fs::File::open(folder.join(old["path"].as_str().unwrap())).unwrap();
    let mut frame = ParquetReader::new(file).finish().unwrap().tail(Some(count(&old) - rows));
    let name = format!("others-{}.parquet", site.log(table).len());
    ParquetWriter::new(fs::File::create(folder.join(&name)).unwrap()).finish(&mut frame).unwrap();
    let mut new = old.clone();
    let size = fs::metadata(folder.join(&name)).unwrap().len();
    (new["path"], new["size"], new["dataChange"]) = (json!(name), json!(size), json!(true));
    new["stats"] = json!({ "numRecords": frame.height() }).to_string().into();
    let info = json!({ "timestamp": 1, "operation": "DELETE", "engineInfo": "eraser/1.0" });
    let remove = json!({ "path": old["path"], "dataChange": true, "deletionTimestamp": 1 });
    commit(site, table, &[json!({ "commitInfo": info }), json!({ "remove": remove }), json!({ "add": new })]);
}

/// The case `books_after_a_deletion_by_others`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_others_took_are_told_and_acknowledged() {
    let site = Site::new();
    let contract = "tests/data/cases/events/books_after_a_deletion_by_others/contract.toml";
    site.contract("t", &fs::read_to_string(repository().join(contract)).unwrap());
    let handler = Handler::start(&site).await;
    let events: Vec<(i64, Vec<u8>)> = (0..50).map(|n| (n, json!({ "id": n }).to_string().into_bytes())).collect();
    let batch = Batch { partition: 0, events }.spelled("ns.servicebus.windows.net", "t", "$Default");
    assert_eq!(books(&handler.post("ingest_t", batch.to_string()).await.receipt()), [50, 50, 0, 0]);
    let books_of = async || {
        let status = handler.status().await;
        status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == "t").unwrap().clone()
    };
    let acknowledge = |json: bool| {
        let arguments = ["status", "--acknowledge", "t", "--json"];
        weir(&site, if json { &arguments } else { &arguments[..3] })
    };
    let nothing = acknowledge(false);
    assert!(nothing.status.success() && said(&nothing).contains("nothing to acknowledge"), "{}", said(&nothing));
    let mut gone = 0;
    for rows in [5, 3] {
        delete(&site, "t", rows);
        gone += rows;
        let books = books_of().await;
        assert_eq!(
            (&books["balanced"], &books["others"][0]["rows"]),
            (&json!(false), &json!(-(rows as i64))),
            "{books}"
        );
        let commits = books["others"][0]["commits"].as_array().unwrap();
        assert_eq!(commits.len(), 1, "{books}");
        assert_eq!((&commits[0]["operation"], &commits[0]["by"]), (&json!("DELETE"), &json!("eraser/1.0")));
        let (removed, added) = (commits[0]["rowsRemoved"].as_u64().unwrap(), commits[0]["rowsAdded"].as_u64().unwrap());
        assert_eq!(removed - added, rows as u64);
        let shown = said(&weir(&site, &["status"]));
        assert!(shown.contains(&format!("{rows} rows fewer")) && shown.contains("DELETE by eraser/1.0"), "{shown}");
        let report: Value = serde_json::from_slice(&acknowledge(true).stdout).unwrap();
        assert_eq!(report["acknowledged"][0]["acknowledged"], json!({ "gone": gone, "came": 0 }), "{report}");
        // Every instance knows.
        let books = books_of().await;
        assert_eq!((&books["balanced"], books.get("others")), (&json!(true), None), "{books}");
        assert_eq!(books["acknowledged"], json!({ "gone": gone, "came": 0 }));
        let versions = site.log("t").len();
        assert!(said(&acknowledge(false)).contains("nothing to acknowledge"));
        assert_eq!(site.log("t").len(), versions, "again it does nothing");
    }
    assert!(weir(&site, &["status"]).status.success());
    // A restore, or a merge with inserts: rows come.
    let first = fs::read_to_string(&site.log("t")[1]).unwrap();
    let add =
        first.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|line| line.get("add").is_some());
    let restored = json!({ "commitInfo": { "timestamp": 2, "operation": "RESTORE" } });
    commit(&site, "t", &[restored, add.unwrap()]);
    let books = books_of().await;
    assert_eq!((&books["balanced"], &books["others"][0]["rows"]), (&json!(false), &json!(50)), "{books}");
    assert!(acknowledge(false).status.success());
    assert_eq!(books_of().await["balanced"], true);
}

/// What nobody did is not acknowledged away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_missing_without_a_commit_of_others_are_not_acknowledged() {
    let site = site();
    let handler = Handler::start(&site).await;
    deliver(&handler, "a", "{\"id\":1}").await;
    let info = json!({ "timestamp": 1, "operation": "WRITE", "engineInfo": "weir/0.1.0" });
    let txn = json!({ "appId": "weir:books:committed", "version": 9 });
    commit(&site, "a", &[json!({ "commitInfo": info }), json!({ "txn": txn })]);
    let output = weir(&site, &["status", "--acknowledge", "a"]);
    let text = said(&output);
    assert!(!output.status.success() && text.contains("nothing is acknowledged"), "{text}");
    assert_eq!(handler.status().await["datasets"][0]["balanced"], false);
}

async fn maintain(handler: &Handler, name: &str) -> Value {
    let task = json!({ "task": "maintain", "dataset": name }).to_string();
    handler.queue("run_task", task.as_bytes()).await.receipt()
}

/// One event a commit.
async fn numbered(handler: &Handler, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let events = vec![(number, json!({ "id": number }).to_string().into_bytes())];
        let batch = Batch { partition: 0, events }.spelled("ns.servicebus.windows.net", "a", "$Default");
        assert_eq!(books(&handler.post("ingest_a", batch.to_string()).await.receipt()), [1, 1, 0, 0]);
    }
}

/// Of many commits the newest are told, and all of them count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_commits_of_others_the_newest_are_told() {
    let site = site();
    let handler = Handler::start(&site).await;
    let events: Vec<(i64, Vec<u8>)> = (0..50).map(|n| (n, json!({ "id": n }).to_string().into_bytes())).collect();
    let batch = Batch { partition: 0, events }.spelled("ns.servicebus.windows.net", "a", "$Default");
    assert_eq!(books(&handler.post("ingest_a", batch.to_string()).await.receipt()), [50, 50, 0, 0]);
    for _ in 0..23 {
        delete(&site, "a", 1);
    }
    let last = site.log("a").len() - 1;
    let status = handler.status().await;
    let others = &status["datasets"][0]["others"][0];
    assert_eq!((&others["rows"], &others["explained"]), (&json!(-23), &json!(true)), "{others}");
    let told: Vec<_> =
        others["commits"].as_array().unwrap().iter().map(|commit| commit["version"].as_u64().unwrap()).collect();
    assert_eq!(told, (last as u64 - 19..=last as u64).collect::<Vec<_>>());
    assert!(weir(&site, &["status", "--acknowledge", "a"]).status.success());
    assert_eq!(handler.status().await["balanced"], true);
}

/// Commits that were cleaned out of the log: nobody can tell any more whose rows are missing, so a person may say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_does_not_tell_of_any_more_can_be_acknowledged() {
    let site = site();
    let handler = Handler::start(&site).await;
    numbered(&handler, 0..22).await;
    assert_eq!(maintain(&handler, "a").await["checkpoints"], 1);
    delete(&site, "a", 5);
    numbered(&handler, 22..44).await;
    assert_eq!(maintain(&handler, "a").await["checkpoints"], 1);
    handler.kill();
    let log = site.path("lake/a/_delta_log");
    let hint: Value = serde_json::from_str(&fs::read_to_string(log.join("_last_checkpoint")).unwrap()).unwrap();
    let at = usize::try_from(hint["version"].as_u64().unwrap()).unwrap();
    site.log("a")[..at].iter().for_each(|commit| fs::remove_file(commit).unwrap());
    let handler = Handler::start(&site).await;
    let status = handler.status().await;
    let others = &status["datasets"][0]["others"][0];
    assert_eq!((&others["rows"], &others["explained"]), (&json!(-5), &Value::Null), "{others}");
    let output = weir(&site, &["status", "--acknowledge", "a"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(handler.status().await["balanced"], true);
}
