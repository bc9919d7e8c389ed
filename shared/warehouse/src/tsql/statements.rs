//! Every statement that the loader sends, as text. Pure; `tests/data/tsql` holds what comes out.
//!
//! Nothing here that a dedicated pool refuses: no `@@ROWCOUNT`, no rows after `VALUES`, no isolation level, no definition
//! of tables inside a transaction, no variables.

use std::collections::BTreeMap;

use weir_contract::{DataType, Distribution, SOURCE, SOURCE_POSITION, TableColumn, WarehouseIndex, positions_of};

use super::leftovers::{NEW, OLD, STAGE};
use super::text::{Target, address, literal, name};
use super::{Flavor, STATE_SCHEMA};
use crate::{DataFile, Error, Physical};

/// Text of one statement's file list, at most: pools take much more, but plans are easier to read so.
const COPY_LIST_BYTES: usize = 128 << 10;
const COPY_FILES: usize = 1_000;
/// Byte for byte: a database's own collation may take `a` for `A`.
pub(crate) const EXACT: &str = "COLLATE Latin1_General_100_BIN2";

/// A staging table: files that have the same columns in the same order, and the same partition values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staging {
    pub(crate) table: Target,
    /// The files' columns in their order, with their types.
    pub(crate) columns: Vec<TableColumn>,
    pub(crate) partition: BTreeMap<String, Option<String>>,
    pub(crate) files: Vec<DataFile>,
    pub(crate) rows: u64,
}

/// Writes statements for one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) flavor: Flavor,
    pub(crate) target: &'a Target,
    pub(crate) columns: &'a [TableColumn],
    pub(crate) physical: &'a Physical,
    pub(crate) label: &'a str,
}

/// A row when the table is there.
pub(crate) fn exists(target: &Target) -> String {
    format!(
        "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(&target.schema),
        literal(&target.table)
    )
}

pub(crate) fn columns_of(target: &Target) -> String {
    format!(
        "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS \
         WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(&target.schema),
        literal(&target.table)
    )
}

/// A row when the schema is there.
pub(crate) fn schema_exists(schema: &str) -> String {
    format!("SELECT name FROM sys.schemas WHERE name = {}", literal(schema))
}

pub(crate) fn create_schema(schema: &str) -> Result<String, Error> {
    Ok(format!("CREATE SCHEMA {}", name("schema", schema)?))
}

pub(crate) fn count(table: &Target) -> Result<String, Error> {
    Ok(format!("SELECT COUNT_BIG(*) FROM {}", table.sql()?))
}

pub(crate) fn drop_table(table: &Target) -> Result<String, Error> {
    Ok(format!("DROP TABLE {}", table.sql()?))
}

/// The pool's own clock, which alone says what is over.
pub(crate) const NOW_SECONDS: &str = "SELECT DATEDIFF_BIG(second, '19700101', GETUTCDATE())";

/// Schema and name of every table that a load made for itself, whoever it was; beside targets of `schema` alone.
pub(crate) fn left_over(schema: &str) -> String {
    format!(
        "SELECT s.name, t.name FROM sys.tables AS t INNER JOIN sys.schemas AS s ON t.schema_id = s.schema_id \
         WHERE (s.name = N'{STATE_SCHEMA}' AND LEFT(t.name, 6) = N'{STAGE}') \
         OR (s.name = {} AND LEFT(t.name, 9) IN (N'{NEW}', N'{OLD}'))",
        literal(schema)
    )
}

/// `table` takes the place `to`, in its schema.
pub(crate) fn rename(flavor: Flavor, table: &Target, to: &str) -> Result<String, Error> {
    Ok(match flavor {
        Flavor::Dedicated => format!("RENAME OBJECT {} TO {}", table.sql()?, name("table", to)?),
        Flavor::Fabric => {
            name("table", to)?;
            format!("EXEC sp_rename {}, {}", table.quoted()?, literal(to))
        }
    })
}

impl Writer<'_> {
    pub(crate) fn create_target(&self, table: &Target) -> Result<String, Error> {
        let columns = self.columns.iter().map(|column| self.flavor.definition(column, self.physical));
        let columns = columns.collect::<Result<Vec<_>, _>>()?.join(", ");
        Ok(format!("CREATE TABLE {} ({columns}){}", table.sql()?, self.storage()?))
    }

    /// Fabric decides both itself and has no words for them.
    fn storage(&self) -> Result<String, Error> {
        if self.flavor == Flavor::Fabric {
            return Ok(String::new());
        }
        let distribution = match &self.physical.distribution {
            Distribution::RoundRobin => "ROUND_ROBIN".to_owned(),
            Distribution::Replicate => "REPLICATE".to_owned(),
            Distribution::Hash(column) => format!("HASH({})", name("column", column)?),
        };
        let index = match &self.physical.index {
            // What is long or binary has no place in a columnstore: such a table is a heap.
            WarehouseIndex::Columnstore => "CLUSTERED COLUMNSTORE INDEX".to_owned(),
            WarehouseIndex::Heap => "HEAP".to_owned(),
            WarehouseIndex::Clustered(column) => format!("CLUSTERED INDEX ({})", name("column", column)?),
        };
        Ok(format!(" WITH (DISTRIBUTION = {distribution}, {index})"))
    }

    pub(crate) fn add_column(&self, column: &TableColumn) -> Result<String, Error> {
        Ok(format!("ALTER TABLE {} ADD {}", self.target.sql()?, self.flavor.definition(column, self.physical)?))
    }

    /// Statistics by hand where the pool's own come too late: on what rows are spread and looked for by.
    pub(crate) fn statistics(&self, table: &Target) -> Result<Vec<String>, Error> {
        if self.flavor == Flavor::Fabric {
            return Ok(Vec::new());
        }
        let hashed = match &self.physical.distribution {
            Distribution::Hash(column) => Some(column.as_str()),
            Distribution::RoundRobin | Distribution::Replicate => None,
        };
        let wanted = hashed.into_iter().chain(self.physical.sought.iter().map(String::as_str)).chain([SOURCE]);
        let mut columns: Vec<&str> = Vec::new();
        for column in wanted.filter(|wanted| self.columns.iter().any(|column| column.name == **wanted)) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let create = |(number, column): (usize, &&str)| {
            let on = name("column", column)?;
            Ok(format!("CREATE STATISTICS [weir_{number}] ON {} ({on})", table.sql()?))
        };
        columns.iter().enumerate().map(create).collect()
    }

    pub(crate) fn create_staging(&self, staging: &Staging) -> Result<String, Error> {
        let column = |column: &TableColumn| {
            Ok(format!("{} {} NULL", name("column", &column.name)?, self.flavor.staging_type(column.data_type)))
        };
        let columns = staging.columns.iter().map(column).collect::<Result<Vec<_>, Error>>()?.join(", ");
        Ok(format!("CREATE TABLE {} ({columns}){}", staging.table.sql()?, self.heap()))
    }

    pub(crate) fn create_gone(&self, table: &Target) -> Result<String, Error> {
        let text = self.flavor.staging_type(DataType::String).replace("max", "4000");
        let heap = self.heap();
        Ok(format!("CREATE TABLE {} ([{SOURCE}] {text} NULL, [{SOURCE_POSITION}] bigint NULL){heap}", table.sql()?))
    }

    fn heap(&self) -> &'static str {
        match self.flavor {
            Flavor::Dedicated => " WITH (HEAP, DISTRIBUTION = ROUND_ROBIN)",
            Flavor::Fabric => "",
        }
    }

    /// The files' rows, column by column: by place, as `COPY INTO` maps Parquet.
    pub(crate) fn copy(&self, staging: &Staging, root: &str) -> Result<Vec<String>, Error> {
        let place =
            |(index, column): (usize, &TableColumn)| Ok(format!("{} {}", name("column", &column.name)?, index + 1));
        let columns = staging.columns.iter().enumerate().map(place).collect::<Result<Vec<_>, Error>>()?.join(", ");
        let mut lists: Vec<(String, usize)> = Vec::new();
        for file in &staging.files {
            let file = address(&file_url(root, &file.path))?;
            match lists.last_mut() {
                Some((list, files)) if list.len() + file.len() < COPY_LIST_BYTES && *files < COPY_FILES => {
                    list.push_str(", ");
                    list.push_str(&file);
                    *files += 1;
                }
                _ => lists.push((file, 1)),
            }
        }
        // The workspace's identity reads the lake; in Fabric, which has none, the caller does.
        let (credential, label) = match self.flavor {
            Flavor::Dedicated => (", CREDENTIAL = (IDENTITY = 'Managed Identity')", self.option()),
            Flavor::Fabric => ("", String::new()),
        };
        let table = staging.table.sql()?;
        let copy = |(list, _): (String, usize)| {
            format!("COPY INTO {table} ({columns}) FROM {list} WITH (FILE_TYPE = 'PARQUET'{credential}){label}")
        };
        Ok(lists.into_iter().map(copy).collect())
    }

    /// How many values of each column that has a limit are longer, in one row; `None` where no column has one.
    pub(crate) fn too_long(&self, staging: &Staging) -> Result<Option<(Vec<String>, String)>, Error> {
        let limited = self.columns.iter().filter(|column| staging.columns.iter().any(|own| own.name == column.name));
        let limited = limited.filter_map(|column| Some((column, self.flavor.byte_limit(column, self.physical)?)));
        let (mut names, mut counts) = (Vec::new(), Vec::new());
        for (column, limit) in limited {
            names.push(column.name.clone());
            let column = name("column", &column.name)?;
            counts.push(format!("SUM(CASE WHEN DATALENGTH({column}) > {limit} THEN 1 ELSE 0 END)"));
        }
        let sql = format!("SELECT {} FROM {}", counts.join(", "), staging.table.sql()?);
        Ok(Some((names, sql)).filter(|(names, _)| !names.is_empty()))
    }

    /// What a staging table has for a column of the target.
    fn expression(&self, staging: &Staging, column: &TableColumn, may_cut: bool) -> Result<String, Error> {
        if let Some(value) = staging.partition.get(&column.name) {
            return Ok(self.flavor.constant(column, value.as_deref(), self.physical));
        }
        if !staging.columns.iter().any(|known| known.name == column.name) {
            return Ok(format!("CAST(NULL AS {})", self.flavor.target_type(column, self.physical)));
        }
        let staged = format!("[weir_staged].{}", name("column", &column.name)?);
        Ok(match column.data_type {
            // Whether a value may be cut was asked before.
            DataType::String if may_cut => self.flavor.cut(&staged, column, self.physical),
            DataType::String | DataType::Binary => {
                format!("CAST({staged} AS {})", self.flavor.target_type(column, self.physical))
            }
            _ => staged,
        })
    }

    pub(crate) fn insert(&self, table: &Target, staging: &Staging) -> Result<String, Error> {
        let names = self.columns.iter().map(|column| name("column", &column.name)).collect::<Result<Vec<_>, _>>()?;
        let values =
            self.columns.iter().map(|column| self.expression(staging, column, true)).collect::<Result<Vec<_>, _>>()?;
        Ok(format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} AS [weir_staged]{}",
            table.sql()?,
            names.join(", "),
            values.join(", "),
            staging.table.sql()?,
            self.option()
        ))
    }

    /// The target's rows, all of them, in a transaction: `TRUNCATE` is not for those.
    pub(crate) fn delete_all(&self) -> Result<String, Error> {
        Ok(format!("DELETE FROM {}{}", self.target.sql()?, self.option()))
    }

    /// `positions` are sequence numbers: the records of an event that holds several have a range of their own.
    pub(crate) fn delete_source(&self, source: &str, positions: Option<(i64, i64)>) -> Result<String, Error> {
        let bounds = positions
            .map(|(first, last)| {
                let ranges = positions_of(&(first..=last));
                let ranges =
                    ranges.map(|range| format!("[{SOURCE_POSITION}] BETWEEN {} AND {}", range.start(), range.end()));
                format!(" AND ({})", ranges.join(" OR "))
            })
            .unwrap_or_default();
        let column = TableColumn { name: SOURCE.to_owned(), data_type: DataType::String, nullable: false };
        let source = self.flavor.constant(&column, Some(source), self.physical);
        let source = equal(&format!("[{SOURCE}]"), &source, DataType::String);
        Ok(format!("DELETE FROM {} WHERE {source}{bounds}{}", self.target.sql()?, self.option()))
    }

    /// The target's rows that have the key of a row of the staging table.
    pub(crate) fn delete_keys(&self, staging: &Staging, keys: &[String]) -> Result<String, Error> {
        let target = self.target.sql()?;
        let mut conditions = Vec::new();
        for column in self.columns.iter().filter(|column| keys.contains(&column.name)) {
            let own = format!("{}.{}", name("table", &self.target.table)?, name("column", &column.name)?);
            conditions.push(equal(&own, &self.expression(staging, column, false)?, column.data_type));
        }
        Ok(format!(
            "DELETE FROM {target} WHERE EXISTS (SELECT 1 FROM {} AS [weir_staged] WHERE {}){}",
            staging.table.sql()?,
            conditions.join(" AND "),
            self.option()
        ))
    }

    pub(crate) fn list_gone(&self, gone: &Target, staging: &Staging) -> Result<String, Error> {
        let text = self.flavor.staging_type(DataType::String).replace("max", "4000");
        Ok(format!(
            "INSERT INTO {} ([{SOURCE}], [{SOURCE_POSITION}]) SELECT CAST([weir_staged].[{SOURCE}] AS {text}), \
             [weir_staged].[{SOURCE_POSITION}] FROM {} AS [weir_staged]",
            gone.sql()?,
            staging.table.sql()?
        ))
    }

    /// The rows of `table` that are in `list`, by where they came from.
    pub(crate) fn delete_listed(&self, table: &Target, list: &Target) -> Result<String, Error> {
        // Columns have two-part names: three are on their way out of T-SQL.
        let (table, own) = (table.sql()?, name("table", &table.table)?);
        let source = equal(&format!("{own}.[{SOURCE}]"), &format!("[weir_staged].[{SOURCE}]"), DataType::String);
        Ok(format!(
            "DELETE FROM {table} WHERE EXISTS (SELECT 1 FROM {} AS [weir_staged] WHERE {own}.[{SOURCE_POSITION}] = \
             [weir_staged].[{SOURCE_POSITION}] AND {source}){}",
            list.sql()?,
            self.option()
        ))
    }

    fn option(&self) -> String {
        format!(" OPTION (LABEL = {})", literal(self.label))
    }
}

/// Equal as the lake has it: `=` on texts passes over case, as the database's collation does, and over blanks at the
/// end, always.
fn equal(left: &str, right: &str, data_type: DataType) -> String {
    match data_type {
        DataType::String => format!("{left} = {right} {EXACT} AND DATALENGTH({left}) = DATALENGTH({right})"),
        _ => format!("{left} = {right}"),
    }
}

/// The address of a file. Its name is encoded once more: `%` and all else that is special in addresses.
pub(crate) fn file_url(root: &str, path: &str) -> String {
    const SAFE: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b'/')
        .remove(b'=');
    format!("{}/{}", root.trim_end_matches('/'), percent_encoding::utf8_percent_encode(path, SAFE))
}
