//! The store's clock, which alone says what is old. Deleting by the clock of this machine, were it wrong by a month, would
//! delete what is needed still.

use object_store::{ObjectStoreExt, PutPayload};

use crate::error::LakeError;
use crate::lake::LakeOptions;
use crate::log::Location;
use crate::table::Table;

/// How far this machine's clock may be from the store's.
const MAX_SKEW_MS: i64 = 60_000;
const CLOCK: &str = "clock";

impl Table {
    /// The store's time: that of an object which is put just now. Milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`LakeError::Clock`] when this machine's clock is more than a minute away from it: nothing that goes by age is
    /// to be done then.
    pub async fn store_now_ms(&self) -> Result<i64, LakeError> {
        self.at.store_now_ms(&self.options).await
    }
}

impl Location {
    /// [`Table::store_now_ms`], also where there is no table.
    pub(crate) async fn store_now_ms(&self, options: &LakeOptions) -> Result<i64, LakeError> {
        let path = self.marker(CLOCK);
        let before_ms = (options.now_ms)();
        let put = self.store.put(&path, PutPayload::default()).await;
        put.map_err(|error| self.store_error("write", &path, error))?;
        let found = self.store.head(&path).await;
        let object = found.map_err(|error| self.store_error("read", &path, error))?;
        let (store_ms, after_ms) = (object.last_modified.timestamp_millis(), (options.now_ms)());
        // Stores give whole seconds.
        let (earliest, latest) = (before_ms.min(after_ms) - 1_000, before_ms.max(after_ms));
        let skew_ms = store_ms - store_ms.clamp(earliest, latest);
        if skew_ms.abs() > MAX_SKEW_MS {
            return Err(LakeError::Clock { table: self.name.clone(), seconds: skew_ms.abs() / 1000 });
        }
        Ok(store_ms)
    }
}
