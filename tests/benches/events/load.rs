//! Partitions that are delivered side by side, each batch after the one before it, as the Functions host does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use crate::data::{Batch, EVENTS_OF_A_BATCH};
use crate::{PARTITIONS, Result};

/// Where batches go, and how far each partition is.
pub(crate) struct Load {
    url: String,
    client: reqwest::Client,
    batches: Arc<Vec<Batch>>,
    next: Vec<i64>,
}

/// What a run of batches came to.
pub(crate) struct Ran {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    /// From the moment that a batch was due to its answer, in order of size.
    pub(crate) latencies: Vec<Duration>,
}

impl Ran {
    pub(crate) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

impl Load {
    pub(crate) fn new(port: u16, batches: &Arc<Vec<Batch>>) -> Result<Self> {
        let url = format!("http://127.0.0.1:{port}/ingest_clickstream");
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { url, client, batches: Arc::clone(batches), next: vec![0; PARTITIONS] })
    }

    /// `rounds` batches of each partition. `pace`: how many events a second are due over all; without it the next batch is
    /// due when the one before was answered.
    pub(crate) async fn run(&mut self, rounds: usize, pace: Option<f64>) -> Result<Ran> {
        let interval = pace.map(|pace| Duration::from_secs_f64((PARTITIONS * EVENTS_OF_A_BATCH) as f64 / pace));
        let began = Instant::now();
        let partitions = self.next.iter_mut().enumerate().map(|(partition, next)| {
            let one = Partition { url: &self.url, client: &self.client, batches: &self.batches, partition, interval };
            one.run(rounds, next, began)
        });
        let latencies = try_join_all(partitions).await?;
        let seconds = began.elapsed().as_secs_f64();
        let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
        latencies.sort_unstable();
        Ok(Ran { events: (rounds * PARTITIONS * EVENTS_OF_A_BATCH) as u64, seconds, latencies })
    }
}

struct Partition<'a> {
    url: &'a str,
    client: &'a reqwest::Client,
    batches: &'a [Batch],
    partition: usize,
    interval: Option<Duration>,
}

impl Partition<'_> {
    async fn run(self, rounds: usize, next: &mut i64, began: Instant) -> Result<Vec<Duration>> {
        let mut latencies = Vec::with_capacity(rounds);
        for round in 0..rounds {
            let mut due = Instant::now();
            if let Some(interval) = self.interval {
                // The partitions take turns.
                due = began + interval.mul_f64(round as f64 + self.partition as f64 / PARTITIONS as f64);
                tokio::time::sleep_until(due.into()).await;
            }
            let batch = &self.batches[(round + self.partition) % self.batches.len()];
            self.deliver(batch.envelope(self.partition, *next)).await?;
            latencies.push(due.elapsed());
            *next += EVENTS_OF_A_BATCH as i64;
        }
        Ok(latencies)
    }

    async fn deliver(&self, envelope: String) -> Result<()> {
        let request = self.client.post(self.url).header("content-type", "application/json");
        let request = request.header("x-azure-functions-invocationid", "00000000-0000-4000-8000-000000000001");
        let answer = request.body(envelope).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        let answer: serde_json::Value = serde_json::from_str(&text)?;
        let committed = &answer["ReturnValue"]["books"]["committed"];
        if !status.is_success() || committed != EVENTS_OF_A_BATCH {
            return Err(format!("{status}: {text}").into());
        }
        Ok(())
    }
}

/// Files of a table, and entries of its log.
pub(crate) fn files(table: &Path) -> Result<(usize, usize)> {
    let count = |folder: &Path, extension: &str| -> Result<usize> {
        let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
        Ok(entries.iter().filter(|entry| entry.path().extension().is_some_and(|found| found == extension)).count())
    };
    Ok((count(table, "parquet")?, count(&table.join("_delta_log"), "json")?))
}
