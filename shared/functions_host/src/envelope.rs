//! The request envelope, byte for byte as the host builds it. Pure: clock and ids are arguments.
//!
//! The rule behind the double encoding: `byte[]` is base64, date times are ISO text, objects nest, and everything else
//! is its JSON *text* inside a JSON string.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, SecondsFormat, Utc};
use event_hubs_service::Property;
use serde_json::{Map, Value, json};

use crate::{
    config::{EventHubTrigger, QueueTrigger, RetryPolicy, TimerTrigger},
    store::{Delivery, Event, ScheduleStatus},
};

/// A value as the host's .NET code holds it, before it is encoded.
pub(crate) enum Net<'a> {
    Bytes(&'a [u8]),
    DateTimeOffset(DateTime<Utc>),
    Json(Value),
}

impl Net<'_> {
    pub(crate) fn encode(self) -> Value {
        match self {
            Self::Bytes(bytes) => Value::String(BASE64.encode(bytes)),
            Self::DateTimeOffset(time) => Value::String(time.to_rfc3339_opts(SecondsFormat::Secs, false)),
            Self::Json(object @ Value::Object(_)) => object,
            Self::Json(Value::Null) => Value::Null,
            Self::Json(other) => Value::String(other.to_string()),
        }
    }
}

/// `Metadata`: binding data under case-insensitive keys.
#[derive(Debug, Default)]
pub(crate) struct Metadata(Map<String, Value>);

impl Metadata {
    /// With the `sys` object every invocation has.
    pub(crate) fn new(function: &str, now: DateTime<Utc>, id: uuid::Uuid) -> Self {
        let mut metadata = Self::default();
        let now = now.to_rfc3339_opts(SecondsFormat::Micros, true);
        metadata.set("sys", Net::Json(json!({"MethodName": function, "UtcNow": now, "RandGuid": id.to_string()})));
        metadata
    }

    /// Sets a key; one that differs only in case keeps its spelling and loses its value.
    pub(crate) fn set(&mut self, key: &str, value: Net<'_>) {
        let value = value.encode();
        let existing = self.0.keys().find(|known| known.eq_ignore_ascii_case(key)).cloned();
        self.0.insert(existing.unwrap_or_else(|| key.to_owned()), value);
    }

    /// The merge of a string trigger value or of an HTTP body: each property of a JSON object that is neither null nor an
    /// array.
    pub(crate) fn merge_text(&mut self, text: &str) {
        let Ok(Value::Object(properties)) = serde_json::from_str(text) else { return };
        for (key, value) in properties {
            if !value.is_array() && !value.is_null() {
                self.set(&key, Net::Json(value));
            }
        }
    }

    /// `failure`: why the attempt before this one failed; None for the first.
    pub(crate) fn retry(&mut self, policy: &RetryPolicy, retry: u32, failure: Option<&str>) {
        let max = policy.max_retries.map_or(-1, i64::from);
        let exception = failure.map(exception);
        let context =
            json!({"RetryCount": retry, "MaxRetryCount": max, "Exception": exception, "Instance": null, "State": {}});
        self.set("RetryContext", Net::Json(context));
    }

    fn finish(self) -> Value {
        let is_trigger = |key: &str| key.to_ascii_lowercase().ends_with("trigger");
        self.0.into_iter().filter(|(key, value)| !value.is_null() && !is_trigger(key)).collect()
    }
}

/// `{"Data":{binding:value},"Metadata":{..}}`
pub(crate) fn envelope(binding: &str, data: Value, metadata: Metadata) -> Value {
    json!({"Data": {binding: data}, "Metadata": metadata.finish()})
}

/// A queue message; `body` is what its text says.
pub(crate) fn queue(trigger: &QueueTrigger, message: &Delivery, body: &[u8], mut metadata: Metadata) -> Value {
    metadata.set("DequeueCount", Net::Json(message.dequeue_count.into()));
    metadata.set("ExpirationTime", Net::DateTimeOffset(message.expires));
    metadata.set("Id", Net::Json(message.id.as_str().into()));
    metadata.set("InsertionTime", Net::DateTimeOffset(message.inserted));
    metadata.set("NextVisibleTime", Net::DateTimeOffset(message.next_visible));
    metadata.set("PopReceipt", Net::Json(message.pop_receipt.as_str().into()));
    let data = bytes_or_text(body, trigger.binary, &mut metadata);
    envelope(&trigger.binding, data, metadata)
}

/// Where an Event Hub batch comes from.
#[derive(Debug, Clone)]
pub(crate) struct PartitionSource<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) partition: u32,
}

impl PartitionSource<'_> {
    fn describe(&self, trigger: &EventHubTrigger, metadata: &mut Metadata) {
        let context = json!({
            "IsCheckpointingAfterInvocation": true,
            "FullyQualifiedNamespace": self.namespace,
            "EventHubName": trigger.hub,
            "ConsumerGroup": trigger.consumer_group,
            "PartitionId": self.partition.to_string(),
        });
        // Not dropped by the "ends in trigger" rule, and given twice by the extension.
        metadata.set("TriggerPartitionContext", Net::Json(context.clone()));
        metadata.set("PartitionContext", Net::Json(context));
    }
}

/// A batch, `cardinality: many`.
pub(crate) fn events(
    trigger: &EventHubTrigger,
    source: &PartitionSource<'_>,
    events: &[Event],
    mut metadata: Metadata,
) -> Value {
    source.describe(trigger, &mut metadata);
    let mut array = |key: &str, value: &dyn Fn(&Event) -> Value| {
        metadata.set(key, Net::Json(events.iter().map(value).collect()));
    };
    array("PartitionKeyArray", &|event| event.partition_key.clone().into());
    array("OffsetArray", &|event| event.offset.to_string().into());
    array("OffsetStringArray", &|event| event.offset.to_string().into());
    array("SequenceNumberArray", &|event| event.sequence.into());
    array("EnqueuedTimeUtcArray", &|event| dotnet_time(event.enqueued).into());
    array("PropertiesArray", &properties);
    array("SystemPropertiesArray", &system_properties);
    envelope(&trigger.binding, batch(trigger.binary, events), metadata)
}

/// One event, `cardinality: one`.
pub(crate) fn event(
    trigger: &EventHubTrigger,
    source: &PartitionSource<'_>,
    event: &Event,
    mut metadata: Metadata,
) -> Value {
    source.describe(trigger, &mut metadata);
    metadata.set("PartitionKey", Net::Json(event.partition_key.clone().into()));
    metadata.set("Offset", Net::Json(event.offset.to_string().into()));
    metadata.set("OffsetString", Net::Json(event.offset.to_string().into()));
    metadata.set("SequenceNumber", Net::Json(event.sequence.into()));
    metadata.set("EnqueuedTimeUtc", Net::Json(dotnet_time(event.enqueued).into()));
    metadata.set("Properties", Net::Json(properties(event)));
    metadata.set("SystemProperties", Net::Json(system_properties(event)));
    let data = bytes_or_text(&event.body, trigger.binary, &mut metadata);
    envelope(&trigger.binding, data, metadata)
}

/// A timer; `status` is None where the host keeps none.
pub(crate) fn timer(
    trigger: &TimerTrigger,
    status: Option<&ScheduleStatus>,
    past_due: bool,
    metadata: Metadata,
) -> Value {
    let offset = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, false);
    let status = status.map(|status| {
        // The .NET default date has no zone.
        let last = status.last.map_or_else(|| "0001-01-01T00:00:00".to_owned(), offset);
        json!({"Last": last, "Next": offset(status.next), "LastUpdated": offset(status.last_updated)})
    });
    let schedule = json!({"AdjustForDST": trigger.schedule.adjusts_for_dst()});
    let data = json!({"Schedule": schedule, "ScheduleStatus": status, "IsPastDue": past_due});
    envelope(&trigger.binding, Net::Json(data).encode(), metadata)
}

/// As .NET writes an exception: with the inner ones, each with its stack. About 10 kB in all.
fn exception(message: &str) -> Value {
    const FRAME: &str = "   at Microsoft.Azure.WebJobs.Host.Executors.FunctionExecutor.InvokeWithTimeoutAsync(IFunctionInvoker \
        invoker, ParameterHelper parameterHelper) in D:\\a\\_work\\1\\s\\src\\FunctionExecutor.cs:line 652\r\n";
    let one = |class: &str, message: &str, inner: Value| {
        json!({
            "ClassName": class, "Message": message, "Data": null, "InnerException": inner, "HelpURL": null,
            "StackTraceString": FRAME.repeat(16), "RemoteStackTraceString": null, "RemoteStackIndex": 0,
            "ExceptionMethod": null, "HResult": -2_146_233_088, "Source": "Microsoft.Azure.WebJobs.Host",
            "WatsonBuckets": null,
        })
    };
    let inner = one("System.Net.Http.HttpRequestException", message, Value::Null);
    let inner = one("System.AggregateException", "One or more errors occurred.", inner);
    one("Microsoft.Azure.WebJobs.Host.FunctionInvocationException", "Exception while executing function", inner)
}

fn bytes_or_text(body: &[u8], binary: bool, metadata: &mut Metadata) -> Value {
    if binary {
        return Net::Bytes(body).encode();
    }
    let text = String::from_utf8_lossy(body);
    metadata.merge_text(&text);
    Net::Json(Value::from(text)).encode()
}

/// A JSON string that holds an array. Built by hand for base64: batches are large, and base64 needs no escapes.
fn batch(binary: bool, events: &[Event]) -> Value {
    if !binary {
        let texts: Vec<Value> = events.iter().map(|event| String::from_utf8_lossy(&event.body).into()).collect();
        return Net::Json(Value::Array(texts)).encode();
    }
    let size: usize = events.iter().map(|event| event.body.len().div_ceil(3) * 4 + 3).sum();
    let mut text = String::with_capacity(size + 2);
    text.push('[');
    for (index, event) in events.iter().enumerate() {
        text.push_str(if index == 0 { "\"" } else { ",\"" });
        BASE64.encode_string(&event.body, &mut text);
        text.push('"');
    }
    text.push(']');
    Value::String(text)
}

fn system_properties(event: &Event) -> Value {
    json!({
        "SequenceNumber": event.sequence,
        "Offset": event.offset,
        "OffsetString": event.offset.to_string(),
        "PartitionKey": event.partition_key,
        "EnqueuedTimeUtc": dotnet_time(event.enqueued),
    })
}

/// As Newtonsoft writes .NET's values.
fn properties(event: &Event) -> Value {
    let value = |property| match property {
        Property::Null => Value::Null,
        Property::Boolean(value) => value.into(),
        Property::Signed(value) => value.into(),
        Property::Unsigned(value) => value.into(),
        Property::Float(value) => double(value.to_string().parse().unwrap_or(f64::from(value))),
        Property::Double(value) => double(value),
        Property::Text(text) => text.into(),
        Property::Binary(bytes) => BASE64.encode(bytes).into(),
        Property::Time(ms) => DateTime::from_timestamp_millis(ms).map(|time| dotnet_time(time) + "Z").into(),
        Property::Uuid(bytes) => uuid::Uuid::from_bytes(bytes).to_string().into(),
    };
    event_hubs_service::properties(&event.sections).into_iter().map(|(name, given)| (name, value(given))).collect()
}

fn double(value: f64) -> Value {
    let name = match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    serde_json::Number::from_f64(value).map_or_else(|| name.into(), Value::Number)
}

/// UTC without `Z`, and without the zeros at the end of the fraction.
fn dotnet_time(time: DateTime<Utc>) -> String {
    let text = time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
