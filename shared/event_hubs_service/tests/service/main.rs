//! The service against the Rust SDK, and against bytes that no SDK would send.

// Tests may fail loudly; clippy's own exemption for tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod example;
mod faults;
mod hostile;
mod positions;
mod raw;
mod readers;
mod sending;
mod support;
mod volume;
