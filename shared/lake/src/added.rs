//! Columns that come from data: a frame brings them, and no contract names them.
//!
//! The table gets them as long as there is room; what finds none, or no column of its kind, is kept in `_rescued`. So a
//! frame is never refused for such a column, whatever other writers gave the table meanwhile.

use polars::prelude::{DataFrame, PolarsResult};
use weir_contract::{DataType, TableColumn};

use crate::error::LakeError;
use crate::schema::Layout;
use crate::types::{data_type_of, widens};

/// What a table takes from data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedColumns {
    /// Columns that the table may have beyond those of its definition.
    pub most: usize,
    /// Whether a column whose name differs by case alone is another one. No table can have both.
    pub match_case: bool,
}

/// What becomes of a frame's columns that the definition has not.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Those that the table has, in other letters.
    renamed: Vec<(String, String)>,
    pub(crate) rescued: Vec<TableColumn>,
    /// Those that the table is to get.
    pub(crate) needed: Vec<TableColumn>,
}

impl Layout {
    /// Whether a column of this name would come from data.
    pub(crate) fn comes_from_data(&self, name: &str) -> bool {
        self.added.is_some() && !self.is_wanted(name)
    }

    /// How many such columns the table may still get.
    fn room(&self) -> usize {
        let most = self.added.map_or(0, |added| added.most);
        most.saturating_sub(self.columns.iter().filter(|own| !self.is_wanted(&own.name)).count())
    }

    pub(crate) fn sort_added(&self, frame: &DataFrame) -> Result<Sorted, LakeError> {
        let mut sorted = Sorted::default();
        let Some(added) = self.added else { return Ok(sorted) };
        let room = self.room();
        for column in frame.columns() {
            let name = column.name().as_str();
            if !self.comes_from_data(name) {
                continue;
            }
            let data_type = data_type_of(column.dtype()).ok_or_else(|| self.no_type(name, column.dtype()))?;
            let new = TableColumn { name: name.to_owned(), data_type, nullable: true };
            match self.same_letters(name) {
                Some(own) if own.name == name && fits(data_type, own) => {}
                // A frame has every column of the definition, so this one is from data, too.
                Some(own) if Self::takes(own, &new, added) && frame.get_column_index(&own.name).is_none() => {
                    if sorted.renamed.iter().any(|(_, taken)| *taken == own.name) {
                        sorted.rescued.push(new);
                    } else {
                        sorted.renamed.push((new.name, own.name.clone()));
                    }
                }
                None if sorted.needed.len() < room && !is_among(name, &sorted.needed) => sorted.needed.push(new),
                Some(_) | None => sorted.rescued.push(new),
            }
        }
        Ok(sorted)
    }

    /// Whether the table's column takes the values of one that is spelt in other letters.
    fn takes(own: &TableColumn, new: &TableColumn, added: AddedColumns) -> bool {
        !added.match_case && own.name != new.name && fits(new.data_type, own)
    }

    /// Whether the table is to get a column from data, beside those that come with it.
    pub(crate) fn has_room_for(&self, column: &TableColumn, beside: &[TableColumn]) -> bool {
        let others = beside.iter().filter(|other| !self.is_wanted(&other.name)).count();
        self.same_letters(&column.name).is_none() && !is_among(&column.name, beside) && others < self.room()
    }

    /// The table's column of this name, or of one that differs by case alone.
    fn same_letters(&self, name: &str) -> Option<&TableColumn> {
        let lower = name.to_lowercase();
        self.column(name).or_else(|| self.columns.iter().find(|own| own.name.to_lowercase() == lower))
    }
}

impl Sorted {
    /// Gives columns the table's names.
    pub(crate) fn rename(&self, mut frame: DataFrame) -> PolarsResult<DataFrame> {
        for (from, to) in &self.renamed {
            frame.rename(from, to.as_str().into())?;
        }
        Ok(frame)
    }
}

fn fits(data_type: DataType, own: &TableColumn) -> bool {
    data_type == own.data_type || widens(data_type, own.data_type)
}

fn is_among(name: &str, columns: &[TableColumn]) -> bool {
    columns.iter().any(|column| column.name.to_lowercase() == name.to_lowercase())
}
