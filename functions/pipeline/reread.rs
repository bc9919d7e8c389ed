//! Blobs that are read again because a person asked: listed by prefix, and handed out a few hundred at a time.

use weir_contract::Source;
use weir_platform::Page;

use super::Done;
use super::pages::{Found, gather, narrower};
use crate::app::App;
use crate::error::AppError;
use crate::tasks::Task;

/// What is asked of one run; see [`Task::Reprocess`].
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) dataset: String,
    pub(crate) prefix: String,
    pub(crate) marker: Option<String>,
    pub(crate) request: String,
}

/// Hands out the next blobs, and the task that goes on.
pub(crate) async fn hand_out(app: &App, order: Order) -> Result<Done, AppError> {
    let tasks = tasks(app, order).await?;
    let line = format!("{} tasks for blobs that are to be read again", tasks.len());
    Ok(Done::said(&line).with(tasks))
}

/// One task for each of the next blobs, at most a few hundred, and one for the blobs after them if there are any.
pub(crate) async fn tasks(app: &App, order: Order) -> Result<Vec<Task>, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(&order.dataset)?;
    let source = &dataset.contract.source;
    let Source::Blob { container, .. } = source else {
        return Err(AppError::WrongSource { name: order.dataset, takes: source.takes(), given: "blobs" });
    };
    let Order { dataset, prefix: asked, marker, request } = order;
    let Some(prefix) = narrower(source.common_prefix(), &asked) else { return Ok(Vec::new()) };
    let store = runtime.landing()?.container(container)?;
    let judge = |page: Page| {
        let names = page.blobs.into_iter().map(|blob| blob.name.to_string());
        // A name that cannot be asked for is a task that fails, and is parked with its name.
        let names = names.chain(page.unusable.into_iter().map(|blob| blob.name));
        let tasks = names.filter(|name| source.matches(container, name)).map(|path| Task::IngestBlob {
            dataset: dataset.clone(),
            container: container.clone(),
            path,
            etag: None,
            request: Some(request.clone()),
        });
        Found { tasks: tasks.collect(), ..Found::default() }
    };
    let Found { mut tasks, next, .. } = gather(&store, &prefix, marker, judge).await?;
    if next.is_some() {
        tasks.push(Task::Reprocess { dataset, prefix: asked, marker: next, request });
    }
    Ok(tasks)
}
