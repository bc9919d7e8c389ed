//! `run_task`: one message of the queue `tasks`.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, QueueMessage, Reply};

use crate::app::{App, now_ms};
use crate::pipeline::work;

pub(crate) async fn run(app: Arc<App>, message: QueueMessage) -> Result<Reply, HandlerError> {
    let task = app.task_keys.open(&message.body, now_ms())?;
    work::task(&app, task, message.id.as_deref()).await?.reply(&app)
}
