//! A hub in memory for as long as this runs: `cargo run -p event_hubs_service --example serve -- 5672 sensors`.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use event_hubs_service::{EventHubsService, HubLog, MemoryLog, ServiceConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().unwrap_or_else(|| "5672".to_owned()).parse()?;
    let name = arguments.next().unwrap_or_else(|| "sensors".to_owned());
    let hub: Arc<dyn HubLog> = Arc::new(MemoryLog::new(4));
    let service = EventHubsService::start(ServiceConfig::new(([127, 0, 0, 1], port).into()), [(name, hub)]).await?;
    println!("{}", service.connection_string());
    std::future::pending().await
}
