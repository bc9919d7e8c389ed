//! The SQL of contracts, rules and derived tables, as a syntax tree that is held against allow-lists before Polars sees it.
//!
//! The tree comes from the parser that Polars itself runs (the same crate, version, dialect and options; a test holds the
//! lock file to that), so what is looked at is what runs: whatever comments, quotes and escapes make a text look like.
//! A query reads tables that its contract names, by one name, and no files; functions are those that [`functions`] lists.
//! Every match of a node names what is allowed and refuses the rest, so a new release of the parser cannot let anything in.
//!
//! Texts are bounded before they are parsed, because a parser and the trees that it makes recurse: length, tokens, brackets,
//! and how deep a tree of these tokens can become at most ([`tokens`]). What a query makes is bounded by how often a text may
//! be repeated in a text, and by rows.

mod expr;
mod functions;
mod query;
mod tokens;

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart, SelectItem, Statement};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserOptions};

/// Levels of a syntax tree. A chain such as `a + b + c` has one for each operator.
pub(super) const MAX_DEPTH: usize = 200;
/// Bytes of one text literal.
pub(super) const MAX_LITERAL: usize = 1024;
/// How many times as long as what it is made of a text may become.
pub(super) const MAX_GROWTH: u64 = 16;
/// What RPAD and LPAD may fill up to.
pub(super) const MAX_PADDED: u64 = 1_000;
/// Tables that a query names, each time counted.
pub(super) const MAX_TABLES: usize = 64;
/// Tables that are read when each CTE stands where it is named: steps that each name the one before them twice are a plan that
/// doubles with every step.
pub(super) const MAX_READS: u64 = 256;
/// How many times over a query may have the rows of its tables: `UNION` of a table with itself doubles them, and steps that
/// do so to each other are a few words and rows without end.
pub(super) const MAX_COPIES: u64 = 64;

/// Whether a query is one that a contract may hold, beside whether Polars can run it: it reads `tables` and nothing else.
/// `texts` are the names of columns that hold text.
///
/// # Errors
/// What is refused, and what to write instead.
pub fn check_query(sql: &str, tables: &[&str], texts: &[&str]) -> Result<(), String> {
    query(sql, tables.iter().copied(), texts.iter().copied()).map(drop)
}

/// The same for the condition of a rule.
///
/// # Errors
/// What is refused, and what to write instead.
pub fn check_condition(sql: &str, texts: &[&str]) -> Result<(), String> {
    condition(sql, texts.iter().copied())
}

/// The functions that contracts may call, in lower case.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    functions::names()
}

pub(super) type Checked<T> = std::result::Result<T, String>;

/// What a query names, as far as it is needed after the check.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Tables of the contract.
    tables: BTreeSet<String>,
    /// Everything that may be a column, in lower case.
    words: HashSet<String>,
    /// Something stands for columns that are not named.
    all_columns: bool,
    /// For each join that joins every row with every row: the table that comes in, if it is one of the contract's.
    loose: Vec<Option<String>>,
    /// How many times over rows of the tables may come.
    copies: u64,
}

impl Names {
    pub(crate) fn reads(&self, table: &str) -> bool {
        self.tables.contains(table)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.words.contains(&name.to_ascii_lowercase())
    }

    pub(crate) fn takes_all_columns(&self) -> bool {
        self.all_columns
    }

    pub(crate) fn copies(&self) -> u64 {
        self.copies.max(1)
    }

    pub(crate) fn loose_joins(&self) -> &[Option<String>] {
        &self.loose
    }
}

/// What is known of a value: whether it may be a text, and how many times the length of what it was made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    pub(super) text: bool,
    pub(super) growth: u64,
}

impl Shape {
    pub(super) fn max(self, other: Self) -> Self {
        Self { text: self.text || other.text, growth: self.growth.max(other.growth) }
    }

    /// Of both together in one text.
    pub(super) fn and(self, other: Self) -> Self {
        Self { text: self.text || other.text, growth: self.growth.saturating_add(other.growth) }
    }

    pub(super) fn not_text(self) -> Self {
        Self { text: false, growth: 0 }
    }
}

/// What is known of a table: how its texts have grown, how many times over it has the rows of what it was made of, and how
/// many tables are read for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) growth: u64,
    pub(super) copies: u64,
    pub(super) reads: u64,
}

impl Rows {
    /// Of a table as it is.
    pub(super) const PLAIN: Self = Self { growth: 1, copies: 1, reads: 1 };

    pub(super) fn max(self, other: Self) -> Self {
        Self {
            growth: self.growth.max(other.growth),
            copies: self.copies.max(other.copies),
            reads: self.reads.max(other.reads),
        }
    }
}

/// The walk through one tree.
#[derive(Debug)]
pub(super) struct Walk {
    /// Tables of the contract; of a rule none.
    inputs: BTreeSet<String>,
    /// Names of tables that are known by now: inputs, CTEs, aliases.
    known: HashMap<String, Rows>,
    /// Names of columns that may be texts.
    texts: HashSet<String>,
    /// Of the tables that the expression at hand is over: the growth of their texts.
    base: u64,
    /// Of the same tables, joined.
    copies: u64,
    depth: usize,
    references: usize,
    /// Tables that are read for the query at hand.
    reads: u64,
    /// Rules look at one record: no subqueries, windows and aggregates.
    rule: bool,
    names: Names,
}

/// Checks a query. `inputs` are the tables that it may read; `texts` are the names of their columns that hold text or bytes.
///
/// # Errors
/// What is refused, and what to write instead.
pub(crate) fn query<'n>(
    sql: &str,
    inputs: impl Iterator<Item = &'n str>,
    texts: impl Iterator<Item = &'n str>,
) -> Checked<Names> {
    let mut parser = parser(tokens::query(sql)?);
    let statements = parser.parse_statements().map_err(|error| format!("is no query: {error}"))?;
    let [statement] = statements.as_slice() else {
        return Err(format!("has {} statements: it is one query, and nothing else", statements.len()));
    };
    let Statement::Query(query) = statement else {
        return Err("begins with neither SELECT nor WITH: it is a query, and nothing else".to_owned());
    };
    let inputs: BTreeSet<String> = inputs.map(str::to_owned).collect();
    let mut walk = Walk::new(inputs, texts, false);
    walk.query(query)?;
    Ok(walk.names)
}

/// Checks a rule's condition; `texts` are the names of the columns that hold text or bytes.
///
/// # Errors
/// What is refused, and what to write instead.
pub(crate) fn condition<'n>(sql: &str, texts: impl Iterator<Item = &'n str>) -> Checked<()> {
    let mut parser = parser(tokens::condition(sql)?);
    let item = parser.parse_select_item().map_err(|error| format!("unable to parse it: {error}"))?;
    let mut walk = Walk::new(BTreeSet::new(), texts, true);
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => walk.expr(&expr)?,
        _ => return Err("`*` is not allowed, because a rule looks at one record only; remove it".to_owned()),
    };
    Ok(())
}

/// As `polars_sql::SQLContext::execute` and `polars_sql::sql_expr` make theirs.
fn parser(tokens: Vec<sqlparser::tokenizer::TokenWithSpan>) -> Parser<'static> {
    let options = ParserOptions { trailing_commas: true, ..ParserOptions::default() };
    Parser::new(&GenericDialect).with_options(options).with_tokens_with_locations(tokens)
}

impl Walk {
    fn new<'n>(inputs: BTreeSet<String>, texts: impl Iterator<Item = &'n str>, rule: bool) -> Self {
        Self {
            known: inputs.iter().map(|name| (name.clone(), Rows::PLAIN)).collect(),
            inputs,
            texts: texts.map(str::to_ascii_lowercase).collect(),
            base: 1,
            copies: 1,
            depth: 0,
            references: 0,
            reads: 0,
            rule,
            names: Names::default(),
        }
    }

    /// One level deeper for as long as `walk` runs.
    fn deeper<T>(&mut self, walk: impl FnOnce(&mut Self) -> Checked<T>) -> Checked<T> {
        if self.depth == MAX_DEPTH {
            return Err(format!(
                "is more than {MAX_DEPTH} levels deep: write a long chain as `IN (…)`, or in steps (`WITH`)"
            ));
        }
        self.depth += 1;
        let done = walk(self);
        self.depth -= 1;
        done
    }

    fn column(&mut self, name: &Ident) -> Shape {
        self.word(name);
        let text = self.texts.contains(&name.value.to_ascii_lowercase());
        Shape { text, growth: if text { self.base } else { 0 } }
    }

    fn word(&mut self, name: &Ident) {
        self.names.words.insert(name.value.to_ascii_lowercase());
    }

    /// What a value is called from here on.
    fn called(&mut self, name: &Ident, shape: Shape) {
        self.word(name);
        if shape.text {
            self.texts.insert(name.value.to_ascii_lowercase());
        }
    }

    /// A table that is read.
    fn table(&mut self, name: &str) -> Checked<Rows> {
        self.references += 1;
        if self.references > MAX_TABLES {
            return Err(format!("names more than {MAX_TABLES} tables: make it of several derived tables"));
        }
        if self.inputs.contains(name) {
            self.names.tables.insert(name.to_owned());
        }
        let Some(rows) = self.known.get(name).copied() else {
            let inputs: Vec<_> = self.inputs.iter().map(|name| format!("`{name}`")).collect();
            return Err(format!(
                "reads `{name}`; it may read {}, which `follows` and `lookups` name",
                inputs.join(", ")
            ));
        };
        self.reads = self.reads.saturating_add(rows.reads);
        if self.reads > MAX_READS {
            return Err(format!(
                "reads tables more than {MAX_READS} times, when each CTE stands where it is named: make it of several derived tables"
            ));
        }
        Ok(rows)
    }

    /// The one part that a name may have.
    fn only<'n>(&self, name: &'n ObjectName, what: &str) -> Checked<&'n Ident> {
        match name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => Ok(name),
            _ => Err(format!("has the {what} `{}`: it has one name, without a schema", shortened(&name.to_string()))),
        }
    }

    /// A shape that is within what a text may become.
    fn bounded(&self, shape: Shape) -> Checked<Shape> {
        if shape.growth > MAX_GROWTH {
            return Err(format!(
                "can make texts more than {MAX_GROWTH} times as long as what they are made of: put fewer together"
            ));
        }
        Ok(shape)
    }

    /// So many copies of a table's rows, if they are within what a query may have.
    fn copied(&mut self, copies: u64) -> Checked<u64> {
        if copies > MAX_COPIES {
            return Err(format!(
                "can have the rows of its tables more than {MAX_COPIES} times over: UNION less, or make it of several derived tables"
            ));
        }
        self.names.copies = self.names.copies.max(copies);
        Ok(copies)
    }

    fn all(&mut self, exprs: &[Expr]) -> Checked<Shape> {
        exprs.iter().try_fold(Shape::default(), |shape, expr| Ok(shape.max(self.expr(expr)?)))
    }
}

/// A piece of the contract's text for a message.
pub(super) fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let head: String = characters.by_ref().take(60).collect();
    if characters.next().is_some() { head + "…" } else { head }
}

/// What is not on a list, for a message.
pub(super) fn refused<T>(what: impl std::fmt::Display) -> Checked<T> {
    Err(format!("{what} is not allowed; docs/contracts.md lists what is (\"SQL in contracts\")"))
}
