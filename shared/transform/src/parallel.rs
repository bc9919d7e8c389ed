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

/// Number of lines, estimated from the first of them; a little more, so that builders mostly need not grow: what grows is in
/// memory twice, and leaves its old room behind. Where the lines that follow are longer, room that is made and not used is
/// never touched; it is bounded by the rows of a frame, or a few times the bytes.
pub(crate) fn line_estimate(bytes: &[u8], columns: usize, max_rows: usize) -> usize {
    const SAMPLE_BYTES: usize = 64 * 1024;
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let lines = memchr_iter(b'\n', sample).count() + 1;
    let (sampled, all) = (sample.len() as u64, bytes.len() as u64);
    let estimate = match sampled == all {
        true => lines,
        false => {
            let estimate = usize::try_from(lines as u64 * all / sampled).unwrap_or(usize::MAX);
            estimate.saturating_add(estimate / 16)
        }
    };
    estimate.min(max_rows.max(bytes.len() / columns.max(1))) + 1
}
