//! Parquet files, read as `functions/pipeline/blob/records.rs` reads them: whole, and in parts.

use std::io::Write;

use weir_transform::{ParquetRows, parquet_parts};

use super::decoders::{Made, balanced, lineage, one};

pub(crate) fn file(input: &[u8]) {
    file_of(one(input), input);
}

/// Returns how many records there were; one stands for a file, or for the rest of one, that is refused.
pub(crate) fn file_of(made: &Made, input: &[u8]) -> u64 {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    let most = made.contract.format.max_record_bytes;
    let parts = parquet_parts(&file, 64 << 10);
    let Ok(mut rows) = ParquetRows::open(file, most) else {
        assert!(parts.is_err(), "a file that cannot be opened has no parts");
        return 1;
    };
    let mut next = 1_i64;
    loop {
        let step = match rows.next() {
            Ok(Some(step)) => step,
            Ok(None) => break,
            // The rows that are left are one record, because they are more than the file's bytes pay for.
            Err(reason) => {
                assert!(!reason.contains("came to a stop"), "{reason}");
                return next.cast_unsigned();
            }
        };
        let output = made.transform.rows(&step, next, &lineage()).unwrap();
        assert_eq!(output.records, step.rows as u64);
        balanced(&output);
        next += step.rows as i64;
    }
    // A file may have no parts that are worth reading apart, and can be read as a whole all the same.
    if let Ok(parts) = parts {
        let counted = parts.last().map_or(0, |part| part.rows.end);
        assert_eq!(next - 1, counted as i64, "every row that the footer counts is given");
    }
    (next - 1).cast_unsigned()
}
