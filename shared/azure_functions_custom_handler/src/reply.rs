//! Answers in the one form that the host accepts: always `{"Outputs":…,"Logs":…,"ReturnValue":…}`, never an empty body.
//!
//! An empty 200 sets neither result nor exception in the host: the invocation hangs until `functionTimeout` and then
//! the whole process is killed. So there is no way to build one here.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// A successful invocation: output bindings, log lines, return value.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct Reply {
    outputs: BTreeMap<String, Value>,
    logs: Vec<String>,
    return_value: Value,
}

impl Reply {
    /// A reply without outputs.
    pub fn ok() -> Self {
        Self::default()
    }

    /// Adds messages for a queue output; each becomes one message, verbatim.
    ///
    /// Always an array on the wire, also for one message: a bare string that happens to be base64 (`"test"` is) would
    /// be decoded by the host, one that looks like an array split, an ISO date rewritten.
    pub fn output(mut self, binding: impl Into<String>, messages: Vec<String>) -> Self {
        let messages = messages.into_iter().map(Value::String);
        match self.outputs.entry(binding.into()).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(existing) => existing.extend(messages),
            other => *other = messages.collect(),
        }
        self
    }

    /// Sets any other output binding, as the value that the host's binding expects.
    pub fn output_value(mut self, binding: impl Into<String>, value: Value) -> Self {
        self.outputs.insert(binding.into(), value);
        self
    }

    /// Sets the value for a binding called `$return`.
    pub fn return_value(mut self, value: Value) -> Self {
        self.return_value = value;
        self
    }

    /// Adds a line to the invocation's log stream. The host delivers it at the end and only on success, as Information;
    /// use `tracing` to stdout for everything else.
    pub fn log(mut self, line: impl Into<String>) -> Self {
        self.logs.push(line.into());
        self
    }
}

/// The answer of an enveloped HTTP function: a response for the caller beside outputs for other bindings.
#[derive(Debug, Clone)]
#[must_use]
pub struct HttpReply {
    response: Response<Bytes>,
    binding: String,
    reply: Reply,
}

impl HttpReply {
    /// An answer with this response. The body must be UTF-8, because the envelope carries text; use a forwarded function for anything else.
    /// Repeated headers are joined with a comma, so at most one `Set-Cookie` survives.
    pub fn new(response: Response<Bytes>) -> Self {
        Self { response, binding: "res".to_owned(), reply: Reply::ok() }
    }

    /// A JSON response.
    pub fn json(status: StatusCode, body: &Value) -> Self {
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self::new(response)
    }

    /// Sets the name of the `http` output in `function.json`; `res` unless said otherwise, `$return` is understood.
    pub fn binding(mut self, name: impl Into<String>) -> Self {
        self.binding = name.into();
        self
    }

    /// See [`Reply::output`].
    pub fn output(mut self, binding: impl Into<String>, messages: Vec<String>) -> Self {
        self.reply = self.reply.output(binding, messages);
        self
    }

    /// See [`Reply::log`].
    pub fn log(mut self, line: impl Into<String>) -> Self {
        self.reply = self.reply.log(line);
        self
    }

    /// The response that the caller gets.
    #[must_use]
    pub fn response(&self) -> &Response<Bytes> {
        &self.response
    }

    /// The response, to be changed: for headers that all answers of an app have in common.
    pub fn response_mut(&mut self) -> &mut Response<Bytes> {
        &mut self.response
    }
}

impl From<Response<Bytes>> for HttpReply {
    fn from(response: Response<Bytes>) -> Self {
        Self::new(response)
    }
}

/// An answer that a handler may give: [`Reply`] or [`HttpReply`]. Sealed, because the host takes no other form.
pub trait Answer: sealed::Sealed + Send + 'static {
    /// Encodes the body of the response to the host.
    ///
    /// # Errors
    /// [`Error::Reply`] when the value has no form in the protocol.
    fn encode(self) -> Result<Bytes, Error>;
}

impl Answer for Reply {
    fn encode(self) -> Result<Bytes, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Wire<'a> {
            outputs: &'a BTreeMap<String, Value>,
            logs: &'a [String],
            return_value: &'a Value,
        }
        let wire = Wire { outputs: &self.outputs, logs: &self.logs, return_value: &self.return_value };
        let body = serde_json::to_vec(&wire).map_err(|error| Error::Reply { problem: error.to_string() })?;
        Ok(Bytes::from(body))
    }
}

impl Answer for HttpReply {
    fn encode(self) -> Result<Bytes, Error> {
        let (parts, body) = self.response.into_parts();
        let body = std::str::from_utf8(&body).map_err(|_| Error::Reply {
            problem: "the response body is not utf-8, use a forwarded function".to_owned(),
        })?;
        // The host reads `statusCode` and ignores `status`.
        let response =
            json!({ "statusCode": parts.status.as_u16(), "headers": header_object(&parts.headers)?, "body": body });
        match self.binding.as_str() {
            "$return" => self.reply.return_value(response),
            binding => self.reply.output_value(binding, response),
        }
        .encode()
    }
}

fn header_object(headers: &HeaderMap) -> Result<Map<String, Value>, Error> {
    let mut object = Map::new();
    for name in headers.keys() {
        let values: Result<Vec<&str>, _> = headers.get_all(name).iter().map(HeaderValue::to_str).collect();
        let values = values.map_err(|_| Error::Reply { problem: format!("the header {name} is not visible ascii") })?;
        object.insert(name.to_string(), Value::String(values.join(", ")));
    }
    Ok(object)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Reply {}
    impl Sealed for super::HttpReply {}
}
