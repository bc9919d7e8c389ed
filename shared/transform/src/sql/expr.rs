//! Expressions: each node that may stand in one, and what is known of its value.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator as Op, CastFormat, CeilFloorKind, DataType, Expr, Subscript, TypedString,
    UnaryOperator, Value, ValueWithSpan,
};

use super::{Checked, Shape, Walk, refused};

/// Bytes of a literal that count as one more length of a text when it is put to that.
const LITERAL_LENGTH: usize = 64;

impl Walk {
    /// Checks an expression.
    pub(super) fn expr(&mut self, expr: &Expr) -> Checked<Shape> {
        let shape = self.deeper(|walk| walk.node(expr))?;
        self.bounded(shape)
    }

    fn node(&mut self, expr: &Expr) -> Checked<Shape> {
        match expr {
            Expr::Identifier(name) => Ok(self.column(name)),
            Expr::CompoundIdentifier(parts) => self.compound(parts),
            Expr::Value(value) => literal(value),
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false }) => {
                cast_to(data_type)?;
                Ok(literal(value)?.not_text())
            }
            Expr::Nested(inner) => self.expr(inner),
            Expr::BinaryOp { left, op, right } => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                binary(left, op, right)
            }
            Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, expr } => {
                Ok(self.expr(expr)?.not_text())
            }
            Expr::IsFalse(inner) | Expr::IsNotFalse(inner) | Expr::IsTrue(inner) | Expr::IsNotTrue(inner) => {
                Ok(self.expr(inner)?.not_text())
            }
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => Ok(self.expr(inner)?.not_text()),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => self.values([left, right]),
            Expr::Between { expr, negated: _, low, high } => self.values([expr, low, high]),
            Expr::InList { expr, list, negated: _ } => {
                self.expr(expr)?;
                Ok(self.all(list)?.not_text())
            }
            Expr::Like { negated: _, any: false, expr, pattern, escape_char: None }
            | Expr::ILike { negated: _, any: false, expr, pattern, escape_char: None }
            | Expr::RLike { negated: _, expr, pattern, regexp: _ } => self.values([expr, pattern]),
            Expr::AnyOp { left, compare_op: _, right, is_some: _ } | Expr::AllOp { left, compare_op: _, right } => {
                self.values([left, right])
            }
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                operand.iter().try_for_each(|operand| self.expr(operand).map(drop))?;
                let mut shape = Shape::default();
                for when in conditions {
                    self.expr(&when.condition)?;
                    shape = shape.max(self.expr(&when.result)?);
                }
                else_result.iter().try_fold(shape, |shape, result| Ok(shape.max(self.expr(result)?)))
            }
            Expr::Function(function) => self.function(function),
            Expr::InSubquery { .. } | Expr::Exists { .. } | Expr::Subquery(_) => self.subquery(expr),
            other => self.special(other),
        }
    }

    /// What SQL has a syntax of its own for.
    fn special(&mut self, expr: &Expr) -> Checked<Shape> {
        match expr {
            Expr::Cast { kind: _, expr, data_type, array: false, format } => {
                let inner = self.expr(expr)?;
                no_format(format.as_ref())?;
                Ok(match cast_to(data_type)? {
                    true => Shape { text: true, growth: inner.growth },
                    false => inner.not_text(),
                })
            }
            Expr::Extract { field: _, syntax: _, expr } => Ok(self.expr(expr)?.not_text()),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(_) }
            | Expr::Floor { expr, field: CeilFloorKind::DateTimeField(_) } => Ok(self.expr(expr)?.not_text()),
            Expr::Position { expr, r#in } => self.values([expr, r#in]),
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                let shape = self.expr(expr)?;
                for bound in [substring_from, substring_for].into_iter().flatten() {
                    self.expr(bound)?;
                }
                Ok(shape)
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                let shape = self.expr(expr)?;
                trim_what.iter().try_for_each(|what| self.expr(what).map(drop))?;
                self.all(trim_characters.as_deref().unwrap_or_default())?;
                Ok(shape)
            }
            Expr::Interval(interval) => Ok(self.expr(&interval.value)?.not_text()),
            Expr::Array(Array { elem, named: _ }) => self.all(elem),
            Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
                [AccessExpr::Subscript(Subscript::Index { index })] => {
                    self.expr(index)?;
                    self.expr(root)
                }
                _ => refused("a field of a value"),
            },
            other => refused(format!("`{}`", super::shortened(&other.to_string()))),
        }
    }

    fn values<const N: usize>(&mut self, exprs: [&Expr; N]) -> Checked<Shape> {
        exprs.into_iter().try_for_each(|expr| self.expr(expr).map(drop))?;
        Ok(Shape::default())
    }

    fn subquery(&mut self, expr: &Expr) -> Checked<Shape> {
        if self.rule {
            return Err("a subquery is not allowed, because a rule looks at one record only; remove it".to_owned());
        }
        let query = match expr {
            Expr::InSubquery { expr, subquery, negated: _ } => {
                self.expr(expr)?;
                subquery
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => subquery,
            _ => return refused("this subquery"),
        };
        let growth = self.query(query)?.growth;
        Ok(Shape { text: growth > 1, growth })
    }
}

fn binary(left: Shape, op: &Op, right: Shape) -> Checked<Shape> {
    match op {
        Op::StringConcat => Ok(Shape { text: true, ..left.and(right) }),
        // It puts texts together, too.
        Op::Plus if left.text || right.text => Ok(left.and(right)),
        Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo | Op::DuckIntegerDivide => Ok(left.not_text()),
        Op::Gt | Op::Lt | Op::GtEq | Op::LtEq | Op::Eq | Op::NotEq | Op::Spaceship => Ok(left.not_text()),
        Op::And | Op::Or | Op::Xor | Op::BitwiseAnd | Op::BitwiseOr => Ok(left.not_text()),
        Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch => Ok(left.not_text()),
        Op::PGLikeMatch | Op::PGILikeMatch | Op::PGNotLikeMatch | Op::PGNotILikeMatch => Ok(left.not_text()),
        Op::PGStartsWith => Ok(left.not_text()),
        other => refused(format!("the operator `{other}`")),
    }
}

fn literal(value: &ValueWithSpan) -> Checked<Shape> {
    let text = match &value.value {
        Value::Boolean(_) | Value::Null | Value::Number(..) => return Ok(Shape::default()),
        Value::SingleQuotedString(text) | Value::HexStringLiteral(text) => text,
        Value::DollarQuotedString(text) => &text.value,
        other => return refused(format!("the literal `{}`", super::shortened(&other.to_string()))),
    };
    Ok(Shape { text: true, growth: (text.len() / LITERAL_LENGTH) as u64 })
}

/// What is written as the text of a literal.
pub(super) fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

/// A whole number that is written out.
pub(super) fn number_of(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse().ok(),
        _ => None,
    }
}

fn no_format(format: Option<&CastFormat>) -> Checked<()> {
    match format {
        None => Ok(()),
        Some(_) => refused("FORMAT in CAST"),
    }
}

/// Whether a type that a value may be cast to is text or bytes.
fn cast_to(data_type: &DataType) -> Checked<bool> {
    use DataType as T;
    match data_type {
        T::Char(_) | T::Character(_) | T::CharVarying(_) | T::CharacterVarying(_) | T::Varchar(_) => Ok(true),
        T::String(_) | T::Text | T::Clob(_) | T::Uuid => Ok(true),
        T::Bytea | T::Bytes(_) | T::Binary(_) | T::Blob(_) | T::Varbinary(_) => Ok(true),
        T::Boolean | T::Bool | T::Date | T::Time(..) | T::Datetime(_) | T::Timestamp(..) => Ok(false),
        T::TinyInt(_) | T::SmallInt(_) | T::MediumInt(_) | T::Int(_) | T::Integer(_) | T::BigInt(_) => Ok(false),
        T::Int2(_) | T::Int4(_) | T::Int8(_) | T::Int16 | T::Int32 | T::Int64 => Ok(false),
        T::TinyIntUnsigned(_) | T::SmallIntUnsigned(_) | T::MediumIntUnsigned(_) | T::IntUnsigned(_) => Ok(false),
        T::BigIntUnsigned(_) | T::UTinyInt | T::USmallInt | T::UBigInt | T::UInt8 | T::UInt16 => Ok(false),
        T::UInt32 | T::UInt64 => Ok(false),
        T::Float(_) | T::Float4 | T::Float8 | T::Real | T::Double(_) | T::DoublePrecision => Ok(false),
        T::Dec(_) | T::Decimal(_) | T::BigDecimal(_) | T::Numeric(_) => Ok(false),
        other => refused(format!("the type `{}`", super::shortened(&other.to_string()))),
    }
}
