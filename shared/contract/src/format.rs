//! Which blobs a contract claims, and which format a blob has.

use crate::glob::Glob;
use crate::model::{Contract, FormatKind, Source};

/// With `type = "auto"` a path must say its format by its extension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "dataset `{dataset}` tells formats by extension, and `{path}` has none that is known (.csv, .ndjson, .jsonl, \
     .json, .parquet, each also with .gz): rename the blob or set `[format] type`"
)]
pub struct UnknownExtension {
    pub dataset: String,
    pub path: String,
}

impl Source {
    /// Whether the blob is one of this source's. `path` is relative to the container, without a leading slash.
    /// Takes time linear in the length of `path`.
    pub fn matches(&self, container: &str, path: &str) -> bool {
        match self {
            Source::Blob { container: own, paths, .. } => {
                own == container && paths.iter().any(|pattern| Glob::new(pattern).matches(path))
            }
            Source::Events { .. } => false,
        }
    }

    /// The folder that all of this source's blobs are in; `None` for the container itself.
    pub fn common_folder(&self) -> Option<String> {
        let Source::Blob { paths, .. } = self else { return None };
        let folders = paths.iter().map(|path| {
            let parts: Vec<&str> = path.split('/').collect();
            let literal = parts[..parts.len() - 1].iter().take_while(|part| !part.contains(['*', '?']));
            literal.copied().collect::<Vec<_>>()
        });
        let common = folders.reduce(|left, right| {
            left.into_iter().zip(right).take_while(|(left, right)| left == right).map(|(left, _)| left).collect()
        })?;
        (!common.is_empty()).then(|| common.join("/"))
    }
}

impl Contract {
    /// The format of the blob at `path`; never [`FormatKind::Auto`]. Extensions are compared without case.
    pub fn resolve_format(&self, path: &str) -> Result<FormatKind, UnknownExtension> {
        if self.format.kind != FormatKind::Auto {
            return Ok(self.format.kind);
        }
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Ok(FormatKind::Csv),
            Some("ndjson" | "jsonl" | "json") => Ok(FormatKind::Ndjson),
            Some("parquet") => Ok(FormatKind::Parquet),
            _ => Err(UnknownExtension { dataset: self.name.clone(), path: path.to_owned() }),
        }
    }
}
