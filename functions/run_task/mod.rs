//! `run_task`: one message of the queue `tasks`.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, QueueMessage, Reply};

use crate::app::App;
use crate::pipeline::work;
use crate::tasks::Task;

pub(crate) async fn run(app: Arc<App>, message: QueueMessage) -> Result<Reply, HandlerError> {
    work::task(&app, Task::decode(&message.body)?, message.id.as_deref()).await?.reply()
}
