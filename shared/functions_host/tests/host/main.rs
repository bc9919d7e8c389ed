//! The host against a real handler process.
#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml exempts test functions, not their helpers

mod faults;
mod handler;
mod http;

use std::{path::Path, sync::Arc, time::Duration};

use functions_host::{EventIn, Host, HostConfig, HostErrorKind, InvocationReport, TriggerDetail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

const LIMIT: Duration = Duration::from_secs(20);

/// An app with one function of each kind, its data and its landing folder, in one temporary directory.
fn app() -> (TempDir, HostConfig) {
    let dir = tempfile::tempdir().unwrap();
    let host_json = json!({
        "version": "2.0",
        "functionTimeout": "00:00:02",
        "extensions": {"queues": {"maxDequeueCount": 3, "visibilityTimeout": "00:00:00.010"},
            "eventHubs": {"maxEventBatchSize": 3}},
        "customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableForwardingHttpRequest": true},
    });
    let app = dir.path().join("app");
    let tasks = json!({"type": "queue", "direction": "out", "name": "tasks", "queueName": "outbox"});
    let http = |route: &str, level: &str| {
        json!([{"type": "httpTrigger", "direction": "in", "name": "req", "route": route, "authLevel": level},
            {"type": "http", "direction": "out", "name": "res"}])
    };
    let message = |queue: &str| json!({"type": "queueTrigger", "direction": "in", "name": "msg", "queueName": queue, "dataType": "binary"});
    let mut web = http("web/{container}/{*path}", "function");
    web.as_array_mut().unwrap().push(tasks.clone());
    let functions = [
        ("message", json!({"bindings": [message("inbox"), tasks]})),
        ("parked", json!({"bindings": [message("blob-events")]})),
        (
            "events",
            json!({"bindings": [{"type": "eventHubTrigger", "direction": "in", "name": "events", "eventHubName": "hub",
                "cardinality": "many", "dataType": "binary"}],
                "retry": {"strategy": "fixedDelay", "maxRetryCount": -1, "delayInterval": "00:00:00.010"}}),
        ),
        (
            "tick",
            json!({"bindings": [{"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 0 3 * * *"}]}),
        ),
        ("web", json!({ "bindings": web })),
        ("plain", json!({"bindings": http("plain", "anonymous")})),
        ("guarded", json!({"bindings": http("guarded", "admin")})),
    ];
    std::fs::create_dir_all(&app).unwrap();
    std::fs::write(app.join("host.json"), host_json.to_string()).unwrap();
    for (name, function) in functions {
        std::fs::create_dir_all(app.join(name)).unwrap();
        std::fs::write(app.join(name).join("function.json"), function.to_string()).unwrap();
    }
    let mut config = HostConfig::new(&app, std::env::current_exe().unwrap(), dir.path().join("data"));
    config.args = ["--exact", "handler::process", "--nocapture"].map(str::to_owned).to_vec();
    config.env = vec![("TEST_DIR".to_owned(), dir.path().display().to_string())];
    config.partitions = 1;
    config.stdio = functions_host::ChildOutput::File(dir.path().join("handler.log"));
    (dir, config)
}

fn events(texts: &[&str]) -> Vec<EventIn> {
    texts.iter().map(|text| EventIn::new(*text)).collect()
}

fn reports(receiver: &mut Receiver<Arc<InvocationReport>>) -> Vec<Arc<InvocationReport>> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

async fn next(receiver: &mut Receiver<Arc<InvocationReport>>) -> Arc<InvocationReport> {
    tokio::time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap()
}

async fn until(happened: impl Fn() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 10 s");
}

fn lay(dir: &TempDir, name: &str) {
    std::fs::write(dir.path().join(name), "").unwrap();
}

#[tokio::test]
async fn queue_retries_then_poison() {
    let (_dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    for body in ["good", "fail", "null", "fan"] {
        host.enqueue("inbox", body.into()).await.unwrap();
    }
    host.wait_idle(LIMIT).await.unwrap();
    let reports = reports(&mut receiver);
    let mut attempts: Vec<u32> = reports.iter().filter(|r| r.status == Some(500)).map(|r| r.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3]);
    let nulls = reports.iter().filter(|r| r.error.as_deref().is_some_and(|e| e.contains("null body"))).count();
    assert_eq!(nulls, 3);
    assert!(reports.iter().any(|report| report.ok && report.return_value == Some(json!("good"))));
    assert!(reports.iter().any(|report| report.ok && report.logs == ["fanned"]));
    assert_eq!(host.queue_len("inbox-poison").await.unwrap(), 2);
    assert_eq!(host.queue_len("outbox").await.unwrap(), 2, "the array of strings became two messages");
    host.shutdown().await;
}

#[tokio::test]
async fn a_message_is_renewed_while_its_function_runs_and_goes_to_nobody_else() {
    let (_dir, mut config) = app();
    // Shorter than the function runs, and long enough for a busy machine to renew in time.
    config.queue_visibility = Duration::from_millis(300);
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    host.enqueue("inbox", b"slow".to_vec()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let reports = reports(&mut receiver);
    assert_eq!(reports.len(), 1, "it was handed out again while it ran: {reports:?}");
    assert!(reports[0].ok && reports[0].duration > Duration::from_millis(400));
    host.shutdown().await;
}

#[tokio::test]
async fn queues_of_a_storage_account_are_refused_where_they_cannot_be_served() {
    let real = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net";
    let cases = [
        (real, None, "the app settings: AzureWebJobsStorage: this host serves the storage emulator on this machine"),
        ("UseDevelopmentStorage=true", Some("landing"), "where a watched folder announces nothing"),
    ];
    for (setting, landing, expected) in cases {
        let (dir, mut config) = app();
        config.env.push(("AzureWebJobsStorage".to_owned(), setting.to_owned()));
        config.landing = landing.map(|folder| dir.path().join(folder));
        let error = Host::start(config).await.unwrap_err();
        assert_eq!(error.kind(), HostErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("c2VjcmV0"), "{text}");
    }
}

/// As WebJobs does it: no poison queue of a poison queue, no release, and an end to it.
#[tokio::test]
async fn what_fails_in_a_poison_queue_comes_again_when_its_hiding_is_over_and_then_stays() {
    let (dir, mut config) = app();
    config.queue_visibility = Duration::from_millis(100);
    let manifest = json!({"bindings": [
        {"type": "queueTrigger", "direction": "in", "name": "msg", "queueName": "inbox-poison", "dataType": "binary"}]});
    std::fs::create_dir_all(dir.path().join("app/parked_message")).unwrap();
    std::fs::write(dir.path().join("app/parked_message/function.json"), manifest.to_string()).unwrap();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    host.enqueue("inbox-poison", b"good".to_vec()).await.unwrap();
    assert!(next(&mut receiver).await.ok, "a trigger on a poison queue is like any other");
    host.enqueue("inbox-poison", b"fail".to_vec()).await.unwrap();
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let report = next(&mut receiver).await;
        attempts.push((report.ok, report.attempt));
    }
    assert_eq!(attempts, [(false, 1), (false, 2), (false, 3)]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(receiver.try_recv().is_err(), "handed out more than maxDequeueCount times");
    assert_eq!(host.queue_len("inbox-poison").await.unwrap(), 1, "it lies there");
    assert_eq!(host.queue_len("inbox-poison-poison").await.unwrap(), 0);
    host.shutdown().await;
}

#[tokio::test]
async fn event_batches_in_order_over_failures_and_a_crash() {
    let (dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    lay(&dir, "crash-events");
    lay(&dir, "fail-events");
    let places = host.send_events("hub", events(&["0", "1", "2", "3", "4", "5", "6"])).unwrap();
    assert_eq!(places, (0..7).map(|sequence| (0, sequence)).collect::<Vec<_>>());
    host.wait_idle(LIMIT).await.unwrap();
    let reports = reports(&mut receiver);
    let outcome: Vec<(bool, u32, u64, u64)> = reports
        .iter()
        .map(|report| match &report.trigger {
            TriggerDetail::Events { first_sequence, last_sequence, .. } => {
                (report.ok, report.attempt, *first_sequence, *last_sequence)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcome, [(false, 1, 0, 2), (false, 2, 0, 2), (true, 3, 0, 2), (true, 1, 3, 5), (true, 1, 6, 6)]);
    assert_eq!((reports[0].status, reports[1].status), (None, Some(500)), "first the crash, then the failure");
    let value = reports[2].return_value.as_ref().unwrap();
    assert_eq!(value["texts"], json!(["0", "1", "2"]));
    assert_eq!((&value["retry"]["RetryCount"], &value["retry"]["MaxRetryCount"]), (&json!(2), &json!(-1)));
    assert!(value["retry"]["Exception"].to_string().len() > 10_000, "why the attempt before failed, with its stacks");

    host.rewind("hub", "events", 0, 5).unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let again: Vec<Value> = self::reports(&mut receiver).iter().filter_map(|r| r.return_value.clone()).collect();
    assert_eq!(again.iter().map(|value| value["texts"].clone()).collect::<Vec<_>>(), [json!(["5", "6"])]);
    assert_eq!(host.rewind("hub", "nobody", 0, 0).unwrap_err().kind(), HostErrorKind::Request);
    host.shutdown().await;
}

/// Changes a JSON file of the app.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

fn without_retry(config: &HostConfig) {
    edit(&config.app_dir.join("events/function.json"), |function| function["retry"] = Value::Null);
}

/// A batch is delivered again; a message has used up an attempt, here its last.
#[tokio::test]
async fn what_fails_because_the_host_stops_is_an_attempt_of_a_message_and_none_of_a_batch() {
    let (dir, config) = app();
    without_retry(&config);
    edit(&config.app_dir.join("host.json"), |host| host["extensions"]["queues"]["maxDequeueCount"] = json!(1));
    lay(&dir, "hang-events");
    let host = Host::start(config.clone()).await.unwrap();
    host.send_events("hub", events(&["0"])).unwrap();
    host.enqueue("inbox", b"hang".to_vec()).await.unwrap();
    until(|| dir.path().join("events-hang").exists() && dir.path().join("message-hangs").exists()).await;
    host.shutdown().await; // functionTimeout ends both
    std::fs::remove_file(dir.path().join("hang-events")).unwrap();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    assert_eq!((host.queue_len("inbox").await.unwrap(), host.queue_len("inbox-poison").await.unwrap()), (0, 1));
    let events = loop {
        let report = next(&mut receiver).await;
        if report.function == "events" {
            break report;
        }
    };
    assert_eq!(events.return_value.as_ref().unwrap()["texts"], json!(["0"]));
    drop(host);
}

#[tokio::test]
async fn without_a_retry_policy_a_failed_batch_is_checkpointed() {
    let (dir, config) = app();
    without_retry(&config);
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    lay(&dir, "fail-events");
    host.send_events("hub", events(&["0", "1", "2", "3"])).unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let outcome: Vec<bool> = reports(&mut receiver).iter().map(|report| report.ok).collect();
    assert_eq!(outcome, [false, true], "lost, as in the real host");
    host.shutdown().await;
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let (dir, config) = app();
    let host = Host::start(config.clone()).await.unwrap();
    host.send_events("hub", events(&["0", "1"])).unwrap();
    host.enqueue("unread", b"kept".to_vec()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let key = host.function_key().to_owned();
    assert!(matches!(Host::start(config.clone()).await, Err(functions_host::HostError::InUse { .. })));
    lay(&dir, "fail-always");
    let mut receiver = host.subscribe();
    host.send_events("hub", events(&["2"])).unwrap();
    assert!(!next(&mut receiver).await.ok);
    host.shutdown().await;
    std::fs::remove_file(dir.path().join("fail-always")).unwrap();

    let log = config.data_dir.join("eventhubs/hub/0.log");
    let mut torn = std::fs::read(&log).unwrap();
    torn.extend_from_slice(&[29, 0, 0, 0, 1, 2]);
    std::fs::write(&log, torn).unwrap();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    assert_eq!((host.function_key(), host.queue_len("unread").await.unwrap()), (key.as_str(), 1));
    assert_eq!(host.send_events("hub", events(&["3"])).unwrap(), [(0, 3)]);
    host.wait_idle(LIMIT).await.unwrap();
    let reports = reports(&mut receiver);
    let texts = reports.iter().map(|report| report.return_value.as_ref().unwrap()["texts"].as_array().unwrap());
    let texts: Vec<&Value> = texts.flatten().collect();
    assert_eq!(texts, ["2", "3"], "0 and 1 are behind the checkpoint; 2 was not settled by the shutdown");
    host.shutdown().await;
}

#[tokio::test]
async fn killed_and_timed_out_handlers_come_back() {
    let (dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    for _ in 0..4 {
        let pid = host.handler_pid().unwrap();
        assert_eq!(host.kill_handler().await, Some(pid), "more often than the crash limit allows crashes");
        assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
        host.enqueue("inbox", b"good".to_vec()).await.unwrap();
        host.wait_idle(LIMIT).await.unwrap();
        assert_ne!(host.handler_pid(), Some(pid));
    }
    lay(&dir, "crashed");
    host.enqueue("inbox", b"crash once".to_vec()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    reports(&mut receiver);

    let pid = host.handler_pid();
    host.enqueue("inbox", b"hang".to_vec()).await.unwrap();
    let report = next(&mut receiver).await;
    assert!(report.error.as_deref().unwrap().contains("timed out"), "{report:?}");
    assert_ne!(host.handler_pid(), pid, "functionTimeout kills the whole process");
    drop(host);
}

#[tokio::test]
async fn the_third_crash_stops_the_host() {
    let (dir, mut config) = app();
    let host = Host::start(config.clone()).await.unwrap();
    lay(&dir, "exit");
    host.enqueue("inbox", b"hang".to_vec()).await.unwrap();
    host.kill_handler().await;
    tokio::time::timeout(LIMIT, host.stopped()).await.unwrap();
    assert!(host.failure().unwrap().contains("crash 3"), "{:?}", host.failure());
    assert_eq!(host.wait_idle(LIMIT).await.unwrap_err().kind(), HostErrorKind::Handler);
    assert_eq!(
        (host.queue_len("inbox").await.unwrap(), host.queue_len("inbox-poison").await.unwrap()),
        (1, 0),
        "nothing was burned meanwhile"
    );
    host.shutdown().await;
    config.crash_limit = 1;
    assert_eq!(Host::start(config.clone()).await.unwrap_err().kind(), HostErrorKind::Handler);
    config.program = "/nonexistent/handler".into();
    let error = Host::start(config).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/handler"), "{error}");
}

#[tokio::test]
async fn dropping_the_host_kills_the_handler() {
    let (_dir, config) = app();
    let host = tokio::spawn(Host::start(config)).await.unwrap().unwrap();
    let exe = format!("/proc/{}/exe", host.handler_pid().unwrap());
    assert!(std::fs::read_link(&exe).is_ok());
    drop(host);
    until(|| std::fs::read_link(&exe).is_err()).await;
}

#[tokio::test]
async fn timers() {
    let (_dir, config) = app();
    let host = Host::start(config.clone()).await.unwrap();
    let report = host.run_timer("tick").await.unwrap();
    let timer = report.return_value.unwrap();
    assert_eq!((&timer["IsPastDue"], &timer["Schedule"]["AdjustForDST"]), (&json!(false), &json!(true)));
    assert_eq!(timer["ScheduleStatus"]["Last"], "0001-01-01T00:00:00");
    assert_eq!(host.run_timer("message").await.unwrap_err().kind(), HostErrorKind::Request);
    host.shutdown().await;

    // A run missed while the host was down is caught up.
    let status = json!({"last": null, "next": "2026-01-05T03:00:00Z", "last_updated": "2026-01-04T03:00:00Z"});
    let path = config.data_dir.join("timers/tick.json");
    std::fs::write(&path, status.to_string()).unwrap();
    let host = Host::start(config).await.unwrap();
    let caught_up = || {
        let status: Value = serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()).unwrap_or_default();
        !status["last"].is_null()
    };
    until(caught_up).await;
    host.shutdown().await;
}

#[tokio::test]
async fn landing_folder() {
    let (dir, mut config) = app();
    let landing = dir.path().join("landing");
    config.landing = Some(landing.clone());
    std::fs::create_dir_all(landing.join("in/2026")).unwrap();
    let host = Host::start(config.clone()).await.unwrap();
    let mut receiver = host.subscribe();
    std::fs::write(landing.join("in/2026/a b.csv"), "1,2").unwrap();
    for ignored in ["in/x.tmp", "in/x.part", "in/.hidden", "no-container"] {
        std::fs::write(landing.join(ignored), "x").unwrap();
    }
    host.wait_idle(LIMIT).await.unwrap();
    let event = |report: &Arc<InvocationReport>| -> Value {
        serde_json::from_str(report.return_value.as_ref().unwrap().as_str().unwrap()).unwrap()
    };
    let first: Vec<Value> = reports(&mut receiver).iter().map(event).collect();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["data"]["url"], "https://local.blob.core.windows.net/in/2026/a%20b.csv");
    host.announce_blob("in", "2026/a b.csv").unwrap();
    assert!(host.announce_blob("in", "../../app/host.json").is_err());
    host.wait_idle(LIMIT).await.unwrap();
    let again: Vec<Value> = reports(&mut receiver).iter().map(event).collect();
    assert_eq!(again[0]["data"]["eTag"], first[0]["data"]["eTag"]);
    assert!(again[0]["data"]["sequencer"].as_str() > first[0]["data"]["sequencer"].as_str());
    host.shutdown().await;

    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    host.wait_idle(LIMIT).await.unwrap();
    assert!(reports(&mut receiver).is_empty(), "known from before the restart");
    std::fs::write(landing.join("in/2026/a b.csv"), "1,2,3").unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(event(&reports(&mut receiver)[0])["data"]["contentLength"], 5);
    host.shutdown().await;
}
