//! Settings: environment variables, because that is what Functions app settings are. Parsed once; an unknown `WEIR_`
//! key is an error that names the nearest known one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::PlatformError;

/// A value that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Everything the environment says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Root of the tables.
    pub lake_url: Option<String>,
    /// Root of the containers that files land in.
    pub landing_url: Option<String>,
    /// Folder of contracts.
    pub datasets: Option<PathBuf>,
    /// Where rows are loaded; may hold a password.
    pub warehouse_url: Option<Secret>,
    /// Key of the pseudonyms: 32 bytes, base64 or hex.
    pub pseudonym_key: Option<Secret>,
    /// Keys that tasks are signed with: 32 bytes, base64 or hex; a second one after a comma still counts.
    pub task_key: Option<Secret>,
    /// Bytes in flight over all invocations.
    pub memory_budget_bytes: u64,
    /// A larger request body goes through a temporary file, if it is a batch of events.
    pub max_body_bytes: u64,
    /// An invocation ends before it; `None` derives it from `functionTimeout`.
    pub deadline: Option<Duration>,
    /// How long appends wait for one another at most, when others came lately; `None` is the lake's own.
    pub linger: Option<Duration>,
    /// `json` or `text`.
    pub log_format: LogFormat,
    /// Filter of log lines, in `tracing` syntax.
    pub log_filter: Option<String>,
    pub port: Option<u16>,
    /// Where the Functions host runs the app; the app root holds `host.json`.
    pub app_root: Option<PathBuf>,
    /// Set by AWS Lambda; its presence makes the app serve Lambda.
    pub lambda: bool,
    /// What callers must show under Lambda; without it all of them are refused.
    pub lambda_key: Option<Secret>,
    /// Client id of the user-assigned identity.
    pub client_id: Option<String>,
    /// Where App Service and Functions hand out tokens; its presence means a managed identity.
    pub identity_endpoint: Option<String>,
    pub storage_account: Option<String>,
    /// How the app itself reads hubs: a connection string, or the namespace's full name.
    pub event_hub: Option<Secret>,
    pub event_hub_namespace: Option<String>,
    /// The consumer group for it: the host is the only reader in its own.
    pub replay_group: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

const LAKE_URL: &str = "WEIR_LAKE_URL";
const LANDING_URL: &str = "WEIR_LANDING_URL";
const DATASETS: &str = "WEIR_DATASETS";
const WAREHOUSE_URL: &str = "WEIR_WAREHOUSE_URL";
const PSEUDONYM_KEY: &str = "WEIR_PSEUDONYM_KEY";
const TASK_KEY: &str = "WEIR_TASK_KEY";
const MEMORY_BUDGET_MB: &str = "WEIR_MEMORY_BUDGET_MB";
const DEADLINE_S: &str = "WEIR_DEADLINE_S";
const LINGER_MS: &str = "WEIR_LINGER_MS";
const MAX_BODY_MB: &str = "WEIR_MAX_BODY_MB";
const REPLAY_GROUP: &str = "WEIR_REPLAY_GROUP";
const LAMBDA_KEY: &str = "WEIR_LAMBDA_KEY";
const LOG_FORMAT: &str = "WEIR_LOG_FORMAT";
const LOG_FILTER: &str = "WEIR_LOG";

const KNOWN: [&str; 14] = [
    LAKE_URL,
    LANDING_URL,
    DATASETS,
    WAREHOUSE_URL,
    PSEUDONYM_KEY,
    TASK_KEY,
    MEMORY_BUDGET_MB,
    DEADLINE_S,
    LINGER_MS,
    MAX_BODY_MB,
    REPLAY_GROUP,
    LAMBDA_KEY,
    LOG_FORMAT,
    LOG_FILTER,
];
/// Keys of the test suites, which a developer may have set while running the app.
const TEST_PREFIX: &str = "WEIR_TEST_";

impl Settings {
    /// Reads the environment: the only place that does.
    #[allow(clippy::disallowed_methods)] // this is the place
    pub fn from_env() -> Result<Self, PlatformError> {
        Self::parse(std::env::vars())
    }

    /// The environment, and `KEY=value` lines for what it does not set. A line may begin with `export `, a value may stand in
    /// quotes; blank lines and those that begin with `#` say nothing.
    #[allow(clippy::disallowed_methods)] // this is the place
    pub fn from_env_and(lines: &str) -> Result<Self, PlatformError> {
        let mut variables: BTreeMap<String, String> = env_lines(lines).collect();
        variables.extend(std::env::vars());
        Self::parse(variables)
    }

    /// # Errors
    /// An unknown or unreadable `WEIR_` key, an unresolved Key Vault reference.
    pub fn parse(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, PlatformError> {
        let mut settings = Self::default();
        for (key, value) in variables {
            if !key.starts_with("WEIR_") {
                settings.ecosystem(&key, value)?;
                continue;
            }
            if value.starts_with("@Microsoft.KeyVault(") {
                return Err(PlatformError::UnresolvedReference { key });
            }
            let value = value.trim().to_owned();
            if value.is_empty() {
                continue;
            }
            match key.as_str() {
                LAKE_URL => settings.lake_url = Some(value),
                LANDING_URL => settings.landing_url = Some(value),
                DATASETS => settings.datasets = Some(value.into()),
                WAREHOUSE_URL => settings.warehouse_url = Some(Secret::new(value)),
                PSEUDONYM_KEY => settings.pseudonym_key = Some(Secret::new(value)),
                TASK_KEY => settings.task_key = Some(Secret::new(value)),
                MEMORY_BUDGET_MB => {
                    settings.memory_budget_bytes = number(MEMORY_BUDGET_MB, &value, 64, 1_048_576)? * 1024 * 1024;
                }
                DEADLINE_S => {
                    settings.deadline = Some(Duration::from_secs(number(DEADLINE_S, &value, 1, 86_400)?));
                }
                LINGER_MS => {
                    settings.linger = Some(Duration::from_millis(number(LINGER_MS, &value, 0, 60_000)?));
                }
                MAX_BODY_MB => settings.max_body_bytes = number(MAX_BODY_MB, &value, 1, 1_024)? * 1024 * 1024,
                REPLAY_GROUP => settings.replay_group = value,
                LAMBDA_KEY => settings.lambda_key = Some(lambda_key(value)?),
                LOG_FORMAT => settings.log_format = log_format(&value)?,
                LOG_FILTER => settings.log_filter = Some(value),
                _ if key.starts_with(TEST_PREFIX) => {}
                _ => {
                    let suggestion = nearest(&key);
                    return Err(PlatformError::Unknown { key, suggestion });
                }
            }
        }
        Ok(settings)
    }

    fn ecosystem(&mut self, key: &str, value: String) -> Result<(), PlatformError> {
        let set = Some(value.clone()).filter(|value| !value.is_empty());
        match key {
            "FUNCTIONS_CUSTOMHANDLER_PORT" => {
                let invalid = |_| PlatformError::Invalid {
                    key: "FUNCTIONS_CUSTOMHANDLER_PORT",
                    message: "not a port number".to_owned(),
                };
                self.port = Some(value.parse().map_err(invalid)?);
            }
            "FUNCTIONS_APP_ROOT_PATH" => self.app_root = set.map(PathBuf::from),
            "AWS_LAMBDA_RUNTIME_API" => self.lambda = set.is_some(),
            "AZURE_CLIENT_ID" => self.client_id = set,
            "AZURE_STORAGE_ACCOUNT_NAME" => self.storage_account = set,
            "EventHub" => self.event_hub = set.map(Secret::new),
            "EventHub__fullyQualifiedNamespace" => self.event_hub_namespace = set,
            "IDENTITY_ENDPOINT" => self.identity_endpoint = set,
            _ => {}
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lake_url: None,
            landing_url: None,
            datasets: None,
            warehouse_url: None,
            pseudonym_key: None,
            task_key: None,
            memory_budget_bytes: 1024 * 1024 * 1024,
            max_body_bytes: 256 * 1024 * 1024,
            deadline: None,
            linger: None,
            log_format: LogFormat::Json,
            log_filter: None,
            port: None,
            app_root: None,
            lambda: false,
            lambda_key: None,
            client_id: None,
            identity_endpoint: None,
            storage_account: None,
            event_hub: None,
            event_hub_namespace: None,
            replay_group: "weir-replay".to_owned(),
        }
    }
}

fn env_lines(lines: &str) -> impl Iterator<Item = (String, String)> {
    let said = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    said.filter_map(|line| {
        let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let value = value.trim();
        let bare = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        Some((key.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    })
}

fn number(key: &'static str, value: &str, min: u64, max: u64) -> Result<u64, PlatformError> {
    let parsed = value.parse().ok().filter(|number| (min..=max).contains(number));
    parsed.ok_or_else(|| PlatformError::Invalid { key, message: format!("must be a whole number from {min} to {max}") })
}

/// Long enough that nobody finds it by trying.
const MIN_LAMBDA_KEY: usize = 32;

fn lambda_key(value: String) -> Result<Secret, PlatformError> {
    let kinds: std::collections::BTreeSet<char> = value.chars().collect();
    if value.len() < MIN_LAMBDA_KEY || kinds.len() < MIN_LAMBDA_KEY / 4 {
        let message =
            format!("must have at least {MIN_LAMBDA_KEY} random characters, such as `openssl rand -base64 32` makes");
        return Err(PlatformError::Invalid { key: LAMBDA_KEY, message });
    }
    Ok(Secret::new(value))
}

fn log_format(value: &str) -> Result<LogFormat, PlatformError> {
    match value {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(PlatformError::Invalid { key: LOG_FORMAT, message: "must be `json` or `text`".to_owned() }),
    }
}

fn nearest(key: &str) -> Option<&'static str> {
    let near = KNOWN.iter().map(|known| (strsim::damerau_levenshtein(key, known), *known)).min();
    near.filter(|(distance, _)| *distance <= 4).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Settings::parse(pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_it_knows_and_ignores_what_is_not_its_own() {
        let settings = parse(&[
            ("WEIR_LAKE_URL", "file:///lake"),
            ("WEIR_MEMORY_BUDGET_MB", "512"),
            ("WEIR_DEADLINE_S", "30"),
            ("WEIR_TEST_SYNAPSE_URL", "x"),
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "7071"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(settings.lake_url.as_deref(), Some("file:///lake"));
        assert_eq!(settings.memory_budget_bytes, 512 * 1024 * 1024);
        assert_eq!(settings.deadline, Some(Duration::from_secs(30)));
        assert_eq!(settings.port, Some(7071));
    }

    #[test]
    fn refuses_with_the_key_and_what_to_do() {
        let cases = [
            (("WEIR_LAKE_ULR", "x"), "setting `WEIR_LAKE_ULR` is not known; did you mean `WEIR_LAKE_URL`?"),
            (("WEIR_QQQQQQQQQQQQ", "x"), "setting `WEIR_QQQQQQQQQQQQ` is not known"),
            (
                ("WEIR_MEMORY_BUDGET_MB", "lots"),
                "setting `WEIR_MEMORY_BUDGET_MB`: must be a whole number from 64 to 1048576",
            ),
            (
                ("WEIR_LAMBDA_KEY", "short"),
                "setting `WEIR_LAMBDA_KEY`: must have at least 32 random characters, such as `openssl rand -base64 32` makes",
            ),
            (
                ("WEIR_LAMBDA_KEY", "00000000000000000000000000000000"),
                "setting `WEIR_LAMBDA_KEY`: must have at least 32 random characters, such as `openssl rand -base64 32` makes",
            ),
            (("WEIR_LOG_FORMAT", "xml"), "setting `WEIR_LOG_FORMAT`: must be `json` or `text`"),
            (
                ("WEIR_PSEUDONYM_KEY", "@Microsoft.KeyVault(SecretUri=https://v/s)"),
                "setting `WEIR_PSEUDONYM_KEY`: the Key Vault reference was not resolved; check that the app's identity \
                 may read the secret",
            ),
        ];
        for (pair, message) in cases {
            assert_eq!(parse(&[pair]).unwrap_err(), message);
        }
    }

    #[test]
    fn a_file_of_settings_is_lines_of_keys_and_values() {
        let lines = "# dev\n\nexport WEIR_LAKE_URL=\"file:///a b\"\nWEIR_DATASETS = datasets\nWEIR_LOG='info'\n";
        let found: Vec<_> = env_lines(lines).collect();
        let expected = [("WEIR_LAKE_URL", "file:///a b"), ("WEIR_DATASETS", "datasets"), ("WEIR_LOG", "info")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_secret_is_never_shown() {
        for key in ["WEIR_PSEUDONYM_KEY", "WEIR_WAREHOUSE_URL", "EventHub"] {
            let settings = parse(&[(key, "hunter2")]).unwrap();
            assert!(!format!("{settings:?}").contains("hunter2"), "{key}");
        }
    }
}
