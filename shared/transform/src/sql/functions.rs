//! The functions that a contract's SQL may call. `docs/contracts.md` ("SQL in contracts") has the same list; a test compares.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
};

use super::expr::{number_of, text_of};
use super::{Checked, MAX_PADDED, Shape, Walk, refused, shortened};

/// Bytes of what may stand between texts that are put together.
const MAX_SEPARATOR: usize = 64;
/// The most that a normal form makes of a character.
const NORMALIZED: u64 = 11;

/// What a function makes of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Makes {
    /// A number, a boolean, a date or a time.
    Value,
    /// A text that is no longer than its first argument.
    Text,
    /// One of its arguments.
    Either,
    /// All of its arguments in one text.
    Concat,
    /// A text as long as its second argument says.
    Padded,
    Replaced,
    Normalized,
    /// Looks at many rows, and makes one of their values, or all of them once.
    Aggregate,
}

/// By what they make; each list in the order of the documentation.
const FUNCTIONS: [(Makes, &[&str]); 10] = [
    (Makes::Value, NUMBERS),
    (Makes::Value, ANGLES),
    (Makes::Value, OF_TEXTS),
    (Makes::Text, TEXTS),
    (Makes::Either, CHOICES),
    (Makes::Concat, &["concat", "concat_ws"]),
    (Makes::Padded, &["lpad", "rpad"]),
    (Makes::Replaced, &["replace"]),
    (Makes::Normalized, &["normalize"]),
    (Makes::Aggregate, AGGREGATES),
];
const NUMBERS: &[&str] = &[
    "abs", "bit_and", "bit_not", "bit_or", "bit_xor", "bitand", "bitnot", "bitor", "bitxor", "cbrt", "ceil", "ceiling",
    "div", "exp", "floor", "ln", "log", "log10", "log1p", "log2", "mod", "pi", "pow", "power", "round", "sign", "sqrt",
    "trunc", "truncate", "xor",
];
const ANGLES: &[&str] = &[
    "acos", "acosd", "asin", "asind", "atan", "atan2", "atan2d", "atand", "cos", "cosd", "cot", "cotd", "degrees",
    "radians", "sin", "sind", "tan", "tand",
];
const OF_TEXTS: &[&str] = &[
    "array_contains",
    "array_length",
    "array_mean",
    "array_sum",
    "bit_length",
    "char_length",
    "character_length",
    "date",
    "date_part",
    "datetime",
    "ends_with",
    "length",
    "octet_length",
    "regexp_like",
    "starts_with",
    "strpos",
    "strptime",
    "time",
    "timestamp",
];
const TEXTS: &[&str] = &[
    "array_get",
    "array_lower",
    "array_reverse",
    "array_unique",
    "array_upper",
    "left",
    "lower",
    "ltrim",
    "reverse",
    "right",
    "rtrim",
    "split_part",
    "strftime",
    "string_to_array",
    "substr",
    "upper",
];
const CHOICES: &[&str] = &["coalesce", "greatest", "if", "ifnull", "least", "nullif"];
const AGGREGATES: &[&str] = &[
    "array_agg",
    "array_to_string",
    "avg",
    "corr",
    "count",
    "covar",
    "covar_pop",
    "covar_samp",
    "first",
    "first_value",
    "group_concat",
    "lag",
    "last",
    "last_value",
    "lead",
    "listagg",
    "max",
    "median",
    "min",
    "quantile_cont",
    "quantile_disc",
    "row_number",
    "stddev",
    "stddev_samp",
    "stdev",
    "stdev_samp",
    "string_agg",
    "sum",
    "total",
    "unnest",
    "var",
    "var_samp",
    "variance",
];
/// Functions whose last argument stands between texts.
const JOINING: &[&str] = &["array_to_string", "group_concat", "listagg", "string_agg"];

fn makes(name: &str) -> Option<Makes> {
    FUNCTIONS.iter().find(|(_, names)| names.contains(&name)).map(|(makes, _)| *makes)
}

impl Walk {
    pub(super) fn function(&mut self, function: &Function) -> Checked<Shape> {
        let Function { name, uses_odbc_syntax, parameters, args, filter, null_treatment, over, within_group } =
            function;
        let shown = shortened(&name.to_string());
        let called = self.only(name, "function")?.value.to_lowercase();
        let Some(makes) = makes(&called) else { return refused(format!("the function `{shown}`")) };
        if *uses_odbc_syntax
            || null_treatment.is_some()
            || !within_group.is_empty()
            || *parameters != FunctionArguments::None
        {
            return refused(format!("this way to call `{shown}`"));
        }
        if self.rule && (makes == Makes::Aggregate || over.is_some()) {
            let what = if over.is_some() { "a window" } else { "an aggregate" };
            return Err(format!("{what} is not allowed, because a rule looks at one record only; remove `{shown}`"));
        }
        if over.is_some() && (JOINING.contains(&called.as_str()) || called == "array_agg") {
            return refused(format!("`{shown}` with OVER, which would make all of it for each row,"));
        }
        let FunctionArguments::List(FunctionArgumentList { duplicate_treatment: _, args, clauses }) = args else {
            return refused(format!("`{shown}` without (…)"));
        };
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => values.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if called == "count" => {}
                _ => return refused(format!("`*` or a named argument in `{shown}`")),
            }
        }
        let shapes = values.iter().map(|expr| self.expr(expr)).collect::<Checked<Vec<_>>>()?;
        for clause in clauses {
            match clause {
                FunctionArgumentClause::OrderBy(exprs) => self.ordered(exprs)?,
                FunctionArgumentClause::Limit(expr) => drop(self.expr(expr)?),
                _ => return refused(format!("what stands after the arguments of `{shown}`")),
            }
        }
        filter.iter().try_for_each(|filter| self.expr(filter).map(drop))?;
        over.iter().try_for_each(|over| self.over(over))?;
        result(makes, &called, &values, &shapes)
    }
}

fn result(makes: Makes, name: &str, values: &[&Expr], shapes: &[Shape]) -> Checked<Shape> {
    let first = shapes.first().copied().unwrap_or_default();
    let largest = shapes.iter().copied().fold(Shape::default(), Shape::max);
    match makes {
        Makes::Value => Ok(first.not_text()),
        Makes::Text => Ok(Shape { text: true, ..first }),
        Makes::Either => Ok(largest),
        Makes::Concat => {
            if name == "concat_ws" {
                separator(name, values.first().copied())?;
            }
            let all = shapes.iter().copied().fold(Shape::default(), Shape::and);
            Ok(Shape { text: true, ..all })
        }
        Makes::Padded => match values.get(1).and_then(|length| number_of(length)) {
            Some(length) if length <= MAX_PADDED => Ok(Shape { text: true, ..first }),
            _ => Err(format!("has a `{name}` whose length is no number from 0 to {MAX_PADDED}: write one")),
        },
        Makes::Replaced => {
            let texts = [1, 2].map(|at| values.get(at).and_then(|value| text_of(value)));
            let [Some(old), Some(new)] = texts else {
                return Err(
                    "has a `replace` whose second and third arguments are no texts in quotes: write them".to_owned()
                );
            };
            // Nothing is found before and after every character.
            let times = match old.len() {
                0 => 1 + new.len() as u64,
                length => (new.len() as u64).div_ceil(length as u64).max(1),
            };
            Ok(Shape { text: true, growth: first.growth.saturating_mul(times) })
        }
        Makes::Normalized => Ok(Shape { text: true, growth: first.growth.saturating_mul(NORMALIZED) }),
        Makes::Aggregate => {
            if JOINING.contains(&name) {
                separator(name, values.get(1).copied())?;
            }
            Ok(Shape { text: largest.text || JOINING.contains(&name), ..largest })
        }
    }
}

fn separator(name: &str, value: Option<&Expr>) -> Checked<()> {
    match value.map(text_of) {
        None => Ok(()),
        Some(Some(text)) if text.len() <= MAX_SEPARATOR => Ok(()),
        _ => Err(format!("has a `{name}` whose separator is no text in quotes of at most {MAX_SEPARATOR} bytes")),
    }
}

/// The names of all functions, for the documentation and tests.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().flat_map(|(_, names)| names.iter().copied())
}
