//! What a table in a warehouse can be, so that a contract that asks for more is refused before anything is loaded.
//!
//! | | SQLite | dedicated pool, Fabric warehouse |
//! |---|---|---|
//! | columns | 2,000 | 1,024 |
//! | a row's values of fixed size | any | 8,060 bytes, with the row's own overhead |
//! | a column's name | any | 128 UTF-16 units |

use weir_contract::{DataType, TableColumn};

const SQLITE_COLUMNS: usize = 2_000;
const POOL_COLUMNS: usize = 1_024;
const POOL_ROW_BYTES: usize = 8_060;
const POOL_NAME_UNITS: usize = 128;

/// Why no warehouse at `url` can have such a table; without an address, why no pool can. `may_come`: columns that data may
/// add.
pub fn unfit(url: Option<&str>, columns: &[TableColumn], may_come: usize) -> Option<String> {
    let is_sqlite = url.is_some_and(|url| url.starts_with("sqlite:"));
    let (kind, most) = match is_sqlite {
        true => ("SQLite", SQLITE_COLUMNS),
        false => ("a Synapse or Fabric pool", POOL_COLUMNS),
    };
    let count = columns.len();
    if count > most {
        return Some(format!("the table has {count} columns with Weir's own, and {kind} takes {most}: leave some out"));
    }
    if count + may_come > most {
        let room = most - count;
        return Some(format!(
            "the table has {count} columns with Weir's own and may get {may_come} from data, and {kind} takes {most}: let \
             `max_added_columns` of [drift] be at most {room}"
        ));
    }
    if is_sqlite {
        return None;
    }
    if let Some(column) = columns.iter().find(|column| column.name.encode_utf16().count() > POOL_NAME_UNITS) {
        return Some(format!(
            "the name of column `{}` is longer than 128 characters, which {kind} does not take",
            column.name
        ));
    }
    let bytes = row_bytes(columns);
    (bytes > POOL_ROW_BYTES).then(|| {
        format!(
            "numbers, dates and times of one row take {bytes} bytes, and {kind} takes {POOL_ROW_BYTES}: leave columns out, or \
             choose narrower types"
        )
    })
}

/// Bytes of a row of nulls: what is of fixed size is always there, what is not takes its place's number.
fn row_bytes(columns: &[TableColumn]) -> usize {
    let overhead = 7 + columns.len().div_ceil(8);
    columns.iter().map(|column| fixed_bytes(column.data_type).unwrap_or(2)).sum::<usize>() + overhead
}

fn fixed_bytes(data_type: DataType) -> Option<usize> {
    Some(match data_type {
        DataType::Boolean => 1,
        DataType::Byte | DataType::Short => 2,
        DataType::Date => 3,
        DataType::Integer | DataType::Float => 4,
        DataType::Long | DataType::Double | DataType::Timestamp => 8,
        DataType::Decimal { precision: ..=9, .. } => 5,
        DataType::Decimal { precision: ..=19, .. } => 9,
        DataType::Decimal { precision: ..=28, .. } => 13,
        DataType::Decimal { .. } => 17,
        DataType::String | DataType::Binary => return None,
    })
}
