//! What a contract says about data that is not as it was: fields that come and go, and how much may be faulty.

use std::fmt;

/// Longest name of a column, in characters.
pub(crate) const MAX_COLUMN_NAME: usize = 128;

/// Fields that no column names, columns that have no field, and how the two find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub unknown_fields: UnknownFields,
    /// Columns that the table may have beyond the contract's, with [`UnknownFields::Add`].
    pub max_added_columns: usize,
    pub missing_columns: MissingColumns,
    /// Whether `Id` and `id` are different fields.
    pub match_case: bool,
    /// What becomes of fields that no column names in a dataset with a personal column.
    pub personal_unknown_fields: PersonalUnknownFields,
}

impl Drift {
    pub(crate) const MAX_ADDED_COLUMNS: usize = 100;
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            unknown_fields: UnknownFields::default(),
            max_added_columns: Self::MAX_ADDED_COLUMNS,
            missing_columns: MissingColumns::default(),
            match_case: false,
            personal_unknown_fields: PersonalUnknownFields::default(),
        }
    }
}

/// What becomes of a field that no column names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// It is kept in `_rescued`.
    #[default]
    Rescue,
    /// The table gets a nullable string column of its name; what cannot be one is kept in `_rescued`.
    Add,
    /// Its record goes to quarantine.
    Fail,
}

/// What becomes of a field that no column names, where a column is personal: the field may be a copy of that, or as
/// personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PersonalUnknownFields {
    /// It is left out of the table; records of which something was left out are counted. The source has it.
    #[default]
    Drop,
    /// It is kept in `_rescued` as it came.
    Rescue,
    /// The table gets a column for it, as [`UnknownFields::Add`] says.
    Add,
}

/// What becomes of a record that lacks a column's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingColumns {
    /// The column is null, if it may be.
    #[default]
    Null,
    /// The record goes to quarantine.
    Fail,
}

/// How much of a blob may be faulty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quality {
    /// A blob with a larger share of records for quarantine is held back whole.
    pub max_faulty: Option<Share>,
    /// A blob with fewer records is not judged by its share.
    pub min_records: u64,
}

impl Quality {
    pub(crate) const MIN_RECORDS: u64 = 100;
}

impl Default for Quality {
    fn default() -> Self {
        Self { max_faulty: None, min_records: Self::MIN_RECORDS }
    }
}

/// A part of a whole, exact to a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    millionths: u32,
}

impl Share {
    const WHOLE: u32 = 1_000_000;

    /// `None` when it is not from 0 to 1.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (millionths <= Self::WHOLE).then_some(Self { millionths })
    }

    /// Whether `part` of `whole` is more than this.
    pub fn is_exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Self::WHOLE) > u128::from(whole) * u128::from(self.millionths)
    }
}

impl fmt::Display for Share {
    /// In percent: `5 %`, `0.25 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, rest) = (self.millionths / 10_000, self.millionths % 10_000);
        if rest == 0 {
            return write!(f, "{percent} %");
        }
        write!(f, "{percent}.{} %", format!("{rest:04}").trim_end_matches('0'))
    }
}

/// `^[A-Za-z][A-Za-z0-9_]{0,127}$`: what Delta (without column mapping), Parquet and every SQL dialect take unquoted.
pub fn is_column_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= MAX_COLUMN_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
