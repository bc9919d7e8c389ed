//! An object store that fails the ways a network does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use weir_warehouse::async_trait;

/// What happens to one request.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It fails and has no effect.
    Before,
    /// It has its effect and the answer is lost.
    After,
    /// It fails, and has its effect some time after: the client gave up, the request did not.
    Late,
    /// The store says no.
    Denied,
    /// It waits until the test lets it go.
    Held(Gate),
}

/// Where a request waits.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    reached: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { reached: Arc::new(Semaphore::new(0)), released: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until the request is here.
    pub(super) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    pub(super) fn release(&self) {
        self.released.add_permits(1);
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        self.released.acquire().await.unwrap().forget();
    }
}

/// Chances of 1 for the requests that nothing was scripted for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) faults: f64,
    /// Up to this, evenly, for each request.
    pub(super) latency: Duration,
}

#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    weather: Weather,
    random: Mutex<StdRng>,
    /// Part of a path, and what happens to the next write of such a path.
    script: Mutex<Vec<(String, Fault)>>,
    /// Part of a path, and where the next read of such a path waits.
    reads: Mutex<Vec<(String, Gate)>>,
    /// Where the next listing waits.
    listing: Mutex<Option<Gate>>,
    /// Deletions that still succeed.
    deletions: Mutex<Option<usize>>,
    requests: Mutex<BTreeMap<&'static str, usize>>,
    late: Arc<AtomicUsize>,
}

impl Faulty {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, seed: u64, weather: Weather) -> Arc<Self> {
        Arc::new(Self {
            inner,
            weather,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            script: Mutex::default(),
            reads: Mutex::default(),
            listing: Mutex::default(),
            deletions: Mutex::default(),
            requests: Mutex::default(),
            late: Arc::default(),
        })
    }

    /// Fair weather: only what is scripted fails.
    pub(super) fn calm(inner: &Arc<dyn ObjectStore>) -> Arc<Self> {
        Self::new(Arc::clone(inner), 0, Weather::default())
    }

    pub(super) fn next_write(&self, part_of_path: &str, fault: Fault) {
        self.script.lock().unwrap().push((part_of_path.to_owned(), fault));
    }

    /// The next write of such a path waits.
    pub(super) fn hold_next_write(&self, part_of_path: &str) -> Gate {
        let gate = Gate::new();
        self.next_write(part_of_path, Fault::Held(gate.clone()));
        gate
    }

    /// The next read of such a path waits.
    pub(super) fn hold_next_read(&self, part_of_path: &str) -> Gate {
        let gate = Gate::new();
        self.reads.lock().unwrap().push((part_of_path.to_owned(), gate.clone()));
        gate
    }

    /// The next listing waits.
    pub(super) fn hold_next_listing(&self) -> Gate {
        let gate = Gate::new();
        *self.listing.lock().unwrap() = Some(gate.clone());
        gate
    }

    /// The next deletions succeed and the others fail.
    pub(super) fn delete_only(&self, deletions: usize) {
        *self.deletions.lock().unwrap() = Some(deletions);
    }

    /// Requests by kind since the last call: `put log`, `put data`, `get log`, `get data`, `list`, `delete`.
    pub(super) fn take_requests(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// Waits until every late request has had its effect.
    pub(super) async fn settle(&self) {
        while self.late.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn count(&self, log: &'static str, data: &'static str, path: &Path) {
        let kind = if path.as_ref().contains("_delta_log") { log } else { data };
        *self.requests.lock().unwrap().entry(kind).or_default() += 1;
    }

    fn scripted(&self, path: &Path) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        let index = script.iter().position(|(part, _)| path.as_ref().contains(part.as_str()))?;
        Some(script.remove(index).1)
    }

    /// Latency, and a fault by chance.
    async fn weather(&self, faults: &[Fault]) -> Option<Fault> {
        let (latency, fault) = {
            let mut random = self.random.lock().unwrap();
            let latency = random.random_range(Duration::ZERO..=self.weather.latency);
            let failed = random.random_bool(self.weather.faults);
            (latency, failed.then(|| faults[random.random_range(0..faults.len())].clone()))
        };
        if self.weather.latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        fault
    }

    /// Azure answers a conditional create of what exists with 409 or, now and then, with 412.
    fn as_azure(&self, error: Error) -> Error {
        match error {
            Error::AlreadyExists { path, source } if self.random.lock().unwrap().random_bool(0.5) => {
                Error::Precondition { path, source }
            }
            other => other,
        }
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "operation timed out".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.count("put log", "put data", location);
        let fault = match self.scripted(location) {
            Some(fault) => Some(fault),
            None => self.weather(&[Fault::Before, Fault::After, Fault::Late]).await,
        };
        let mut answer_lost = false;
        match fault {
            Some(Fault::Before) => return Err(lost()),
            Some(Fault::Denied) => {
                return Err(Error::PermissionDenied { path: location.to_string(), source: "403".into() });
            }
            Some(Fault::Late) => {
                let (inner, location, late) = (Arc::clone(&self.inner), location.clone(), Arc::clone(&self.late));
                late.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(7)).await;
                    // It may come too late for a conditional create.
                    let _ = inner.put_opts(&location, payload, options).await;
                    late.fetch_sub(1, Ordering::SeqCst);
                });
                return Err(lost());
            }
            Some(Fault::Held(gate)) => gate.pass().await,
            Some(Fault::After) => answer_lost = true,
            None => {}
        }
        let done = self.inner.put_opts(location, payload, options).await;
        if answer_lost { Err(lost()) } else { done.map_err(|error| self.as_azure(error)) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.count("put log", "put data", location);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.count("get log", "get data", location);
        let held = {
            let mut reads = self.reads.lock().unwrap();
            let index = reads.iter().position(|(part, _)| location.as_ref().contains(part.as_str()));
            index.map(|index| reads.remove(index).1)
        };
        if let Some(gate) = held {
            gate.pass().await;
        }
        match self.weather(&[Fault::Before]).await {
            Some(_) => Err(lost()),
            None => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        *self.requests.lock().unwrap().entry("delete").or_default() += 1;
        let Some(left) = *self.deletions.lock().unwrap() else { return self.inner.delete_stream(locations) };
        // One after the other, so that the limit is met exactly.
        *self.deletions.lock().unwrap() = Some(0);
        let done = self.inner.delete_stream(locations.take(left).boxed());
        done.chain(futures::stream::once(async { Err(lost()) })).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        *self.requests.lock().unwrap().entry("list").or_default() += 1;
        let failed = self.random.lock().unwrap().random_bool(self.weather.faults);
        if let Some(gate) = self.listing.lock().unwrap().take() {
            let (inner, prefix) = (Arc::clone(&self.inner), prefix.cloned());
            let listed = async move {
                gate.pass().await;
                inner.list(prefix.as_ref()).collect::<Vec<_>>().await
            };
            return futures::stream::once(listed).map(futures::stream::iter).flatten().boxed();
        }
        if failed { futures::stream::once(async { Err(lost()) }).boxed() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        *self.requests.lock().unwrap().entry("list").or_default() += 1;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Every object under a prefix, by name.
pub(super) async fn names(store: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    let listed: Vec<ObjectMeta> = store.list(Some(&Path::from(prefix))).try_collect().await.unwrap();
    let mut names: Vec<_> = listed.into_iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}
