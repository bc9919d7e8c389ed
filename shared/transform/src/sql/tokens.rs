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
/// Brackets within brackets.
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

fn bound<'t>(tokens: impl Iterator<Item = &'t Token>) -> Checked<()> {
    // Of each bracket that is open: tokens of the item at hand, the deepest brackets in it, and the deepest item so far.
    let mut open = vec![(0_usize, 0_usize, 0_usize)];
    let mut last: Option<&Word> = None;
    for (count, token) in tokens.enumerate() {
        if count == MAX_TOKENS {
            return Err(format!("has more than {MAX_TOKENS} words and signs"));
        }
        let nested = open.len() - 1;
        let Some((item, inner, deepest)) = open.last_mut() else { return Err("is no SQL".to_owned()) };
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                *item += 1;
                if nested == MAX_NESTED {
                    return Err(format!("has more than {MAX_NESTED} brackets within each other"));
                }
                open.push((0, 0, 0));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                let depth = (*deepest).max(*item + *inner);
                if nested == 0 {
                    return Err(format!("has a `{token}` that closes nothing"));
                }
                open.pop();
                if let Some((item, inner, _)) = open.last_mut() {
                    *item += 1;
                    *inner = (*inner).max(depth);
                }
            }
            Token::Comma => {
                *deepest = (*deepest).max(*item + *inner);
                (*item, *inner) = (0, 0);
            }
            _ => *item += 1,
        }
        if let Some((item, inner, _)) = open.last()
            && item + inner > MAX_ITEM
        {
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
