//! `maintain`: the timer. It only hands out tasks, one per dataset and kind, so that they run beside each other, each
//! with its own deadline and its own retries.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, Reply};
use weir_contract::Source;

use crate::app::App;
use crate::tasks::Task;

pub(crate) async fn run(app: Arc<App>) -> Result<Reply, HandlerError> {
    let mut tasks: Vec<_> =
        app.contracts.iter().map(|contract| Task::Maintain { dataset: contract.name.clone() }).collect();
    if app.settings.landing_url.is_some() {
        let blobs = app.contracts.iter().filter(|contract| matches!(contract.source, Source::Blob { .. }));
        tasks.extend(blobs.map(|contract| Task::sweep(&contract.name, None, false)));
    }
    Ok(Reply::ok().output("tasks", app.seal(&tasks)?))
}
