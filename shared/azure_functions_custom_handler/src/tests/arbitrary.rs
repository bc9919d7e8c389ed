//! Whatever arrives, the decoder returns and the router answers in JSON.

use axum::Router;
use bytes::Bytes;
use http::Request;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::calls::call;
use super::support::{fixture, fixture_dir};
use crate::*;

const PATHS: [&str; 7] = ["/queue", "/events", "/event_texts", "/timer", "/grid", "/grids", "/http"];

fn app() -> Router {
    let app = FunctionApp::builder()
        .queue("queue", |_, message| async move {
            let _ = BlobEvent::parse(&message.body);
            Ok(Reply::ok())
        })
        .event_hub("events", |_, _| async { Ok(Reply::ok()) })
        .function("event_texts", DataType::String, |_, _: EventBatch| async { Ok(Reply::ok()) })
        .timer("timer", |_, _| async { Ok(Reply::ok()) })
        .event_grid("grid", |_, _| async { Ok(Reply::ok()) })
        .function("grids", DataType::String, |_, _: Vec<EventGridEvent>| async { Ok(Reply::ok()) })
        .http("http", |_, _: Request<Bytes>| async { Ok(HttpReply::new(http::Response::new(Bytes::new()))) });
    app.build().into_router()
}

/// Posts to every function; panics are caught by the router, so their message is what would give them away.
fn answers(body: &[u8]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let app = app();
    for path in PATHS {
        let (status, answer) = runtime.block_on(call(&app, path, body.to_vec()));
        prop_assert!(status.is_success() || status.is_client_error(), "{path} {status} {answer}");
    }
    Ok(())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,12}".prop_map(Value::from),
        // Text that means something once it is parsed again.
        prop_oneof![Just("[\"aGk=\"]"), Just("\"x\""), Just("[1,2]"), Just("{}"), Just("aGk="), Just("[")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop_oneof!["[a-zA-Z]{0,6}", Just("id".to_owned()), Just("Url".to_owned()), Just("data".to_owned())];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(key, inner.clone(), 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// An envelope with the right keys and any values under them.
fn any_envelope() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("Id"),
        Just("DequeueCount"),
        Just("RetryContext"),
        Just("PartitionContext"),
        Just("SequenceNumberArray"),
        Just("PropertiesArray"),
        Just("SystemPropertiesArray"),
        Just("EnqueuedTimeUtcArray"),
        Just("SystemProperties"),
    ];
    (any_json(), btree_map(keys.prop_map(str::to_owned), any_json(), 0..5)).prop_map(|(value, metadata)| {
        let metadata: serde_json::Map<_, _> = metadata.into_iter().collect();
        json!({ "Data": { "x": value }, "Metadata": metadata })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn arbitrary_bytes(body in vec(any::<u8>(), 0..200)) {
        let _ = BlobEvent::parse(&body);
        answers(&body)?;
    }

    #[test]
    fn arbitrary_json(body in any_json()) {
        answers(body.to_string().as_bytes())?;
    }

    #[test]
    fn arbitrary_values_under_the_right_keys(body in any_envelope()) {
        answers(body.to_string().as_bytes())?;
    }

    #[test]
    fn fixtures_with_a_byte_changed(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut names: Vec<_> = std::fs::read_dir(fixture_dir()).unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        let mut body = fixture(&names[which.index(names.len())]).to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        answers(&body)?;
    }

    /// Every event of a batch comes out, byte for byte, whichever way the batch was written.
    #[test]
    fn batches_round_trip(bodies in vec(vec(any::<u8>(), 0..40), 0..12), nested in any::<bool>()) {
        use base64::Engine as _;
        let encoded: Vec<String> = bodies.iter().map(|body| crate::envelope::BASE64.encode(body)).collect();
        let value = if nested { json!(json!(encoded).to_string()) } else { json!(encoded) };
        let numbers: Vec<i64> = (0..).take(bodies.len()).collect();
        let body = json!({"Data": {"e": value}, "Metadata": {"SequenceNumberArray": json!(numbers).to_string()}}).to_string();
        let batch = EventBatch::decode(&mut Envelope::parse(body.as_bytes()).unwrap(), DataType::Binary).unwrap();
        let got: Vec<_> = batch.events.iter().map(|event| event.body.to_vec()).collect();
        prop_assert_eq!(got, bodies);
        let got: Vec<_> = batch.events.iter().filter_map(|event| event.sequence_number).collect();
        prop_assert_eq!(got, numbers);
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for body in [
            deep.clone(),
            format!(r#"{{"Data":{{"x":{deep}}}}}"#),
            json!({"Data": {"x": deep}}).to_string(),
            json!({"Data": {"x": "aGk=", "input": deep}, "Metadata": {"PropertiesArray": format!("[{deep}]")}})
                .to_string(),
            format!(r#"{{"Data":{{"x":{{"id":"1","eventType":"x","data":{deep}}}}}}}"#),
        ] {
            answers(body.as_bytes()).unwrap();
        }
    }
}
