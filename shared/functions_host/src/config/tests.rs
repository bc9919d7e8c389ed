use std::{collections::HashMap, path::Path, time::Duration};

use chrono::{DateTime, Utc};

use super::{HostJson, OutputKind, QueueName, RetryPolicy, Schedule, Trigger, read_functions, reader::time_span};
use crate::error::HostErrorKind;

fn host_json(text: &str) -> Result<HostJson, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("host.json"), text).unwrap();
    HostJson::read(dir.path()).map_err(|error| {
        assert_eq!(error.kind(), HostErrorKind::Config);
        assert!(error.to_string().contains("host.json"));
        error.to_string()
    })
}

fn function_json(text: &str) -> Result<super::Function, String> {
    let dir = tempfile::tempdir().unwrap();
    write_function(dir.path(), "f", text);
    let settings = HashMap::from([("HUB".to_owned(), "clicks".to_owned())]);
    match read_functions(dir.path(), &settings) {
        Ok(mut functions) => Ok(functions.remove(0)),
        Err(error) => {
            assert!(error.to_string().contains("f/function.json"), "{error}");
            Err(error.to_string())
        }
    }
}

fn write_function(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join(name)).unwrap();
    std::fs::write(dir.join(name).join("function.json"), text).unwrap();
}

#[test]
fn host_json_defaults_and_values() {
    let host = host_json(r#"{"version":"2.0"}"#).unwrap();
    assert_eq!(host.function_timeout, Some(Duration::from_secs(1800)));
    assert_eq!((host.queues.batch_size, host.queues.max_dequeue_count, host.queues.base64), (16, 5, true));
    assert_eq!((host.event_hubs.max_batch, host.event_hubs.min_batch), (100, 1));
    assert_eq!(host.http.route_prefix, "api");
    let host = host_json(
        r#"{"version":"2.0","functionTimeout":"-1","logging":{"x":1},"extensions":{
            "queues":{"batchSize":2,"newBatchThreshold":1,"visibilityTimeout":"00:00:30","messageEncoding":"none"},
            "eventHubs":{"maxEventBatchSize":1000,"minEventBatchSize":10,"maxWaitTime":"00:00:05"},
            "http":{"routePrefix":""}},
            "customHandler":{"description":{"defaultExecutablePath":"handler"},"enableForwardingHttpRequest":true}}"#,
    )
    .unwrap();
    assert_eq!((host.function_timeout, host.queues.base64, host.handler.forward_http), (None, false, true));
    assert_eq!(host.queues.visibility_timeout, Duration::from_secs(30));
    assert_eq!(host.event_hubs.max_wait, Duration::from_secs(5));
}

#[test]
fn host_json_errors_name_the_key() {
    let cases = [
        ("{", "line 1: is not JSON"),
        ("[]", "the file: must be an object"),
        ("{}", "version: is needed"),
        (r#"{"version":"1.0"}"#, "version: must be \"2.0\""),
        (r#"{"version":"2.0","functionTimeOut":"00:01:00"}"#, "functionTimeOut: is not understood; known keys:"),
        (r#"{"version":"2.0","functionTimeout":"5 min"}"#, "functionTimeout: must be a time span"),
        (
            r#"{"version":"2.0","extensions":{"queues":{"batchSize":33}}}"#,
            "extensions.queues.batchSize: must be a whole",
        ),
        (
            r#"{"version":"2.0","extensions":{"queues":{"batchsize":3}}}"#,
            "extensions.queues.batchsize: is not understood",
        ),
        (
            r#"{"version":"2.0","extensions":{"queues":{"maxPollingInterval":"00:00:00.099"}}}"#,
            "maxPollingInterval: must not be less",
        ),
        (r#"{"version":"2.0","extensions":{"eventHubs":{"minEventBatchSize":200}}}"#, "minEventBatchSize: must not"),
        (r#"{"version":"2.0","extensions":{"kafka":{}}}"#, "extensions.kafka: is not understood"),
        (r#"{"version":"2.0","customHandler":{"http":{}}}"#, "customHandler.http: routes cannot be mixed"),
        (r#"{"version":"2.0","customHandler":{"enableProxyingHttpRequest":true}}"#, "is not supported"),
    ];
    for (text, expected) in cases {
        let error = host_json(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn functions() {
    let function = function_json(
        r#"{"bindings":[{"type":"eventHubTrigger","name":"events","direction":"in","eventHubName":"%HUB%-eu",
            "connection":"EventHub","cardinality":"many","dataType":"binary"},
            {"type":"queue","name":"tasks","direction":"out","queueName":"tasks","connection":"S"}],
            "retry":{"strategy":"exponentialBackoff","maxRetryCount":-1,"minimumInterval":"00:00:05","maximumInterval":"00:05:00"}}"#,
    )
    .unwrap();
    let Trigger::EventHub(trigger) = &function.trigger else { panic!("wrong trigger") };
    assert_eq!((trigger.hub.as_str(), trigger.consumer_group.as_str()), ("clicks-eu", "$Default"));
    assert_eq!(
        function.outputs[0].kind,
        OutputKind::Queue(QueueName { connection: "S".to_owned(), queue: "tasks".to_owned() })
    );
    assert_eq!(function.retry.unwrap().max_retries, None);
    let http = r#"{"bindings":[{"type":"httpTrigger","name":"req","direction":"in"},{"type":"http","name":"res","direction":"out"}]}"#;
    assert!(matches!(function_json(http).unwrap().trigger, Trigger::Http(trigger) if trigger.plain));
}

#[test]
fn function_errors_name_the_key() {
    let queue = r#"{"type":"queueTrigger","name":"m","direction":"in","queueName":"tasks"}"#;
    let cases = [
        (r#"{}"#.to_owned(), "bindings: is needed"),
        (r#"{"bindings":[]}"#.to_owned(), "bindings: has no trigger"),
        (format!(r#"{{"bindings":[{queue},{queue}]}}"#), "bindings: has more than one trigger"),
        (format!(r#"{{"bindings":[{queue}],"retry":{{"strategy":"fixedDelay","maxRetryCount":1,"delayInterval":"00:00:01"}}}}"#), "retry: is only for"),
        (format!(r#"{{"bindings":[{queue},{{"type":"http","name":"res","direction":"out"}}]}}"#), "needs an httpTrigger"),
        (r#"{"bindings":[{"type":"blobTrigger","name":"b","direction":"in"}]}"#.to_owned(), "bindings[0].type: \"blobTrigger\" is not"),
        (r#"{"bindings":[{"type":"queueTrigger","name":"my_m","direction":"in","queueName":"tasks"}]}"#.to_owned(), "bindings[0].name: must be letters"),
        (r#"{"bindings":[{"type":"queueTrigger","name":"m","direction":"in","queueName":"Tasks"}]}"#.to_owned(), "bindings[0].queueName"),
        (r#"{"bindings":[{"type":"queueTrigger","name":"m","direction":"in","queueName":"%Q%"}]}"#.to_owned(), "app setting \"Q\""),
        (r#"{"bindings":[{"type":"queueTrigger","name":"m","direction":"in","queueName":"tasks","batch":1}]}"#.to_owned(), "bindings[0].batch: is not understood"),
        (r#"{"bindings":[{"type":"eventHubTrigger","name":"e","direction":"in","eventHubName":"h","cardinality":"many"}]}"#.to_owned(), "bindings[0].dataType: is needed"),
        (r#"{"bindings":[{"type":"timerTrigger","name":"t","direction":"in","schedule":"* * *"}]}"#.to_owned(), "bindings[0].schedule"),
        (r#"{"bindings":[{"type":"httpTrigger","name":"r","direction":"in","route":"{a?}/b"}]}"#.to_owned(), "bindings[0].route"),
    ];
    for (text, expected) in cases {
        let error = function_json(&text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn two_functions_may_not_share_a_consumer_group() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"bindings":[{"type":"eventHubTrigger","name":"e","direction":"in","eventHubName":"h","dataType":"binary"}]}"#;
    write_function(dir.path(), "a", text);
    write_function(dir.path(), "b", text);
    let error = read_functions(dir.path(), &HashMap::new()).unwrap_err().to_string();
    assert!(error.contains("consumer group of its own"), "{error}");
    write_function(dir.path(), "b", &text.replace("{\"bindings", "{\"disabled\":true,\"bindings"));
    assert_eq!(read_functions(dir.path(), &HashMap::new()).unwrap().len(), 1);
}

#[test]
fn schedules() {
    let now: DateTime<Utc> = "2026-01-05T10:00:30Z".parse().unwrap(); // a Monday
    let cases = [
        ("0 */5 * * * *", "2026-01-05T10:05:00Z"),
        ("*/10 * * * * *", "2026-01-05T10:00:40Z"),
        ("0 30 9 * * MON-FRI", "2026-01-06T09:30:00Z"),
        ("0 0 0 1 * MON", "2026-06-01T00:00:00Z"), // both must match
        ("0/20 * * * * *", "2026-01-05T10:00:40Z"),
        ("15 * * * *", "2026-01-05T10:15:00Z"), // five fields
        ("00:10:00", "2026-01-05T10:10:30Z"),
    ];
    for (text, expected) in cases {
        let next = Schedule::parse(text).unwrap().next(now).unwrap();
        assert_eq!(next, expected.parse::<DateTime<Utc>>().unwrap(), "{text}");
    }
    for text in ["", "* * *", "0 0 0 ? * *", "0 0 0 L * *", "61 * * * * *", "25:00:00", "00:00:00", "@daily"] {
        Schedule::parse(text).map(|_| ()).unwrap_err();
    }
    assert!(Schedule::parse("*/30 * * * * *").unwrap().below_a_minute());
    assert!(!Schedule::parse("0 * * * * *").unwrap().below_a_minute());
}

#[test]
fn time_spans() {
    let cases = [
        ("00:00:05", Some(5_000)),
        ("1.00:00:00", Some(86_400_000)),
        ("00:00:00.050", Some(50)),
        ("00:00:00.0000001", Some(0)),
        ("24:00:00", None),
        ("5", None),
        ("-1", None),
        ("00:00", None),
        ("00:00:00:00", None),
    ];
    for (text, millis) in cases {
        assert_eq!(time_span(text).map(|span| span.as_millis()), millis, "{text}");
    }
}

#[test]
fn retry_delays() {
    let (minimum, maximum) = (Duration::from_secs(5), Duration::from_secs(60));
    let endless = RetryPolicy { max_retries: None, minimum, maximum };
    let delays: Vec<u64> = (0..6).map(|retry| endless.delay(retry, 1.0).unwrap().as_secs()).collect();
    assert_eq!(delays, [5, 10, 20, 40, 60, 60]);
    assert_eq!(endless.delay(u32::MAX, 1.2), Some(maximum));
    let fixed = RetryPolicy { max_retries: Some(2), minimum, maximum: minimum };
    assert_eq!((fixed.delay(1, 1.2), fixed.delay(2, 1.0)), (Some(minimum), None));
}
