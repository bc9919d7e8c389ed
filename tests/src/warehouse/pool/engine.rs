//! A T-SQL engine behind TDS (`iridium_server`), and the one place where what it lacks is made up for.
//!
//! [`Intercepted`] stands between loader and engine. It passes statements on as they are, but for:
//! - `COPY INTO`: the listed Parquet files are read from the lake, and their columns go into the staging table **by place**,
//!   as a pool does it, so that a wrong list of files or a wrong order of columns fails;
//! - `RENAME OBJECT`, which becomes `sp_rename`; `CREATE STATISTICS`, which is passed over;
//! - words that the engine does not parse: `WITH (HEAP, …)`, `WITH (DISTRIBUTION = …)`, `OPTION (LABEL = …)`, `COLLATE …`;
//!   a cast that cuts is written `LEFT`, `COUNT_BIG` is written `COUNT`, and `nvarchar(max)` has a length, because the engine's answers with it are broken;
//! - it gives no tables for "older than a day", because its dates of tables are none;
//! - its "lock conflict (no-wait)", which a pool would wait out: told as 1222, a lock's time-out.
//!
//! It also breaks connections where a test wants it to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use iridium_core::Database;
use iridium_server::{ServerConfig, TdsServer};
use polars::prelude::*;
use weir_lake::Table;
use weir_warehouse::tsql::{Connect, Flavor, Pool, Row, Session};
use weir_warehouse::{Error, async_trait, tsql};

/// Where the pool believes the lake to be.
pub(super) const ROOT: &str = "https://lake.test/container/orders";

/// When a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Break {
    /// The statement never arrives.
    Before(usize),
    /// The statement takes effect, its answer is lost.
    After(usize),
}

/// What all sessions share.
pub(super) struct World {
    table: Mutex<Option<Arc<Table>>>,
    pub(super) fault: Mutex<Option<Break>>,
    /// Every statement as the loader wrote it.
    pub(super) statements: Mutex<Vec<String>>,
    /// Told instead of the answer to the next `COPY INTO`.
    pub(super) refuse_copy: AtomicBool,
}

pub(super) struct Engine {
    inner: Arc<dyn Connect>,
    pub(super) world: Arc<World>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    pub(super) async fn start() -> Arc<Self> {
        let _ = rustls_provider();
        let config = ServerConfig { port: 0, auth: None, tls_enabled: false, ..ServerConfig::default() };
        let mut server = TdsServer::new_with_database(Database::new(), config);
        let address = server.bind().await.unwrap();
        tokio::spawn(async move {
            let _ = server.run().await.map_err(|error| error.to_string());
        });
        let url = format!("synapse://sa:x@127.0.0.1:{}/master?encrypt=off", address.port());
        let world = World {
            table: Mutex::default(),
            fault: Mutex::default(),
            statements: Mutex::default(),
            refuse_copy: AtomicBool::new(false),
        };
        Arc::new(Self { inner: tsql::connector(&url, None).unwrap(), world: Arc::new(world) })
    }

    pub(super) fn pool(self: &Arc<Self>) -> Pool {
        Pool::over(Flavor::Dedicated, Arc::clone(self) as _)
    }

    /// The lake that `COPY INTO` reads.
    pub(super) fn reads(&self, table: &Arc<Table>) {
        *self.world.table.lock().unwrap() = Some(Arc::clone(table));
    }

    /// Straight to the engine, past the faults.
    pub(super) async fn rows(&self, sql: &str) -> Vec<Row> {
        self.inner.connect().await.unwrap().rows("looking", sql).await.unwrap()
    }
}

/// The driver needs the process's provider even without TLS.
fn rustls_provider() -> bool {
    weir_platform::install_crypto_provider();
    true
}

#[async_trait]
impl Connect for Engine {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let inner = self.inner.connect().await?;
        Ok(Box::new(Intercepted { inner: Some(inner), world: Arc::clone(&self.world) }))
    }
}

struct Intercepted {
    /// `None` once the connection was lost.
    inner: Option<Box<dyn Session>>,
    world: Arc<World>,
}

fn lost(doing: &'static str) -> Error {
    Error::TimedOut { doing, seconds: 0 }
}

impl Intercepted {
    /// Whether the answer to this statement is to be lost; breaks the connection before it if that is wanted.
    fn next(&mut self, doing: &'static str, sql: &str) -> Result<bool, Error> {
        self.world.statements.lock().unwrap().push(sql.to_owned());
        let mut fault = self.world.fault.lock().unwrap();
        let hit = match fault.as_mut() {
            Some(Break::Before(left) | Break::After(left)) if *left > 0 => {
                *left -= 1;
                None
            }
            Some(_) => fault.take(),
            None => None,
        };
        if matches!(hit, Some(Break::Before(_))) {
            self.inner = None;
        }
        if self.inner.is_none() { Err(lost(doing)) } else { Ok(hit.is_some()) }
    }

    async fn send(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        let Some(inner) = self.inner.as_mut() else { return Err(lost(doing)) };
        match translate(sql) {
            None => Ok(0),
            Some(sql) => inner.execute(doing, &sql).await.map_err(waited_out),
        }
    }

    /// What a pool does: column by column in the files' own order.
    async fn copy(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        if self.world.refuse_copy.swap(false, Ordering::SeqCst) {
            return Err(Error::Server { doing, number: 105_208, detail: "the pool refuses".to_owned() });
        }
        let table = self.world.table.lock().unwrap().clone().unwrap();
        let (into, rest) = sql.strip_prefix("COPY INTO ").unwrap().split_once(" (").unwrap();
        let (columns, rest) = rest.split_once(") FROM ").unwrap();
        let (files, rest) = rest.split_once(" WITH (").unwrap();
        assert!(
            rest.starts_with("FILE_TYPE = 'PARQUET', CREDENTIAL = (IDENTITY = 'Managed Identity')) OPTION (LABEL =")
        );
        let columns: Vec<(String, usize)> = columns
            .split(", ")
            .map(|column| {
                let (name, place) = column.rsplit_once(' ').unwrap();
                (name.to_owned(), place.parse().unwrap())
            })
            .collect();
        let mut copied = 0;
        for url in files.split(", ").map(|url| url.trim_matches('\'')) {
            let path = url.strip_prefix(ROOT).unwrap().trim_start_matches('/');
            let path = percent_decoded(path);
            let entry = table.file(&path, BTreeMap::new()).unwrap();
            let stored = table.footer(&entry).await;
            let Ok((order, _)) = stored else {
                return Err(Error::Server { doing, number: 105_215, detail: "a file is not there".to_owned() });
            };
            let frame = table.read(&entry).await.unwrap();
            let mut values = Vec::new();
            for (_, place) in &columns {
                values.push(frame.column(&order[place - 1]).unwrap().clone());
            }
            assert_eq!(columns.len(), order.len(), "COPY INTO would shift columns: {sql}");
            copied += self.insert(doing, into, &columns, &values, frame.height()).await?;
        }
        Ok(copied)
    }

    async fn insert(
        &mut self,
        doing: &'static str,
        into: &str,
        columns: &[(String, usize)],
        values: &[Column],
        height: usize,
    ) -> Result<u64, Error> {
        let names = columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        for start in (0..height).step_by(100) {
            let rows = (start..height.min(start + 100)).map(|row| {
                let cells = values.iter().map(|column| cell(&column.get(row).unwrap())).collect::<Vec<_>>();
                format!("SELECT {}", cells.join(", "))
            });
            let rows = rows.collect::<Vec<_>>().join(" UNION ALL ");
            self.send(doing, &format!("INSERT INTO {into} ({names}) {rows}")).await?;
        }
        Ok(height as u64)
    }
}

fn cell(value: &AnyValue) -> String {
    match value {
        AnyValue::Null => "NULL".to_owned(),
        AnyValue::String(text) => format!("N'{}'", text.replace('\'', "''")),
        AnyValue::StringOwned(text) => format!("N'{}'", text.replace('\'', "''")),
        other => other.to_string(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [*rest.next().unwrap(), *rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn waited_out(error: Error) -> Error {
    match error {
        Error::Server { doing, number: 50_000, detail } => Error::Server { doing, number: 1222, detail },
        error => error,
    }
}

/// `None` for what is passed over.
fn translate(sql: &str) -> Option<String> {
    if sql.starts_with("CREATE STATISTICS ") {
        return None;
    }
    if let Some(rest) = sql.strip_prefix("RENAME OBJECT [dbo].[") {
        let (from, to) = rest.split_once("] TO [").unwrap();
        return Some(format!("EXEC sp_rename '{from}', '{}'", to.trim_end_matches(']')));
    }
    let mut sql = sql.replace(" COLLATE Latin1_General_100_BIN2", "").replace("COUNT_BIG(", "COUNT(");
    sql = sql.replace("nvarchar(max)", "nvarchar(4000)");
    let mut from = 0;
    while let Some(at) = sql[from..].find("CAST([weir_staged].[").map(|at| at + from) {
        let middle = at + sql[at..].find(" AS ").unwrap();
        let end = middle + sql[middle..].find("))").map_or(1, |end| end + 2);
        if let Some(length) = sql[middle..end].strip_prefix(" AS nvarchar(").map(|length| length.trim_end_matches(')'))
        {
            let value = &sql[at + "CAST(".len()..middle];
            let cut = format!("CAST(LEFT({value}, {length}) AS nvarchar({length}))");
            sql.replace_range(at..end, &cut);
        }
        from = at + 1;
    }
    for (start, end) in [(" OPTION (LABEL = ", "')"), (" WITH (HEAP", ")"), (" WITH (DISTRIBUTION", "INDEX)")] {
        if let Some(at) = sql.find(start) {
            let stop = at + start.len() + sql[at + start.len()..].find(end).unwrap() + end.len();
            sql.replace_range(at..stop, "");
        }
    }
    Some(sql)
}

#[async_trait]
impl Session for Intercepted {
    async fn rows(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        let loses = self.next(doing, sql)?;
        // Every table of the engine is as old as the hills.
        if sql.contains("t.create_date <") {
            return Ok(Vec::new());
        }
        let translated = translate(sql).unwrap();
        let rows = self.inner.as_mut().unwrap().rows(doing, &translated).await.map_err(waited_out);
        if loses {
            self.inner = None;
            return Err(lost(doing));
        }
        rows
    }

    async fn execute(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        let loses = self.next(doing, sql)?;
        let done =
            if sql.starts_with("COPY INTO ") { self.copy(doing, sql).await } else { self.send(doing, sql).await };
        if loses {
            self.inner = None;
            return Err(lost(doing));
        }
        done
    }
}
