//! TPC-H order lines as CSV files: plain, gzipped, from Windows, with a column too many, empty.

use std::fmt::Write;

use rand::Rng;
use tpchgen::csv::LineItemCsv;
use tpchgen::distribution::Distributions;
use tpchgen::generators::{LineItem, LineItemGenerator, LineItemGeneratorIterator};

use super::faults::{Faults, MEAN_GAP, pick};
use super::{Blob, COMMENTS, Content, Expected, Plan, Verdict, gzip};

/// TPC-H scale factor 1 has about 6 million lines: 0.01 has about 60,000.
const SCALE_FACTOR: f64 = 0.01;
const LINES: u64 = 60_000;
/// Files grow with the scale up to here, then there are more of them.
const LARGEST_GROWTH: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The line ends before a column that must have a value.
    TooFewFields,
    TooManyFields,
    TextInNumber,
    BadDate,
    NotUtf8,
    NulByte,
    /// Breaks a rule that quarantines, as the next does.
    NegativeQuantity,
    ReceivedBeforeShipped,
    /// Breaks a rule that only warns.
    DiscountOutOfRange,
}

const FAULTS: &[Fault] = &[
    Fault::TooFewFields,
    Fault::TooManyFields,
    Fault::TextInNumber,
    Fault::BadDate,
    Fault::NotUtf8,
    Fault::NulByte,
    Fault::NegativeQuantity,
    Fault::ReceivedBeforeShipped,
    Fault::DiscountOutOfRange,
];

/// How one file differs from a plain one.
#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    /// Thousandths of the round's lines.
    share: u64,
    quirk: Quirk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quirk {
    None,
    Gzip,
    /// Byte order mark and CRLF.
    Windows,
    /// A column that the contract does not know: its values are rescued.
    ExtraColumn,
    /// The last line has no line end.
    OpenEnd,
    HeaderOnly,
    ZeroBytes,
}

/// One round of files; the shares add up to 1000.
const SHAPES: [Shape; 8] = [
    Shape { name: "shop.csv", share: 20, quirk: Quirk::OpenEnd },
    Shape { name: "outlet.csv.gz", share: 180, quirk: Quirk::Gzip },
    Shape { name: "closed.csv", share: 0, quirk: Quirk::HeaderOnly },
    Shape { name: "partner_windows.csv", share: 60, quirk: Quirk::Windows },
    Shape { name: "web.csv", share: 400, quirk: Quirk::None },
    Shape { name: "lost.csv", share: 0, quirk: Quirk::ZeroBytes },
    Shape { name: "campaign.csv", share: 90, quirk: Quirk::ExtraColumn },
    Shape { name: "marketplace.csv", share: 250, quirk: Quirk::None },
];

/// About `scale` × 60,000 lines.
pub(crate) fn sales(plan: &Plan) -> impl Iterator<Item = Blob> + use<> {
    let factor = SCALE_FACTOR * f64::from(plan.scale());
    let names = Distributions::static_default();
    let source = LineItemGenerator::new_with_distributions_and_text_pool(factor, 1, 1, names, &COMMENTS);
    Sales {
        lines: source.iter(),
        faults: Faults::new(plan, "sales", FAULTS, MEAN_GAP),
        round_lines: LINES * u64::from(plan.scale().min(LARGEST_GROWTH)),
        made: 0,
        exhausted: false,
    }
}

#[derive(Debug)]
struct Sales {
    lines: LineItemGeneratorIterator<'static>,
    faults: Faults<Fault>,
    round_lines: u64,
    made: usize,
    exhausted: bool,
}

impl Iterator for Sales {
    type Item = Blob;

    fn next(&mut self) -> Option<Blob> {
        if self.exhausted && self.made >= SHAPES.len() {
            return None;
        }
        let shape = SHAPES[self.made % SHAPES.len()];
        let path = format!("sales/{:03}_{}", self.made / SHAPES.len() + 1, shape.name);
        self.made += 1;
        let (bytes, expected) = self.file(shape);
        Some(Blob { container: "landing".to_owned(), path, content: Content::Bytes(bytes), expected })
    }
}

impl Sales {
    fn file(&mut self, shape: Shape) -> (Vec<u8>, Expected) {
        let mut expected = Expected::default();
        let mut bytes = Vec::new();
        if shape.quirk == Quirk::ZeroBytes {
            return (bytes, expected);
        }
        let line_end: &[u8] = if shape.quirk == Quirk::Windows { b"\r\n" } else { b"\n" };
        let extra = shape.quirk == Quirk::ExtraColumn;
        if shape.quirk == Quirk::Windows {
            bytes.extend_from_slice("\u{feff}".as_bytes());
        }
        bytes.extend_from_slice(LineItemCsv::header().as_bytes());
        bytes.extend_from_slice(if extra { b",l_promotion" } else { b"" });
        bytes.extend_from_slice(line_end);

        let mut text = String::new();
        for _ in 0..self.round_lines * shape.share / 1000 {
            let Some(item) = self.lines.next() else {
                self.exhausted = true;
                break;
            };
            let fault = self.faults.next();
            expected.count(fault.map_or(Verdict::Clean, Fault::verdict));
            write_line(&mut text, item, extra);
            match fault {
                None => bytes.extend_from_slice(text.as_bytes()),
                Some(fault) => bytes.extend_from_slice(&self.spoil(fault, &text)),
            }
            bytes.extend_from_slice(line_end);
        }
        if shape.quirk == Quirk::OpenEnd {
            bytes.truncate(bytes.len() - line_end.len());
        }
        if shape.quirk == Quirk::Gzip {
            bytes = gzip(&bytes);
        }
        (bytes, expected)
    }

    /// `line` with the fault worked in. Only the comment is quoted; an extra column counts as its tail here.
    fn spoil(&mut self, fault: Fault, line: &str) -> Vec<u8> {
        let rng = self.faults.rng();
        let mut fields: Vec<Vec<u8>> = line.splitn(COLUMNS, ',').map(|field| field.as_bytes().to_vec()).collect();
        match fault {
            Fault::TooFewFields => fields.truncate(rng.random_range(2..6)),
            Fault::TooManyFields => fields.push(b"left,over".to_vec()),
            Fault::TextInNumber => fields[pick(rng, &NUMBERS)] = b"many".to_vec(),
            Fault::BadDate => fields[pick(rng, &DATES)] = pick(rng, &NO_DATES).into(),
            Fault::NotUtf8 => fields[COMMENT][3] = 0xFF,
            Fault::NulByte => fields[QUANTITY].insert(1, 0),
            Fault::NegativeQuantity => fields[QUANTITY] = b"-1".to_vec(),
            Fault::ReceivedBeforeShipped => fields[RECEIPT_DATE] = b"1970-01-01".to_vec(),
            Fault::DiscountOutOfRange => fields[DISCOUNT] = b"7.50".to_vec(),
        }
        fields.join(&b',')
    }
}

const COLUMNS: usize = 16;
const ORDER_KEY: usize = 0;
const QUANTITY: usize = 4;
const EXTENDED_PRICE: usize = 5;
const DISCOUNT: usize = 6;
const SHIP_DATE: usize = 10;
const COMMIT_DATE: usize = 11;
const RECEIPT_DATE: usize = 12;
const COMMENT: usize = 15;

const NUMBERS: [usize; 4] = [ORDER_KEY, QUANTITY, EXTENDED_PRICE, DISCOUNT];
const DATES: [usize; 3] = [SHIP_DATE, COMMIT_DATE, RECEIPT_DATE];
const NO_DATES: [&str; 3] = ["1998-02-30", "1997-13-01", "yesterday"];
const PROMOTIONS: [&str; 3] = ["", "SPRING", "CLEARANCE"];

impl Fault {
    fn verdict(self) -> Verdict {
        match self {
            Self::DiscountOutOfRange => Verdict::Clean,
            _ => Verdict::Quarantined,
        }
    }
}

fn write_line(text: &mut String, item: LineItem<'_>, extra: bool) {
    text.clear();
    let promotion = PROMOTIONS[item.l_linenumber as usize % PROMOTIONS.len()];
    // Writing to a String cannot fail.
    let _ = write!(text, "{}", LineItemCsv::new(item));
    if extra {
        text.push(',');
        text.push_str(promotion);
    }
}
