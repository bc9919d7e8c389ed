//! The envelope of an HTTP request. Pure.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, header, request::Parts};
use serde_json::{Map, Value, json};

use crate::config::AuthLevel;
use crate::envelope::{Metadata, Net, envelope};

/// `{"Data":{"req":{Url, Method, Query, Headers, Params, Identities, Body}},"Metadata":{..}}`. `Body` is absent without
/// a Content-Length or with 0, whatever was sent: that is what the host does to chunked uploads. Every query parameter but
/// the key and every property of a JSON body is in the metadata, too: a caller can write there. `caller`: the key that was
/// given, and what it opens.
pub(crate) fn http_request(
    binding: &str,
    parts: &Parts,
    body: &[u8],
    parameters: &BTreeMap<String, String>,
    caller: Option<(&str, AuthLevel)>,
    mut metadata: Metadata,
) -> Value {
    let query = query(parts.uri.query().unwrap_or_default());
    let mut data = json!({
        "Url": url(parts),
        "Method": parts.method.as_str(),
        "Query": query,
        "Headers": headers(&parts.headers, |values| values.into_iter().collect()),
        "Params": parameters,
        "Identities": identities(caller),
    });
    for (name, value) in query.as_object().into_iter().flatten().filter(|(name, _)| *name != "code") {
        metadata.set(name, Net::Json(value.clone()));
    }
    if let Some(text) = body_text(&parts.headers, body) {
        metadata.merge_text(&text);
        data["Body"] = Value::String(text);
    }
    for (name, value) in parameters {
        metadata.set(name, Net::Json(value.as_str().into()));
    }
    metadata.set("Query", Net::Json(query));
    metadata.set("Headers", Net::Json(headers(&parts.headers, |values| values.join(",").into())));
    envelope(binding, data, metadata)
}

/// A key brings an identity of its own, with claims; the anonymous one is always there.
fn identities(caller: Option<(&str, AuthLevel)>) -> Value {
    let anonymous = json!({"AuthenticationType": null, "IsAuthenticated": false, "Claims": [], "Name": null});
    let Some((key, level)) = caller else { return json!([anonymous]) };
    let claim = |kind: &str, value: &str| {
        json!({"Issuer": "LOCAL AUTHORITY", "OriginalIssuer": "LOCAL AUTHORITY", "Properties": {}, "Subject": null,
            "Type": format!("http://schemas.microsoft.com/2017/07/functions/claims/{kind}"), "Value": value,
            "ValueType": "http://www.w3.org/2001/XMLSchema#string"})
    };
    let level = if level == AuthLevel::Admin { "Admin" } else { "Function" };
    let claims = [claim("authlevel", level), claim("keyid", key)];
    json!([
        {"AuthenticationType": "WebJobsAuthLevel", "IsAuthenticated": true, "Actor": null, "BootstrapContext": null,
            "Claims": claims, "Label": null, "Name": null},
        anonymous,
    ])
}

/// True if the request says that it has a body.
pub(crate) fn has_length(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > 0)
}

/// The text of a body; base64 for octet streams and multipart.
fn body_text(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if !has_length(headers) {
        return None;
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_ascii_lowercase();
    match content_type.contains("octet-stream") || content_type.starts_with("multipart/") {
        true => Some(BASE64.encode(body)),
        false => Some(String::from_utf8_lossy(body).into_owned()),
    }
}

fn url(parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    format!("http://{host}{path}")
}

fn query(text: &str) -> Value {
    let mut query = Map::new();
    for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match query.get_mut(&*key) {
            Some(Value::String(known)) => {
                known.push(',');
                known.push_str(&value);
            }
            _ => {
                query.insert(key.into_owned(), value.into());
            }
        }
    }
    Value::Object(query)
}

fn headers(headers: &HeaderMap, join: impl Fn(Vec<String>) -> Value) -> Value {
    let values = |name| headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    headers.keys().map(|name| (title_case(name.as_str()), join(values(name).collect()))).collect()
}

/// `content-type` as `Content-Type`, the spelling the host has.
fn title_case(name: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
