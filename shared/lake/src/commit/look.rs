//! Whether the folder still holds the log that is known.
//!
//! A process keeps version and transaction ids in memory. Should somebody delete the folder, restore it or make the table
//! anew, they are of another table: committed after them, rows would go into a log that no reader can open, and events
//! would be taken for committed ones. So each commit is made between two looks. Before it, both the head of the log and
//! the newest known commit have to be the objects that they were (by their etags): this look is made while the data file
//! is stored. After it, the head has to be there still; else the entry is taken back, and nobody is told that it was made.
//! Whoever only reads the log looks now and then.
//!
//! A [`Writer`] whose log is gone stays lost. [`crate::Lake`] then opens the folder anew.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use object_store::ObjectStoreExt;
use tokio::time::{Instant, sleep};

use super::writer::Writer;
use crate::error::{ErrorKind, LakeError};
use crate::log::commit_path;
use crate::log::head::Head;

/// A look that a proposal has waited for counts for its later attempts.
const ATTEMPT_LOOK: Duration = Duration::from_secs(1);
/// Attempts at the look after a commit.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

fn held<T>(lock: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    // Values are replaced whole.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Notes that the folder holds another log; from now on every call fails.
    pub(crate) fn lose(&self, found: &str) -> LakeError {
        let found = self.lost.get_or_init(|| found.to_owned());
        LakeError::Replaced { table: self.at.name.clone(), found: found.clone() }
    }

    pub(super) fn check_lost(&self) -> Result<(), LakeError> {
        match self.lost.get() {
            Some(found) => Err(self.lose(found)),
            None => Ok(()),
        }
    }

    /// Looks at the head and at the newest known commit.
    pub(crate) async fn look(&self) -> Result<(), LakeError> {
        self.look_since(None).await
    }

    /// [`Writer::look`], unless it was done after that time. Those who wait for the same look share it.
    pub(super) async fn look_since(&self, since: Option<Instant>) -> Result<(), LakeError> {
        let since = since.unwrap_or_else(Instant::now);
        // What has waited long for its turn is looked after anew.
        let since = Instant::now().checked_sub(ATTEMPT_LOOK).map_or(since, |oldest| since.max(oldest));
        self.look_unless(|looked| looked >= since).await
    }

    pub(crate) async fn look_if_older(&self, age: Duration) -> Result<(), LakeError> {
        self.look_unless(|looked| looked.elapsed() < age).await
    }

    async fn look_unless(&self, is_enough: impl Fn(Instant) -> bool) -> Result<(), LakeError> {
        let enough = || held(&self.looked).is_some_and(&is_enough);
        self.check_lost()?;
        if enough() {
            return Ok(());
        }
        let _turn = self.looking.lock().await;
        self.check_lost()?;
        if enough() {
            return Ok(());
        }
        let began = Instant::now();
        let (version, mark) = {
            let known = self.known();
            (known.version, known.newest.clone())
        };
        let known_head = held(&self.head).clone();
        let (head, newest) =
            tokio::join!(self.at.look_at_head(&known_head), self.at.look_at_newest(version, mark.as_ref()));
        let ((head, against), newest) = (head?, newest?);
        if let Some(against) = against {
            return Err(self.lose(against));
        }
        let newest = newest.map_err(|against| self.lose(&against))?;
        *held(&self.head) = head;
        let mut known = self.known();
        if known.version == version && newest.is_some() {
            known.newest = newest;
        }
        *held(&self.looked) = Some(began);
        Ok(())
    }

    /// Looks at the head once more, after this process has made a commit. If it is not there any more, or another one, the
    /// commit is taken back where that is safe.
    ///
    /// # Errors
    /// Where the store does not say: the commit may stand, and its transaction ids tell whoever delivers again.
    pub(super) async fn look_after(&self, version: i64, put_at: Instant) -> Result<(), LakeError> {
        let known = held(&self.head).clone();
        let mut attempt = 1;
        let (head, against) = loop {
            match self.at.look_at_head(&known).await {
                Ok(looked) => break looked,
                Err(error) if attempt == ATTEMPTS || error.kind() != ErrorKind::Retryable => return Err(error),
                Err(_) => sleep(self.options.jitter(PAUSE * attempt)).await,
            }
            attempt += 1;
        };
        let Some(against) = against else { return Ok(()) };
        self.take_back(version, &head, put_at).await;
        Err(self.lose(against))
    }

    /// Deletes a commit that nobody can have read as part of a table: its log has no beginning, or ends before it. Only soon
    /// after it was put: later somebody may have put another one in its place ([`crate::log::left_behind`]).
    async fn take_back(&self, version: i64, head: &Head, put_at: Instant) {
        let path = commit_path(&self.at.root, version);
        let alone =
            *head == Head::Missing || matches!(self.at.mark(&commit_path(&self.at.root, version - 1)).await, Ok(None));
        if !alone {
            tracing::error!(
                table = self.at.name,
                version,
                "a commit went into the log of a table that was made anew or restored in the same moment: of another table the \
                 next commit takes its place, in the same one it stands"
            );
            return;
        }
        for attempt in 1..=ATTEMPTS {
            if put_at.elapsed() > self.options.settled / 4 {
                tracing::warn!(table = self.at.name, %path, "a commit stays behind in a folder whose log is gone");
                return;
            }
            match self.at.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => return,
                Err(error) if attempt == ATTEMPTS => tracing::warn!(
                    table = self.at.name,
                    %error,
                    %path,
                    "a commit stays behind in a folder whose log is gone"
                ),
                Err(_) => sleep(self.options.jitter(PAUSE * attempt)).await,
            }
        }
    }

    /// The same of a commit that may have been made: nobody was told.
    pub(super) async fn take_back_if_made(&self, version: i64, put_at: Instant) {
        let known = held(&self.head).clone();
        if let Ok((head, Some(_))) = self.at.look_at_head(&known).await {
            self.take_back(version, &head, put_at).await;
        }
    }
}
