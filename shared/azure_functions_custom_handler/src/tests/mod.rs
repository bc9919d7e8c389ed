//! Tests over the whole crate: recorded envelopes, the router's behaviour under load and failure, arbitrary input.

mod arbitrary;
mod decoding;
mod replies;
mod routing;
mod support;
