#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Somebody has to change a setting.
    Configuration,
    /// The identity service or the store did not answer, or a container is missing: the same call may succeed later.
    Retryable,
}

/// Errors of settings, identity and stores. Values of settings are shown only where they cannot be secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    #[error("setting `{key}` is needed: {why}")]
    Missing { key: &'static str, why: &'static str },
    #[error("setting `{key}` is not known{}", suggestion.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown { key: String, suggestion: Option<&'static str> },
    #[error("setting `{key}`: {message}")]
    Invalid { key: &'static str, message: String },
    #[error(
        "setting `{key}`: the Key Vault reference was not resolved; check that the app's identity may read the secret"
    )]
    UnresolvedReference { key: String },
    #[error("container `{container}` does not exist where `{key}` points: create it, or correct the setting")]
    NoContainer { key: &'static str, container: String },
    #[error("{what}: {message}")]
    Store { what: &'static str, message: String },
}

impl PlatformError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { .. } | Self::NoContainer { .. } => ErrorKind::Retryable,
            Self::Missing { .. } | Self::Unknown { .. } | Self::Invalid { .. } | Self::UnresolvedReference { .. } => {
                ErrorKind::Configuration
            }
        }
    }
}
