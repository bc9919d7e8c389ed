//! A T-SQL engine behind TDS (`iridium_server`). [`super::stand_in`] is the one place where what it lacks is made up for; here
//! are connections: they break where a test wants it, and one transaction runs at a time.
//!
//! The gate: the engine copies its whole database when a transaction begins, and a commit puts that copy in place of
//! everything, so that what others have written meanwhile is gone (`a_commit_of_the_engine_undoes_what_others_did`). No
//! pool does that. Therefore what others write waits here while a transaction is open. What is left to races:
//! everything before transactions, and their order. Locks wait, as a pool's do, and not fail at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use iridium_core::Database;
use iridium_server::{ServerConfig, TdsServer};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, OwnedRwLockWriteGuard, RwLock};
use weir_lake::Table;
use weir_warehouse::tsql::{Connect, Flavor, Pool, Row, Session};
use weir_warehouse::{Error, async_trait, tsql};

use super::super::tables::Site;
use super::live::Live;

/// Where the pool believes the lake to be.
pub(super) const ROOT: &str = "https://lake.test/container/orders";

/// When a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Break {
    /// The statement never arrives.
    Before(usize),
    /// The statement takes effect, its answer is lost.
    After(usize),
    /// The next commit takes effect when its connection has been lost for a while.
    Late,
    /// The next commit takes effect, and its answer is lost.
    Lost,
}

/// What all sessions share.
pub(super) struct World {
    pub(super) flavor: Flavor,
    /// A live pool, which needs no stand-in and no gate.
    pub(super) live: Option<Live>,
    pub(super) table: Mutex<Option<Arc<Table>>>,
    pub(super) fault: Mutex<Option<Break>>,
    /// Every statement as the loader wrote it.
    pub(super) statements: Mutex<Vec<String>>,
    /// Told instead of the answer to the next `COPY INTO`.
    pub(super) refuse_copy: AtomicBool,
    /// A row is left out of the next statement that begins so.
    pub(super) forgets_row: Mutex<Option<&'static str>>,
    /// Errors that statements beginning so are answered with, once each.
    pub(super) errors: Mutex<Vec<(&'static str, i32)>>,
    /// Statements that a test holds: what they begin with, how many are let through first, and the two signals.
    pub(super) holds: Mutex<Vec<Hold>>,
    /// The pool's clock.
    pub(super) now_s: AtomicU64,
    /// Columns and types of staging tables, as the loader declared them.
    pub(super) staging: Mutex<BTreeMap<String, Vec<(String, String)>>>,
    gate: Arc<RwLock<()>>,
}

impl World {
    fn renamed(&self, sql: &str) -> String {
        self.live.as_ref().map_or_else(|| sql.to_owned(), |live| live.renamed(sql))
    }
}

/// One statement that waits for the test.
pub(super) struct Hold {
    begins: &'static str,
    skip: usize,
    reached: Arc<Notify>,
    go: Arc<Notify>,
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

/// Where servers run: they block their threads on locks.
fn servers() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(16).enable_all().build().unwrap())
}

/// Returns the port. Bound where it runs: a listener of a test's own runtime would fail for ever once that has ended.
pub(super) async fn serve(config: ServerConfig) -> u16 {
    // The driver needs the process's provider even without TLS.
    weir_platform::install_crypto_provider();
    let (tell, port) = tokio::sync::oneshot::channel();
    servers().spawn(async move {
        let mut server = TdsServer::new_with_database(Database::new(), ServerConfig { port: 0, ..config });
        let _ = tell.send(server.bind().await.unwrap().port());
        let _ = server.run().await.map_err(|error| error.to_string());
    });
    port.await.unwrap()
}

impl Engine {
    pub(super) async fn start() -> Arc<Self> {
        Self::of(Flavor::Dedicated).await
    }

    pub(super) async fn of(flavor: Flavor) -> Arc<Self> {
        let port = serve(ServerConfig { tls_enabled: false, ..ServerConfig::default() }).await;
        let url = format!("synapse://sa:x@127.0.0.1:{port}/master?encrypt=off");
        Self::with(tsql::connector(&url, None).unwrap(), flavor, None)
    }

    pub(super) fn over(inner: Arc<dyn Connect>) -> Arc<Self> {
        Self::with(inner, Flavor::Dedicated, None)
    }

    pub(super) fn with(inner: Arc<dyn Connect>, flavor: Flavor, live: Option<Live>) -> Arc<Self> {
        let world = World {
            flavor,
            live,
            table: Mutex::default(),
            fault: Mutex::default(),
            statements: Mutex::default(),
            refuse_copy: AtomicBool::new(false),
            forgets_row: Mutex::default(),
            errors: Mutex::default(),
            holds: Mutex::default(),
            now_s: AtomicU64::new(1_700_000_000),
            staging: Mutex::default(),
            gate: Arc::default(),
        };
        Arc::new(Self { inner, world: Arc::new(world) })
    }

    pub(super) fn pool(self: &Arc<Self>) -> Pool {
        Pool::over(self.world.flavor, Arc::clone(self) as _)
    }

    /// A lake of its own, where the pool can read it.
    pub(super) fn site(&self) -> Site {
        self.world.live.as_ref().map_or_else(Site::new, Live::site)
    }

    /// The lake that `COPY INTO` reads.
    pub(super) fn reads(&self, table: &Arc<Table>) {
        *self.world.table.lock().unwrap() = Some(Arc::clone(table));
    }

    /// A connection with nothing between.
    pub(super) async fn straight(&self) -> Box<dyn Session> {
        self.inner.connect().await.unwrap()
    }

    /// Past the faults.
    pub(super) async fn rows(&self, sql: &str) -> Vec<Row> {
        self.inner.connect().await.unwrap().rows("looking", &self.world.renamed(sql)).await.unwrap()
    }

    pub(super) async fn execute(&self, sql: &str) {
        let _alone = self.world.gate.write().await;
        self.inner.connect().await.unwrap().execute("changing", &self.world.renamed(sql)).await.unwrap();
    }

    /// The next statement but `skip` that begins so waits, whoever sends it. Returns what tells that it is there, and what
    /// lets it go.
    pub(super) fn hold(&self, begins: &'static str, skip: usize) -> (Arc<Notify>, Arc<Notify>) {
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let hold = Hold { begins, skip, reached: Arc::clone(&reached), go: Arc::clone(&go) };
        self.world.holds.lock().unwrap().push(hold);
        (reached, go)
    }

    pub(super) fn sleep(&self, seconds: u64) {
        self.world.now_s.fetch_add(seconds, Ordering::SeqCst);
    }
}

#[async_trait]
impl Connect for Engine {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        let mut inner = self.inner.connect().await?;
        if self.world.live.is_none() {
            inner.execute("waiting for locks", "SET LOCK_TIMEOUT 60000").await?;
        }
        Ok(Box::new(Intercepted { inner: Some(inner), world: Arc::clone(&self.world), alone: None }))
    }
}

/// One connection.
pub(super) struct Intercepted {
    /// `None` once it was lost.
    pub(super) inner: Option<Box<dyn Session>>,
    pub(super) world: Arc<World>,
    /// Held while a transaction is open.
    alone: Option<OwnedRwLockWriteGuard<()>>,
}

pub(super) fn lost(doing: &'static str) -> Error {
    Error::TimedOut { doing, seconds: 0 }
}

impl Intercepted {
    /// Whether the answer to this statement is to be lost; breaks the connection before it if that is wanted.
    fn next(&mut self, doing: &'static str, sql: &str) -> Result<bool, Error> {
        self.world.statements.lock().unwrap().push(sql.to_owned());
        let mut errors = self.world.errors.lock().unwrap();
        if let Some(at) = errors.iter().position(|(begins, _)| sql.starts_with(begins)) {
            let (_, number) = errors.remove(at);
            return Err(server_error(doing, number));
        }
        drop(errors);
        let mut fault = self.world.fault.lock().unwrap();
        let hit = match fault.as_mut() {
            Some(Break::Before(left) | Break::After(left)) if *left > 0 => {
                *left -= 1;
                None
            }
            Some(Break::Lost) if sql == "COMMIT TRANSACTION" => fault.take(),
            Some(Break::Late | Break::Lost) | None => None,
            Some(_) => fault.take(),
        };
        drop(fault);
        if matches!(hit, Some(Break::Before(_))) {
            self.lose();
        }
        if self.inner.is_none() { Err(lost(doing)) } else { Ok(hit.is_some()) }
    }

    fn hold(&self, sql: &str) -> Option<Hold> {
        let mut holds = self.world.holds.lock().unwrap();
        let at = holds.iter().position(|hold| sql.starts_with(hold.begins))?;
        if let Some(left) = holds[at].skip.checked_sub(1) {
            holds[at].skip = left;
            return None;
        }
        Some(holds.remove(at))
    }

    async fn wait(&mut self, sql: &str) {
        if let Some(hold) = self.hold(sql) {
            hold.reached.notify_one();
            hold.go.notified().await;
        }
    }

    /// Whether a row is left out of this statement.
    pub(super) fn forgets(&self, sql: &str) -> bool {
        let mut forgets = self.world.forgets_row.lock().unwrap();
        let hit = forgets.is_some_and(|begins| sql.starts_with(begins));
        if hit {
            *forgets = None;
        }
        hit
    }

    /// The commit is on its way, and the connection is gone.
    fn commit_late(&mut self, doing: &'static str) -> Result<u64, Error> {
        *self.world.fault.lock().unwrap() = None;
        let (inner, alone) = (self.inner.take(), self.alone.take());
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            inner.unwrap().execute("committing late", "COMMIT TRANSACTION").await.unwrap();
            drop(alone);
        });
        Err(lost(doing))
    }

    fn lose(&mut self) {
        self.inner = None;
        self.alone = None;
    }

    fn answered<T>(&mut self, doing: &'static str, loses: bool, answer: Result<T, Error>) -> Result<T, Error> {
        if loses {
            self.lose();
            return Err(lost(doing));
        }
        answer
    }
}

/// As a server tells it.
pub(super) fn server_error(doing: &'static str, number: i32) -> Error {
    Error::Server { doing, number, detail: "told by the test".to_owned() }
}

#[async_trait]
impl Session for Intercepted {
    async fn rows(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        self.wait(sql).await;
        let loses = self.next(doing, sql)?;
        // Who only reads waits for nobody, as in a pool.
        let answer = match (&self.world.live, self.inner.as_mut()) {
            (Some(live), Some(inner)) => inner.rows(doing, &live.renamed(sql)).await,
            _ => self.ask(doing, sql).await,
        };
        self.answered(doing, loses, answer)
    }

    async fn execute(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        self.wait(sql).await;
        let loses = self.next(doing, sql)?;
        if sql == "COMMIT TRANSACTION" && *self.world.fault.lock().unwrap() == Some(Break::Late) {
            return self.commit_late(doing);
        }
        if let (Some(live), Some(inner)) = (&self.world.live, self.inner.as_mut()) {
            let answer = inner.execute(doing, &live.renamed(sql)).await;
            return self.answered(doing, loses, answer);
        }
        let gate = Arc::clone(&self.world.gate);
        if sql == "BEGIN TRANSACTION" {
            self.alone = Some(gate.write_owned().await);
            let answer = self.order(doing, sql).await;
            return self.answered(doing, loses, answer);
        }
        // What looks before it renames does so alone.
        let renames =
            if super::stand_in::renames(sql).is_some() { Some(Arc::clone(&gate).write_owned().await) } else { None };
        let writes = self.alone.is_none() && renames.is_none() && !sql.starts_with("SET ");
        let _shared = if writes { Some(gate.read_owned().await) } else { None };
        let answer = self.order(doing, sql).await;
        if sql == "COMMIT TRANSACTION" || sql == "ROLLBACK TRANSACTION" {
            self.alone = None;
        }
        self.answered(doing, loses, answer)
    }
}
