//! Dataset contracts: one TOML file says where data comes from, what it must look like and where it goes.
//!
//! [`Contract::parse`] turns the text of one file into a sound [`Contract`] or into every error in it, each with file,
//! line, column, key and the nearest valid spelling. [`Contracts`] is the set of all datasets of an app; no blob and
//! no event can belong to two of them, which is proven when the set is built and not when a blob arrives.
//!
//! No I/O: the caller reads the files.

mod contracts;
mod derived;
mod drift;
mod error;
mod event;
mod format;
mod glob;
mod hidden;
mod keys;
pub mod limits;
mod model;
mod parse;
mod path;
mod pattern;
mod properties;
mod reader;
mod references;
#[cfg(test)]
mod tests;

pub use contracts::Contracts;
pub use derived::{Derived, Every, OnLookupChange, Unit};
pub use drift::{Drift, MissingColumns, PersonalUnknownFields, Quality, Share, UnknownFields, is_column_name};
pub use error::{ContractError, ContractErrors, ErrorKind};
pub use event::{EventField, FIRST_OF_SEVERAL, MAX_EVENT_RECORDS, Origin, position_of, positions_of, sequence_of};
pub use format::{UnknownExtension, by_extension as format_by_extension};
pub use keys::nearest;
pub use limits::{Allowance, Stop};
pub use model::*;
pub use parse::MAX_FILE_BYTES;
pub use path::{field_of, pointer, pushed};
pub use pattern::{Digits, Epoch, FormatProblem, Fraction, Name, Number, Offset, Piece, TimeFormat};
pub use properties::names_in;
