//! `weir dev`: the app on this machine. Drop files into a folder, post events, look at the tables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use functions_host::{ChildOutput, Host, HostConfig, HostError};

use super::check::{Sound, sound};
use super::say;
use crate::app::read_contract_files;
use crate::app_root::{assemble, shipped_datasets};

/// The key of pseudonyms of local runs. It protects nobody's data: anybody can read it here.
const LOCAL_KEY: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder for everything: landing, lake, warehouse.db, queues and event logs
    #[arg(long, default_value = ".weir")]
    dir: PathBuf,
    /// Folder of contracts [default: those that Weir ships]
    #[arg(long)]
    datasets: Option<PathBuf>,
    /// Port of the HTTP functions on 127.0.0.1
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// Port of Event Hubs (AMQP, plain text) on 127.0.0.1; 0: none
    #[arg(long, default_value_t = 5672)]
    amqp_port: u16,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let datasets = match &arguments.datasets {
        Some(folder) => sound_ones(read_contract_files(folder)?)?,
        None => shipped_datasets(),
    };
    let site = Site::create(&arguments.dir)?;
    site.clear_app()?;
    assemble(&site.app(), &datasets, |_| {})?;
    let mut config = site.host_config()?;
    config.http_addr = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    config.stdio = ChildOutput::Inherit;
    config.amqp = (arguments.amqp_port != 0).then(|| SocketAddr::from(([127, 0, 0, 1], arguments.amqp_port)));
    // The app reads its hubs, too: to heal gaps and to replay.
    config.amqp_setting = Some("EventHub".to_owned());
    let mut host = Host::start(config.clone()).await.map_err(|error| match error {
        HostError::EventHubs(_) => {
            anyhow::Error::new(error).context("choose another port with --amqp-port, or none with 0")
        }
        error => error.into(),
    })?;
    let (url, key) = (host.http_url(), host.function_key().to_owned());
    say(format_args!("files    drop them into {}/<container>/", site.landing().display()));
    if let (Some(address), Some(connection)) = (host.amqp_address(), host.amqp_connection_string()) {
        say(format_args!("events   amqp://{address} (connection string: {connection})"));
    }
    say(format_args!("         curl {url}/eventhubs/<hub>/messages -d '{{…}}'"));
    say(format_args!("books    curl '{url}/api/status?code={key}'   (or open it in a browser)"));
    say(format_args!(
        "maintain curl -X POST '{url}/admin/functions/maintain' -H 'x-functions-key: {}' -H 'content-type: application/json' -d '{{}}'",
        host.master_key()
    ));
    say(format_args!("tables   {}, warehouse {}", site.lake().display(), site.warehouse().display()));
    say("Ctrl-C stops");
    loop {
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => {
                stopped.context("wait for Ctrl-C")?;
                host.shutdown().await;
                return Ok(ExitCode::SUCCESS);
            }
            () = host.stopped() => {
                let reason = host.failure().unwrap_or_else(|| "unknown".to_owned());
                if !host.wants_restart() {
                    anyhow::bail!("the host stopped: {reason}");
                }
                say(reason);
                host.shutdown().await;
                host = Host::start(config.clone()).await?;
            }
        }
    }
}

/// Without the contracts that are wrong, which are told: the others can be tried meanwhile.
fn sound_ones(mut files: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    loop {
        let Sound { contracts, unsound, errors } = sound(files.clone());
        if errors.is_empty() {
            return Ok(files);
        }
        for error in &errors {
            say(format_args!("left out {}", error.text));
        }
        let stays = |file: &str| {
            let mut sound = contracts.iter().filter(|contract| !unsound.contains(&contract.name));
            sound.any(|contract| contracts.file(&contract.name) == Some(file))
        };
        files.retain(|(file, _)| stays(file));
        anyhow::ensure!(!files.is_empty(), "no contract is sound; `weir check` tells why");
    }
}

/// A folder with everything that a local run needs.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    root: PathBuf,
}

impl Site {
    pub(crate) fn create(root: &Path) -> Result<Self> {
        weir_platform::create_folder(root).with_context(|| format!("create {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("find {}", root.display()))?;
        let site = Self { root };
        for folder in [site.landing(), site.lake()] {
            weir_platform::create_folder(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        Ok(site)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn app(&self) -> PathBuf {
        self.root.join("app")
    }

    /// Takes away what an earlier run has put together: a dataset that is gone must not live on.
    fn clear_app(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.app()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("clear {}", self.app().display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn landing(&self) -> PathBuf {
        self.root.join("landing")
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.root.join("warehouse.db")
    }

    /// The app settings of a local run.
    pub(crate) fn settings(&self) -> Result<Vec<(String, String)>> {
        let file_url = |path: &Path| {
            let url = url::Url::from_file_path(path).map_err(|()| anyhow::anyhow!("{}: no URL", path.display()))?;
            Ok::<_, anyhow::Error>(url.to_string())
        };
        let warehouse = file_url(&self.warehouse())?.replacen("file://", "sqlite://", 1);
        let settings = [
            ("WEIR_LAKE_URL", file_url(&self.lake())?),
            ("WEIR_LANDING_URL", file_url(&self.landing())?),
            ("WEIR_DATASETS", self.app().join("datasets").display().to_string()),
            ("WEIR_WAREHOUSE_URL", warehouse),
            ("WEIR_PSEUDONYM_KEY", LOCAL_KEY.to_owned()),
            ("WEIR_TASK_KEY", self.task_key()?),
            ("WEIR_LOG_FORMAT", "text".to_owned()),
        ];
        Ok(settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Made once: tasks that lie in the queue count after a restart, too.
    fn task_key(&self) -> Result<String> {
        let file = self.root.join("task.key");
        if let Ok(key) = std::fs::read_to_string(&file) {
            return Ok(key);
        }
        let key = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        std::fs::write(&file, &key).with_context(|| format!("write {}", file.display()))?;
        Ok(key)
    }

    pub(crate) fn host_config(&self) -> Result<HostConfig> {
        let program = std::env::current_exe().context("find this binary")?;
        let mut config = HostConfig::new(self.app(), program, self.root.join("host"));
        config.args = vec!["serve".to_owned()];
        config.env = self.settings()?;
        config.landing = Some(self.landing());
        Ok(config)
    }
}
