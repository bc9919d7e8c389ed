//! `run_task`: one message of the queue `tasks`.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, QueueMessage, Reply};

use crate::app::App;
use crate::pipeline::{self, blob::BlobRef};
use crate::tasks::Task;

pub(crate) async fn run(app: Arc<App>, message: QueueMessage) -> Result<Reply, HandlerError> {
    match Task::decode(&message.body)? {
        Task::Maintain { dataset } => {
            let report = pipeline::maintain::maintain(&app, &dataset).await?;
            pipeline::reply_with(&report, format!("{dataset}: maintained"))
        }
        Task::ReprocessBlob { dataset, container, path, request } => {
            let blob = BlobRef { container, path, etag: None };
            let receipt = pipeline::reprocess::reprocess_blob(&app, &dataset, &blob, &request).await?;
            pipeline::reply(&receipt)
        }
    }
}
