//! What a text must be before it is parsed: parsers and syntax trees recurse, and a stack ends.
//!
//! The parser bounds its own recursion for expressions, queries and tables, but not for types (`ARRAY<ARRAY<…`), for
//! intervals (`INTERVAL INTERVAL …`) and for hints in comments (`/*! /*! …`), tries some brackets twice, so that its time
//! doubles with each, and builds chains of operators as deep trees in a loop. All of that shows in the tokens.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::{Checked, MAX_LITERAL};

/// Bytes of a query; the contract's parser has the same limit.
const MAX_BYTES: usize = 64 * 1024;
const MAX_TOKENS: usize = 20_000;
/// Brackets and `CASE`s within each other. Of a text that is no SQL the parser tries what is in them twice, and the
/// argument of `POSITION` three times, which counts as two.
const MAX_NESTED: usize = 16;
/// How deep a tree of these tokens can be at most: tokens of an item of a list, and those of its deepest brackets.
const MAX_ITEM: usize = 4_000;

/// The tokens of one query.
pub(super) fn query(sql: &str) -> Checked<Vec<TokenWithSpan>> {
    let tokens = tokens(sql)?;
    let first = tokens.iter().map(|token| &token.token).find(|token| !is_blank(token) && **token != Token::LParen);
    match first {
        Some(Token::Word(word)) if is(word, "SELECT") || is(word, "WITH") => Ok(tokens),
        _ => Err("begins with neither SELECT nor WITH: it is a query, and nothing else".to_owned()),
    }
}

/// The tokens of one condition.
pub(super) fn condition(sql: &str) -> Checked<Vec<TokenWithSpan>> {
    let tokens = tokens(sql)?;
    if tokens.iter().any(|token| token.token == Token::SemiColon) {
        return Err("unexpected `;`: write one SQL condition".to_owned());
    }
    Ok(tokens)
}

fn tokens(sql: &str) -> Checked<Vec<TokenWithSpan>> {
    if sql.len() > MAX_BYTES {
        return Err(format!("has {} bytes: at most {MAX_BYTES} are allowed", sql.len()));
    }
    // The tokenizer itself would read on within it, and within those that are within it.
    if sql.contains("/*!") {
        return Err("has a comment that begins with `/*!`, which is read as SQL: leave the `!` out".to_owned());
    }
    let tokens =
        Tokenizer::new(&GenericDialect, sql).tokenize_with_location().map_err(|error| format!("is no SQL: {error}"))?;
    bound(tokens.iter().map(|token| &token.token).filter(|token| !is_blank(token)))?;
    Ok(tokens)
}

/// A bracket that is open, or the whole text.
#[derive(Default)]
struct Open {
    /// Tokens of the item at hand.
    item: usize,
    /// The deepest brackets in it.
    inner: usize,
    /// The deepest item so far.
    deepest: usize,
    /// What it counts for among brackets within each other.
    weight: usize,
    /// `CASE`s that are open in it.
    cases: usize,
}

fn bound<'t>(tokens: impl Iterator<Item = &'t Token>) -> Checked<()> {
    let mut opened = vec![Open::default()];
    let mut last: Option<&Word> = None;
    for (count, token) in tokens.enumerate() {
        if count == MAX_TOKENS {
            return Err(format!("has more than {MAX_TOKENS} words and signs"));
        }
        let Some(open) = opened.last_mut() else { return Err("is no SQL".to_owned()) };
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.item += 1;
                let weight = if last.is_some_and(|word| is(word, "POSITION")) { 2 } else { 1 };
                opened.push(Open { weight, ..Open::default() });
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                let depth = open.deepest.max(open.item + open.inner);
                opened.pop();
                let Some(open) = opened.last_mut() else { return Err(format!("has a `{token}` that closes nothing")) };
                open.item += 1;
                open.inner = open.inner.max(depth);
            }
            Token::Comma => {
                open.deepest = open.deepest.max(open.item + open.inner);
                (open.item, open.inner) = (0, 0);
            }
            Token::Word(word) => {
                open.item += 1;
                if is(word, "CASE") {
                    open.cases += 1;
                } else if is(word, "END") {
                    open.cases = open.cases.saturating_sub(1);
                }
            }
            _ => open.item += 1,
        }
        if opened.iter().map(|open| open.weight + open.cases).sum::<usize>() > MAX_NESTED {
            return Err(format!("has more than {MAX_NESTED} brackets and CASEs within each other"));
        }
        if opened.last().is_some_and(|open| open.item + open.inner > MAX_ITEM) {
            return Err(format!(
                "has more than {MAX_ITEM} words and signs without a comma: write a long chain as `IN (…)`, or in steps"
            ));
        }
        literal(token)?;
        follows(last, token)?;
        last = match token {
            Token::Word(word) => Some(word),
            _ => None,
        };
    }
    Ok(())
}

/// What the parser recurses over without counting.
fn follows(last: Option<&Word>, token: &Token) -> Checked<()> {
    let Some(last) = last else { return Ok(()) };
    match token {
        Token::Lt if ["ARRAY", "STRUCT", "MAP"].iter().any(|name| is(last, name)) => {
            Err(format!("has a type `{}<…>`: only plain types are allowed", last.value.to_uppercase()))
        }
        Token::Word(word) if is(word, "INTERVAL") && is(last, "INTERVAL") => {
            Err("has INTERVAL twice: write INTERVAL '1 day'".to_owned())
        }
        _ => Ok(()),
    }
}

fn literal(token: &Token) -> Checked<()> {
    let length = match token {
        Token::Number(text, _)
        | Token::SingleQuotedString(text)
        | Token::DoubleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::HexStringLiteral(text)
        | Token::NationalStringLiteral(text) => text.len(),
        Token::DollarQuotedString(text) => text.value.len(),
        _ => return Ok(()),
    };
    if length > MAX_LITERAL {
        return Err(format!("has a literal of {length} bytes: at most {MAX_LITERAL} are allowed"));
    }
    Ok(())
}

fn is(word: &Word, keyword: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}
