//! Golden envelopes: the shapes of the protocol's facts page, literally.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    config::{AuthLevel, Cardinality, QueueName, Schedule},
    http::http_request,
};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn metadata(function: &str) -> Metadata {
    Metadata::new(function, time("2026-01-05T10:00:00.0042Z"), Uuid::nil())
}

fn sys(function: &str) -> Value {
    let id = "00000000-0000-0000-0000-000000000000";
    json!({"MethodName": function, "UtcNow": "2026-01-05T10:00:00.004200Z", "RandGuid": id})
}

fn delivery() -> Delivery {
    let inserted = time("2026-01-05T10:00:00Z");
    Delivery {
        id: "6e1b-message".to_owned(),
        text: String::new(),
        body: None,
        inserted,
        expires: inserted + TimeDelta::days(7),
        next_visible: inserted + TimeDelta::minutes(10),
        pop_receipt: "AgAAAAMA".to_owned(),
        dequeue_count: 1,
    }
}

fn trigger(binary: bool) -> QueueTrigger {
    let queue = QueueName { connection: "S".into(), queue: "blob-events".into() };
    QueueTrigger { binding: "msg".into(), queue, binary }
}

#[test]
fn encoding_table() {
    let cases = [
        (Net::Bytes(b"hi"), json!("aGk=")),
        (Net::DateTimeOffset(time("2023-10-12T20:13:49.7Z")), json!("2023-10-12T20:13:49+00:00")),
        (Net::Json(json!({"a": [1]})), json!({"a": [1]})),
        (Net::Json(json!("hello")), json!("\"hello\"")),
        (Net::Json(json!(4)), json!("4")),
        (Net::Json(json!(true)), json!("true")),
        (Net::Json(json!(["a"])), json!("[\"a\"]")),
    ];
    for (value, expected) in cases {
        assert_eq!(value.encode(), expected);
    }
}

#[test]
fn queue_binary() {
    let found = queue(&trigger(true), &delivery(), br#"{"id":"6e1b"}"#, metadata("OnBlobEvent"));
    let expected = json!({
        "Data": {"msg": "eyJpZCI6IjZlMWIifQ=="},
        "Metadata": {
            "sys": sys("OnBlobEvent"), "DequeueCount": "1", "ExpirationTime": "2026-01-12T10:00:00+00:00",
            "Id": "\"6e1b-message\"", "InsertionTime": "2026-01-05T10:00:00+00:00",
            "NextVisibleTime": "2026-01-05T10:10:00+00:00", "PopReceipt": "\"AgAAAAMA\"",
        },
    });
    assert_eq!(found, expected);
}

#[test]
fn queue_string_is_quoted_twice_and_merged() {
    let body = r#"{"id":"6e1b","n":4,"data":{"a":1},"list":[1],"none":null,"myTrigger":"x"}"#;
    let found = queue(&trigger(false), &delivery(), body.as_bytes(), metadata("OnBlobEvent"));
    assert_eq!(found["Data"]["msg"], Value::String(Value::from(body).to_string()));
    let metadata = found["Metadata"].as_object().unwrap();
    assert_eq!(metadata["Id"], "\"6e1b\"", "the event's id replaces the message's, under the message's spelling");
    assert_eq!((&metadata["n"], &metadata["data"]), (&json!("4"), &json!({"a": 1})));
    for key in ["id", "list", "none", "myTrigger"] {
        assert!(!metadata.contains_key(key), "{key}");
    }
}

fn hub_trigger(cardinality: Cardinality, binary: bool) -> EventHubTrigger {
    let (binding, hub, consumer_group) = ("events".into(), "telemetry".into(), "$Default".into());
    EventHubTrigger { binding, hub, consumer_group, cardinality, binary }
}

fn two_events() -> [Event; 2] {
    let event = |sequence, offset, key: Option<&str>, enqueued, body: &'static [u8]| Event {
        sequence,
        offset,
        enqueued: time(enqueued),
        partition_key: key.map(str::to_owned),
        body: body.into(),
        sections: bytes::Bytes::new(),
    };
    [
        event(41, 8_589_934_592, None, "2026-01-05T10:00:00.123Z", br#"{"a":1}"#),
        event(42, 8_589_934_656, Some("k1"), "2026-01-05T10:00:01Z", b"\xff\""),
    ]
}

const SOURCE: PartitionSource<'static> = PartitionSource { namespace: "ns.servicebus.windows.net", partition: 3 };

#[test]
fn event_hub_many_binary() {
    let found = events(&hub_trigger(Cardinality::Many, true), &SOURCE, &two_events(), metadata("ingest"));
    let context = json!({
        "IsCheckpointingAfterInvocation": true, "FullyQualifiedNamespace": "ns.servicebus.windows.net",
        "EventHubName": "telemetry", "ConsumerGroup": "$Default", "PartitionId": "3",
    });
    let expected = json!({
        "Data": {"events": "[\"eyJhIjoxfQ==\",\"/yI=\"]"},
        "Metadata": {
            "sys": sys("ingest"), "TriggerPartitionContext": context, "PartitionContext": context,
            "PartitionKeyArray": "[null,\"k1\"]",
            "OffsetArray": "[\"8589934592\",\"8589934656\"]",
            "OffsetStringArray": "[\"8589934592\",\"8589934656\"]",
            "SequenceNumberArray": "[41,42]",
            "EnqueuedTimeUtcArray": "[\"2026-01-05T10:00:00.123\",\"2026-01-05T10:00:01\"]",
            "PropertiesArray": "[{},{}]",
            "SystemPropertiesArray": "[{\"SequenceNumber\":41,\"Offset\":8589934592,\"OffsetString\":\"8589934592\",\
                \"PartitionKey\":null,\"EnqueuedTimeUtc\":\"2026-01-05T10:00:00.123\"},{\"SequenceNumber\":42,\
                \"Offset\":8589934656,\"OffsetString\":\"8589934656\",\"PartitionKey\":\"k1\",\
                \"EnqueuedTimeUtc\":\"2026-01-05T10:00:01\"}]",
        },
    });
    assert_eq!(found, expected);
}

#[test]
fn event_hub_other_shapes() {
    let many = events(&hub_trigger(Cardinality::Many, false), &SOURCE, &two_events(), metadata("f"));
    assert_eq!(many["Data"]["events"], "[\"{\\\"a\\\":1}\",\"\u{fffd}\\\"\"]");
    let one = event(&hub_trigger(Cardinality::One, true), &SOURCE, &two_events()[1], metadata("f"));
    assert_eq!((&one["Data"]["events"], &one["Metadata"]["SequenceNumber"]), (&json!("/yI="), &json!("42")));
    assert_eq!(one["Metadata"]["PartitionKey"], "\"k1\"");
    let one = event(&hub_trigger(Cardinality::One, false), &SOURCE, &two_events()[0], metadata("f"));
    assert_eq!((&one["Data"]["events"], &one["Metadata"]["a"]), (&json!("\"{\\\"a\\\":1}\""), &json!("1")));
    assert!(one["Metadata"].get("PartitionKey").is_none(), "nulls are dropped");
}

#[test]
fn retry_context() {
    let seconds = std::time::Duration::from_secs;
    let policy = RetryPolicy { max_retries: None, minimum: seconds(1), maximum: seconds(2) };
    let context = |retry, failure| {
        let mut endless = metadata("f");
        endless.retry(&policy, retry, failure);
        envelope("x", Value::Null, endless)["Metadata"]["RetryContext"].clone()
    };
    let expected = json!({"RetryCount": 0, "MaxRetryCount": -1, "Exception": null, "Instance": null, "State": {}});
    assert_eq!(context(0, None), expected);
    let second = context(1, Some("status 500"));
    let exception = &second["Exception"];
    assert_eq!(exception["InnerException"]["InnerException"]["Message"], "status 500");
    assert!(exception.to_string().len() > 10_000, "the whole exception is there, with its stacks");
}

#[test]
fn timers() {
    let schedule = Schedule::parse("0 0 * * * *").unwrap();
    let trigger = TimerTrigger {
        binding: "timer".into(),
        schedule,
        expression: String::new(),
        monitor: true,
        run_on_startup: false,
    };
    let status = |last| ScheduleStatus {
        last,
        next: time("2026-01-05T10:00:00Z"),
        last_updated: time("2026-01-05T09:00:00.0012Z"),
    };
    let found = timer(&trigger, Some(&status(Some(time("2026-01-05T09:00:00.0012Z")))), false, metadata("Compact"));
    let expected = json!({
        "Data": {"timer": {
            "Schedule": {"AdjustForDST": true},
            "ScheduleStatus": {"Last": "2026-01-05T09:00:00.001200+00:00", "Next": "2026-01-05T10:00:00+00:00",
                "LastUpdated": "2026-01-05T09:00:00.001200+00:00"},
            "IsPastDue": false,
        }},
        "Metadata": {"sys": sys("Compact")},
    });
    assert_eq!(found, expected);
    let first = timer(&trigger, Some(&status(None)), true, metadata("Compact"));
    assert_eq!(first["Data"]["timer"]["ScheduleStatus"]["Last"], "0001-01-01T00:00:00");
    assert_eq!(first["Data"]["timer"]["IsPastDue"], true);
    assert_eq!(timer(&trigger, None, false, metadata("c"))["Data"]["timer"]["ScheduleStatus"], Value::Null);
}

#[test]
fn http_requests() {
    let request = |content_type: &str, length: Option<&str>| {
        let mut request = http::Request::post("/api/reprocess/in?force=1&a=x%20y&a=z").header("host", "app.test");
        request = request.header("content-type", content_type);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        request.body(()).unwrap().into_parts().0
    };
    let parameters = BTreeMap::from([("container".to_owned(), "in".to_owned())]);
    let body = br#"{"from":"2026-01-01"}"#;
    let json_request = request("application/json", Some("21"));
    let found = http_request("req", &json_request, body, &parameters, None, metadata("reprocess"));
    let expected = json!({
        "Data": {"req": {
            "Url": "http://app.test/api/reprocess/in?force=1&a=x%20y&a=z",
            "Method": "POST", "Query": {"force": "1", "a": "x y,z"},
            "Headers": {"Host": ["app.test"], "Content-Type": ["application/json"], "Content-Length": ["21"]},
            "Params": {"container": "in"},
            "Identities": [{"AuthenticationType": null, "IsAuthenticated": false, "Claims": [], "Name": null}],
            "Body": "{\"from\":\"2026-01-01\"}",
        }},
        "Metadata": {
            "sys": sys("reprocess"), "container": "\"in\"", "force": "\"1\"", "a": "\"x y,z\"", "from": "\"2026-01-01\"", "Query": {"force": "1", "a": "x y,z"},
            "Headers": {"Host": "app.test", "Content-Type": "application/json", "Content-Length": "21"},
        },
    });
    assert_eq!(found, expected);
    for (content_type, length, body) in [
        ("application/octet-stream", Some("2"), Some("aGk=")),
        ("multipart/form-data; boundary=x", Some("2"), Some("aGk=")),
        ("text/plain", Some("2"), Some("hi")),
        ("text/plain", Some("0"), None),
        ("text/plain", None, None),
    ] {
        let found = http_request("req", &request(content_type, length), b"hi", &parameters, None, metadata("f"));
        assert_eq!(found["Data"]["req"].get("Body").and_then(Value::as_str), body, "{content_type} {length:?}");
    }
}

/// A caller can write metadata, even what the host writes elsewhere.
#[test]
fn http_requests_of_somebody_with_a_key() {
    let body = br#"{"RetryContext":{"RetryCount":9},"list":[1],"none":null,"n":4}"#;
    let length = body.len().to_string();
    let request = http::Request::post("/api/reprocess?code=secret&x=1").header("content-length", length);
    let parts = request.body(()).unwrap().into_parts().0;
    let caller = Some(("default", AuthLevel::Function));
    let found = http_request("req", &parts, body, &BTreeMap::new(), caller, metadata("reprocess"));
    let metadata = found["Metadata"].as_object().unwrap();
    assert_eq!((&metadata["RetryContext"], &metadata["n"]), (&json!({"RetryCount": 9}), &json!("4")));
    assert_eq!(metadata["x"], "\"1\"");
    for key in ["code", "list", "none"] {
        assert!(!metadata.contains_key(key), "{key}");
    }
    let identities = &found["Data"]["req"]["Identities"];
    assert_eq!((&identities[0]["IsAuthenticated"], &identities[1]["IsAuthenticated"]), (&json!(true), &json!(false)));
    let claims: Vec<&Value> = identities[0]["Claims"].as_array().unwrap().iter().map(|claim| &claim["Value"]).collect();
    assert_eq!(claims, ["Function", "default"]);
}
