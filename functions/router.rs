//! Function name → handler. Names are those of the folders with a `function.json`; event datasets get one function
//! each, `ingest_<dataset>`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use azure_functions_custom_handler::{FunctionApp, FunctionAppBuilder, Limits};
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
    let mut builder = FunctionApp::builder().limits(limits(app));
    let shared = || Arc::clone(app);
    let own = shared();
    builder = builder.queue("ingest_blob", move |_, message| ingest_blob::run(Arc::clone(&own), message));
    let own = shared();
    builder = builder.queue("run_task", move |_, message| run_task::run(Arc::clone(&own), message));
    let own = shared();
    builder = builder.queue("park_blob_events", move |_, message| park_blob_events::run(Arc::clone(&own), message));
    let own = shared();
    builder = builder.queue("park_tasks", move |_, message| park_tasks::run(Arc::clone(&own), message));
    let own = shared();
    builder = builder.timer("maintain", move |_, _| maintain::run(Arc::clone(&own)));
    let own = shared();
    builder = builder.http("reprocess", move |invocation, request| {
        enveloped(reprocess::run(Arc::clone(&own), invocation.id, request))
    });
    let own = shared();
    builder = builder.http("backfill", move |_, request| enveloped(backfill::run(Arc::clone(&own), request)));
    let own = shared();
    builder = builder.http("retry", move |_, request| enveloped(retry::run(Arc::clone(&own), request)));
    builder = event_functions(builder, app);
    protected(builder.forwarded(forwarded(app)).build().into_router())
}

/// What is served where others than the host write requests: the forwarded routes, behind a key.
pub(crate) fn for_lambda(app: &Arc<App>) -> Router {
    let routes = guarded(forwarded(app), app.settings.lambda_key.as_ref());
    protected(FunctionApp::builder().limits(limits(app)).forwarded(routes).build().into_public_router())
}

fn forwarded(app: &Arc<App>) -> Router {
    Router::new().route("/api/status", get(status::run)).with_state(Arc::clone(app))
}

fn limits(app: &App) -> Limits {
    let max_body_bytes = usize::try_from(app.settings.max_body_bytes).unwrap_or(usize::MAX);
    Limits { max_body_bytes, max_concurrent: MAX_CONCURRENT, deadline: deadline(&app.settings) }
}

fn event_functions(mut builder: FunctionAppBuilder, app: &Arc<App>) -> FunctionAppBuilder {
    for contract in app.contracts.iter().filter(|contract| matches!(contract.source, Source::Events { .. })) {
        let (own, dataset) = (Arc::clone(app), contract.name.clone());
        builder = builder.event_hub(format!("ingest_{dataset}"), move |invocation, batch| {
            ingest_events::run(Arc::clone(&own), dataset.clone(), batch, invocation.deadline)
        });
    }
    builder
}
