//! Data files: how rows become Parquet files with statistics, and what statistics say of a file. Nothing here knows
//! the log or commits.

pub(crate) mod bounds;
pub(crate) mod encode;
pub(crate) mod files;
pub(crate) mod partition;
pub(crate) mod statistics;
pub(crate) mod upload;
pub(crate) mod writer;
