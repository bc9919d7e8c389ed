//! Function name → handler. Names are those of the folders with a `function.json`; event datasets get one function
//! each, `ingest_<dataset>`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use azure_functions_custom_handler::{FunctionApp, Limits, StatefulAppBuilder};
use weir_contract::Source;

use crate::answers::{enveloped, protected};
use crate::app::{App, deadline};
use crate::lambda::guarded;
use crate::{
    backfill, ingest_blob, ingest_events, maintain, park_blob_events, park_tasks, reprocess, retry, run_task, status,
};

const MAX_CONCURRENT: usize = 64;

/// Everything, for the Functions host on the loopback address.
pub(crate) fn for_host(app: &Arc<App>) -> Router {
    let builder = FunctionApp::builder()
        .limits(limits(app))
        .with_state(Arc::clone(app))
        .queue("ingest_blob", |app, _, message| ingest_blob::run(app, message))
        .queue("run_task", |app, _, message| run_task::run(app, message))
        .queue("park_blob_events", |app, _, message| park_blob_events::run(app, message))
        .queue("park_tasks", |app, _, message| park_tasks::run(app, message))
        .timer("maintain", |app, _, _| maintain::run(app))
        .http("reprocess", |app, invocation, request| enveloped(reprocess::run(app, invocation.id, request)))
        .http("backfill", |app, _, request| enveloped(backfill::run(app, request)))
        .http("retry", |app, _, request| enveloped(retry::run(app, request)));
    let builder = event_functions(builder, app);
    protected(builder.forwarded(routes()).build().into_router())
}

/// What is served where others than the host write requests: the forwarded routes, behind a key.
pub(crate) fn for_lambda(app: &Arc<App>) -> Router {
    let routes = guarded(routes().with_state(Arc::clone(app)), app.settings.lambda_key.as_ref());
    protected(FunctionApp::builder().limits(limits(app)).forwarded(routes).build().into_public_router())
}

fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/status", get(status::run))
}

fn limits(app: &App) -> Limits {
    let max_body_bytes = usize::try_from(app.settings.max_body_bytes).unwrap_or(usize::MAX);
    Limits::default()
        .with_max_body_bytes(max_body_bytes)
        .with_max_concurrent(MAX_CONCURRENT)
        .with_deadline(deadline(&app.settings))
}

fn event_functions(mut builder: StatefulAppBuilder<Arc<App>>, app: &App) -> StatefulAppBuilder<Arc<App>> {
    for contract in app.contracts.iter().filter(|contract| matches!(contract.source, Source::Events { .. })) {
        let dataset = contract.name.clone();
        builder = builder.event_hub(format!("ingest_{dataset}"), move |app, invocation, batch| {
            ingest_events::run(app, dataset.clone(), batch, invocation.deadline)
        });
    }
    builder
}
