//! Cuts one chunk into a part per core.

use std::ops::Range;

use memchr::memchr_iter;

/// Below this a part is not worth a hand-over to another thread.
const LEAST_BYTES: usize = 256 * 1024;

/// How many parts so many bytes are worth.
pub(crate) fn part_count(bytes: usize) -> usize {
    (bytes / LEAST_BYTES).clamp(1, rayon::current_num_threads())
}

/// Ranges that cover `0..length`, in order, cut where `next_record` says that a record starts at or after an index.
/// Never empty.
pub(crate) fn parts(length: usize, mut next_record: impl FnMut(usize) -> Option<usize>) -> Vec<Range<usize>> {
    let count = part_count(length);
    let (mut ranges, mut start) = (Vec::with_capacity(count), 0);
    for part in 1..count {
        let end = next_record(length / count * part).unwrap_or(length).min(length);
        if end > start {
            ranges.push(start..end);
            start = end;
        }
    }
    if start < length || ranges.is_empty() {
        ranges.push(start..length);
    }
    ranges
}

/// About how many lines there are, by the first of them; a little more, so that builders mostly need not grow, and never so
/// many that empty builders for all columns take more than a few times the bytes.
pub(crate) fn line_estimate(bytes: &[u8], columns: usize) -> usize {
    const SAMPLE_BYTES: usize = 64 * 1024;
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let lines = memchr_iter(b'\n', sample).count() + 1;
    if sample.len() == bytes.len() {
        return lines;
    }
    let (sampled, all) = (sample.len() as u64, bytes.len() as u64);
    let estimate = usize::try_from(lines as u64 * all / sampled).unwrap_or(usize::MAX);
    (estimate + estimate / 16).min(bytes.len() / columns.max(1)) + 1
}
