//! Rows that wait together share a file: one for each partition value, and one commit for all.
//!
//! Every caller gets the answer for its own rows, and rows that cannot be written fail alone. Who comes alone never
//! waits. Where callers come at the same time, a file waits for as many as came last time, until
//! [`crate::LakeOptions::linger`] is over: callers that were just answered are back in no time, and their rows need
//! not be two files.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};

use polars::prelude::DataFrame;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, oneshot};
use tokio::time::{Instant, timeout_at};

use super::writer::{Writer, shared};
use super::{Member, Outcome, Proposal, Verdict};
use crate::data::writer::StagedFile;
use crate::error::{ErrorKind, LakeError};

/// Callers that share one commit.
const MAX_CALLERS: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Group {
    waiting: SyncMutex<VecDeque<Caller>>,
    arrived: Notify,
    /// Held by the task that commits for all.
    turn: Arc<Mutex<Crowd>>,
}

#[derive(Debug)]
struct Caller {
    member: Member,
    frame: DataFrame,
    answer: oneshot::Sender<Result<Outcome, LakeError>>,
}

/// How many came at the same time, lately.
#[derive(Debug, Default)]
struct Crowd {
    callers: usize,
    last: Option<Instant>,
}

impl Group {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Caller>> {
        // A poisoned queue is still a queue: nothing is done under its lock that could leave it half-made.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Commits rows, alone or in one file with those of whoever waits. The work runs in a task of its own, so that a
    /// caller that is dropped takes no neighbour with it.
    pub(super) async fn append_frame(self: &Arc<Self>, member: Member, frame: DataFrame) -> Result<Outcome, LakeError> {
        let (answer, mut mine) = oneshot::channel();
        self.group.waiting().push_back(Caller { member, frame, answer });
        self.group.arrived.notify_one();
        let turn = tokio::select! {
            biased;
            answered = &mut mine => return answered.unwrap_or_else(|_| Err(self.stopped())),
            turn = Arc::clone(&self.group.turn).lock_owned() => turn,
        };
        let writer = Arc::clone(self);
        tokio::spawn(async move { writer.commit_callers(turn).await });
        mine.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    async fn commit_callers(self: &Arc<Self>, mut crowd: OwnedMutexGuard<Crowd>) {
        loop {
            self.await_crowd(&crowd).await;
            let callers = self.take_callers();
            if callers.is_empty() {
                return;
            }
            let came = callers.len();
            crowd.callers = came + self.commit_together(callers).await;
            crowd.last = Some(Instant::now());
        }
    }

    async fn await_crowd(&self, crowd: &Crowd) {
        let linger = self.options.linger;
        let lately = crowd.last.is_some_and(|last| last.elapsed() < linger);
        if !lately || crowd.callers < 2 {
            return;
        }
        let until = Instant::now() + linger;
        loop {
            let enough = {
                let waiting = self.group.waiting();
                let rows: usize = waiting.iter().map(|caller| caller.frame.height()).sum();
                let bytes: usize = waiting.iter().map(|caller| caller.frame.estimated_size()).sum();
                // Nobody waits: nothing to wait for.
                waiting.is_empty()
                    || waiting.len() >= crowd.callers
                    || rows >= self.options.group_rows
                    || bytes >= self.options.group_bytes
            };
            if enough || timeout_at(until, self.group.arrived.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Those who go together: in order, within the limits, each producer once.
    fn take_callers(&self) -> Vec<Caller> {
        let mut waiting = self.group.waiting();
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        let mut producers = HashSet::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(caller) = waiting.pop_front() {
            if caller.answer.is_closed() {
                // Its deadline is over and nobody will hear the answer: its input is delivered again.
                continue;
            }
            let (more_rows, more_bytes) = (caller.frame.height(), caller.frame.estimated_size());
            let full = taken.len() == MAX_CALLERS
                || rows + more_rows > self.options.group_rows
                || bytes + more_bytes > self.options.group_bytes;
            // Of one producer none overtakes another that is left for the next file.
            let second = !producers.insert(caller.member.producer.id.clone());
            if second || (full && !taken.is_empty()) {
                left.push_back(caller);
                continue;
            }
            rows += more_rows;
            bytes += more_bytes;
            taken.push(caller);
        }
        *waiting = left;
        taken
    }

    /// Returns how many others waited when the answers were given. Who comes after that may be one of those who got one.
    async fn commit_together(self: &Arc<Self>, mut callers: Vec<Caller>) -> usize {
        loop {
            let others = self.group.waiting().len();
            if self.any_known(&callers)
                && let Err(error) = self.look().await
            {
                fail(callers, error);
                return others;
            }
            self.answer_known(&mut callers);
            if callers.is_empty() {
                return others;
            }
            // The log is looked at while the file is stored, so that it takes no time of its own.
            let came = Instant::now();
            let (files, looked) = tokio::join!(self.store_together(&callers), self.look_since(Some(came)));
            if let Err(error @ LakeError::Replaced { .. }) = looked {
                self.discard(&files.unwrap_or_default()).await;
                fail(callers, error);
                return others;
            }
            let files = match files {
                Ok(files) => files,
                Err(error) if error.kind() == ErrorKind::Invalid && callers.len() > 1 => {
                    return self.commit_one_by_one(callers).await;
                }
                Err(error) => {
                    fail(callers, error);
                    return others;
                }
            };
            let proposal = Proposal {
                members: callers.iter().map(|caller| caller.member.clone()).collect(),
                add: files.iter().cloned().map(|file| (file, true)).collect(),
                operation: "WRITE",
                came: Some(came),
                ..Proposal::default()
            };
            let verdict = self.propose(proposal).await;
            let others = self.group.waiting().len();
            match verdict {
                Ok(Verdict::Committed { version }) => {
                    let committed = Outcome::Committed { version };
                    callers.into_iter().for_each(|caller| drop(caller.answer.send(Ok(committed))));
                    return others;
                }
                // The file has rows that somebody else committed meanwhile: another one is made without them.
                Ok(Verdict::Moved(_)) => self.discard(&files).await,
                Err(error) => {
                    fail(callers, error);
                    return others;
                }
            }
        }
    }

    /// Rows that cannot be written fail alone.
    async fn commit_one_by_one(self: &Arc<Self>, callers: Vec<Caller>) -> usize {
        let mut others = 0;
        for caller in callers {
            others = Box::pin(self.commit_together(vec![caller])).await;
        }
        others
    }

    /// Whether the transaction ids answer somebody: the answer is that of a table which has to be there still.
    fn any_known(&self, callers: &[Caller]) -> bool {
        let known = self.known();
        callers.iter().any(|caller| caller.member.overtaken(&known).is_some())
    }

    /// Answers whom the transaction ids already answer.
    fn answer_known(&self, callers: &mut Vec<Caller>) {
        let known = self.known();
        let asking = std::mem::take(callers);
        for caller in asking {
            match caller.member.overtaken(&known) {
                Some(outcome) => drop(caller.answer.send(Ok(outcome))),
                None => callers.push(caller),
            }
        }
    }

    async fn store_together(self: &Arc<Self>, callers: &[Caller]) -> Result<Vec<StagedFile>, LakeError> {
        let layout = self.layout();
        let mut frames = Vec::with_capacity(callers.len());
        for caller in callers.iter().filter(|caller| caller.frame.height() > 0) {
            // The table may have got columns since the rows were made.
            frames.push(self.conform_again(caller.frame.clone()).await?);
        }
        if !Arc::ptr_eq(&layout, &self.layout()) {
            // It got them just now: frames of two layouts do not go into one file.
            return Box::pin(self.store_together(callers)).await;
        }
        if frames.is_empty() { Ok(Vec::new()) } else { self.store_frames(layout, frames).await }
    }
}

fn fail(callers: Vec<Caller>, error: LakeError) {
    for (caller, error) in callers.into_iter().zip(shared(error)) {
        drop(caller.answer.send(Err(error)));
    }
}
