//! Listings of landing containers that become tasks: by a sweep, or by a request to read blobs again.
//!
//! A run looks at a bounded number of names, hands out a bounded number of tasks and hands the rest on, so that its cost
//! is bounded for millions of blobs; memory does not grow with them. Runs begin and end between two pages, where the
//! service says how to go on: each name is looked at once, whatever order the service has.

use weir_platform::{Container, Page};

use super::parked;
use crate::app::Runtime;
use crate::error::AppError;
use crate::tasks::Task;

/// Names that one run looks at.
const NAMES: usize = 100_000;
/// Tasks that one run hands out: the host sends each as a message of its own, within the invocation.
pub(crate) const HANDED_OUT: usize = 300;
/// Names of a page that few tasks come of: the most that storage gives.
const PAGE: usize = 5_000;
/// Names that one run parks; a later one goes on with the others.
pub(crate) const PARKED: usize = 50;

/// What a page, or a run, comes to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) names: usize,
    pub(crate) tasks: Vec<Task>,
    /// Blobs that are left alone because they are parked.
    pub(crate) parked: usize,
    /// Names that no request can carry.
    pub(crate) unusable: usize,
    /// Tasks that would fail, with the reason.
    pub(crate) refused: Vec<(Task, String)>,
    /// Where another run goes on; `None`: all names were looked at.
    pub(crate) next: Option<String>,
}

impl Found {
    fn add(&mut self, page: Self) {
        self.names += page.names;
        self.tasks.extend(page.tasks);
        self.parked += page.parked;
        self.unusable += page.unusable;
        self.refused.extend(page.refused);
        self.next = page.next;
    }

    /// Keeps what cannot be carried out where people look, once.
    pub(crate) async fn park(&self, runtime: &Runtime) -> Result<(), AppError> {
        for (task, reason) in self.refused.iter().take(PARKED) {
            parked::park_task(runtime, task, reason).await?;
        }
        Ok(())
    }
}

/// One run. `judge` says what comes of a page; it may be asked twice about the same names.
pub(crate) async fn gather(
    store: &Container,
    prefix: &str,
    marker: Option<String>,
    judge: impl Fn(Page) -> Found,
) -> Result<Found, AppError> {
    let mut run = Found { next: marker, ..Found::default() };
    // Until a page shows that few tasks come of it, pages are so small that one can be handed out whole.
    let mut limit = HANDED_OUT;
    loop {
        let mut page = store.page(prefix, run.next.as_deref(), limit).await?;
        let (names, next) = (page.blobs.len() + page.unusable.len(), page.next.take());
        let found = Found { names, next, ..judge(page) };
        if run.tasks.len() + found.tasks.len() > HANDED_OUT {
            if !run.tasks.is_empty() {
                // The page is the next run's.
                return Ok(run);
            }
            // The same page again, shorter.
            limit = HANDED_OUT;
            continue;
        }
        limit = if found.tasks.len() > HANDED_OUT / 10 { HANDED_OUT } else { PAGE };
        run.add(found);
        if run.next.is_none() || run.tasks.len() == HANDED_OUT || run.names >= NAMES || run.refused.len() >= PARKED {
            return Ok(run);
        }
    }
}

/// The longer of two prefixes: the contract's, and the one that somebody asks for. `None` when no name begins with both.
pub(crate) fn narrower(contract: String, asked: &str) -> Option<String> {
    match (contract.starts_with(asked), asked.starts_with(&contract)) {
        (true, _) => Some(contract),
        (false, true) => Some(asked.to_owned()),
        (false, false) => None,
    }
}
