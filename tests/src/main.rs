//! Everything heavier than a unit test, in one binary: linking the data stack is slow.

// Tests may fail loudly; clippy's own exemption for tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]

mod alerts;
mod app;
mod azurite;
mod azurite_queues;
mod azurite_tests;
mod demo;
mod deploy;
mod derived;
mod hostile;
mod hub;
mod intake;
mod lake;
mod python;
mod real;
mod structure;
mod support;
mod transform;
mod warehouse;
mod worst;
