//! A lease on a table, for work that only wastes effort when two do it: maintenance.
//!
//! A lease is a small log of its own: `_weir_lease/<generation>.json`, each made by a conditional create, so that it
//! needs of a store only what commits need. Taking, keeping and giving up a lease each make the next generation;
//! whoever finds it made has lost.
//!
//! Whether a lease is over is judged by the store's clock alone: when its record was made, and what time it is there now.
//! An owner counts its own time from before it asked, so that it stops first.
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
use tokio::time::Instant;

use crate::error::{LakeError, is_final};
use crate::table::Table;

/// A lease is taken from a silent owner so long after its expiry.
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
    /// By this machine's clocks: the one that people set, and the one that only goes forward.
    expires_ms: i64,
    since: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// Who, for people; and a random part, so that an answer that was lost is recognised.
    owner: String,
    /// By the owner's clock, in milliseconds since the epoch; 0 for a lease that was given up.
    expires_ms: i64,
    /// How long it holds from when the store took the record. Records of earlier releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<i64>,
}

impl Record {
    /// Until when it holds, by the store's clock. `made_ms`: when the store took it.
    fn holds_until(&self, made_ms: i64) -> i64 {
        match (self.expires_ms, self.ttl_ms) {
            (0, _) => i64::MIN,
            (_, Some(ttl_ms)) => made_ms.saturating_add(ttl_ms),
            (expires_ms, None) => expires_ms,
        }
    }
}

impl Table {
    /// Takes the table's lease for `ttl`. `None` when somebody else has it. `owner` is for people who look.
    ///
    /// # Errors
    /// [`LakeError::Clock`] when this machine's clock is more than a minute away from the store's.
    pub async fn lease(self: &Arc<Self>, owner: &str, ttl: Duration) -> Result<Option<Lease>, LakeError> {
        // The newest fence is in the log, whoever made it.
        self.refresh().await?;
        let newest = self.generations().await?.into_iter().max();
        let store_ms = self.store_now_ms().await?;
        if let Some(generation) = newest
            && let Some((record, made_ms)) = self.lease_record(generation).await?
            && record.holds_until(made_ms).saturating_add(millis(CLOCK_SKEW)) > store_ms
        {
            return Ok(None);
        }
        let (now_ms, since) = ((self.options.now_ms)(), Instant::now());
        let owner = format!("{owner}/{}", self.options.new_id());
        let expires_ms = now_ms.saturating_add(millis(ttl));
        // A generation that a commit was fenced with is never given again, whatever became of the records.
        let fenced = self.writer.known().transactions.get(crate::commit::FENCE).map(|known| known.version);
        let generation = newest.max(fenced).unwrap_or(0) + 1;
        let made = self.make_generation(generation, &owner, expires_ms, ttl).await?;
        Ok(made.then(|| Lease { table: Arc::clone(self), generation, owner, ttl, expires_ms, since }))
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

    /// A record, and when the store took it. `None` when it is gone or cannot be read as what it should be: then it holds
    /// nobody off.
    async fn lease_record(&self, generation: i64) -> Result<Option<(Record, i64)>, LakeError> {
        let path = self.lease_path(generation);
        match self.at.store.get(&path).await {
            Ok(found) => {
                let made_ms = found.meta.last_modified.timestamp_millis();
                let bytes = found.bytes().await.map_err(|error| self.at.store_error("read", &path, error))?;
                Ok(serde_json::from_slice(&bytes).ok().map(|record| (record, made_ms)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.at.store_error("read", &path, error)),
        }
    }

    /// False when somebody else made it, or a later one.
    async fn make_generation(
        &self,
        generation: i64,
        owner: &str,
        expires_ms: i64,
        ttl: Duration,
    ) -> Result<bool, LakeError> {
        let path = self.lease_path(generation);
        let ttl_ms = (expires_ms != 0).then(|| millis(ttl));
        let record = Record { owner: owner.to_owned(), expires_ms, ttl_ms };
        let body = serde_json::to_vec(&record).map_err(|error| self.at.corrupt(&path, error))?;
        let mut attempt = 1;
        while let Err(refusal) = self.at.store.put_opts(&path, body.clone().into(), PutMode::Create.into()).await {
            if is_final(&refusal) {
                return Err(self.at.store_error("lease", &path, refusal));
            }
            // Refused, or ours with the answer lost: what is there tells.
            match self.lease_record(generation).await? {
                Some((record, _)) if record.owner == owner && record.expires_ms == expires_ms => break,
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
        let (now_ms, since) = ((self.table.options.now_ms)(), Instant::now());
        let left = self.ttl.saturating_sub(self.since.elapsed());
        if now_ms >= self.expires_ms || left.is_zero() {
            return Ok(false);
        }
        if self.expires_ms - now_ms > millis(self.ttl) / 2 && left > self.ttl / 2 {
            return Ok(true);
        }
        let expires_ms = now_ms.saturating_add(millis(self.ttl));
        let kept = self.table.make_generation(self.generation + 1, &self.owner, expires_ms, self.ttl).await?;
        if kept {
            (self.generation, self.expires_ms, self.since) = (self.generation + 1, expires_ms, since);
        }
        Ok(kept)
    }

    /// Gives the lease up, so that the next owner need not wait.
    pub async fn release(self) -> Result<(), LakeError> {
        self.table.make_generation(self.generation + 1, &self.owner, 0, self.ttl).await.map(drop)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
