//! Storage events: a blob, its version and the operation that wrote it.

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::event_grid::EventGridEvent;
use crate::error::Error;

/// A blob event, from either schema. At least once and unordered: compare [`sequencer`](Self::sequencer)s of the same
/// blob as strings to order its events, and read the blob with `If-Match` on [`etag`](Self::etag).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobEvent {
    /// What happened.
    pub kind: BlobEventKind,
    /// Unique per event and the same for each delivery of it.
    pub id: String,
    /// When it happened, by the storage account's clock.
    pub time: Option<DateTime<Utc>>,
    /// The blob's container, a file system in Data Lake's words.
    pub container: String,
    /// The blob's name within the container, percent-decoded once; never empty, without `.` and `..` segments.
    pub path: String,
    /// The blob's address as it came, percent-encoded.
    pub url: String,
    /// The version of the content, as it came; Event Grid sends it without quotes.
    pub etag: Option<String>,
    /// Length of the blob in bytes.
    pub content_length: Option<u64>,
    /// Orders the events of one blob; hexadecimal digits, compared as strings.
    pub sequencer: Option<String>,
    /// The storage operation, such as `PutBlob`, `PutBlockList`, `CopyBlob`, `FlushWithClose`, `RenameFile`.
    pub api: Option<String>,
    /// `BlockBlob`, `AppendBlob` or `PageBlob`.
    pub blob_type: Option<String>,
    /// The place before a rename, of the blob or the directory. `container` and `path` are where it is.
    pub renamed_from: Option<BlobPlace>,
}

/// A container and a name in it, decoded as [`BlobEvent::path`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPlace {
    /// The container.
    pub container: String,
    /// The name within it.
    pub path: String,
}

/// What happened to a blob or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlobEventKind {
    /// Written or overwritten.
    Created,
    /// Deleted.
    Deleted,
    /// Moved within an account with a hierarchical namespace, without a creation or a deletion of its own. Its content is
    /// what it was; such an event has no etag and no length.
    Renamed,
    /// All that was below [`BlobEvent::renamed_from`] is below [`BlobEvent::path`]: the only event of the blobs in it.
    DirectoryRenamed,
    /// All that was below [`BlobEvent::path`] is gone: the only event of the blobs in it.
    DirectoryDeleted,
    /// Another event about a blob or a directory: directory created, tier changed, …
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

    /// Reads a blob event from an event that is already decoded.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_event(event: &EventGridEvent) -> Result<Self, Error> {
        let kind = match event.event_type.as_str() {
            "Microsoft.Storage.BlobCreated" => BlobEventKind::Created,
            "Microsoft.Storage.BlobDeleted" => BlobEventKind::Deleted,
            "Microsoft.Storage.BlobRenamed" => BlobEventKind::Renamed,
            "Microsoft.Storage.DirectoryRenamed" => BlobEventKind::DirectoryRenamed,
            "Microsoft.Storage.DirectoryDeleted" => BlobEventKind::DirectoryDeleted,
            _ => BlobEventKind::Other,
        };
        let text = |key| event.data.get(key).and_then(Value::as_str).map(str::to_owned);
        let is_rename = matches!(kind, BlobEventKind::Renamed | BlobEventKind::DirectoryRenamed);
        let key = if is_rename { "data.destinationUrl" } else { "data.url" };
        let given = |key: &'static str| {
            let value = text(key.trim_start_matches("data."));
            value.ok_or_else(|| Error::event(key, "is missing"))
        };
        let url = given(key)?;
        let (container, path) = locate(key, &url, event.subject.as_deref())?;
        let renamed_from = match is_rename {
            // The subject is the destination's.
            true => Some(place("data.sourceUrl", &given("data.sourceUrl")?, None)?),
            false => None,
        };
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
            blob_type: text("blobType"),
            renamed_from,
            url,
        })
    }
}

/// Container and path. The URL is the truth: a subject is not encoded and has been seen with characters outside the
/// basic plane replaced. The subject only tells which segment of a path-style URL (Azurite, `file:`) the container is.
fn locate(key: &'static str, url: &str, subject: Option<&str>) -> Result<(String, String), Error> {
    let bad = |problem: &str| Error::event(key, problem);
    let (_, rest) = url.split_once("://").ok_or_else(|| bad("has no scheme"))?;
    let (host, encoded) = rest.split_once('/').ok_or_else(|| bad("has no path"))?;
    let subject = subject.and_then(|subject| subject.strip_prefix("/blobServices/default/containers/"));
    // An address that ends as its subject does, and has what no encoded address has, came as it is.
    let is_plain = subject.and_then(|subject| subject.split_once("/blobs/")).is_some_and(|(_, name)| {
        name.contains(['?', '#']) && encoded.strip_suffix(name).is_some_and(|before| before.ends_with('/'))
    });
    let encoded = if is_plain { encoded } else { encoded.split(['?', '#']).next().unwrap_or_default() };

    let named = subject.and_then(|subject| subject.split('/').next());
    let after_container = match named {
        Some(container) => after_segment(encoded, container),
        // Path-style addresses put the account first.
        None if is_path_style(host) => encoded.split_once('/').and_then(|(_, rest)| rest.split_once('/')),
        None => encoded.split_once('/'),
    };
    let (container, path) = after_container.ok_or_else(|| bad("names no blob in a container"))?;
    let path = if is_plain { Some(path.to_owned()) } else { decode(path) };
    let path = path.ok_or_else(|| bad("is not utf-8 once percent-decoded"))?;
    if path.is_empty() {
        return Err(bad("names no blob in a container"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(bad("has a `.` or `..` segment"));
    }
    Ok((container.to_owned(), path))
}

fn place(key: &'static str, url: &str, subject: Option<&str>) -> Result<BlobPlace, Error> {
    let (container, path) = locate(key, url, subject)?;
    Ok(BlobPlace { container, path })
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
            // What a name may have: a slash twice, at either end, and what else is encoded.
            ("https://acct.blob.core.windows.net/in/a//b.csv", None, Some(("in", "a//b.csv"))),
            ("https://acct.blob.core.windows.net/in//a/", Some(SUBJECT), Some(("in", "/a/"))),
            ("https://acct.blob.core.windows.net/in/%23%3F%5B%7C%0A%25", None, Some(("in", "#?[|\n%"))),
            // Its two Unicode forms are two names.
            ("https://acct.blob.core.windows.net/in/u%CC%88", None, Some(("in", "u\u{308}"))),
            // Unencoded after all; with `#` or `?` in it if the subject says so.
            (
                "https://acct.blob.core.windows.net/in/a#1?.csv",
                Some("/blobServices/default/containers/in/blobs/a#1?.csv"),
                Some(("in", "a#1?.csv")),
            ),
            ("https://acct.blob.core.windows.net/in/a#1?.csv", Some(SUBJECT), Some(("in", "a"))),
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
            let got = locate("data.url", url, *subject).ok();
            let got = got.as_ref().map(|(container, path)| (container.as_str(), path.as_str()));
            assert_eq!(got, *expected, "{url}");
        }
    }
}
