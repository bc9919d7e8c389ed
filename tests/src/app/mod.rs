//! The real `weir` binary, from outside: started as a process, spoken to as the Functions host does, judged by its
//! answers and by the tables that it leaves.

mod azure_path;
mod bad_input;
mod command_line;
mod contract_change;
mod crash;
mod drift;
mod exactly_once;
mod handler;
mod landing;
mod large;
mod operations;
mod privacy;
mod rules;
mod serving;
mod site;
mod versions;
mod warehouse;
