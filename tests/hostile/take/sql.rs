//! The SQL of contracts: what passes the check opens no file, and is small enough for the stack of a thread of the app.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use polars::prelude::{Column, DataFrame, IntoLazy, PolarsError};
use polars::sql::SQLContext;
use weir_transform::{check_condition, check_query};

/// A file that is there, and that no query may open.
pub(crate) const CANARY: &str = "/tmp/weir_canary_9f2c.csv";
/// In its content alone.
const INSIDE: &str = "what_stands_in_the_canary";
/// What a thread of the app has.
const STACK: usize = 2 * 1024 * 1024;
/// What Polars shows of a plan that reads files.
const SCANS: [&str; 4] = ["Csv SCAN", "Parquet SCAN", "NDJSON SCAN", "Ipc SCAN"];

static FRAMES: LazyLock<[(&str, DataFrame); 2]> = LazyLock::new(|| {
    std::fs::write(CANARY, format!("{INSIDE},id\n{INSIDE},1\n")).unwrap();
    // One row each: a join is no larger than its tables.
    let orders = vec![Column::new("id".into(), [1_i64]), Column::new("note".into(), ["a"])];
    let shops = vec![Column::new("id".into(), [1_i64]), Column::new("region".into(), ["n"])];
    [("orders", DataFrame::new(1, orders).unwrap()), ("shops", DataFrame::new(1, shops).unwrap())]
});

pub(crate) fn text(input: &[u8]) {
    LazyLock::force(&FRAMES);
    let Ok(sql) = std::str::from_utf8(input).map(str::to_owned) else { return };
    // Deeper than a stack is an abort, which whoever runs this sees.
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || checked(&sql)).unwrap();
    thread.join().unwrap();
}

fn checked(sql: &str) {
    if check_condition(sql, &["note"]).is_ok() {
        let ran = |frame: DataFrame| frame.lazy().select([polars::sql::sql_expr(sql)?]).collect();
        bear(sql, || ran(FRAMES[0].1.clone()).map(|rows| (String::new(), rows)));
    }
    if check_query(sql, &["orders", "shops"], &["note", "region"]).is_ok() {
        bear(sql, || {
            let mut context = SQLContext::new();
            FRAMES.iter().for_each(|(name, frame)| context.register(name, frame.clone().lazy()));
            let plan = context.execute(sql)?;
            let shown = plan.describe_plan()?;
            Ok((shown, plan.collect()?))
        });
    }
}

/// Runs what passed. The app catches a panic of Polars, so that is none of ours.
fn bear(sql: &str, run: impl Fn() -> Result<(String, DataFrame), PolarsError>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok((plan, rows))) => {
            assert!(!opens_files(&plan, sql), "{sql:.2000}\n{plan:.2000}");
            assert!(!format!("{rows:?}").contains(INSIDE), "{sql:.2000}");
        }
        Ok(Err(PolarsError::IO { error, .. })) => panic!("a file was looked for: {error}\n{sql:.2000}"),
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether a plan reads a file; what the query itself says is no plan.
fn opens_files(plan: &str, sql: &str) -> bool {
    SCANS.iter().any(|scan| plan.contains(scan) && !sql.contains(scan))
}
