//! Whether warehouse and lake hold the same rows: counts, and for each column a sum that does not depend on order.

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub lake_rows: u64,
    pub warehouse_rows: u64,
    /// Columns whose values differ, or whose number of values does.
    pub differing: Vec<ColumnDifference>,
    /// Columns that this warehouse cannot sum exactly: only their values were counted.
    pub counted_only: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDifference {
    pub column: String,
    /// Values that are not null.
    pub lake_values: u64,
    pub warehouse_values: u64,
}

impl Verified {
    pub fn is_equal(&self) -> bool {
        self.lake_rows == self.warehouse_rows && self.differing.is_empty()
    }
}

/// What is known of one column on one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) values: u64,
    /// Wraps.
    pub(crate) sum: i128,
}

impl Summary {
    pub(crate) fn add(&mut self, value: i128) {
        self.values += 1;
        self.sum = self.sum.wrapping_add(value);
    }
}
