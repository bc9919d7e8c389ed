//! The local file of a Parquet blob, read at places: columns are decoded side by side, and share no position.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    pub(super) length: u64,
}

impl Source {
    pub(super) fn new(file: File) -> Result<Self, String> {
        let length = file.metadata().map_err(|error| unreadable(&error))?.len();
        Ok(Self { file: Arc::new(file), length })
    }

    /// At most `length` bytes; fewer at the end of the file.
    pub(super) fn up_to(&self, at: u64, length: usize) -> Result<Bytes, String> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        read_at(&self.file, &mut bytes, at).map_err(|error| unreadable(&error))?;
        Ok(bytes.into())
    }

    pub(super) fn exactly(&self, at: u64, length: usize) -> Result<Bytes, String> {
        let bytes = self.up_to(at, length)?;
        if bytes.len() == length { Ok(bytes) } else { Err("it ends behind the end of the file".to_owned()) }
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("the temporary file cannot be read: {error}")
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], at + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}
