//! Storage events: which blob was written, in which version, by which operation.

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::event_grid::EventGridEvent;
use crate::error::Error;

/// A blob event, from either schema. At least once and unordered: compare [`sequencer`](Self::sequencer)s of the same
/// blob as strings to order its events, and read the blob with `If-Match` on [`etag`](Self::etag).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobEvent {
    pub kind: BlobEventKind,
    /// Unique per event and the same for each delivery of it.
    pub id: String,
    pub time: Option<DateTime<Utc>>,
    pub container: String,
    /// The blob's name within the container, percent-decoded once; never empty, without `.` and `..` segments.
    pub path: String,
    /// As it came, percent-encoded.
    pub url: String,
    /// As it came; Event Grid sends it without quotes.
    pub etag: Option<String>,
    /// Bytes.
    pub content_length: Option<u64>,
    pub sequencer: Option<String>,
    /// The storage operation, such as `PutBlob`, `PutBlockList`, `CopyBlob`, `FlushWithClose`.
    pub api: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlobEventKind {
    /// Written or overwritten.
    Created,
    Deleted,
    /// Another event about a blob or a directory: renamed, tier changed, …
    Other,
}

impl BlobEvent {
    /// Reads a blob event from a queue message's body; see [`EventGridEvent::parse`] for the wrappings understood.
    ///
    /// # Errors
    /// [`Error::Event`] naming the key, also for events that are about no blob.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_event(&EventGridEvent::parse(bytes)?)
    }

    /// The same for an event that is already decoded.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_event(event: &EventGridEvent) -> Result<Self, Error> {
        let kind = match event.event_type.as_str() {
            "Microsoft.Storage.BlobCreated" => BlobEventKind::Created,
            "Microsoft.Storage.BlobDeleted" => BlobEventKind::Deleted,
            _ => BlobEventKind::Other,
        };
        let text = |key| event.data.get(key).and_then(Value::as_str).map(str::to_owned);
        let url = text("url").ok_or_else(|| Error::event("data.url", "is missing"))?;
        let (container, path) = locate(&url, event.subject.as_deref())?;
        let length = event.data.get("contentLength");
        Ok(Self {
            kind,
            id: event.id.clone(),
            time: event.time,
            container,
            path,
            etag: text("eTag"),
            content_length: length.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok())),
            sequencer: text("sequencer"),
            api: text("api"),
            url,
        })
    }
}

/// Container and path. The URL is the truth: a subject is not encoded and has been seen with characters outside the
/// basic plane replaced. The subject only tells which segment of a path-style URL (Azurite, `file:`) the container is.
fn locate(url: &str, subject: Option<&str>) -> Result<(String, String), Error> {
    let bad = |problem: &str| Error::event("data.url", problem);
    let (_, rest) = url.split_once("://").ok_or_else(|| bad("has no scheme"))?;
    let (host, encoded) = rest.split_once('/').ok_or_else(|| bad("has no path"))?;
    let encoded = encoded.split(['?', '#']).next().unwrap_or_default();

    let named = subject.and_then(|s| s.strip_prefix("/blobServices/default/containers/")?.split('/').next());
    let after_container = match named {
        Some(container) => after_segment(encoded, container),
        // Path-style addresses put the account first.
        None if is_path_style(host) => encoded.split_once('/').and_then(|(_, rest)| rest.split_once('/')),
        None => encoded.split_once('/'),
    };
    let (container, path) = after_container.ok_or_else(|| bad("names no blob in a container"))?;
    let path = decode(path).ok_or_else(|| bad("is not utf-8 once percent-decoded"))?;
    if path.is_empty() {
        return Err(bad("names no blob in a container"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(bad("has a `.` or `..` segment"));
    }
    Ok((container.to_owned(), path))
}

/// The path behind the first segment called `name`.
fn after_segment<'a>(path: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut rest = path;
    loop {
        let (segment, behind) = rest.split_once('/')?;
        if segment == name {
            return Some((segment, behind));
        }
        rest = behind;
    }
}

/// An address or a bare name instead of `<account>.blob.<suffix>`.
fn is_path_style(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    !name.contains('.') || name.starts_with('[') || name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Decodes once. A path that cannot be percent-encoded text (blanks, non-ASCII, a stray `%`) came unencoded and is
/// taken as it is: decoding it would rename the blob. `+` is a plus sign in a path.
fn decode(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let stray = bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'%' => !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        _ => !byte.is_ascii_graphic(),
    });
    if stray {
        return Some(path.to_owned());
    }
    percent_decode_str(path).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "/blobServices/default/containers/in/blobs/whatever";

    /// URL, subject, expected container and path.
    type Case = (&'static str, Option<&'static str>, Option<(&'static str, &'static str)>);

    #[test]
    fn finds_container_and_path() {
        let cases: &[Case] = &[
            ("https://acct.blob.core.windows.net/in/a/b.csv", None, Some(("in", "a/b.csv"))),
            ("https://acct.dfs.core.windows.net/in/a/b.csv", Some(SUBJECT), Some(("in", "a/b.csv"))),
            ("https://acct.blob.core.windows.net/in/my%20file%2B1.csv", None, Some(("in", "my file+1.csv"))),
            ("https://acct.blob.core.windows.net/in/a+b.csv", None, Some(("in", "a+b.csv"))),
            // A literal `%20` in the name is decoded once, not twice.
            ("https://acct.blob.core.windows.net/in/a%2520b", None, Some(("in", "a%20b"))),
            ("https://acct.blob.core.windows.net/in/z%C3%BCrich.csv", Some(SUBJECT), Some(("in", "zürich.csv"))),
            ("https://acct.blob.core.windows.net/in/log%F0%9F%92%8E", Some(SUBJECT), Some(("in", "log💎"))),
            // Unencoded after all.
            ("https://acct.blob.core.windows.net/in/100%.csv", None, Some(("in", "100%.csv"))),
            ("https://acct.blob.core.windows.net/in/a b%20c", None, Some(("in", "a b%20c"))),
            // Path style: the account is the first segment.
            ("http://127.0.0.1:10000/devstoreaccount1/in/a/b.csv", None, Some(("in", "a/b.csv"))),
            ("http://azurite:10000/devstoreaccount1/in/a.csv", Some(SUBJECT), Some(("in", "a.csv"))),
            ("file:///tmp/landing/in/a%20b.csv", Some(SUBJECT), Some(("in", "a b.csv"))),
            ("https://acct.blob.core.windows.net/in/a.csv?sv=1#x", None, Some(("in", "a.csv"))),
            // `in` may come again in the path.
            ("https://acct.blob.core.windows.net/in/in/a.csv", Some(SUBJECT), Some(("in", "in/a.csv"))),
            // Refused.
            ("https://acct.blob.core.windows.net/in", None, None),
            ("https://acct.blob.core.windows.net/in/", None, None),
            ("https://acct.blob.core.windows.net/other/a.csv", Some(SUBJECT), None),
            ("https://acct.blob.core.windows.net/in/a/%2e%2e/b", None, None),
            ("https://acct.blob.core.windows.net/in/../b", None, None),
            ("https://acct.blob.core.windows.net/in/%FF", None, None),
            ("acct/in/a", None, None),
            ("", None, None),
        ];
        for (url, subject, expected) in cases {
            let got = locate(url, *subject).ok();
            let got = got.as_ref().map(|(container, path)| (container.as_str(), path.as_str()));
            assert_eq!(got, *expected, "{url}");
        }
    }
}
