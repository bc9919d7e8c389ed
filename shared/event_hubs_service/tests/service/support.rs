//! A service with one hub, and short ways to the SDK.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Once},
    time::Duration,
};

use azure_messaging_eventhubs::{
    ConsumerClient, EventDataBatchOptions, EventHubsError, OpenReceiverOptions, ProducerClient, StartLocation,
    StartPosition,
    models::{EventData, ReceivedEventData},
};
use event_hubs_service::{EventHubsService, HubLog, MemoryLog, ServiceConfig};
use futures::StreamExt;

pub(crate) const HUB: &str = "sensors";
/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) service: EventHubsService,
    pub(crate) log: Arc<MemoryLog>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with(MemoryLog::new(4), |_| {}).await
    }

    pub(crate) async fn with(log: MemoryLog, configure: impl FnOnce(&mut ServiceConfig)) -> Self {
        install_crypto_provider();
        let log = Arc::new(log);
        let mut config = ServiceConfig::new(([127, 0, 0, 1], 0).into());
        configure(&mut config);
        let hub: Arc<dyn HubLog> = log.clone();
        let service = EventHubsService::start(config, [(HUB.to_owned(), hub)]).await.unwrap();
        Self { service, log }
    }

    pub(crate) async fn producer(&self) -> ProducerClient {
        let builder = ProducerClient::builder().with_custom_endpoint(self.service.endpoint());
        within(builder.open_with_connection_string(&self.service.connection_string(), Some(HUB))).await.unwrap()
    }

    pub(crate) async fn consumer(&self, group: &str) -> ConsumerClient {
        let builder = ConsumerClient::builder().with_custom_endpoint(self.service.endpoint());
        let builder = builder.with_consumer_group(group.to_owned());
        within(builder.open_with_connection_string(&self.service.connection_string(), Some(HUB))).await.unwrap()
    }

    /// Sends bodies as one batch.
    pub(crate) async fn send(&self, options: EventDataBatchOptions, bodies: &[&str]) {
        let producer = self.producer().await;
        let batch = within(producer.create_batch(Some(options))).await.unwrap();
        for body in bodies {
            assert!(batch.try_add_event_data(event(body), None).unwrap());
        }
        within(producer.send_batch(batch, None)).await.unwrap();
    }

    /// The first `count` events from a position: a client of its own, as every reader should have.
    pub(crate) async fn receive(&self, partition: &str, start: StartPosition, count: usize) -> Vec<ReceivedEventData> {
        let consumer = self.consumer("$Default").await;
        let options = OpenReceiverOptions { start_position: Some(start), ..Default::default() };
        within(take(&consumer, partition, options, count)).await.unwrap()
    }
}

/// The first `count` events, or the error that came before.
pub(crate) async fn take(
    consumer: &ConsumerClient,
    partition: &str,
    options: OpenReceiverOptions,
    count: usize,
) -> Result<Vec<ReceivedEventData>, EventHubsError> {
    let receiver = consumer.open_receiver_on_partition(partition.to_owned(), Some(options)).await?;
    let mut stream = pin!(receiver.stream_events());
    let mut events = Vec::new();
    while events.len() < count {
        match stream.next().await {
            Some(event) => events.push(event?),
            None => break,
        }
    }
    Ok(events)
}

pub(crate) fn event(body: &str) -> EventData {
    EventData::builder().with_body(body.as_bytes().to_vec()).build()
}

pub(crate) fn to_partition(partition: &str) -> EventDataBatchOptions {
    EventDataBatchOptions { partition_id: Some(partition.to_owned()), ..Default::default() }
}

pub(crate) fn at(location: StartLocation, inclusive: bool) -> StartPosition {
    StartPosition { location, inclusive }
}

pub(crate) fn bodies(events: &[ReceivedEventData]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8(event.event_data().body().unwrap().to_vec()).unwrap()).collect()
}

pub(crate) fn sequences(events: &[ReceivedEventData]) -> Vec<i64> {
    events.iter().map(|event| event.sequence_number().unwrap()).collect()
}

/// The SDK has no time limits of its own.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("the SDK took too long")
}

/// The SDK asks for rustls' provider even where it speaks plain text.
pub(crate) fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap());
}
