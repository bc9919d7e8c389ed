//! `ingest_<dataset>`: a batch of one Event Hub partition. Each event dataset has a folder with a `function.json` and
//! they all run this.

use std::sync::Arc;

use azure_functions_custom_handler::{EventBatch, HandlerError, Reply};
use tokio::time::Instant;

use crate::app::App;
use crate::pipeline::{Done, events};

pub(crate) async fn run(
    app: Arc<App>,
    dataset: String,
    batch: EventBatch,
    deadline: Instant,
) -> Result<Reply, HandlerError> {
    Done::of(events::ingest(&app, &dataset, batch, deadline).await?)?.reply(&app)
}
