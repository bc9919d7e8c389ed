//! A clock that the tests of maintenance move, each its own: a test runs on one thread. What the store stamps on its
//! objects, and what delta-rs goes by, is the real time.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use weir_lake::{Lake, LakeOptions, Table, TableDefinition};

use super::definition;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

thread_local! {
    static AHEAD_MS: Cell<i64> = const { Cell::new(0) };
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
    Lake::new(Arc::clone(store), "lake".into(), LakeOptions::new(now_ms))
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
