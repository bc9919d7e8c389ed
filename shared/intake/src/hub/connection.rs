//! Where a namespace is and how one gets in.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_messaging_eventhubs::{ConnectionString, ConsumerClient, EventHubsError, ProducerClient};

use super::HubError;

/// The port of plain AMQP, which only a local service speaks.
const LOCAL_PORT: u16 = 5672;

/// A namespace, or a local service in its place.
#[derive(Clone)]
pub struct HubConnection {
    access: Access,
    /// `amqp://host:port`, for a local service.
    endpoint: Option<String>,
    entity: Option<String>,
}

#[derive(Clone)]
enum Access {
    Key(String),
    Identity { namespace: String, credential: Arc<dyn TokenCredential> },
}

impl fmt::Debug for HubConnection {
    /// Without keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = match &self.access {
            Access::Key(_) => "(connection string)",
            Access::Identity { namespace, .. } => namespace,
        };
        f.debug_struct("HubConnection").field("namespace", &namespace).field("endpoint", &self.endpoint).finish()
    }
}

impl HubConnection {
    /// A connection string. With `UseDevelopmentEmulator=true` it is a local service, in plain text on its own port; that
    /// must be on this machine.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let wrong = |message: &str| HubError::ConnectionString { message: message.to_owned() };
        // The SDK's message names keys, no values.
        let parsed: ConnectionString =
            text.trim().parse().map_err(|error: azure_core::Error| wrong(&error.to_string()))?;
        let emulator = text.split(';').filter_map(|part| part.trim().split_once('='));
        let emulator = emulator
            .filter(|(key, _)| key.eq_ignore_ascii_case("UseDevelopmentEmulator"))
            .any(|(_, value)| value.eq_ignore_ascii_case("true"));
        let endpoint = if emulator { Some(local(&parsed.endpoint).map_err(wrong)?) } else { None };
        Ok(Self { access: Access::Key(text.trim().to_owned()), endpoint, entity: parsed.entity_path })
    }

    /// A namespace by its full name, and who we are.
    pub fn with_identity(namespace: &str, credential: Arc<dyn TokenCredential>) -> Self {
        Self { access: Access::Identity { namespace: namespace.to_owned(), credential }, endpoint: None, entity: None }
    }

    /// The hub that the connection string is for, if it says so.
    pub fn entity(&self) -> Option<&str> {
        self.entity.as_deref()
    }

    /// The namespace's full name; `None` for a local service, whose address says nothing.
    pub fn namespace(&self) -> Option<&str> {
        match (&self.access, &self.endpoint) {
            (_, Some(_)) => None,
            (Access::Identity { namespace, .. }, None) => Some(namespace),
            (Access::Key(text), None) => {
                let endpoint = text.split(';').filter_map(|part| part.trim().split_once('='));
                let (_, url) = endpoint.into_iter().find(|(key, _)| key.eq_ignore_ascii_case("Endpoint"))?;
                Some(url.split_once("://").map_or(url, |(_, host)| host).trim_end_matches('/'))
            }
        }
    }

    /// A client that sends to a hub. Neither this nor anything that the client does has a limit of time.
    pub async fn producer(&self, hub: &str) -> Result<ProducerClient, EventHubsError> {
        let mut builder = ProducerClient::builder();
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_custom_endpoint(endpoint.clone());
        }
        match &self.access {
            Access::Key(text) => builder.open_with_connection_string(text, self.named(hub)).await,
            Access::Identity { namespace, credential } => builder.open(namespace, hub, Arc::clone(credential)).await,
        }
    }

    /// A client that reads a hub in a consumer group.
    pub async fn consumer(&self, hub: &str, group: &str) -> Result<ConsumerClient, EventHubsError> {
        let mut builder = ConsumerClient::builder().with_consumer_group(group.to_owned());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_custom_endpoint(endpoint.clone());
        }
        match &self.access {
            Access::Key(text) => builder.open_with_connection_string(text, self.named(hub)).await,
            Access::Identity { namespace, credential } => {
                builder.open(namespace, hub.to_owned(), Arc::clone(credential)).await
            }
        }
    }

    /// The SDK wants the name in one of the two places.
    fn named<'h>(&self, hub: &'h str) -> Option<&'h str> {
        if self.entity.as_deref() == Some(hub) { None } else { Some(hub) }
    }
}

/// `sb://host[:port]/` as the SDK takes a local service: it drops the port and knows nothing of emulators.
fn local(endpoint: &str) -> Result<String, &'static str> {
    let wrong = "UseDevelopmentEmulator is for a service on this machine; Endpoint must be sb://127.0.0.1, sb://localhost \
                 or sb://[::1], with a port or without";
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong)?),
        _ => (rest, LOCAL_PORT),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()) {
        return Ok(format!("amqp://{host}:{port}"));
    }
    Err(wrong)
}
