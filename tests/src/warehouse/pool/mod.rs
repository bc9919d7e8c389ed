//! Synapse's and Fabric's loader against a real T-SQL engine over TDS, with real Delta tables.

mod engine;
mod faults;
mod loads;
mod text;
