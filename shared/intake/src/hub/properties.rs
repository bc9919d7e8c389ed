//! What a sender gave its event, in the words that the Functions host has for it (Newtonsoft's JSON of .NET's values), so
//! that an event says the same whoever read it.

use std::time::UNIX_EPOCH;

use azure_core_amqp::message::{AmqpAnnotationKey, AmqpMessageId};
use azure_core_amqp::{AmqpMessage, AmqpOrderedMap, AmqpSimpleValue, AmqpTimestamp, AmqpValue};
use chrono::DateTime;
use data_encoding::BASE64;
use serde_json::{Map, Number, Value};

/// A property of a type that neither the SDK nor JSON knows is left out.
pub(super) fn properties(given: &AmqpOrderedMap<String, AmqpSimpleValue>) -> Map<String, Value> {
    given.iter().filter_map(|(name, value)| Some((name.clone(), json(value)?))).collect()
}

/// Annotations that are fields of an event.
const OWN: [&str; 4] = ["x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-partition-key"];

/// The annotations and the message's own properties, by the names that .NET's SDK has for them.
pub(super) fn system(message: &AmqpMessage) -> Map<String, Value> {
    let mut system = Map::new();
    for (key, value) in message.message_annotations.iter().flat_map(|annotations| annotations.0.iter()) {
        let AmqpAnnotationKey::Symbol(name) = key else { continue };
        if !OWN.contains(&name.0.as_str()) {
            system.extend(annotation(value).map(|value| (name.0.clone(), value)));
        }
    }
    let Some(given) = &message.properties else { return system };
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let time =
        |time: &Option<AmqpTimestamp>| time.as_ref().and_then(|time| json(&AmqpSimpleValue::TimeStamp(time.clone())));
    let members = [
        ("message-id", given.message_id.as_ref().map(id)),
        ("user-id", given.user_id.as_ref().map(|id| Value::from(BASE64.encode(id)))),
        ("to", text(&given.to)),
        ("subject", text(&given.subject)),
        ("reply-to", text(&given.reply_to)),
        ("correlation-id", given.correlation_id.as_ref().map(id)),
        ("content-type", given.content_type.as_ref().map(|text| Value::from(text.0.as_str()))),
        ("content-encoding", given.content_encoding.as_ref().map(|text| Value::from(text.0.as_str()))),
        ("absolute-expiry-time", time(&given.absolute_expiry_time)),
        ("creation-time", time(&given.creation_time)),
        ("group-id", text(&given.group_id)),
        ("group-sequence", given.group_sequence.map(Value::from)),
        ("reply-to-group-id", text(&given.reply_to_group_id)),
    ];
    system.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    system
}

fn id(id: &AmqpMessageId) -> Value {
    match id {
        AmqpMessageId::String(id) => Value::from(id.as_str()),
        AmqpMessageId::Uuid(id) => Value::from(id.to_string()),
        AmqpMessageId::Binary(id) => Value::from(BASE64.encode(id)),
        AmqpMessageId::Ulong(id) => Value::from(*id),
    }
}

/// A simple value of an annotation; lists and maps are left out.
fn annotation(value: &AmqpValue) -> Option<Value> {
    json(&match value {
        AmqpValue::Null => AmqpSimpleValue::Null,
        AmqpValue::Boolean(value) => AmqpSimpleValue::Boolean(*value),
        AmqpValue::UByte(value) => AmqpSimpleValue::UByte(*value),
        AmqpValue::UShort(value) => AmqpSimpleValue::UShort(*value),
        AmqpValue::UInt(value) => AmqpSimpleValue::UInt(*value),
        AmqpValue::ULong(value) => AmqpSimpleValue::ULong(*value),
        AmqpValue::Byte(value) => AmqpSimpleValue::Byte(*value),
        AmqpValue::Short(value) => AmqpSimpleValue::Short(*value),
        AmqpValue::Int(value) => AmqpSimpleValue::Int(*value),
        AmqpValue::Long(value) => AmqpSimpleValue::Long(*value),
        AmqpValue::Float(value) => AmqpSimpleValue::Float(*value),
        AmqpValue::Double(value) => AmqpSimpleValue::Double(*value),
        AmqpValue::Char(value) => AmqpSimpleValue::Char(*value),
        AmqpValue::TimeStamp(value) => AmqpSimpleValue::TimeStamp(value.clone()),
        AmqpValue::Uuid(value) => AmqpSimpleValue::Uuid(*value),
        AmqpValue::Binary(value) => AmqpSimpleValue::Binary(value.clone()),
        AmqpValue::String(value) => AmqpSimpleValue::String(value.clone()),
        AmqpValue::Symbol(value) => AmqpSimpleValue::Symbol(value.clone()),
        _ => return None,
    })
}

/// What the properties weigh, about.
pub(super) fn weight(properties: &Map<String, Value>) -> usize {
    let text = |value: &Value| value.as_str().map_or(16, str::len);
    properties.iter().map(|(name, value)| name.len() + text(value)).sum()
}

fn json(value: &AmqpSimpleValue) -> Option<Value> {
    Some(match value {
        AmqpSimpleValue::Null => Value::Null,
        AmqpSimpleValue::Boolean(value) => Value::from(*value),
        AmqpSimpleValue::UByte(value) => Value::from(*value),
        AmqpSimpleValue::Byte(value) => Value::from(*value),
        AmqpSimpleValue::UShort(value) => Value::from(*value),
        AmqpSimpleValue::Short(value) => Value::from(*value),
        AmqpSimpleValue::UInt(value) => Value::from(*value),
        AmqpSimpleValue::Int(value) => Value::from(*value),
        AmqpSimpleValue::ULong(value) => Value::from(*value),
        AmqpSimpleValue::Long(value) => Value::from(*value),
        // By its shortest text: widened it would have digits that nobody gave.
        AmqpSimpleValue::Float(value) => double(value.to_string().parse().unwrap_or(f64::from(*value))),
        AmqpSimpleValue::Double(value) => double(*value),
        AmqpSimpleValue::Char(value) => Value::from(value.to_string()),
        AmqpSimpleValue::String(value) => Value::from(value.as_str()),
        AmqpSimpleValue::Symbol(value) => Value::from(value.0.as_str()),
        AmqpSimpleValue::Uuid(value) => Value::from(value.to_string()),
        AmqpSimpleValue::Binary(value) => Value::from(BASE64.encode(value)),
        AmqpSimpleValue::TimeStamp(time) => {
            let since = time.0?.duration_since(UNIX_EPOCH).ok()?;
            let time = DateTime::from_timestamp_millis(i64::try_from(since.as_millis()).ok()?)?;
            // Without the zeros at a fraction's end.
            let fraction = format!("{:03}", time.timestamp_subsec_millis());
            let (point, fraction) = match fraction.trim_end_matches('0') {
                "" => ("", ""),
                fraction => (".", fraction),
            };
            Value::from(format!("{}{point}{fraction}Z", time.format("%Y-%m-%dT%H:%M:%S")))
        }
        _ => return None,
    })
}

fn double(value: f64) -> Value {
    let name = match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    Number::from_f64(value).map_or_else(|| Value::from(name), Value::Number)
}
