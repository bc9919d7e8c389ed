//! Expressions as a pool computes them, by T-SQL's documentation: texts are UTF-16, casts cut, binary numbers are big-endian.
//!
//! What the loader asks for and no more. Anything else panics, so that a new expression is noticed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use chrono::{NaiveDate, NaiveDateTime};
use sha2::{Digest, Sha256};
use weir_warehouse::tsql::Flavor;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Whole(i128),
    Real(f64),
    /// In UTF-16 units, of which one alone may be half a character.
    Text(Vec<u16>),
    /// A `varchar`, whose collation is a UTF-8 one.
    Utf8(String),
    Bytes(Vec<u8>),
}

/// Stands before the digits of binary values, which the engine keeps as text.
const BINARY: char = '\u{E000}';
/// Stands before the number of a value that is too long for the engine: it is kept here.
const LONG: char = '\u{E001}';
const LONGEST: usize = 1_000;

static KEPT: Mutex<Vec<Cell>> = Mutex::new(Vec::new());

/// Like values have like numbers.
fn keep(cell: Cell) -> String {
    let mut kept = KEPT.lock().unwrap();
    let at = kept.iter().position(|known| *known == cell).unwrap_or_else(|| {
        kept.push(cell);
        kept.len() - 1
    });
    format!("{LONG}{at}")
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Cell::Text(text.encode_utf16().collect())
    }

    /// What the engine keeps.
    pub(super) fn stored(self) -> Option<String> {
        Some(match self {
            Cell::Null => return None,
            Cell::Whole(number) => number.to_string(),
            Cell::Real(number) => format!("{number:?}"),
            Cell::Text(ref units) if units.len() > LONGEST => keep(self),
            Cell::Utf8(ref text) if text.len() > LONGEST => keep(self),
            Cell::Bytes(ref bytes) if bytes.len() > LONGEST => keep(self),
            Cell::Utf8(text) => text,
            Cell::Text(units) => String::from_utf16(&units).expect("half a character would be stored"),
            Cell::Bytes(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{BINARY}{digits}")
            }
        })
    }

    /// Texts are `varchar` in Fabric.
    pub(super) fn of_stored(text: Option<String>, flavor: Flavor) -> Self {
        match text {
            None => Cell::Null,
            Some(text) if text.starts_with(LONG) => {
                KEPT.lock().unwrap()[text[LONG.len_utf8()..].parse::<usize>().unwrap()].clone()
            }
            Some(text) => match text.strip_prefix(BINARY) {
                Some(digits) => {
                    let pairs = (0..digits.len() / 2).map(|at| &digits[2 * at..2 * at + 2]);
                    Cell::Bytes(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect())
                }
                None if flavor == Flavor::Fabric => Cell::Utf8(text),
                None => Cell::text(&text),
            },
        }
    }

    fn string(&self) -> String {
        match self {
            Cell::Text(units) => String::from_utf16(units).unwrap(),
            Cell::Utf8(text) => text.clone(),
            Cell::Whole(number) => number.to_string(),
            other => panic!("{other:?} is no text"),
        }
    }

    fn whole(&self) -> i128 {
        match self {
            Cell::Whole(number) => *number,
            other => other.string().trim().parse().unwrap(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Cell::Bytes(bytes) => bytes.clone(),
            Cell::Text(units) => units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
            Cell::Utf8(text) => text.clone().into_bytes(),
            other => panic!("{other:?} has no bytes"),
        }
    }
}

/// A row: columns by name.
pub(super) type Env = BTreeMap<String, Cell>;

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Column(String),
    Literal(Cell),
    Call(String, Vec<Expr>),
    Cast(Box<Expr>, String),
    Plus(Box<Expr>, Box<Expr>),
    /// `CASE WHEN .. THEN .. ELSE .. END`
    Case(Box<Condition>, Box<Expr>, Box<Expr>),
    Star,
}

#[derive(Debug, Clone)]
pub(super) enum Condition {
    Greater(Expr, Expr),
    Between(Expr, Expr, Expr),
}

impl Expr {
    /// A list of expressions, separated by commas.
    pub(super) fn list(text: &str) -> Vec<Expr> {
        let mut parser = Parser { rest: text };
        let list = parser.list();
        assert!(parser.rest.trim().is_empty(), "not understood: {}", parser.rest);
        list
    }

    pub(super) fn columns(&self, into: &mut Vec<String>) {
        match self {
            Expr::Column(name) if !into.contains(name) => into.push(name.clone()),
            Expr::Column(_) | Expr::Literal(_) | Expr::Star => {}
            Expr::Call(_, inner) => inner.iter().for_each(|inner| inner.columns(into)),
            Expr::Cast(inner, _) => inner.columns(into),
            Expr::Plus(left, right) => [left, right].iter().for_each(|inner| inner.columns(into)),
            Expr::Case(condition, then, or) => {
                let (Condition::Greater(left, right) | Condition::Between(left, right, _)) = &**condition;
                [left, right, then, or].iter().for_each(|inner| inner.columns(into));
            }
        }
    }

    /// Over all rows.
    pub(super) fn aggregate(&self, rows: &[Env]) -> Cell {
        match self {
            Expr::Call(name, inner) if name == "COUNT_BIG" => {
                let counts = |row: &&Env| matches!(inner[0], Expr::Star) || inner[0].value(row) != Cell::Null;
                Cell::Whole(rows.iter().filter(counts).count() as i128)
            }
            Expr::Call(name, inner) if name == "SUM" => {
                let values = rows.iter().map(|row| inner[0].value(row)).filter(|value| *value != Cell::Null);
                let values: Vec<_> = values.map(|value| value.whole()).collect();
                if values.is_empty() { Cell::Null } else { Cell::Whole(values.iter().sum()) }
            }
            Expr::Cast(inner, to) => cast(inner.aggregate(rows), to),
            other => panic!("no aggregate: {other:?}"),
        }
    }

    pub(super) fn value(&self, row: &Env) -> Cell {
        match self {
            Expr::Column(name) => row.get(name).unwrap_or_else(|| panic!("no column {name}")).clone(),
            Expr::Literal(cell) => cell.clone(),
            Expr::Cast(inner, to) => cast(inner.value(row), to),
            Expr::Plus(left, right) => match (left.value(row), right.value(row)) {
                (Cell::Null, _) | (_, Cell::Null) => Cell::Null,
                (Cell::Bytes(left), Cell::Bytes(right)) => Cell::Bytes([left, right].concat()),
                (Cell::Text(left), Cell::Text(right)) => Cell::Text([left, right].concat()),
                (Cell::Real(left), Cell::Real(right)) => Cell::Real(left + right),
                (left, right) => panic!("{left:?} + {right:?}"),
            },
            Expr::Case(condition, then, or) => {
                let whole =
                    |expr: &Expr| Some(expr.value(row)).filter(|value| *value != Cell::Null).map(|value| value.whole());
                let holds = match &**condition {
                    Condition::Greater(left, right) => whole(left) > whole(right) && whole(left).is_some(),
                    Condition::Between(value, low, high) => {
                        whole(value).is_some_and(|value| whole(low).unwrap() <= value && value <= whole(high).unwrap())
                    }
                };
                if holds { then.value(row) } else { or.value(row) }
            }
            Expr::Call(name, inner) => call(name, inner, row),
            Expr::Star => panic!("* is no value"),
        }
    }
}

fn call(name: &str, inner: &[Expr], row: &Env) -> Cell {
    let values: Vec<_> = inner.iter().map(|inner| inner.value(row)).collect();
    if values.contains(&Cell::Null) {
        return Cell::Null;
    }
    match name {
        "HASHBYTES" => {
            assert_eq!(values[0].string(), "SHA2_256");
            Cell::Bytes(Sha256::digest(values[1].bytes()).to_vec())
        }
        "DATALENGTH" => Cell::Whole(values[0].bytes().len() as i128),
        "UNICODE" => match &values[0] {
            Cell::Text(units) => units.first().map_or(Cell::Null, |unit| Cell::Whole((*unit).into())),
            other => panic!("UNICODE of {other:?}"),
        },
        "NCHAR" => Cell::Text(vec![u16::try_from(values[0].whole()).unwrap()]),
        "SUBSTRING" => {
            let (from, length) = (values[1].whole() as usize - 1, values[2].whole() as usize);
            match &values[0] {
                Cell::Text(units) => Cell::Text(units.iter().skip(from).take(length).copied().collect()),
                Cell::Bytes(bytes) => Cell::Bytes(bytes.iter().skip(from).take(length).copied().collect()),
                other => panic!("SUBSTRING of {other:?}"),
            }
        }
        "DATEDIFF" => {
            assert_eq!((values[0].string().as_str(), values[1].string().as_str()), ("day", "19700101"));
            Cell::Whole(date(&values[2].string()).signed_duration_since(NaiveDate::default()).num_days().into())
        }
        "DATEDIFF_BIG" => {
            assert_eq!((values[0].string().as_str(), values[1].string().as_str()), ("microsecond", "19700101"));
            Cell::Whole(instant(&values[2].string()).and_utc().timestamp_micros().into())
        }
        other => panic!("unknown function {other}"),
    }
}

fn date(text: &str) -> NaiveDate {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
    assert!((1..=9999).contains(&chrono::Datelike::year(&date)), "T-SQL has no such year");
    date
}

fn instant(text: &str) -> NaiveDateTime {
    let instant = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap();
    assert!((1..=9999).contains(&chrono::Datelike::year(&instant)), "T-SQL has no such year");
    instant
}

pub(super) fn shown(instant: NaiveDateTime) -> String {
    instant.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// `to` is a type's name, with its length.
fn cast(value: Cell, to: &str) -> Cell {
    let (name, length) = to.split_once('(').map_or((to, ""), |(name, rest)| (name, rest.trim_end_matches(')')));
    let length: Vec<usize> = length.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    match (name, value) {
        (_, Cell::Null) => Cell::Null,
        ("bigint" | "int" | "smallint", Cell::Bytes(bytes)) => {
            assert!(bytes.len() <= 8);
            let wide = bytes.iter().fold(0_u64, |wide, byte| wide << 8 | u64::from(*byte));
            Cell::Whole((wide as i64).into())
        }
        ("bigint" | "int" | "smallint", value) => Cell::Whole(value.whole()),
        ("float" | "real", value) => Cell::Real(value.string().parse().unwrap()),
        ("binary", Cell::Whole(number)) => {
            assert_eq!(length, [8]);
            Cell::Bytes((number as i64).to_be_bytes().to_vec())
        }
        // Whole numbers that the engine gave as text.
        ("binary", value @ (Cell::Text(_) | Cell::Utf8(_))) => cast(Cell::Whole(value.whole()), to),
        ("binary", Cell::Real(number)) => Cell::Bytes(number.to_bits().to_be_bytes().to_vec()),
        ("varbinary", Cell::Bytes(bytes)) => Cell::Bytes(bytes.into_iter().take(length[0]).collect()),
        // Of a `varchar`, whose characters are bytes.
        ("varbinary", value) => Cell::Bytes(value.string().into_bytes().into_iter().take(length[0]).collect()),
        ("nvarchar", Cell::Text(units)) => Cell::Text(units.into_iter().take(length[0]).collect()),
        // Half a character is left out: so it is said of UTF-8 collations, and nobody has tried.
        ("varchar", value) => {
            let mut text = value.string();
            text.truncate((0..=length[0].min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap());
            Cell::Utf8(text)
        }
        ("date", value) => Cell::text(&date(&value.string()).to_string()),
        ("datetime2", value) => Cell::text(&shown(instant(&value.string()))),
        ("decimal", Cell::Whole(number)) if length[1] == 0 => Cell::Whole(number),
        ("decimal", value) => Cell::text(&decimal(&value.string(), length[0], length[1])),
        ("bit", value) => Cell::text(match value.string().as_str() {
            "1" | "true" => "1",
            "0" | "false" => "0",
            other => panic!("{other} is no bit"),
        }),
        (name, value) => panic!("CAST({value:?} AS {name})"),
    }
}

/// With all digits of the scale; a digit too many is an error, as it is there before the point.
fn decimal(text: &str, precision: usize, scale: usize) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    assert!(fraction.len() <= scale && whole.len() + scale <= precision, "{text} is no decimal({precision},{scale})");
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction:0<scale$}")
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some(after) = rest.strip_prefix(word) else { return false };
        let is_word = word.ends_with(|last: char| last.is_ascii_alphanumeric());
        if is_word && after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_') {
            return false;
        }
        self.rest = after;
        true
    }

    fn expects(&mut self, word: &str) {
        assert!(self.takes(word), "{word} is expected at: {}", self.rest);
    }

    fn word(&mut self) -> String {
        let rest = self.rest.trim_start();
        let end = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        self.rest = after;
        word.to_owned()
    }

    fn list(&mut self) -> Vec<Expr> {
        let mut list = vec![self.sum()];
        while self.takes(",") {
            list.push(self.sum());
        }
        list
    }

    fn sum(&mut self) -> Expr {
        let mut left = self.single();
        while self.takes("+") {
            left = Expr::Plus(Box::new(left), Box::new(self.single()));
        }
        left
    }

    fn single(&mut self) -> Expr {
        let expr = self.start();
        // The only collation that is asked for compares and counts units, as everything here does.
        if self.takes("COLLATE") {
            assert_eq!(self.word(), "Latin1_General_100_BIN2");
        }
        expr
    }

    fn start(&mut self) -> Expr {
        if self.takes("*") {
            return Expr::Star;
        }
        if self.takes("N'") || self.takes("'") {
            return Expr::Literal(Cell::text(&self.quoted('\'')));
        }
        if self.takes("[") {
            let mut name = self.quoted(']');
            while self.takes(".[") {
                name = self.quoted(']');
            }
            return Expr::Column(name);
        }
        if self.takes("CASE") {
            self.expects("WHEN");
            let left = self.sum();
            let condition = if self.takes(">") {
                Condition::Greater(left, self.sum())
            } else {
                self.expects("BETWEEN");
                let low = self.sum();
                self.expects("AND");
                Condition::Between(left, low, self.sum())
            };
            self.expects("THEN");
            let then = self.sum();
            self.expects("ELSE");
            let or = self.sum();
            self.expects("END");
            return Expr::Case(Box::new(condition), Box::new(then), Box::new(or));
        }
        let word = self.word();
        if word == "NULL" {
            return Expr::Literal(Cell::Null);
        }
        if word == "0E0" {
            return Expr::Literal(Cell::Real(0.0));
        }
        if let Ok(number) = word.parse() {
            return Expr::Literal(Cell::Whole(number));
        }
        self.call(&word)
    }

    fn call(&mut self, word: &str) -> Expr {
        self.expects("(");
        let expr = match word {
            "CAST" => {
                let inner = self.sum();
                self.expects("AS");
                Expr::Cast(Box::new(inner), self.data_type())
            }
            "CONVERT" => {
                let to = self.data_type();
                self.expects(",");
                Expr::Cast(Box::new(self.sum()), to)
            }
            "DATEDIFF" | "DATEDIFF_BIG" => {
                let part = Expr::Literal(Cell::text(&self.word()));
                self.expects(",");
                Expr::Call(word.to_owned(), [vec![part], self.list()].concat())
            }
            _ => Expr::Call(word.to_owned(), self.list()),
        };
        self.expects(")");
        expr
    }

    fn data_type(&mut self) -> String {
        let mut name = self.word();
        if self.takes("(") {
            let (length, after) = self.rest.split_once(')').unwrap();
            name = format!("{name}({length})");
            self.rest = after;
        }
        name
    }

    /// Up to `end`, which is doubled where it is meant.
    fn quoted(&mut self, end: char) -> String {
        let mut text = String::new();
        loop {
            let (part, after) = self.rest.split_once(end).unwrap();
            text.push_str(part);
            self.rest = after;
            match self.rest.strip_prefix(end) {
                Some(more) => {
                    text.push(end);
                    self.rest = more;
                }
                None => return text,
            }
        }
    }
}
