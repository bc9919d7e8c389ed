//! Event Hubs, as Weir itself reads them: to heal gaps and to replay.

use tokio::sync::{Semaphore, SemaphorePermit};
use weir_intake::hub::{HubConnection, HubRange, HubRead, HubReader, ReadLimits};
use weir_platform::Settings;

use crate::error::AppError;

/// Reads at the same time, in one process. They hold memory of their own, beside the invocations' budget: one that
/// waited for its share while it holds another would wait for ever.
const READS: usize = 2;
const READ_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024 * 1024..=64 * 1024 * 1024;

/// The namespace that the app's settings name.
#[derive(Debug)]
pub(crate) struct Hubs {
    reader: HubReader,
    connection: HubConnection,
    group: String,
    turns: Semaphore,
    limits: ReadLimits,
}

impl Hubs {
    /// `None` when the settings name no namespace.
    pub(crate) fn open(settings: &Settings) -> Result<Option<Self>, AppError> {
        let connection = match (&settings.event_hub, &settings.event_hub_namespace) {
            (Some(text), _) => HubConnection::parse(text.reveal())?,
            (None, Some(namespace)) => HubConnection::with_identity(namespace, weir_platform::identity(settings)?),
            (None, None) => return Ok(None),
        };
        let bytes = (settings.memory_budget_bytes / 16).clamp(*READ_BYTES.start(), *READ_BYTES.end());
        Ok(Some(Self {
            reader: HubReader::new(connection.clone()),
            connection,
            group: settings.replay_group.clone(),
            turns: Semaphore::new(READS),
            limits: ReadLimits { bytes: bytes as usize, ..ReadLimits::default() },
        }))
    }

    /// Whether events of this namespace are the ones that are read here.
    pub(crate) fn check(&self, namespace: &str) -> Result<(), AppError> {
        match self.connection.namespace() {
            Some(own) if !own.eq_ignore_ascii_case(namespace) => {
                Err(AppError::OtherNamespace { own: own.to_owned(), given: namespace.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The namespace's name as sources have it; `None` for a local service.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.connection.namespace().map(|name| name.split_once('.').map_or(name, |(short, _)| short))
    }

    /// The partitions of a hub.
    pub(crate) async fn partitions(&self, hub: &str) -> Result<Vec<u32>, AppError> {
        Ok(self.reader.partitions(hub, &self.group, self.limits).await?)
    }

    /// Which events the partition has, from the first number to before the second, and the first of a range.
    pub(crate) async fn probe(
        &self,
        hub: &str,
        partition: u32,
        range: HubRange,
    ) -> Result<(u64, u64, Option<u64>), AppError> {
        let limits = ReadLimits { events: 1, ..self.limits };
        let read = self.reader.read(hub, &self.group, partition, range, limits).await?;
        let first = read.events.first().map(|event| event.sequence);
        Ok((read.begin_sequence, read.end_sequence, first))
    }

    /// Reads some of a partition. The permit is for the memory that the events take.
    pub(crate) async fn read(
        &self,
        hub: &str,
        partition: u32,
        range: HubRange,
    ) -> Result<(HubRead, Option<SemaphorePermit<'_>>), AppError> {
        // Only a closed semaphore refuses, and this one is never closed.
        let turn = self.turns.acquire().await.ok();
        Ok((self.reader.read(hub, &self.group, partition, range, self.limits).await?, turn))
    }
}
