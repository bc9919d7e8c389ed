//! What a landing container holds, page by page, by the names that blobs really have.
//!
//! object_store's own listing fails as a whole when one name of a page is none that it can say (`sales//b.csv`), and
//! trims blanks off names. So the service's answer is read here.

use chrono::{DateTime, Utc};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use crate::blob_name::{BadName, BlobName};

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of the service. Folders are left out.
    pub blobs: Vec<Listed>,
    /// What is there and cannot be asked for.
    pub unusable: Vec<Unusable>,
    /// What the next page is asked for with; `None` after the last.
    pub next: Option<String>,
}

/// One blob of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: BlobName,
    /// Without quotes, as Event Grid writes it.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// By the store's clock.
    pub modified: DateTime<Utc>,
}

/// A blob whose name no request can carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    pub name: String,
    pub etag: String,
    pub modified: DateTime<Utc>,
    pub why: BadName,
}

/// One entry, as it is found.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) modified: DateTime<Utc>,
    /// A folder of an account with a hierarchical namespace, or the empty blob by which others mark one.
    pub(crate) is_folder: bool,
}

impl Page {
    pub(crate) fn add(&mut self, entry: Entry) {
        let Entry { name, etag, size, modified, is_folder } = entry;
        if is_folder || size == 0 && name.ends_with('/') {
            return;
        }
        match BlobName::new(name.as_str()) {
            Ok(name) => self.blobs.push(Listed { name, etag, size, modified }),
            Err(why) => self.unusable.push(Unusable { name, etag, modified, why }),
        }
    }
}

/// Reads the answer of List Blobs.
///
/// # Errors
/// What is wrong with it; never a name.
pub(crate) fn parse(answer: &str) -> Result<Page, String> {
    let mut reader = Reader::from_str(answer.trim_start_matches('\u{feff}'));
    let (mut page, mut entry) = (Page::default(), Entry::default());
    let (mut open, mut text, mut encoded) = (Vec::<String>::new(), String::new(), false);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                open.push(local_name(&start));
                text.clear();
                encoded = is_encoded(&start);
            }
            // Texts are taken as they are: a blank at the end of a name belongs to it.
            Event::Text(part) => text.push_str(&part.decode().map_err(|error| error.to_string())?),
            Event::CData(part) => text.push_str(&part.decode().map_err(|error| error.to_string())?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|error| error.to_string())? {
                Some(character) => text.push(character),
                None => {
                    let name = reference.decode().map_err(|error| error.to_string())?;
                    text.push_str(resolve_predefined_entity(&name).ok_or("it has an unknown entity")?);
                }
            },
            Event::End(_) => {
                let parents: Vec<&str> = open.iter().map(String::as_str).collect();
                match parents.as_slice() {
                    [_, "Blobs", "Blob"] => page.add(std::mem::take(&mut entry)),
                    [_, "Blobs", "Blob", inner @ ..] => entry.take(inner, &text, encoded)?,
                    [_, "NextMarker"] => page.next = Some(text.clone()).filter(|marker| !marker.is_empty()),
                    _ => {}
                }
                open.pop();
                text.clear();
            }
            Event::Eof if open.is_empty() => return Ok(page),
            Event::Eof => return Err("it ends too early".to_owned()),
            _ => {}
        }
    }
}

impl Entry {
    /// `path` leads from `<Blob>` to the element that has this text.
    fn take(&mut self, path: &[&str], text: &str, encoded: bool) -> Result<(), String> {
        match path {
            // Names that XML cannot hold come percent-encoded.
            ["Name"] if encoded => {
                let name = percent_encoding::percent_decode_str(text).decode_utf8();
                self.name = name.map_err(|_| "a name is not UTF-8 once it is decoded")?.into_owned();
            }
            ["Name"] => text.clone_into(&mut self.name),
            ["Properties", "Last-Modified"] => {
                let at = DateTime::parse_from_rfc2822(text).map_err(|error| format!("Last-Modified: {error}"))?;
                self.modified = at.to_utc();
            }
            ["Properties", "Etag"] => text.trim_start_matches("W/").trim_matches('"').clone_into(&mut self.etag),
            ["Properties", "Content-Length"] => {
                self.size = text.parse().map_err(|_| "Content-Length is not a number".to_owned())?;
            }
            ["Properties", "ResourceType"] if text == "directory" => self.is_folder = true,
            ["Metadata", key] if key.eq_ignore_ascii_case("hdi_isfolder") && text.eq_ignore_ascii_case("true") => {
                self.is_folder = true;
            }
            _ => {}
        }
        Ok(())
    }
}

fn local_name(start: &BytesStart<'_>) -> String {
    String::from_utf8_lossy(start.local_name().as_ref()).into_owned()
}

fn is_encoded(start: &BytesStart<'_>) -> bool {
    start.try_get_attribute("Encoded").ok().flatten().is_some_and(|attribute| attribute.value.as_ref() == b"true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_service_says_to_the_last_blank() {
        let blob = |name: &str, more: &str| {
            format!(
                "<Blob>{name}<Properties><Last-Modified>Mon, 05 Jan 2026 10:00:00 GMT</Last-Modified><Etag>\"0x1\"</Etag>\
                 <Content-Length>7</Content-Length></Properties>{more}</Blob>"
            )
        };
        let answer = [
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"in\"><Prefix>a</Prefix><Blobs>",
            &blob("<Name> a &amp;#&lt;&#x9;b </Name>", "<Metadata><Name>no</Name><other /></Metadata>"),
            &blob("<Name>a//b%20c</Name>", ""),
            &blob("<Name Encoded=\"true\">a%EF%BF%BF%2520</Name>", ""),
            &blob("<Name>a/../b</Name>", ""),
            &blob("<Name>folder</Name>", "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"),
            &blob("<Name>folder</Name>", "").replace("</Etag>", "</Etag><ResourceType>directory</ResourceType>"),
            &blob("<Name>folder/</Name>", "").replace('7', "0"),
            "<BlobPrefix><Name>p/</Name></BlobPrefix></Blobs><NextMarker>a&amp;b</NextMarker></EnumerationResults>",
        ]
        .concat();
        let page = parse(&answer).unwrap();
        let names: Vec<_> = page.blobs.iter().map(|blob| blob.name.as_str()).collect();
        assert_eq!(names, [" a &#<\tb ", "a//b%20c", "a\u{ffff}%20"]);
        let first = &page.blobs[0];
        assert_eq!((first.etag.as_str(), first.size, first.modified.timestamp()), ("0x1", 7, 1_767_607_200));
        assert_eq!(page.unusable.len(), 1);
        assert_eq!((page.unusable[0].name.as_str(), page.unusable[0].why), ("a/../b", BadName::Dots));
        assert_eq!(page.next.as_deref(), Some("a&b"));
        assert!(parse("<EnumerationResults><Blobs>").is_err());
        assert_eq!(parse("<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>"), Ok(Page::default()));
    }
}
