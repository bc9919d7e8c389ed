//! Every statement that a load sends, as text: held to the files in `tests/data/tsql`, and to two SQL parsers from PyPI.
//!
//! A pool that only listens answers what the loader needs to go on. `WEIR_TEST_BLESS=1` writes the files anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use polars::prelude::DataFrame;
use proptest::prelude::*;
use serde_json::json;
use weir_contract::{Distribution, LongText, TableColumn, WarehouseIndex};
use weir_warehouse::serverless::{View, script};
use weir_warehouse::tsql::{Connect, Flavor, Pool, Row, Session, quoted_literal, quoted_name};
use weir_warehouse::{
    DataFile, Error, FileLayout, FileReader, Physical, Plan, ReadError, ReloadReason, Step, TableLoad, Warehouse,
    Watermark, async_trait,
};

use crate::python::pip_install;
use crate::support::{checked, installed_once, repository};

/// Rows of every file.
const ROWS: u64 = 3;

#[derive(Default)]
struct Heard {
    statements: Vec<String>,
    /// The watermark's row.
    state: Row,
    copied: u64,
    total: u64,
    tables: Vec<String>,
}

#[derive(Clone)]
struct Listener(Arc<Mutex<Heard>>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

#[async_trait]
impl Connect for Listener {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(self.clone()))
    }
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[async_trait]
impl Session for Listener {
    async fn rows(&mut self, _: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        let mut heard = self.0.lock().unwrap();
        heard.statements.push(sql.to_owned());
        let answer = |rows: Vec<Row>| Ok(rows);
        if sql.ends_with("GETUTCDATE())") {
            return answer(vec![vec![text("1700000000")]]);
        }
        if sql.contains("sys.schemas WHERE") {
            return answer(vec![vec![text("weir")]]);
        }
        if let Some((_, name)) = sql.split_once("TABLE_NAME = N'")
            && sql.contains("INFORMATION_SCHEMA.TABLES")
        {
            let there = heard.tables.contains(&name.trim_end_matches('\'').to_owned());
            return answer(if there { vec![vec![text(name)]] } else { Vec::new() });
        }
        if sql.contains("INFORMATION_SCHEMA.COLUMNS") {
            return answer(columns().iter().take(3).map(|column| vec![text(&column.name)]).collect());
        }
        if sql.starts_with("SELECT COUNT_BIG(*), ") {
            return answer(vec![vec![text("0"); 2 * FIELDS.len() + 1]]);
        }
        if sql.starts_with("SELECT COUNT_BIG(*)") {
            let found = if sql.contains("weir_new_") { heard.total } else { heard.copied };
            heard.copied = 0;
            return answer(vec![vec![text(&found.to_string())]]);
        }
        if sql.contains("[weir].[watermark_orders] WHERE") {
            return answer(vec![heard.state.clone()]);
        }
        if sql.starts_with("SELECT SUM(") {
            return answer(vec![vec![text("0"); 3]]);
        }
        answer(Vec::new())
    }

    async fn execute(&mut self, _: &'static str, sql: &str) -> Result<u64, Error> {
        let mut heard = self.0.lock().unwrap();
        heard.statements.push(sql.to_owned());
        if sql.starts_with("COPY INTO") {
            let files = sql.matches("https://").count() as u64;
            heard.copied += files * ROWS;
            heard.total += files * ROWS;
        }
        if sql.starts_with("UPDATE [weir].[watermark_orders] SET [table_id] = N'") {
            (heard.state[2], heard.state[5]) = (text("9"), text("run/9"));
        }
        if let Some(rest) = sql.strip_prefix("UPDATE [weir].[watermark_orders] SET [target]") {
            let pending = rest.split_once("[pending] = N'").unwrap().1.split_once('\'').unwrap().0;
            heard.tables.push(pending.to_owned());
            (heard.state[5], heard.state[6]) = (text("run/9"), text(pending));
        }
        Ok(0)
    }
}

struct Files;

#[async_trait]
impl FileReader for Files {
    async fn read(&self, _: &DataFile) -> Result<DataFrame, ReadError> {
        Err(ReadError::NotFound)
    }

    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError> {
        let own = columns().into_iter().map(|column| column.name).filter(|name| name != "day");
        // An older file lacks the columns that came later.
        let columns = if file.path.contains("old") { own.take(3).collect() } else { own.collect() };
        Ok(FileLayout { columns, rows: ROWS })
    }

    async fn snapshot_files(&self, _: i64) -> Result<Vec<DataFile>, ReadError> {
        Ok(vec![
            file("day=2026-01-01/old.parquet"),
            file("day=2026-01-01/a%20b.parquet"),
            file("day=2026-01-02/c.parquet"),
        ])
    }
}

fn file(path: &str) -> DataFile {
    let day = path.split_once('/').map(|(folder, _)| folder.trim_start_matches("day=").to_owned());
    DataFile {
        path: path.to_owned(),
        partition_values: BTreeMap::from([("day".to_owned(), day)]),
        num_records: Some(ROWS),
        size_bytes: 100,
    }
}

const FIELDS: [(&str, &str, bool); 15] = [
    ("_source", "string", false),
    ("_source_position", "long", false),
    ("select", "string", true),
    ("day", "date", true),
    ("it's [b] \"x\"", "string", true),
    ("flag", "boolean", true),
    ("tiny", "byte", true),
    ("small", "short", true),
    ("whole", "integer", true),
    ("real", "float", true),
    ("double", "double", true),
    ("amount", "decimal(18,4)", true),
    ("at", "timestamp", true),
    ("raw", "binary", true),
    ("größe", "long", true),
];

fn schema() -> String {
    let field = |(name, data_type, nullable): &(&str, &str, bool)| json!({"name": name, "type": data_type, "nullable": nullable, "metadata": {}});
    json!({"type": "struct", "fields": FIELDS.iter().map(field).collect::<Vec<_>>()}).to_string()
}

fn columns() -> Vec<TableColumn> {
    weir_warehouse::schema::columns(&schema()).unwrap()
}

fn load() -> TableLoad {
    let physical = Physical {
        distribution: Distribution::Hash("select".to_owned()),
        index: WarehouseIndex::Columnstore,
        long_text: LongText::Truncate,
        text_lengths: vec![("select".to_owned(), 200)],
        sought: vec!["day".to_owned()],
        files: Some("https://account.dfs.core.windows.net/lake/tables/orders".to_owned()),
    };
    TableLoad {
        source_table: "orders".to_owned(),
        table: "gold.orders".to_owned(),
        run_id: "run".to_owned(),
        physical,
        time_limit: None,
    }
}

fn steps() -> Vec<Step> {
    vec![
        Step::Append { files: vec![file("day=2026-01-01/old.parquet"), file("day=2026-01-01/b.parquet")] },
        Step::Forget { paths: vec!["gone'1.parquet".to_owned()] },
        Step::ReplaceSource {
            source: "it's\na \\ source".to_owned(),
            positions: Some((2, 9)),
            files: vec![file("day=2026-01-02/c.parquet"), file("day=2026-01-02/d.parquet")],
        },
        Step::Upsert {
            keys: vec!["select".to_owned(), "day".to_owned()],
            files: vec![file("day=2026-01-02/e.parquet")],
        },
        Step::Rewrite {
            removed: vec![file("day=2026-01-02/f.parquet")],
            kept: vec![file("day=2026-01-02/g.parquet")],
            files: Vec::new(),
        },
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Load,
    /// In place.
    Reload,
    /// Into a new table, because a column is another.
    Swap,
    Verify,
}

async fn statements(flavor: Flavor, kind: Kind) -> Vec<String> {
    let mark = |version| Watermark { table_id: "t".to_owned(), version, schema: schema() };
    let from = Watermark { schema: schema().replace("\"whole\"", "\"gone\""), ..mark(7) };
    let heard = Heard {
        state: [text("gold.orders"), text("t"), text("7"), text("{}"), text("g"), text("earlier"), None].to_vec(),
        tables: ["watermark_orders", "loaded_file_orders", "orders"].map(str::to_owned).to_vec(),
        ..Heard::default()
    };
    let listener = Listener(Arc::new(Mutex::new(heard)));
    let pool = Pool::over(flavor, Arc::new(listener.clone()));
    let reason = ReloadReason::UnknownRewrite { version: 8 };
    let plan = match kind {
        Kind::Verify => {
            assert!(pool.verify(&load(), &schema(), &[], &Files).await.unwrap().is_equal());
            return listener.0.lock().unwrap().statements.clone();
        }
        Kind::Load => Plan::Load { from: mark(7), to: mark(9), steps: steps() },
        Kind::Reload => Plan::Reload { from: Some(mark(7)), to: mark(9), reason },
        Kind::Swap => Plan::Reload { from: Some(from), to: mark(9), reason },
    };
    pool.apply(&load(), &plan, &Files).await.unwrap();
    let heard = listener.0.lock().unwrap();
    heard.statements.clone()
}

const CASES: [(&str, Flavor, Kind); 8] = [
    ("synapse_load", Flavor::Dedicated, Kind::Load),
    ("synapse_reload", Flavor::Dedicated, Kind::Reload),
    ("synapse_swap", Flavor::Dedicated, Kind::Swap),
    ("fabric_load", Flavor::Fabric, Kind::Load),
    ("fabric_reload", Flavor::Fabric, Kind::Reload),
    ("fabric_swap", Flavor::Fabric, Kind::Swap),
    ("synapse_verify", Flavor::Dedicated, Kind::Verify),
    ("fabric_verify", Flavor::Fabric, Kind::Verify),
];

#[tokio::test]
async fn every_statement_is_the_one_on_file() {
    for (name, flavor, kind) in CASES {
        let actual = statements(flavor, kind).await.join(";\n\n") + ";\n";
        on_file(name, &actual);
    }
}

#[tokio::test]
async fn columns_that_differ_by_case_alone_are_refused() {
    let schema = schema().replace("\"flag\"", "\"SELECT\"");
    let to = Watermark { table_id: "t".to_owned(), version: 9, schema };
    let plan = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
    let listener = Listener(Arc::new(Mutex::new(Heard::default())));
    let error = Pool::over(Flavor::Dedicated, Arc::new(listener)).apply(&load(), &plan, &Files).await.unwrap_err();
    assert!(matches!(error, Error::SameName { .. }), "{error}");
}

/// The script of `weir warehouse views`, hostile names and every type included.
#[test]
fn the_script_for_serverless_sql_is_the_one_on_file() {
    let root = "https://account.dfs.core.windows.net/lake/it's";
    let view = |name: &str| View { name: name.to_owned(), columns: columns() };
    let actual = script("we]ir's", root, &[view("orders"), view("o'r]d")]).unwrap();
    on_file("views", &actual);
    let error = script("weir", root, &[view("a\nb")]).unwrap_err();
    assert!(error.to_string().contains("control character"), "{error}");
}

fn on_file(name: &str, actual: &str) {
    let path = repository().join(format!("tests/data/tsql/{name}.sql"));
    if std::env::var_os("WEIR_TEST_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{}: WEIR_TEST_BLESS=1 writes it anew", path.display());
}

/// What a dedicated pool refuses, in whatever statement.
#[tokio::test]
async fn nothing_that_a_dedicated_pool_refuses() {
    for kind in [Kind::Load, Kind::Reload, Kind::Swap, Kind::Verify] {
        let all = statements(Flavor::Dedicated, kind).await;
        let mut open = false;
        for sql in &all {
            for word in ["@@", "VALUES", "ISOLATION", "sp_executesql", "IF NOT EXISTS", "MERGE ", "DECLARE", "FOR JSON"]
            {
                assert!(!sql.contains(word), "{word} in {sql}");
            }
            open = (open || sql == "BEGIN TRANSACTION") && sql != "COMMIT TRANSACTION";
            let defines = ["CREATE ", "ALTER ", "DROP ", "RENAME ", "TRUNCATE ", "COPY "];
            assert!(!open || !defines.iter().any(|word| sql.starts_with(word)), "in a transaction: {sql}");
        }
        assert_eq!(
            all.iter().filter(|sql| *sql == "BEGIN TRANSACTION").count(),
            usize::from([Kind::Load, Kind::Reload].contains(&kind))
        );
    }
}

/// With everything that they ask for: pip resolves nothing.
const LINTERS: [&str; 16] = [
    "chardet==7.7.0",
    "click==8.5.1",
    "colorama==0.4.6",
    "diff_cover==11.0.1",
    "Jinja2==3.1.6",
    "MarkupSafe==3.0.4",
    "pathspec==1.1.1",
    "platformdirs==4.14.8",
    "pluggy==1.7.0",
    "Pygments==2.21.0",
    "PyYAML==6.0.4",
    "regex==2026.11.19",
    "sqlfluff==4.5.0",
    "sqlglot==30.30.0",
    "tblib==3.2.2",
    "tqdm==4.70.1",
];

const LINT: &str = r#"
import sys, json
from sqlfluff.core import Linter
import sqlglot
from sqlglot import exp
linter = Linter(dialect="tsql")
bad = []
for sql in json.load(open(sys.argv[1])):
    # Neither knows that a bracket is doubled within brackets.
    sql = sql.replace("[it's [b]] \"x\"]", "[odd]")
    if sql.startswith("COPY INTO"):
        # sqlglot knows no column list there.
        head, rest = sql.split(" (", 1)
        rest = rest.split(") FROM ", 1)[1].split(" OPTION (", 1)[0]
        parsed = sqlglot.parse_one(head + " FROM " + rest, dialect="tsql")
        if not isinstance(parsed, exp.Copy):
            bad.append((sql, type(parsed).__name__))
    elif sql.startswith(("RENAME OBJECT", "SET XACT_ABORT")):
        continue
    else:
        parsed = linter.parse_string(sql + ";")
        if parsed.violations or (parsed.tree and "unparsable" in parsed.tree.type_set()):
            bad.append((sql, str([v.desc() for v in parsed.violations])))
        want = {"SELECT": exp.Select, "INSERT": exp.Insert, "UPDATE": exp.Update, "DELETE": exp.Delete, "DROP": exp.Drop}
        word = sql.split(" ", 1)[0]
        if word in want:
            tree = sqlglot.parse_one(sql.split(" OPTION (LABEL", 1)[0], dialect="tsql")
            if not isinstance(tree, want[word]):
                bad.append((sql, type(tree).__name__))
for sql, why in bad:
    print(why, "|", sql)
print("bad:", len(bad))
"#;

/// `sqlfluff` parses everything but `COPY INTO`, `sqlglot` that; neither knows `RENAME OBJECT`.
#[tokio::test]
async fn two_parsers_take_every_statement() {
    let python = installed_once("sql", &LINTERS.join("\n"), |folder| pip_install(folder, &LINTERS));
    let folder = tempfile::TempDir::new().unwrap();
    for (name, flavor, kind) in CASES {
        let path = folder.path().join(name);
        std::fs::write(&path, serde_json::to_string(&statements(flavor, kind).await).unwrap()).unwrap();
        let mut command = std::process::Command::new(python.join("bin").join("python"));
        let told = checked(command.args(["-I", "-c", LINT]).arg(&path), "the linters");
        assert!(told.trim().ends_with("bad: 0"), "{name}: {told}");
    }
}

proptest! {
    /// Read back as a pool reads it: one literal, of exactly that content.
    #[test]
    fn a_literal_is_read_back(value in "(\\PC|[\\n\\r\\\\'\\[\\]\"%_\u{0}-\u{1f}]){0,40}") {
        let text = quoted_literal(&value);
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(read_literal(&text), Some(value));
    }

    #[test]
    fn a_name_is_read_back_or_refused(value in "(\\PC|[\\n'\\[\\]\"\u{0}-\u{1f} ]){0,140}") {
        match quoted_name(&value) {
            Ok(text) => {
                let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap();
                prop_assert!(!inner.replace("]]", "").contains(']'));
                prop_assert_eq!(inner.replace("]]", "]"), value);
            }
            Err(error) => {
                prop_assert!(value.is_empty() || value.trim() != value || value.encode_utf16().count() > 128
                    || value.chars().any(char::is_control), "{}", error);
            }
        }
    }
}

/// `N'…'` and `NCHAR(n)`, joined by `+`.
fn read_literal(text: &str) -> Option<String> {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        if let Some(tail) = rest.strip_prefix("NCHAR(") {
            let (code, tail) = tail.split_once(')')?;
            value.push(char::from_u32(code.parse().ok()?)?);
            rest = tail;
        } else {
            let mut tail = rest.strip_prefix("N'")?;
            loop {
                let (part, after) = tail.split_once('\'')?;
                value.push_str(part);
                match after.strip_prefix('\'') {
                    Some(more) => {
                        value.push('\'');
                        tail = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        }
        if rest.is_empty() {
            return Some(value);
        }
        rest = rest.strip_prefix('+')?;
    }
}
