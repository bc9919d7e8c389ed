//! Settings of a host.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    config::{HostJson, local_settings},
    error::HostError,
    supervisor::ChildOutput,
};

/// An app, its handler and the folder of its state. Begin with [`HostConfig::of_app`], or with [`HostConfig::new`] to name the
/// handler yourself, and change the fields that you need.
#[derive(Clone)]
#[non_exhaustive]
pub struct HostConfig {
    /// Folder with `host.json` and `<function>/function.json`.
    pub app_dir: PathBuf,
    /// The handler's program; it replaces `defaultExecutablePath` of `host.json`.
    pub program: PathBuf,
    /// The handler's arguments.
    pub args: Vec<String>,
    /// App settings: the handler's environment, and what `%NAME%` in a `function.json` stands for. Beside these the
    /// handler sees this process's environment, as it does under the real host.
    pub env: Vec<(String, String)>,
    /// Queues, event logs, checkpoints, schedule status, keys. One host at a time.
    pub data_dir: PathBuf,
    /// Watched folder: a file at `<landing>/<container>/<path>` becomes a BlobCreated event in `blob_queue`.
    pub landing: Option<PathBuf>,
    /// The queue that [`landing`](Self::landing) announces blobs in, as an Event Grid subscription would.
    pub blob_queue: String,
    /// Address of the HTTP front. Port 0 takes a free one.
    pub http_addr: SocketAddr,
    /// Address at which the hubs that functions read are served to Event Hubs clients, in plain text and on loopback only. Port 0
    /// takes a free one.
    pub amqp: Option<SocketAddr>,
    /// The app setting that gets the connection string of [`HostConfig::amqp`]: the handler can then read the hubs itself.
    pub amqp_setting: Option<String>,
    /// The Event Hubs namespace that functions are told.
    pub namespace: String,
    /// Partitions of each hub. A hub that has more already keeps them.
    pub partitions: u32,
    /// Time for which a queue message is hidden when a function gets it; renewed while the function runs. 10 minutes in the
    /// real host, which cannot be told otherwise; whole seconds in a storage account.
    pub queue_visibility: Duration,
    /// Whether timers run on schedule; otherwise only by [`Host::run_timer`] and the admin route.
    pub run_timers: bool,
    /// Target of the handler's stdout and stderr.
    pub stdio: ChildOutput,
    /// Crashes that stop the host, each within 30 minutes of the one before. 3 in the real host.
    pub crash_limit: u32,
}

impl HostConfig {
    /// The handler that `host.json` names (`customHandler.description`), and the app settings of `local.settings.json` where
    /// there is one. Everything else as [`HostConfig::new`] has it.
    ///
    /// As in the real host `defaultExecutablePath` is a file in the app's folder, or else a program on the `PATH`.
    ///
    /// # Errors
    /// [`HostError::Config`] naming file and key when a file is not understood, names no handler or is encrypted;
    /// [`HostError::Io`] when it cannot be read.
    pub fn of_app(app_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Result<Self, HostError> {
        let app_dir = absolute(app_dir.into())?;
        let (program, args) = HostJson::read(&app_dir)?.handler.command(&app_dir)?;
        let env = local_settings(&app_dir)?;
        Ok(Self { args, env, ..Self::new(app_dir, program, data_dir) })
    }

    /// A handler other than the one that `host.json` names, with the app settings of `local.settings.json` where there is
    /// one. A relative `program` is a file below this process's current folder if there is one, and else a program on the
    /// `PATH`.
    ///
    /// # Errors
    /// As [`HostConfig::of_app`].
    pub fn with_program(
        app_dir: impl Into<PathBuf>,
        program: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
    ) -> Result<Self, HostError> {
        let (app_dir, program) = (absolute(app_dir.into())?, program.into());
        let program = if program.is_file() { absolute(program)? } else { program };
        let env = local_settings(&app_dir)?;
        Ok(Self { env, ..Self::new(app_dir, program, data_dir) })
    }

    /// Nothing watched, a free port on loopback, 4 partitions, timers on, the handler's output discarded.
    pub fn new(app_dir: impl Into<PathBuf>, program: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            app_dir: app_dir.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            data_dir: data_dir.into(),
            landing: None,
            blob_queue: "blob-events".to_owned(),
            http_addr: (Ipv4Addr::LOCALHOST, 0).into(),
            amqp: None,
            amqp_setting: None,
            namespace: "local.servicebus.windows.net".to_owned(),
            partitions: 4,
            queue_visibility: Duration::from_secs(600),
            run_timers: true,
            stdio: ChildOutput::Discard,
            crash_limit: 3,
        }
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, HostError> {
    std::path::absolute(&path).map_err(HostError::io("find", path))
}

impl fmt::Debug for HostConfig {
    /// Names of app settings only: values may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<&str> = self.env.iter().map(|(key, _)| key.as_str()).collect();
        let mut shown = formatter.debug_struct("HostConfig");
        shown.field("app_dir", &self.app_dir).field("program", &self.program).field("env", &settings);
        shown.field("data_dir", &self.data_dir).field("landing", &self.landing).finish_non_exhaustive()
    }
}
