//! What the Functions host does to an app that a kinder one would not.

use std::process::Command;
use std::time::Duration;

use functions_host::{Host, HostConfig};
use serde_json::{Value, json};

use super::operations::{settle, start, status};
use super::site::{Site, read_json, write_json};
use crate::support::{checked, weir_binary};

/// A deployment stops the host while a message is at work: that was an attempt, here the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_last_attempt_a_deployment_takes_is_carried_out_all_the_same() {
    let site = Site::new();
    let app = site.app_folder();
    let mut manifest = read_json(&app.join("host.json"));
    manifest["extensions"]["queues"]["maxDequeueCount"] = 1.into();
    write_json(&app.join("host.json"), &manifest);
    let mut config = HostConfig::new(app, weir_binary(), site.path("host"));
    config.args = vec!["serve".to_owned()];
    config.env = site.settings();
    config.landing = Some(site.path("landing"));
    config.run_timers = false;
    config.partitions = 1;
    let host = Host::start(config.clone()).await.unwrap();
    // It answers nothing any more, as one that is busy until the end.
    let pid = host.handler_pid().unwrap().to_string();
    checked(Command::new("kill").args(["-STOP", &pid]), "kill -STOP");
    host.enqueue("blob-events", site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    host.shutdown().await;
    assert_eq!(site.rows("orders", &["id"]).await, Vec::<String>::new());

    let host = Host::start(config).await.unwrap();
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id"]).await, ["1"]);
    let books = status(&host).await;
    assert_eq!((&books["parkedCount"], &books["balanced"]), (&json!(0), &json!(true)));
    host.shutdown().await;
}

/// The host does not pass on a body that came without its length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_its_length_is_asked_for() {
    let site = Site::new();
    let host = start(&site).await;
    for route in ["reprocess", "backfill", "retry"] {
        let url = format!("{}/api/{route}", host.http_url());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = || client.post(&url).header("x-functions-key", host.function_key());
        let body = br#"{"dataset":"orders","path":"orders/a.csv"}"#;
        let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body.to_vec())]);
        for request in [request().body(reqwest::Body::wrap_stream(chunks)), request(), request().body("")] {
            let answer = request.send().await.unwrap();
            let (code, answer): (u16, Value) = (answer.status().as_u16(), answer.json().await.unwrap());
            let message = answer["error"].as_str().unwrap();
            assert!(code == 411 && message.contains("send the body with its length"), "{route}: {code} {message}");
        }
    }
    host.shutdown().await;
}

/// Query and body are merged into the metadata: they are not the host's word, and nothing comes of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_writes_into_the_metadata_changes_nothing() {
    let site = Site::new();
    let host = start(&site).await;
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await;
    settle(&host).await;
    let url = format!("{}/api/reprocess?RetryContext=9&sys=x&Headers=y&Query=z&tasks=t", host.http_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(&url).header("x-functions-key", host.function_key());
    let answer = request.json(&json!({ "dataset": "orders", "path": "orders/a.csv" })).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let body =
        json!({ "dataset": "orders", "path": "orders/a.csv", "RetryContext": { "RetryCount": 9, "MaxRetryCount": 9 } });
    let request = client.post(&url).header("x-functions-key", host.function_key());
    assert_eq!(request.json(&body).send().await.unwrap().status(), 400, "an unknown field");
    settle(&host).await;
    assert_eq!(site.each_place_once("orders").await, 1);
    assert_eq!(status(&host).await["balanced"], true);
    host.shutdown().await;
}
