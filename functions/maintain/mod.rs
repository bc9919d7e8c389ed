//! `maintain`: the timer. It only hands out one task per dataset, so that they run beside each other, each with its
//! own deadline and its own retries.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, Reply};

use crate::app::App;
use crate::tasks::Task;

pub(crate) async fn run(app: Arc<App>) -> Result<Reply, HandlerError> {
    let tasks = app.contracts.iter().map(|contract| Task::Maintain { dataset: contract.name.clone() }.encode());
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    Ok(Reply::ok().output("tasks", tasks))
}
