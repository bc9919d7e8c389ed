//! How a CSV file is written: what divides its fields, and what stands before the header.

use std::collections::BTreeMap;

use csv::{ReaderBuilder, StringRecord};

/// What a sample says of the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quoted: bool,
    pub(crate) escape: bool,
    pub(crate) skip_lines: usize,
    pub(crate) trailing_delimiter: bool,
    pub(crate) header: bool,
    pub(crate) comment: bool,
    /// Fields of a record.
    pub(crate) width: usize,
    /// The first line is `sep=` and the delimiter.
    pub(crate) says_delimiter: bool,
}

const DELIMITERS: [u8; 9] = [b',', b';', b'\t', b'|', b'^', b'~', 0x01, b':', b' '];
/// Bytes that the form is told from.
const LOOKED_AT: usize = 256 * 1024;
const MAX_SKIPPED: usize = 30;

impl Dialect {
    /// `None`: nothing divides the lines into fields alike.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let text = whole_lines(text);
        let (said, body) = match text.strip_prefix("sep=").and_then(|rest| rest.split_once('\n')) {
            Some((delimiter, body)) => (delimiter.trim_end().bytes().next(), body),
            None => (None, text),
        };
        let delimiters: Vec<u8> = said.map_or_else(|| DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let mut best: Option<(f64, Self)> = None;
        let comment = body.lines().take(MAX_SKIPPED).any(|line| line.starts_with('#') && !line.contains(','));
        for delimiter in delimiters {
            for (quoted, escape) in [(true, false), (true, true), (false, false)] {
                let form = Self {
                    delimiter,
                    quoted,
                    escape,
                    skip_lines: 0,
                    trailing_delimiter: false,
                    header: true,
                    comment: false,
                    width: 0,
                    says_delimiter: said.is_some(),
                };
                let (score, width) = form.score(body);
                if width > 0 && best.as_ref().is_none_or(|(most, _)| score > *most + 1e-9) {
                    best = Some((score, Self { width, ..form }));
                }
            }
        }
        let mut form = best?.1;
        form.comment = comment;
        form.look_at_the_beginning(body);
        form.look_at_the_ends(body);
        form.header = form.has_header(body);
        Some(form)
    }

    /// Higher the more records have as many fields as most, and the more fields these are.
    fn score(&self, text: &str) -> (f64, usize) {
        // Where blanks divide, the header may have a name less: R writes names of rows without one.
        let first = usize::from(self.delimiter == b' ');
        let widths: Vec<usize> = self.records(text).take(2_000).skip(first).map(|record| record.len()).collect();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        widths.iter().for_each(|width| *counts.entry(*width).or_default() += 1);
        let Some((width, count)) = counts.into_iter().max_by_key(|(width, count)| (*count, *width)) else {
            return (0.0, 0);
        };
        let share = count as f64 / widths.len() as f64;
        let fields = if width > 1 { 1.0 + (width as f64).ln() } else { 0.1 };
        // A quote within a field is a sign that quotes mean something else.
        let stray = self.records(text).take(200).flat_map(|record| record.iter().map(is_torn).collect::<Vec<_>>());
        let stray = if self.quoted { 0 } else { stray.filter(|torn| *torn).count() };
        // A blank beside a delimiter is punctuation of a sentence; a colon is mostly a clock's.
        let doubt = match self.delimiter {
            b' ' if share < 0.95 => 0.0,
            b':' | b' ' => 0.3,
            _ => 1.0,
        };
        let plain = if self.quoted && !self.escape { 1.0 } else { 0.999 };
        (share * share * fields * doubt * plain - stray as f64 * 0.01, width)
    }

    /// The records of a text, as they are divided. Lines that are no UTF-8 are none.
    pub(crate) fn records<'t>(&self, text: &'t str) -> impl Iterator<Item = StringRecord> + 't {
        let skipped = text.match_indices('\n').nth(self.skip_lines.wrapping_sub(1)).map_or(0, |(at, _)| at + 1);
        let text = &text[if self.skip_lines == 0 { 0 } else { skipped }..];
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .quoting(self.quoted)
            .double_quote(!self.escape)
            .escape(self.escape.then_some(b'\\'))
            .comment(self.comment.then_some(b'#'))
            .from_reader(text.as_bytes());
        reader.into_records().filter_map(Result::ok)
    }

    /// Titles and notes that stand before the first line of the table.
    fn look_at_the_beginning(&mut self, text: &str) {
        let mut lines = 0;
        for line in text.lines().take(MAX_SKIPPED) {
            let record = self.records(line).next();
            let width = record.as_ref().map_or(0, StringRecord::len);
            // A title in a spreadsheet has a delimiter for each column that it spans.
            let filled = record.iter().flatten().filter(|field| !field.trim().is_empty()).count();
            let is_title = filled <= 1 && self.width > 2;
            let is_table = (width + 1 >= self.width && width > 1 || self.width == 1) && !is_title;
            if is_table && !(self.comment && line.starts_with('#')) {
                break;
            }
            lines += 1;
        }
        let is_all = lines == text.lines().take(MAX_SKIPPED).count();
        let only_comments = text.lines().take(lines).all(|line| line.starts_with('#') || line.trim().is_empty());
        if !(is_all || self.comment && only_comments) {
            self.skip_lines = lines;
        }
    }

    fn look_at_the_ends(&mut self, text: &str) {
        let mut records = self.records(text).take(200).peekable();
        let ends_empty = |record: &StringRecord| record.len() > 1 && record.iter().next_back() == Some("");
        // A header alone may end with one, too.
        let header_alone = records.peek().is_some_and(|first| ends_empty(first) && first.len() == self.width + 1);
        if header_alone {
            self.trailing_delimiter = true;
            return;
        }
        if records.peek().is_some_and(ends_empty)
            && records.filter(|record| record.len() == self.width).all(|record| ends_empty(&record))
        {
            self.trailing_delimiter = true;
            self.width -= 1;
        }
    }

    /// A first record of names: none of them a number or empty where the values below are numbers.
    fn has_header(&self, text: &str) -> bool {
        let mut records = self.records(text);
        let Some(first) = records.next() else { return true };
        let rest: Vec<StringRecord> = records.filter(|record| record.len() >= self.width).take(200).collect();
        let is_number = |text: &str| text.trim().replace(',', ".").parse::<f64>().is_ok();
        let is_value = |text: &str| is_number(text) || is_date(text);
        let mut names = std::collections::HashSet::new();
        let unique = first.iter().filter(|name| !name.is_empty()).all(|name| names.insert(name.to_lowercase()));
        let values = first.iter().filter(|field| is_value(field)).count();
        if values == 0 {
            // Text over text: a header, unless it occurs again below as a value, column by column.
            let seen_below = (0..self.width)
                .filter(|at| {
                    let name = first.get(*at).unwrap_or_default();
                    !name.is_empty() && rest.iter().any(|record| record.get(*at) == Some(name))
                })
                .count();
            return seen_below * 2 <= self.width.max(1);
        }
        // Years and numbers are names where the file is a table of figures, and texts stand beside them.
        let below = (0..first.len()).filter(|at| is_value(first.get(*at).unwrap_or_default()));
        let like_below =
            below.filter(|at| rest.iter().take(20).any(|record| is_value(record.get(*at).unwrap_or_default())));
        let alike = like_below.count();
        let texts_over_numbers = (0..first.len()).any(|at| {
            let name = first.get(at).unwrap_or_default();
            let numbers = rest.iter().filter(|record| is_value(record.get(at).unwrap_or_default())).count();
            !name.is_empty() && !is_value(name) && numbers * 10 > rest.len() * 9 && !rest.is_empty()
        });
        unique && (alike == 0 || texts_over_numbers || has_years(&first, &rest))
    }

    /// Whether the fields of lines stand in columns of blanks, which no delimiter divides.
    pub(crate) fn is_fixed_width(&self, text: &str) -> bool {
        self.width == 1 && text.lines().take(50).filter(|line| line.trim().contains("  ")).count() > 25
    }
}

/// Years that follow each other are names of columns, if what stands below is no year.
fn has_years(first: &StringRecord, rest: &[StringRecord]) -> bool {
    let year = |text: &str| text.trim().parse::<i32>().ok().filter(|year| (1800..=2200).contains(year));
    let places: Vec<usize> = (0..first.len()).filter(|at| year(first.get(*at).unwrap_or_default()).is_some()).collect();
    let years: Vec<i32> = places.iter().filter_map(|at| year(first.get(*at).unwrap_or_default())).collect();
    let below = rest.iter().flat_map(|record| places.iter().filter_map(|at| record.get(*at)));
    years.len() > 1
        && years.windows(2).all(|pair| pair[0] != pair[1])
        && below.filter(|text| year(text).is_none()).count() * 2 > rest.len()
}

/// A field that holds a quote at one of its ends only: what was one field was divided.
fn is_torn(field: &str) -> bool {
    field.len() > 1 && (field.starts_with('"') != field.ends_with('"')) && field.matches('"').count() == 1
}

fn is_date(text: &str) -> bool {
    let text = text.trim();
    crate::times::all().iter().any(|written| weir_transform::reads_as(text, written.data_type, written.parsed.as_ref()))
}

/// The beginning of a text, up to a line's end.
fn whole_lines(text: &str) -> &str {
    if text.len() <= LOOKED_AT {
        return text;
    }
    let mut end = LOOKED_AT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].rfind('\n').map_or(&text[..end], |at| &text[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Dialect {
        Dialect::of(text).unwrap()
    }

    #[test]
    fn the_delimiter_is_the_one_that_divides_lines_alike() {
        let cases = [
            ("a,b\n1,2\n3,4\n", b',', 2),
            ("a;b;c\n1,5;2;x\n2,5;3;y\n", b';', 3),
            ("a\tb\n1, 2\t3\n1, 3\t4\n", b'\t', 2),
            ("a|b\n1|2\n", b'|', 2),
            ("sep=;\na;b\n1;2\n", b';', 2),
            ("id,text\n1,\"a; b; c\"\n2,\"d; e; f\"\n", b',', 2),
            ("at,n\n2024-01-01 10:00:00,1\n2024-01-01 10:00:01,2\n", b',', 2),
        ];
        for (text, delimiter, width) in cases {
            let found = form(text);
            assert_eq!((found.delimiter, found.width), (delimiter, width), "{text}");
        }
    }

    #[test]
    fn what_stands_before_the_table_is_left_out() {
        let found = form("Report of May\n\nid,amount\n1,2\n3,4\n5,6\n");
        assert_eq!((found.skip_lines, found.width), (2, 2));
        let found = form("# made by hand\n# on a Monday\nid,amount\n1,2\n3,4\n");
        assert!(found.comment && found.skip_lines == 0 && found.width == 2);
    }

    #[test]
    fn a_first_line_of_values_is_no_header() {
        assert!(!form("1,a\n2,b\n3,c\n").header);
        assert!(!form("2024-01-01,a\n2024-01-02,b\n").header);
        assert!(form("id,name\n1,a\n2,b\n").header);
        assert!(form("country,2019,2020\nFrance,1,2\nSpain,3,4\n").header);
        assert!(form("name,city\nada,London\ngrace,New York\n").header);
    }

    #[test]
    fn delimiters_at_the_end_are_seen() {
        let found = form("a;b;\n1;2;\n3;4;\n");
        assert!(found.trailing_delimiter && found.width == 2);
    }

    #[test]
    fn quotes_that_are_escaped_by_a_backslash_are_seen() {
        let found = form("id,text\n1,\"say \\\"a, b\\\"\"\n2,\"c\"\n3,\"say \\\"d, e\\\"\"\n");
        assert!(found.escape, "{found:?}");
        assert!(!form("id,text\n1,\"say \"\"a, b\"\"\"\n2,\"c\"\n").escape);
    }
}
