//! The process as the platform sees it: up at once, nothing touched before it is asked for, never late, and the same
//! under AWS Lambda.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::handler::Handler;
use super::site::Site;
use crate::support::weir_binary;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_answers_at_once_and_opens_nothing() {
    let site = Site::new();
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(Handler::start(&site).await.ready_after);
    }
    println!("start of the process to the first answered GET /: {times:?}");
    // Generous: the machine may be busy with other tests. The bench measures it.
    assert!(times.iter().min().unwrap() < &Duration::from_secs(1), "{times:?}");
    assert!(!site.path("lake").exists() && !site.path("warehouse.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invocation_ends_before_the_host_would_kill_the_process() {
    let site = Site::new();
    let handler = Handler::start_with(&site, &[("WEIR_DEADLINE_S", "1")]).await;
    let mut connection = TcpStream::connect(("127.0.0.1", handler.port)).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let began = Instant::now();
    // The body never comes.
    let head =
        "POST /ingest_clicks HTTP/1.1\r\nhost: x\r\nx-azure-functions-invocationid: i\r\ncontent-length: 9\r\n\r\n{";
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 1024];
    let read = connection.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("deadline of 1000 ms"), "{answer}");
    assert!((1.0..10.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert!(handler.alive().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_json_for_machines_and_a_page_for_browsers() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let message = site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n2,-1.00,b\n").await;
    handler.ingest(&message).await;
    let status = handler.status().await;
    assert_eq!(status["balanced"], true);
    let orders = status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == "orders").unwrap();
    let expected = json!({ "recordsIn": 2, "committed": 1, "quarantined": 1, "alreadyCommitted": 0, "replaced": 0 });
    assert_eq!(orders["table"]["books"], expected);
    assert_eq!((&orders["table"]["rows"], &orders["quarantine"]["rows"]), (&json!(1), &json!(1)));
    let page = handler.client().get(handler.url("/api/status")).header("accept", "text/html,*/*").send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let page = page.text().await.unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<tr><td>orders<td>2<td>1<td>1<td>0<td>1<td>"),
        "{page}"
    );
}

/// The runtime API of Lambda: hands out events, takes answers.
struct Runtime {
    events: Mutex<mpsc::Receiver<Value>>,
    answers: mpsc::Sender<(String, String)>,
}

async fn next(State(runtime): State<Arc<Runtime>>) -> impl IntoResponse {
    let Some(event) = runtime.events.lock().await.recv().await else { std::future::pending().await };
    let headers = [
        ("Lambda-Runtime-Aws-Request-Id", "request-1"),
        ("Lambda-Runtime-Deadline-Ms", "99999999999999"),
        ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:weir"),
        ("Lambda-Runtime-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793"),
    ];
    (headers, event.to_string())
}

async fn answered(State(runtime): State<Arc<Runtime>>, Path((_, kind)): Path<(String, String)>, body: String) {
    runtime.answers.send((kind, body)).await.unwrap();
}

fn function_url_event(method: &str, path: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "host": "x.lambda-url.eu-central-1.on.aws", "content-type": "application/json" },
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "t" },
            "routeKey": "$default", "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
        },
        "isBase64Encoded": false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_binary_serves_aws_lambda() {
    let (events, receiver) = mpsc::channel(4);
    let (answers, mut received) = mpsc::channel(4);
    let runtime = Arc::new(Runtime { events: Mutex::new(receiver), answers });
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answered))
        .with_state(runtime);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let site = Site::new();
    let mut command = Command::new(weir_binary());
    command.env_clear().envs(site.settings()).env("AWS_LAMBDA_RUNTIME_API", address);
    command.envs([
        ("AWS_LAMBDA_FUNCTION_NAME", "weir"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for (path, status, part) in [("/api/status", 200, r#""balanced":true"#), ("/no_such_page", 404, "no function")] {
        events.send(function_url_event("GET", path)).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap();
        assert_eq!(answer.0, "response", "{answer:?}");
        let answer: Value = serde_json::from_str(&answer.1).unwrap();
        assert_eq!(answer["statusCode"], status, "{answer}");
        assert!(answer["body"].as_str().unwrap().contains(part), "{answer}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    server.abort();
}
