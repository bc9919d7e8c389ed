//! Event Hubs on this machine: other SDKs against the service, the reader of ranges, `weir send` and `weir dev`.

mod dev;
mod python;
mod reader;

use std::sync::Arc;

use event_hubs_service::{EventHubsService, HubLog, MemoryLog, NewEvent, ServiceConfig};
use weir_intake::hub::{HubConnection, HubReader};

const HUB: &str = "sensors";

/// A service with one hub of four partitions, on a port of its own.
struct Site {
    service: EventHubsService,
    log: Arc<MemoryLog>,
}

impl Site {
    async fn start() -> Self {
        Self::with(MemoryLog::new(4)).await
    }

    async fn with(log: MemoryLog) -> Self {
        weir_platform::install_crypto_provider();
        let log = Arc::new(log);
        let hub: Arc<dyn HubLog> = log.clone();
        let config = ServiceConfig::new(([127, 0, 0, 1], 0).into());
        Self { service: EventHubsService::start(config, [(HUB.to_owned(), hub)]).await.unwrap(), log }
    }

    fn fill(&self, partition: u32, bodies: impl IntoIterator<Item = String>) {
        self.log.append(partition, bodies.into_iter().map(NewEvent::new).collect()).unwrap();
    }

    fn connection(&self) -> HubConnection {
        HubConnection::parse(&self.service.connection_string()).unwrap()
    }

    fn reader(&self) -> HubReader {
        HubReader::new(self.connection())
    }
}
