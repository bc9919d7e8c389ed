//! How the lake's types are stored. One table for both kinds of pool; staging tables and targets come from it.
//!
//! | lake | dedicated pool | Fabric warehouse | note |
//! |---|---|---|---|
//! | boolean | `bit` | `bit` | |
//! | byte, short | `smallint` | `smallint` | `tinyint` has no negative numbers |
//! | integer, long | `int`, `bigint` | `int`, `bigint` | |
//! | float, double | `real`, `float` | `real`, `float` | no NaN, no infinity |
//! | decimal(p,s) | `decimal(p,s)` | `decimal(p,s)` | |
//! | string | `nvarchar(n)` | `varchar(n)` | n from the contract: UTF-16 units (an emoji has two), or bytes of UTF-8 in Fabric |
//! | date | `date` | `date` | years 1 to 9999 |
//! | timestamp | `datetime2(6)` | `datetime2(6)` | UTC; years 1 to 9999 |
//! | binary | `varbinary(8000)` | `varbinary(8000)` | |
//!
//! What T-SQL has no place for (NaN, infinities, years outside 1 to 9999) Weir never writes: intake refuses it, record by
//! record. In a file of another writer it makes `COPY INTO` fail, and nothing is loaded. Empty strings and nulls stay apart.

use weir_contract::{DataType, LongText, TableColumn};

use super::Flavor;
use super::statements::EXACT;
use super::text::{literal, name};
use crate::{Error, Physical};

/// A dedicated pool's columnstore holds no longer ones.
pub(crate) const MAX_TEXT: u32 = 4_000;
/// Fabric counts bytes.
pub(crate) const MAX_TEXT_BYTES: u32 = 8_000;
pub(crate) const MAX_BINARY: u32 = 8_000;

impl Flavor {
    /// The type of a column of the target.
    pub(crate) fn target_type(self, column: &TableColumn, physical: &Physical) -> String {
        match (column.data_type, self) {
            (DataType::String, Flavor::Dedicated) => format!("nvarchar({})", self.text_limit(column, physical)),
            (DataType::String, Flavor::Fabric) => format!("varchar({})", self.text_limit(column, physical)),
            (DataType::Binary, _) => format!("varbinary({MAX_BINARY})"),
            (other, _) => self.plain(other),
        }
    }

    /// The type of a column of a staging table: long values get in, so that they can be counted and named.
    pub(crate) fn staging_type(self, data_type: DataType) -> String {
        match (data_type, self) {
            (DataType::String, Flavor::Dedicated) => "nvarchar(max)".to_owned(),
            (DataType::String, Flavor::Fabric) => "varchar(max)".to_owned(),
            (DataType::Binary, _) => "varbinary(max)".to_owned(),
            (other, _) => self.plain(other),
        }
    }

    fn plain(self, data_type: DataType) -> String {
        fixed(data_type).unwrap_or_else(|| self.staging_type(data_type))
    }

    /// Characters of a string column, in Fabric bytes.
    fn text_limit(self, column: &TableColumn, physical: &Physical) -> u32 {
        let own = physical.text_lengths.iter().find(|(known, _)| *known == column.name).map(|(_, length)| *length);
        match self {
            Flavor::Dedicated => own.unwrap_or(MAX_TEXT).clamp(1, MAX_TEXT),
            Flavor::Fabric => own.unwrap_or(MAX_TEXT_BYTES).clamp(1, MAX_TEXT_BYTES),
        }
    }

    /// What `DATALENGTH` of a value of this column may be; `None` where the type has no length.
    pub(crate) fn byte_limit(self, column: &TableColumn, physical: &Physical) -> Option<u32> {
        match (column.data_type, self) {
            (DataType::String, Flavor::Dedicated) => Some(2 * self.text_limit(column, physical)),
            (DataType::String, Flavor::Fabric) => Some(self.text_limit(column, physical)),
            (DataType::Binary, _) => Some(MAX_BINARY),
            _ => None,
        }
    }

    /// `value`, an expression, as the column's type: what is longer is cut, whole characters stay whole.
    pub(crate) fn cut(self, value: &str, column: &TableColumn, physical: &Physical) -> String {
        let own = self.target_type(column, physical);
        let limit = self.text_limit(column, physical);
        let is_plain = self == Flavor::Fabric || physical.long_text == LongText::Fail;
        if is_plain || limit < 2 {
            return format!("CAST({value} AS {own})");
        }
        // The last unit may be the first half of a character; this collation counts units whatever the database's does.
        let last = format!("UNICODE(SUBSTRING({value} {EXACT}, {limit}, 1))");
        let shorter = format!("CAST(CAST({value} AS nvarchar({})) AS {own})", limit - 1);
        format!("CASE WHEN {last} BETWEEN 55296 AND 56319 THEN {shorter} ELSE CAST({value} AS {own}) END")
    }

    /// The same of a value.
    pub(crate) fn cut_text<'a>(self, text: &'a str, column: &TableColumn, physical: &Physical) -> &'a str {
        let limit = self.text_limit(column, physical) as usize;
        let mut units = 0;
        let fits = text.char_indices().find(|(_, character)| {
            units += if self == Flavor::Fabric { character.len_utf8() } else { character.len_utf16() };
            units > limit
        });
        fits.map_or(text, |(end, _)| &text[..end])
    }

    /// A partition value as an expression of the column's type.
    pub(crate) fn constant(self, column: &TableColumn, value: Option<&str>, physical: &Physical) -> String {
        let own = self.target_type(column, physical);
        match value {
            // Delta's empty partition value is null for every type but string, and our writer's for string too.
            None => format!("CAST(NULL AS {own})"),
            Some(value) if column.data_type == DataType::Timestamp => {
                let plain = value.replace('T', " ");
                format!("CAST({} AS {own})", literal(plain.trim_end_matches('Z')))
            }
            Some(value) => format!("CAST({} AS {own})", literal(value)),
        }
    }

    /// `[name] type null?`, for the target.
    pub(crate) fn definition(self, column: &TableColumn, physical: &Physical) -> Result<String, Error> {
        let null = if column.nullable { "NULL" } else { "NOT NULL" };
        Ok(format!("{} {} {null}", name("column", &column.name)?, self.target_type(column, physical)))
    }
}

/// The type of values that have no length of their own: the same in every kind of SQL pool.
pub(crate) fn fixed(data_type: DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "bit".to_owned(),
        DataType::Byte | DataType::Short => "smallint".to_owned(),
        DataType::Integer => "int".to_owned(),
        DataType::Long => "bigint".to_owned(),
        DataType::Float => "real".to_owned(),
        DataType::Double => "float".to_owned(),
        DataType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        DataType::Date => "date".to_owned(),
        DataType::Timestamp => "datetime2(6)".to_owned(),
        DataType::String | DataType::Binary => return None,
    })
}
