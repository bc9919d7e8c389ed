//! What the host accepts as an answer, and what it makes of it. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

/// An accepted answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) outputs: Map<String, Value>,
    pub(crate) logs: Vec<String>,
    pub(crate) return_value: Option<Value>,
}

impl Answer {
    /// Accepts a 2xx answer with a JSON content type and a JSON object. Its keys are matched without regard to case,
    /// unlike the names of outputs; unknown ones are ignored.
    ///
    /// An empty body or `null` makes the real host wait until `functionTimeout`; here it fails at once.
    pub(crate) fn parse(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Self, String> {
        if !(200..300).contains(&status) {
            return Err(format!("response status code does not indicate success: {status}"));
        }
        if body.is_empty() {
            return Err("empty body: the real host would hang until functionTimeout".to_owned());
        }
        let media_type = content_type.and_then(|text| text.split(';').next()).map(str::trim).unwrap_or_default();
        if !["application/json", "text/json"].iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
            return Err(format!("content type is {media_type:?}, not application/json"));
        }
        let properties = match serde_json::from_slice(body) {
            Ok(Value::Object(properties)) => properties,
            Ok(Value::Null) => return Err("null body: the real host would hang until functionTimeout".to_owned()),
            Ok(_) => return Err("the body is JSON but not an object".to_owned()),
            Err(error) => return Err(format!("the body is not JSON (byte {})", error.column())),
        };
        let mut answer = Self::default();
        for (key, value) in properties {
            match (key.to_ascii_lowercase().as_str(), value) {
                (_, Value::Null) => {}
                ("outputs", Value::Object(outputs)) => answer.outputs = outputs,
                ("outputs", _) => return Err("Outputs is not an object".to_owned()),
                ("logs", Value::Array(lines)) => answer.logs = lines.into_iter().map(line).collect::<Result<_, _>>()?,
                ("logs", _) => return Err("Logs is not an array".to_owned()),
                ("returnvalue", value) => answer.return_value = Some(value),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// The host copies the properties of a return value that is an object over the outputs, unless a binding is called
    /// `$return`: a receipt with a property `tasks` becomes messages.
    pub(crate) fn spread_return_value(&mut self) {
        if let Some(Value::Object(properties)) = &self.return_value {
            self.outputs.extend(properties.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }

    /// The value of an output binding, by its exact name; `$return` is the return value.
    pub(crate) fn output(&self, binding: &str) -> Option<&Value> {
        match binding {
            "$return" => self.return_value.as_ref(),
            _ => self.outputs.get(binding),
        }
    }
}

fn line(value: Value) -> Result<String, String> {
    match value {
        Value::String(line) => Ok(line),
        other @ (Value::Number(_) | Value::Bool(_)) => Ok(other.to_string()),
        _ => Err("Logs holds something that is not text".to_owned()),
    }
}

/// The messages a queue output becomes. Elements of an array are taken verbatim; a bare string is guessed at: base64
/// is decoded, the text of an array is split.
pub(crate) fn queue_messages(value: &Value) -> Vec<Vec<u8>> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(elements) => elements.iter().filter(|element| !element.is_null()).map(verbatim).collect(),
        Value::String(text) => match BASE64.decode(text) {
            Ok(bytes) if !text.is_empty() => vec![bytes],
            _ => match serde_json::from_str(text) {
                Ok(Value::Array(elements)) => elements.iter().map(verbatim).collect(),
                _ => vec![text.clone().into_bytes()],
            },
        },
        other => vec![verbatim(other)],
    }
}

fn verbatim(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// An HTTP answer made of the output binding of an HTTP function.
#[derive(Debug, PartialEq)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The content type where the handler names none.
    pub(crate) content_type: &'static str,
}

/// `{"statusCode":202,"headers":{..},"body":..}`; nothing at all is an empty 200, and `status` does not count.
pub(crate) fn http_answer(value: Option<&Value>) -> HttpAnswer {
    let found = |name: &str| {
        let properties = value?.as_object()?;
        properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let body = match value {
        Some(Value::Object(_)) => found("body"),
        other => other,
    };
    let (body, content_type) = match body {
        None | Some(Value::Null) => (Vec::new(), "text/plain; charset=utf-8"),
        Some(Value::String(text)) => (text.clone().into_bytes(), "text/plain; charset=utf-8"),
        Some(json) => (json.to_string().into_bytes(), "application/json; charset=utf-8"),
    };
    let status = found("statusCode").and_then(|code| match code {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|code| u16::try_from(code).ok()),
    });
    let headers = found("headers").and_then(Value::as_object).into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let headers = headers.map(|(name, value)| (name.clone(), text(value))).collect();
    HttpAnswer { status: status.unwrap_or(200), headers, body, content_type }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn acceptance() {
        let json = Some("application/json; charset=utf-8");
        let good = br#"{"outputs":{"tasks":["a"]},"LOGS":["x",1],"ReturnValue":4,"Else":[]}"#;
        let answer = Answer::parse(202, json, good).unwrap();
        assert_eq!((answer.logs.len(), answer.return_value.as_ref()), (2, Some(&json!(4))));
        assert_eq!((answer.output("tasks"), answer.output("Tasks")), (Some(&json!(["a"])), None));
        assert_eq!(answer.output("$return"), Some(&json!(4)));
        assert_eq!(Answer::parse(200, Some("text/json"), b"{}"), Ok(Answer::default()));
        let cases: [(u16, Option<&str>, &[u8], &str); 9] = [
            (500, json, b"{}", "500"),
            (304, json, b"{}", "304"),
            (200, json, b"", "empty body"),
            (200, json, b"null", "null body"),
            (200, json, b"[]", "not an object"),
            (200, json, b"{", "not JSON"),
            (200, Some("text/plain"), b"{}", "content type"),
            (200, None, b"{}", "content type"),
            (200, json, br#"{"Logs":"x"}"#, "Logs"),
        ];
        for (status, content_type, body, expected) in cases {
            let error = Answer::parse(status, content_type, body).unwrap_err();
            assert!(error.contains(expected), "{error} for {body:?}");
        }
    }

    #[test]
    fn a_return_value_that_is_an_object_wins_over_the_outputs() {
        let body = br#"{"Outputs":{"tasks":["a"],"res":1},"ReturnValue":{"tasks":["b"],"Res":2}}"#;
        let mut answer = Answer::parse(200, Some("application/json"), body).unwrap();
        assert_eq!(answer.output("tasks"), Some(&json!(["a"])));
        answer.spread_return_value();
        assert_eq!((answer.output("tasks"), answer.output("res")), (Some(&json!(["b"])), Some(&json!(1))));
    }

    #[test]
    fn queue_outputs() {
        let cases: [(Value, &[&str]); 8] = [
            (json!(["{\"a\":1}", "test", "1234"]), &["{\"a\":1}", "test", "1234"]),
            (json!([{"a": 1}, 2, null]), &["{\"a\":1}", "2"]),
            (json!("dGVzdA=="), &["test"]),
            (json!("plain text"), &["plain text"]),
            (json!("[\"a\",\"b\"]"), &["a", "b"]),
            (json!({"a": 1}), &["{\"a\":1}"]),
            (json!(null), &[]),
            (json!(""), &[""]),
        ];
        for (value, expected) in cases {
            let expected: Vec<Vec<u8>> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(queue_messages(&value), expected, "{value}");
        }
        assert_ne!(queue_messages(&json!("test")), [b"test".to_vec()], "a bare string is decoded: the trap");
    }

    #[test]
    fn http_answers() {
        let answer =
            http_answer(Some(&json!({"statusCode": "202", "headers": {"X-A": "b", "N": 1}, "body": {"a": 1}})));
        assert_eq!((answer.status, answer.body.as_slice()), (202, br#"{"a":1}"#.as_slice()));
        assert_eq!(answer.headers, [("X-A".to_owned(), "b".to_owned()), ("N".to_owned(), "1".to_owned())]);
        assert!(answer.content_type.starts_with("application/json"));
        assert_eq!(http_answer(Some(&json!({"status": 404, "body": "x"}))).status, 200);
        let nothing = http_answer(None);
        assert_eq!((nothing.status, nothing.body.is_empty()), (200, true));
    }
}
