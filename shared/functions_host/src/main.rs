//! `functions_host <folder>`: runs a custom handler of any language on this machine.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use functions_host::{ChildOutput, Host, HostConfig, HostError, InvocationReport, TriggerDetail, TriggerInfo};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Runs an Azure Functions app with a custom handler on this machine
#[derive(Debug, Parser)]
#[command(name = "functions_host", version)]
struct Arguments {
    /// Folder of the app: host.json, and <function>/function.json for each function
    folder: PathBuf,
    /// Handler to start in place of host.json's defaultExecutablePath and its arguments
    #[arg(long)]
    program: Option<PathBuf>,
    /// Argument for --program; once for each
    #[arg(long = "arg", value_name = "ARGUMENT", allow_hyphen_values = true, requires = "program")]
    arguments: Vec<String>,
    /// App setting, before those of local.settings.json
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Port of the HTTP functions on 127.0.0.1; 0: a free one
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// Folder for queues, events, checkpoints and keys; one host at a time
    #[arg(long, value_name = "FOLDER", default_value = ".functions_host")]
    data: PathBuf,
    /// Folder to watch: a file at <FOLDER>/<container>/<path> becomes a BlobCreated event in --blob-queue
    #[arg(long, value_name = "FOLDER")]
    landing: Option<PathBuf>,
    /// Queue for the events of --landing
    #[arg(long, value_name = "QUEUE", default_value = "blob-events", requires = "landing")]
    blob_queue: String,
    /// Port of Event Hubs on 127.0.0.1 (AMQP, plain text) for the hubs that functions read; 0: a free one
    #[arg(long, value_name = "PORT")]
    amqp_port: Option<u16>,
    /// App setting that gets the connection string of --amqp-port
    #[arg(long, value_name = "NAME", requires = "amqp_port")]
    amqp_setting: Option<String>,
    /// Partitions of each hub
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Run timers only when asked to (POST /admin/functions/<name>)
    #[arg(long)]
    no_timers: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .init();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "functions_host: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the app until a signal comes, and starts it anew when its files change.
async fn run(arguments: &Arguments) -> Result<(), HostError> {
    let end = stop_signal();
    tokio::pin!(end);
    loop {
        // A handler that never gets ready can be interrupted, too.
        let host = tokio::select! {
            host = Host::start(config(arguments)?) => host?,
            () = &mut end => return Ok(()),
        };
        let mut reports = host.subscribe();
        introduce(&host);
        loop {
            tokio::select! {
                () = &mut end => {
                    say("stopping");
                    host.shutdown().await;
                    return Ok(());
                }
                () = host.stopped() => break,
                report = next(&mut reports) => show(&report),
            }
        }
        let (reason, again) = (host.failure().unwrap_or_default(), host.wants_restart());
        host.shutdown().await;
        if !again {
            return Err(HostError::Handler { reason });
        }
        say(format_args!("{reason}: starting again"));
    }
}

fn config(arguments: &Arguments) -> Result<HostConfig, HostError> {
    let mut config = match &arguments.program {
        None => HostConfig::of_app(&arguments.folder, &arguments.data)?,
        Some(program) => HostConfig::with_program(&arguments.folder, program, &arguments.data)?,
    };
    if arguments.program.is_some() {
        config.args.clone_from(&arguments.arguments);
    }
    config.env.retain(|(name, _)| arguments.settings.iter().all(|(set, _)| set != name));
    config.env.extend(arguments.settings.iter().cloned());
    config.http_addr = loopback(arguments.port);
    config.landing.clone_from(&arguments.landing);
    config.blob_queue.clone_from(&arguments.blob_queue);
    config.amqp = arguments.amqp_port.map(loopback);
    config.amqp_setting.clone_from(&arguments.amqp_setting);
    config.partitions = arguments.partitions;
    config.run_timers = !arguments.no_timers;
    config.stdio = ChildOutput::Inherit;
    Ok(config)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Its value may be a secret: the error does not repeat it.
fn setting(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE"),
    }
}

/// Lists the functions, each with a way to start it.
fn introduce(host: &Host) {
    let url = host.http_url();
    say(format_args!("functions_host is running at {url}; Ctrl-C stops it"));
    for function in host.functions() {
        say(format_args!("  {}: {}", function.name, function.trigger));
        match &function.trigger {
            TriggerInfo::Queue { queue } => say(format_args!("    curl {url}/queues/{queue}/messages -d '…'")),
            TriggerInfo::EventHub { hub, .. } => say(format_args!("    curl {url}/eventhubs/{hub}/messages -d '…'")),
            TriggerInfo::Timer { .. } => say(format_args!(
                "    curl {url}/admin/functions/{} -X POST -H 'x-functions-key: {}'",
                function.name,
                host.master_key()
            )),
            TriggerInfo::Http { path, auth_level, .. } => {
                let key = match *auth_level {
                    "anonymous" => String::new(),
                    "admin" => format!("?code={}", host.master_key()),
                    _ => format!("?code={}", host.function_key()),
                };
                say(format_args!("    {url}{path}{key}"));
            }
            _ => {}
        }
    }
    if let Some(connection) = host.amqp_connection_string() {
        say(format_args!("  Event Hubs: {connection}"));
    }
}

/// The next report; those that were missed are gone.
async fn next(reports: &mut Receiver<Arc<InvocationReport>>) -> Arc<InvocationReport> {
    loop {
        match reports.recv().await {
            Ok(report) => return report,
            Err(RecvError::Lagged(missed)) => say(format_args!("({missed} invocations are not shown)")),
            // The host holds the sender: it is about to go.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn show(report: &InvocationReport) {
    let about = match &report.trigger {
        TriggerDetail::Queue { queue, dequeue_count, .. } => format!("queue {queue}, delivery {dequeue_count}"),
        TriggerDetail::Events { hub, partition, first_sequence, last_sequence, .. } => {
            format!("{hub}/{partition}, events {first_sequence} to {last_sequence}")
        }
        TriggerDetail::Timer { .. } => "timer".to_owned(),
        TriggerDetail::Http { method, path } => format!("{method} {path}"),
        other => other.kind().to_owned(),
    };
    let outcome = match &report.error {
        _ if report.ok => "ok".to_owned(),
        Some(error) => format!("failed: {error}"),
        None => "failed".to_owned(),
    };
    say(format_args!("{} ({about}): {outcome}, {} ms", report.function, report.duration.as_millis()));
    for line in &report.logs {
        say(format_args!("  {line}"));
    }
}

/// Completes at Ctrl-C, and where there is one at SIGTERM.
async fn stop_signal() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM is not waited for");
                std::future::pending().await
            }
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Prints a line to stdout. A closed pipe is no error: whoever reads has enough.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
