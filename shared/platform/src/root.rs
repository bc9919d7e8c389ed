//! What `WEIR_LAKE_URL` and `WEIR_LANDING_URL` may say.
//!
//! Credentials and plain http meet only on this machine: http is for the storage emulator, whose one key is public.

use std::path::PathBuf;

use url::{Host, Url};

use crate::error::PlatformError;
use crate::settings::Settings;

/// The one account of the storage emulator (Azurite).
pub(crate) const EMULATOR_ACCOUNT: &str = "devstoreaccount1";

/// A root of the lake or of the landing containers, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    /// A folder; its sub-folders are the containers.
    Local(PathBuf),
    Azure {
        account: String,
        container: Option<String>,
        path: String,
    },
    Emulator {
        /// `http://host:port/devstoreaccount1`.
        endpoint: String,
        container: Option<String>,
        path: String,
    },
}

impl Root {
    pub(crate) fn parse(key: &'static str, text: &str, settings: &Settings) -> Result<Self, PlatformError> {
        let invalid = |message: &str| PlatformError::Invalid { key, message: message.to_owned() };
        let url = Url::parse(text).map_err(|_| invalid("not a URL; a local folder is written file:///folder"))?;
        if url.password().is_some() || url.query().is_some() {
            return Err(invalid("must hold no key or token; access is by identity"));
        }
        let host = url.host_str().unwrap_or_default();
        let path = url.path().trim_matches('/').to_owned();
        match url.scheme() {
            "file" => url.to_file_path().map(Self::Local).map_err(|()| invalid("not an absolute path")),
            "az" => {
                let account = settings.storage_account.clone();
                let account = account.ok_or_else(|| invalid("az:// needs AZURE_STORAGE_ACCOUNT_NAME"))?;
                Ok(Self::Azure { account, container: Some(host.to_owned()), path })
            }
            "abfss" => {
                let account = host.strip_suffix(".dfs.core.windows.net");
                let account = account.ok_or_else(|| invalid("the host is not <account>.dfs.core.windows.net"))?;
                Ok(Self::Azure { account: account.to_owned(), container: Some(url.username().to_owned()), path })
            }
            "https" => {
                let account = host.strip_suffix(".blob.core.windows.net");
                let account = account.ok_or_else(|| invalid("the host is not <account>.blob.core.windows.net"))?;
                let (container, path) = split_container(&path);
                Ok(Self::Azure { account: account.to_owned(), container, path })
            }
            "http" => emulator(&url).map_err(invalid),
            _ => Err(invalid("the scheme is not one of file, abfss, https, az (and http for the storage emulator)")),
        }
    }
}

fn emulator(url: &Url) -> Result<Root, &'static str> {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if !loopback {
        return Err("plain http is for the storage emulator on this machine; an account is reached by https");
    }
    let path = url.path().trim_matches('/');
    let (account, path) = path.split_once('/').unwrap_or((path, ""));
    if account != EMULATOR_ACCOUNT || !url.username().is_empty() {
        return Err("not the storage emulator's account; it is written http://127.0.0.1:10000/devstoreaccount1");
    }
    let (container, path) = split_container(path);
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    Ok(Root::Emulator { endpoint: format!("http://{host}:{port}/{account}"), container, path })
}

fn split_container(path: &str) -> (Option<String>, String) {
    let (container, path) = path.split_once('/').unwrap_or((path, ""));
    ((!container.is_empty()).then(|| container.to_owned()), path.to_owned())
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
        let emulator = |host: &str, container: Option<&str>, path: &str| Root::Emulator {
            endpoint: format!("http://{host}/devstoreaccount1"),
            container: container.map(str::to_owned),
            path: path.to_owned(),
        };
        let not_here = "plain http is for the storage emulator on this machine; an account is reached by https";
        let not_its_account =
            "not the storage emulator's account; it is written http://127.0.0.1:10000/devstoreaccount1";
        let cases = [
            ("file:///data/lake", Ok(Root::Local("/data/lake".into()))),
            ("abfss://lake@acct.dfs.core.windows.net/tables", Ok(azure(Some("lake"), "tables"))),
            ("https://acct.blob.core.windows.net/", Ok(azure(None, ""))),
            ("https://acct.blob.core.windows.net/in/a/b", Ok(azure(Some("in"), "a/b"))),
            ("az://lake/tables", Ok(azure(Some("lake"), "tables"))),
            ("http://127.0.0.1:10000/devstoreaccount1", Ok(emulator("127.0.0.1:10000", None, ""))),
            ("http://localhost:10000/devstoreaccount1/in/", Ok(emulator("localhost:10000", Some("in"), ""))),
            ("http://[::1]:1/devstoreaccount1/in/a/b", Ok(emulator("[::1]:1", Some("in"), "a/b"))),
            ("http://127.0.0.1/devstoreaccount1/in", Ok(emulator("127.0.0.1:80", Some("in"), ""))),
            ("http://acct.blob.core.windows.net/in", Err(not_here)),
            ("http://10.0.0.1:10000/devstoreaccount1", Err(not_here)),
            ("http://127.0.0.1.example.com/devstoreaccount1", Err(not_here)),
            ("http://localhost.example.com/devstoreaccount1", Err(not_here)),
            ("http://devstoreaccount1.blob.localhost:10000/in", Err(not_here)),
            ("http://127.0.0.1:10000/acct/in", Err(not_its_account)),
            ("http://127.0.0.1:10000", Err(not_its_account)),
            ("http://me@127.0.0.1:10000/devstoreaccount1", Err(not_its_account)),
            (
                "http://127.0.0.1:10000/devstoreaccount1/in?sig=x",
                Err("must hold no key or token; access is by identity"),
            ),
            ("https://127.0.0.1:10000/devstoreaccount1", Err("the host is not <account>.blob.core.windows.net")),
            ("https://evil.example.com/in", Err("the host is not <account>.blob.core.windows.net")),
            ("https://acct.blob.core.windows.net/in?sig=x", Err("must hold no key or token; access is by identity")),
            ("s3://bucket", Err("the scheme is not one of file, abfss, https, az (and http for the storage emulator)")),
            ("lake", Err("not a URL; a local folder is written file:///folder")),
        ];
        for (text, expected) in cases {
            let found = Root::parse("WEIR_LAKE_URL", text, &settings).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(|message| format!("setting `WEIR_LAKE_URL`: {message}")), "{text}");
        }
    }
}
