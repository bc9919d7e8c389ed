//! `httpTrigger` in envelope mode, turned back into the request that the caller sent.
//!
//! The host uses the envelope for HTTP functions that have other outputs than the response, and for all of them when
//! `enableForwardingHttpRequest` is off.
//!
//! Every query parameter and every top-level member of a JSON body is in `Metadata` too, so nothing there is believed:
//! what is told comes from `Data`, which the host writes.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::value::RawValue;

use super::Trigger;
use crate::envelope::{BASE64, Binding, DataType, Envelope, lenient_text};
use crate::error::Error;
use crate::wire::{self, Members};

/// Most identities of a request, and most claims of an identity, that are kept.
const MAX_IDENTITIES: usize = 256;

/// The parameters of the function's route, as an extension of the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteParams(pub BTreeMap<String, String>);

/// Marks a request whose envelope held no body, as an extension of the request. The host leaves the body out when the
/// caller sent none, but also when the caller sent one without `Content-Length` (a chunked upload).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsentBody;

/// Message for a caller whose request came without a body.
pub const NO_BODY: &str = "the request has no body, or was sent without a Content-Length (chunked), and then the Functions host \
    does not pass its body on: send the body with its length";

/// The caller's identities, as App Service authentication and function keys tell, as an extension of the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identities(pub Vec<Identity>);

/// One identity of a caller: a user, a service or a function key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Identity {
    /// How the caller proved it, such as `aad` or `WebJobsAuthLevel` for a function key.
    pub authentication_type: Option<String>,
    /// Whether it was proved.
    pub is_authenticated: bool,
    /// The name that App Service gives it.
    pub name: Option<String>,
    /// Statements about it, such as roles; at most 256 are kept.
    pub claims: Vec<Claim>,
}

/// A statement about an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// What is stated, mostly a URI; `Type` on the wire.
    pub kind: String,
    /// The statement's value.
    pub value: String,
}

/// The body of an enveloped request, or `None` when the envelope held none. A function that needs a body should
/// answer `None` with 411 (length required) and [`NO_BODY`], not take it for an empty one.
#[must_use]
pub fn request_body(request: &Request<Bytes>) -> Option<&Bytes> {
    match request.extensions().get::<AbsentBody>() {
        Some(AbsentBody) => None,
        None => Some(request.body()),
    }
}

impl Claim {
    /// A claim, for tests of handlers.
    #[must_use]
    pub fn new(kind: impl Into<String>, value: impl Into<String>) -> Self {
        Self { kind: kind.into(), value: value.into() }
    }
}

impl Trigger for Request<Bytes> {
    fn decode(envelope: &mut Envelope<'_>, _: DataType) -> Result<Self, Error> {
        let binding = envelope.trigger()?;
        let text = binding.text()?;
        let members = Members::parse(&text).ok_or_else(|| binding.error("is not a json object"))?;
        // The host retries no HTTP function: a retry context is the caller's own.
        envelope.distrust("RetryContext");
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = method(&members, &binding)?;
        *request.uri_mut() = uri(&members, &binding)?;
        read_headers(&members, &mut request);
        match members.get("Body").filter(|raw| raw.get() != "null") {
            Some(raw) => *request.body_mut() = read_body(raw, &request),
            None => {
                request.extensions_mut().insert(AbsentBody);
            }
        }
        let params = object(&members, "Params");
        let params = params.iter().map(|(name, raw)| (name.to_owned(), lenient_text(raw).0.into_owned()));
        request.extensions_mut().insert(RouteParams(params.collect()));
        request.extensions_mut().insert(identities(&members));
        Ok(request)
    }
}

fn method(members: &Members<'_>, binding: &Binding<'_>) -> Result<Method, Error> {
    let method = members.get("Method").and_then(wire::scalar).and_then(|name| Method::from_bytes(name.as_bytes()).ok());
    method.ok_or_else(|| Error::envelope(format!("Data.{}.Method", binding.name()), "is not an http method"))
}

fn uri(members: &Members<'_>, binding: &Binding<'_>) -> Result<Uri, Error> {
    // What a proxy or a test host left unencoded is encoded here: `Uri` is strict.
    const UNSAFE: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'|');
    let url = members.get("Url").and_then(wire::scalar);
    let uri = url.and_then(|url| utf8_percent_encode(&url, UNSAFE).to_string().parse().ok());
    uri.ok_or_else(|| Error::envelope(format!("Data.{}.Url", binding.name()), "is not a url"))
}

/// Values are arrays of strings, or plain strings. Headers that HTTP does not allow are left out.
fn read_headers(members: &Members<'_>, request: &mut Request<Bytes>) {
    for (name, raw) in object(members, "Headers").iter() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let values = wire::elements(raw.get(), wire::MAX_MEMBERS).unwrap_or_else(|_| vec![raw]);
        for value in values {
            let Ok(value) = HeaderValue::from_bytes(lenient_text(value).0.as_bytes()) else { continue };
            // Refuses more than 32,768 headers instead of panicking.
            if request.headers_mut().try_append(name.clone(), value).is_err() {
                return;
            }
        }
    }
}

/// Text as it is; base64 for the content types that the host treats as binary.
fn read_body(raw: &RawValue, request: &Request<Bytes>) -> Bytes {
    let (text, is_string) = lenient_text(raw);
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.trim().to_ascii_lowercase();
    let binary = content_type.starts_with("application/octet-stream") || content_type.starts_with("multipart/");
    if is_string
        && binary
        && let Ok(bytes) = BASE64.decode(text.as_bytes())
    {
        return Bytes::from(bytes);
    }
    Bytes::from(text.into_owned())
}

fn identities(members: &Members<'_>) -> Identities {
    let list = members.get("Identities").map(|raw| raw.get()).unwrap_or_default();
    let list = wire::elements(list, MAX_IDENTITIES).unwrap_or_default();
    let identity = |raw: &RawValue| {
        let members = Members::parse(raw.get())?;
        let claims = members.get("Claims").and_then(|raw| wire::elements(raw.get(), MAX_IDENTITIES).ok());
        let claim = |raw: &RawValue| {
            let members = Members::parse(raw.get())?;
            Some(Claim { kind: members.text("Type")?, value: members.text("Value")? })
        };
        Some(Identity {
            authentication_type: members.text("AuthenticationType"),
            is_authenticated: members.read("IsAuthenticated").unwrap_or(false),
            name: members.text("Name"),
            claims: claims.unwrap_or_default().into_iter().filter_map(claim).collect(),
        })
    };
    Identities(list.into_iter().filter_map(identity).collect())
}

/// The members of an object member; none when it is absent or no object.
fn object<'a>(members: &Members<'a>, key: &str) -> Members<'a> {
    members.get(key).and_then(|raw| Members::parse(raw.get())).unwrap_or_default()
}
