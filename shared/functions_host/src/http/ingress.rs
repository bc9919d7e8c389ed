//! Ways in that are other services in Azure: events and queue messages by HTTP.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{json_response, text_response};
use crate::{
    error::{HostError, HostErrorKind},
    host::Core,
    store::EventIn,
};

const MAX_BATCH: usize = 100_000;

/// `POST /eventhubs/{hub}/messages`: one event; NDJSON (`application/x-ndjson`) with one event a line; or a batch
/// (`application/vnd.microsoft.servicebus.json`). Answers 201 with the places of the events.
pub(super) fn events(core: &Core, hub: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = headers.get("brokerproperties").map(|value| broker_properties(value.as_bytes()));
    let events = match content_type.split(';').next().map(str::trim).unwrap_or_default() {
        "application/x-ndjson" => Ok(lines(body)),
        "application/vnd.microsoft.servicebus.json" => batch(body),
        _ => match key.transpose() {
            Ok(properties) => {
                let partition_key = properties.and_then(|properties| properties.partition_key);
                Ok(vec![EventIn { body: body.to_vec(), partition_key, ..EventIn::default() }])
            }
            Err(()) => Err("the BrokerProperties header is not a JSON object".to_owned()),
        },
    };
    match events {
        Err(problem) => text_response(StatusCode::BAD_REQUEST, problem),
        Ok(events) if events.len() > MAX_BATCH => {
            text_response(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MAX_BATCH} events"))
        }
        Ok(events) => match core.send_events(hub, events) {
            Err(error) => failure(&error),
            Ok(places) => {
                let place = |(partition, sequence)| json!({"PartitionId": partition, "SequenceNumber": sequence});
                json_response(StatusCode::CREATED, &places.into_iter().map(place).collect::<Value>())
            }
        },
    }
}

/// `POST /queues/{queue}/messages`: the body is the message as the function will see it.
pub(super) async fn message(core: &Core, queue: &str, body: &[u8]) -> Response {
    match core.enqueue(queue, body).await {
        Ok(id) => json_response(StatusCode::CREATED, &json!({"MessageId": id})),
        Err(error) => failure(&error),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchEntry {
    body: Value,
    #[serde(default)]
    broker_properties: BrokerProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BrokerProperties {
    partition_key: Option<String>,
}

fn broker_properties(text: &[u8]) -> Result<BrokerProperties, ()> {
    serde_json::from_slice(text).map_err(|_| ())
}

fn lines(body: &[u8]) -> Vec<EventIn> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
    lines.map(|line| EventIn { body: line.to_vec(), ..EventIn::default() }).collect()
}

/// `[{"Body":"text","BrokerProperties":{"PartitionKey":"k"}}]`; a body that is not a string counts as its JSON text.
fn batch(body: &[u8]) -> Result<Vec<EventIn>, String> {
    let entries: Vec<BatchEntry> = serde_json::from_slice(body).map_err(|error| {
        format!("not an array of {{\"Body\": ..}} (line {}, column {})", error.line(), error.column())
    })?;
    let event = |entry: BatchEntry| EventIn {
        body: match entry.body {
            Value::String(text) => text.into_bytes(),
            other => other.to_string().into_bytes(),
        },
        partition_key: entry.broker_properties.partition_key,
        ..EventIn::default()
    };
    Ok(entries.into_iter().map(event).collect())
}

fn failure(error: &HostError) -> Response {
    let status = match error {
        HostError::Unknown { .. } => StatusCode::NOT_FOUND,
        HostError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        HostError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        _ if error.kind() == HostErrorKind::Request => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text_response(status, error.to_string())
}
