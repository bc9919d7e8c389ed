//! Tasks, carried out on this machine: what the queue `tasks` does in Azure, without a queue.

use std::collections::VecDeque;
use std::process::ExitCode;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use weir_lake::Books;

use super::say;
use crate::app::App;
use crate::pipeline::{Done, work};
use crate::tasks::Task;

/// Tasks at the same time; the memory budget holds them apart.
const PARALLEL: usize = 16;
const ATTEMPTS: u32 = 3;
const MAX_ERRORS: usize = 20;

/// Whether a bar is shown; never where it is no terminal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Show {
    Bar,
    Nothing,
}

impl Show {
    pub(super) fn of(json: bool) -> Self {
        if json { Self::Nothing } else { Self::Bar }
    }
}

/// What came of them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ran {
    succeeded: usize,
    failed: usize,
    /// Of the tasks that say so.
    books: Books,
    /// The first of the reasons.
    errors: Vec<String>,
}

impl Ran {
    pub(super) fn books(&self) -> String {
        let Books { records_in, committed, quarantined, already_committed, .. } = self.books;
        format!(
            "{records_in} records in, {committed} committed, {quarantined} quarantined, {already_committed} already committed"
        )
    }

    pub(super) fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.books += other.books;
        self.errors.extend(other.errors);
        self.errors.truncate(MAX_ERRORS);
    }
}

/// Carries out tasks and what they hand on.
pub(super) async fn carry_out(app: &App, tasks: Vec<Task>, show: Show) -> Ran {
    let bar = match show {
        Show::Bar => ProgressBar::new(tasks.len() as u64),
        Show::Nothing => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} tasks, {elapsed} so far, about {eta} to go") {
        bar.set_style(style);
    }
    let (mut waiting, mut running, mut ran) = (VecDeque::from(tasks), FuturesUnordered::new(), Ran::default());
    loop {
        while running.len() < PARALLEL
            && let Some(task) = waiting.pop_front()
        {
            running.push(attempt(app, task));
        }
        let Some(outcome) = running.next().await else { break };
        bar.inc(1);
        match outcome {
            Ok(done) => {
                ran.succeeded += 1;
                ran.books += serde_json::from_value(done.value["books"].clone()).unwrap_or_default();
                let more = done.tasks;
                bar.inc_length(more.len() as u64);
                waiting.extend(more);
            }
            Err(message) => {
                ran.failed += 1;
                if ran.errors.len() < MAX_ERRORS {
                    ran.errors.push(message);
                }
            }
        }
    }
    bar.finish_and_clear();
    ran
}

async fn attempt(app: &App, task: Task) -> Result<Done, String> {
    let mut attempt = 1;
    loop {
        match work::task(app, task.clone(), None).await {
            Ok(done) => return Ok(done),
            Err(error) if attempt == ATTEMPTS => {
                let blob = task.blob().map(|(blob, _)| format!("{blob}: ")).unwrap_or_default();
                return Err(format!("{blob}{error}"));
            }
            Err(_) => attempt += 1,
        }
    }
}

/// The end of a command that ran tasks: it fails when one of them did.
pub(super) fn report(ran: &Ran, json: bool) -> Result<ExitCode> {
    if !json {
        for error in &ran.errors {
            say(format_args!("failed: {error}"));
        }
        say(format_args!("{} tasks succeeded, {} failed", ran.succeeded, ran.failed));
    }
    Ok(if ran.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
