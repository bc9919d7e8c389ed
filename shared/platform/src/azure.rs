//! Requests to one container in Azure (or Azurite) that object_store cannot make: listings by real names, and reads of
//! blobs whose names it refuses. Credentials, signatures and connections are object_store's.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use http::{HeaderMap, Method, StatusCode};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, Result,
};
use percent_encoding::utf8_percent_encode;

use crate::blob_name::{BlobName, UNRESERVED};
use crate::listing::{self, Page};

const STORE: &str = "landing";
const ATTEMPTS: u32 = 6;
/// Before the second attempt; doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const METADATA: &str = "x-ms-meta-";

/// A container of an account.
#[derive(Debug)]
pub(crate) struct AzureContainer {
    /// `https://account.blob.core.windows.net/container`, without a slash at its end.
    pub(crate) url: String,
    pub(crate) account: String,
    pub(crate) credentials: AzureCredentialProvider,
    pub(crate) client: HttpClient,
}

/// What the service refused.
#[derive(Debug, thiserror::Error)]
#[error("{method} answered {status} {code}")]
pub(crate) struct Refusal {
    method: Method,
    status: StatusCode,
    /// Azure's name for the reason.
    pub(crate) code: String,
}

impl AzureContainer {
    /// Blobs whose names begin with `prefix`, from a page's `next` on.
    pub(crate) async fn page(&self, prefix: &str, marker: Option<&str>, limit: usize) -> Result<Page> {
        let mut url = format!("{}?restype=container&comp=list&include=metadata&maxresults={limit}", self.url);
        for (key, value) in [("prefix", Some(prefix)), ("marker", marker)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                url.push_str(&format!("&{key}={}", utf8_percent_encode(value, UNRESERVED)));
            }
        }
        let answer = self.send(&Method::GET, &url, &HeaderMap::new(), "list").await?;
        let body = answer.into_body().bytes().await.map_err(generic)?;
        let text = String::from_utf8_lossy(&body);
        listing::parse(&text).map_err(|problem| generic(Unreadable { what: "a listing", problem }))
    }

    /// A blob whose name object_store cannot say.
    pub(crate) async fn get(&self, name: &BlobName, key: &Path, options: GetOptions) -> Result<GetResult> {
        let method = if options.head { Method::HEAD } else { Method::GET };
        let mut headers = HeaderMap::new();
        let conditions = [("if-match", &options.if_match), ("if-none-match", &options.if_none_match)];
        for (header, value) in conditions {
            if let Some(value) = value {
                headers.insert(header, value.parse().map_err(generic)?);
            }
        }
        if let Some(range) = &options.range {
            headers.insert("range", range.to_string().parse().map_err(generic)?);
        }
        // Every character but the plainest is encoded: a slash too, which may be the name's second in a row.
        let encoded: Vec<_> =
            name.as_str().split('/').map(|part| Cow::from(utf8_percent_encode(part, UNRESERVED))).collect();
        let url = format!("{}/{}", self.url, encoded.join("/"));
        let answer = self.send(&method, &url, &headers, key.as_ref()).await?;
        let (parts, body) = answer.into_parts();
        let (meta, range) = meta(key, &parts.headers)
            .map_err(|problem| generic(Unreadable { what: "the headers of a blob", problem: problem.to_owned() }))?;
        let stream = body.bytes_stream().map_err(generic);
        let payload = GetResultPayload::Stream(Box::pin(stream));
        Ok(GetResult { payload, meta, range, attributes: attributes(&parts.headers) })
    }

    /// Tries on while the service is busy or does not answer.
    async fn send(&self, method: &Method, url: &str, headers: &HeaderMap, path: &str) -> Result<HttpResponse> {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(method, url, headers, path).await {
                Err((error, true)) if attempt < ATTEMPTS => error,
                Err((error, _)) => return Err(error),
                Ok(answer) => return Ok(answer),
            };
            tracing::debug!(%error, attempt, "storage does not answer");
            tokio::time::sleep(FIRST_WAIT * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    /// With an error comes whether it may pass.
    async fn attempt(
        &self,
        method: &Method,
        url: &str,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<HttpResponse, (Error, bool)> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.parse().map_err(|error: http::uri::InvalidUri| (generic(error), false))?;
        *request.headers_mut() = headers.clone();
        let credential = self.credentials.get_credential().await.map_err(|error| (error, true))?;
        AzureAuthorizer::new(&credential, &self.account).authorize(&mut request);
        let answer = self.client.execute(request).await.map_err(|error| (generic(error), true))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let code = answer.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok());
        let refusal = Refusal { method: method.clone(), status, code: code.unwrap_or_default().to_owned() };
        let path = path.to_owned();
        let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        Err(match status {
            StatusCode::NOT_FOUND => (Error::NotFound { path, source: refusal.into() }, false),
            StatusCode::PRECONDITION_FAILED => (Error::Precondition { path, source: refusal.into() }, false),
            StatusCode::NOT_MODIFIED => (Error::NotModified { path, source: refusal.into() }, false),
            _ => (generic(refusal), passes),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read: {problem}")]
struct Unreadable {
    what: &'static str,
    problem: String,
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: STORE, source: source.into() }
}

fn meta(key: &Path, headers: &HeaderMap) -> Result<(ObjectMeta, std::ops::Range<u64>), &'static str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let length: u64 = text("content-length").and_then(|length| length.parse().ok()).ok_or("no content-length")?;
    // `bytes 0-9/200`
    let (range, size) = match text("content-range").and_then(|range| range.strip_prefix("bytes ")?.split_once('/')) {
        Some((range, size)) => {
            let start: u64 = range.split_once('-').and_then(|(start, _)| start.parse().ok()).ok_or("content-range")?;
            (start..start.saturating_add(length), size.parse().map_err(|_| "content-range")?)
        }
        None => (0..length, length),
    };
    let modified = text("last-modified").and_then(|at| DateTime::parse_from_rfc2822(at).ok());
    let last_modified: DateTime<Utc> = modified.ok_or("no last-modified")?.to_utc();
    let e_tag = text("etag").map(str::to_owned);
    Ok((ObjectMeta { location: key.clone(), last_modified, size, e_tag, version: None }, range))
}

fn attributes(headers: &HeaderMap) -> Attributes {
    let own = headers.iter().filter_map(|(name, value)| {
        let key = name.as_str().strip_prefix(METADATA)?.to_owned();
        Some((Attribute::Metadata(key.into()), AttributeValue::from(value.to_str().ok()?.to_owned())))
    });
    own.collect()
}
