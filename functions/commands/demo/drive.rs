//! What the demo does to the app: feeds it, repeats deliveries, kills it, runs its timer, asks it to reprocess.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use functions_host::{EventIn, Host};
use serde_json::{Value, json};

use super::data::{self, Blob, Content, EventBatchOut, Expected, Plan};
use super::{Progress, parquet};
use crate::commands::dev::Site;

/// Every n-th blob is announced twice.
const REPEAT_BLOB: u64 = 3;
/// Idle means that all queues are empty and all events are checkpointed.
const IDLE_LIMIT: Duration = Duration::from_secs(1800);

/// What was fed, and what must come of it.
#[derive(Debug, Default)]
pub(crate) struct Fed {
    pub(crate) expected: BTreeMap<&'static str, Expected>,
    pub(crate) blobs: u64,
    pub(crate) events: u64,
    pub(crate) repeated: u64,
    pub(crate) kills: u64,
    /// A blob of `sales` with good and bad lines.
    pub(crate) reprocess: String,
}

/// Files and events side by side, as they come in life; the handler is killed half way through.
pub(crate) async fn feed(host: &Host, site: &Site, plan: &Plan, progress: &Progress) -> Result<Fed> {
    let mut fed = Fed::default();
    let blobs = data::sales(plan).map(|blob| ("sales", blob));
    let blobs = blobs.chain(data::customers(plan).map(|blob| ("customers", blob)));
    let mut batches: Vec<_> = data::sensors(plan)?.map(|batch| ("sensors", batch)).collect();
    batches.extend(data::clickstream(plan).map(|batch| ("clickstream", batch)));
    let (half, mut pending) = (batches.len() / 2, batches.into_iter());
    progress.count("files and events", pending.len() as u64);
    for (dataset, blob) in blobs {
        land(site, &blob).await?;
        fed.blobs += 1;
        *fed.expected.entry(dataset).or_default() += blob.expected;
        if fed.blobs.is_multiple_of(REPEAT_BLOB) {
            wait_announced(host, &blob).await?;
            fed.repeated += 1;
        }
        if dataset == "sales" && blob.expected.quarantined > 0 {
            fed.reprocess = blob.path;
        }
        for batch in pending.by_ref().take(8) {
            send(host, &mut fed, batch, progress)?;
        }
        if fed.kills == 0 && pending.len() <= half {
            fed.kills += u64::from(kill_at_work(host).await?);
        }
    }
    for batch in pending {
        send(host, &mut fed, batch, progress)?;
    }
    fed.repeated += rewind(host).await?;
    if fed.kills == 0 {
        fed.kills += u64::from(kill_at_work(host).await?);
    }
    Ok(fed)
}

/// Under another name first, as an uploader should: the watcher must not see half a file.
async fn land(site: &Site, blob: &Blob) -> Result<()> {
    let target: PathBuf = site.landing().join(&blob.container).join(&blob.path);
    let folder = target.parent().context("a blob has a folder")?;
    tokio::fs::create_dir_all(folder).await.with_context(|| format!("create {}", folder.display()))?;
    let mut partial = target.clone().into_os_string();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    match &blob.content {
        Content::Bytes(bytes) => tokio::fs::write(&partial, bytes).await.context("write a blob")?,
        Content::Customers(rows) => parquet::write(rows, &partial)?,
    }
    tokio::fs::rename(&partial, &target).await.context("land a blob")
}

/// Announces the blob a second time, as soon as the watcher has seen it.
async fn wait_announced(host: &Host, blob: &Blob) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(400)).await;
    host.announce_blob(&blob.container, &blob.path).context("announce a blob again")
}

fn send(
    host: &Host,
    fed: &mut Fed,
    (dataset, batch): (&'static str, EventBatchOut),
    progress: &Progress,
) -> Result<()> {
    fed.events += batch.events.len() as u64;
    *fed.expected.entry(dataset).or_default() += batch.expected;
    let events = batch.events.into_iter().map(|event| EventIn::new(event.body).with_key(event.key));
    host.send_events(&batch.hub, events.collect()).context("send events")?;
    progress.advance();
    Ok(())
}

/// SIGKILL while invocations run.
async fn kill_at_work(host: &Host) -> Result<bool> {
    tokio::time::sleep(Duration::from_millis(150)).await;
    Ok(host.kill_handler().await.is_some())
}

/// Every partition is delivered again from its beginning, as after a lost checkpoint.
async fn rewind(host: &Host) -> Result<u64> {
    settle(host).await?;
    let mut repeated = 0;
    for (hub, function) in [("sensors", "ingest_sensors"), ("clickstream", "ingest_clickstream")] {
        for partition in 0..2 {
            host.rewind(hub, function, partition, 0).context("deliver a partition again")?;
            repeated += 1;
        }
    }
    Ok(repeated)
}

pub(crate) async fn settle(host: &Host) -> Result<()> {
    host.wait_idle(IDLE_LIMIT).await.context("wait until everything is delivered; see handler.log")
}

/// The timer, and the tasks that it hands out.
pub(crate) async fn maintain(host: &Host) -> Result<()> {
    let report = host.run_timer("maintain").await.context("run the timer")?;
    anyhow::ensure!(report.ok, "the timer failed: {}", report.error.unwrap_or_default());
    settle(host).await
}

/// `POST /api/reprocess`, as an operator would.
pub(crate) async fn reprocess(host: &Host, path: &str) -> Result<()> {
    let url = format!("{}/api/reprocess", host.http_url());
    let request = reqwest::Client::new()
        .post(url)
        .header("x-functions-key", host.function_key())
        .json(&json!({ "dataset": "sales", "path": path }));
    let response = request.send().await.context("ask to reprocess")?;
    let (status, answer) = (response.status(), response.json::<Value>().await.unwrap_or_default());
    anyhow::ensure!(status.is_success() && answer["tasks"] == 1, "reprocess answered {status}: {answer}");
    settle(host).await
}
