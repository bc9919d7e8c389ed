//! A blob's bytes in order, range by range; each is fetched while the one before it is in work.

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::blob::Blob;
use crate::error::IntakeError;

/// Behind the end of a part only the rest of a record is wanted: the first range there is small, each further one twice
/// as large.
const FIRST_BEYOND: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Ranges {
    blob: Blob,
    /// Bytes of one request.
    step: u64,
    /// What is handed out next.
    next: u64,
    /// Where the part ends.
    end: u64,
    beyond: u64,
    reads_ahead: bool,
    ahead: Option<JoinHandle<Result<Bytes, IntakeError>>>,
}

impl Ranges {
    pub(crate) fn new(blob: Blob, step: u64, reads_ahead: bool) -> Self {
        let end = blob.size();
        let step = step.max(1);
        Self { blob, step, next: 0, end, beyond: FIRST_BEYOND.min(step), reads_ahead, ahead: None }
    }

    /// Goes on at `from`; nothing behind `end` is fetched before it is asked for.
    pub(crate) fn seek(&mut self, from: u64, end: u64) {
        self.stop();
        (self.next, self.end) = (from, end.min(self.blob.size()));
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.blob.size()
    }

    /// Behind the last byte that was handed out.
    pub(crate) fn reached(&self) -> u64 {
        self.next
    }

    /// The next range, while the one after it is already on its way. Empty at the end.
    pub(crate) async fn next(&mut self) -> Result<Bytes, IntakeError> {
        let bytes = match &mut self.ahead {
            Some(ahead) => {
                let joined = ahead.await;
                self.ahead = None;
                joined.map_err(|_| IntakeError::Stopped { path: self.blob.path().clone() })??
            }
            None => {
                let length = self.length();
                self.blob.read(self.next..self.next.saturating_add(length)).await?
            }
        };
        self.next += bytes.len() as u64;
        if self.reads_ahead && self.next < self.end {
            let (blob, from, length) = (self.blob.clone(), self.next, self.length());
            self.ahead = Some(tokio::spawn(async move { blob.read(from..from.saturating_add(length)).await }));
        }
        Ok(bytes)
    }

    /// Of the range that begins at `next`.
    fn length(&mut self) -> u64 {
        if self.next < self.end {
            return self.step.min(self.end - self.next);
        }
        let length = self.beyond;
        self.beyond = self.beyond.saturating_mul(2).min(self.step);
        length
    }

    pub(crate) fn stop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            ahead.abort();
        }
    }
}

/// A reader that is given up holds no memory: its budget is another's from then on.
impl Drop for Ranges {
    fn drop(&mut self) {
        self.stop();
    }
}
