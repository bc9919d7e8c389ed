//! The real `weir` binary, from outside: started as a process, spoken to as the Functions host does, judged by its
//! answers and by the tables that it leaves.

mod azure_path;
mod bad_input;
mod bodies;
mod command_line;
mod contract_change;
mod crash;
mod dedupe;
mod drift;
mod exactly_once;
mod forged;
mod gaps;
mod handler;
mod host;
mod hostile_parquet;
mod identity;
mod keys;
mod lambda;
mod landing;
mod large;
mod loads;
mod names;
mod operations;
mod parked;
mod privacy;
mod pure;
mod reasons;
mod renames;
mod replay;
mod rules;
mod serving;
mod site;
mod soak;
mod status;
mod versions;
mod warehouse;
