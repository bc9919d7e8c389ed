//! What the values of one field could be. Every text is held against the types that are left, by the rules of the engine
//! itself, so that a type which is left at the end refuses none of them.

use std::collections::BTreeMap;

use weir_contract::DataType;
use weir_transform::reads_as;

use crate::personal::{Hints, Personal};
use crate::times::{self, Order, Written};

/// Texts that stand for a missing value where other values of the field are numbers or dates.
pub(crate) const NULLS: [&str; 16] =
    ["NA", "N/A", "n/a", "na", "NULL", "null", "Null", "None", "none", "NaN", "nan", "-", "--", "?", "\\N", "#N/A"];

const LONGEST_TIME: usize = 40;

/// The values of a field that were seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) values: u64,
    /// Empty texts, JSON's null, fields that are not there.
    pub(crate) missing: u64,
    /// Those of the missing values that are a text without anything in it.
    pub(crate) empty_texts: u64,
    /// Texts of [`NULLS`], with their counts.
    pub(crate) nulls: BTreeMap<&'static str, u64>,
    left: Option<Left>,
    pub(crate) hints: Hints,
    /// Whether a text came that JSON had as a string.
    pub(crate) quoted: bool,
    /// Whether a value was an object or an array.
    pub(crate) nested: bool,
}

/// The types that fit every value so far.
#[derive(Debug)]
struct Left {
    boolean: bool,
    long: bool,
    least: i64,
    most: i64,
    /// Whole numbers of any size, and those with places.
    decimal: bool,
    digits: usize,
    places: usize,
    double: bool,
    /// Numbers with a comma in place of the point.
    comma: bool,
    has_comma: bool,
    has_point: bool,
    /// Whether each comma has three digits behind it, as in `1,234`.
    grouped: bool,
    times: Vec<&'static Written>,
}

/// What the field is taken for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) data_type: DataType,
    pub(crate) format: Option<String>,
    /// Numbers that need `decimal_comma`, and those that it would make unreadable.
    pub(crate) comma: bool,
    pub(crate) point: bool,
    /// Another format that all values have too.
    pub(crate) or: Option<String>,
    pub(crate) personal: Option<Personal>,
}

impl Verdict {
    pub(crate) fn of(data_type: DataType) -> Self {
        Self { data_type, format: None, comma: false, point: false, or: None, personal: None }
    }
}

/// What is known of a whole file that says how one of its fields is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) order: Order,
    /// Whether commas may be decimal points.
    pub(crate) commas: bool,
    /// Whether every record was looked at.
    pub(crate) whole: bool,
    /// JSON has types of its own: a string of digits is a name, not a number.
    pub(crate) json: bool,
}

impl Seen {
    pub(crate) fn missing(&mut self) {
        self.missing += 1;
    }

    /// One value, as its text.
    pub(crate) fn value(&mut self, text: &str) {
        let trimmed = text.trim_matches([' ', '\t']);
        if trimmed.is_empty() {
            self.missing += 1;
            self.empty_texts += 1;
            return;
        }
        if let Some(null) = NULLS.iter().find(|null| **null == trimmed) {
            *self.nulls.entry(null).or_default() += 1;
            return;
        }
        self.values += 1;
        self.hints.see(trimmed);
        match &mut self.left {
            None => self.left = Some(Left::of(trimmed)),
            Some(left) => left.narrow(trimmed),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Whether a type other than text is left for its values.
    pub(crate) fn is_typed(&self, name: &str, around: Around) -> bool {
        self.verdict(name, around).data_type != DataType::String
    }

    /// The order of day and month, if the values tell.
    pub(crate) fn order(&self) -> Option<Order> {
        let times = &self.left.as_ref()?.times;
        let has = |order| times.iter().any(|written| written.order == order);
        match (has(Order::DayFirst), has(Order::MonthFirst)) {
            (true, false) => Some(Order::DayFirst),
            (false, true) => Some(Order::MonthFirst),
            _ => None,
        }
    }

    pub(crate) fn has_decimal_comma(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.comma && left.has_comma && !left.grouped)
    }

    pub(crate) fn verdict(&self, name: &str, around: Around) -> Verdict {
        let personal = self.hints.verdict(name);
        let with = |verdict: Verdict| Verdict { personal, ..verdict };
        // JSON has no word for a missing number but null, which is not among these.
        let has_words = around.json && (!self.nulls.is_empty() || self.empty_texts > 0);
        let Some(left) = self.left.as_ref().filter(|_| !self.nested && !has_words) else {
            return with(Verdict::of(DataType::String));
        };
        if let Some(verdict) = left.time(name, around, self.quoted) {
            return with(verdict);
        }
        if left.boolean {
            return with(Verdict::of(DataType::Boolean));
        }
        let is_name = around.json && self.quoted && left.long;
        if is_name || self.hints.leading_zeros {
            return with(Verdict::of(DataType::String));
        }
        with(left.number(name, around))
    }
}

impl Left {
    fn of(text: &str) -> Self {
        let mut left = Self {
            boolean: true,
            long: true,
            least: i64::MAX,
            most: i64::MIN,
            decimal: true,
            digits: 0,
            places: 0,
            double: true,
            comma: true,
            has_comma: false,
            has_point: false,
            grouped: true,
            times: Vec::new(),
        };
        if text.len() <= LONGEST_TIME {
            left.times = times::all().iter().filter(|written| is_time(text, written)).collect();
        }
        left.narrow_others(text);
        left
    }

    fn narrow(&mut self, text: &str) {
        if !self.times.is_empty() {
            self.times.retain(|written| is_time(text, written));
        }
        self.narrow_others(text);
    }

    fn narrow_others(&mut self, text: &str) {
        self.boolean = self.boolean && reads_as(text, DataType::Boolean, None);
        if self.long {
            match text.parse::<i64>() {
                Ok(value) if reads_as(text, DataType::Long, None) => {
                    (self.least, self.most) = (self.least.min(value), self.most.max(value));
                }
                _ => self.long = false,
            }
        }
        if self.decimal {
            self.decimal = self.count_digits(text);
        }
        self.double = self.double && reads_as(text, DataType::Double, None);
        self.has_point |= text.contains('.');
        if self.comma {
            self.comma = self.with_comma(text);
        }
    }

    /// Plain digits with a point or without.
    fn count_digits(&mut self, text: &str) -> bool {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        self.digits = self.digits.max(whole.len());
        self.places = self.places.max(places.len());
        plain(whole) && plain(places) && !(whole.is_empty() && places.is_empty())
    }

    fn with_comma(&mut self, text: &str) -> bool {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match digits.split_once(',') {
            None => plain(digits),
            Some((whole, places)) => {
                self.has_comma = true;
                self.grouped &= places.len() == 3 && whole.len() <= 3 && whole != "0";
                plain(whole) && plain(places)
            }
        }
    }

    fn time(&self, name: &str, around: Around, quoted: bool) -> Option<Verdict> {
        // Eight digits are a day only if the name says so.
        let is_day = |written: &&&Written| {
            let digits = written.format.as_deref().is_some_and(|format| format.starts_with("%Y%m%d") && self.long);
            !digits || is_time_name(name)
        };
        let mut fitting =
            self.times.iter().filter(is_day).filter(|written| {
                written.order == Order::Told || written.order == around.order || self.only_one_order()
            });
        if let Some(first) = fitting.next() {
            let or = self.times.iter().find(|other| first.order != Order::Told && other.order != first.order);
            return Some(Verdict {
                format: first.format.clone(),
                or: or.and_then(|other| other.format.clone()),
                ..Verdict::of(first.data_type)
            });
        }
        let is_epoch = self.long && !(quoted && around.json) && is_time_name(name);
        let epoch = is_epoch.then(|| times::epoch(self.least, self.most)).flatten()?;
        Some(Verdict { format: Some(epoch.to_owned()), ..Verdict::of(DataType::Timestamp) })
    }

    fn only_one_order(&self) -> bool {
        let has = |order| self.times.iter().any(|written| written.order == order);
        !(has(Order::DayFirst) && has(Order::MonthFirst))
    }

    fn number(&self, name: &str, around: Around) -> Verdict {
        if self.long {
            return Verdict::of(DataType::Long);
        }
        let is_comma = self.comma && self.has_comma && !self.grouped && around.commas;
        if !self.double && !is_comma {
            return Verdict::of(DataType::String);
        }
        let (comma, point) = (is_comma, !is_comma && self.has_point);
        let data_type = match self.decimal || is_comma {
            // Beyond 64 bits, and still whole.
            true if self.places == 0 && !is_comma && self.digits <= 38 => DataType::Decimal { precision: 38, scale: 0 },
            true if self.decimal && is_money(name) && self.places <= 4 && self.digits <= 14 => {
                let scale = if around.whole { self.places.max(2) } else { 4 };
                DataType::Decimal { precision: 18, scale: u8::try_from(scale).unwrap_or(4) }
            }
            _ => DataType::Double,
        };
        Verdict { comma, point, ..Verdict::of(data_type) }
    }
}

fn is_time(text: &str, written: &Written) -> bool {
    reads_as(text, written.data_type, written.parsed.as_ref())
}

/// Whether a name says that its values are days or instants.
fn is_time_name(name: &str) -> bool {
    let name = crate::names::snake_case(name);
    name.split('_').any(|word| {
        matches!(
            word,
            "date"
                | "day"
                | "time"
                | "ts"
                | "at"
                | "on"
                | "timestamp"
                | "datetime"
                | "epoch"
                | "created"
                | "updated"
                | "modified"
                | "ms"
        ) || word.ends_with("time") && word != "uptime" && word != "runtime"
            || word.ends_with("date") && word != "update"
    })
}

fn is_money(name: &str) -> bool {
    const WORDS: [&str; 20] = [
        "price", "amount", "total", "subtotal", "cost", "costs", "fee", "fees", "tax", "vat", "balance", "revenue",
        "salary", "sales", "profit", "payment", "preis", "betrag", "summe", "discount",
    ];
    crate::names::snake_case(name).split('_').any(|word| WORDS.contains(&word))
}
