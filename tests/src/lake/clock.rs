//! A clock that the tests of maintenance move, each its own: a test runs on one thread. What the store stamps on its
//! objects, and what delta-rs goes by, is the real time; but what the store is asked for the time with, and leases, have
//! the time of the test: the store's clock is moved with it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use weir_lake::{Lake, LakeOptions, Table, TableDefinition};
use weir_warehouse::async_trait;

use super::definition;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

thread_local! {
    static AHEAD_MS: Cell<i64> = const { Cell::new(0) };
    /// How far the clock was when an object was written.
    static WRITTEN: RefCell<HashMap<Path, i64>> = RefCell::default();
}

/// From now on it is so long after the real time.
pub(super) fn at(after: Duration) {
    AHEAD_MS.set(after.as_millis() as i64);
}

/// From now on it is so long before the real time.
pub(super) fn before(real: Duration) {
    AHEAD_MS.set(-(real.as_millis() as i64));
}

pub(super) fn now_ms() -> i64 {
    super::now_ms() + AHEAD_MS.get()
}

pub(super) fn lake(store: &Arc<dyn ObjectStore>) -> Lake {
    Lake::new(moved(store), "lake".into(), LakeOptions::new(now_ms))
}

/// A store whose clock is moved with the test's.
pub(super) fn moved(store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(Moved(Arc::clone(store)))
}

#[derive(Debug)]
struct Moved(Arc<dyn ObjectStore>);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moved({})", self.0)
    }
}

fn tells_time(location: &Path) -> bool {
    ["_weir_maintenance/clock", "_weir_lease/"].iter().any(|part| location.as_ref().contains(part))
}

fn timed(mut object: ObjectMeta) -> ObjectMeta {
    if tells_time(&object.location) {
        let ahead_ms = WRITTEN.with_borrow(|written| written.get(&object.location).copied().unwrap_or_default());
        object.last_modified += chrono::TimeDelta::milliseconds(ahead_ms);
    }
    object
}

#[async_trait]
impl ObjectStore for Moved {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let done = self.0.put_opts(location, payload, options).await;
        if tells_time(location) {
            WRITTEN.with_borrow_mut(|written| written.insert(location.clone(), AHEAD_MS.get()));
        }
        done
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.0.get_opts(location, options).await?;
        Ok(GetResult { meta: timed(found.meta.clone()), ..found })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix).map_ok(timed).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// A process of its own that goes by the clock.
pub(super) async fn open_as(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> Arc<Table> {
    lake(store).table(definition).await.unwrap()
}

pub(super) async fn open(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    open_as(store, &definition()).await
}

/// A table with properties.
pub(super) fn with(properties: &[(&str, &str)]) -> TableDefinition {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    TableDefinition { properties, ..definition() }
}
