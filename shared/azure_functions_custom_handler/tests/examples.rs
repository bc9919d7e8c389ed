//! The examples, each started by `functions_host` as a host would start it. `cargo test` builds them first; with a filter
//! on targets (`--test examples`) add `--examples`.
#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml exempts test functions, not their helpers

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use functions_host::{EventIn, Host, HostConfig, InvocationReport};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

const LIMIT: Duration = Duration::from_secs(60);

/// The folder must live as long as the host.
async fn start(example: &str) -> (TempDir, Host) {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example).join("app");
    let data = tempfile::tempdir().unwrap();
    let mut config = HostConfig::new(app, program(example), data.path());
    config.partitions = 1;
    let host = Host::start(config).await.unwrap_or_else(|error| panic!("{example}: {error}"));
    (data, host)
}

/// Examples lie beside the folder of this test's own binary.
fn program(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples").join(example);
    assert!(program.exists(), "{} is missing: build it with `cargo build --examples`", program.display());
    program
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn next(receiver: &mut Receiver<Arc<InvocationReport>>) -> Arc<InvocationReport> {
    tokio::time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn http() {
    let (_data, host) = start("http").await;
    let hello = client().get(format!("{}/api/hello/world", host.http_url())).send().await.unwrap();
    assert_eq!((hello.status(), hello.text().await.unwrap().as_str()), (StatusCode::OK, "hello, world"));

    let orders = format!("{}/api/orders/jane", host.http_url());
    let order = |body: &'static str| client().post(&orders).header("x-functions-key", host.function_key()).body(body);
    assert_eq!(client().post(&orders).body("{}").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(order("not JSON").send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(host.queue_len("orders").await.unwrap(), 0);
    let accepted = order(r#"{"tea": 2}"#).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let answer: Value = accepted.json().await.unwrap();
    assert_eq!(answer["id"].as_str().map(str::len), Some(36), "{answer}");
    assert_eq!(host.queue_len("orders").await.unwrap(), 1);
    host.shutdown().await;
}

#[tokio::test]
async fn queue() {
    let (_data, host) = start("queue").await;
    let mut reports = host.subscribe();
    host.enqueue("names", b"world".to_vec()).await.unwrap();
    let report = next(&mut reports).await;
    assert_eq!((report.ok, report.logs.as_slice()), (true, ["greeted".to_owned()].as_slice()), "{report:?}");
    host.enqueue("names", vec![0xff, 0xfe]).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert!(next(&mut reports).await.ok, "handled, not retried");
    assert_eq!(host.queue_len("greetings").await.unwrap(), 1);
    assert_eq!(host.queue_len("names-poison").await.unwrap(), 0);
    host.shutdown().await;
}

#[tokio::test]
async fn event_hub() {
    let (_data, host) = start("event_hub").await;
    let bodies = [r#"{"sensor": "s1", "celsius": 20}"#, r#"{"sensor": "s2", "celsius": 91.5}"#, "no reading"];
    let events = bodies.map(EventIn::new);
    host.send_events("readings", events.to_vec()).unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(host.queue_len("alarms").await.unwrap(), 1);
    host.shutdown().await;
}

#[tokio::test]
async fn timer() {
    let (_data, host) = start("timer").await;
    let report = host.run_timer("tick").await.unwrap();
    assert!(report.ok && report.logs[0].starts_with("late: false, next: 20"), "{report:?}");
    host.shutdown().await;
}
