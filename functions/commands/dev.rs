//! `weir dev`: the app on this machine. Drop files into a folder, post events, look at the tables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use functions_host::{ChildOutput, Host, HostConfig, HostError};
use weir_contract::{Contracts, Source};
use weir_platform::{LogFormat, Settings, telemetry};

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
    /// Folder of contracts [default: `datasets` if it is there, else those that Weir ships]
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
    telemetry::install(&Settings { log_format: LogFormat::Text, ..Settings::default() });
    let folder = own_datasets(arguments.datasets.as_deref());
    let mut seen = folder.as_deref().map(fingerprint);
    let datasets = contracts_of(folder.as_deref())?;
    let site = Site::create(&arguments.dir)?;
    site.assemble(&datasets)?;
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
    match &folder {
        Some(folder) => say(format_args!("contracts {}; a change is taken over at once", folder.display())),
        None => say("contracts those that Weir ships; `weir new <file>` makes one of your own in ./datasets"),
    }
    listed(&site, &datasets, &url)?.into_iter().for_each(say);
    if let (Some(address), Some(connection)) = (host.amqp_address(), host.amqp_connection_string()) {
        say(format_args!("events   amqp://{address} (connection string: {connection})"));
    }
    say(format_args!("books    curl '{url}/api/status?code={key}'   (or open it in a browser)"));
    say(format_args!(
        "maintain curl -X POST '{url}/admin/functions/maintain' -H 'x-functions-key: {}' -H 'content-type: application/json' -d '{{}}'",
        host.master_key()
    ));
    say(format_args!("tables   {}, warehouse {}", site.lake().display(), site.warehouse().display()));
    say("Ctrl-C stops");
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick(), if folder.is_some() => {
                let now = folder.as_deref().map(fingerprint);
                if now == seen {
                    continue;
                }
                seen = now;
                match contracts_of(folder.as_deref()) {
                    Err(error) => say(format_args!("the contracts changed, and those before go on: {error:#}")),
                    Ok(datasets) => {
                        say("the contracts changed: the app starts anew with them");
                        host.shutdown().await;
                        site.assemble(&datasets)?;
                        host = Host::start(config.clone()).await?;
                        listed(&site, &datasets, &url)?.into_iter().for_each(say);
                    }
                }
            }
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

/// Time between two looks at the folder of contracts.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The folder of a person's own contracts: the one that is named, or `./datasets` if it is there.
pub(super) fn own_datasets(named: Option<&Path>) -> Option<PathBuf> {
    let here = || Some(PathBuf::from("datasets")).filter(|folder| folder.is_dir());
    named.map(Path::to_owned).or_else(here)
}

fn contracts_of(folder: Option<&Path>) -> Result<Vec<(String, String)>> {
    match folder {
        Some(folder) => sound_ones(read_contract_files(folder)?),
        None => Ok(shipped_datasets()),
    }
}

/// The contracts as they stand in the folder, to tell whether one has changed.
fn fingerprint(folder: &Path) -> Vec<(String, String)> {
    read_contract_files(folder).unwrap_or_default()
}

/// A line for each dataset: what starts it, and where to put what. Makes the folders that blobs are looked for in.
fn listed(site: &Site, datasets: &[(String, String)], url: &str) -> Result<Vec<String>> {
    let contracts = Contracts::parse_all(datasets.to_vec())?;
    let mut lines = Vec::new();
    for contract in contracts.iter() {
        let name = &contract.name;
        lines.push(match &contract.source {
            Source::Blob { container, paths, .. } => {
                let mut folders: Vec<PathBuf> =
                    paths.iter().map(|path| site.landing().join(container).join(fixed_folder(path))).collect();
                folders.dedup();
                for folder in &folders {
                    weir_platform::create_folder(folder).with_context(|| format!("create {}", folder.display()))?;
                }
                let shown: Vec<String> = folders.iter().map(|folder| format!("{}/", folder.display())).collect();
                format!("  {name:<20} blobs    {} ({})", shown.join(", "), paths.join(", "))
            }
            Source::Events { hub, .. } => {
                format!("  {name:<20} events   curl {url}/eventhubs/{hub}/messages -d '{{…}}'")
            }
            Source::Derived(derived) => format!("  {name:<20} derived  of {}", derived.follows),
        });
    }
    Ok(lines)
}

/// The folders of a glob up to the first that is no name.
pub(super) fn fixed_folder(path: &str) -> PathBuf {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').take_while(|folder| !folder.contains(['*', '?'])).collect()
}

/// The contracts that a command looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contracted {
    /// Those that the app runs with.
    AsItRuns,
    /// Those of the folder that a person works in.
    AsWritten,
}

/// Lets settings name what an earlier `weir dev` has made in this folder; what they name themselves stays.
pub(crate) fn beside(settings: &mut Settings, contracts: Contracted) -> Result<()> {
    let root = Path::new(".weir");
    if !root.join("lake").is_dir() || !root.join("app").join("datasets").is_dir() {
        return Ok(());
    }
    let site = Site { root: root.canonicalize().with_context(|| format!("find {}", root.display()))? };
    let of_site = Settings::parse(site.settings()?)?;
    settings.lake_url = of_site.lake_url;
    settings.landing_url = settings.landing_url.take().or(of_site.landing_url);
    if contracts == Contracted::AsItRuns {
        settings.datasets = settings.datasets.take().or(of_site.datasets);
    }
    settings.warehouse_url = settings.warehouse_url.take().or(of_site.warehouse_url);
    settings.pseudonym_key = settings.pseudonym_key.take().or(of_site.pseudonym_key);
    settings.task_key = settings.task_key.take().or(of_site.task_key);
    Ok(())
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

    /// Puts the app together. What an earlier run has put there goes first: a dataset that is gone must not live on.
    fn assemble(&self, datasets: &[(String, String)]) -> Result<()> {
        self.clear_app()?;
        assemble(&self.app(), datasets, |_| {})
    }

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
