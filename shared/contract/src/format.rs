//! Which blobs a contract claims, which format a blob has, and whether it can be read in parts.

use crate::glob::Paths;
use crate::model::{Compression, Contract, ENCODINGS, Format, FormatKind, Source};

/// With `type = "auto"` a path must say its format by its extension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "dataset `{dataset}` tells formats by extension, and `{path}` has none that is known (.csv, .ndjson, .jsonl, \
     .json, .parquet, .avro, each also with .gz or .zst): rename the blob or set `[format] type`"
)]
pub struct UnknownExtension {
    pub dataset: String,
    pub path: String,
}

impl Source {
    /// Whether the blob is one of this source's: a glob of its `path` takes the name, `ignore` does not, and the name is
    /// not one of those by which others mark files that are not data (see `docs/contracts.md`, "Files that are not
    /// data"). `path` is relative to the container. Takes time linear in its length.
    pub fn matches(&self, container: &str, path: &str) -> bool {
        match self {
            Source::Blob { container: own, paths, ignore, .. } => {
                own == container && Paths::new(paths, ignore).take(path)
            }
            Source::Events { .. } | Source::Derived(_) => false,
        }
    }

    /// What a dataset takes, for messages.
    pub fn takes(&self) -> &'static str {
        match self {
            Source::Blob { .. } => "blobs",
            Source::Events { .. } => "events",
            Source::Derived(_) => "its rows from other tables",
        }
    }

    /// What the names of all of this source's blobs begin with; empty when they have nothing in common.
    pub fn common_prefix(&self) -> String {
        let Source::Blob { paths, .. } = self else { return String::new() };
        let literal = paths.iter().map(|path| path.split(['*', '?']).next().unwrap_or_default().to_owned());
        let common = |left: String, right: String| {
            left.chars().zip(right.chars()).take_while(|(left, right)| left == right).map(|(left, _)| left).collect()
        };
        literal.reduce(common).unwrap_or_default()
    }
}

impl Contract {
    /// The format of the blob at `path`; never [`FormatKind::Auto`]. Extensions are compared without case. By its
    /// extension `.json` is NDJSON; such a blob may be a document all the same (see [`Contract::may_be_document`]).
    pub fn resolve_format(&self, path: &str) -> Result<FormatKind, UnknownExtension> {
        if self.format.kind != FormatKind::Auto {
            return Ok(self.format.kind);
        }
        let unknown = || UnknownExtension { dataset: self.name.clone(), path: path.to_owned() };
        by_extension(path).ok_or_else(unknown)
    }

    /// Whether the blob's extension leaves open if it is lines or a document: its first byte tells. `[` begins no line
    /// of NDJSON that is a record.
    pub fn may_be_document(&self, path: &str) -> bool {
        let name = path.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        self.format.kind == FormatKind::Auto && name.ends_with(".json")
    }
}

/// The format that an extension stands for, of a path or of a glob.
pub fn by_extension(path: &str) -> Option<FormatKind> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(FormatKind::Csv),
        "ndjson" | "jsonl" | "json" => Some(FormatKind::Ndjson),
        "parquet" => Some(FormatKind::Parquet),
        "avro" => Some(FormatKind::Avro),
        _ => None,
    }
}

impl Format {
    /// Whether every record of such a blob is one line.
    pub fn is_lines(&self, kind: FormatKind) -> bool {
        match kind {
            FormatKind::Ndjson => true,
            FormatKind::Csv => self.quote.is_none() || !self.quoted_newlines,
            FormatKind::Json | FormatKind::Parquet | FormatKind::Avro | FormatKind::Auto => false,
        }
    }

    /// Whether a blob of this format can be read in parts (Parquet: of row groups; Avro: of blocks), as far as the contract tells: its first bytes may say that it
    /// is compressed, or UTF-16.
    pub fn splits(&self, kind: FormatKind) -> bool {
        // What is skipped may be longer than a part.
        let is_text_with_parts = self.is_lines(kind)
            && self.skip_lines == 0
            && matches!(self.compression, Compression::Auto | Compression::None)
            && self.encoding == ENCODINGS[0];
        matches!(kind, FormatKind::Avro | FormatKind::Parquet) || is_text_with_parts
    }
}
