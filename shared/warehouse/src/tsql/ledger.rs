//! Where the loader notes how far it is: a row and a list of files for each table of the lake, in tables of its own.
//!
//! Of its own, because a dedicated pool locks whole tables for a change, and Fabric refuses one of two transactions that
//! change the same table, whatever rows: loads of different tables must not know of each other.

use super::session::Session;
use super::text::{Target, literal};
use super::{Flavor, STATE_SCHEMA, State};
use crate::{Error, Watermark};

const NOW: &str = "CONVERT(varchar(40), GETUTCDATE(), 126)";
/// Rows of one `INSERT … SELECT … UNION ALL`, and paths of one `IN` list.
const ROWS_PER_STATEMENT: usize = 250;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) source: String,
    /// As identifiers.
    watermark: String,
    files: String,
    tables: [Target; 2],
}

impl Ledger {
    /// # Errors
    /// [`Error::Name`] for a source whose name is too long for a table's.
    pub(crate) fn of(source: &str) -> Result<Self, Error> {
        let table = |kind: &str| Target { schema: STATE_SCHEMA.to_owned(), table: format!("{kind}_{source}") };
        let tables = [table("watermark"), table("loaded_file")];
        let [watermark, files] = [tables[0].sql()?, tables[1].sql()?];
        Ok(Self { source: source.to_owned(), watermark, files, tables })
    }

    /// Each table, and how it is made.
    pub(crate) fn definitions(&self, flavor: Flavor) -> [(&Target, String); 2] {
        let (text, long, heap) = match flavor {
            Flavor::Dedicated => ("nvarchar", "nvarchar(max)", " WITH (HEAP, DISTRIBUTION = ROUND_ROBIN)"),
            Flavor::Fabric => ("varchar", "varchar(max)", ""),
        };
        let Self { watermark, files, tables: [first, second], .. } = self;
        let watermark = format!(
            "CREATE TABLE {watermark} ([source_table] {text}(400) NOT NULL, [target] {text}(400) NOT NULL, \
             [table_id] {text}(200) NOT NULL, [version] bigint NOT NULL, [schema_text] {long} NULL, \
             [generation] {text}(200) NOT NULL, [run_id] {text}(200) NOT NULL, [updated_at] {text}(40) NOT NULL, \
             [pending] {text}(200) NULL, [pending_table_id] {text}(200) NULL, [pending_version] bigint NULL, \
             [pending_schema] {long} NULL){heap}"
        );
        let files = format!(
            "CREATE TABLE {files} ([source_table] {text}(400) NOT NULL, [generation] {text}(200) NOT NULL, \
             [path] {text}(2000) NOT NULL){heap}"
        );
        [(first, watermark), (second, files)]
    }

    pub(crate) async fn read(&self, session: &mut dyn Session) -> Result<Option<State>, Error> {
        const DOING: &str = "reading the watermark";
        let rows = session.rows(DOING, &self.read_watermark()).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let text = |index: usize| row.get(index).cloned().flatten();
        let version = text(2).and_then(|text| text.trim().parse().ok()).ok_or(Error::Answer { doing: DOING })?;
        Ok(Some(State {
            target: text(0).unwrap_or_default(),
            watermark: Watermark {
                table_id: text(1).unwrap_or_default(),
                version,
                schema: text(3).unwrap_or_default(),
            },
            generation: text(4).unwrap_or_default(),
            run_id: text(5).unwrap_or_default(),
            pending: text(6),
        }))
    }

    /// Under which files are noted.
    pub(crate) fn generations(&self) -> String {
        format!("SELECT DISTINCT [generation] FROM {}", self.files)
    }

    /// Everything that the watermark's row says.
    fn read_watermark(&self) -> String {
        let Self { watermark, .. } = self;
        format!(
            "SELECT [target], [table_id], [version], [schema_text], [generation], [run_id], [pending] FROM {watermark} WHERE [source_table] = {}",
            literal(&self.source)
        )
    }

    /// A row to compare and set. Two loaders that make it at the same time make two alike, which stay alike.
    pub(crate) fn first_watermark(&self, target: &str) -> String {
        let Self { watermark, .. } = self;
        let source = literal(&self.source);
        format!(
            "INSERT INTO {watermark} ([source_table], [target], [table_id], [version], [schema_text], \
             [generation], [run_id], [updated_at]) SELECT {source}, {}, N'', -1, N'', N'', N'', N'' \
             WHERE NOT EXISTS (SELECT 1 FROM {watermark} WHERE [source_table] = {source})",
            literal(target)
        )
    }

    /// Moves the watermark if it is where the plan began; [`read_watermark`] tells whether it did, by the run id.
    pub(crate) fn move_watermark(&self, from: &Watermark, to: &Watermark, run_id: &str) -> String {
        let Self { watermark, .. } = self;
        format!(
            "UPDATE {watermark} SET [table_id] = {}, [version] = {}, [schema_text] = {}, [run_id] = {}, \
             [updated_at] = {NOW} WHERE [source_table] = {} AND [table_id] = {} AND [version] = {} AND [pending] IS NULL",
            literal(&to.table_id),
            to.version,
            literal(&to.schema),
            literal(run_id),
            literal(&self.source),
            literal(&from.table_id),
            from.version
        )
    }

    /// Notes a table that is to take the target's place, under the same condition.
    pub(crate) fn note_pending(
        &self,
        target: &str,
        from: (&str, i64),
        to: &Watermark,
        pending: &str,
        run_id: &str,
    ) -> String {
        let Self { watermark, .. } = self;
        format!(
            "UPDATE {watermark} SET [target] = {}, [pending] = {}, [pending_table_id] = {}, \
             [pending_version] = {}, [pending_schema] = {}, [run_id] = {}, [updated_at] = {NOW} \
             WHERE [source_table] = {} AND [table_id] = {} AND [version] = {} AND [pending] IS NULL",
            literal(target),
            literal(pending),
            literal(&to.table_id),
            to.version,
            literal(&to.schema),
            literal(run_id),
            literal(&self.source),
            literal(from.0),
            from.1
        )
    }

    /// The pending table is in its place: what was pending holds.
    pub(crate) fn settle(&self, pending: &str) -> String {
        let Self { watermark, .. } = self;
        format!(
            "UPDATE {watermark} SET [table_id] = [pending_table_id], [version] = [pending_version], \
             [schema_text] = [pending_schema], [generation] = [pending], [pending] = NULL, [pending_table_id] = NULL, \
             [pending_version] = NULL, [pending_schema] = NULL, [updated_at] = {NOW} \
             WHERE [source_table] = {} AND [pending] = {}",
            literal(&self.source),
            literal(pending)
        )
    }

    /// Waits for whoever is changing the row, and changes nothing.
    pub(crate) fn wait_for_watermark(&self) -> String {
        let Self { watermark, .. } = self;
        format!("UPDATE {watermark} SET [updated_at] = [updated_at] WHERE [source_table] = {}", literal(&self.source))
    }

    pub(crate) fn loaded_files(&self, generation: &str) -> String {
        let Self { files, .. } = self;
        format!(
            "SELECT [path] FROM {files} WHERE [source_table] = {} AND [generation] = {}",
            literal(&self.source),
            literal(generation)
        )
    }

    pub(crate) fn note_files(&self, generation: &str, paths: &[&str]) -> Vec<String> {
        let Self { files, .. } = self;
        let (source, generation) = (literal(&self.source), literal(generation));
        let row = |path: &&str| format!("SELECT {source}, {generation}, {}", literal(path));
        let insert = |paths: &[&str]| {
            let rows = paths.iter().map(row).collect::<Vec<_>>().join(" UNION ALL ");
            format!("INSERT INTO {files} ([source_table], [generation], [path]) {rows}")
        };
        paths.chunks(ROWS_PER_STATEMENT).map(insert).collect()
    }

    pub(crate) fn forget_files(&self, generation: &str, paths: &[&str]) -> Vec<String> {
        let delete = |paths: &[&str]| {
            let list = paths.iter().map(|path| literal(path)).collect::<Vec<_>>().join(", ");
            format!("{} AND [path] IN ({list})", self.forget_generation("=", generation))
        };
        paths.chunks(ROWS_PER_STATEMENT).map(delete).collect()
    }

    /// `relation` is `=` or `<>`.
    pub(crate) fn forget_generation(&self, relation: &str, generation: &str) -> String {
        let Self { files, .. } = self;
        format!(
            "DELETE FROM {files} WHERE [source_table] = {} AND [generation] {relation} {}",
            literal(&self.source),
            literal(generation)
        )
    }
}
