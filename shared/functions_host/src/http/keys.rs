//! Function keys: made once, kept in `<data_dir>/host-keys.json`, never logged.

use std::{fmt, io::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE as BASE64_URL};
use serde::{Deserialize, Serialize};

use crate::{config::AuthLevel, error::HostError};

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Keys {
    /// For every function with authLevel `function`.
    pub(crate) function_key: String,
    /// For authLevel `admin`, the admin routes, and every function.
    pub(crate) master_key: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys(redacted)")
    }
}

impl Keys {
    pub(crate) fn open(path: &Path) -> Result<Self, HostError> {
        match std::fs::read(path) {
            Ok(content) => {
                serde_json::from_slice(&content).map_err(|_| HostError::Corrupt { path: path.to_owned(), position: 0 })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let keys = Self { function_key: random_key(), master_key: random_key() };
                keys.write(path)?;
                Ok(keys)
            }
            Err(error) => Err(HostError::io("read", path)(error)),
        }
    }

    pub(crate) fn allow(&self, level: AuthLevel, given: Option<&str>) -> bool {
        let is = |key: &str| given.is_some_and(|given| same(given, key));
        match level {
            AuthLevel::Anonymous => true,
            AuthLevel::Function => is(&self.function_key) | is(&self.master_key),
            AuthLevel::Admin => is(&self.master_key),
        }
    }

    /// The name of the key that was given, and the level that it opens.
    pub(crate) fn identify(&self, given: Option<&str>) -> Option<(&'static str, AuthLevel)> {
        let is = |key: &str| given.is_some_and(|given| same(given, key));
        match (is(&self.master_key), is(&self.function_key)) {
            (true, _) => Some(("master", AuthLevel::Admin)),
            (_, true) => Some(("default", AuthLevel::Function)),
            _ => None,
        }
    }

    fn write(&self, path: &Path) -> Result<(), HostError> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let content = serde_json::to_vec(self).map_err(|error| HostError::io("write", path)(error.into()))?;
        options.open(path).and_then(|mut file| file.write_all(&content)).map_err(HostError::io("write", path))
    }
}

fn random_key() -> String {
    BASE64_URL.encode(rand::random::<[u8; 32]>())
}

/// Takes the same time wherever the first difference is.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
