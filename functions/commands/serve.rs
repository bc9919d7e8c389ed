//! `weir serve`: the function app itself.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use azure_functions_custom_handler::{PORT_VARIABLE, bind, exit};
use weir_platform::{Settings, telemetry};

use crate::app::App;
use crate::router::{for_host, for_lambda};

pub(crate) async fn run(settings: Settings) -> Result<ExitCode> {
    telemetry::install(&settings);
    let (port, lambda) = (settings.port, settings.lambda);
    let app = Arc::new(App::load(settings)?);
    if lambda {
        lambda_http::run(for_lambda(&app)).await.map_err(|error| anyhow::anyhow!("lambda runtime: {error}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let port = port.with_context(|| {
        format!("{PORT_VARIABLE} is not set: the Functions host sets it. On your machine use `weir dev` or `weir demo`")
    })?;
    let listener = bind(port).await?;
    tracing::info!(port, datasets = app.contracts.len(), "serving");
    if !app.task_keys.are_set() {
        tracing::warn!("WEIR_TASK_KEY is not set: whoever may write to the queue `tasks` can have work done again");
    }
    axum::serve(listener, for_host(&app)).await.context("serve the Functions host")?;
    // Never 0: the host would not start the handler again.
    Ok(ExitCode::from(exit::RESTART))
}
