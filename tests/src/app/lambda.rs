//! AWS Lambda, where whoever passes the gateway writes the requests: one route, behind a key, and no function.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::handler::queue_envelope;
use super::site::Site;
use crate::structure;
use crate::support::weir_binary;

const KEY: &str = "v9Jw0cG7bqTz3sYk5nRd1hXe8mUa2pLf";

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

/// `weir` as Lambda starts it. It is killed when this is dropped.
struct Lambda {
    child: Child,
    events: mpsc::Sender<Value>,
    answers: mpsc::Receiver<(String, String)>,
}

impl Drop for Lambda {
    fn drop(&mut self) {
        // An error says that it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lambda {
    async fn start(site: &Site, extra: &[(&str, &str)]) -> Self {
        let (events, receiver) = mpsc::channel(4);
        let (sender, answers) = mpsc::channel(4);
        let runtime = Arc::new(Runtime { events: Mutex::new(receiver), answers: sender });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answered))
            .with_state(runtime);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut command = Command::new(weir_binary());
        command.env_clear().envs(site.settings()).envs(extra.iter().copied()).env("AWS_LAMBDA_RUNTIME_API", address);
        command.envs([
            ("AWS_LAMBDA_FUNCTION_NAME", "weir"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, events, answers }
    }

    /// A request as a function URL hands it over; answers the status and the body.
    async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u64, String) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut all = json!({ "host": "x.lambda-url.eu-central-1.on.aws", "content-type": "application/json" });
        for (name, value) in headers {
            all[*name] = json!(value);
        }
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": all,
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r",
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "t" },
                "routeKey": "$default", "stage": "$default",
                "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
            },
            "body": body, "isBase64Encoded": false,
        });
        self.events.send(event).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), self.answers.recv()).await.unwrap().unwrap();
        assert_eq!(answer.0, "response", "{answer:?}");
        let answer: Value = serde_json::from_str(&answer.1).unwrap();
        (answer["statusCode"].as_u64().unwrap(), answer["body"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_lambda_the_books_ask_for_a_key() {
    let site = Site::new();
    let mut lambda = Lambda::start(&site, &[("WEIR_LAMBDA_KEY", KEY)]).await;
    let (status, body) = lambda.ask("GET", "/api/status", &[("x-functions-key", KEY)], "").await;
    assert!(status == 200 && body.contains(r#""balanced":true"#), "{status} {body}");
    let shorter = &KEY[..KEY.len() - 1];
    let longer = format!("{KEY}0");
    let wrong: [&[(&str, &str)]; 6] = [
        &[],
        &[("x-functions-key", "")],
        &[("x-functions-key", shorter)],
        &[("x-functions-key", &longer)],
        // Believed by nobody who looks.
        &[("x-ms-client-principal", "eyJyb2xlcyI6WyJXZWlyLlJlYWQiXX0="), ("authorization", "Bearer x")],
        &[("x-azure-functions-invocationid", "35e6e68c-0b7f-4b52-9d2c-8d6c7a9c1f10")],
    ];
    for headers in wrong {
        let (status, body) = lambda.ask("GET", "/api/status", headers, "").await;
        assert!(status == 401 && body.contains("x-functions-key") && !body.contains("datasets"), "{headers:?}: {body}");
    }
    // Addresses are logged: a key there is none.
    assert_eq!(lambda.ask("GET", &format!("/api/status?code={KEY}"), &[], "").await.0, 401);
}

/// Deny by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_lambda_without_a_key_nobody_is_let_in() {
    let site = Site::new();
    let mut lambda = Lambda::start(&site, &[]).await;
    for key in ["", "undefined", KEY] {
        assert_eq!(lambda.ask("GET", "/api/status", &[("x-functions-key", key)], "").await.0, 401, "{key:?}");
    }
}

/// With the key, too: what the host alone may call, and what needs its queues, is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_lambda_no_function_is_there() {
    let site = Site::new();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await;
    let mut lambda = Lambda::start(&site, &[("WEIR_LAMBDA_KEY", KEY)]).await;
    let headers =
        [("x-functions-key", KEY), ("x-azure-functions-invocationid", "35e6e68c-0b7f-4b52-9d2c-8d6c7a9c1f10")];
    let task = json!({ "task": "ingest_blob", "dataset": "orders", "container": "landing", "path": "orders/a.csv" });
    let body = queue_envelope(task.to_string().as_bytes());
    let mut paths: Vec<String> = Vec::new();
    for (function, _) in structure::functions() {
        paths.extend([format!("/{function}"), format!("/api/{function}")]);
    }
    for more in
        ["/ingest_clicks", "/ingest_orders", "//run_task", "/RUN_TASK", "/%72un_task", "/api/../run_task", "/run_task/"]
    {
        paths.push(more.to_owned());
    }
    assert!(paths.contains(&"/park_tasks".to_owned()) && paths.contains(&"/maintain".to_owned()));
    for path in paths.iter().filter(|path| *path != "/api/status") {
        for method in ["POST", "GET"] {
            let (status, answer) = lambda.ask(method, path, &headers, &body).await;
            assert_eq!(status, 404, "{method} {path}: {answer}");
        }
    }
    assert_eq!(lambda.ask("POST", "/api/status", &headers, &body).await.0, 405);
    assert!(!site.path("lake/orders").exists(), "a forged task was carried out");
}
