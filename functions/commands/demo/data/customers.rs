//! TPC-H customers with invented personal data, from two systems: one exports NDJSON, the other Parquet.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use tpchgen::distribution::Distributions;
use tpchgen::generators::{Customer, CustomerGenerator, CustomerGeneratorIterator};

use super::faults::{Faults, MEAN_GAP, pick, rng, set, spoil_utf8, truncate};
use super::{Blob, COMMENTS, Content, Expected, Plan, Verdict, gzip};

/// TPC-H scale factor 1 has 150,000 customers.
const SCALE_FACTOR: f64 = 0.1;
const CUSTOMERS: u64 = 15_000;
/// Files grow with the scale up to here, then there are more of them.
const LARGEST_GROWTH: u32 = 8;

/// A customer in a Parquet file. `None` is null, also where the contract allows none.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct CustomerRow {
    pub(crate) customer_key: Option<i64>,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) nation_key: Option<i32>,
    /// In cents: to be written as `decimal(12,2)`, whose unscaled value this is.
    pub(crate) account_balance: Option<i64>,
    pub(crate) market_segment: Option<String>,
    pub(crate) comment: Option<String>,
    /// A column that the contract does not know; mostly null.
    pub(crate) loyalty_tier: Option<String>,
}

/// Faults of an NDJSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFault {
    TextInNumber,
    ObjectInNumber,
    MissingName,
    NullSegment,
    /// Breaks a rule that quarantines.
    UnknownSegment,
    /// The line ends in the middle of the object.
    Truncated,
    /// JSON, but not an object.
    NotAnObject,
    NotUtf8,
    /// Fields that the contract does not know are rescued.
    UnknownFields,
}

const LINE_FAULTS: &[LineFault] = &[
    LineFault::TextInNumber,
    LineFault::ObjectInNumber,
    LineFault::MissingName,
    LineFault::NullSegment,
    LineFault::UnknownSegment,
    LineFault::Truncated,
    LineFault::NotAnObject,
    LineFault::NotUtf8,
    LineFault::UnknownFields,
];

/// Faults of a Parquet row: its types are those of the file, so only values can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowFault {
    NullName,
    NullKey,
    NullNation,
    UnknownSegment,
    UnknownField,
}

const ROW_FAULTS: &[RowFault] =
    &[RowFault::NullName, RowFault::NullKey, RowFault::NullNation, RowFault::UnknownSegment, RowFault::UnknownField];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Ndjson,
    NdjsonGz,
    Parquet,
}

/// One round of files: name, thousandths of the round's customers, form. The shares add up to 1000.
const SHAPES: [(&str, u64, Form); 3] = [
    ("crm_stores.ndjson", 250, Form::Ndjson),
    ("crm_online.ndjson.gz", 400, Form::NdjsonGz),
    ("erp_accounts.parquet", 350, Form::Parquet),
];

/// `scale` × 15,000 customers.
pub(crate) fn customers(plan: &Plan) -> impl Iterator<Item = Blob> + use<> {
    let total = CUSTOMERS * u64::from(plan.scale());
    let factor = SCALE_FACTOR * f64::from(plan.scale());
    let names = Distributions::static_default();
    let source = CustomerGenerator::new_with_distributions_and_text_pool(factor, 1, 1, names, &COMMENTS);
    Customers {
        source: source.iter(),
        left: total,
        round: total.min(CUSTOMERS * u64::from(LARGEST_GROWTH)),
        made: 0,
        people: rng(plan, "customers"),
        line_faults: Faults::new(plan, "ndjson", LINE_FAULTS, MEAN_GAP),
        row_faults: Faults::new(plan, "parquet", ROW_FAULTS, MEAN_GAP),
    }
}

#[derive(Debug)]
struct Customers {
    source: CustomerGeneratorIterator<'static>,
    left: u64,
    round: u64,
    made: usize,
    people: StdRng,
    line_faults: Faults<LineFault>,
    row_faults: Faults<RowFault>,
}

impl Iterator for Customers {
    type Item = Blob;

    fn next(&mut self) -> Option<Blob> {
        if self.left == 0 {
            return None;
        }
        let (name, share, form) = SHAPES[self.made % SHAPES.len()];
        let path = format!("customers/{:03}_{name}", self.made / SHAPES.len() + 1);
        self.made += 1;
        let count = (self.round * share / 1000).min(self.left);
        self.left -= count;
        let (content, expected) = match form {
            Form::Parquet => self.rows(count),
            Form::Ndjson | Form::NdjsonGz => self.lines(count, form),
        };
        Some(Blob { container: "landing".to_owned(), path, content, expected })
    }
}

impl Customers {
    fn lines(&mut self, count: u64, form: Form) -> (Content, Expected) {
        let mut expected = Expected::default();
        let mut bytes = Vec::new();
        for customer in self.source.by_ref().take(count as usize) {
            let row = row(customer, &mut self.people);
            let fault = self.line_faults.next();
            expected.count(fault.map_or(Verdict::Clean, LineFault::verdict));
            match fault {
                None => bytes.extend_from_slice(Value::Object(object(row)).to_string().as_bytes()),
                Some(fault) => bytes.extend_from_slice(&spoil_line(fault, row, self.line_faults.rng())),
            }
            bytes.push(b'\n');
        }
        (Content::Bytes(if form == Form::NdjsonGz { gzip(&bytes) } else { bytes }), expected)
    }

    fn rows(&mut self, count: u64) -> (Content, Expected) {
        let mut expected = Expected::default();
        let mut rows = Vec::new();
        for customer in self.source.by_ref().take(count as usize) {
            let mut row = row(customer, &mut self.people);
            let fault = self.row_faults.next();
            expected.count(fault.map_or(Verdict::Clean, RowFault::verdict));
            match fault {
                None => {}
                Some(RowFault::NullName) => row.name = None,
                Some(RowFault::NullKey) => row.customer_key = None,
                Some(RowFault::NullNation) => row.nation_key = None,
                Some(RowFault::UnknownSegment) => row.market_segment = Some(NO_SEGMENT.to_owned()),
                Some(RowFault::UnknownField) => row.loyalty_tier = Some("gold".to_owned()),
            }
            rows.push(row);
        }
        (Content::Customers(rows), expected)
    }
}

impl LineFault {
    fn verdict(self) -> Verdict {
        if self == Self::UnknownFields { Verdict::Clean } else { Verdict::Quarantined }
    }
}

impl RowFault {
    fn verdict(self) -> Verdict {
        if self == Self::UnknownField { Verdict::Clean } else { Verdict::Quarantined }
    }
}

const NO_SEGMENT: &str = "PIRACY";

fn spoil_line(fault: LineFault, row: CustomerRow, rng: &mut StdRng) -> Vec<u8> {
    let mut fields = object(row);
    match fault {
        LineFault::TextInNumber => set(&mut fields, "account_balance", "a lot"),
        LineFault::ObjectInNumber => set(&mut fields, "nation_key", json!({ "code": 7 })),
        LineFault::NullSegment => set(&mut fields, "market_segment", Value::Null),
        LineFault::UnknownSegment => set(&mut fields, "market_segment", NO_SEGMENT),
        LineFault::UnknownFields => {
            set(&mut fields, "loyalty_tier", "gold");
            set(&mut fields, "preferences", json!({ "newsletter": true, "channels": ["post", "app"] }));
        }
        LineFault::MissingName => drop(fields.shift_remove("name")),
        LineFault::NotAnObject => {
            return Value::Array(fields.into_iter().map(|(_, value)| value).collect()).to_string().into_bytes();
        }
        LineFault::Truncated | LineFault::NotUtf8 => {}
    }
    let mut line = Value::Object(fields).to_string().into_bytes();
    match fault {
        LineFault::Truncated => truncate(&mut line, rng),
        LineFault::NotUtf8 => spoil_utf8(&mut line, "market_segment"),
        _ => {}
    }
    line
}

fn object(row: CustomerRow) -> Map<String, Value> {
    let mut fields = Map::new();
    set(&mut fields, "customer_key", row.customer_key);
    set(&mut fields, "name", row.name);
    set(&mut fields, "email", row.email);
    set(&mut fields, "phone", row.phone);
    set(&mut fields, "address", row.address);
    set(&mut fields, "nation_key", row.nation_key);
    // The nearest double of a value with two decimals is written with those two decimals again.
    set(&mut fields, "account_balance", row.account_balance.map(|cents| cents as f64 / 100.0));
    set(&mut fields, "market_segment", row.market_segment);
    set(&mut fields, "comment", row.comment);
    fields
}

/// A sound row. Names and addresses are made up; the domains are reserved for examples (RFC 2606).
fn row(customer: Customer<'_>, rng: &mut StdRng) -> CustomerRow {
    let (first, last) = (pick(rng, &FIRST_NAMES), pick(rng, &LAST_NAMES));
    let domain = pick(rng, &["example.com", "example.org"]);
    let key = customer.c_custkey;
    let email = format!("{}.{key}@{domain}", first.to_lowercase());
    CustomerRow {
        customer_key: Some(key),
        name: Some(format!("{first} {last}")),
        email: rng.random_ratio(19, 20).then_some(email),
        phone: Some(customer.c_phone.to_string()),
        address: Some(customer.c_address.to_string()),
        nation_key: i32::try_from(customer.c_nationkey).ok(),
        account_balance: Some(customer.c_acctbal.into_inner()),
        market_segment: Some(customer.c_mktsegment.to_owned()),
        comment: Some(customer.c_comment.to_owned()),
        loyalty_tier: None,
    }
}

const FIRST_NAMES: [&str; 24] = [
    "Ada", "Ben", "Chloe", "Daniel", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Marco",
    "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Sven", "Tara", "Umar", "Vera", "Wen", "Yuki",
];
const LAST_NAMES: [&str; 24] = [
    "Abbott",
    "Baptiste",
    "Castillo",
    "Dvořák",
    "Eriksson",
    "Ferrari",
    "García",
    "Haddad",
    "Ito",
    "Jansen",
    "Kowalski",
    "Łukasik",
    "Müller",
    "Nguyen",
    "Ødegård",
    "Patel",
    "Quinn",
    "Rossi",
    "Şahin",
    "Tanaka",
    "Usman",
    "Vogel",
    "Weiß",
    "Zhou",
];
