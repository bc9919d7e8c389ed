//! The HTTP front.

use reqwest::{Client, StatusCode, header::HeaderValue};
use serde_json::{Value, json};

use super::{Host, LIMIT, app, next};

#[tokio::test]
async fn envelope_keys_and_forwarding() {
    let (_dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let (client, url) = (Client::builder().no_proxy().build().unwrap(), host.http_url());

    let web = format!("{url}/api/web/in/a/b%20c?force=1");
    assert_eq!(client.get(&web).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(client.get(format!("{web}&code=wrong")).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let request = client.post(&web).header("x-functions-key", host.function_key()).body("{}");
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["x-own"]),
        (StatusCode::CREATED, &HeaderValue::from_static("1"))
    );
    let seen: Value = response.json().await.unwrap();
    assert_eq!(seen["Params"], json!({"container": "in", "path": "a/b c"}));
    assert_eq!((&seen["Body"], &seen["Query"]["force"]), (&json!("{}"), &json!("1")));
    assert_eq!(host.queue_len("outbox").await.unwrap(), 1);

    let plain = format!("{url}/api/plain?x=1");
    let response = client.put(&plain).header("x-mine", "7").body("hello").send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["x-seen"]),
        (StatusCode::IM_A_TEAPOT, &HeaderValue::from_static("7"))
    );
    assert_eq!(response.text().await.unwrap(), "PUT /api/plain?x=1 Some(\"5\") hello");

    let guarded = format!("{url}/api/guarded?code={}", host.function_key());
    assert_eq!(client.get(&guarded).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(client.get(format!("{url}/api/nothing")).send().await.unwrap().status(), StatusCode::NOT_FOUND);

    let tick = client.post(format!("{url}/admin/functions/tick"));
    assert_eq!(tick.try_clone().unwrap().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let mut receiver = host.subscribe();
    let accepted = tick.header("x-functions-key", host.master_key()).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    assert_eq!(next(&mut receiver).await.trigger.kind(), "timer");
    host.shutdown().await;
}

#[tokio::test]
async fn events_and_messages() {
    let (_dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let (client, url) = (Client::builder().no_proxy().build().unwrap(), host.http_url());
    let mut receiver = host.subscribe();
    let batch = r#"[{"Body":"c","BrokerProperties":{"PartitionKey":"k"}},{"Body":{"d":1}}]"#;
    let cases = [
        ("hub", "application/json", "{\"a\":1}", 201, 1),
        ("hub", "application/x-ndjson", "a\r\n\nb\n", 201, 2),
        ("hub", "application/vnd.microsoft.servicebus.json", batch, 201, 2),
        ("hub", "application/vnd.microsoft.servicebus.json", "{}", 400, 0),
        ("other", "text/plain", "a", 404, 0),
    ];
    for (hub, content_type, body, status, count) in cases {
        let request = client.post(format!("{url}/eventhubs/{hub}/messages")).header("content-type", content_type);
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{body}");
        let places: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or(json!([]));
        assert_eq!(places.as_array().unwrap().len(), count);
    }
    let large = client.post(format!("{url}/eventhubs/hub/messages")).body(vec![0; 1024 * 1024 + 1]);
    assert_eq!(large.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    let from_page = client.post(format!("{url}/eventhubs/hub/messages")).header("origin", "http://evil.test").body("x");
    assert_eq!(from_page.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let message = client.post(format!("{url}/queues/inbox/messages")).body("good");
    assert_eq!(message.send().await.unwrap().status(), StatusCode::CREATED);
    host.wait_idle(LIMIT).await.unwrap();
    let mut texts = Vec::new();
    while let Ok(report) = receiver.try_recv() {
        match report.return_value.as_ref().unwrap() {
            Value::String(message) => assert_eq!(message, "good"),
            value => texts.extend(value["texts"].as_array().unwrap().clone()),
        }
    }
    assert_eq!(texts, ["{\"a\":1}", "a", "b", "c", "{\"d\":1}"]);
    host.shutdown().await;
}
