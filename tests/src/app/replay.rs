//! Events that are read from their hub again: rows change places, and nothing is there twice or gone.

use event_hubs_service::{MemoryLog, Retention};
use serde_json::{Value, json};

use super::gaps::{Hub, deliver, positions};
use super::handler::{Answer, Batch, Handler, books};
use super::site::{CLICKS, Site};
use crate::support::weir_binary;

const SOURCE: &str = "eventhub:ns/clicks/0";

/// Quarantines what is below.
fn contract(least: i64) -> String {
    CLICKS.replace("expr = \"n >= 0\"", &format!("expr = \"n >= {least}\""))
}

fn task(window: Value) -> Value {
    json!({ "task": "replay", "dataset": "clicks", "partition": 0, "window": window, "request": window.to_string() })
}

async fn run(handler: &Handler, task: &Value) -> Answer {
    handler.queue("run_task", task.to_string().as_bytes()).await
}

async fn quarantined(site: &Site) -> Vec<i64> {
    site.quarantined("clicks", SOURCE).await.iter().map(|record| record.position).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_contract_moves_the_rows_of_a_range() {
    let (site, hub) = (Site::new(), Hub::start(100).await);
    site.contract("clicks", &contract(50));
    let handler = hub.handler(&site).await;
    deliver(&handler, 0..=89).await;
    assert_eq!(quarantined(&site).await, (0..50).collect::<Vec<_>>());
    handler.kill();
    site.contract("clicks", &contract(30));
    let handler = hub.handler(&site).await;
    let task = task(json!({ "from": 20, "to": 69 }));
    let receipt = run(&handler, &task).await.receipt();
    assert_eq!(books(&receipt), [50, 40, 10, 0]);
    // Outside of the range everything is as it was.
    assert_eq!(quarantined(&site).await, (0..30).collect::<Vec<_>>());
    assert_eq!(positions(&site).await, (30..90).collect::<Vec<_>>());
    let logs = (site.log("clicks").len(), site.log("clicks__quarantine").len());
    assert_eq!(run(&handler, &task).await.receipt()["outcome"], "alreadyCommitted", "one request is carried out once");
    assert_eq!((site.log("clicks").len(), site.log("clicks__quarantine").len()), logs);
    // What ingestion has not committed yet is left to it.
    let rest = self::task(json!({ "from": 85 }));
    assert_eq!(books(&run(&handler, &rest).await.receipt()), [5, 5, 0, 0]);
    assert_eq!(run(&handler, &self::task(json!({ "from": 90 }))).await.receipt()["outcome"], "alreadyCommitted");
    deliver(&handler, 90..=99).await;
    assert_eq!(site.each_place_once("clicks").await, 100);
    assert_eq!(handler.status().await["balanced"], true);
}

/// The hub has forgotten some of the range: these rows stay, and so does the report of what was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_keeps_its_rows() {
    let (site, hub) =
        (Site::new(), Hub::with(MemoryLog::with_retention(2, Retention { events: Some(40), age_ms: None }), 40).await);
    site.contract("clicks", &contract(35));
    let handler = hub.handler(&site).await;
    deliver(&handler, 0..=39).await;
    let more: Vec<String> = (40..60).map(|n| json!({ "n": n }).to_string()).collect();
    hub.add(0, &more.iter().map(String::as_str).collect::<Vec<_>>());
    handler.kill();
    site.contract("clicks", &contract(0));
    let handler = hub.handler(&site).await;
    let receipt = run(&handler, &task(json!({ "from": 10 }))).await.receipt();
    assert_eq!((books(&receipt), &receipt["gap"]["lost"]), ([20, 20, 0, 0], &json!(10)));
    assert_eq!(quarantined(&site).await, (0..20).collect::<Vec<_>>());
    assert_eq!(positions(&site).await, (20..40).collect::<Vec<_>>());
    assert_eq!(handler.status().await["balanced"], true);
}

/// What was reported as lost, because nobody was to look for it, comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reported_gap_is_filled_and_its_report_goes() {
    let (site, hub) = (Site::new(), Hub::start(100).await);
    site.contract("clicks", &CLICKS.replace("hub = \"clicks\"", "hub = \"clicks\"\ngap = \"report\""));
    let handler = hub.handler(&site).await;
    for numbers in [0..=9, 30..=39] {
        deliver(&handler, numbers).await;
    }
    assert_eq!(quarantined(&site).await, [10]);
    assert_eq!(books(&run(&handler, &task(json!({ "from": 10, "to": 29 }))).await.receipt()), [20, 20, 0, 0]);
    assert_eq!(quarantined(&site).await, [0; 0]);
    assert_eq!(positions(&site).await, (0..40).collect::<Vec<_>>());
    assert_eq!(site.each_place_once("clicks").await, 40);
}

/// Two requests for the same range and one after the other's end, beside ingestion: the last word is a whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_that_meet_each_other_and_ingestion_leave_each_event_once() {
    let (site, hub) = (Site::new(), Hub::start(3_000).await);
    site.contract("clicks", &contract(1_000));
    let first = hub.handler(&site).await;
    deliver(&first, 0..=1_999).await;
    site.contract("clicks", &contract(500));
    let second = hub.handler(&site).await;
    let replays = (0..6).map(|n| {
        let task = task(json!({ "from": 100 * n, "to": 1_999 - 50 * n }));
        let handler = if n % 2 == 0 { &first } else { &second };
        async move {
            let mut answer = run(handler, &task).await;
            while answer.status != 200 {
                assert!(answer.text.contains("deliver them again"), "{}", answer.text);
                answer = run(handler, &task).await;
            }
        }
    });
    let live = (0..10).map(|n| deliver(&first, 2_000 + n * 100..=2_099 + n * 100));
    tokio::join!(futures::future::join_all(replays), async {
        for delivery in live {
            delivery.await;
        }
    });
    assert_eq!(site.each_place_once("clicks").await, 3_000);
    run(&second, &task(json!({ "to": 2_999 }))).await.receipt();
    assert_eq!(positions(&site).await, (500..3_000).collect::<Vec<_>>());
    assert_eq!(quarantined(&site).await, (0..500).collect::<Vec<_>>());
    assert_eq!(second.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_replays_all_partitions_in_commits_of_a_bounded_size() {
    let (site, hub) = (Site::new(), Hub::start(25_000).await);
    let handler = hub.handler(&site).await;
    for partition in 0..2 {
        handler.events(&Batch::counting(partition, 24_900..=24_999)).await.receipt();
    }
    drop(handler);
    let settings =
        [("EventHub".to_owned(), hub.service.connection_string()), ("WEIR_DEADLINE_S".to_owned(), "1".to_owned())];
    let weir = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(weir_binary());
        command.arg("replay").args(arguments).env_clear().envs(site.settings()).envs(settings.clone());
        command.output()
    };
    let output = weir(&["clicks", "--json"]).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["ran"]["books"]["recordsIn"], &report["ran"]["failed"]), (&json!(50_000), &json!(0)));
    for (arguments, expected) in [
        // What matches nothing fails, and says why.
        (&["clicks", "--partition", "1", "--since", "2026-01-01", "--until", "2026-01-02"][..], "nothing to replay"),
        (&["clicks", "--from", "25000"], "committed up to 24999"),
        (&["clicks", "--since", "2100-01-01"], "none of what is asked for is in the hub, which has events 0 to 24999"),
        (&["clicks", "--partition", "7"], "no such partition"),
        (&["clicks", "--from", "7", "--to", "6"], "not above `to`"),
        (&["clicks", "--since", "2026-01-02", "--until", "2026-01-02"], "before `until`"),
        (&["orders"], "takes blobs, not events"),
    ] {
        let output = weir(arguments).await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    assert_eq!(site.each_place_once("clicks").await, 50_000);
}
