//! Takers: the product's own code, driven as the app drives it.

pub(crate) mod decoders;
pub(crate) mod parquet;
pub(crate) mod sql;
pub(crate) mod tasks;
