//! An event is the same whoever reads it, however its names are spelled; and tables that the release before has filled go
//! on.

use std::fs;
use std::path::{Path, PathBuf};

use functions_host::{Host, HostConfig};
use polars::prelude::{DataType, TimeUnit, TimeZone, df};
use serde_json::{Value, json};
use weir_lake::{Append, Books, Outcome, Producer};

use super::gaps::{Hub, deliver, positions};
use super::handler::{Answer, Batch, Handler, books};
use super::site::{CLICKS, Site};
use crate::support::{repository, weir_binary};

const SOURCE: &str = "eventhub:ns/clicks/0";

fn loaded(contract: &str) -> String {
    format!("{contract}\n[warehouse]\ntable = \"clicks\"\n")
}

async fn sources(site: &Site) -> Vec<String> {
    let mut sources = site.rows("clicks", &["_source"]).await;
    sources.dedup();
    sources
}

async fn post(handler: &Handler, envelope: &Value) -> Answer {
    handler.post("ingest_clicks", envelope.to_string()).await
}

/// The case `consumer_group_changed`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_consumer_group_brings_no_event_twice() {
    let (site, hub) = (Site::new(), Hub::start(100).await);
    site.contract("clicks", &loaded(CLICKS));
    let handler = hub.handler(&site).await;
    assert_eq!(books(&deliver(&handler, 0..=99).await), [100, 100, 0, 0]);
    handler.kill();
    site.contract("clicks", &loaded(&CLICKS.replace("\"weir\"", "\"weir2\"")));
    let handler = hub.handler(&site).await;
    let again = Batch::counting(0, [99]).spelled("ns.servicebus.windows.net", "clicks", "weir2");
    let receipt = post(&handler, &again).await.receipt();
    assert_eq!((books(&receipt), &receipt["gap"]), ([1, 0, 0, 1], &Value::Null));
    let task = json!({ "task": "maintain", "dataset": "clicks" }).to_string();
    handler.queue("run_task", task.as_bytes()).await.receipt();
    let status = handler.status().await;
    let clicks = status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == "clicks").unwrap();
    assert_eq!((&clicks["table"]["rows"], &clicks["warehouseRows"]), (&json!(100), &json!(100)));
    assert_eq!(status["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_in_another_spelling_are_the_same_events() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    handler.events(&Batch::counting(0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).await.receipt();
    // The release before, beside this one or after it, finds how far the partition is.
    for table in ["clicks", "clicks__quarantine"] {
        let at = site.table(table).await.unwrap().committed("eventhub:ns/clicks/weir/0");
        assert_eq!(at, (table == "clicks").then_some(9), "{table}");
    }
    let spellings = [
        ("NS.servicebus.windows.net", "clicks", "weir"),
        ("ns.servicebus.windows.net", "Clicks", "weir"),
        ("Ns.ServiceBus.Windows.Net", "CLICKS", "$Default"),
        ("ns", "clicks", "another"),
    ];
    for (number, (namespace, hub, group)) in (10..).zip(spellings) {
        let batch = Batch::counting(0, [0, 5, 9, number]);
        for expected in [[4, 1, 0, 3], [4, 0, 0, 4]] {
            let answer = post(&handler, &batch.spelled(namespace, hub, group)).await;
            assert_eq!(books(&answer.receipt()), expected, "{namespace} {hub} {group}");
        }
    }
    // Nobody needs to know the group.
    let mut nameless = Batch::counting(0, [13, 14]).envelope();
    nameless["Metadata"]["PartitionContext"].as_object_mut().unwrap().remove("ConsumerGroup");
    assert_eq!(books(&post(&handler, &nameless).await.receipt()), [2, 1, 0, 1]);
    // Another namespace, hub or partition is another source.
    for (namespace, hub) in [("other.servicebus.windows.net", "clicks"), ("ns.servicebus.windows.net", "clicks2")] {
        let other = Batch::counting(0, [0, 1]).spelled(namespace, hub, "weir");
        assert_eq!(books(&post(&handler, &other).await.receipt()), [2, 2, 0, 0]);
    }
    assert_eq!(sources(&site).await, [SOURCE, "eventhub:ns/clicks2/0", "eventhub:other/clicks/0"]);
    assert_eq!(site.each_place_once("clicks").await, 19);
    assert_eq!(handler.status().await["balanced"], true);
}

/// What `tests/data/previous_release` says.
pub(super) struct Former {
    pub(super) site: Site,
}

impl Former {
    pub(super) fn new(contract: &str) -> Self {
        let site = Site::new();
        copy(&repository().join("tests/data/previous_release/lake"), &site.path("lake"));
        fs::copy(repository().join("tests/data/previous_release/warehouse.db"), site.path("warehouse.db")).unwrap();
        site.contract("clicks", contract);
        Self { site }
    }

    /// The contract that filled the tables, with a consumer group.
    pub(super) fn contract(group: &str) -> String {
        let text = fs::read_to_string(repository().join("tests/data/previous_release/clicks.toml")).unwrap();
        text.replace("\"weir\"", &format!("\"{group}\""))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target: PathBuf = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Each spelling of partition 0 to 3 in the former tables goes on, under the name that the table has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_the_release_before_go_on_under_their_names() {
    for group in ["weir", "weir2", "$Default"] {
        let Former { site } = Former::new(&Former::contract(group));
        let before = site.placed("clicks").await.len();
        let handler = Handler::start(&site).await;
        let send = async |partition: u32, numbers: std::ops::Range<i64>| {
            let batch = Batch::counting(partition, numbers).spelled("ns.servicebus.windows.net", "clicks", group);
            books(&post(&handler, &batch).await.receipt())
        };
        // Partition 0: one name. 1: names and groups in another case. 2: read by two groups, one of them further.
        // 3: quarantine is ahead of the table, because the process died in between.
        assert_eq!(send(0, 45..55).await, [10, 5, 0, 5], "{group}");
        assert_eq!(send(1, 35..45).await, [10, 5, 0, 5], "{group}");
        assert_eq!(send(2, 55..65).await, [10, 5, 0, 5], "{group}");
        assert_eq!(send(3, 10..25).await, [15, 13, 2, 0], "{group}");
        assert_eq!(site.each_place_once("clicks").await, before + 28, "{group}");
        let status = handler.status().await;
        assert_eq!(status["healthy"], true, "{status}");
        for (partition, name) in
            [(0, "eventhub:ns/clicks/weir/0"), (1, "eventhub:NS/Clicks/Weir/1"), (2, "eventhub:ns/clicks/weir2/2")]
        {
            let newest = site.rows("clicks", &["_source_position", "_source"]).await;
            let newest = newest.iter().filter(|row| row.ends_with(&format!("/{partition}")));
            let newest = newest.max_by_key(|row| row.split('|').next().unwrap().parse::<i64>().unwrap()).unwrap();
            assert_eq!(newest.split('|').nth(1), Some(name), "{group}");
        }
    }
}

/// The same row under the old names of two groups, and refused ones, give way to what the hub has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_replaces_rows_of_every_old_name() {
    let Former { site } = Former::new(&Former::contract("weir"));
    let hub = Hub::start(60).await;
    let handler = hub.handler(&site).await;
    // Partition 1 of the hub is the one that the table knows as `NS/Clicks/Weir/1`; partition 0 was read twice, too.
    let task = json!({ "task": "replay", "dataset": "clicks", "partition": 1, "window": {}, "request": "r" });
    let before = site.rows("clicks", &["_source", "_source_position"]).await;
    let receipt = handler.queue("run_task", task.to_string().as_bytes()).await.receipt();
    assert_eq!(books(&receipt), [40, 40, 0, 0]);
    let after = site.rows("clicks", &["_source", "_source_position"]).await;
    let of_others = |rows: &[String]| rows.iter().filter(|row| !row.contains("/1|")).cloned().collect::<Vec<_>>();
    assert_eq!(of_others(&before), of_others(&after));
    let of_one: Vec<_> = after.iter().filter(|row| row.contains("/1|")).collect();
    assert_eq!(of_one.len(), 40);
    assert!(of_one.iter().all(|row| row.starts_with("eventhub:NS/Clicks/Weir/1|")), "{of_one:?}");
    assert!(site.quarantined("clicks", "eventhub:ns/clicks/other/1").await.is_empty());
    site.each_place_once("clicks").await;
    let task = json!({ "task": "maintain", "dataset": "clicks" }).to_string();
    let report = handler.queue("run_task", task.as_bytes()).await.receipt();
    assert_eq!(report["reloads"], 0, "the warehouse follows step by step: {report}");
    let status = handler.status().await;
    let clicks = status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == "clicks").unwrap();
    assert_eq!(clicks["warehouseRows"], clicks["table"]["rows"]);
    assert_eq!(status["balanced"], true);
}

/// Who took the advice of the release before, another consumer group for a hub that was made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_was_made_anew_under_the_release_before_stays_another() {
    let Former { site } = Former::new(&Former::contract("weir2"));
    let handler = Handler::start(&site).await;
    // Partition 4: 100 events of the former hub by `weir`, 10 of the one that is there now by `weir2`.
    let mut batch = Batch::counting(4, 5..20).envelope();
    let times: Vec<_> = (5..20).map(|_| "2026-02-01T00:00:30").collect();
    batch["Metadata"]["EnqueuedTimeUtcArray"] = Value::String(json!(times).to_string());
    assert_eq!(books(&post(&handler, &batch).await.receipt()), [15, 10, 0, 5]);
    let rows = site.rows("clicks", &["_source"]).await;
    let count = |name: &str| rows.iter().filter(|source| *source == name).count();
    assert_eq!((count("eventhub:ns/clicks/weir/4"), count("eventhub:ns/clicks/weir2/4")), (100, 20));
    assert_eq!(handler.status().await["balanced"], true);
}

/// Over HTTP, too, a replay that has nothing to do fails and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_matches_nothing_is_refused() {
    let (site, hub) = (Site::new(), Hub::start(20).await);
    let handler = hub.handler(&site).await;
    let mut config = HostConfig::new(site.app_folder(), weir_binary(), site.path("host"));
    (config.args, config.run_timers) = (vec!["serve".to_owned()], false);
    config.env = site.settings();
    config.env.push(("EventHub".to_owned(), hub.service.connection_string()));
    let host = Host::start(config).await.unwrap();
    let ask = async |body: Value| {
        let request = reqwest::Client::new().post(format!("{}/api/reprocess", host.http_url()));
        let answer = request.header("x-functions-key", host.function_key()).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = ask(json!({ "dataset": "clicks" })).await;
    assert!(status == 404 && text.contains("no table yet"), "{status} {text}");
    deliver(&handler, 0..=9).await;
    let cases = [
        (json!({ "dataset": "clicks", "partition": 1 }), "no event of it was ever committed"),
        (json!({ "dataset": "clicks", "from": 10 }), "committed up to 9"),
        (json!({ "dataset": "clicks", "since": "2100-01-01T00:00:00Z" }), "none of what is asked for"),
        (json!({ "dataset": "clicks", "until": "2001-01-01T00:00:00Z" }), "none of what is asked for"),
        (json!({ "dataset": "clicks", "partition": 9 }), "no such partition"),
        (json!({ "dataset": "orders", "prefix": "orders/nothing-begins-so" }), "no blob"),
    ];
    for (body, expected) in cases {
        let (status, text) = ask(body.clone()).await;
        assert!(status == 404 && text.contains(expected), "{body}: {status} {text}");
    }
    let (status, text) = ask(json!({ "dataset": "clicks", "to": 5 })).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["tasks"]), (202, &json!(1)));
    assert!(answer["leftOut"][0].as_str().unwrap().starts_with("partition 1: "), "{answer}");
    assert_eq!(positions(&site).await.len(), 10);
    let output = std::process::Command::new(weir_binary())
        .args(["replay", "clicks", "--partition", "1"])
        .env_clear()
        .envs(site.settings())
        .env("EventHub", hub.service.connection_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nothing to replay"), "{said}");
}

/// What was ingested under an old name is remembered by `[dedupe]`, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_under_every_old_name_are_remembered() {
    let site = Site::new();
    site.contract("clicks", &format!("{CLICKS}\n[dedupe]\nkey = \"n\"\nwithin = \"24 hours\"\n"));
    let handler = Handler::start(&site).await;
    handler.events(&Batch::counting(1, 0..1)).await.receipt();
    handler.kill();
    // As the release before has left it: two groups, one of them further.
    for (name, first) in [("eventhub:ns/clicks/other/0", 0), ("eventhub:NS/clicks/weir/0", 5)] {
        let table = site.table("clicks").await.unwrap();
        let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
        let positions: Vec<i64> = (first..first + 5).collect();
        let frame = df!(
            "n" => &positions, "_source" => vec![name; 5], "_source_version" => vec!["1"; 5],
            "_source_position" => &positions, "_ingested_at" => vec![now_us; 5], "_rescued" => vec![None::<&str>; 5],
        );
        let mut frame = frame.unwrap();
        let time = DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
        let ingested = frame.column("_ingested_at").unwrap().cast(&time).unwrap();
        frame.with_column(ingested).unwrap();
        let mut writer = table.write();
        writer.write(frame).await.unwrap();
        let producer = Producer { id: name.to_owned(), version: first + 4, expires: false };
        let books = Books { records_in: 5, committed: 5, ..Books::default() };
        let rows = writer.finish().await.unwrap();
        assert!(matches!(table.append(Append { producer, rows, books }, None).await, Ok(Outcome::Committed { .. })));
    }
    let handler = Handler::start(&site).await;
    // 3 was ingested under the first name, 8 under the second.
    let batch = Batch::of(0, &[(10, "{\"n\":3}"), (11, "{\"n\":8}"), (12, "{\"n\":12}"), (13, "{\"n\":12}")]);
    let receipt = handler.events(&batch).await.receipt();
    assert_eq!((books(&receipt), &receipt["duplicates"]), ([4, 1, 0, 3], &json!(3)));
    let rows = site.rows("clicks", &["n", "_source"]).await;
    assert!(rows.contains(&"12|eventhub:NS/clicks/weir/0".to_owned()), "{rows:?}");
    assert_eq!(handler.status().await["balanced"], true);
}
