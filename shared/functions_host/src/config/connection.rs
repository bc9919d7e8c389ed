//! Where the queues of a connection are: in a storage emulator that an app setting names, else on this machine's disk.
//!
//! The setting is found as the real host finds it: `AzureWebJobs<connection>`, then `<connection>`. Only an emulator on
//! this machine is served: this host's business is to stand in, and its keys are public.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use url::{Host, Url};

use crate::error::HostError;

/// The connection of a binding that names none.
pub(crate) const DEFAULT_CONNECTION: &str = "AzureWebJobsStorage";
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
/// No secret: every storage emulator has this key, and Microsoft's documentation prints it.
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_QUEUES: &str = "http://127.0.0.1:10001/devstoreaccount1";

/// A queue as a binding names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// Name of the connection, whose app setting says where its queues are.
    pub connection: String,
    /// Name of the queue within it.
    pub queue: String,
}

/// How to reach the queues of a storage account.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct QueueService {
    /// Without a slash at the end.
    pub(crate) endpoint: String,
    pub(crate) account: String,
    pub(crate) key: Vec<u8>,
}

impl std::fmt::Debug for QueueService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QueueService").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The connections that an app setting sends to a storage account; the others are local.
pub(crate) fn queue_services<'a>(
    connections: impl IntoIterator<Item = &'a str>,
    settings: &HashMap<String, String>,
) -> Result<BTreeMap<String, QueueService>, HostError> {
    let mut services = BTreeMap::new();
    for connection in connections {
        let prefixed = format!("AzureWebJobs{connection}");
        let set = |key: &str| settings.get(key).filter(|value| !value.trim().is_empty()).map(|v| (key.to_owned(), v));
        let Some((key, text)) = set(&prefixed).or_else(|| set(connection)) else { continue };
        let service = QueueService::parse(text).map_err(|problem| HostError::Config {
            file: "the app settings".to_owned(),
            key,
            problem: problem.to_owned(),
        })?;
        services.insert(connection.to_owned(), service);
    }
    Ok(services)
}

impl QueueService {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const ONLY_EMULATOR: &str = "this host serves the storage emulator on this machine only: write \
             UseDevelopmentStorage=true, or a connection string with a QueueEndpoint on 127.0.0.1";
        let mut parts = BTreeMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or("is not a connection string: name=value;name=value")?;
            parts.insert(name.trim().to_ascii_lowercase(), value.trim());
        }
        if parts.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let endpoint = EMULATOR_QUEUES.to_owned();
            return Ok(Self { endpoint, account: EMULATOR_ACCOUNT.to_owned(), key: decoded(EMULATOR_KEY)? });
        }
        let endpoint = parts.get("queueendpoint").ok_or(ONLY_EMULATOR)?.trim_end_matches('/');
        let url = Url::parse(endpoint).map_err(|_| "QueueEndpoint is not a URL")?;
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "http" || !loopback || url.query().is_some() {
            return Err(ONLY_EMULATOR);
        }
        let account = parts.get("accountname").ok_or("has no AccountName")?;
        let key = decoded(parts.get("accountkey").ok_or("has no AccountKey")?)?;
        Ok(Self { endpoint: endpoint.to_owned(), account: (*account).to_owned(), key })
    }
}

fn decoded(key: &str) -> Result<Vec<u8>, &'static str> {
    BASE64.decode(key).map_err(|_| "AccountKey is not base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<String, String> {
        let settings = HashMap::from([("BlobEvents".to_owned(), text.to_owned())]);
        let services = queue_services(["BlobEvents"], &settings).map_err(|error| error.to_string())?;
        Ok(services.get("BlobEvents").map(|service| service.endpoint.clone()).unwrap_or_default())
    }

    #[test]
    fn connection_strings() {
        let named = |endpoint: &str| {
            format!(
                "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=x;QueueEndpoint={endpoint};"
            )
        };
        assert_eq!(endpoint("UseDevelopmentStorage=true").unwrap(), EMULATOR_QUEUES);
        assert_eq!(endpoint(&named("http://127.0.0.1:7/a/")).unwrap(), "http://127.0.0.1:7/a");
        assert_eq!(endpoint("  ").unwrap(), "", "not set");
        let refused = [
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5;EndpointSuffix=core.windows.net".to_owned(),
            named("https://a.queue.core.windows.net"),
            named("http://10.0.0.1:10001/a"),
            named("http://127.0.0.1.example.com/a"),
            named("http://127.0.0.1:7/a?sig=x"),
        ];
        for text in refused {
            let error = endpoint(&text).unwrap_err();
            assert!(
                error.starts_with("the app settings: BlobEvents: this host serves the storage emulator"),
                "{error}"
            );
            assert!(!error.contains("a2V5"), "{error}");
        }
        assert!(endpoint("QueueEndpoint=http://[::1]:7/a;AccountName=a;AccountKey=?").unwrap_err().contains("base64"));
        assert!(endpoint("hello").unwrap_err().contains("not a connection string"));
    }

    #[test]
    fn the_prefixed_setting_comes_first() {
        let setting = |key: &str, port: u16| {
            (key.to_owned(), format!("AccountName=a;AccountKey=;QueueEndpoint=http://localhost:{port}/a"))
        };
        let settings = HashMap::from([
            setting("BlobEvents", 1),
            setting("AzureWebJobsBlobEvents", 2),
            setting("AzureWebJobsStorage", 3),
        ]);
        let services = queue_services(["BlobEvents", DEFAULT_CONNECTION, "Other"], &settings).unwrap();
        let endpoints: Vec<_> = services.iter().map(|(name, found)| (name.as_str(), &*found.endpoint)).collect();
        assert_eq!(
            endpoints,
            [("AzureWebJobsStorage", "http://localhost:3/a"), ("BlobEvents", "http://localhost:2/a")]
        );
    }
}
