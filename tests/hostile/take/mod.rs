//! Takers: the product's own code, driven as the app drives it.

pub(crate) mod decoders;
pub(crate) mod parquet;
pub(crate) mod sql;
pub(crate) mod tasks;

use decoders::Made;

/// Takes a file of a format under one contract, and returns how many records there were.
pub fn take(format: &str, made: &Made, input: &[u8]) -> u64 {
    match format {
        "avro" => decoders::avro_of(made, input),
        "parquet" => parquet::file_of(made, input),
        "csv" => decoders::csv_of(made, input),
        _ => decoders::json_of(made, input),
    }
}
