//! The process as the platform sees it: up at once, nothing touched before it is asked for, never late, and what it says
//! of itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::handler::{Handler, http_envelope};
use super::site::{Site, blob_created};

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
    let expected = json!({
        "recordsIn": 2, "committed": 1, "quarantined": 1, "alreadyCommitted": 0, "replaced": 0,
        "bytesIn": 34, "bytesRead": 34, "recordsWithBytes": 2, "leftOut": 0,
    });
    assert_eq!(orders["table"]["books"], expected);
    assert_eq!((&orders["table"]["rows"], &orders["quarantine"]["rows"]), (&json!(1), &json!(1)));
    let page = handler.client().get(handler.url("/api/status")).header("accept", "text/html,*/*").send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let page = page.text().await.unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<tr><td>orders<td>2<td>34<td>1<td>1<td>0<td>1<td>"),
        "{page}"
    );
}

/// The page's own style is all that a page may load; nothing of an answer stays in a cache or is shown in a frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_the_headers_that_keep_it_to_itself() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let get =
        |path: &str, accept: &str| handler.client().get(handler.url(path)).header("accept", accept.to_owned()).send();
    let mut page = String::new();
    for (path, accept, status) in [
        ("/", "*/*", 200),
        ("/api/status", "application/json", 200),
        ("/api/status", "text/html", 200),
        ("/api/status?parkedAfter=nonsense", "*/*", 400),
        ("/api/nothing", "*/*", 404),
        ("/run_task", "*/*", 405),
    ] {
        let answer = get(path, accept).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let headers = answer.headers();
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        check_headers(path, &header);
        if status == 200 && accept == "text/html" {
            let policy = header("content-security-policy").to_owned();
            page = answer.text().await.unwrap();
            let (_, style) = page.split_once("<style>").unwrap();
            let digest = BASE64.encode(Sha256::digest(style.split_once("</style>").unwrap().0));
            assert!(policy.contains(&format!("style-src 'sha256-{digest}'")), "{policy}");
        }
    }
    assert!(page.contains("<h1>Weir</h1>") && !page.contains("style=\"") && !page.contains("<script"), "{page}");
    // The answers that travel in an envelope.
    for (function, body) in
        [("reprocess", Some("{")), ("backfill", Some("{}")), ("retry", Some("{\"all\":true}")), ("retry", None)]
    {
        let answer = handler.post(function, http_envelope(function, body)).await.json();
        let response = &answer["Outputs"]["res"];
        check_headers(function, &|name: &str| response["headers"][name].as_str().unwrap_or_default());
    }
}

fn check_headers<'h>(what: &str, header: &dyn Fn(&str) -> &'h str) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(header(name), value, "{what}: {name}");
    }
    let policy = header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
}

/// A name with a line break begins no line of its own, in either format.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_is_one_log_line_whatever_a_message_says() {
    const FORGED: &str = "x\n2026-01-05T10:00:00Z  INFO forged\r\u{1b}[2J\u{85}\u{2028}\u{202e}y";
    for format in ["text", "json"] {
        let site = Site::new();
        let handler = Handler::start_with(&site, &[("WEIR_LOG_FORMAT", format), ("WEIR_LOG", "debug")]).await;
        let task = json!({ "task": "maintain", "dataset": FORGED }).to_string();
        let answer = handler.queue("run_task", task.as_bytes()).await;
        assert_eq!(answer.status, 500, "{}", answer.text);
        handler.queue("park_tasks", task.as_bytes()).await;
        handler.queue("ingest_blob", &blob_created(FORGED, "0x8D")).await;
        let log = handler.logged();
        assert!(log.contains("forged"), "nothing is logged of it: {log}");
        for line in log.lines() {
            let harmful = |letter: char| letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}');
            assert!(!line.contains(harmful), "{format}: {line:?}");
            let begins = if format == "json" { "{\"timestamp\":\"20" } else { "20" };
            assert!(line.starts_with(begins) && !line.starts_with("2026-01-05T10:00:00Z"), "{format}: {line:?}");
            if format == "json" {
                let event: Value = serde_json::from_str(line).unwrap();
                assert!(event["level"].is_string(), "{line}");
            }
        }
    }
}

/// The host starts a handler again on the port that it had, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_taken_again_right_after_a_kill_with_connections_open() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let port = handler.port;
    let mut open = Vec::new();
    for busy in 0..21 {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = if busy % 2 == 0 {
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        } else {
            "POST /ingest_clicks HTTP/1.1\r\nhost: x\r\nx-azure-functions-invocationid: i\r\ncontent-length: 9\r\n\r\n{"
        };
        connection.write_all(request.as_bytes()).unwrap();
        open.push(connection);
    }
    // All have arrived.
    let mut answer = [0; 12];
    open[20].read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    handler.kill();
    let again = Handler::start_on(&site, port).await;
    assert!(again.alive().await);
    assert!(again.ready_after < Duration::from_secs(3), "{:?}", again.ready_after);
    drop(open);
}
