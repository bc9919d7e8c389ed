//! Synapse's and Fabric's loader against a real T-SQL engine over TDS, with real Delta tables.

mod engine;
mod expression;
mod faults;
mod gateway;
mod leftovers;
mod live;
mod loads;
mod races;
mod stand_in;
mod text;
mod values;
mod verify;
