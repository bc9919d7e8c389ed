//! The official Python SDK: a client that shares no line with the Rust SDK, nor with the service.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use azure_messaging_eventhubs::EventDataBatchOptions;
use azure_messaging_eventhubs::models::EventData;
use event_hubs_service::{HubLog, NewEvent, stable_hash};
use serde_json::{Value, json};
use weir_intake::hub::{HubRange, ReadLimits};

use super::{HUB, Site};
use crate::python::pip_install;
use crate::support::{checked, installed_once, repository};

/// Everything that is installed, exactly.
const REQUIREMENTS: [&str; 8] = [
    "azure-eventhub==5.15.1",
    "azure-core==1.41.0",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.2",
    "idna==3.20",
    "requests==2.34.2",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
];

fn python() -> PathBuf {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let install = |folder: &Path| pip_install(folder, &REQUIREMENTS);
        installed_once("python-eventhub", &REQUIREMENTS.join("\n"), install).join("bin").join("python")
    });
    PYTHON.clone()
}

/// One step of `client.py`.
async fn step(site: &Site, arguments: &[&str]) -> Value {
    let connection = site.service.connection_string();
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || {
        let mut command = Command::new(python());
        command.arg("-I").arg(repository().join("tests/src/hub/client.py")).args([&connection, HUB]).args(arguments);
        checked(&mut command, "client.py")
    };
    serde_json::from_str(&tokio::task::spawn_blocking(run).await.unwrap()).unwrap()
}

fn sequences(found: &Value) -> Vec<i64> {
    assert_eq!(found["errors"], json!([]));
    found["events"].as_array().unwrap().iter().map(|event| event["sequence"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_python_sends_rust_reads() {
    let site = Site::start().await;
    step(&site, &["send", "2", "-", "a", "b"]).await;
    step(&site, &["send", "-", "customer-1", "k1", "k2", "k3"]).await;
    step(&site, &["send", "-", "-", "anywhere"]).await;
    let reader = site.reader();
    let read = |partition, range| reader.read(HUB, "$Default", partition, range, ReadLimits::default());
    let found = read(2, HubRange::Sequences(0..=1)).await;
    let bodies: Vec<_> = found.unwrap().events.into_iter().map(|event| event.body.unwrap()).collect();
    assert_eq!(bodies, ["a", "b"]);
    let partition = (stable_hash("customer-1") % 4) as u32;
    let found = read(partition, HubRange::Sequences(0..=100)).await.unwrap();
    let keyed: Vec<_> = found.events.iter().filter(|event| event.partition_key.is_some()).collect();
    assert!(keyed.iter().all(|event| event.partition_key.as_deref() == Some("customer-1")));
    assert_eq!(keyed.iter().map(|event| event.body.clone().unwrap()).collect::<Vec<_>>(), ["k1", "k2", "k3"]);
    let all: u64 = (0..4).map(|partition| site.log.state(partition).unwrap().next_sequence).sum();
    assert_eq!(all, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rust_sends_python_reads_with_every_property() {
    let site = Site::start().await;
    let producer = site.connection().producer(HUB).await.unwrap();
    let options = EventDataBatchOptions { partition_key: Some("customer-1".to_owned()), ..Default::default() };
    let batch = producer.create_batch(Some(options)).await.unwrap();
    for number in 0..3 {
        let event = EventData::builder()
            .with_body(format!("rust {number}").into_bytes())
            .with_message_id(format!("id-{number}"))
            .add_property("number".to_owned(), number)
            .build();
        assert!(batch.try_add_event_data(event, None).unwrap());
    }
    tokio::time::timeout(Duration::from_secs(20), producer.send_batch(batch, None)).await.unwrap().unwrap();
    let partition = (stable_hash("customer-1") % 4).to_string();
    let found = step(&site, &["receive", "$Default", &partition, "-1", "false", "3", "-"]).await;
    assert_eq!(sequences(&found), [0, 1, 2]);
    let last = &found["events"][2];
    assert_eq!((&last["body"], &last["key"], &last["offset"]), (&json!("rust 2"), &json!("customer-1"), &json!("128")));
    assert_eq!((&last["message_id"], &last["properties"]), (&json!("id-2"), &json!({"number": 2})));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_starts_where_it_asks_to_and_is_told_what_is_there() {
    let site = Site::start().await;
    site.fill(1, (0..3).map(|number| number.to_string()));
    tokio::time::sleep(Duration::from_millis(5)).await;
    site.fill(1, (3..6).map(|number| number.to_string()));
    let later = site.log.read(1, 3, 1, 1).unwrap()[0].enqueued_ms;
    let (at, before) = (format!("time:{later}"), format!("time:{}", later - 1));
    let cases = [
        ("-1", "false", 0),
        ("sequence:2", "false", 3),
        ("sequence:2", "true", 2),
        ("64", "false", 2),
        ("64", "true", 1),
        (&*at, "true", 3),
        (&*before, "false", 3),
    ];
    for (start, inclusive, first) in cases {
        let count = (6 - first).to_string();
        let found = step(&site, &["receive", "$Default", "1", start, inclusive, &count, "-"]).await;
        assert_eq!(sequences(&found), (first..6).collect::<Vec<i64>>(), "{start} {inclusive}");
    }
    site.log.expire(1, 2);
    let found = step(&site, &["properties", "1"]).await;
    assert_eq!(found["hub"]["partition_ids"], json!(["0", "1", "2", "3"]));
    let partition = &found["partition"];
    assert_eq!(
        (&partition["beginning_sequence_number"], &partition["last_enqueued_sequence_number"]),
        (&json!(2), &json!(5))
    );
    assert_eq!((&partition["last_enqueued_offset"], &partition["is_empty"]), (&json!("320"), &json!(false)));
    assert_eq!(partition["last_enqueued_time_utc"].as_f64().unwrap(), later as f64 / 1000.0);
    site.log.append(3, vec![NewEvent::new("latest is after this")]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_owner_level_takes_over_and_a_lower_one_is_refused() {
    let site = Site::start().await;
    site.fill(0, ["a".to_owned()]);
    let found = step(&site, &["take-over", "group", "0"]).await;
    assert_eq!((&found["second"], &found["third_events"]), (&json!(1), &json!(0)));
    for displaced in ["first", "third"] {
        let told = found[displaced].as_array().unwrap();
        assert!(told.iter().any(|error| error.as_str().unwrap().contains("amqp:link:stolen")), "{found}");
    }
}
