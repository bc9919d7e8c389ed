//! What a sender gave its event, in the words that the Functions host has for it (Newtonsoft's JSON of .NET's values), so
//! that an event says the same whoever read it.

use std::time::UNIX_EPOCH;

use azure_core_amqp::{AmqpOrderedMap, AmqpSimpleValue};
use chrono::DateTime;
use data_encoding::BASE64;
use serde_json::{Map, Number, Value};

/// A property of a type that neither the SDK nor JSON knows is left out.
pub(super) fn properties(given: &AmqpOrderedMap<String, AmqpSimpleValue>) -> Map<String, Value> {
    given.iter().filter_map(|(name, value)| Some((name.clone(), json(value)?))).collect()
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
