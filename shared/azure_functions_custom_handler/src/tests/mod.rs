//! Tests over the whole crate: recorded envelopes, the router's behaviour under load and failure, arbitrary input.

#[cfg(feature = "server")]
mod arbitrary;
#[cfg(feature = "server")]
mod calls;
mod decoding;
mod replies;
#[cfg(feature = "server")]
mod routing;
mod support;
