//! The SQL of contracts: what is refused before Polars sees it, and that whatever passes opens no file and ends no process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use polars::prelude::{Column, DataFrame, IntoLazy};
use polars::sql::SQLContext;
use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_contract::RuleAction::Warn;
use weir_hostile::SqlGrammar;
use weir_transform::{Transform, check_condition, check_query, function_names};

use super::{orders, rule, run_csv};

const TABLES: [&str; 2] = ["orders", "shops"];
const TEXTS: [&str; 2] = ["note", "region"];
/// What a thread of the app has.
const STACK: usize = 2 * 1024 * 1024;

fn refused_query(sql: &str) -> String {
    check_query(sql, &TABLES, &TEXTS).expect_err(sql)
}

fn frames() -> [(&'static str, DataFrame); 2] {
    let orders = vec![
        Column::new("id".into(), [1_i64, 2, 3]),
        Column::new("shop".into(), [1_i64, 1, 2]),
        Column::new("note".into(), ["a", "b", "c"]),
    ];
    let shops = vec![Column::new("shop".into(), [1_i64, 2]), Column::new("region".into(), ["n", "s"])];
    [("orders", DataFrame::new(3, orders).unwrap()), ("shops", DataFrame::new(2, shops).unwrap())]
}

/// What Polars makes of a query, and of the canary in it: its plan, its rows or its error.
fn run(sql: &str) -> String {
    let mut context = SQLContext::new();
    for (name, frame) in frames() {
        context.register(name, frame.lazy());
    }
    let ran = catch_unwind(AssertUnwindSafe(|| match context.execute(sql) {
        Err(error) => error.to_string(),
        Ok(plan) => {
            let shown = plan.describe_plan().unwrap_or_else(|error| error.to_string());
            match plan.limit(100).collect() {
                Ok(rows) => format!("{shown}\n{rows:?}"),
                Err(error) => format!("{shown}\n{error}"),
            }
        }
    }));
    ran.unwrap_or_else(|_| "panic".to_owned())
}

/// Spellings that a filter of words takes for texts or comments, and others that reach for files or for more than a query.
#[test]
fn whatever_is_no_query_over_the_tables_is_refused() {
    for (sql, part) in [
        ("SELECT * FROM orders CROSS JOIN /*! read_csv('/etc/passwd') */ AS s", "`/*!`"),
        ("SELECT * FROM orders CROSS JOIN /*!50110 read_csv('/etc/passwd') */ AS s", "`/*!`"),
        ("SELECT $$'$$ AS x, * FROM orders CROSS JOIN read_csv('/etc/passwd') AS s", "`read_csv`"),
        ("SELECT $t$'$t$ AS x, * FROM orders CROSS JOIN read_csv('/etc/passwd') AS s", "`read_csv`"),
        ("SELECT E'\\'' AS x, * FROM orders CROSS JOIN read_csv('/etc/passwd') AS s --'", "`read_csv`"),
        ("SELECT E'\\'' AS x FROM orders", "the literal"),
        ("SELECT 1 AS x /* /* */ ' */ FROM read_csv('/etc/passwd') AS s --'", "`read_csv`"),
        ("SELECT U&'\\0027' AS x FROM read_csv('/etc/passwd') AS s", "`read_csv`"),
        ("SELECT q'[']' AS x FROM read_csv('/etc/passwd') AS s", "`read_csv`"),
        ("SELECT * FROM \"read_csv\"('/etc/passwd')", "calls"),
        ("SELECT * FROM `read_csv`('/etc/passwd')", "calls"),
        ("SELECT * FROM Read_CSV('/etc/passwd')", "calls"),
        ("SELECT * FROM read_parquet('x')", "calls"),
        ("SELECT * FROM read_ipc('x')", "calls"),
        ("SELECT * FROM read_json('x')", "calls"),
        ("SELECT * FROM a.read_csv('x')", "calls"),
        ("SELECT * FROM TABLE(read_csv('x'))", "calls a function"),
        ("SELECT * FROM LATERAL read_csv('x') AS s", "calls a function"),
        ("SELECT * FROM orders, LATERAL (SELECT 1) AS s", "LATERAL"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM \"/etc/passwd\"", "reads `/etc/passwd`"),
        ("SELECT * FROM `file.csv`", "reads `file.csv`"),
        ("SELECT * FROM main.orders", "without a schema"),
        ("SELECT * FROM orders.secret", "without a schema"),
        ("TABLE secrets", "neither SELECT nor WITH"),
        ("SELECT * FROM orders UNION ALL TABLE secrets", "reads `secrets`"),
        ("SELECT * FROM orders__quarantine", "reads `orders__quarantine`"),
        ("SELECT * FROM orders WHERE id IN (SELECT id FROM secrets)", "reads `secrets`"),
        ("SELECT * FROM orders WHERE EXISTS (SELECT 1 FROM read_csv('x') AS s)", "`read_csv`"),
        ("WITH s AS (SELECT * FROM read_csv('x')) SELECT * FROM s", "`read_csv`"),
        ("SELECT * FROM (SELECT * FROM (SELECT * FROM read_csv('x')) AS a) AS b", "`read_csv`"),
        ("SELECT * FROM (orders JOIN read_csv('x') AS s ON id = id)", "`read_csv`"),
        ("SELECT * FROM orders UNION SELECT * FROM read_csv('x')", "`read_csv`"),
        ("WITH orders AS (SELECT 1) SELECT * FROM orders", "CTE `orders`"),
        ("WITH RECURSIVE s AS (SELECT 1) SELECT * FROM s", "RECURSIVE"),
        ("WITH s AS (DELETE FROM orders) SELECT 1", "query"),
        ("SELECT * INTO secrets FROM orders", "SELECT INTO"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT 1; DROP TABLE orders", "2 statements"),
        ("EXPLAIN SELECT * FROM orders", "neither SELECT nor WITH"),
        ("SHOW TABLES", "neither SELECT nor WITH"),
        ("CREATE TABLE s AS SELECT * FROM orders", "neither SELECT nor WITH"),
        ("COPY orders TO '/tmp/x'", "neither SELECT nor WITH"),
        ("DELETE FROM orders", "neither SELECT nor WITH"),
        ("FROM orders", "neither SELECT nor WITH"),
        ("SELECT * FROM orders TABLESAMPLE (10)", "not allowed"),
        ("SELECT * FROM orders FOR UPDATE", "not allowed"),
        ("SELECT TOP 5 * FROM orders", "not allowed"),
        ("SELECT /*+ hint */ * FROM orders", "not allowed"),
        ("SELECT COLUMNS('(') FROM orders", "`COLUMNS`"),
        ("SELECT CURRENT_USER FROM orders", "not allowed"),
        ("SELECT CURRENT_TIMESTAMP FROM orders", "not allowed"),
        ("SELECT RANDOM() FROM orders", "`RANDOM`"),
        ("SELECT pg_read_file('/etc/passwd') FROM orders", "`pg_read_file`"),
        ("SELECT CAST(note AS JSON) FROM orders", "the type `JSON`"),
        ("SELECT CAST(note AS ARRAY<INT>) FROM orders", "`ARRAY<…>`"),
        ("SELECT a.b.c FROM orders", "more than two parts"),
        ("SELECT note -> 'x' FROM orders", "not allowed"),
        ("SELECT * FROM orders CROSS APPLY read_csv('x')", "not allowed"),
        ("SELECT * FROM JSON_TABLE('[]', '$' COLUMNS (a INT PATH '$'))", "calls a function"),
        ("SELECT * FROM orders PIVOT (SUM(id) FOR note IN ('a'))", "calls a function"),
        ("", "neither SELECT nor WITH"),
        ("SELECT '", "no SQL"),
    ] {
        let message = refused_query(sql);
        assert!(message.contains(part), "{sql}: {message}");
    }
}

#[test]
fn ordinary_queries_are_allowed_and_run() {
    for sql in [
        "SELECT shop, COUNT(*) AS n, COUNT(DISTINCT note) AS d FROM orders GROUP BY shop HAVING COUNT(*) > 1 ORDER BY n DESC",
        "SELECT o.id, s.region FROM orders AS o LEFT JOIN shops AS s ON o.shop = s.shop WHERE o.id BETWEEN 1 AND 9;",
        "SELECT * FROM orders JOIN shops USING (shop)",
        "SELECT * FROM orders CROSS JOIN shops",
        "SELECT * FROM orders, shops WHERE orders.shop = shops.shop",
        "SELECT * FROM orders ANTI JOIN shops ON orders.shop = shops.shop",
        "WITH a AS (SELECT shop, MAX(id) AS id FROM orders GROUP BY shop), b AS (SELECT * FROM a) SELECT * FROM b",
        "SELECT * FROM (SELECT id + 1 AS next FROM orders) AS s WHERE next > 1",
        "SELECT id FROM orders WHERE shop IN (SELECT shop FROM shops WHERE region = 'n')",
        "SELECT id FROM orders UNION ALL SELECT shop FROM shops",
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY shop ORDER BY id) AS n FROM orders",
        "SELECT CASE WHEN id > 1 THEN UPPER(note) ELSE 'x' END AS t, CAST(id AS DECIMAL(38,4)) * 2 AS d FROM orders",
        "SELECT CONCAT(note, '-', CAST(id AS VARCHAR)) AS t, note || '/' || note AS u, RPAD(note, 10, ' ') AS v FROM orders",
        "SELECT REPLACE(note, 'a', 'bb') AS t, SUBSTR(note, 1, 1) AS u, TRIM(note) AS v FROM orders",
        "SELECT shop, STRING_AGG(note, ', ') AS notes FROM orders GROUP BY shop",
        "SELECT EXTRACT(YEAR FROM DATE '2024-02-01') AS y, DATE '2024-02-01' + INTERVAL '1 day' AS d, id FROM orders",
        "SELECT id -- a comment\n , shop /* and another 'one' */ FROM orders LIMIT 2 OFFSET 1",
        "SELECT DISTINCT shop FROM orders ORDER BY 1",
        "SELECT * EXCLUDE (note) FROM orders",
        "(SELECT id FROM orders)",
    ] {
        check_query(sql, &TABLES, &TEXTS).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let ran = run(sql);
        assert!(ran.contains("shape:"), "{sql}: {ran}");
    }
}

#[test]
fn texts_grow_within_bounds() {
    for sql in [
        "SELECT LENGTH(RPAD(note, 100000000, 'x')) AS n FROM orders",
        "SELECT LPAD(note, id, 'x') AS n FROM orders",
        "SELECT RPAD(note, -1, 'x') AS n FROM orders",
        "SELECT REPLACE(REPLACE(note, 'a', 'aaaaaa'), 'a', 'aaaaaa') AS n FROM orders",
        "SELECT REPLACE(note, '', 'aaaaaaaaaaaaaaaaaaaaaaa') AS n FROM orders",
        "SELECT REPLACE(note, note, note) AS n FROM orders",
        "WITH a AS (SELECT note || note || note || note || note AS v FROM orders) SELECT v || v || v || v AS n FROM a",
        "WITH a AS (SELECT note + note + note + note + note AS v FROM orders) SELECT v + v + v + v AS n FROM a",
        "SELECT v || v || v || v AS n FROM (SELECT CONCAT(note, note, note, note, note) FROM orders) AS s (v)",
        "SELECT NORMALIZE(note || note, NFKC) AS n FROM orders",
        "SELECT STRING_AGG(note, note) AS n FROM orders",
        "SELECT STRING_AGG(note, ',') OVER (PARTITION BY shop) AS n FROM orders",
    ] {
        refused_query(sql);
    }
    let long = "x".repeat(1_025);
    assert!(refused_query(&format!("SELECT '{long}' AS n FROM orders")).contains("literal of 1025 bytes"));
    assert!(refused_query(&format!("SELECT $${long}$$ AS n FROM orders")).contains("literal of 1025 bytes"));
    let terms = |sign: &str| vec!["note"; 17].join(sign);
    assert!(refused_query(&format!("SELECT {} AS n FROM orders", terms(" || "))).contains("16 times"));
    assert!(refused_query(&format!("SELECT CONCAT({}) AS n FROM orders", terms(", "))).contains("16 times"));
    // Numbers do not grow.
    check_query(&format!("SELECT {} AS n FROM orders", ["id"; 150].join(" + ")), &TABLES, &TEXTS).unwrap();
    // Another 16 that no table has asked for.
    check_query(&format!("SELECT {} AS n FROM orders", ["note"; 16].join(" || ")), &TABLES, &TEXTS).unwrap();
}

/// As large as they may be and beyond, on the stack of one of the app's threads: a message, and in time.
#[test]
fn large_queries_are_refused_with_a_message() {
    let deep = |open: &str, close: &str, times: usize| {
        format!("SELECT {}1{} FROM orders", open.repeat(times), close.repeat(times))
    };
    let texts = vec![
        format!("SELECT {} AS n FROM orders", vec!["1"; 20_000].join("+")),
        format!("SELECT {} AS n FROM orders", vec!["1"; 3_900].join(" OR ")),
        format!("SELECT {} AS n FROM orders", vec!["1"; 1_900].join("+")),
        format!("SELECT 1{} FROM orders", "::int".repeat(1_900)),
        format!("SELECT 1{} FROM orders", " IS NULL".repeat(1_900)),
        format!("SELECT 1{} FROM orders", "[1]".repeat(1_000)),
        format!("SELECT CAST(1 AS INT{}) FROM orders", "[]".repeat(1_900)),
        deep("(", ")", 5_000),
        deep("(", ")", 16),
        deep("CAST(", " AS INT)", 16),
        deep("CAST(", ")", 16),
        deep("SUBSTRING(", ")", 16),
        deep("TRIM(", ", 1 2)", 16),
        deep("abs(", " 1)", 16),
        deep("[", "]", 16),
        deep("NOT ", "", 10_000),
        deep("- ", "", 10_000),
        deep("INTERVAL ", "", 7_000),
        deep("INTERVAL -", "", 1_900),
        deep("CASE WHEN ", " THEN 1 END", 1_000),
        deep("CASE WHEN ", " THEN 1 END", 16),
        deep("/*! ", " */", 5_000),
        deep("/* ", " */", 5_000),
        deep("CAST(1 AS ", ")", 15),
        format!("SELECT CAST(1 AS {}INT{}) FROM orders", "ARRAY<".repeat(8_000), ">".repeat(8_000)),
        format!("SELECT CAST(1 AS {}a INT{}) FROM orders", "STRUCT<a ".repeat(5_000), ">".repeat(5_000)),
        format!("SELECT * FROM {}orders{}", "(".repeat(16), ")".repeat(16)),
        format!("SELECT * FROM {}orders{}", "(SELECT * FROM ".repeat(15), ")".repeat(15)),
        format!("{}orders", "SELECT 1 UNION ".repeat(1_300)),
        format!("SELECT * FROM orders{}", " JOIN shops".repeat(1_900)),
        format!("SELECT * FROM orders{}", " CROSS JOIN shops AS s".repeat(700)),
        format!("SELECT * FROM orders{}", ", shops".repeat(5_000)),
        format!("WITH {} SELECT 1", (0..2_000).map(|at| format!("c{at} AS (SELECT 1)")).collect::<Vec<_>>().join(", ")),
        "SELECT ".repeat(5_000),
        "SELECT 'x".to_owned(),
        "(".repeat(60_000),
        "/*".repeat(30_000),
        "x".repeat(65_537),
    ];
    // The parser goes back where it is no SQL, and tries what is before it in another way.
    let opened = ["(", "CAST(", "SUBSTRING(", "POSITION(", "(NOT ", "[", "EXISTS(SELECT ", "f(x -> "];
    let cases = [
        "CASE WHEN TRUE THEN ",
        "CASE WHEN ",
        "CASE x WHEN 1 THEN 2 ELSE ",
        "CAST(CASE WHEN x THEN ",
        "POSITION(CASE WHEN ",
    ];
    let no_sql = opened.iter().chain(&cases).flat_map(|open| {
        [5, 8, 16, 17, 24, 600].map(|times| format!("SELECT {}x y THEN 1 FROM orders", open.repeat(times)))
    });
    let texts: Vec<String> = texts.into_iter().chain(no_sql).collect();
    let checked = move || {
        for text in texts {
            let began = Instant::now();
            let shown: String = text.chars().take(60).collect();
            let sound = check_query(&text, &TABLES, &TEXTS);
            assert!(began.elapsed() < Duration::from_secs(2), "{shown}: {:?}", began.elapsed());
            let _ = check_condition(&text, &TEXTS);
            if sound.is_ok() {
                // Whatever passes, Polars can bear.
                run(&text);
            }
        }
        for (terms, sound) in [(190, true), (200, false), (20_000, false)] {
            let text = format!("SELECT {} AS n FROM orders", vec!["id"; terms].join(" + "));
            let checked = check_query(&text, &TABLES, &TEXTS);
            assert_eq!(checked.is_ok(), sound, "{terms}: {checked:?}");
            if sound {
                assert!(run(&text).contains("shape:"));
                let conditions = format!("SELECT id FROM orders WHERE {}", vec!["id = 1"; terms].join(" OR "));
                assert!(run(&conditions).contains("shape:"));
            }
        }
    };
    std::thread::Builder::new().stack_size(STACK).spawn(checked).unwrap().join().unwrap();
}

/// Steps of a few words double what stands before them: rows without end, from a table of one.
#[test]
fn rows_come_so_many_times_over() {
    let steps = |count: usize, step: &str| {
        let mut before = "orders".to_owned();
        let steps = (0..count).map(|at| {
            let step = format!("s{at} AS ({})", step.replace("$", &before));
            before = format!("s{at}");
            step
        });
        let steps = steps.collect::<Vec<_>>().join(", ");
        format!("WITH {steps} SELECT COUNT(*) AS n FROM s{}", count - 1)
    };
    let array =
        |items: usize| format!("SELECT id FROM orders CROSS JOIN UNNEST([{}]) AS u (v)", vec!["1"; items].join(", "));
    let union = "SELECT id, note FROM $ UNION ALL SELECT id, note FROM $";
    let joined = |copies: usize| {
        let all = vec!["SELECT id FROM orders"; copies].join(" UNION ALL ");
        format!("WITH a AS ({all}) SELECT b.id FROM a AS b JOIN a AS c ON b.id = c.id")
    };
    let nested = |copies: usize| {
        let all = vec!["SELECT id FROM orders"; copies].join(" UNION ALL ");
        format!("SELECT * FROM ({all}) AS a, (SELECT * FROM ({all}) AS c) AS b")
    };
    for (sound, beyond) in [
        (steps(6, union), steps(7, union)),
        (steps(6, "SELECT id FROM $ UNION SELECT id FROM $"), steps(30, union)),
        (joined(8), joined(9)),
        (nested(8), nested(9)),
        (array(64), array(65)),
    ] {
        assert_eq!(check_query(&sound, &TABLES, &TEXTS), Ok(()), "{sound}");
        let error = refused_query(&beyond);
        assert!(error.contains("more than 64 times over"), "{beyond}: {error}");
    }
    // The rows stay as many as they were; the plan does not.
    let join = "SELECT a.id FROM $ AS a JOIN $ AS b ON a.id = b.id";
    assert_eq!(check_query(&steps(8, join), &TABLES, &TEXTS), Ok(()));
    assert!(run(&steps(8, join)).contains("shape:"));
    for within in [
        "SELECT id FROM $ WHERE id IN (SELECT id FROM $)",
        "SELECT id FROM (SELECT id FROM $) AS a JOIN $ AS b USING (id)",
        join,
    ] {
        let error = refused_query(&steps(9, within));
        assert!(error.contains("more than 256 times"), "{within}: {error}");
    }
}

#[test]
fn rules_are_held_to_the_same_lists() {
    for (expr, part) in [
        ("LENGTH(RPAD(name, 100000000, 'x')) > 1", "length is no number"),
        ("id IN (SELECT id FROM read_csv('/etc/passwd'))", "a subquery is not allowed"),
        ("EXISTS (SELECT 1 FROM read_csv('/etc/passwd'))", "a subquery is not allowed"),
        ("name /*! || read_csv('x') */ = 'a'", "`/*!`"),
        ("name = $$'$$ OR pg_read_file('x') = name", "`pg_read_file`"),
        ("RANK() OVER (ORDER BY id) > 1", "not allowed"),
        ("name COLLATE x = 'a'", "not allowed"),
        ("price > 0; DROP TABLE x", "unexpected `;`"),
    ] {
        let mut contract = orders();
        contract.rules = vec![rule("odd", expr, Warn)];
        let error = Transform::new(&contract, None).expect_err(expr).to_string();
        assert!(error.starts_with("rule `odd` (line 7): ") && error.contains(part), "{expr}: {error}");
    }
    let rules = |terms: usize| {
        let mut contract = orders();
        contract.rules = vec![rule("long", &vec!["id = 1"; terms].join(" OR "), Warn)];
        contract
    };
    let error = Transform::new(&rules(1_000), None).unwrap_err().to_string();
    assert!(error.contains("levels deep"), "{error}");
    let bearable = move || assert_eq!(run_csv(&rules(190), b"id,name\n1,a\n").clean.height(), 1);
    std::thread::Builder::new().stack_size(STACK).spawn(bearable).unwrap().join().unwrap();
}

#[allow(clippy::disallowed_methods)] // a switch of the test suite
fn seed() -> u64 {
    std::env::var("WEIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

/// Without the check Polars opens the file, and often: that the grammar can reach it is part of the test.
#[test]
fn no_query_that_passes_opens_a_file() {
    const CANARY: &str = "canary_9f2c";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{CANARY}.csv"));
    std::fs::write(&path, format!("{CANARY},id\n{CANARY},1\n")).unwrap();
    let seed = seed();
    println!("WEIR_TEST_SEED={seed}");
    let canary = path.display().to_string();
    let mut random = StdRng::seed_from_u64(seed);
    let mut hostile = SqlGrammar { random: &mut random, canary: &canary };
    let (mut passed, mut ran, mut reached) = (0, 0, 0);
    for round in 0..6_000 {
        let sql = hostile.query(round % 4);
        match check_query(&sql, &TABLES, &TEXTS) {
            Ok(()) => {
                passed += 1;
                let result = run(&sql);
                ran += usize::from(result.contains("shape:"));
                // Its path stands in no plan and no error, its content in no row. A text in a query is the query's own.
                let own = sql.contains(&canary);
                assert!(own || !result.contains(CANARY), "{sql}\n{result}");
                assert!(!result.contains("SCAN ["), "{sql}\n{result}");
            }
            Err(_) if reached < 20 => reached += usize::from(run(&sql).contains(&format!("Csv SCAN [{canary}"))),
            Err(_) => {}
        }
    }
    println!("{passed} passed, {ran} of them ran, {reached} others would have opened the file");
    assert!(passed > 200 && ran > 50 && reached == 20, "{passed} {ran} {reached}");
}

/// What is looked at is what runs only if both are of one version.
#[test]
fn there_is_one_sql_parser() {
    let lock = std::fs::read_to_string(crate::support::repository().join("Cargo.lock")).unwrap();
    let parsers: Vec<_> =
        lock.split("[[package]]").filter(|package| package.contains("name = \"sqlparser\"\n")).collect();
    assert_eq!(parsers.len(), 1, "{parsers:?}");
    let polars = lock.split("[[package]]").find(|package| package.contains("name = \"polars-sql\"\n")).unwrap();
    assert!(polars.contains("\"sqlparser\""), "{polars}");
}

/// Each function that is allowed is in the documentation, and no other.
#[test]
fn the_documentation_lists_the_functions() {
    let text = std::fs::read_to_string(crate::support::repository().join("docs/contracts.md")).unwrap();
    let section = text.split("## SQL in contracts").nth(1).unwrap().split("\n## ").next().unwrap();
    let table = section.split("| functions |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut listed: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    let mut allowed: Vec<_> = function_names().map(str::to_uppercase).collect();
    listed.sort_unstable();
    allowed.sort_unstable();
    assert_eq!(listed, allowed);
}

/// Polars knows each of them: a name that it does not know is told as such.
#[test]
fn polars_has_every_function() {
    for name in function_names() {
        let known = (0..4).any(|arguments| {
            let arguments = vec!["id"; arguments].join(", ");
            !run(&format!("SELECT {name}({arguments}) AS x FROM orders")).contains("unsupported function")
        });
        assert!(known, "{name}");
    }
}
