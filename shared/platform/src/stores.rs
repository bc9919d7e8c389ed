//! Where files are: the lake's root and the landing containers, on Azure or on the local disk.
//!
//! Accepted roots: `file:///folder`, `abfss://container@account.dfs.core.windows.net/folder`,
//! `https://account.blob.core.windows.net/[container/folder]`, and `az://container/folder` with
//! `AZURE_STORAGE_ACCOUNT_NAME`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use crate::error::PlatformError;
use crate::identity::StorageIdentity;
use crate::settings::Settings;

/// The store that holds the tables, and the folder in it.
#[derive(Debug, Clone)]
pub struct LakeRoot {
    pub store: Arc<dyn ObjectStore>,
    pub path: Path,
}

/// The containers that files land in.
#[derive(Debug)]
pub struct Landing {
    root: Root,
    identity: Option<Arc<StorageIdentity>>,
    open: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    /// A folder; its sub-folders are the containers.
    Local(PathBuf),
    Azure {
        account: String,
        container: Option<String>,
        path: String,
    },
}

impl LakeRoot {
    pub fn open(settings: &Settings) -> Result<Self, PlatformError> {
        const KEY: &str = "WEIR_LAKE_URL";
        let why =
            "the root of the tables, for example file:///data/lake or abfss://lake@account.dfs.core.windows.net/tables";
        let url = settings.lake_url.as_deref().ok_or(PlatformError::Missing { key: KEY, why })?;
        match parse(KEY, url, settings)? {
            Root::Local(folder) => Ok(Self { store: local(KEY, folder)?, path: Path::default() }),
            Root::Azure { container: None, .. } => {
                Err(PlatformError::Invalid { key: KEY, message: "names no container".to_owned() })
            }
            Root::Azure { account, container: Some(container), path } => {
                let path = Path::parse(path)
                    .map_err(|error| PlatformError::Invalid { key: KEY, message: error.to_string() })?;
                let identity = Arc::new(StorageIdentity::new(settings)?);
                Ok(Self { store: azure(KEY, &account, &container, identity)?, path })
            }
        }
    }
}

impl Landing {
    pub fn open(settings: &Settings) -> Result<Self, PlatformError> {
        const KEY: &str = "WEIR_LANDING_URL";
        let why = "where files land, for example file:///data/landing or https://account.blob.core.windows.net";
        let url = settings.landing_url.as_deref().ok_or(PlatformError::Missing { key: KEY, why })?;
        let root = parse(KEY, url, settings)?;
        let identity = match root {
            Root::Local(_) => None,
            Root::Azure { .. } => Some(Arc::new(StorageIdentity::new(settings)?)),
        };
        Ok(Self { root, identity, open: Mutex::default() })
    }

    /// Whether listings come in the order of names, as Azure gives them: then a listing can be continued after a name.
    pub fn lists_in_order(&self) -> bool {
        matches!(self.root, Root::Azure { .. })
    }

    /// The store of one container of the configured account. The account in an event's address is never used.
    pub fn container(&self, container: &str) -> Result<Arc<dyn ObjectStore>, PlatformError> {
        const KEY: &str = "WEIR_LANDING_URL";
        check_container(container)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(container) {
            return Ok(Arc::clone(store));
        }
        let store = match (&self.root, &self.identity) {
            (Root::Azure { account, .. }, Some(identity)) => azure(KEY, account, container, Arc::clone(identity))?,
            (Root::Local(root), _) => local(KEY, root.join(container))?,
            (Root::Azure { .. }, None) => {
                return Err(PlatformError::Store { what: "identity", message: "none was set up".to_owned() });
            }
        };
        open.insert(container.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

/// Azure's rule for container names; it also keeps a local container inside the landing folder.
fn check_container(container: &str) -> Result<(), PlatformError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'$';
    let valid = (1..=63).contains(&container.len()) && container.bytes().all(allowed);
    let message = || "not a container name (lower-case letters, digits and hyphens)".to_owned();
    if valid { Ok(()) } else { Err(PlatformError::Store { what: "container of the event", message: message() }) }
}

fn parse(key: &'static str, text: &str, settings: &Settings) -> Result<Root, PlatformError> {
    let invalid = |message: &str| PlatformError::Invalid { key, message: message.to_owned() };
    let url = Url::parse(text).map_err(|_| invalid("not a URL; a local folder is written file:///folder"))?;
    if url.password().is_some() || url.query().is_some() {
        return Err(invalid("must hold no key or token; access is by identity"));
    }
    let host = url.host_str().unwrap_or_default();
    let path = url.path().trim_matches('/').to_owned();
    match url.scheme() {
        "file" => url.to_file_path().map(Root::Local).map_err(|()| invalid("not an absolute path")),
        "az" => {
            let account = settings.storage_account.clone();
            let account = account.ok_or_else(|| invalid("az:// needs AZURE_STORAGE_ACCOUNT_NAME"))?;
            Ok(Root::Azure { account, container: Some(host.to_owned()), path })
        }
        "abfss" => {
            let account = host.strip_suffix(".dfs.core.windows.net");
            let account = account.ok_or_else(|| invalid("the host is not <account>.dfs.core.windows.net"))?;
            Ok(Root::Azure { account: account.to_owned(), container: Some(url.username().to_owned()), path })
        }
        "https" => {
            let account = host.strip_suffix(".blob.core.windows.net");
            let account = account.ok_or_else(|| invalid("the host is not <account>.blob.core.windows.net"))?;
            let (container, path) = path.split_once('/').unwrap_or((path.as_str(), ""));
            let container = (!container.is_empty()).then(|| container.to_owned());
            Ok(Root::Azure { account: account.to_owned(), container, path: path.to_owned() })
        }
        _ => Err(invalid("the scheme is not one of file, abfss, https, az")),
    }
}

fn local(key: &'static str, folder: PathBuf) -> Result<Arc<dyn ObjectStore>, PlatformError> {
    let failed = |message: String| PlatformError::Invalid { key, message };
    std::fs::create_dir_all(&folder).map_err(|error| failed(format!("cannot create the folder: {error}")))?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(error.to_string()))?;
    Ok(Arc::new(store))
}

fn azure(
    key: &'static str,
    account: &str,
    container: &str,
    identity: Arc<StorageIdentity>,
) -> Result<Arc<dyn ObjectStore>, PlatformError> {
    let store = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_credentials(identity)
        .build()
        .map_err(|error| PlatformError::Invalid { key, message: error.to_string() })?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        let settings = Settings { storage_account: Some("acct".to_owned()), ..Settings::default() };
        let azure = |container: Option<&str>, path: &str| Root::Azure {
            account: "acct".to_owned(),
            container: container.map(str::to_owned),
            path: path.to_owned(),
        };
        let cases = [
            ("file:///data/lake", Ok(Root::Local("/data/lake".into()))),
            ("abfss://lake@acct.dfs.core.windows.net/tables", Ok(azure(Some("lake"), "tables"))),
            ("https://acct.blob.core.windows.net/", Ok(azure(None, ""))),
            ("https://acct.blob.core.windows.net/in/a/b", Ok(azure(Some("in"), "a/b"))),
            ("az://lake/tables", Ok(azure(Some("lake"), "tables"))),
            ("https://evil.example.com/in", Err("the host is not <account>.blob.core.windows.net")),
            ("https://acct.blob.core.windows.net/in?sig=x", Err("must hold no key or token; access is by identity")),
            ("s3://bucket", Err("the scheme is not one of file, abfss, https, az")),
            ("lake", Err("not a URL; a local folder is written file:///folder")),
        ];
        for (text, expected) in cases {
            let found = parse("WEIR_LAKE_URL", text, &settings).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(|message| format!("setting `WEIR_LAKE_URL`: {message}")), "{text}");
        }
    }

    #[test]
    fn a_container_cannot_leave_the_landing_folder() {
        for name in ["..", "a/b", "", ".", "A", "a b"] {
            assert!(check_container(name).is_err(), "{name}");
        }
        assert!(check_container("landing").is_ok());
    }
}
