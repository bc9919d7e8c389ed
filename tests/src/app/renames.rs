//! Files that are no data, and names that change: jobs that write under one name and move to another, directories that are
//! moved or deleted as one, blobs that are there before anything is in them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::handler::{Handler, books};
use super::names::{ODD, backfill, case, event, follow, paths, tasks, write};
use super::operations::{settle, start};
use super::site::Site;

/// An event of a hierarchical account, as Event Grid writes it: with the address of its DFS endpoint.
fn hierarchical(kind: &str, data: &Value) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(&event("x", "0x1")).unwrap();
    event["eventType"] = format!("Microsoft.Storage.{kind}").into();
    let url = data["destinationUrl"].as_str().or(data["url"].as_str()).unwrap();
    let name = url.split_once(".net/landing/").unwrap().1;
    event["subject"] = format!("/blobServices/default/containers/landing/blobs/{name}").into();
    event["data"] = data.clone();
    event.to_string().into_bytes()
}

fn address(name: &str) -> String {
    format!("https://acct.dfs.core.windows.net/landing/{name}")
}

fn renamed(from: &str, to: &str) -> Vec<u8> {
    let data = json!({
        "api": "RenameFile", "clientRequestId": "c", "requestId": "r", "destinationUrl": address(to), "sourceUrl": address(from),
        "sequencer": "00000000000004420000000000028963", "identity": "$superuser", "storageDiagnostics": { "batchId": "b" },
    });
    hierarchical("BlobRenamed", &data)
}

fn directory_renamed(from: &str, to: &str) -> Vec<u8> {
    let data = json!({ "api": "RenameDirectory", "destinationUrl": address(to), "sourceUrl": address(from), "sequencer": "0" });
    hierarchical("DirectoryRenamed", &data)
}

fn directory_deleted(name: &str) -> Vec<u8> {
    hierarchical("DirectoryDeleted", &json!({ "api": "DeleteDirectory", "url": address(name), "recursive": "true" }))
}

fn contract(paths: &str, more: &str) -> String {
    let own = ODD.replace("\"odd\"", "\"t\"").replace("\"ödd [1]{%20}/**\"", paths);
    own.replace("[format]", &format!("{more}\n[format]"))
}

fn rename(site: &Site, from: &str, to: &str) {
    let (from, to) = (site.path("landing/landing").join(from), site.path("landing/landing").join(to));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(from, to).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_service_files() {
    let (site, folder) = case("service_files");
    let handler = Handler::start(&site).await;
    let further = [
        "_started_1",
        ".part-0.csv.crc",
        "_temporary/0/part-0.csv",
        ".hive-staging/a.csv",
        "~$a.csv",
        "a.csv.tmp",
        "a.filepart",
    ];
    for name in ["_SUCCESS", "_committed_1", "part-0.csv.crc"] {
        write(&site, &format!("out/{name}"), &fs::read_to_string(folder.join(name)).unwrap());
    }
    further.iter().for_each(|name| write(&site, &format!("out/{name}"), "id\n9\n"));
    for name in ["_SUCCESS", "_committed_1", "part-0.csv.crc"].iter().chain(&further) {
        let answer = handler.ingest(&event(&format!("out/{name}"), &site.etag(&format!("out/{name}")).await)).await;
        assert!(answer.is_null(), "{name}: {answer}");
    }
    assert!(!handler.logged().contains("no contract takes the blob"), "{}", handler.logged());
    assert_eq!(paths(&follow(&handler, super::names::sweep("t")).await), Vec::<String>::new());
    assert_eq!(site.placed("t").await.len(), 0);
    // A partition's folder is data.
    write(&site, "out/_day=1/part-0.csv", "id\n1\n");
    assert_eq!(backfill(&site, &["t"])["missing"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_spark_job_with_rename() {
    let (site, folder) = case("spark_job_with_rename");
    let handler = Handler::start(&site).await;
    let (attempt, name) = ("out/_temporary/0/_temporary/attempt_1/part-00000.csv", "out/part-00000.csv");
    write(&site, attempt, &fs::read_to_string(folder.join("part-00000.csv")).unwrap());
    assert!(handler.ingest(&event(attempt, &site.etag(attempt).await)).await.is_null());
    rename(&site, attempt, name);
    let moved = handler.ingest(&renamed(attempt, name)).await;
    assert_eq!((&moved["outcome"], books(&moved)), (&json!("committed"), [2, 2, 0, 0]));
    assert_eq!(handler.ingest(&renamed(attempt, name)).await["outcome"], "alreadyCommitted");
    assert_eq!(backfill(&site, &["t"])["missing"], 0);
    assert_eq!(
        site.rows("t", &["id", "_source"]).await,
        [format!("1|blob:landing/{name}"), format!("2|blob:landing/{name}")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_moved_has_its_rows_under_its_new_name() {
    for (follows, left) in [
        ("on_delete = \"remove\"", vec!["1|blob:landing/in/b.csv"]),
        ("", vec!["1|blob:landing/in/a.csv", "1|blob:landing/in/b.csv"]),
    ] {
        let site = Site::new();
        site.contract("t", &contract("\"in/*.csv\"", follows));
        let handler = Handler::start(&site).await;
        write(&site, "in/a.csv", "id\n1\n");
        handler.ingest(&event("in/a.csv", &site.etag("in/a.csv").await)).await;
        rename(&site, "in/a.csv", "in/b.csv");
        for _ in 0..2 {
            handler.ingest(&renamed("in/a.csv", "in/b.csv")).await;
            assert_eq!(site.rows("t", &["id", "_source"]).await, left);
        }
        // Out of the contract's paths, and to nobody.
        rename(&site, "in/b.csv", "archive/b.csv");
        handler.ingest(&renamed("in/b.csv", "archive/b.csv")).await;
        let left = if follows.is_empty() { left.len() } else { 0 };
        assert_eq!(site.rows("t", &["id"]).await.len(), left);
        assert_eq!(handler.status().await["balanced"], true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_moved_or_deleted_takes_its_blobs_along() {
    let site = Site::new();
    site.contract("t", &contract("\"in/**/*.csv\"", "on_delete = \"remove\""));
    let handler = Handler::start(&site).await;
    // More than one answer may hand out.
    for number in 0..310 {
        write(&site, &format!("in/_tmp/{number}.csv"), &format!("id\n{number}\n"));
    }
    write(&site, "in/day2/x.csv", "id\n1000\n");
    assert_eq!(backfill(&site, &["t"])["missing"], 1);
    let carry_out = async |event: Vec<u8>| {
        let handed = tasks(&handler.queue("ingest_blob", &event).await);
        let mut all = Vec::new();
        for task in &handed {
            let (mut chain, mut own) = (vec![task.clone()], Vec::new());
            while let Some(task) = chain.pop() {
                let answer = handler.queue("run_task", task.to_string().as_bytes()).await;
                assert_eq!(answer.status, 200, "{task}: {}", answer.text);
                let handed = tasks(&answer);
                assert!(handed.len() <= 301);
                own.push(task);
                chain.extend(handed);
            }
            all.extend(own);
        }
        all.iter().map(|task| task["task"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // A job's directory, moved to where its data belongs.
    rename(&site, "in/_tmp", "in/day1");
    let done = carry_out(directory_renamed("in/_tmp", "in/day1")).await;
    let of = |done: &[String], name: &str| done.iter().filter(|task| *task == name).count();
    assert_eq!((of(&done, "ingest_blob"), of(&done, "sweep"), of(&done, "remove_blob")), (310, 2, 0));
    assert_eq!(site.rows("t", &["id"]).await.len(), 311);
    // Moved on: the same rows, under their new names.
    rename(&site, "in/day1", "in/day3");
    let done = carry_out(directory_renamed("in/day1", "in/day3")).await;
    assert_eq!((of(&done, "ingest_blob"), of(&done, "remove_blob"), of(&done, "vanished")), (310, 310, 2));
    let sources: BTreeSet<_> =
        site.rows("t", &["_source"]).await.into_iter().map(|source| source[..20].to_owned()).collect();
    assert_eq!(sources, BTreeSet::from(["blob:landing/in/day2".to_owned(), "blob:landing/in/day3".to_owned()]));
    assert_eq!(site.rows("t", &["id"]).await.len(), 311);
    // Deleted, but for one blob that is back; and a directory whose name only begins alike.
    fs::remove_dir_all(site.path("landing/landing/in/day3")).unwrap();
    write(&site, "in/day3/7.csv", "id\n7\n");
    assert!(carry_out(directory_deleted("in/day")).await.iter().all(|task| task == "vanished"));
    carry_out(directory_deleted("in/day3")).await;
    assert_eq!(site.rows("t", &["id"]).await, ["1000", "7"]);
    // Told once more, only what has rows is looked at; and a directory of another container is another one.
    let done = carry_out(directory_deleted("in/day3")).await;
    assert_eq!((of(&done, "vanished"), of(&done, "remove_blob")), (1, 1));
    let event = String::from_utf8(directory_deleted("in/day2")).unwrap();
    let elsewhere = event.replace("/landing/", "/elsewhere/");
    assert_eq!(elsewhere.matches("elsewhere").count(), 2, "{elsewhere}");
    assert!(carry_out(elsewhere.into_bytes()).await.is_empty());
    assert_eq!(handler.status().await["balanced"], true);
    // Whoever keeps rows keeps them.
    site.contract("t", &contract("\"in/**/*.csv\"", ""));
    let keeps = Handler::start(&site).await;
    assert_eq!(tasks(&keeps.queue("ingest_blob", &directory_deleted("in/day2")).await), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_contract_ignores_is_left_alone_and_what_it_names_is_taken() {
    let site = Site::new();
    site.contract("t", &contract("[\"in/**\", \"_raw/*.tmp\"]", "ignore = [\"**/old/**\", \"in/*.bak\"]"));
    for name in ["in/a.csv", "in/old/b.csv", "in/x/old/c.csv", "in/d.bak", "_raw/e.tmp", "_raw/_f.tmp", "in/g.tmp"] {
        write(&site, name, "id\n1\n");
    }
    assert_eq!(backfill(&site, &["t"])["missing"], 2);
    assert_eq!(site.rows("t", &["_source"]).await, ["blob:landing/_raw/e.tmp", "blob:landing/in/a.csv"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_blob_comes_in_when_it_has_grown() {
    let site = Site::new();
    site.contract("t", &contract("\"in/*.csv\"", ""));
    let handler = Handler::start(&site).await;
    write(&site, "in/log.csv", "");
    for (key, value) in [("blobType", "AppendBlob"), ("api", "CreateFile")] {
        let mut made: Value = serde_json::from_slice(&event("in/log.csv", &site.etag("in/log.csv").await)).unwrap();
        made["data"][key] = value.into();
        made["data"]["contentLength"] = 0.into();
        assert!(handler.ingest(made.to_string().as_bytes()).await.is_null());
    }
    assert_eq!(site.placed("t").await.len(), 0);
    // Appended to, without an event.
    for content in ["id\n1\n", "id\n1\n2\n"] {
        write(&site, "in/log.csv", content);
        let found = follow(&handler, super::names::sweep("t")).await;
        assert_eq!(paths(&found), ["in/log.csv"]);
        handler.queue("run_task", found[0].to_string().as_bytes()).await.receipt();
    }
    assert_eq!(site.rows("t", &["id"]).await, ["1", "2"]);
    // Flushed: the event that says so is ingested as any other.
    let mut flushed: Value = serde_json::from_slice(&event("in/log.csv", &site.etag("in/log.csv").await)).unwrap();
    flushed["data"]["api"] = "FlushWithClose".into();
    flushed["data"]["contentLength"] = 7.into();
    assert_eq!(handler.ingest(flushed.to_string().as_bytes()).await["outcome"], "alreadyCommitted");
}

/// Under the stand-in for the host, files that are moved or deleted in the landing folder have the events of an account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_moved_on_this_machine_is_followed_too() {
    let site = Site::new();
    site.contract("t", &contract("\"in/**/*.csv\"", "on_delete = \"remove\""));
    write(&site, "in/_temporary/a.csv", "id\n1\n");
    write(&site, "in/b.csv", "id\n2\n");
    write(&site, "in/c.csv", "id\n3\n");
    let host = start(&site).await;
    settle(&host).await;
    assert_eq!(site.rows("t", &["id", "_source"]).await, ["2|blob:landing/in/b.csv", "3|blob:landing/in/c.csv"]);
    rename(&site, "in/_temporary/a.csv", "in/a.csv");
    rename(&site, "in/b.csv", "in/d/b.csv");
    site.delete("in/c.csv");
    settle(&host).await;
    assert_eq!(site.rows("t", &["id", "_source"]).await, ["1|blob:landing/in/a.csv", "2|blob:landing/in/d/b.csv"]);
    host.shutdown().await;
}
