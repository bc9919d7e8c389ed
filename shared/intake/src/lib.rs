//! Blobs, read in ranges and handed on as chunks of whole records.
//!
//! What this crate guarantees:
//! - Every byte that is read belongs to the blob version that was opened: each range is asked for with `If-Match`.
//! - Memory is bounded by [`ChunkOptions`], whatever the blob is: a compressed bomb, one endless line, an open quote.
//! - Records are cut at the same places whatever the sizes of ranges and chunks are, and none is lost: what cannot be
//!   a record is handed on as [`Piece::Refused`], in its place. That holds for parts of a blob, read apart, and for a
//!   reader that goes on where another stopped.
//!
//! It knows neither tables nor what the records mean.

mod avro;
mod blob;
mod body;
mod chunks;
mod cutter;
mod document;
mod encoding;
mod error;
mod gunzip;
pub mod hub;
mod inflate;
mod magic;
mod probe;
mod ranges;
mod split;
mod unzstd;

pub use avro::{AvroHeader, AvroOptions, AvroPiece, AvroReader};
pub use blob::Blob;
pub use body::{AvroBody, Body};
pub use chunks::{ChunkOptions, ChunkReader};
pub use error::{ErrorKind, IntakeError};
pub use magic::Magic;
pub use probe::{FirstRecord, Probe, parts};
pub use split::{Framing, Piece, Splitter};
