//! Work that is worth doing only now and then: a marker beside the table says when it was done last.

use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::error::LakeError;
use crate::log::Location;
use crate::table::Table;

impl Table {
    /// Whether the work called `marker` was not done for so long. Two that ask at the same time may both be told so.
    pub async fn is_due(&self, marker: &str, every: Duration) -> Result<bool, LakeError> {
        let marker = self.at.marker(marker);
        let done_ms = match self.at.store.head(&marker).await {
            Ok(object) => object.last_modified.timestamp_millis(),
            Err(object_store::Error::NotFound { .. }) => return Ok(true),
            Err(error) => return Err(self.at.store_error("read", &marker, error)),
        };
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        Ok(done_ms <= (self.options.now_ms)().saturating_sub(every_ms))
    }

    /// The work called `marker` is done.
    pub async fn mark_done(&self, marker: &str) -> Result<(), LakeError> {
        let marker = self.at.marker(marker);
        let put = self.at.store.put(&marker, PutPayload::default()).await;
        put.map_err(|error| self.at.store_error("write", &marker, error))?;
        Ok(())
    }
}

impl Location {
    pub(super) fn marker(&self, name: &str) -> Path {
        self.root.clone().join("_weir_maintenance").join(name)
    }
}
