//! What the engine lacks of a pool. Statements pass as they are, but for:
//! - `COPY INTO`: the listed Parquet files are read from the lake, and their columns go into the staging table **by place**, as
//!   a pool does it, with the types that the files and the table have;
//! - values: the engine keeps few types as a pool does, so that it is given texts (and whole numbers) to keep; what
//!   `INSERT … SELECT` makes of staged values, and what sums and counts come to, [`super::expression`] computes;
//! - comparisons of texts: the engine's are exact. A pool's pass over case, unless a collation says else, and over blanks
//!   at the end, always;
//! - `RENAME OBJECT`, and Fabric's `sp_rename`: both become the engine's own, and refuse a name that is taken; `CREATE STATISTICS`, which is passed over;
//! - `WITH (HEAP, …)`, `WITH (DISTRIBUTION = …)`, `OPTION (LABEL = …)`, which it does not parse;
//! - the time, which is the test's.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use polars::prelude::*;
use weir_warehouse::Error;
use weir_warehouse::tsql::{Flavor, Row};

use super::engine::{Intercepted, ROOT, lost, server_error};
use super::expression::{Cell, Env, Expr, shown};

/// Columns of the tests' tables that hold texts.
const TEXTS: [&str; 5] = ["[_source]", "[_source_version]", "[key]", "[value]", "[text]"];
const EXACT: &str = " COLLATE Latin1_General_100_BIN2";

impl Intercepted {
    pub(super) async fn ask(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        if sql == "SELECT DATEDIFF_BIG(second, '19700101', GETUTCDATE())" {
            return Ok(vec![vec![Some(self.world.now_s.load(Ordering::SeqCst).to_string())]]);
        }
        if sql.starts_with("SELECT SUM(CASE ") || sql.starts_with("SELECT COUNT_BIG(*), ") {
            return self.aggregate(doing, sql).await;
        }
        let Some(inner) = self.inner.as_mut() else { return Err(lost(doing)) };
        inner.rows(doing, &sql.replace("COUNT_BIG(", "COUNT(")).await
    }

    pub(super) async fn order(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        if sql.starts_with("COPY INTO ") {
            return self.copy(doing, sql).await;
        }
        if sql.starts_with("CREATE STATISTICS ") {
            return Ok(0);
        }
        if sql.starts_with("INSERT INTO ") && sql.contains(" AS [weir_staged]") {
            return self.insert_select(doing, sql).await;
        }
        let sql = if let Some((from, to)) = renames(sql) {
            let taken = format!("SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = N'{to}'");
            if !self.ask(doing, &taken).await?.is_empty() {
                return Err(server_error(doing, 15_335));
            }
            format!("EXEC sp_rename '{from}', '{to}'")
        } else if let Some(rest) = sql.strip_prefix("CREATE TABLE ") {
            let (table, columns) = rest.split_once(" (").unwrap();
            let columns = definitions(columns);
            let kept =
                columns.iter().map(|(name, data_type, null)| format!("[{name}] {} {null}", kept_type(data_type)));
            let kept = kept.collect::<Vec<_>>().join(", ");
            let declared = columns.into_iter().map(|(name, data_type, _)| (name, data_type)).collect();
            self.world.staging.lock().unwrap().insert(table.to_owned(), declared);
            format!("CREATE TABLE {table} ({kept})")
        } else if let Some((table, column)) = sql.split_once(" ADD ") {
            let (name, data_type, null) = definitions(column).remove(0);
            format!("{table} ADD [{name}] {} {null}", kept_type(&data_type))
        } else if sql.starts_with("DELETE ") {
            comparisons(&constants(without_option(sql)))
        } else {
            without_option(sql).to_owned()
        };
        self.send(doing, &sql).await
    }

    async fn send(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        let Some(inner) = self.inner.as_mut() else { return Err(lost(doing)) };
        inner.execute(doing, sql).await
    }

    /// The rows of a table, with these columns.
    async fn env(&mut self, doing: &'static str, table: &str, columns: &[String]) -> Result<Vec<Env>, Error> {
        let Some(inner) = self.inner.as_mut() else { return Err(lost(doing)) };
        let list: Vec<_> = columns.iter().map(|name| format!("CONVERT(nvarchar(4000), [{name}])")).collect();
        let list = if list.is_empty() { "1".to_owned() } else { list.join(", ") };
        let rows = inner.rows(doing, &format!("SELECT {list} FROM {table}")).await?;
        let flavor = self.world.flavor;
        let cells = |row: Row| row.into_iter().map(move |text| Cell::of_stored(text, flavor));
        let env = |row: Row| columns.iter().cloned().zip(cells(row)).collect();
        Ok(rows.into_iter().map(env).collect())
    }

    async fn aggregate(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        let sql = sql.strip_prefix("SELECT ").unwrap();
        let derived = sql.split_once(" FROM (SELECT *, ");
        let (list, row, table) = match derived {
            Some((list, rest)) => {
                let (row, rest) = rest.split_once(" AS [weir row] FROM ").unwrap();
                (list, Some(Expr::list(row).remove(0)), rest.split_once(')').unwrap().0)
            }
            None => {
                let (list, table) = sql.rsplit_once(" FROM ").unwrap();
                (list, None, table)
            }
        };
        let list = Expr::list(list);
        let mut columns = Vec::new();
        list.iter().chain(&row).for_each(|expr| expr.columns(&mut columns));
        columns.retain(|name| name != "weir row");
        let mut rows = self.env(doing, table, &columns).await?;
        if let Some(row) = &row {
            for env in &mut rows {
                let value = row.value(env);
                env.insert("weir row".to_owned(), value);
            }
        }
        Ok(vec![list.iter().map(|expr| expr.aggregate(&rows).stored()).collect()])
    }

    async fn insert_select(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        let rest = without_option(sql).strip_prefix("INSERT INTO ").unwrap();
        let (into, rest) = rest.split_once(" (").unwrap();
        let (names, rest) = rest.split_once(") SELECT ").unwrap();
        let (list, from) = rest.rsplit_once(" FROM ").unwrap();
        let list = Expr::list(list);
        let mut columns = Vec::new();
        list.iter().for_each(|expr| expr.columns(&mut columns));
        let rows = self.env(doing, from.trim_end_matches(" AS [weir_staged]"), &columns).await?;
        let rows = &rows[usize::from(self.forgets(sql))..];
        let cells: Vec<Vec<Cell>> = rows.iter().map(|row| list.iter().map(|expr| expr.value(row)).collect()).collect();
        self.insert(doing, into, names, &cells).await
    }

    async fn insert(&mut self, doing: &'static str, into: &str, names: &str, rows: &[Vec<Cell>]) -> Result<u64, Error> {
        let (schema, table) = into.trim_matches(['[', ']']).split_once("].[").unwrap();
        let asked = format!(
            "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = N'{schema}' AND \
             TABLE_NAME = N'{table}'"
        );
        let Some(inner) = self.inner.as_mut() else { return Err(lost(doing)) };
        let types = inner.rows(doing, &asked).await?;
        let types: BTreeMap<String, String> =
            types.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect();
        let texts: Vec<bool> =
            names.split(", ").map(|name| types[name.trim_matches(['[', ']'])] == "nvarchar").collect();
        for rows in rows.chunks(100) {
            let selects = rows.iter().map(|row| {
                let literals = row.iter().zip(&texts).map(|(cell, is_text)| match (cell.clone().stored(), is_text) {
                    (None, _) => "NULL".to_owned(),
                    (Some(text), true) => format!("N'{}'", text.replace('\'', "''")),
                    // The engine reads bare numbers as floating point.
                    (Some(number), false) => format!("CAST(N'{number}' AS bigint)"),
                });
                format!("SELECT {}", literals.collect::<Vec<_>>().join(", "))
            });
            let selects = selects.collect::<Vec<_>>().join(" UNION ALL ");
            self.send(doing, &format!("INSERT INTO {into} ({names}) {selects}")).await?;
        }
        Ok(rows.len() as u64)
    }

    /// What a pool does: column by column in the files' own order.
    async fn copy(&mut self, doing: &'static str, sql: &str) -> Result<u64, Error> {
        if self.world.refuse_copy.swap(false, Ordering::SeqCst) {
            return Err(server_error(doing, 105_208));
        }
        let table = self.world.table.lock().unwrap().clone().unwrap();
        let (into, rest) = sql.strip_prefix("COPY INTO ").unwrap().split_once(" (").unwrap();
        let (columns, rest) = rest.split_once(") FROM ").unwrap();
        let (files, rest) = rest.split_once(" WITH (").unwrap();
        match self.world.flavor {
            Flavor::Dedicated => {
                assert!(rest.starts_with(
                    "FILE_TYPE = 'PARQUET', CREDENTIAL = (IDENTITY = 'Managed Identity')) OPTION (LABEL ="
                ))
            }
            Flavor::Fabric => assert_eq!(rest, "FILE_TYPE = 'PARQUET')"),
        }
        let columns: Vec<(&str, usize)> = columns
            .split(", ")
            .map(|column| {
                let (name, place) = column.rsplit_once(' ').unwrap();
                (name, place.parse().unwrap())
            })
            .collect();
        let declared = self.world.staging.lock().unwrap()[into].clone();
        let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let mut copied = 0;
        for url in files.split(", ").map(|url| url.trim_matches('\'')) {
            let path = percent_decoded(url.strip_prefix(ROOT).unwrap().trim_start_matches('/'));
            let entry = table.file(&path, BTreeMap::new()).unwrap();
            let Ok((order, _)) = table.footer(&entry).await else { return Err(server_error(doing, 105_215)) };
            assert_eq!(columns.len(), order.len(), "COPY INTO would shift columns: {sql}");
            let frame = table.read(&entry).await.unwrap();
            let mut rows = vec![Vec::new(); frame.height() - usize::from(self.forgets(sql))];
            for (name, place) in &columns {
                let values = frame.column(&order[place - 1]).unwrap();
                let own = declared.iter().find(|(own, _)| format!("[{own}]") == *name).unwrap();
                for (index, row) in rows.iter_mut().enumerate() {
                    let Some(cell) = copied_value(&values.get(index).unwrap(), &own.1) else {
                        // Which number a pool has for it is not known.
                        return Err(server_error(doing, 105_217));
                    };
                    row.push(cell);
                }
            }
            copied += self.insert(doing, into, &names, &rows).await?;
        }
        Ok(copied)
    }
}

/// A value of a file in a column of that type. `None` for what T-SQL has no place for; types that do not fit panic.
fn copied_value(value: &AnyValue, data_type: &str) -> Option<Cell> {
    let kind = data_type.split('(').next().unwrap();
    Some(match (value, kind) {
        (AnyValue::Null, _) => Cell::Null,
        (AnyValue::Boolean(value), "bit") => Cell::text(if *value { "1" } else { "0" }),
        (AnyValue::Int8(value), "smallint") => Cell::Whole((*value).into()),
        (AnyValue::Int16(value), "smallint") => Cell::Whole((*value).into()),
        (AnyValue::Int32(value), "int") => Cell::Whole((*value).into()),
        (AnyValue::Int64(value), "bigint") => Cell::Whole((*value).into()),
        (AnyValue::Float32(value), "real") if value.is_finite() => Cell::Real((*value).into()),
        (AnyValue::Float64(value), "float") if value.is_finite() => Cell::Real(*value),
        (AnyValue::Float32(_), "real") | (AnyValue::Float64(_), "float") => return None,
        (AnyValue::String(text), "nvarchar" | "varchar") => Cell::text(text),
        (AnyValue::StringOwned(text), "nvarchar" | "varchar") => Cell::text(text),
        (AnyValue::Binary(bytes), "varbinary") => Cell::Bytes(bytes.to_vec()),
        (AnyValue::BinaryOwned(bytes), "varbinary") => Cell::Bytes(bytes.clone()),
        (AnyValue::Date(days), "date") => {
            let date = chrono::NaiveDate::default().checked_add_signed(chrono::TimeDelta::days((*days).into()))?;
            return Some(Cell::text(&date.to_string())).filter(|_| in_range(chrono::Datelike::year(&date)));
        }
        (AnyValue::Datetime(micros, TimeUnit::Microseconds, _), "datetime2") => {
            let instant = chrono::DateTime::from_timestamp_micros(*micros)?.naive_utc();
            return Some(Cell::text(&shown(instant))).filter(|_| in_range(chrono::Datelike::year(&instant)));
        }
        (AnyValue::DatetimeOwned(micros, TimeUnit::Microseconds, _), "datetime2") => {
            let instant = chrono::DateTime::from_timestamp_micros(*micros)?.naive_utc();
            return Some(Cell::text(&shown(instant))).filter(|_| in_range(chrono::Datelike::year(&instant)));
        }
        (AnyValue::Decimal(unscaled, precision, scale), "decimal") => {
            assert_eq!(data_type, format!("decimal({precision},{scale})"));
            let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if *scale > 0 { "." } else { "" };
            Cell::text(&format!("{}{whole}{point}{fraction}", if *unscaled < 0 { "-" } else { "" }))
        }
        (value, _) => panic!("{value:?} does not fit {data_type}"),
    })
}

fn in_range(year: i32) -> bool {
    (1..=9999).contains(&year)
}

/// Whole numbers stay, for they are compared as such.
fn kept_type(data_type: &str) -> &str {
    if ["bigint", "int", "smallint"].contains(&data_type) { data_type } else { "nvarchar(4000)" }
}

/// What a statement renames to what, in `dbo`.
pub(super) fn renames(sql: &str) -> Option<(&str, &str)> {
    if let Some(rest) = sql.strip_prefix("RENAME OBJECT [dbo].[") {
        let (from, to) = rest.split_once("] TO [").unwrap();
        return Some((from, to.trim_end_matches(']')));
    }
    let (from, to) = sql.strip_prefix("EXEC sp_rename N'[dbo].[")?.split_once("]', N'").unwrap();
    Some((from, to.trim_end_matches('\'')))
}

/// Name, type and nullability of each column of a definition.
fn definitions(text: &str) -> Vec<(String, String, &'static str)> {
    let mut columns = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('[') {
        let (name, after) = after.split_once("] ").unwrap();
        let end = after.find(" NOT NULL").unwrap_or(usize::MAX).min(after.find(" NULL").unwrap());
        let null = if after[end..].starts_with(" NOT") { "NOT NULL" } else { "NULL" };
        columns.push((name.to_owned(), after[..end].to_owned(), null));
        rest = &after[end + null.len() + 1..];
        if !rest.starts_with(", ") {
            break;
        }
    }
    columns
}

fn without_option(sql: &str) -> &str {
    sql.split_once(" OPTION (LABEL = ").map_or(sql, |(sql, _)| sql)
}

/// Casts of constants are computed; casts of keys, which fit their columns, are left out.
fn constants(sql: &str) -> String {
    let (mut out, mut rest) = (String::new(), sql);
    while let Some(at) = rest.find("CAST(") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + "CAST(".len()..];
        let middle = inner.find(" AS ").unwrap();
        let close =
            middle + inner[middle..].find(if inner[middle..].starts_with(" AS date)") { ")" } else { "))" }).unwrap();
        let end = close + inner[close..].bytes().take_while(|byte| *byte == b')').count().min(2);
        let end = if inner[middle..].starts_with(" AS date)") { close + 1 } else { end };
        if inner.starts_with('[') {
            out.push_str(&inner[..middle]);
        } else {
            let value = Expr::list(&rest[at..at + "CAST(".len() + end]).remove(0).value(&Env::new()).stored();
            out.push_str(&value.map_or("NULL".to_owned(), |value| format!("N'{}'", value.replace('\'', "''"))));
        }
        rest = &inner[end..];
    }
    out + rest
}

/// Texts are compared as a pool compares them.
fn comparisons(sql: &str) -> String {
    let (mut out, mut rest) = (String::new(), sql);
    while let Some(at) = rest.find(" = ") {
        let (before, after) = (&rest[..at], &rest[at + 3..]);
        let from = before.rfind([' ', '(']).map_or(0, |space| space + 1);
        let left = &before[from..];
        let is_text = TEXTS.iter().any(|name| left.ends_with(name));
        if !is_text {
            out.push_str(&rest[..at + 3]);
            rest = after;
            continue;
        }
        let length = operand(after);
        let (right, after) = after.split_at(length);
        out.push_str(&before[..from]);
        match after.strip_prefix(EXACT) {
            Some(after) => {
                out.push_str(&format!("RTRIM({left}) = RTRIM({right})"));
                rest = after;
            }
            None => {
                out.push_str(&format!("UPPER(RTRIM({left})) = UPPER(RTRIM({right}))"));
                rest = after;
            }
        }
    }
    out + rest
}

/// Length of a name or of literals that are joined.
fn operand(text: &str) -> usize {
    let mut quoted = false;
    let end = text.char_indices().find(|(at, character)| {
        quoted ^= *character == '\'';
        !quoted && (*character == ' ' || *character == ')') && !text[..*at].ends_with("NCHAR(") && {
            let open = text[..*at].matches('(').count() > text[..*at].matches(')').count();
            *character == ' ' || !open
        }
    });
    end.map_or(text.len(), |(at, _)| at)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [*rest.next().unwrap(), *rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
