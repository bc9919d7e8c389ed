//! What `weir demo` feeds the app: TPC-H order lines and customers, real weather readings, invented page views, and
//! in between them, on purpose, what goes wrong in production.
//!
//! Guarantees:
//! - the same [`Plan`] gives the same bytes, in the same order;
//! - every kind of fault occurs, even at scale 1, and most files and batches hold good and bad records side by side;
//! - [`Expected`] is exact, so that the books of the demo can be checked against something that the app did not count;
//! - memory holds one blob or one batch at a time;
//! - nobody's data: people, e-mail addresses and phone numbers are invented.
//!
//! What a record's verdict must be follows from the contracts in `shared/datasets`; a change there is a change here.

mod clickstream;
mod customers;
mod faults;
mod sales;
mod sensors;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::LazyLock;

use flate2::{Compression, GzBuilder};
use tpchgen::distribution::Distributions;
use tpchgen::text::TextPool;

pub(crate) use clickstream::clickstream;
pub(crate) use customers::{CustomerRow, customers};
pub(crate) use sales::sales;
pub(crate) use sensors::sensors;

/// What to make. Equal plans make equal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Multiplies the amount of data; 0 counts as 1.
    pub(crate) scale: u32,
}

impl Plan {
    fn scale(&self) -> u32 {
        self.scale.max(1)
    }
}

/// A file to put into the landing zone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Blob {
    pub(crate) container: String,
    /// Within the container.
    pub(crate) path: String,
    pub(crate) content: Content,
    pub(crate) expected: Expected,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// To be written as Parquet, one column for each field of [`CustomerRow`], under the field's name.
    Customers(Vec<CustomerRow>),
}

/// Events to send to a hub in one request. Events with the same key stay in order, in one partition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventBatchOut {
    pub(crate) hub: String,
    pub(crate) events: Vec<Event>,
    pub(crate) expected: Expected,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Usually a JSON object; a fault may have left anything, even nothing.
    pub(crate) body: Vec<u8>,
    /// Partition key.
    pub(crate) key: String,
}

/// What the app must make of a blob or a batch: `records = clean + quarantined`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) records: u64,
    pub(crate) clean: u64,
    pub(crate) quarantined: u64,
}

impl Expected {
    fn count(&mut self, verdict: Verdict) {
        self.records += 1;
        match verdict {
            Verdict::Clean => self.clean += 1,
            Verdict::Quarantined => self.quarantined += 1,
        }
    }
}

impl std::ops::AddAssign for Expected {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.clean += other.clean;
        self.quarantined += other.quarantined;
    }
}

/// Where the contract sends a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// To the table, whether or not something was noted (a warning) or set aside (`_rescued`).
    Clean,
    Quarantined,
}

/// What TPC-H cuts its comments from. Its own pool is 300 MB and takes seconds to fill; for a demo's comments 4 MB do.
static COMMENTS: LazyLock<TextPool> = LazyLock::new(|| TextPool::new(4 << 20, Distributions::static_default()));

/// Gzip without a time stamp or file name, so that equal input gives equal bytes.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
    match encoder.write_all(plain).and_then(|()| encoder.finish()) {
        Ok(packed) => packed,
        Err(error) => unreachable!("a Vec takes every write: {error}"),
    }
}
