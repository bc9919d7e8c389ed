//! `park_blob_events`: a blob event that failed `maxDequeueCount` times. It is tried once more, so that the reason is
//! known, and kept with it.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, QueueMessage, Reply};

use crate::app::App;
use crate::pipeline::parked::{self, Queue};

pub(crate) async fn run(app: Arc<App>, message: QueueMessage) -> Result<Reply, HandlerError> {
    parked::park(&app, Queue::BlobEvents, &message).await?.reply(&app)
}
