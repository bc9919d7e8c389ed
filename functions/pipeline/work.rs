//! A message, carried out: what the functions on the queues do, and what a command does without a queue.

use azure_functions_custom_handler::{BlobEvent, BlobEventKind};
use weir_contract::Source;
use weir_platform::telemetry::printable;

use super::blob::{self, BlobRef, Cause, id_of};
use super::events::replay;
use super::{Done, Weight, checked, folders, maintain, parked, reread, sweep};
use crate::app::App;
use crate::error::AppError;
use crate::tasks::Task;

/// Carries out a task, if it asks for what the contracts have. `message` is the id of the message that it came with.
pub(crate) async fn task(app: &App, task: Task, message: Option<&str>) -> Result<Done, AppError> {
    checked::check(&app.contracts, &task)?;
    match task {
        Task::Maintain { dataset } => {
            Ok(Done::report(&maintain::maintain(app, &dataset).await?, || format!("{dataset}: maintained"))?)
        }
        Task::Sweep { dataset, marker, prefix, since_ms, asked, .. } => {
            sweep::sweep(app, sweep::Order { dataset, marker, prefix, since_ms, asked }).await
        }
        Task::Reprocess { dataset, prefix, marker, request } => {
            reread::hand_out(app, reread::Order { dataset, prefix, marker, request }).await
        }
        Task::IngestBlob { dataset, container, path, etag, request } => {
            let at = BlobRef::new(&container, &path, etag.as_deref())?;
            blob::ingest(app, &dataset, &at, Cause { request: request.as_deref(), message }).await
        }
        Task::IngestPart { dataset, container, path, etag, request, part } => {
            let at = BlobRef::new(&container, &path, Some(&etag))?;
            blob::ingest_part(app, &dataset, &at, &part, Cause { request: request.as_deref(), message }).await
        }
        Task::RemoveBlob { dataset, container, path } => {
            blob::remove(app, &dataset, &BlobRef::new(&container, &path, None)?).await
        }
        Task::Vanished { dataset, prefix, after } => folders::vanished(app, dataset, prefix, after).await,
        Task::Replay { dataset, partition, window, request } => {
            replay::replay(app, &dataset, partition, window, &request).await
        }
        Task::Retry { parked, handed_on } => Box::pin(parked::retry(app, &parked, handed_on, message)).await,
    }
}

/// Carries out what a blob event asks for.
pub(crate) async fn blob_event(app: &App, body: &[u8], message: Option<&str>) -> Result<Done, AppError> {
    let event = BlobEvent::parse(body).map_err(|error| AppError::BlobEvent { message: error.to_string() })?;
    let BlobEvent { kind, container, path, etag, renamed_from, .. } = &event;
    match (kind, renamed_from) {
        // An append blob, and a file of a hierarchical account, is there before anything is in it. What is appended has no
        // event: the sweep sees that the blob has changed. What is flushed has one of its own.
        (BlobEventKind::Created, _) if begins_empty(&event) => Ok(Done::said("nothing is in it yet")),
        (BlobEventKind::Created, _) => created(app, container, path, etag.as_deref(), message).await,
        (BlobEventKind::Deleted, _) => deleted(app, container, path).await,
        (BlobEventKind::Renamed, Some(from)) => {
            let came = created(app, container, path, None, message).await?;
            let went = deleted(app, &from.container, &from.path).await?;
            Ok(came.and(went))
        }
        (BlobEventKind::DirectoryRenamed, Some(from)) => {
            let tasks = folders::came(app, container, path);
            let went = folders::went(app, &from.container, &from.path);
            Ok(Done::said("a directory was renamed").with(tasks.into_iter().chain(went).collect()))
        }
        (BlobEventKind::DirectoryDeleted, _) => {
            Ok(Done::said("a directory was deleted").with(folders::went(app, container, path)))
        }
        _ => Ok(Done::said("an event that changes no blob's content")),
    }
}

fn begins_empty(event: &BlobEvent) -> bool {
    let is_made_first = event.blob_type.as_deref() == Some("AppendBlob") || event.api.as_deref() == Some("CreateFile");
    is_made_first && event.content_length == Some(0)
}

async fn created(
    app: &App,
    container: &str,
    path: &str,
    etag: Option<&str>,
    message: Option<&str>,
) -> Result<Done, AppError> {
    let Some(contract) = app.contracts.for_blob(container, path) else { return Ok(of_nobody(app, container, path)) };
    let at = BlobRef::new(container, path, etag)?;
    blob::ingest(app, &contract.name, &at, Cause { request: None, message }).await
}

async fn deleted(app: &App, container: &str, path: &str) -> Result<Done, AppError> {
    let Some(contract) = app.contracts.for_blob(container, path) else { return Ok(of_nobody(app, container, path)) };
    blob::remove(app, &contract.name, &BlobRef::new(container, path, None)?).await
}

fn of_nobody(app: &App, container: &str, path: &str) -> Done {
    if app.contracts.hides(container, path) {
        tracing::debug!(container, "a file that is no data");
        return Done::said("a file that is no data, or that its contract ignores");
    }
    let line =
        format!("no contract takes the blob {}: {}", printable(&id_of(container, path)), nearest(app, container));
    Done { weight: Weight::Much, ..Done::said(&line) }
}

/// What is taken of a container, for whoever has put a blob beside it.
fn nearest(app: &App, container: &str) -> String {
    const SHOWN: usize = 5;
    let of_container = app.contracts.iter().filter_map(|contract| match &contract.source {
        Source::Blob { container: own, paths, .. } if own == container => Some(paths),
        _ => None,
    });
    let paths: Vec<&str> = of_container.flatten().map(String::as_str).collect();
    match paths.len() {
        0 => format!("none takes any of the container `{container}`"),
        count if count > SHOWN => format!("they take {}, and {} other paths", paths[..SHOWN].join(", "), count - SHOWN),
        _ => format!("they take {}", paths.join(", ")),
    }
}
