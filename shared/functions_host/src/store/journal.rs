//! A file of JSON lines. A line cut off by a crash is dropped at the next start; damage elsewhere is an error.

use std::{
    fs::{File, OpenOptions},
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::HostError;

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Journal {
    /// Reads the entries, lets `compact` fold them into fewer, and starts the file anew with those.
    pub(crate) fn open<T, S>(path: &Path, compact: impl FnOnce(Vec<T>) -> (S, Vec<T>)) -> Result<(Self, S), HostError>
    where
        T: Serialize + DeserializeOwned,
    {
        let (state, entries) = compact(read(path)?);
        let staged = path.with_extension("new");
        let file = File::create(&staged).map_err(HostError::io("create", &staged))?;
        let mut journal = Self { path: path.to_owned(), file, size: 0 };
        journal.append(&entries)?;
        std::fs::rename(&staged, path).map_err(HostError::io("replace", path))?;
        Ok((journal, state))
    }

    /// Appends entries in one write. After an error the file ends where it ended before.
    pub(crate) fn append<T: Serialize>(&mut self, entries: &[T]) -> Result<(), HostError> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)
                .map_err(|error| HostError::io("write", &self.path)(error.into()))?;
            lines.push(b'\n');
        }
        if let Err(source) = self.file.write_all(&lines) {
            // Best effort: what stays behind of a torn line is what the next start drops.
            let _ = self.file.set_len(self.size).and_then(|()| self.file.seek(std::io::SeekFrom::End(0)));
            return Err(HostError::io("write", &self.path)(source));
        }
        self.size += lines.len() as u64;
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Forgets every entry.
    pub(crate) fn clear(&mut self) -> Result<(), HostError> {
        self.file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&self.path)
            .map_err(HostError::io("clear", &self.path))?;
        self.size = 0;
        Ok(())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, HostError> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HostError::io("read", path)(error)),
    };
    let mut entries = Vec::new();
    let mut position = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        // Only a whole line counts, even if what is there of it happens to parse.
        if line.last() == Some(&b'\n') {
            let damaged = |_| HostError::Corrupt { path: path.to_owned(), position };
            entries.push(serde_json::from_slice(line).map_err(damaged)?);
        }
        position += line.len() as u64;
    }
    Ok(entries)
}
