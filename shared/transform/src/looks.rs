//! What a record looks like that is not one JSON object: one table of kinds, so that whoever is on call can count them and
//! sees what to do. A guess from bytes: it never decides whether a record is refused, only what is said of it. No reason
//! holds a value; a schema registry's id is none.

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;

mod binary;
mod text;

/// The kinds. `Display` is what a reason says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Looks {
    /// Nothing is known: JSON that is damaged in a way that has no name.
    Unknown,
    Empty,
    Blank,
    OnlyMark,
    Utf16,
    Utf32,
    /// Text whose bytes are not UTF-8.
    OtherEncoding,
    Gzip,
    Zlib,
    Zstd,
    Lz4,
    Snappy,
    Zip,
    Parquet,
    AvroFile,
    AvroSingle,
    /// Five bytes before the value; the schema's id.
    Confluent(u32),
    /// The same, and JSON behind them.
    ConfluentJson(u32),
    /// Its id, by a preamble of the body or by the content type.
    AzureRegistry(u128),
    Protobuf,
    MessagePack,
    Cbor,
    Bson,
    Binary,
    Array,
    ArrayTorn,
    Number,
    Boolean,
    Null,
    JsonText,
    /// A JSON string that holds a JSON object.
    TwiceEncoded,
    Several,
    Trailing,
    Torn,
    NotANumber,
    SingleQuotes,
    PythonWords,
    Undefined,
    BareNames,
    Comments,
    TrailingComma,
    LoneBackslash,
    Base64Object,
    Base64,
    Xml,
    Html,
    Form,
    Delimited,
    Text,
}

impl Looks {
    /// What a record looks like of which it is known that it is not one JSON object.
    pub(crate) fn like(record: &[u8]) -> Self {
        if let Some(kind) = binary::of(record) {
            return kind;
        }
        match simdutf8::basic::from_utf8(record) {
            Ok(text) => text::of(text),
            Err(_) if binary::is_mostly_text(record) => Self::OtherEncoding,
            Err(_) => binary::unnamed(record),
        }
    }

    /// By a content type alone, as Azure's serializers set it: `avro/binary+<id>`.
    pub(crate) fn by_content_type(content_type: &str) -> Option<Self> {
        let (form, id) = content_type.rsplit_once('+')?;
        let is_avro = form.trim().eq_ignore_ascii_case("avro/binary");
        is_avro.then(|| Self::AzureRegistry(binary::hex(id.trim().replace('-', "").as_bytes()).unwrap_or(0)))
    }

    /// Whether all of the record is another encoding of text, or no text: the reason of earlier releases was another.
    fn is_no_text(self) -> bool {
        matches!(self, Self::OtherEncoding | Self::Utf32 | Self::Binary)
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_no_text() { "not UTF-8, not one JSON object" } else { "not one JSON object" })?;
        match self.what() {
            Some(what) => write!(f, ": {what}"),
            None => Ok(()),
        }
    }
}

impl Looks {
    /// `None`: nothing that has a name.
    fn what(self) -> Option<Cow<'static, str>> {
        let what = match self {
            Self::Unknown => return None,
            Self::Confluent(id) => {
                let what = format!("a value of Confluent's schema registry (schema {id}); send JSON or Avro files");
                return Some(what.into());
            }
            Self::ConfluentJson(id) => {
                let what = format!("JSON behind the five bytes of Confluent's schema registry (schema {id})");
                return Some(what.into());
            }
            Self::AzureRegistry(0) => "Avro of Azure's schema registry; send JSON or Avro files",
            Self::AzureRegistry(id) => {
                let what = format!("Avro of Azure's schema registry (schema {id:032x}); send JSON or Avro files");
                return Some(what.into());
            }
            Self::Empty => "empty (a tombstone)",
            Self::Blank => "nothing but blanks",
            Self::OnlyMark => "nothing but a byte order mark",
            Self::Utf16 => "UTF-16 text; send UTF-8",
            Self::Utf32 => "UTF-32 text; send UTF-8",
            Self::OtherEncoding => "text that is not UTF-8 (Latin-1 or Windows-1252, perhaps)",
            Self::Gzip => "a gzip stream",
            Self::Zlib => "a zlib stream; compress with gzip or zstd",
            Self::Zstd => "a zstd stream",
            Self::Lz4 => "an LZ4 stream; compress with gzip or zstd",
            Self::Snappy => "a Snappy stream; compress with gzip or zstd",
            Self::Zip => "a zip archive; compress with gzip or zstd",
            Self::Parquet => "a Parquet file",
            Self::AvroFile => "an Avro file; set `[format] type` to \"auto\" or \"avro\"",
            Self::AvroSingle => "an Avro value in single-object encoding; send Avro files",
            Self::Protobuf => "binary that reads as Protobuf",
            Self::MessagePack => "binary that reads as MessagePack",
            Self::Cbor => "binary that reads as CBOR",
            Self::Bson => "binary that reads as BSON",
            Self::Binary => "binary that is not UTF-8 (an Avro value without its file, perhaps)",
            Self::Array => "a JSON array; set `[format] type` to \"auto\" or \"json\", or send its elements",
            Self::ArrayTorn => "a JSON array that is not closed, or broken",
            Self::Number => "a JSON number",
            Self::Boolean => "a JSON boolean",
            Self::Null => "a JSON null",
            Self::JsonText => "a JSON string",
            Self::TwiceEncoded => "a JSON string that holds a JSON object: it was encoded twice",
            Self::Several => "several JSON objects without a line break between them",
            Self::Trailing => "a JSON object and something behind it",
            Self::Torn => "a JSON object that ends too early",
            Self::NotANumber => "it has NaN or Infinity, which JSON has not",
            Self::SingleQuotes => "it has single quotes, as Python prints a dict",
            Self::PythonWords => "it has None, True or False, as Python prints them",
            Self::Undefined => "it has `undefined`, which JSON has not",
            Self::BareNames => "it has names or words without quotes",
            Self::Comments => "it has comments, which JSON has not",
            Self::TrailingComma => "it has a comma before a closing bracket",
            Self::LoneBackslash => "it has backslashes outside of strings: quotes were escaped once too often",
            Self::Base64Object => "base64 of a JSON object: send it as it is",
            Self::Base64 => "base64 text",
            Self::Xml => "XML",
            Self::Html => "HTML",
            Self::Form => "a web form (name=value)",
            Self::Delimited => "delimited text (CSV)",
            Self::Text => "text",
        };
        Some(what.into())
    }
}

/// What bytes look like that should have been something else than JSON, by their content type where that says more.
pub(crate) fn named(body: &[u8], content_type: Option<&str>) -> Option<Cow<'static, str>> {
    if let Some(looks) = content_type.and_then(Looks::by_content_type) {
        return looks.what();
    }
    let is_object = body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if is_object {
        Some("a JSON object; set `[format] type` to \"auto\" or \"ndjson\"".into())
    } else {
        Looks::like(body).what()
    }
}
