//! How dates and times are written in text: the `format` of a column, compiled and checked once.
//!
//! The notation is strftime's. What each specifier reads is said by [`Piece`], and nothing else is read: a text has a
//! value only if the format describes every byte of it. A format that cannot give a whole date or instant, or that says
//! something twice, is refused here, before any data is seen.

mod foreign;
mod said;

use crate::model::DataType;
use said::Said;

const MAX_PATTERN_BYTES: usize = 64;

/// How a column's text says a date or an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// A number of units since 1970-01-01 UTC.
    Epoch(Epoch),
    /// In this order, with nothing between and around.
    Pattern(Vec<Piece>),
}

/// The unit of a number that counts from 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epoch {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// A stretch of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself, to the letter.
    Literal(String),
    Number(Number, Digits),
    /// In English, in any case.
    Name(Name),
    Fraction(Fraction),
    Offset(Offset),
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Year,
    /// 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068, as POSIX has it.
    YearOfCentury,
    /// The year that an ISO week belongs to.
    IsoYear,
    IsoWeek,
    Month,
    Day,
    DayOfYear,
    /// Monday is 1, Sunday is 7.
    WeekdayFromMonday,
    /// Sunday is 0.
    WeekdayFromSunday,
    Hour,
    HourOf12,
    Minute,
    Second,
}

/// How many digits a number has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    Exactly(usize),
    /// As many; zeros at the front may be missing.
    Padded(usize),
    /// At most as many, none of them a zero at the front.
    Plain(usize),
    /// As many characters, blanks at the front; those may be missing.
    Blank(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `Jan`
    ShortMonth,
    /// `January`
    Month,
    /// `Mon`
    ShortWeekday,
    /// `Monday`
    Weekday,
    /// `AM`, `PM`
    Half,
}

/// A fraction of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    /// It begins with a point.
    pub point: bool,
    /// It may be missing, point and all.
    pub optional: bool,
    pub least: usize,
    pub most: usize,
}

/// The distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// `+0100`, `+01:00` or `Z`
    Any4,
    /// `+01:00`
    Colon,
    /// `+01:00:00`
    Seconds,
    /// `+01`
    Hours,
    /// `+01`, `+0100`, `+01:00` or `Z`
    Any,
    /// `+01:00` or `Z`
    Rfc3339,
}

/// Why a format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatProblem {
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl From<String> for FormatProblem {
    fn from(message: String) -> Self {
        Self { message, suggestion: None }
    }
}

const EPOCHS: [(&str, Epoch); 4] = [
    ("epoch_s", Epoch::Seconds),
    ("epoch_ms", Epoch::Milliseconds),
    ("epoch_us", Epoch::Microseconds),
    ("epoch_ns", Epoch::Nanoseconds),
];

impl Epoch {
    /// The places of a unit in nanoseconds: a second has nine.
    pub fn places(self) -> u8 {
        match self {
            Self::Seconds => 9,
            Self::Milliseconds => 6,
            Self::Microseconds => 3,
            Self::Nanoseconds => 0,
        }
    }
}

impl TimeFormat {
    /// Reads the `format` of a column of type `data_type`, which is a date or a timestamp.
    ///
    /// # Errors
    /// Why no such column can be read by it.
    pub fn new(format: &str, data_type: DataType) -> Result<Self, FormatProblem> {
        if format.len() > MAX_PATTERN_BYTES {
            return Err(format!("has {} bytes: at most {MAX_PATTERN_BYTES} are allowed", format.len()).into());
        }
        if let Some((_, epoch)) = EPOCHS.iter().find(|(name, _)| *name == format) {
            return Ok(Self::Epoch(*epoch));
        }
        if format == "%s" {
            return Ok(Self::Epoch(Epoch::Seconds));
        }
        if !format.contains('%') {
            let message = "does not say year, month and day (as `%Y-%m-%d` does)".to_owned();
            return Err(FormatProblem { message, suggestion: foreign::suggestion(format, data_type) });
        }
        if format.starts_with([' ', '\t']) || format.ends_with([' ', '\t']) {
            return Err("begins or ends with a blank: values are read without those around them".to_owned().into());
        }
        let mut pieces = Vec::new();
        let mut said = Said::default();
        compile(format, &mut pieces, &mut said)?;
        said.check(data_type)?;
        let mut merged: Vec<(Piece, String)> = Vec::new();
        for (piece, spelling) in pieces {
            match (merged.last_mut(), &piece) {
                (Some((Piece::Literal(before), _)), Piece::Literal(more)) => before.push_str(more),
                _ => merged.push((piece, spelling)),
            }
        }
        fix_widths(&mut merged)?;
        Ok(Self::Pattern(merged.into_iter().map(|(piece, _)| piece).collect()))
    }
}

/// Pieces, each with its specifier, for messages.
type Pieces = Vec<(Piece, String)>;

fn compile(format: &str, pieces: &mut Pieces, said: &mut Said) -> Result<(), FormatProblem> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        literal(&rest[..at], pieces);
        let text = &rest[at + 1..];
        let length = specifier(text, pieces, said)?;
        rest = &text[length..];
    }
    literal(rest, pieces);
    Ok(())
}

fn literal(text: &str, pieces: &mut Pieces) {
    if !text.is_empty() {
        pieces.push((Piece::Literal(text.to_owned()), text.to_owned()));
    }
}

/// What starts with more than one letter; the longest first.
const FRACTIONS: [(&str, Fraction); 8] = [
    (".3f", Fraction { point: true, optional: false, least: 3, most: 3 }),
    (".6f", Fraction { point: true, optional: false, least: 6, most: 6 }),
    (".9f", Fraction { point: true, optional: false, least: 9, most: 9 }),
    (".f", Fraction { point: true, optional: true, least: 1, most: 9 }),
    ("3f", Fraction { point: false, optional: false, least: 3, most: 3 }),
    ("6f", Fraction { point: false, optional: false, least: 6, most: 6 }),
    ("9f", Fraction { point: false, optional: false, least: 9, most: 9 }),
    ("f", Fraction { point: false, optional: false, least: 1, most: 9 }),
];
const OFFSETS: [(&str, Offset); 5] = [
    (":::z", Offset::Hours),
    ("::z", Offset::Seconds),
    (":z", Offset::Colon),
    ("#z", Offset::Any),
    ("z", Offset::Any4),
];
/// Specifiers that stand for others.
const COMPOUNDS: [(char, &str); 9] = [
    ('F', "%Y-%m-%d"),
    ('D', "%m/%d/%y"),
    ('x', "%m/%d/%y"),
    ('v', "%e-%b-%Y"),
    ('T', "%H:%M:%S"),
    ('X', "%H:%M:%S"),
    ('R', "%H:%M"),
    ('r', "%I:%M:%S %p"),
    ('c', "%a %b %e %H:%M:%S %Y"),
];

/// Takes the specifier at the head of `text`, behind its `%`. Returns its length in bytes.
fn specifier(text: &str, pieces: &mut Pieces, said: &mut Said) -> Result<usize, FormatProblem> {
    if let Some((name, fraction)) = FRACTIONS.iter().find(|(name, _)| text.starts_with(name)) {
        add(Piece::Fraction(*fraction), format!("%{name}"), pieces, said)?;
        return Ok(name.len());
    }
    if let Some((name, offset)) = OFFSETS.iter().find(|(name, _)| text.starts_with(name)) {
        add(Piece::Offset(*offset), format!("%{name}"), pieces, said)?;
        return Ok(name.len());
    }
    let Some(letter) = text.chars().next() else { return Err(wrong(text)) };
    if let Some((_, format)) = COMPOUNDS.iter().find(|(name, _)| *name == letter) {
        compile(format, pieces, said)?;
        return Ok(1);
    }
    if letter == '+' {
        compile("%Y-%m-%dT%H:%M:%S%.f", pieces, said)?;
        add(Piece::Offset(Offset::Rfc3339), "%+".to_owned(), pieces, said)?;
        return Ok(1);
    }
    if let Some(name) = name(letter) {
        add(Piece::Name(name), format!("%{letter}"), pieces, said)?;
        return Ok(1);
    }
    if let Some(text) = [('%', "%"), ('t', "\t"), ('n', "\n")].iter().find(|(name, _)| *name == letter) {
        literal(text.1, pieces);
        return Ok(1);
    }
    let (padding, letter) = match letter {
        '-' | '_' | '0' => (Some(letter), text[1..].chars().next().ok_or_else(|| wrong(text))?),
        _ => (None, letter),
    };
    let (number, digits) = number(letter).ok_or_else(|| wrong(text))?;
    let digits = match (padding, digits) {
        (None, digits) => digits,
        (Some('0'), digits @ Digits::Exactly(_)) => digits,
        (Some(_), Digits::Exactly(_)) => return Err(wrong(text)),
        (Some('0'), Digits::Padded(width) | Digits::Blank(width)) => Digits::Padded(width),
        (Some('_'), Digits::Padded(width) | Digits::Blank(width)) => Digits::Blank(width),
        (Some(_), Digits::Padded(width) | Digits::Blank(width)) => Digits::Plain(width),
        (Some(_), digits @ Digits::Plain(_)) => digits,
    };
    let length = usize::from(padding.is_some()) + letter.len_utf8();
    add(Piece::Number(number, digits), format!("%{}", &text[..length]), pieces, said)?;
    Ok(length)
}

fn add(piece: Piece, spelling: String, pieces: &mut Pieces, said: &mut Said) -> Result<(), FormatProblem> {
    said.note(&piece, &spelling)?;
    pieces.push((piece, spelling));
    Ok(())
}

fn name(letter: char) -> Option<Name> {
    Some(match letter {
        'b' | 'h' => Name::ShortMonth,
        'B' => Name::Month,
        'a' => Name::ShortWeekday,
        'A' => Name::Weekday,
        'p' | 'P' => Name::Half,
        _ => return None,
    })
}

fn number(letter: char) -> Option<(Number, Digits)> {
    Some(match letter {
        'Y' => (Number::Year, Digits::Exactly(4)),
        'y' => (Number::YearOfCentury, Digits::Exactly(2)),
        'G' => (Number::IsoYear, Digits::Exactly(4)),
        'V' => (Number::IsoWeek, Digits::Padded(2)),
        'u' => (Number::WeekdayFromMonday, Digits::Exactly(1)),
        'w' => (Number::WeekdayFromSunday, Digits::Exactly(1)),
        'm' => (Number::Month, Digits::Padded(2)),
        'd' => (Number::Day, Digits::Padded(2)),
        'e' => (Number::Day, Digits::Blank(2)),
        'j' => (Number::DayOfYear, Digits::Padded(3)),
        'H' => (Number::Hour, Digits::Padded(2)),
        'k' => (Number::Hour, Digits::Blank(2)),
        'I' => (Number::HourOf12, Digits::Padded(2)),
        'l' => (Number::HourOf12, Digits::Blank(2)),
        'M' => (Number::Minute, Digits::Padded(2)),
        'S' => (Number::Second, Digits::Padded(2)),
        _ => return None,
    })
}

/// Beside other digits a number that may be shorter has to have all of its digits: else `2024115` would be two days.
fn fix_widths(pieces: &mut Pieces) -> Result<(), FormatProblem> {
    for index in 0..pieces.len() {
        let follows = pieces.get(index + 1).is_some_and(|(piece, _)| begins_with_digit(piece));
        let touches = follows || index > 0 && ends_with_digit(&pieces[index - 1].0);
        let (piece, spelling) = &mut pieces[index];
        let open = match piece {
            Piece::Number(_, digits @ Digits::Padded(_)) if touches => {
                if let Digits::Padded(width) = *digits {
                    *digits = Digits::Exactly(width);
                }
                false
            }
            Piece::Number(_, Digits::Plain(_) | Digits::Blank(_)) => true,
            Piece::Fraction(fraction) => fraction.least < fraction.most,
            _ => false,
        };
        if open && follows {
            return Err(format!("has a digit behind `{spelling}`, whose width is not fixed").into());
        }
    }
    Ok(())
}

fn ends_with_digit(piece: &Piece) -> bool {
    match piece {
        Piece::Literal(text) => text.ends_with(|last: char| last.is_ascii_digit()),
        Piece::Number(..) | Piece::Fraction(_) | Piece::Offset(_) => true,
        Piece::Name(_) => false,
    }
}

fn begins_with_digit(piece: &Piece) -> bool {
    match piece {
        Piece::Literal(text) => text.starts_with(|first: char| first.is_ascii_digit()),
        Piece::Number(..) => true,
        Piece::Fraction(fraction) => !fraction.point,
        Piece::Name(_) | Piece::Offset(_) => false,
    }
}

/// What is wrong with a specifier that is none.
fn wrong(text: &str) -> FormatProblem {
    const MEANT: [(&str, &str); 4] = [("L", "%3f"), ("N", "%9f"), ("i", "%M"), ("Q", "epoch_ms")];
    match text.chars().next() {
        None => "ends in a lone `%`; write `%%` for a percent sign".to_owned().into(),
        Some('Z') => {
            "has `%Z`, but names of time zones are ambiguous; use `%z` (`+0100`) or `%:z` (`+01:00`)".to_owned().into()
        }
        Some('s') => {
            "has `%s`, which is a whole instant: alone it is the same as `epoch_s`; seconds are `%S`".to_owned().into()
        }
        Some(_) => {
            let length = if text.starts_with(['-', '_', '0']) { 2 } else { 1 };
            let shown: String = text.chars().take(length).flat_map(char::escape_default).collect();
            let meant = MEANT.iter().find(|(letter, _)| text.starts_with(letter));
            FormatProblem {
                message: format!("has the unknown specifier `%{shown}`"),
                suggestion: meant.map(|(_, meant)| (*meant).to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
