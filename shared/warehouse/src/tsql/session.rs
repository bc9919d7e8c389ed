//! A connection to a pool over TDS: batches of text out, rows of text back.
//!
//! Every statement goes as a plain batch: a dedicated pool refuses what drivers send for parameters. The driver follows
//! the gateway's redirects; limits of time are ours.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mssql_client::{Client, Config, Credentials, Ready, RetryPolicy, SqlValue, TimeoutConfig};

use super::address::{Address, Login};
use crate::{AccessTokens, Error};

/// One statement, `COPY INTO` of a large plan included.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3_600);
/// A serverless gateway wakes up slowly.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A row of a result, as text.
pub type Row = Vec<Option<String>>;

/// What the loader needs of a connection. An open transaction ends with it.
#[async_trait]
pub trait Session: Send {
    /// `doing` is for the error.
    async fn rows(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error>;

    /// Returns how many rows the server says it changed.
    async fn execute(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error>;
}

/// Makes connections. Tests put theirs between the loader and an engine.
#[async_trait]
pub trait Connect: Send + Sync + std::fmt::Debug {
    async fn connect(&self) -> Result<Box<dyn Session>, Error>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Tds {
    address: Address,
    tokens: Option<Arc<dyn AccessTokens>>,
}

impl Tds {
    pub(crate) fn new(address: Address, tokens: Option<Arc<dyn AccessTokens>>) -> Self {
        Self { address, tokens }
    }

    async fn credentials(&self) -> Result<Credentials, Error> {
        match &self.address.login {
            Login::Password { user, password } => {
                Ok(Credentials::SqlServer { username: user.clone().into(), password: password.clone().into() })
            }
            Login::Token => {
                let tokens = self.tokens.as_ref().ok_or(Error::NoIdentity)?;
                let token = tokens.token().await.map_err(Error::Token)?;
                Ok(Credentials::AzureAccessToken { token: token.into() })
            }
        }
    }
}

#[async_trait]
impl Connect for Tds {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let timeouts = TimeoutConfig::new()
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_timeout(CONNECT_TIMEOUT)
            .login_timeout(LOGIN_TIMEOUT)
            .command_timeout(Duration::ZERO);
        // Whoever calls tries again, with a new plan; a driver's own attempts would hide how long that takes.
        let config = Config::new()
            .host(self.address.host.clone())
            .port(self.address.port)
            .database(self.address.database.clone())
            .application_name("weir")
            .credentials(self.credentials().await?)
            .timeouts(timeouts)
            .retry(RetryPolicy::no_retry())
            .encrypt(!self.address.plain)
            .no_tls(self.address.plain);
        let client = Client::connect(config).await.map_err(|source| Error::tds("connecting to the pool", source))?;
        Ok(Box::new(TdsSession { client }))
    }
}

struct TdsSession {
    client: Client<Ready>,
}

#[async_trait]
impl Session for TdsSession {
    async fn rows(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        let read = async {
            let mut results = self.client.query_multiple(sql, &[]).await?;
            let mut rows = Vec::new();
            while let Some(row) = results.next_row().await? {
                rows.push((0..row.len()).map(|index| row.get_raw(index).and_then(text)).collect());
            }
            Ok(rows)
        };
        within(doing, read).await
    }

    async fn execute(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        within(doing, self.client.execute(sql, &[])).await
    }
}

/// Texts and whole numbers, which is all that the loader asks for.
fn text(value: SqlValue) -> Option<String> {
    match value {
        SqlValue::String(text) => Some(text),
        SqlValue::TinyInt(number) => Some(number.to_string()),
        SqlValue::SmallInt(number) => Some(number.to_string()),
        SqlValue::Int(number) => Some(number.to_string()),
        SqlValue::BigInt(number) => Some(number.to_string()),
        _ => None,
    }
}

async fn within<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, mssql_client::Error>> + Send,
) -> Result<T, Error> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
        Ok(done) => done.map_err(|source| Error::tds(doing, source)),
        Err(_) => Err(Error::TimedOut { doing, seconds: STATEMENT_TIMEOUT.as_secs() }),
    }
}
