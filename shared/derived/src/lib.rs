//! Derived tables: what a query makes of other tables of the lake, kept up to date unit by unit.
//!
//! What this crate guarantees, whoever crashes when and however many refresh the same table:
//! - **The rows of a unit are what the query gives of that unit**, of the followed table as it was at the version that
//!   the table notes or at a later one. When nothing moved since, the whole table is what the query gives of its sources.
//! - **A commit settles it.** New rows take the place of old ones in one commit, which is conditional on the table's
//!   own count of refreshes; whoever loses that race begins again with what the table says then.
//! - **No change is missed.** Which units to make anew comes from the followed table's log. Where that does not tell
//!   (commits or files that are gone, another table under its name, another query) all of them are.
//! - **Work is kept.** A refresh that is cut off between two commits goes on with the units that are left: each row says
//!   which state of its sources it is made of.
//! - **Nothing is committed when no row changed** in the followed table.

mod error;
mod group;
mod notes;
mod refresh;
mod survey;

pub use error::{DerivedError, ErrorKind};
pub use refresh::{Options, Refreshed, Sources, refresh};

use std::collections::HashMap;

/// The version of the followed table that a derived table stands for, by its transaction ids; `None` before the first
/// refresh is complete. `table_id` is the followed table's.
pub fn stands_for(transactions: &HashMap<String, i64>, table_id: &str) -> Option<i64> {
    let notes = notes::Notes::of(transactions);
    notes.is_complete().then(|| notes.version_of(table_id)).flatten()
}
