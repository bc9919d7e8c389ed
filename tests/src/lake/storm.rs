//! A network and its weather: one store that all processes of a simulation share, and the way of one process to it.
//!
//! Everything random comes from a seed, and time is the simulation's. Requests are late, fail before their effect or
//! after it, have it long after they were given up, are repeated by the client and meet their own effect, and leave
//! torn files; a process dies at a given request, before or after the effect, and never hears of anything again.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use weir_warehouse::async_trait;

use super::simulation::{EPOCH_MS, is_here, now_ms};

/// How long the weather is bad.
const STORM_MS: i64 = 120_000;

/// Objects carry the simulation's time, so that what goes by age goes by it.
#[derive(Debug, Default)]
pub(super) struct Network {
    inner: InMemory,
    written: Mutex<HashMap<Path, i64>>,
    /// What conditional creates made: the log, also what was cleaned out of it.
    pub(super) created: Mutex<HashMap<Path, Vec<u8>>>,
    /// Whether a commit was made twice: the first was cleaned up, and somebody took its absence for the log's end.
    pub(super) forked: AtomicBool,
    /// The time of the newest request, for threads that have no clock.
    newest_ms: AtomicI64,
    /// Effects that are still on their way.
    late: AtomicUsize,
}

impl Network {
    pub(super) async fn settle(&self) {
        while self.late.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Somebody deletes what a folder holds just now, object by object.
    pub(super) async fn wipe(&self, folder: &str, random: &mut StdRng) {
        let mut objects: Vec<ObjectMeta> = self.inner.list(Some(&Path::from(folder))).try_collect().await.unwrap();
        objects.shuffle(random);
        let longest_ms = [3, 20, 60][random.random_range(0..3)];
        for object in objects {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..longest_ms))).await;
            // Whoever took an entry back was faster.
            let _ = self.inner.delete(&object.location).await;
        }
    }

    async fn put(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let created = matches!(options.mode, object_store::PutMode::Create);
        let bytes: Vec<u8> = if created { payload.iter().flatten().copied().collect() } else { Vec::new() };
        let done = self.inner.put_opts(location, payload, options).await?;
        if created {
            let before = self.created.lock().unwrap().insert(location.clone(), bytes);
            // A late request may make a lease's record again that was deleted meanwhile; never one of the log.
            if before.is_some() && location.as_ref().contains("_delta_log") {
                self.forked.store(true, Ordering::SeqCst);
            }
        }
        self.written.lock().unwrap().insert(location.clone(), self.now_ms());
        Ok(done)
    }

    fn now_ms(&self) -> i64 {
        let now_ms = if is_here() { now_ms() } else { 0 };
        self.newest_ms.fetch_max(now_ms, Ordering::SeqCst).max(now_ms)
    }

    fn timed(&self, mut object: ObjectMeta) -> ObjectMeta {
        object.last_modified = time(self.written.lock().unwrap().get(&object.location).copied());
        object
    }
}

fn time(ms: Option<i64>) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(ms.unwrap_or_default()).unwrap()
}

/// Chances of 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) faults: f64,
    pub(super) latency_max: Duration,
    /// The request, counted twice (before its effect and after), at which the process dies.
    pub(super) dies_at: Option<usize>,
}

impl Weather {
    pub(super) const FAIR: Self = Self { faults: 0.0, latency_max: Duration::ZERO, dies_at: None };
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Before,
    After,
    Late,
    Repeated,
    Torn,
}

/// One process's way to the network.
#[derive(Debug)]
pub(super) struct Line {
    network: Arc<Network>,
    weather: Weather,
    random: Mutex<StdRng>,
    moments: AtomicUsize,
    died: watch::Sender<bool>,
}

impl Line {
    pub(super) fn new(network: &Arc<Network>, seed: u64, weather: Weather) -> Arc<Self> {
        Arc::new(Self {
            network: Arc::clone(network),
            weather,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            moments: AtomicUsize::new(0),
            died: watch::channel(false).0,
        })
    }

    /// Waits until the process has died.
    pub(super) async fn death(&self) {
        let mut died = self.died.subscribe();
        died.wait_for(|died| *died).await.unwrap();
    }

    /// A moment at which the process may die: then nothing goes on from here.
    async fn moment(&self) {
        if !is_here() {
            return;
        }
        let moment = self.moments.fetch_add(1, Ordering::SeqCst);
        if self.weather.dies_at.is_some_and(|dies_at| moment >= dies_at) {
            self.died.send_replace(true);
            futures::future::pending::<()>().await;
        }
    }

    async fn travel(&self) {
        if !is_here() {
            return;
        }
        let latency = self.random.lock().unwrap().random_range(Duration::ZERO..=self.weather.latency_max);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    fn fault(&self, faults: &[Fault]) -> Option<Fault> {
        let mut random = self.random.lock().unwrap();
        // Every storm ends: work that needs many requests would else never be done.
        let stormy = is_here() && now_ms() < EPOCH_MS + STORM_MS;
        (stormy && random.random_bool(self.weather.faults)).then(|| faults[random.random_range(0..faults.len())])
    }

    fn failure(&self) -> Error {
        const TEXTS: [&str; 5] = [
            "429 Too Many Requests",
            "500 Internal Server Error",
            "503 Server Busy",
            "operation timed out",
            "connection reset by peer",
        ];
        let text = TEXTS[self.random.lock().unwrap().random_range(0..TEXTS.len())];
        Error::Generic { store: "storm", source: text.into() }
    }

    /// Azure answers a conditional create of what exists with 409 or, now and then, with 412.
    fn refusal(&self, error: Error) -> Error {
        match error {
            Error::AlreadyExists { path, source } if self.random.lock().unwrap().random_bool(0.5) => {
                Error::Precondition { path, source }
            }
            other => other,
        }
    }

    fn put_later(&self, location: &Path, payload: PutPayload, options: PutOptions) {
        let (network, location) = (Arc::clone(&self.network), location.clone());
        let delay = self.random.lock().unwrap().random_range(Duration::ZERO..Duration::from_secs(3));
        network.late.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // It may come too late for a conditional create.
            let _ = network.put(&location, payload, options).await;
            network.late.fetch_sub(1, Ordering::SeqCst);
        });
    }

    async fn put(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let conditional = !matches!(options.mode, object_store::PutMode::Overwrite);
        let faults: &[Fault] = match conditional {
            true => &[Fault::Before, Fault::After, Fault::Late, Fault::Repeated],
            false => &[Fault::Before, Fault::After, Fault::Late, Fault::Torn],
        };
        match self.fault(faults) {
            Some(Fault::Before) => return Err(self.failure()),
            Some(Fault::Late) => {
                self.put_later(location, payload, options);
                return Err(self.failure());
            }
            Some(Fault::Torn) => {
                let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
                let torn = PutPayload::from(bytes[..bytes.len() / 2].to_vec());
                self.network.put(location, torn, options).await?;
                return Err(self.failure());
            }
            Some(Fault::After) => {
                let _ = self.network.put(location, payload, options).await;
                return Err(self.failure());
            }
            Some(Fault::Repeated) => {
                let _ = self.network.put(location, payload.clone(), options.clone()).await;
            }
            None => {}
        }
        self.network.put(location, payload, options).await.map_err(|error| self.refusal(error))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

#[async_trait]
impl ObjectStore for Line {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.moment().await;
        self.travel().await;
        let done = self.put(location, payload, options).await;
        self.moment().await;
        done
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.moment().await;
        let upload = self.network.inner.put_multipart_opts(location, options).await;
        self.network.written.lock().unwrap().insert(location.clone(), self.network.now_ms());
        upload
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.moment().await;
        self.travel().await;
        let failed = self.fault(&[Fault::Before]).is_some();
        let found = if failed { Err(self.failure()) } else { self.network.inner.get_opts(location, options).await };
        self.moment().await;
        found.map(|mut found| {
            found.meta = self.network.timed(found.meta);
            found
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let failed = self.fault(&[Fault::Before]).is_some();
        if failed {
            let error = self.failure();
            return futures::stream::once(async { Err(error) }).boxed();
        }
        self.network.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fault(&[Fault::Before]).is_some() {
            let error = self.failure();
            return futures::stream::once(async { Err(error) }).boxed();
        }
        let network = Arc::clone(&self.network);
        self.network.inner.list(prefix).map_ok(move |object| network.timed(object)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.network.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.network.inner.copy_opts(from, to, options).await
    }
}
