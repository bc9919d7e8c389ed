//! Reprocessing: everything a blob gave is replaced by what it gives now — after a contract was corrected, or a
//! quarantine looked into. One commit for each of the two tables; a second delivery of the same request changes nothing.

use std::sync::Arc;

use weir_intake::ErrorKind;
use weir_lake::{Books, Outcome as Committed, Producer, Replacement};

use super::blob::{self, BlobRef, Records};
use super::{Outcome, Receipt};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// Requests are never compared with each other, so each has its own producer, at its only version.
const VERSION: i64 = 1;

pub(crate) async fn reprocess_blob(
    app: &App,
    dataset: &str,
    blob: &BlobRef,
    request: &str,
) -> Result<Receipt, AppError> {
    let runtime = app.runtime().await?;
    let dataset = Arc::clone(runtime.dataset(dataset)?);
    let name = &dataset.contract.name;
    let table = runtime.lake.table(&dataset.table).await?;
    table.refresh().await?;
    let producer = format!("reprocess:{request}:{}", blob.source());
    if table.committed(&producer).is_some() {
        return Ok(Receipt::nothing(name, Outcome::AlreadyCommitted));
    }
    match replace(runtime, &dataset, blob, &producer).await {
        // What the source no longer gives stays as it is: deleting rows is erasure's business.
        Err(AppError::Intake(error)) if error.kind() == ErrorKind::Gone => Ok(Receipt::nothing(name, Outcome::Gone)),
        Err(AppError::Intake(error)) if error.kind() == ErrorKind::Changed => {
            Ok(Receipt::nothing(name, Outcome::Overwritten))
        }
        other => other,
    }
}

async fn replace(runtime: &Runtime, dataset: &Arc<Dataset>, at: &BlobRef, producer: &str) -> Result<Receipt, AppError> {
    let opened = blob::open(runtime, at).await?;
    let _permit = runtime.budget.take(blob::footprint(&opened)).await;
    let table = runtime.lake.table(&dataset.table).await?;
    let quarantine = runtime.lake.table(&dataset.quarantine).await?;
    let mut hold_back: Option<String> = None;
    let (rows, refused, records, warnings) = loop {
        let lineage = blob::lineage(at, &opened);
        let mut source = Records::open(dataset, at, opened.clone(), lineage, hold_back.as_deref()).await?;
        let (mut clean, mut refused) = (table.write(), quarantine.write());
        let (mut records, mut warnings) = (0, Vec::new());
        let mut violated = None;
        while let Some(output) = source.next().await? {
            violated = violated.or_else(|| output.held_back.clone());
            records += output.records;
            warnings.extend(output.warnings);
            clean.write(output.clean).await?;
            refused.write(output.quarantined).await?;
        }
        if violated.is_none() || hold_back.is_some() {
            break (clean.finish().await?, refused.finish().await?, records, warnings);
        }
        hold_back = violated;
    };
    let (committed, quarantined) = (rows.rows(), refused.rows());
    let source = at.source();
    // The blob's own delivery is settled by the same commits: should it still be on its way, it finds this, and should
    // it get in between, the replacement is planned anew.
    let settles = Producer {
        id: blob::producer(at, opened.etag()),
        version: i64::try_from(records).unwrap_or(i64::MAX),
        expires: true,
    };
    // Each attempt replaces quarantine's rows anew: they must be those of the attempt that the table settles.
    let attempt = Producer { id: format!("{producer}:{}", uuid::Uuid::new_v4()), version: VERSION, expires: true };
    let books = Books { records_in: quarantined, committed: quarantined, ..Books::default() };
    let replacement = Replacement { source: source.clone(), positions: None, producer: attempt, rows: refused, books };
    quarantine.replace_source_settling(replacement, settles.clone()).await?;
    let books = Books { records_in: records, committed, quarantined, ..Books::default() };
    let producer = Producer { id: producer.to_owned(), version: VERSION, expires: true };
    let replacement = Replacement { source, positions: None, producer, rows, books };
    match table.replace_source_settling(replacement, settles).await? {
        Committed::Committed { version } => Ok(Receipt {
            dataset: dataset.contract.name.clone(),
            outcome: Outcome::Committed,
            books,
            version: Some(version),
            warnings,
        }),
        Committed::AlreadyCommitted { .. } | Committed::Overlaps { .. } => {
            Ok(Receipt::nothing(&dataset.contract.name, Outcome::AlreadyCommitted))
        }
    }
}
