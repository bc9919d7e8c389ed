//! What the functions share, made once: contracts at start, everything that needs the network on first use. (The host
//! waits for the first answer to `GET /`; nothing is loaded before it is needed.)

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use weir_contract::{Contract, Contracts, Drift, NewColumns, Treatment, UnknownFields};
use weir_lake::{AddedColumns, Lake, LakeError, LakeOptions, Table, TableDefinition};
use weir_platform::{DatabaseIdentity, LakeRoot, Landing, Settings};
use weir_transform::{Derivation, PseudonymKey, Transform, TransformError};
use weir_warehouse::{AccessTokens, Warehouse};

use crate::error::AppError;
use crate::hubs::Hubs;
use crate::pipeline::events::Memories;
use crate::pipeline::in_force::{self, InForce};
use crate::signed::TaskKeys;
use crate::tasks::Task;

const TRANSACTION_RETENTION: &str = "delta.setTransactionRetentionDuration";

/// The app: settings and contracts, and a [`Runtime`] once somebody asked for it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) contracts: Contracts,
    pub(crate) task_keys: TaskKeys,
    datasets: HashMap<String, Arc<Dataset>>,
    runtime: OnceCell<Runtime>,
}

#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) lake: Lake,
    pub(crate) landing: Option<Landing>,
    pub(crate) warehouse: Option<Box<dyn Warehouse>>,
    pub(crate) hubs: Option<Hubs>,
    pub(crate) memories: Memories,
    pub(crate) in_force: InForce,
    /// The lake's root as a warehouse in Azure reads it; `None` for a lake on this machine.
    pub(crate) files: Option<String>,
    pub(crate) budget: Budget,
    datasets: HashMap<String, Arc<Dataset>>,
}

/// A contract made ready: its transform and its two tables.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) contract: Contract,
    pub(crate) transform: Transform,
    /// Of a derived table: its query.
    pub(crate) derivation: Option<Derivation>,
    pub(crate) table: TableDefinition,
    pub(crate) quarantine: TableDefinition,
    /// For what frames take beyond the bytes that they are made of: one for all datasets.
    pub(crate) frames: Arc<Budget>,
    /// Of the contract, of the key of its pseudonyms, and of this release: what decides which records are refused, and
    /// what becomes of values.
    pub(crate) fingerprint: String,
    /// The key that both tables' pseudonyms are made with; `None` for a contract without any.
    pub(crate) key: Option<KeyInUse>,
}

/// A transaction id that tells keys of pseudonyms apart: one id for each version of the key, and as its version the key's
/// check value. It is set once in a table's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyInUse {
    pub(crate) id: String,
    pub(crate) check: i64,
}

impl KeyInUse {
    fn of(contract: &Contract, key: Option<&PseudonymKey>) -> Result<Option<Self>, TransformError> {
        let Some(key) = key.filter(|_| contract.columns.iter().any(|own| own.personal == Some(Treatment::Pseudonym)))
        else {
            return Ok(None);
        };
        Ok(Some(Self { id: format!("weir:key:{}", key.version()), check: i64::from(key.check()?) }))
    }

    fn transaction(&self) -> (String, i64) {
        (self.id.clone(), self.check)
    }
}

impl App {
    /// Reads settings' contracts and compiles them, so that an app with an impossible one does not start; nothing else
    /// yet.
    pub(crate) fn load(settings: Settings) -> Result<Self, AppError> {
        let key = settings.pseudonym_key.as_ref();
        let key = key.map(|key| PseudonymKey::from_text(1, key.reveal())).transpose()?;
        Self::with_key(settings, key)
    }

    /// The same for whoever makes no pseudonym: counting rows asks for no key.
    pub(crate) fn load_to_look(settings: Settings) -> Result<Self, AppError> {
        if settings.pseudonym_key.is_some() {
            return Self::load(settings);
        }
        Self::with_key(settings, Some(PseudonymKey::new(1, [0; 32])))
    }

    fn with_key(settings: Settings, key: Option<PseudonymKey>) -> Result<Self, AppError> {
        let contracts = read_contracts(&datasets_folder(&settings))?;
        let task_keys = settings.task_key.as_ref().map(|keys| TaskKeys::from_text(keys.reveal()));
        let task_keys = task_keys.transpose()?.unwrap_or_default();
        let mut datasets = HashMap::new();
        let frames = Arc::new(Budget::new(for_frames(&settings)));
        for contract in contracts.iter() {
            let failed = |source| AppError::Contract {
                file: contracts.file(&contract.name).unwrap_or(&contract.name).to_owned(),
                source,
            };
            let mut dataset = Dataset::new(contract, key.as_ref()).map_err(failed)?;
            dataset.derivation = derivation(&contracts, contract).map_err(failed)?;
            dataset.frames = Arc::clone(&frames);
            datasets.insert(contract.name.clone(), Arc::new(dataset));
        }
        Ok(Self { settings, contracts, task_keys, datasets, runtime: OnceCell::new() })
    }

    /// The messages of tasks, for the queue `tasks`.
    pub(crate) fn seal(&self, tasks: &[Task]) -> Result<Vec<String>, AppError> {
        tasks.iter().map(|task| self.task_keys.seal(task, now_ms())).collect()
    }

    pub(crate) async fn runtime(&self) -> Result<&Runtime, AppError> {
        self.runtime.get_or_try_init(|| Runtime::open(&self.settings, &self.datasets)).await
    }
}

impl Runtime {
    async fn open(settings: &Settings, datasets: &HashMap<String, Arc<Dataset>>) -> Result<Self, AppError> {
        let root = LakeRoot::open(settings)?;
        let warehouse = match &settings.warehouse_url {
            Some(url) => {
                let tokens = database_tokens(url.reveal(), settings)?;
                Some(weir_warehouse::open(url.reveal(), tokens).await?)
            }
            None => None,
        };
        Ok(Self {
            files: root.https.clone(),
            lake: Lake::new(root.store, root.path, lake_options(settings)),
            landing: settings.landing_url.is_some().then(|| Landing::open(settings)).transpose()?,
            warehouse,
            hubs: Hubs::open(settings)?,
            memories: Memories::new(settings.memory_budget_bytes),
            in_force: InForce::new(deadline(settings) / 10),
            budget: Budget::new(settings.memory_budget_bytes - for_frames(settings)),
            datasets: datasets.clone(),
        })
    }

    pub(crate) fn dataset(&self, name: &str) -> Result<&Arc<Dataset>, AppError> {
        self.datasets.get(name).ok_or_else(|| AppError::UnknownDataset { name: name.to_owned() })
    }

    pub(crate) fn datasets(&self) -> Vec<&Arc<Dataset>> {
        let mut datasets: Vec<_> = self.datasets.values().collect();
        datasets.sort_by(|left, right| left.contract.name.cmp(&right.contract.name));
        datasets
    }

    /// A table if it exists, looked at just now: one whose folder was deleted or made anew meanwhile is opened anew.
    pub(crate) async fn table_now(&self, definition: &TableDefinition) -> Result<Option<Arc<Table>>, AppError> {
        let Some(table) = self.lake.existing(definition).await? else { return Ok(None) };
        match table.look().await {
            Err(LakeError::Replaced { .. }) => Ok(self.lake.existing(definition).await?),
            looked => Ok(looked.map(|()| Some(table))?),
        }
    }

    pub(crate) fn landing(&self) -> Result<&Landing, AppError> {
        self.landing.as_ref().ok_or(AppError::NoLanding)
    }
}

/// The app's identity, for a warehouse that asks for one.
fn database_tokens(url: &str, settings: &Settings) -> Result<Option<Arc<dyn AccessTokens>>, AppError> {
    if url.starts_with("sqlite:") {
        return Ok(None);
    }
    Ok(Some(Arc::new(Tokens(DatabaseIdentity::new(settings)?))))
}

#[derive(Debug)]
struct Tokens(DatabaseIdentity);

#[weir_warehouse::async_trait]
impl AccessTokens for Tokens {
    async fn token(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.token().await?)
    }
}

impl Dataset {
    /// After how long the table forgets which versions of blobs it holds; `None`: never.
    pub(crate) fn ids_expire_ms(&self) -> Option<i64> {
        let expires = self.table.interval(TRANSACTION_RETENTION).filter(|_| !self.contract.replaces_versions())?;
        i64::try_from(expires.as_millis()).ok()
    }

    pub(crate) fn new(contract: &Contract, key: Option<&PseudonymKey>) -> Result<Self, TransformError> {
        let key_in_use = KeyInUse::of(contract, key)?;
        let fingerprint = fingerprint(contract, key_in_use.as_ref());
        let mut transactions = in_force::of_new_table(&fingerprint);
        transactions.extend(key_in_use.as_ref().map(KeyInUse::transaction));
        let table = TableDefinition {
            name: contract.name.clone(),
            columns: contract.table_columns(),
            partition_by: contract.table.partition_by.clone(),
            cluster_by: contract.table.cluster_by.clone(),
            properties: contract.table.properties.clone(),
            new_columns: contract.table.new_columns,
            added_columns: added_columns(contract),
            transactions: transactions.clone(),
        };
        let quarantine = TableDefinition {
            name: contract.quarantine_name(),
            columns: contract.quarantine_columns(),
            partition_by: Vec::new(),
            cluster_by: Vec::new(),
            // Quarantine forgets ids when the table does: else it would be ahead of the table for good.
            properties: contract
                .table
                .properties
                .iter()
                .filter(|(key, _)| key == TRANSACTION_RETENTION)
                .cloned()
                .collect(),
            new_columns: NewColumns::Add,
            added_columns: None,
            transactions,
        };
        let transform = Transform::new(contract, key)?;
        let contract = contract.clone();
        let frames = Arc::new(Budget::new(0));
        Ok(Self { contract, transform, derivation: None, table, quarantine, frames, fingerprint, key: key_in_use })
    }
}

fn fingerprint(contract: &Contract, key: Option<&KeyInUse>) -> String {
    let mut text = format!("{} {contract:?}", env!("CARGO_PKG_VERSION"));
    if let Some(KeyInUse { id, check }) = key {
        text.push_str(&format!(" {id} {check}"));
    }
    let digest = Sha256::digest(text);
    data_encoding::HEXLOWER.encode(&digest)
}

/// The query of a derived table, made ready; `None` for a dataset with a source.
pub(crate) fn derivation(contracts: &Contracts, contract: &Contract) -> Result<Option<Derivation>, TransformError> {
    let Some(derived) = contract.derived() else { return Ok(None) };
    // Sound contracts name none that is not there.
    let read: Vec<&Contract> = derived.reads().filter_map(|name| contracts.get(name)).collect();
    Derivation::new(contract, &read)
}

fn added_columns(contract: &Contract) -> Option<AddedColumns> {
    let Drift { unknown_fields, max_added_columns, match_case, .. } = contract.drift;
    (unknown_fields == UnknownFields::Add).then_some(AddedColumns { most: max_added_columns, match_case })
}

/// The share of the budget for short records and packed events, whose frames take many times their bytes. Who holds some
/// of it waits for nothing else but the lake.
fn for_frames(settings: &Settings) -> u64 {
    const MOST: u64 = 256 * 1024 * 1024;
    (settings.memory_budget_bytes / 4).min(MOST)
}

/// Bytes in flight over all invocations of this process: asked for before anything is read.
#[derive(Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

const BUDGET_UNIT: u64 = 64 * 1024;

impl Budget {
    fn new(bytes: u64) -> Self {
        let total = u32::try_from((bytes / BUDGET_UNIT).max(1)).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until `bytes` are free. What asks for more than there is gets everything, alone.
    pub(crate) async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        // Only a closed semaphore refuses, and this one is never closed.
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

fn lake_options(settings: &Settings) -> LakeOptions {
    let mut options = LakeOptions::new(now_ms);
    // A commit is tried for as long as the invocation may take: giving up sooner would only bring the input again.
    options.commit_timeout = deadline(settings).mul_f64(0.8);
    options.linger = settings.linger.unwrap_or(options.linger);
    options
}

pub(crate) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The folder of `host.json`: where the host says, or the working folder.
fn app_root(settings: &Settings) -> PathBuf {
    settings.app_root.clone().unwrap_or_else(|| PathBuf::from("."))
}

/// `WEIR_DATASETS`, else `datasets` beside `host.json`.
pub(crate) fn datasets_folder(settings: &Settings) -> PathBuf {
    settings.datasets.clone().unwrap_or_else(|| app_root(settings).join("datasets"))
}

/// Files of contracts: name and text, sorted.
pub(crate) fn read_contract_files(folder: &Path) -> Result<Vec<(String, String)>, AppError> {
    let failed = |source| AppError::Datasets { folder: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read(&path).map_err(failed)?;
            files.push((name, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    files.sort();
    Ok(files)
}

fn read_contracts(folder: &Path) -> Result<Contracts, AppError> {
    Ok(Contracts::parse_all(read_contract_files(folder)?)?)
}

/// An invocation ends before it: `WEIR_DEADLINE_S`, else nine tenths of `functionTimeout` in `host.json`.
pub(crate) fn deadline(settings: &Settings) -> Duration {
    /// The host's default on the Consumption plan.
    const HOST_DEFAULT: Duration = Duration::from_secs(300);
    settings.deadline.unwrap_or_else(|| {
        let text = std::fs::read_to_string(app_root(settings).join("host.json")).unwrap_or_default();
        let host: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let timeout = host["functionTimeout"].as_str().and_then(timespan).unwrap_or(HOST_DEFAULT);
        timeout.mul_f64(0.9)
    })
}

/// `hh:mm:ss`, as .NET writes a time span.
fn timespan(text: &str) -> Option<Duration> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(Duration::from_secs(hours * 3600 + minutes * 60 + seconds))
}
