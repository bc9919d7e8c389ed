//! A message, carried out: what the functions on the queues do, and what a command does without a queue.

use azure_functions_custom_handler::{BlobEvent, BlobEventKind};

use super::blob::{self, BlobRef, Cause};
use super::events::replay;
use super::{Done, maintain, parked, sweep};
use crate::app::App;
use crate::error::AppError;
use crate::tasks::Task;

/// Carries out a task. `message` is the id of the message that it came with.
pub(crate) async fn task(app: &App, task: Task, message: Option<&str>) -> Result<Done, AppError> {
    match task {
        Task::Maintain { dataset } => {
            Ok(Done::report(&maintain::maintain(app, &dataset).await?, || format!("{dataset}: maintained"))?)
        }
        Task::Sweep { dataset, after, since_ms, asked } => {
            sweep::sweep(app, &dataset, after.as_deref(), since_ms, asked).await
        }
        Task::IngestBlob { dataset, container, path, etag, request } => {
            let at = BlobRef { container, path, etag };
            blob::ingest(app, &dataset, &at, Cause { request: request.as_deref(), message }).await
        }
        Task::IngestPart { dataset, container, path, etag, request, part } => {
            let at = BlobRef { container, path, etag: Some(etag) };
            blob::ingest_part(app, &dataset, &at, &part, Cause { request: request.as_deref(), message }).await
        }
        Task::Replay { dataset, partition, window, request } => {
            replay::replay(app, &dataset, partition, window, &request).await
        }
        Task::Retry { parked, handed_on } => Box::pin(parked::retry(app, &parked, handed_on, message)).await,
    }
}

/// Carries out what a blob event asks for.
pub(crate) async fn blob_event(app: &App, body: &[u8], message: Option<&str>) -> Result<Done, AppError> {
    let event = BlobEvent::parse(body).map_err(|error| AppError::BlobEvent { message: error.to_string() })?;
    let BlobEvent { kind, container, path, etag, .. } = event;
    let Some(contract) = app.contracts.for_blob(&container, &path) else {
        tracing::warn!(container, "no contract takes this blob");
        return Ok(Done::said("no contract takes this blob"));
    };
    let dataset = &contract.name;
    match kind {
        BlobEventKind::Created => {
            let at = BlobRef { container, path, etag };
            blob::ingest(app, dataset, &at, Cause { request: None, message }).await
        }
        BlobEventKind::Deleted => blob::remove(app, dataset, &BlobRef { container, path, etag: None }).await,
        _ => Ok(Done::said("neither a BlobCreated nor a BlobDeleted event")),
    }
}
