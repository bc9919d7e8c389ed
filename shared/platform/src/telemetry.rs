//! Log lines go to stdout, one a line, where the Functions host picks them up (stderr would make each an error).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Settings};

/// What is logged when `WEIR_LOG` is not set.
const DEFAULT_FILTER: &str = "info,deltalake=warn,buoyant_kernel=warn,object_store=warn,azure=warn,hyper=warn";

/// Installs the subscriber of the process; a second call does nothing.
pub fn install(settings: &Settings) {
    let filter = settings.log_filter.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // An error says that a subscriber is installed already.
    let _ = match settings.log_format {
        LogFormat::Json => builder.json().with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stdout().is_terminal()).try_init(),
    };
}
