//! Where files are: the lake's root and the landing containers, on Azure, in the storage emulator or on the local disk.
//!
//! Accepted roots: `file:///folder`, `abfss://container@account.dfs.core.windows.net/folder`,
//! `https://account.blob.core.windows.net/[container/folder]`, `az://container/folder` with
//! `AZURE_STORAGE_ACCOUNT_NAME`, and `http://127.0.0.1:<port>/devstoreaccount1/[container/folder]` for Azurite.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};

use crate::azure::AzureContainer;
use crate::container::{Container, Names};
use crate::error::PlatformError;
use crate::folder::Folder;
use crate::identity::StorageIdentity;
use crate::private::PrivateStore;
use crate::root::{EMULATOR_ACCOUNT, Root};
use crate::settings::Settings;

/// No secret: every storage emulator has this key, and Microsoft's documentation prints it.
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The store that holds the tables, and the folder in it.
#[derive(Debug, Clone)]
pub struct LakeRoot {
    pub store: Arc<dyn ObjectStore>,
    pub path: Path,
    /// The same folder as other services in Azure read it: `https://account.dfs.core.windows.net/container/folder`.
    pub https: Option<String>,
}

/// The containers that files land in.
#[derive(Debug)]
pub struct Landing {
    service: Service,
    open: Mutex<HashMap<String, Arc<Container>>>,
}

/// Who serves containers.
#[derive(Debug)]
enum Service {
    Local(PathBuf),
    Azure { account: String, identity: Arc<StorageIdentity> },
    Emulator { endpoint: String },
}

impl LakeRoot {
    pub fn open(settings: &Settings) -> Result<Self, PlatformError> {
        const KEY: &str = "WEIR_LAKE_URL";
        let why =
            "the root of the tables, for example file:///data/lake or abfss://lake@account.dfs.core.windows.net/tables";
        let url = settings.lake_url.as_deref().ok_or(PlatformError::Missing { key: KEY, why })?;
        let (service, container, path) = Service::parse(KEY, url, settings)?;
        let invalid = |message: String| PlatformError::Invalid { key: KEY, message };
        let store = match (service, container) {
            (Service::Local(folder), _) => local(KEY, folder)?,
            (service, Some(container)) => service.container(KEY, &container)?.0,
            (_, None) => return Err(invalid("names no container".to_owned())),
        };
        let https = match Root::parse(KEY, url, settings)? {
            Root::Azure { account, container: Some(container), path } => {
                let folder = format!("https://{account}.dfs.core.windows.net/{container}/{path}");
                Some(folder.trim_end_matches('/').to_owned())
            }
            _ => None,
        };
        Ok(Self { store, path: Path::parse(path).map_err(|error| invalid(error.to_string()))?, https })
    }
}

impl Landing {
    pub fn open(settings: &Settings) -> Result<Self, PlatformError> {
        const KEY: &str = "WEIR_LANDING_URL";
        let why = "where files land, for example file:///data/landing or https://account.blob.core.windows.net";
        let url = settings.landing_url.as_deref().ok_or(PlatformError::Missing { key: KEY, why })?;
        let (service, ..) = Service::parse(KEY, url, settings)?;
        Ok(Self { service, open: Mutex::default() })
    }

    /// The store of one container of the configured account. The account in an event's address is never used.
    ///
    /// A container that does not exist shows when a blob is read: as a retryable error that says so, not as a blob
    /// that is gone.
    pub fn container(&self, container: &str) -> Result<Arc<Container>, PlatformError> {
        const KEY: &str = "WEIR_LANDING_URL";
        check_container(container)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(container) {
            return Ok(Arc::clone(store));
        }
        let (store, names) = self.service.container(KEY, container)?;
        let opened = Arc::new(Container { name: container.to_owned(), key: KEY, store, names });
        open.insert(container.to_owned(), Arc::clone(&opened));
        Ok(opened)
    }
}

impl Service {
    /// Who serves an address, and what of it is a container and a folder.
    fn parse(
        key: &'static str,
        url: &str,
        settings: &Settings,
    ) -> Result<(Self, Option<String>, String), PlatformError> {
        Ok(match Root::parse(key, url, settings)? {
            Root::Local(folder) => (Self::Local(folder), None, String::new()),
            Root::Azure { account, container, path } => {
                let identity = Arc::new(StorageIdentity::new(settings)?);
                (Self::Azure { account, identity }, container, path)
            }
            Root::Emulator { endpoint, container, path } => (Self::Emulator { endpoint }, container, path),
        })
    }

    /// A container's store, and whoever knows its blobs by their real names.
    fn container(&self, key: &'static str, container: &str) -> Result<(Arc<dyn ObjectStore>, Names), PlatformError> {
        let failed = |error: object_store::Error| PlatformError::Invalid { key, message: error.to_string() };
        let builder = MicrosoftAzureBuilder::new().with_container_name(container);
        let (builder, endpoint, account, options) = match self {
            Self::Local(root) => {
                let root = root.join(container);
                return Ok((local(key, root.clone())?, Names::Folder(Folder { root })));
            }
            Self::Azure { account, identity } => {
                let builder = builder.with_account(account).with_credentials(Arc::clone(identity) as _);
                let endpoint = format!("https://{account}.blob.core.windows.net");
                (builder, endpoint, account.clone(), ClientOptions::new())
            }
            // Not `with_use_emulator`: it ignores the endpoint.
            Self::Emulator { endpoint } => {
                let builder = builder.with_endpoint(endpoint.clone()).with_allow_http(true);
                let builder = builder.with_account(EMULATOR_ACCOUNT).with_access_key(EMULATOR_KEY);
                (builder, endpoint.clone(), EMULATOR_ACCOUNT.to_owned(), ClientOptions::new().with_allow_http(true))
            }
        };
        let store = builder.build().map_err(failed)?;
        let client = ReqwestConnector::default().connect(&options).map_err(failed)?;
        let (url, credentials) = (format!("{endpoint}/{container}"), Arc::clone(store.credentials()));
        Ok((Arc::new(store), Names::Azure(AzureContainer { url, account, credentials, client })))
    }
}

/// Azure's rule for container names; it also keeps a local container inside the landing folder.
fn check_container(container: &str) -> Result<(), PlatformError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'$';
    let valid = (1..=63).contains(&container.len()) && container.bytes().all(allowed);
    let message = || "not a container name (lower-case letters, digits and hyphens)".to_owned();
    if valid { Ok(()) } else { Err(PlatformError::Store { what: "container of the event", message: message() }) }
}

fn local(key: &'static str, folder: PathBuf) -> Result<Arc<dyn ObjectStore>, PlatformError> {
    let failed = |message: String| PlatformError::Invalid { key, message };
    let store = PrivateStore::new(folder).map_err(|error| failed(format!("cannot open the folder: {error}")))?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_cannot_leave_the_landing_folder() {
        for name in ["..", "a/b", "", ".", "A", "a b"] {
            assert!(check_container(name).is_err(), "{name}");
        }
        assert!(check_container("landing").is_ok());
    }

    #[test]
    fn tables_are_not_put_into_an_account_without_a_container() {
        let settings = |url: &str| Settings { lake_url: Some(url.to_owned()), ..Settings::default() };
        let open = |url: &str| LakeRoot::open(&settings(url)).map(|root| root.path).map_err(|error| error.to_string());
        let emulator = "http://127.0.0.1:10000/devstoreaccount1";
        assert_eq!(open(emulator), Err("setting `WEIR_LAKE_URL`: names no container".to_owned()));
        assert_eq!(open(&format!("{emulator}/lake/tables/a")), Ok(Path::from("tables/a")));
    }
}
