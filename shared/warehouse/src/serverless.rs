//! The script that shows the lake's tables in Synapse serverless SQL: a view of each, with explicit types.
//!
//! Views, not external tables: those know no partitions. Explicit types, because serverless SQL would take every string
//! for `varchar(8000)` in the database's collation, and reads none faster.

use std::fmt::Write;

use weir_contract::{DataType, TableColumn};

use crate::Error;
use crate::tsql::text::{literal, name};
use crate::tsql::types::fixed;

/// The one collation that compares strings as the lake does and lets files be skipped by them.
const COLLATION: &str = "Latin1_General_100_BIN2_UTF8";

/// A table to be seen.
#[derive(Debug, Clone)]
pub struct View {
    /// Its folder below the root, and the view's name.
    pub name: String,
    /// Names are case-sensitive there: a wrong case reads as null.
    pub columns: Vec<TableColumn>,
}

/// The script for the lake at `root`. May be run again: what is there stays, views are replaced.
pub fn script(database: &str, root: &str, views: &[View]) -> Result<String, Error> {
    let (own, text) = (name("database", database)?, literal(database));
    let mut out = format!(
        "-- Written by `weir warehouse views`; may be run again. Connect to the serverless endpoint of the workspace, whose\n\
         -- managed identity needs Storage Blob Data Reader on the lake.\n\
         IF NOT EXISTS (SELECT 1 FROM sys.databases WHERE name = {text})\n    \
         CREATE DATABASE {own} COLLATE {COLLATION};\nGO\nUSE {own};\nGO\n\
         IF NOT EXISTS (SELECT 1 FROM sys.symmetric_keys WHERE name = N'##MS_DatabaseMasterKey##')\n    \
         CREATE MASTER KEY;\nGO\n\
         IF NOT EXISTS (SELECT 1 FROM sys.database_scoped_credentials WHERE name = N'weir_identity')\n    \
         CREATE DATABASE SCOPED CREDENTIAL [weir_identity] WITH IDENTITY = 'Managed Identity';\nGO\n\
         IF NOT EXISTS (SELECT 1 FROM sys.external_data_sources WHERE name = N'weir_lake')\n    \
         CREATE EXTERNAL DATA SOURCE [weir_lake] WITH (LOCATION = {}, CREDENTIAL = [weir_identity]);\nGO\n",
        literal(root)
    );
    for view in views {
        let columns = view.columns.iter().map(definition).collect::<Result<Vec<_>, _>>()?.join(",\n    ");
        let _ = write!(
            out,
            "CREATE OR ALTER VIEW [dbo].{} AS\nSELECT * FROM OPENROWSET(\n    BULK {}, DATA_SOURCE = N'weir_lake', \
             FORMAT = N'DELTA'\n) WITH (\n    {columns}\n) AS [rows];\nGO\n",
            name("view", &view.name)?,
            literal(&view.name)
        );
    }
    Ok(out)
}

fn definition(column: &TableColumn) -> Result<String, Error> {
    let own = fixed(column.data_type).unwrap_or_else(|| match column.data_type {
        DataType::Binary => "varbinary(8000)".to_owned(),
        _ => format!("varchar(8000) COLLATE {COLLATION}"),
    });
    Ok(format!("{} {own}", name("column", &column.name)?))
}
