//! Whether warehouse and lake hold the same rows: counts, and sums that do not depend on order, of each column's values and
//! of whole rows. Where they differ, the sources and positions of the rows that do.

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub lake_rows: u64,
    pub warehouse_rows: u64,
    /// Columns whose values differ, or whose number of values does.
    pub differing: Vec<ColumnDifference>,
    /// Columns that this warehouse cannot sum exactly: only their values were counted.
    pub counted_only: Vec<String>,
    /// Rows differ, perhaps with each column alone being equal: values that changed places.
    pub rows_differ: bool,
    /// Where rows differ, some of it, if this warehouse can tell.
    pub places: Vec<PlaceDifference>,
    /// There are more than these.
    pub more_places: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDifference {
    pub column: String,
    /// Values that are not null.
    pub lake_values: u64,
    pub warehouse_values: u64,
}

/// A source whose rows differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceDifference {
    pub source: String,
    pub lake_rows: u64,
    pub warehouse_rows: u64,
    /// Rows that differ, are missing, doubled or too many, by their position.
    pub rows: u64,
    /// Positions of the first and the last of them.
    pub first: i64,
    pub last: i64,
}

impl Verified {
    pub fn is_equal(&self) -> bool {
        self.lake_rows == self.warehouse_rows && self.differing.is_empty() && !self.rows_differ
    }
}

/// What is known of one column, or of whole rows, on one side.
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
