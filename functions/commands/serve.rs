//! `weir serve`: the function app itself.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use azure_functions_custom_handler::{PORT_VARIABLE, bind, exit, serve};
use weir_platform::{Settings, telemetry};

use crate::app::App;
use crate::router::function_app;

pub(crate) async fn run(settings: Settings) -> Result<ExitCode> {
    telemetry::install(&settings);
    let (port, lambda) = (settings.port, settings.lambda);
    let app = Arc::new(App::load(settings)?);
    let functions = function_app(&app);
    if lambda {
        // Lambda's runtime API carries HTTP only: status and, in its envelope, every function.
        lambda_http::run(functions.into_router()).await.map_err(|error| anyhow::anyhow!("lambda runtime: {error}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let port = port.with_context(|| {
        format!("{PORT_VARIABLE} is not set: the Functions host sets it. On your machine use `weir dev` or `weir demo`")
    })?;
    let listener = bind(port).await?;
    tracing::info!(port, datasets = app.contracts.len(), "serving");
    serve(functions, listener).await?;
    // Never 0: the host would not start the handler again.
    Ok(ExitCode::from(exit::RESTART))
}
