//! Unit tests of what is pure in the function app: the binary has no test build.
#![allow(dead_code)] // they are used there

#[path = "../../../functions/pipeline/events/gap.rs"]
mod gap;
#[path = "../../../functions/pipeline/events/identity.rs"]
mod identity;
#[path = "../../../functions/pipeline/events/window.rs"]
mod window;
