//! The SQL of contracts: queries that reach for a file whenever they can, and texts that cost: chains, brackets, steps that
//! double what the step before them made.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use weir_transform::function_names;

use super::{few, one};
use crate::take::sql::CANARY;

pub(crate) fn text(random: &mut StdRng) -> Vec<u8> {
    let text = match random.random_range(0..10) {
        0 => chain(random),
        1 => brackets(random),
        2 => steps(random),
        3 => grown(random),
        4 => calls(random),
        5 => format!("SELECT id FROM orders WHERE {}", calls(random)),
        _ => {
            let depth = random.random_range(0..5);
            Grammar { random, canary: CANARY }.query(depth)
        }
    };
    text.into_bytes()
}

fn chain(random: &mut StdRng) -> String {
    let (term, between) =
        one(random, &[("id", " + "), ("id = 1", " OR "), ("note", " || "), ("1", ", "), ("- ", ""), ("NOT ", "")]);
    let terms = vec![term; 1 + few(random, 30_000)].join(between);
    match random.random_range(0..3) {
        0 => terms,
        1 => format!("SELECT {terms} AS n FROM orders"),
        _ => format!("SELECT id FROM orders WHERE id IN ({terms})"),
    }
}

fn brackets(random: &mut StdRng) -> String {
    let (open, close) = one(
        random,
        &[
            ("(", ")"),
            ("(SELECT ", ")"),
            ("CASE WHEN TRUE THEN ", " END"),
            ("ABS(", ")"),
            ("[", "]"),
            ("CAST(", " AS INT)"),
            ("/*", "*/"),
            ("SELECT * FROM (", ") AS t"),
        ],
    );
    let depth = few(random, 2_000);
    format!("SELECT {}1{} AS n FROM orders", open.repeat(depth), close.repeat(depth))
}

/// Each step has twice the rows of the one before it.
fn steps(random: &mut StdRng) -> String {
    let (mut text, mut before) = ("WITH ".to_owned(), "orders".to_owned());
    let steps = 1 + few(random, 40);
    for at in 0..steps {
        let between = one(random, &["UNION ALL", "UNION ALL", "UNION", "EXCEPT", "CROSS JOIN", "JOIN"]);
        let step = match between {
            "CROSS JOIN" => format!("SELECT a.id, a.note FROM {before} AS a CROSS JOIN {before} AS b"),
            "JOIN" => format!("SELECT a.id, a.note FROM {before} AS a JOIN {before} AS b ON a.id = b.id"),
            _ => format!("SELECT id, note FROM {before} {between} SELECT id, note FROM {before}"),
        };
        text += &format!("{}s{at} AS ({step})", if at > 0 { ", " } else { "" });
        before = format!("s{at}");
    }
    format!("{text} SELECT {} FROM {before}", one(random, &["*", "COUNT(*) AS n", "id"]))
}

/// Texts that grow.
fn grown(random: &mut StdRng) -> String {
    let mut value = "note".to_owned();
    for _ in 0..few(random, 30) {
        value = match random.random_range(0..7) {
            0 => format!("({value} || {value})"),
            1 => format!("REPLACE({value}, 'a', {value})"),
            2 => format!("RPAD({value}, {}, 'x')", one(random, &["10", "1000", "100000000", "id"])),
            3 => format!("CONCAT({value}, {value}, {value})"),
            4 => format!("CONCAT_WS('{}', {value}, {value})", "-".repeat(few(random, 100))),
            5 => format!("NORMALIZE({value}, NFKD)"),
            _ => format!("STRING_TO_ARRAY({value}, '')"),
        };
        if value.len() > 100_000 {
            break;
        }
    }
    format!("SELECT {value} AS v FROM orders")
}

/// Functions of the list, and of no list, with whatever fits.
fn calls(random: &mut StdRng) -> String {
    let names: Vec<&str> = function_names().chain(["read_csv", "pg_sleep", "repeat", "range"]).collect();
    let mut value = one(random, &["id", "note", "1", "'x'", "NULL"]).to_owned();
    for _ in 0..1 + few(random, 12) {
        let others: String = (0..few(random, 4))
            .map(|_| ", ".to_owned() + one(random, &["id", "note", "-1", "1000000000", "'x'", "NULL", "'%Y'", "1e300"]))
            .collect();
        value = format!("{}({value}{others})", one(random, &names));
        if random.random_ratio(1, 6) {
            value += one(random, &[" IS NULL", "::VARCHAR", " OVER ()", " OVER (ORDER BY id)", " BETWEEN 1 AND 2"]);
        }
    }
    value
}

/// A grammar that reaches for a file whenever it can.
#[derive(Debug)]
pub struct Grammar<'c> {
    pub random: &'c mut StdRng,
    /// The path of a file that no query may open.
    pub canary: &'c str,
}

impl Grammar<'_> {
    fn one(&mut self, texts: &[&str]) -> String {
        (*texts.choose(self.random).unwrap()).to_owned()
    }

    fn file(&mut self) -> String {
        let function =
            self.one(&["read_csv", "READ_CSV", "\"read_csv\"", "`read_csv`", "read_parquet", "read_json", "read_ipc"]);
        let call = match self.random.random_range(0..4) {
            0 => format!("{function} ('{}')", self.canary),
            1 => format!("{function}/**/('{}')", self.canary),
            _ => format!("{function}('{}')", self.canary),
        };
        match self.random.random_range(0..8) {
            0 => format!("'{}'", self.canary),
            1 => format!("\"{}\"", self.canary),
            2 => format!("/*! {call} */"),
            3 => format!("/*!50110 {call} */"),
            4 => format!("TABLE({call})"),
            _ => call,
        }
    }

    fn table(&mut self, depth: usize) -> String {
        match self.random.random_range(0..if depth == 0 { 4 } else { 8 }) {
            0 => self.file(),
            1 | 2 => "orders".to_owned(),
            3 => self.one(&["shops", "c", "orders.x", "\"orders\"", "UNNEST([1, 2]) AS u (v)"]),
            4 => format!("({}) AS {}", self.query(depth - 1), self.one(&["a", "b", "c"])),
            5 => format!("({} CROSS JOIN {} AS j)", self.table(depth - 1), self.table(depth - 1)),
            6 => format!("{} AS {}", self.table(depth - 1), self.one(&["a", "b", "c"])),
            _ => format!("LATERAL {}", self.table(depth - 1)),
        }
    }

    fn value(&mut self, depth: usize) -> String {
        match self.random.random_range(0..if depth == 0 { 6 } else { 14 }) {
            0 => self.one(&["id", "note", "shop", "orders.id", "region", "*"]),
            1 => self.one(&["1", "'x'", "NULL", "TRUE", "1.5"]),
            // What hides what follows from a filter of words.
            2 => self.one(&["$$'$$", "$q$'$q$", "E'\\''", "'it''s'", "U&'\\0027'", "q'[']'", "N'x'", "X'27'"]),
            3 => format!("/* {} */ 1", self.one(&["'", "\"", "--", "/* */", "$$"])),
            4 => "id".to_owned(),
            5 => format!("-- {}\n note", self.one(&["'", "\"", "/*", "*/"])),
            6 => format!(
                "({} {} {})",
                self.value(depth - 1),
                self.one(&["+", "||", "=", "OR", "LIKE"]),
                self.value(depth - 1)
            ),
            7 => format!(
                "{}({})",
                self.one(&["UPPER", "COUNT", "MAX", "ABS", "LENGTH", "read_csv"]),
                self.value(depth - 1)
            ),
            8 => format!("id IN ({})", self.query(depth - 1)),
            9 => format!("EXISTS ({})", self.query(depth - 1)),
            10 => format!("CASE WHEN {} THEN {} END", self.value(depth - 1), self.value(depth - 1)),
            11 => format!("CAST({} AS {})", self.value(depth - 1), self.one(&["INT", "VARCHAR", "DATE"])),
            12 => format!("SUM({}) OVER (PARTITION BY {})", self.value(depth - 1), self.value(depth - 1)),
            _ => format!("({})", self.query(depth - 1)),
        }
    }

    /// A query, nested so deep.
    pub fn query(&mut self, depth: usize) -> String {
        let below = depth.saturating_sub(1);
        let mut query = String::new();
        if depth > 0 && self.random.random_bool(0.2) {
            let within =
                if self.random.random_bool(0.5) { format!("SELECT * FROM {}", self.file()) } else { self.query(below) };
            query += &format!("WITH {} AS ({within}) ", self.one(&["c", "orders", "secret"]));
        }
        query += &format!("SELECT {} FROM {}", self.value(below), self.table(below));
        if self.random.random_bool(0.4) {
            let join = self.one(&["CROSS JOIN", "JOIN", ",", "LEFT JOIN", "NATURAL JOIN", "ANTI JOIN"]);
            let on = self.one(&["", " AS s", " AS s ON TRUE", " AS s ON orders.id = s.id", " USING (id)"]);
            query += &format!(" {join} {}{on}", self.table(below));
        }
        if self.random.random_bool(0.3) {
            query += &format!(" WHERE {}", self.value(below));
        }
        if self.random.random_bool(0.1) {
            query += &format!(
                " UNION ALL {}",
                if depth == 0 { "SELECT id FROM orders".to_owned() } else { self.query(below) }
            );
        }
        query
    }
}
