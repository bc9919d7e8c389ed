//! Sends events to a hub in memory through the Rust SDK and reads them back: `cargo run --example fill`.
#![allow(clippy::print_stdout)]

use std::{error::Error, pin::pin, sync::Arc};

use azure_messaging_eventhubs::{
    ConsumerClient, OpenReceiverOptions, ProducerClient, StartLocation, StartPosition, models::EventData,
};
use event_hubs_service::{EventHubsService, HubLog, MemoryLog, ServiceConfig};
use futures::StreamExt;

const HUB: &str = "sensors";
const EVENTS: [&str; 3] = ["20.5", "21", "21.5"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The SDK's TLS wants a provider, although nothing is encrypted here. An error says that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let hub: Arc<dyn HubLog> = Arc::new(MemoryLog::new(1));
    let config = ServiceConfig::new(([127, 0, 0, 1], 0).into());
    let service = EventHubsService::start(config, [(HUB.to_owned(), hub)]).await?;
    let connection = service.connection_string();

    let producer = ProducerClient::builder().with_custom_endpoint(service.endpoint());
    let producer = producer.open_with_connection_string(&connection, Some(HUB)).await?;
    for event in EVENTS {
        producer.send_event(EventData::builder().with_body(event.as_bytes().to_vec()).build(), None).await?;
    }

    let consumer = ConsumerClient::builder().with_custom_endpoint(service.endpoint());
    let consumer = consumer.open_with_connection_string(&connection, Some(HUB)).await?;
    let from_start = StartPosition { location: StartLocation::Earliest, ..StartPosition::default() };
    let options = OpenReceiverOptions { start_position: Some(from_start), ..OpenReceiverOptions::default() };
    let receiver = consumer.open_receiver_on_partition("0".to_owned(), Some(options)).await?;
    let mut events = pin!(receiver.stream_events());
    for expected in EVENTS {
        let event = events.next().await.ok_or("the hub ends early")??;
        let body = event.event_data().body().unwrap_or_default();
        assert_eq!(body, expected.as_bytes());
        println!("{:?}: {}", event.sequence_number(), String::from_utf8_lossy(body));
    }
    Ok(())
}
