//! A landing container that is a folder on this machine.

use std::cmp::Ordering;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{Attributes, Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, Result};

use crate::listing::{Entry, Page};

/// Deeper folders are left alone: a link may lead back up.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
}

/// One listing on its way through the folders.
struct Walk<'a> {
    prefix: &'a str,
    /// Names up to this one are done.
    after: Option<&'a str>,
    limit: usize,
    found: usize,
    last: String,
    page: Page,
}

impl Folder {
    /// The names after `marker`, in the order of their bytes, at most `limit` of them.
    pub(crate) fn page(&self, prefix: &str, marker: Option<&str>, limit: usize) -> Result<Page> {
        let page = Page::default();
        let mut walk = Walk { prefix, after: marker, limit, found: 0, last: String::new(), page };
        if walk.folder(&self.root, "", 0)? {
            walk.page.next = Some(walk.last);
        }
        Ok(walk.page)
    }

    /// A file, by its name.
    pub(crate) fn get(&self, name: &str, key: &Path, options: &GetOptions) -> Result<GetResult> {
        let gone = |source: std::io::Error| Error::NotFound { path: name.to_string(), source: source.into() };
        let failed = |source: std::io::Error| Error::Generic { store: "landing", source: source.into() };
        let mut path = self.root.clone();
        for segment in name.split('/') {
            // A folder has no such names; joined, they would lead elsewhere.
            if segment.is_empty() || segment.contains('\0') {
                return Err(gone(ErrorKind::NotFound.into()));
            }
            path.push(segment);
        }
        let file = fs::File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => gone(error),
            _ => failed(error),
        })?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(gone(ErrorKind::NotFound.into()));
        }
        let meta = ObjectMeta {
            location: key.clone(),
            last_modified: modified(&metadata),
            size: metadata.len(),
            e_tag: Some(etag(&metadata)),
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => {
                range.as_range(meta.size).map_err(|error| Error::Generic { store: "landing", source: error.into() })?
            }
            None => 0..meta.size,
        };
        Ok(GetResult { payload: GetResultPayload::File(file, path), meta, range, attributes: Attributes::default() })
    }
}

impl Walk<'_> {
    /// Whether there is more than the page may hold.
    fn folder(&mut self, folder: &FilePath, within: &str, depth: usize) -> Result<bool> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // It went meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound && depth > 0 => return Ok(false),
            Err(error) => return Err(Error::Generic { store: "landing", source: error.into() }),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::Generic { store: "landing", source: error.into() })?;
            let Ok(kind) = entry.file_type() else { continue };
            let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
            // A name that is not UTF-8 cannot be one of a blob.
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!(folder = %folder.display(), "a file's name is not UTF-8: it is left alone");
                continue;
            };
            names.push(format!("{within}{name}{}", if is_folder { "/" } else { "" }));
        }
        names.sort();
        for name in names {
            let path = folder.join(name[within.len()..].trim_end_matches('/'));
            let more = if name.ends_with('/') {
                let wanted = self.prefix.starts_with(&name) || name.starts_with(self.prefix);
                wanted && !self.is_past(&name) && depth < MAX_DEPTH && self.folder(&path, &name, depth + 1)?
            } else {
                name.starts_with(self.prefix) && !self.is_past(&name) && self.file(&path, name)
            };
            if more {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a file, or all files of a folder, were on an earlier page.
    fn is_past(&self, name: &str) -> bool {
        let Some(after) = self.after else { return false };
        match name.cmp(after) {
            Ordering::Equal => true,
            Ordering::Less => !(name.ends_with('/') && after.starts_with(name)),
            Ordering::Greater => false,
        }
    }

    fn file(&mut self, path: &FilePath, name: String) -> bool {
        let metadata = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            _ => return false,
        };
        if self.found == self.limit {
            return true;
        }
        self.found += 1;
        name.clone_into(&mut self.last);
        let (etag, size, modified) = (etag(&metadata), metadata.len(), modified(&metadata));
        self.page.add(Entry { name, etag, size, modified, is_folder: false });
        false
    }
}

/// As object_store gives it, so that a version that was listed can be opened by either.
fn etag(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{:x}-{:x}-{:x}", inode(metadata), modified.unwrap_or_default().as_micros(), metadata.len())
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}

fn modified(metadata: &Metadata) -> DateTime<Utc> {
    metadata.modified().map(DateTime::from).unwrap_or_default()
}
