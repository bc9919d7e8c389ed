//! `ingest_blob`: a blob event that Event Grid put on the queue `blob-events`.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, QueueMessage, Reply};

use crate::app::App;
use crate::pipeline::work;

/// A message that is no blob event fails: after `maxDequeueCount` it is parked.
pub(crate) async fn run(app: Arc<App>, message: QueueMessage) -> Result<Reply, HandlerError> {
    work::blob_event(&app, &message.body, message.id.as_deref()).await?.reply(&app)
}
