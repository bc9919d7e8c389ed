//! Transformed chunks, made into rows that are ready to be committed.

use std::sync::Arc;

use weir_lake::{FileList, Staged, Table, TableWriter};
use weir_transform::{Lineage, Output, QualityReport};

use super::pieces::Piece;
use super::publish::Delivery;
use crate::app::{Dataset, Runtime};
use crate::error::AppError;

/// Takes the chunks of a blob, a part or a piece.
pub(super) struct Collector<'a> {
    runtime: &'a Runtime,
    dataset: &'a Arc<Dataset>,
    table: Arc<Table>,
    clean: TableWriter,
    /// Quarantine is opened, and made, for the first record that needs it.
    refused: Option<(Arc<Table>, TableWriter)>,
    report: QualityReport,
}

/// Rows of chunks that were collected.
pub(super) struct Collected<'a> {
    runtime: &'a Runtime,
    dataset: &'a Arc<Dataset>,
    table: Arc<Table>,
    clean: Staged,
    refused: Staged,
    report: QualityReport,
    /// Bytes of the blob that were read; `None` if an earlier release has read some of them, and did not count.
    read: Option<u64>,
}

impl<'a> Collector<'a> {
    pub(super) async fn new(runtime: &'a Runtime, dataset: &'a Arc<Dataset>) -> Result<Self, AppError> {
        let table = runtime.lake.table(&dataset.table).await?;
        Ok(Self { clean: table.write(), runtime, dataset, table, refused: None, report: QualityReport::default() })
    }

    pub(super) async fn take(&mut self, output: Output) -> Result<(), AppError> {
        self.report.merge(output.report);
        self.clean.write(output.clean).await?;
        if output.quarantined.height() == 0 {
            return Ok(());
        }
        if self.refused.is_none() {
            let quarantine = self.runtime.lake.table(&self.dataset.quarantine).await?;
            self.refused = Some((Arc::clone(&quarantine), quarantine.write()));
        }
        if let Some((_, writer)) = &mut self.refused {
            writer.write(output.quarantined).await?;
        }
        Ok(())
    }

    /// `read`: bytes of the blob, so far as they are counted here.
    pub(super) async fn finish(self, read: u64) -> Result<Collected<'a>, AppError> {
        let Self { runtime, dataset, table, clean, refused, report } = self;
        let refused = match refused {
            Some((_, writer)) => writer.finish().await?,
            None => table.listed([])?,
        };
        Ok(Collected { runtime, dataset, clean: clean.finish().await?, table, refused, report, read: Some(read) })
    }
}

impl<'a> Collected<'a> {
    /// Rows that were collected in pieces, as one.
    pub(super) async fn joined(
        runtime: &'a Runtime,
        dataset: &'a Arc<Dataset>,
        pieces: Vec<Piece>,
    ) -> Result<Self, AppError> {
        let mut report = QualityReport::default();
        let (mut clean, mut refused, mut read) = (Vec::new(), Vec::new(), Some(0_u64));
        for piece in pieces {
            read = read.zip(piece.read).map(|(read, more)| read.saturating_add(more));
            report.merge(piece.report);
            clean.push(piece.clean);
            refused.push(piece.refused);
        }
        let table = runtime.lake.table(&dataset.table).await?;
        let refused = match refused.iter().all(FileList::is_empty) {
            true => table.listed([])?,
            false => runtime.lake.table(&dataset.quarantine).await?.listed(refused)?,
        };
        Ok(Self { runtime, dataset, clean: table.listed(clean)?, table, refused, report, read })
    }

    /// As files that another process can commit.
    pub(super) async fn into_piece(self) -> Result<Piece, AppError> {
        let refused = match self.refused.rows() {
            0 => FileList::default(),
            _ => self.runtime.lake.table(&self.dataset.quarantine).await?.list_files(self.refused).await?,
        };
        Ok(Piece {
            clean: self.table.list_files(self.clean).await?,
            refused,
            report: self.report,
            resume: None,
            bytes: None,
            read: self.read,
        })
    }

    /// What is to be committed: these rows, or one report in their place if the blob is held back whole.
    pub(super) async fn into_delivery(self, lineage: Lineage) -> Result<Delivery, AppError> {
        let Self { runtime, dataset, table, clean, refused, report, read } = self;
        let QualityReport { records, left_out, .. } = report;
        let Some(held_back) = report.verdict(&dataset.contract) else {
            let QualityReport { rules, reasons, .. } = report;
            return Ok(Delivery { clean, refused, records, read, rules, reasons, left_out, held_back: false });
        };
        let in_its_place = dataset.transform.held_back_record(&held_back, &lineage)?;
        let quarantine = runtime.lake.table(&dataset.quarantine).await?;
        table.discard(clean).await;
        quarantine.discard(refused).await;
        let refused = quarantine.stage(in_its_place.quarantined).await?;
        let clean = table.listed([])?;
        let QualityReport { rules, reasons, .. } = report;
        Ok(Delivery { clean, refused, records, read, rules, reasons, left_out: 0, held_back: true })
    }
}
