//! Generators. Each knows its grammar, and lies about one thing or another now and then.

pub(crate) mod avro;
pub(crate) mod body;
pub(crate) mod parquet;
pub(crate) mod sql;
pub(crate) mod tasks;
pub(crate) mod text;
pub(crate) mod thrift;

use std::io::Write;

use flate2::write::GzEncoder;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Something small, mostly.
pub(crate) fn few(random: &mut StdRng, most: usize) -> usize {
    let most = if random.random_ratio(1, 6) { most } else { most.min(6) };
    random.random_range(0..=most)
}

pub(crate) fn one<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    *of.choose(random).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
