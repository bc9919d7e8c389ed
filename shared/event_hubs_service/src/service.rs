//! The listener and what all its connections share.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::{
    connection, error::ServiceError, faults::Faults, limits::MAX_CONNECTIONS, log::HubLog, readers::Readers,
    sas::SharedAccessKey,
};

/// How long a settlement takes unless somebody says otherwise. Not zero: the Rust SDK 0.16 hands a message to its session
/// before it notes that it waits for its settlement, loses one that is quicker than that, and waits for ever.
const SETTLE_DELAY: Duration = Duration::from_millis(5);

/// Settings of a service. Begin with [`ServiceConfig::new`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Address to listen on: loopback; port 0 takes a free one.
    pub address: SocketAddr,
    /// Key that clients must know. None: every token is good.
    pub key: Option<SharedAccessKey>,
    /// Time that a settlement takes; see [`Faults::settle_after`]. Default 5 ms.
    pub settle_delay: Duration,
}

impl ServiceConfig {
    /// Any token is good.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, key: None, settle_delay: SETTLE_DELAY }
    }
}

/// A running service. Dropping it closes every connection.
#[derive(Debug)]
pub struct EventHubsService {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// By their names in small letters.
    pub(crate) hubs: BTreeMap<String, Hub>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) faults: Faults,
    pub(crate) key: Option<SharedAccessKey>,
}

#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) name: String,
    pub(crate) log: Arc<dyn HubLog>,
}

impl EventHubsService {
    /// Listens, and serves these hubs from now on.
    ///
    /// # Errors
    /// [`ServiceError`], for an address that is not on loopback or is taken, and for a name that no hub may have or that is
    /// given twice.
    pub async fn start(
        config: ServiceConfig,
        hubs: impl IntoIterator<Item = (String, Arc<dyn HubLog>)>,
    ) -> Result<Self, ServiceError> {
        if !config.address.ip().is_loopback() {
            return Err(ServiceError::NotLoopback { address: config.address });
        }
        let hubs = named(hubs)?;
        let listen = |source| ServiceError::Listen { address: config.address, source };
        let listener = TcpListener::bind(config.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let faults = Faults::new(config.settle_delay);
        let shared = Arc::new(Shared { hubs, readers: Arc::default(), faults, key: config.key });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection string for clients. SDKs that know the emulator read port and plain text from it; the Rust SDK needs
    /// [`EventHubsService::endpoint`] beside it.
    pub fn connection_string(&self) -> String {
        connection_string(self.address, self.shared.key.as_ref())
    }

    /// The endpoint for `with_custom_endpoint` of the Rust SDK.
    pub fn endpoint(&self) -> String {
        format!("amqp://{}", self.address)
    }

    /// Faults on order.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }
}

impl Drop for EventHubsService {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// `Endpoint=sb://…;UseDevelopmentEmulator=true`, as the official emulator has it.
pub fn connection_string(address: SocketAddr, key: Option<&SharedAccessKey>) -> String {
    let (name, key) = key.map_or(("local", "local"), |key| (key.name.as_str(), key.key.as_str()));
    format!("Endpoint=sb://{address};SharedAccessKeyName={name};SharedAccessKey={key};UseDevelopmentEmulator=true")
}

impl Shared {
    /// The hub of a name in small letters.
    pub(crate) fn hub(&self, name: &str) -> Option<&Hub> {
        self.hubs.get(name)
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn named(hubs: impl IntoIterator<Item = (String, Arc<dyn HubLog>)>) -> Result<BTreeMap<String, Hub>, ServiceError> {
    let mut named = BTreeMap::new();
    for (name, log) in hubs {
        let sane = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        if name.is_empty() || name.len() > 256 || !name.chars().all(sane) {
            return Err(ServiceError::HubName { name });
        }
        if named.insert(name.to_ascii_lowercase(), Hub { name: name.clone(), log }).is_some() {
            return Err(ServiceError::SameHub { name });
        }
    }
    Ok(named)
}

/// Connections end with this task.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Ended ones would pile up.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                    tracing::warn!(limit = MAX_CONNECTIONS, "a connection too many was refused");
                    continue;
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    connection::serve(socket, shared).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
