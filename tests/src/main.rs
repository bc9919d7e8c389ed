//! Everything heavier than a unit test, in one binary: linking the data stack is slow.

mod support;
mod transform;
mod warehouse;
