//! One JSON object, field by field, each value in its own text: the grammar of RFC 8259 checked once and nothing kept.
//!
//! As strict as `serde_json` (a property test compares them), which reads a value twice when its text is wanted. Nesting
//! costs a bit of memory and no stack.

/// The text is not one JSON object.
#[derive(Debug)]
pub(crate) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

#[derive(Debug)]
pub(crate) struct Scan<'j> {
    text: &'j str,
    at: usize,
    first: bool,
}

/// A value or a name, as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'j> {
    pub(crate) text: &'j str,
    /// A string without escapes: its content is its text without the quotes.
    pub(crate) plain: bool,
}

impl<'j> Token<'j> {
    pub(crate) fn content(self) -> Option<&'j str> {
        if self.plain { self.text.get(1..self.text.len() - 1) } else { None }
    }
}

impl<'j> Scan<'j> {
    /// Begins the object.
    pub(crate) fn object(text: &'j str) -> Result<Self> {
        let mut scan = Self { text, at: 0, first: true };
        scan.blanks();
        scan.expect(b'{')?;
        Ok(scan)
    }

    /// Goes to the next field's value if its name is written as `name`, quotes and colon included. Else nothing happens.
    #[inline]
    pub(crate) fn skip_name(&mut self, name: &str) -> bool {
        let bytes = self.text.as_bytes();
        let behind_blanks = |mut at: usize| {
            while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                at += 1;
            }
            at
        };
        let mut at = behind_blanks(self.at);
        if !self.first {
            if bytes.get(at) != Some(&b',') {
                return false;
            }
            at = behind_blanks(at + 1);
        }
        if !bytes.get(at..).is_some_and(|rest| rest.starts_with(name.as_bytes())) {
            return false;
        }
        (self.first, self.at) = (false, behind_blanks(at + name.len()));
        true
    }

    /// The next field's name; `None` behind the last, when nothing else follows the object.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<Option<Token<'j>>> {
        self.blanks();
        let first = std::mem::take(&mut self.first);
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                self.blanks();
                return if self.at == self.text.len() { Ok(None) } else { Err(Malformed) };
            }
            Some(b',') if !first => {
                self.at += 1;
                self.blanks();
            }
            _ if first => {}
            _ => return Err(Malformed),
        }
        let name = self.string()?;
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(Some(name))
    }

    /// The value of the field whose name was given last.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Token<'j>> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'{' | b'[') => self.nested()?,
            _ => self.scalar()?,
        }
        Ok(Token { text: self.text.get(start..self.at).ok_or(Malformed)?, plain: false })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn string(&mut self) -> Result<Token<'j>> {
        let start = self.at;
        self.expect(b'"')?;
        let mut plain = true;
        loop {
            self.at = find_special(self.text.as_bytes(), self.at);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    self.escape()?;
                }
                _ => return Err(Malformed), // a control character, or the end
            }
        }
        self.at += 1;
        Ok(Token { text: self.text.get(start..self.at).ok_or(Malformed)?, plain })
    }

    fn escape(&mut self) -> Result<()> {
        let rest = self.text.as_bytes().get(self.at + 1..).ok_or(Malformed)?;
        self.at += match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(Malformed),
        };
        Ok(())
    }

    #[inline]
    fn scalar(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = match rest {
            [b'-' | b'0'..=b'9', ..] => number(rest).ok_or(Malformed)?,
            [b't', b'r', b'u', b'e', ..] | [b'n', b'u', b'l', b'l', ..] => 4,
            [b'f', b'a', b'l', b's', b'e', ..] => 5,
            _ => return Err(Malformed),
        };
        self.at += length;
        Ok(())
    }

    /// Skips an object or an array.
    fn nested(&mut self) -> Result<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            // At a value.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.blanks();
                    // `}` and `]` are two behind what opens them.
                    if self.peek() == Some(bracket + 2) {
                        self.at += 1;
                    } else {
                        open.push(bracket);
                        self.member(bracket)?;
                        continue;
                    }
                }
                Some(b'"') => drop(self.string()?),
                _ => self.scalar()?,
            }
            // Behind a value.
            loop {
                let Some(bracket) = open.last().copied() else { return Ok(()) };
                self.blanks();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.blanks();
                        self.member(bracket)?;
                        break;
                    }
                    Some(close) if close == bracket + 2 => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return Err(Malformed),
                }
            }
        }
    }

    /// Goes to a member's value: in an object its name comes first.
    fn member(&mut self, bracket: u8) -> Result<()> {
        if bracket == b'{' {
            self.string()?;
            self.blanks();
            self.expect(b':')?;
            self.blanks();
        }
        Ok(())
    }
}

/// The elements of the array that the text is; at most one more than `most` are looked for.
pub(crate) fn elements(text: &str, most: usize) -> Result<Vec<Token<'_>>> {
    let (mut scan, mut elements) = (Scan { text, at: 0, first: true }, Vec::new());
    scan.blanks();
    scan.expect(b'[')?;
    loop {
        scan.blanks();
        match scan.peek() {
            Some(b']') => break,
            Some(b',') if !elements.is_empty() => {
                scan.at += 1;
                scan.blanks();
            }
            _ if elements.is_empty() => {}
            _ => return Err(Malformed),
        }
        elements.push(scan.value()?);
        if elements.len() > most {
            return Ok(elements);
        }
    }
    scan.at += 1;
    scan.blanks();
    if scan.at == text.len() { Ok(elements) } else { Err(Malformed) }
}

/// The length of the number that the bytes begin with.
#[inline]
fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || whole > 1 && bytes[at] == b'0' {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
const QUOTES: u64 = ONES * b'"' as u64;
const BACKSLASHES: u64 = ONES * b'\\' as u64;
const CONTROLS: u64 = ONES * 0x20;

/// The index of the first quote, backslash or control character from `at` on, or the length. Strings are short, so eight
/// bytes at a time beat a vector search (see `csv::find_end`).
#[inline]
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some((word, _)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let (quotes, backslashes) = (word ^ QUOTES, word ^ BACKSLASHES);
        let found = ((quotes.wrapping_sub(ONES) & !quotes)
            | (backslashes.wrapping_sub(ONES) & !backslashes)
            | (word.wrapping_sub(CONTROLS) & !word))
            & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at.min(bytes.len()) + rest.iter().position(special).unwrap_or(rest.len())
}
