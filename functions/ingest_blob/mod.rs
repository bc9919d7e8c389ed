//! `ingest_blob`: a BlobCreated event that Event Grid put on the queue `blob-events`.

use std::sync::Arc;

use azure_functions_custom_handler::{BlobEvent, BlobEventKind, HandlerError, QueueMessage, Reply};

use crate::app::App;
use crate::error::AppError;
use crate::pipeline::{self, blob::BlobRef};

pub(crate) async fn run(app: Arc<App>, message: QueueMessage) -> Result<Reply, HandlerError> {
    // A message that is no blob event fails: after `maxDequeueCount` the poison queue keeps it for a person.
    let event = BlobEvent::parse(&message.body).map_err(|error| AppError::BlobEvent { message: error.to_string() })?;
    if event.kind != BlobEventKind::Created {
        return Ok(Reply::ok().log("not a BlobCreated event"));
    }
    let Some(contract) = app.contracts.for_blob(&event.container, &event.path) else {
        tracing::warn!(container = event.container, "no contract takes this blob");
        return Ok(Reply::ok().log("no contract takes this blob"));
    };
    let blob = BlobRef { container: event.container.clone(), path: event.path.clone(), etag: event.etag.clone() };
    let receipt = pipeline::blob::ingest(&app, &contract.name, &blob).await?;
    pipeline::reply(&receipt)
}
