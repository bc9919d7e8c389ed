//! A lease on a table, for work that only wastes effort when two do it: maintenance.
//!
//! A lease is a small log of its own: `_weir_lease/<generation>.json`, each made by a conditional create, so that it
//! needs of a store only what commits need. Taking, keeping and giving up a lease each make the next generation;
//! whoever finds it made has lost.
//!
//! A lease does not make anything correct: rewrites commit only if their files are still there, vacuum goes by age. An
//! owner that slept through its expiry and wakes up late is held off by the fence: its generation rides as a
//! transaction id in every commit that is made under the lease, and a commit under an older one is refused.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};

use crate::error::{LakeError, is_final};
use crate::table::Table;

/// Clocks of two machines may differ by this; a lease is taken from a silent owner that much after its expiry.
const CLOCK_SKEW: Duration = Duration::from_secs(10);
/// Generations that stay; a lister always finds one.
const KEPT: i64 = 2;
/// Attempts at making one.
const ATTEMPTS: u32 = 3;
/// Pause before the n-th more attempt, at most, times n.
const PAUSE: Duration = Duration::from_millis(100);

/// A lease that is held, as far as its owner knows. Dropped without [`Lease::release`], it expires.
#[derive(Debug)]
pub struct Lease {
    table: Arc<Table>,
    generation: i64,
    owner: String,
    ttl: Duration,
    expires_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// Who, for people; and a random part, so that an answer that was lost is recognised.
    owner: String,
    /// Milliseconds since the epoch; 0 for a lease that was given up.
    expires_ms: i64,
}

impl Table {
    /// Takes the table's lease for `ttl`. `None` when somebody else has it. `owner` is for people who look.
    pub async fn lease(self: &Arc<Self>, owner: &str, ttl: Duration) -> Result<Option<Lease>, LakeError> {
        // The newest fence is in the log, whoever made it.
        self.refresh().await?;
        let newest = self.generations().await?.into_iter().max();
        let now_ms = (self.options.now_ms)();
        if let Some(generation) = newest
            && let Some(record) = self.lease_record(generation).await?
            && record.expires_ms.saturating_add(millis(CLOCK_SKEW)) > now_ms
        {
            return Ok(None);
        }
        let owner = format!("{owner}/{}", self.options.new_id());
        let expires_ms = now_ms.saturating_add(millis(ttl));
        // A generation that a commit was fenced with is never given again, whatever became of the records.
        let fenced = self.writer.known().transactions.get(crate::commit::FENCE).map(|known| known.version);
        let generation = newest.max(fenced).unwrap_or(0) + 1;
        let made = self.make_generation(generation, &owner, expires_ms).await?;
        Ok(made.then(|| Lease { table: Arc::clone(self), generation, owner, ttl, expires_ms }))
    }

    fn lease_folder(&self) -> Path {
        self.at.root.clone().join("_weir_lease")
    }

    fn lease_path(&self, generation: i64) -> Path {
        self.lease_folder().join(format!("{generation:020}.json"))
    }

    async fn generations(&self) -> Result<Vec<i64>, LakeError> {
        let folder = self.lease_folder();
        let failed = |error| self.at.store_error("list", &folder, error);
        let objects: Vec<_> = self.at.store.list(Some(&folder)).try_collect().await.map_err(failed)?;
        let names = objects.iter().filter_map(|object| object.location.filename()?.strip_suffix(".json"));
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// `None` when it is gone or cannot be read as what it should be: then it holds nobody off.
    async fn lease_record(&self, generation: i64) -> Result<Option<Record>, LakeError> {
        let path = self.lease_path(generation);
        match self.at.store.get(&path).await {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(|error| self.at.store_error("read", &path, error))?;
                Ok(serde_json::from_slice(&bytes).ok())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.at.store_error("read", &path, error)),
        }
    }

    /// False when somebody else made it, or a later one.
    async fn make_generation(&self, generation: i64, owner: &str, expires_ms: i64) -> Result<bool, LakeError> {
        let path = self.lease_path(generation);
        let record = Record { owner: owner.to_owned(), expires_ms };
        let body = serde_json::to_vec(&record).map_err(|error| self.at.corrupt(&path, error))?;
        let mut attempt = 1;
        while let Err(refusal) = self.at.store.put_opts(&path, body.clone().into(), PutMode::Create.into()).await {
            if is_final(&refusal) {
                return Err(self.at.store_error("lease", &path, refusal));
            }
            // Refused, or ours with the answer lost: what is there tells.
            match self.lease_record(generation).await? {
                Some(record) if record.owner == owner && record.expires_ms == expires_ms => break,
                Some(_) => return Ok(false),
                None if attempt == ATTEMPTS => return Err(self.at.store_error("lease", &path, refusal)),
                // The same record again, so that it is recognised if it did arrive.
                None => tokio::time::sleep(self.options.jitter(PAUSE * attempt)).await,
            }
            attempt += 1;
        }
        // Whoever looked long ago can make a generation that was there once and is deleted: a later one tells.
        let all = self.generations().await?;
        let late = all.iter().any(|other| *other > generation);
        let old = |other: &i64| if late { *other == generation } else { *other <= generation - KEPT };
        for old in all.iter().filter(|other| old(other)) {
            if let Err(error) = self.at.store.delete(&self.lease_path(*old)).await {
                tracing::debug!(table = self.name(), %error, "an old lease record stays");
            }
        }
        Ok(!late)
    }
}

impl Lease {
    /// Rides in every commit that is made under this lease; of two leases the newer has the greater one.
    pub fn fence(&self) -> i64 {
        self.generation
    }

    /// Renews the lease when half of its time is over. False when it is lost: stop.
    pub async fn keep(&mut self) -> Result<bool, LakeError> {
        let now_ms = (self.table.options.now_ms)();
        if now_ms >= self.expires_ms {
            return Ok(false);
        }
        if self.expires_ms - now_ms > millis(self.ttl) / 2 {
            return Ok(true);
        }
        let expires_ms = now_ms.saturating_add(millis(self.ttl));
        let kept = self.table.make_generation(self.generation + 1, &self.owner, expires_ms).await?;
        if kept {
            (self.generation, self.expires_ms) = (self.generation + 1, expires_ms);
        }
        Ok(kept)
    }

    /// Gives the lease up, so that the next owner need not wait.
    pub async fn release(self) -> Result<(), LakeError> {
        self.table.make_generation(self.generation + 1, &self.owner, 0).await.map(drop)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
