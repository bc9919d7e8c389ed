//! Kinds of text that is UTF-8.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::de::IgnoredAny;

use super::{Looks, binary};

/// Shorter words are no base64, though they could be.
const LEAST_BASE64: usize = 16;
/// Of longer text this much is looked at.
const HEAD: usize = 4096;

pub(super) fn of(text: &str) -> Looks {
    let text = match text.strip_prefix('\u{feff}') {
        Some("") => return Looks::OnlyMark,
        Some(rest) => rest,
        None => text,
    };
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    match trimmed.as_bytes() {
        [] => Looks::Blank,
        [b'{', ..] => object(trimmed),
        [b'[', ..] if is_json(trimmed) => Looks::Array,
        [b'[', ..] => Looks::ArrayTorn,
        [b'<', ..] => markup(trimmed),
        [b'"', ..] => string(trimmed),
        _ if text.bytes().any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) => {
            binary::unnamed(text.as_bytes())
        }
        b"null" => Looks::Null,
        b"true" | b"false" => Looks::Boolean,
        b"NaN" | b"Infinity" | b"-Infinity" => Looks::NotANumber,
        [b'-' | b'0'..=b'9', ..] if is_json(trimmed) => Looks::Number,
        _ => plain(trimmed),
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn markup(text: &str) -> Looks {
    let head: String = text.chars().take(64).collect::<String>().to_lowercase();
    if head.starts_with("<!doctype html") || head.starts_with("<html") { Looks::Html } else { Looks::Xml }
}

fn string(text: &str) -> Looks {
    match serde_json::from_str::<String>(text) {
        Ok(held) if held.trim_start().starts_with('{') && is_json(&held) => Looks::TwiceEncoded,
        Ok(_) => Looks::JsonText,
        Err(_) => plain(text),
    }
}

/// What stands in an object outside of its strings and is no JSON, the first of it.
fn object(text: &str) -> Looks {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut before) = (0, 0_usize, b' ');
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match string_end(bytes, at + 1) {
                Some(end) => at = end - 1,
                None => return Looks::Torn,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' if before == b',' => return Looks::TrailingComma,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return behind(text[..=at].len(), text);
                }
            }
            b'\'' => return Looks::SingleQuotes,
            b'\\' => return Looks::LoneBackslash,
            b'#' => return Looks::Comments,
            b'/' if matches!(bytes.get(at + 1), Some(b'/' | b'*')) => return Looks::Comments,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' if !matches!(before, b'0'..=b'9' | b'.') => {
                let word = word(text, at);
                if let Some(kind) = odd(word) {
                    return kind;
                }
                at += word.len() - 1;
            }
            _ => {}
        }
        if !bytes[at].is_ascii_whitespace() {
            before = bytes[at];
        }
        at += 1;
    }
    Looks::Torn
}

/// What follows an object that is closed.
fn behind(end: usize, text: &str) -> Looks {
    let rest = text[end..].trim_start_matches([' ', '\t', '\r', '\n', ',']);
    match rest.as_bytes() {
        [] => Looks::Unknown,
        [b'{', ..] if is_json(&text[..end]) => Looks::Several,
        _ if is_json(&text[..end]) => Looks::Trailing,
        _ => Looks::Unknown,
    }
}

fn word(text: &str, at: usize) -> &str {
    let rest = &text[at..];
    let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && !matches!(character, '_' | '$'));
    &rest[..end.unwrap_or(rest.len())]
}

fn odd(word: &str) -> Option<Looks> {
    Some(match word {
        "true" | "false" | "null" => return None,
        "NaN" | "nan" | "Infinity" | "infinity" | "inf" | "Inf" => Looks::NotANumber,
        "None" | "True" | "False" => Looks::PythonWords,
        "undefined" => Looks::Undefined,
        _ => Looks::BareNames,
    })
}

/// Behind the quote that ends the string.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn plain(text: &str) -> Looks {
    if let Some(kind) = base64(text) {
        return kind;
    }
    let head = &text[..text.floor_char_boundary(HEAD)];
    let line = head.lines().next().unwrap_or_default();
    let has_names = line.split('&').all(|pair| pair.split_once('=').is_some_and(|(name, _)| is_name(name)));
    if has_names && !line.contains(' ') {
        return Looks::Form;
    }
    let fields = |delimiter: char| line.split(delimiter).count();
    // A sentence has commas with a blank behind them.
    let is_delimited = fields('\t') > 1 || fields(';') > 2 || fields('|') > 2;
    if is_delimited || (fields(',') > 1 && !line.contains(", ")) { Looks::Delimited } else { Looks::Text }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_alphanumeric() || "_-.[]%+".contains(character))
}

fn base64(text: &str) -> Option<Looks> {
    let packed: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
    if packed.len() < LEAST_BASE64 || !packed.is_ascii() {
        return None;
    }
    let held = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .iter()
        .find_map(|form| form.decode(packed.as_bytes()).ok())?;
    if held.trim_ascii_start().starts_with(b"{") && simdutf8::basic::from_utf8(&held).is_ok() {
        return Some(Looks::Base64Object);
    }
    // A word or an identifier is of one kind of letters, mostly; what was packed has all.
    let has = |is: fn(&u8) -> bool| packed.as_bytes().iter().any(is);
    let is_mixed = has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && (has(u8::is_ascii_digit) || packed.ends_with('='));
    is_mixed.then_some(Looks::Base64)
}
