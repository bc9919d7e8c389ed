//! Quality rules: SQL expressions compiled once, checked against the contract's columns, and evaluated for a whole chunk.
//!
//! A verdict on a record depends on that record alone. So whatever looks at other rows (aggregates, windows, subqueries)
//! or at chance is refused when the contract is compiled, not when data arrives. A cast that fails gives null, and null
//! passes, as in an SQL CHECK. A rule that cannot be evaluated on a record counts as violated by that one: the data is kept,
//! in quarantine, and nothing loops.

use std::sync::atomic::{AtomicUsize, Ordering};

use polars::chunked_array::cast::CastOptions;
use polars::lazy::dsl::{BooleanFunction, Expr, FunctionExpr, StringFunction};
use polars::prelude::{AggExpr, BooleanChunked, DataFrame, DataType, IntoLazy, PolarsError, PolarsResult, Schema};
use weir_contract::{Rule, RuleAction, Stop};

use crate::error::{Result, TransformError};
use crate::sql;

#[derive(Debug, Clone)]
pub(crate) struct CompiledRule {
    pub(crate) name: String,
    pub(crate) action: RuleAction,
    expr: Expr,
}

impl CompiledRule {
    /// `schema` holds the contract's columns, by their names and types before privacy.
    pub(crate) fn new(rule: &Rule, schema: &Schema) -> Result<Self> {
        compile(&rule.expr, schema)
            .map(|expr| Self { name: rule.name.clone(), action: rule.action, expr })
            .map_err(|problem| TransformError::Rule { rule: rule.name.clone(), line: rule.line, problem })
    }
}

fn compile(sql: &str, schema: &Schema) -> std::result::Result<Expr, String> {
    let is_text = |dtype: &DataType| matches!(dtype, DataType::String | DataType::Binary);
    let texts = schema.iter().filter(|(_, dtype)| is_text(dtype)).map(|(name, _)| name.as_str());
    sql::condition(sql, texts)?;
    let expr =
        polars::sql::sql_expr(sql).map_err(|error| format!("{}; write one SQL condition", first_line(&error)))?;
    let expr = expr.map_expr(|node| match node {
        Expr::Cast { expr, dtype, .. } => Expr::Cast { expr, dtype, options: CastOptions::NonStrict },
        other => other,
    });
    let mut columns = 0;
    for node in &expr {
        if let Expr::Column(name) = node {
            if !schema.contains(name) {
                let known: Vec<String> = schema.iter_names().map(|name| format!("`{name}`")).collect();
                let meant = weir_contract::nearest(name, schema.iter_names().map(|name| name.as_str()));
                let meant = meant.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                return Err(format!(
                    "unknown column `{name}`; {meant}the contract has {} (a text is written in single quotes)",
                    known.join(", ")
                ));
            }
            columns += 1;
        }
        if let Some(problem) = refused(node) {
            return Err(format!("{problem} not allowed, because a rule looks at one record only; remove it"));
        }
    }
    if columns == 0 {
        return Err("it names no column, so it says nothing about a record; name one".to_owned());
    }
    // Polars adds the whole plan on further lines.
    let advice = "compare values of one type, a date as in DATE '2024-01-31'";
    match probe(&expr, schema).map_err(|error| format!("{}; {advice}", first_line(&error)))? {
        DataType::Boolean => Ok(expr),
        other => Err(format!("its result is {other}, not a boolean; write a condition, such as `price > 0`")),
    }
}

fn first_line(error: &PolarsError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The type of the result, found by evaluating the rule on no rows: this is how it will run.
fn probe(expr: &Expr, schema: &Schema) -> PolarsResult<DataType> {
    let empty = DataFrame::empty_with_schema(schema);
    let result = empty.lazy().select([expr.clone().alias("result")]).collect()?;
    Ok(result.column("result")?.dtype().clone())
}

/// What makes an expression more than a condition on one record. An allow-list: Polars has more kinds of expressions
/// than SQL can reach, and new ones in every release.
fn refused(node: &Expr) -> Option<String> {
    match node {
        Expr::Alias(..) | Expr::Column(_) | Expr::Literal(_) | Expr::BinaryExpr { .. } | Expr::Cast { .. } => None,
        Expr::Ternary { .. } => None,
        Expr::Function { function, .. } if allowed(function) => None,
        Expr::Function { function, .. } => Some(format!("the function `{function}` is")),
        // `IN (1, 2)`: the list itself, wrapped.
        Expr::Agg(AggExpr::Implode { input, .. }) if matches!(&**input, Expr::Literal(_)) => None,
        Expr::Agg(_) | Expr::Len => Some("an aggregate is".to_owned()),
        Expr::Over { .. } => Some("a window is".to_owned()),
        Expr::SubPlan(..) => Some("a subquery is".to_owned()),
        Expr::Selector(_) => Some("`*` is".to_owned()),
        _ => Some("this expression is".to_owned()),
    }
}

fn allowed(function: &FunctionExpr) -> bool {
    match function {
        FunctionExpr::Boolean(function) => matches!(
            function,
            BooleanFunction::IsNull
                | BooleanFunction::IsNotNull
                | BooleanFunction::IsFinite
                | BooleanFunction::IsInfinite
                | BooleanFunction::IsNan
                | BooleanFunction::IsNotNan
                | BooleanFunction::IsBetween { .. }
                | BooleanFunction::IsIn { .. }
                | BooleanFunction::AllHorizontal
                | BooleanFunction::AnyHorizontal
                | BooleanFunction::Not
        ),
        FunctionExpr::StringExpr(function) => !matches!(function, StringFunction::Format { .. }),
        FunctionExpr::TemporalExpr(_)
        | FunctionExpr::Abs
        | FunctionExpr::Negate
        | FunctionExpr::Pow(_)
        | FunctionExpr::FillNull
        | FunctionExpr::Coalesce
        | FunctionExpr::Clip { .. }
        | FunctionExpr::Round { .. }
        | FunctionExpr::RoundSF { .. }
        | FunctionExpr::Truncate { .. }
        | FunctionExpr::Floor
        | FunctionExpr::Ceil
        | FunctionExpr::MaxHorizontal
        | FunctionExpr::MinHorizontal => true,
        _ => false,
    }
}

/// Records of a chunk that are looked at one by one because a rule fails on them; where it fails on more, it counts as not
/// evaluated on all that were not looked at.
const MOST_ALONE: usize = 20_000;

/// Why a row violates a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Violated,
    /// The rule cannot be evaluated on the row.
    Unknown,
}

/// The rows that violate a rule, ascending.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    pub(crate) rows: Vec<(usize, Verdict)>,
}

/// Evaluates every rule on every row: in one pass of the engine, where nothing fails.
pub(crate) fn evaluate(rules: &[CompiledRule], frame: &DataFrame, stop: &Stop) -> Vec<Violations> {
    if rules.is_empty() || frame.height() == 0 {
        return rules.iter().map(|_| Violations::default()).collect();
    }
    evaluate_all(rules, frame).unwrap_or_else(|| {
        let one = |rule: &CompiledRule| {
            let (mut violations, alone) = (Violations::default(), AtomicUsize::new(0));
            violations.rows = one_by_one(std::slice::from_ref(rule), frame, 0, &Alone { count: &alone, stop });
            violations
        };
        rules.iter().map(one).collect()
    })
}

/// How many records were looked at by themselves, and whether somebody waits for more.
struct Alone<'s> {
    count: &'s AtomicUsize,
    stop: &'s Stop,
}

/// The engine fails a whole frame for one row: so it is asked of halves, until those that fail are alone.
fn one_by_one(rule: &[CompiledRule], frame: &DataFrame, first: usize, alone: &Alone<'_>) -> Vec<(usize, Verdict)> {
    let height = frame.height();
    if alone.stop.is_set() {
        return Vec::new();
    }
    if let Some(mut judged) = evaluate_all(rule, frame) {
        let rows = judged.pop().unwrap_or_default().rows;
        return rows.into_iter().map(|(row, verdict)| (first + row, verdict)).collect();
    }
    if height == 1 {
        alone.count.fetch_add(1, Ordering::Relaxed);
    }
    if height == 1 || alone.count.load(Ordering::Relaxed) >= MOST_ALONE {
        return (first..first + height).map(|row| (row, Verdict::Unknown)).collect();
    }
    let half = height / 2;
    let (left, right) = (frame.slice(0, half), frame.slice(half as i64, height - half));
    let halves =
        rayon::join(|| one_by_one(rule, &left, first, alone), || one_by_one(rule, &right, first + half, alone));
    let (mut rows, more) = halves;
    rows.extend(more);
    rows
}

fn evaluate_all(rules: &[CompiledRule], frame: &DataFrame) -> Option<Vec<Violations>> {
    let exprs: Vec<Expr> =
        rules.iter().enumerate().map(|(index, rule)| rule.expr.clone().alias(index.to_string())).collect();
    let result = frame.clone().lazy().select(exprs).collect().ok()?;
    (result.height() == frame.height()).then_some(())?;
    result.columns().iter().map(|column| Some(violations(column.bool().ok()?))).collect()
}

fn violations(verdicts: &BooleanChunked) -> Violations {
    if verdicts.all() {
        return Violations::default();
    }
    let rows = verdicts.iter().enumerate().filter(|(_, verdict)| *verdict == Some(false));
    Violations { rows: rows.map(|(row, _)| (row, Verdict::Violated)).collect() }
}
