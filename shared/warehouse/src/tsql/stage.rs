//! Files into staging tables. What is in a table is exactly the files' rows: columns by the place that each file gives
//! them, counted afterwards.

use std::collections::BTreeMap;

use futures::StreamExt;
use weir_contract::{LongText, SOURCE, SOURCE_POSITION, TableColumn};

use super::session::Session;
use super::statements::{Staging, Writer};
use super::text::Target;
use super::{STATE_SCHEMA, number, statements};
use crate::{DataFile, Error, FileReader};

/// Footers that are read at the same time.
const PARALLEL_FOOTERS: usize = 16;

/// What files of one staging table share: their columns in their order, and their partition values.
type Likeness = (Vec<String>, BTreeMap<String, Option<String>>);

/// The staging tables of one load, dropped by [`Stage::clear`].
pub(crate) struct Stage<'a> {
    pub(crate) writer: Writer<'a>,
    /// Begins the names of this load's tables.
    pub(crate) prefix: String,
    pub(crate) root: &'a str,
    pub(crate) made: Vec<Target>,
}

impl Stage<'_> {
    /// Groups `files` by what their rows look like. Nothing is made yet.
    pub(crate) async fn plan(&mut self, files: &[DataFile], reader: &dyn FileReader) -> Result<Vec<Staging>, Error> {
        // Collected, because the compiler cannot tell that a stream of borrowing futures is `Send`.
        let reads: Vec<_> = files.iter().map(|file| reader.layout(file)).collect();
        let layouts: Vec<_> = futures::stream::iter(reads).buffered(PARALLEL_FOOTERS).collect().await;
        let mut groups: BTreeMap<Likeness, (Vec<DataFile>, u64)> = BTreeMap::new();
        for (file, layout) in files.iter().zip(layouts) {
            let layout = layout.map_err(|error| error.at(&file.path))?;
            if let Some(expected) = file.num_records.filter(|expected| *expected != layout.rows) {
                return Err(Error::RowCount { path: file.path.clone(), expected, found: layout.rows });
            }
            let group = groups.entry((layout.columns, file.partition_values.clone())).or_default();
            group.0.push(file.clone());
            group.1 += layout.rows;
        }
        groups
            .into_iter()
            .map(|((columns, partition), (files, rows))| self.group(&columns, partition, files, rows))
            .collect()
    }

    fn group(
        &mut self,
        columns: &[String],
        partition: BTreeMap<String, Option<String>>,
        files: Vec<DataFile>,
        rows: u64,
    ) -> Result<Staging, Error> {
        let known = |name: &String| self.writer.columns.iter().find(|column| column.name == *name).cloned();
        let columns = columns.iter().map(|name| {
            known(name).ok_or_else(|| Error::Column {
                path: files.first().map(|file| file.path.clone()).unwrap_or_default(),
                column: name.clone(),
                detail: "is in the file and not in the table: COPY INTO cannot leave it out".to_owned(),
            })
        });
        let columns = columns.collect::<Result<Vec<TableColumn>, Error>>()?;
        let table = Target { schema: STATE_SCHEMA.to_owned(), table: format!("{}_{}", self.prefix, self.made.len()) };
        self.made.push(table.clone());
        Ok(Staging { table, columns, partition, files, rows })
    }

    /// Makes the table and copies the files into it.
    pub(crate) async fn copy(&self, session: &mut dyn Session, staging: &Staging) -> Result<(), Error> {
        session.execute("creating a staging table", &self.writer.create_staging(staging)?).await?;
        for copy in self.writer.copy(staging, self.root)? {
            session.execute("copying files into a staging table", &copy).await?;
        }
        let found = number(session, "counting staged rows", &statements::count(&staging.table)?).await?;
        if found != staging.rows {
            return Err(Error::Staged { files: staging.files.len(), expected: staging.rows, found });
        }
        Ok(())
    }

    /// Refuses values that are longer than their column, or lets them be cut where the contract says so. Never those that
    /// rows are told apart by.
    pub(crate) async fn check(
        &self,
        session: &mut dyn Session,
        staging: &Staging,
        keys: &[String],
    ) -> Result<(), Error> {
        let Some((columns, sql)) = self.writer.too_long(staging)? else { return Ok(()) };
        let counts = session.rows("looking for long values", &sql).await?.into_iter().next().unwrap_or_default();
        for (column, count) in columns.into_iter().zip(counts) {
            let rows: u64 = count.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
            let tells_apart = column == SOURCE || column == SOURCE_POSITION || keys.contains(&column);
            if rows > 0 && (tells_apart || self.writer.physical.long_text == LongText::Fail) {
                return Err(Error::TooLong { table: self.writer.target.sql()?, column, rows });
            }
        }
        Ok(())
    }

    /// Drops what was made. A table that stays is dropped after a day.
    pub(crate) async fn clear(&mut self, session: &mut dyn Session) {
        for table in std::mem::take(&mut self.made) {
            if let Ok(drop) = statements::drop_table(&table)
                && let Err(error) = session.execute("dropping a staging table", &drop).await
            {
                tracing::debug!(table = table.table, %error, "a staging table stays for a day");
            }
        }
    }
}
