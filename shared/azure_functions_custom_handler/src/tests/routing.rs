//! The router under every kind of trouble: it answers, in JSON, and lives.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{get, post as post_route};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::calls::{call, post, read, send};
use super::support::fixture;
use crate::*;

const MESSAGE: &str = r#"{"Data":{"msg":"aGk="},"Metadata":{}}"#;

fn short(deadline: Duration) -> Limits {
    Limits { max_body_bytes: 4096, max_concurrent: 1, deadline }
}

#[tokio::test]
async fn a_handler_gets_the_invocation_and_its_reply_reaches_the_host() {
    let app =
        FunctionApp::builder().function("f", DataType::Binary, |invocation: Invocation, message: QueueMessage| {
            assert!(invocation.remaining() > Duration::from_secs(1));
            let seen = format!("{} {} {:?} {:?}", invocation.id, invocation.function, invocation.inputs, message.body);
            async move { Ok(Reply::ok().output("tasks", vec![seen])) }
        });
    let (status, body) = call(&app.build().into_router(), "/f", fixture("input_bindings")).await;
    assert_eq!(status, StatusCode::OK);
    let seen = body["Outputs"]["tasks"][0].as_str().unwrap();
    assert!(seen.starts_with("b2b0ba3f-0000-4000-8000-000000000001 f "), "{seen}");
    // Both were encoded once more than their type needs: a text stays a text, a number becomes one again.
    assert!(seen.contains(r#"String("{\"depth\":2}"), "limit": Number(4)"#), "{seen}");
    assert!(seen.ends_with("b\"hi\""), "{seen}");
}

#[tokio::test]
async fn a_state_reaches_functions_of_every_kind_and_routes() {
    let app = FunctionApp::builder()
        .queue("before", |_, _| async { Ok(Reply::ok().log("none")) })
        .with_state(Arc::new("shared".to_owned()))
        .queue("queue", |state, _, _| async move { Ok(Reply::ok().log(state.as_str())) })
        .timer("timer", |state, _, _| async move { Ok(Reply::ok().log(state.as_str())) })
        .event_hub(
            "events",
            |state, _, batch| async move { Ok(Reply::ok().log(format!("{state} {}", batch.events.len()))) },
        )
        .event_grid("grid", |state, _, event| async move { Ok(Reply::ok().log(format!("{state} {}", event.id.len()))) })
        .http("http", |state, _, _| async move { Ok(HttpReply::json(StatusCode::OK, &json!(*state))) })
        .forwarded(
            Router::new()
                .route("/api/state", get(|State(state): State<Arc<String>>| async move { format!("\"{state}\"") })),
        )
        .limits(short(Duration::from_secs(5)));
    let app = app.build();
    assert!(!format!("{app:?}").contains("shared"), "a state may be a secret");
    let app = app.into_router();
    let cases = [
        ("/before", Bytes::from(MESSAGE), "none"),
        ("/queue", Bytes::from(MESSAGE), "shared"),
        ("/timer", fixture("timer"), "shared"),
        ("/events", fixture("event_hub_many_empty"), "shared 0"),
    ];
    for (path, envelope, log) in cases {
        let (status, body) = call(&app, path, envelope).await;
        assert_eq!((status, &body["Logs"]), (StatusCode::OK, &json!([log])), "{path}");
    }
    let (_, body) = call(&app, "/grid", fixture("event_grid")).await;
    assert!(body["Logs"][0].as_str().is_some_and(|log| log.starts_with("shared ")), "{body}");
    let (_, body) = call(&app, "/http", fixture("http_envelope")).await;
    assert_eq!(body["Outputs"]["res"]["body"], "\"shared\"");
    let response = send(&app, Request::get("/api/state").body(Body::empty()).unwrap()).await;
    let text = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(text, "\"shared\"");
    assert_eq!(call(&app, "/queue", " ".repeat(5000)).await.0, StatusCode::PAYLOAD_TOO_LARGE, "its limits count");
}

#[tokio::test]
async fn an_enveloped_http_function_answers_like_a_plain_one() {
    let app = FunctionApp::builder().http("reprocess", |_, request| async move {
        assert_eq!(request.uri().query(), Some("force=1"));
        Ok(HttpReply::json(StatusCode::ACCEPTED, &json!({"bytes": request.body().len()}))
            .output("tasks", vec!["t".into()]))
    });
    let (status, body) = call(&app.build().into_router(), "/reprocess", fixture("http_envelope")).await;
    assert_eq!((status, &body["Outputs"]["res"]["statusCode"]), (StatusCode::OK, &json!(202)));
    assert_eq!(body["Outputs"]["res"]["body"], "{\"bytes\":21}");
}

/// The host merges a caller's query and body into the metadata, and retries no HTTP function.
#[tokio::test]
async fn a_caller_cannot_make_a_request_look_like_a_retry() {
    let app = FunctionApp::builder().http("reprocess", |invocation, _| async move {
        Ok(HttpReply::json(StatusCode::OK, &json!({ "retried": invocation.retry.is_some() })))
    });
    let (_, body) = call(&app.build().into_router(), "/reprocess", fixture("http_envelope_merged_metadata")).await;
    assert_eq!(body["Outputs"]["res"]["body"], "{\"retried\":false}");
}

#[tokio::test]
async fn a_public_router_has_the_forwarded_routes_and_no_function() {
    let app = FunctionApp::builder()
        .queue("f", |_, _| async { Ok(Reply::ok()) })
        .forwarded(Router::new().route("/api/status", get(|| async { "fine" })))
        .build()
        .into_public_router();
    for path in ["/f", "//f", "/F", "/%66", "/api/f", "/api/../f"] {
        assert_eq!(send(&app, post(path, MESSAGE)).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/", "/api/status"] {
        assert_eq!(
            send(&app, Request::get(path).body(Body::empty()).unwrap()).await.status(),
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test]
async fn requests_that_the_host_would_not_send_are_refused_in_json() {
    let app = FunctionApp::builder()
        .queue("f", |_, _| async { Ok(Reply::ok()) })
        .forwarded(Router::new().route("/api/only_get", get(|| async { "{}" })))
        .build()
        .into_router();
    let id = |request: http::request::Builder, id: &str| request.header("x-azure-functions-invocationid", id);
    let cases = [
        (post("/unknown", MESSAGE), 404, "request"),
        (post("/f/", MESSAGE), 404, "request"),
        (post("//f", MESSAGE), 404, "request"),
        (Request::get("/api/nothing").body(Body::empty()).unwrap(), 404, "request"),
        (Request::get("/f").body(Body::empty()).unwrap(), 405, "request"),
        (post("/", MESSAGE), 405, "request"),
        (Request::post("/f").body(MESSAGE.into()).unwrap(), 400, "request"),
        (id(Request::post("/f"), "").body(MESSAGE.into()).unwrap(), 400, "request"),
        (id(Request::post("/f"), &"x".repeat(200)).body(MESSAGE.into()).unwrap(), 400, "request"),
        (post("/f", "{broken"), 400, "payload"),
        (post("/f", Bytes::from_static(b"\xff\xfe")), 400, "payload"),
        (post("/f", Body::empty()), 400, "payload"),
    ];
    for (request, status, kind) in cases {
        let name = format!("{} {}", request.method(), request.uri());
        let (got, body) = read(send(&app, request).await).await;
        assert_eq!((got.as_u16(), &body["error"]), (status, &json!(kind)), "{name}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{name}");
    }
}

/// Else whoever sends it sees its connection reset, and mostly not the answer.
#[tokio::test]
async fn a_body_that_is_refused_is_read_to_its_end() {
    let app = FunctionApp::builder()
        .queue("f", |_, _| async { Ok(Reply::ok()) })
        .event_hub("events", |_, _| async { Ok(Reply::ok()) })
        .limits(short(Duration::from_secs(5)));
    let app = app.build().into_router();
    for function in ["/f", "/events"] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let chunks = futures::stream::iter(0..1000).map(move |_| {
            count.fetch_add(1, SeqCst);
            Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 1000]))
        });
        let (status, _) = call(&app, function, Body::from_stream(chunks)).await;
        assert_eq!((status, sent.load(SeqCst)), (StatusCode::PAYLOAD_TOO_LARGE, 1000), "{function}");
    }
}

#[tokio::test]
async fn oversized_bodies_are_refused_announced_or_not() {
    let app = FunctionApp::builder().queue("f", |_, _| async { Ok(Reply::ok()) }).limits(short(Duration::from_secs(5)));
    let app = app.forwarded(Router::new().route("/api/echo", post_route(|body: Bytes| async move { body })));
    let app = app.build().into_router();
    let large = vec![b' '; 5000];
    let chunks =
        futures::stream::iter(large.chunks(1000).map(|chunk| Ok::<_, io::Error>(Bytes::copy_from_slice(chunk))));
    let chunks: Vec<_> = futures::StreamExt::collect(chunks).await;
    for body in [Body::from(large.clone()), Body::from_stream(futures::stream::iter(chunks))] {
        let (status, body) = call(&app, "/f", body).await;
        assert_eq!((status, &body["error"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("limit")));
    }
    let forwarded = Request::post("/api/echo").body(Body::from(large)).unwrap();
    assert_eq!(send(&app, forwarded).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // A body of exactly the limit passes.
    let fits = format!("{MESSAGE:<4096}");
    assert_eq!(call(&app, "/f", fits).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let app = FunctionApp::builder().queue("f", |_, _| async { Ok(Reply::ok()) }).build().into_router();
    let parts = [Ok(Bytes::from_static(b"{\"Data\"")), Err(io::Error::other("reset"))];
    let (status, _) = call(&app, "/f", Body::from_stream(futures::stream::iter(parts))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

/// Panics when it is dropped at the deadline.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("secret");
        }
    }
}

#[tokio::test]
async fn panics_and_errors_are_answers_and_the_app_lives() {
    let app = FunctionApp::builder()
        .queue("fails", |_, _| async { Err(HandlerError::with_source("commit failed", io::Error::other("disk full"))) })
        .queue("panics", |_, _| async { panic!("secret") })
        .queue("panics_early", |_, message| {
            assert!(message.body.is_empty(), "secret");
            async { Ok(Reply::ok()) }
        })
        .queue("panics_in_drop", |_, _| async {
            let _grenade = Grenade;
            std::future::pending().await
        })
        .http("cannot_encode", |_, _| async { Ok(HttpReply::new(http::Response::new(Bytes::from_static(b"\xff")))) })
        .queue("works", |_, _| async { Ok(Reply::ok()) })
        .forwarded(Router::new().route("/api/panics", get(|| async { panic!("secret") as () })))
        .limits(Limits { deadline: Duration::from_millis(100), ..Limits::default() })
        .build()
        .into_router();
    let (status, body) = call(&app, "/fails", MESSAGE).await;
    assert_eq!((status.as_u16(), &body["message"]), (500, &json!("commit failed: disk full")));
    for path in ["/panics", "/panics_early", "/panics_in_drop"] {
        let (status, body) = call(&app, path, MESSAGE).await;
        assert_eq!((status.as_u16(), &body["message"]), (500, &json!("the handler panicked")), "{path}");
    }
    assert_eq!(call(&app, "/cannot_encode", fixture("http_envelope")).await.0.as_u16(), 500);
    let (status, _) = read(send(&app, Request::get("/api/panics").body(Body::empty()).unwrap()).await).await;
    assert_eq!(status.as_u16(), 500);
    assert_eq!(call(&app, "/works", MESSAGE).await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_deadline_drops_the_handler_and_frees_its_slot() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&drops);
    let app = FunctionApp::builder()
        .queue("hangs", move |_, _| {
            let dropped = Dropped(Arc::clone(&seen));
            async move {
                let _dropped = dropped;
                std::future::pending().await
            }
        })
        .queue("works", |_, _| async { Ok(Reply::ok()) })
        .forwarded(Router::new().route("/api/hangs", get(|| async { std::future::pending::<()>().await })))
        .limits(short(Duration::from_millis(80)))
        .build()
        .into_router();
    let started = Instant::now();
    let (status, body) = call(&app, "/hangs", MESSAGE).await;
    assert_eq!((status.as_u16(), &body["error"]), (500, &json!("deadline")));
    assert!(started.elapsed() >= Duration::from_millis(80) && started.elapsed() < Duration::from_secs(5));
    assert_eq!(drops.load(SeqCst), 1);
    // The only slot is free again, and a body that never ends falls under the deadline too.
    assert_eq!(call(&app, "/works", MESSAGE).await.0, StatusCode::OK);
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, io::Error>>());
    assert_eq!(call(&app, "/works", endless).await.1["error"], "deadline");
    let (status, _) = read(send(&app, Request::get("/api/hangs").body(Body::empty()).unwrap()).await).await;
    assert_eq!(status.as_u16(), 500);
}

#[tokio::test]
async fn concurrency_is_limited_and_the_probe_is_not() {
    let (running, most, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (now, peak, wait) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
    let app = FunctionApp::builder()
        .queue("slow", move |_, _| {
            let (now, peak, wait) = (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&wait));
            async move {
                peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                wait.notified().await;
                now.fetch_sub(1, SeqCst);
                Ok(Reply::ok())
            }
        })
        .forwarded(Router::new().route("/api/status", get(|| async { "fine" })))
        .limits(Limits { max_concurrent: 2, deadline: Duration::from_secs(20), ..Limits::default() })
        .build()
        .into_router();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { call(&app, "/slow", MESSAGE).await.0 })
        })
        .collect();
    while running.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    for path in ["/", "/api/status"] {
        let response = send(&app, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    for call in calls {
        while !call.is_finished() {
            gate.notify_one();
            tokio::task::yield_now().await;
        }
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(most.load(SeqCst), 2);
}

#[tokio::test]
async fn a_slot_that_never_comes_free_is_an_answer_before_the_deadline_of_the_host() {
    let app = FunctionApp::builder()
        .queue("hangs", |_, _| async { std::future::pending().await })
        .limits(short(Duration::from_millis(80)))
        .build()
        .into_router();
    // The one that waits may get the slot in the very moment in which its time is over, too.
    for _ in 0..100 {
        let (first, second) = tokio::join!(call(&app, "/hangs", MESSAGE), call(&app, "/hangs", MESSAGE));
        match (first.0.as_u16(), second.0.as_u16()) {
            (500, 503) | (503, 500) => return,
            other => assert_eq!(other, (500, 500)),
        }
    }
    panic!("a request that waits was never told that all slots are taken");
}

#[tokio::test]
async fn forwarded_routes_are_plain_axum() {
    let routes = Router::new().route(
        "/api/echo/{name}",
        post_route(
            |Path(name): Path<String>, body: String| async move { (StatusCode::CREATED, format!("{name} {body}")) },
        ),
    );
    let app = FunctionApp::builder().forwarded(routes).build().into_router();
    let response = send(&app, Request::post("/api/echo/x").body("hello".into()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(&body[..], b"x hello");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn events_of_an_invocation_carry_its_ids() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = FunctionApp::builder()
        .queue("f", |invocation, _| async move {
            tracing::info!("working");
            Ok(Reply::ok().log(invocation.traceparent.unwrap_or_default()))
        })
        .build()
        .into_router();
    // Another test may come by a log line first, in a thread where nobody listens, and the line remembers that. After one
    // invocation every line is known to tracing, so that none escapes being asked again.
    send(&app, post("/f", MESSAGE)).await;
    tracing::callsite::rebuild_interest_cache();
    log.0.lock().unwrap().clear();
    for (sent, kept) in [(TRACE, TRACE), ("not-a-trace", "")] {
        let mut request = post("/f", MESSAGE);
        request.headers_mut().insert("traceparent", sent.parse().unwrap());
        let (_, body) = read(send(&app, request).await).await;
        assert_eq!(body["Logs"][0], kept);
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("working")).unwrap();
    for part in ["function=f", "invocation_id=b2b0ba3f-0000-4000-8000-000000000001", TRACE] {
        assert!(line.contains(part), "{line}");
    }
    assert!(log.contains("invocation succeeded") && !log.contains("not-a-trace"), "{log}");
}

/// Over a socket as the host does it: `GET /` to find it ready, then a chunked POST of more than axum's 2 MB.
#[tokio::test]
async fn serves_chunked_posts_on_the_loopback_address() {
    let app = FunctionApp::builder().event_hub("f", |_, batch| async move {
        let bytes: usize = batch.events.iter().map(|event| event.body.len()).sum();
        Ok(Reply::ok().log(bytes.to_string()))
    });
    let listener = bind(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(address.ip().is_loopback());
    let taken = bind(address.port()).await.unwrap_err();
    assert!(matches!(taken, Error::Bind { .. }), "{taken}");
    let server = tokio::spawn(serve(app.build(), listener));

    let ready = exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");

    let event = "QUJD".repeat(1 << 18); // 1 MiB of base64, 768 KiB of body
    let events = [format!(r#"\"{event}\""#), format!(r#"\"{event}\""#), format!(r#"\"{event}\""#)].join(",");
    let body = format!(r#"{{"Data":{{"events":"[{events}]"}},"Metadata":{{}}}}"#);
    let mut request =
        b"POST /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n\
        X-Azure-Functions-InvocationId: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in body.as_bytes().chunks(81_920) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let reply = exchange(address, &request).await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains(r#""Logs":["2359296"]"#), "{reply}");
    server.abort();
}

async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
