//! What texts take that are stored as differences: the page of a few bytes may hold a megabyte once and refer to it a
//! million times, and the decoder makes room for as many lengths as the page says that it has. So they are added up before
//! it sees them.

/// Lengths of one page: 20,000 are usual.
const MAX_LENGTHS: u64 = 4 * 1024 * 1024;
/// Texts of one page, as they are decoded.
const MAX_TEXT_BYTES: u64 = 64 * 1024 * 1024;

const DAMAGED: &str = "the lengths of its texts are damaged";

/// `DELTA_LENGTH_BYTE_ARRAY`: the texts stand behind their lengths, so only their number is bounded.
///
/// # Errors
/// When the lengths are damaged, or beyond a limit.
pub(super) fn of_lengths(values: &[u8]) -> Result<usize, String> {
    sum(values).map(|_| values.len())
}

/// `DELTA_BYTE_ARRAY`: the bytes of all texts, each of which begins with some of the one before it.
///
/// # Errors
/// As [`of_lengths`].
pub(super) fn of_texts(values: &[u8]) -> Result<usize, String> {
    let (prefixes, at) = sum(values)?;
    let (suffixes, _) = sum(values.get(at..).ok_or(DAMAGED)?)?;
    let bytes = prefixes.saturating_add(suffixes);
    if bytes > MAX_TEXT_BYTES {
        return Err(format!("the texts of a page have {bytes} bytes, more than {MAX_TEXT_BYTES}"));
    }
    usize::try_from(bytes).map_err(|_| DAMAGED.to_owned())
}

/// The sum of `DELTA_BINARY_PACKED` lengths, and where they end. Lengths that are all alike take no bytes.
fn sum(bytes: &[u8]) -> Result<(u64, usize), String> {
    let mut reader = Reader { bytes, at: 0 };
    let (block, minis) = (reader.number()?, reader.number()?);
    let (count, first) = (reader.number()?, reader.signed()?);
    if count > MAX_LENGTHS {
        return Err(format!("it has {count} texts, more than {MAX_LENGTHS}"));
    }
    if count == 0 {
        return Ok((0, reader.at));
    }
    let per_mini = block.checked_div(minis).filter(|size| *size > 0 && size.is_multiple_of(8) && block <= 1 << 31);
    let per_mini = per_mini.ok_or(DAMAGED)?;
    let mut lengths = Lengths { last: i128::from(first), sum: i128::from(first) };
    lengths.checked()?;
    let mut left = count - 1;
    while left > 0 {
        let least = reader.signed()?;
        let widths = reader.take(minis)?;
        for width in widths {
            // What is behind the last value need not be there.
            if left == 0 {
                break;
            }
            let some = per_mini.min(left);
            match width {
                0 => lengths.repeat(least, some),
                1..=64 => {
                    let stored = (u128::from(per_mini) * u128::from(*width)).div_ceil(8);
                    let packed = reader.take(u64::try_from(stored).map_err(|_| DAMAGED)?)?;
                    for index in 0..some {
                        lengths.add(i128::from(least) + i128::from(bits(packed, index, *width)));
                    }
                }
                _ => return Err(DAMAGED.to_owned()),
            }
            lengths.checked()?;
            left -= some;
        }
    }
    Ok((u64::try_from(lengths.sum).map_err(|_| DAMAGED)?, reader.at))
}

struct Lengths {
    last: i128,
    sum: i128,
}

impl Lengths {
    fn add(&mut self, difference: i128) {
        self.last += difference;
        self.sum += self.last;
    }

    /// The same difference again and again.
    fn repeat(&mut self, difference: i64, times: u64) {
        let (difference, times) = (i128::from(difference), i128::from(times));
        self.sum += times * self.last + difference * (times * (times + 1) / 2);
        self.last += difference * times;
    }

    /// No length is negative, or more than 31 bits have.
    fn checked(&self) -> Result<(), String> {
        let fits = (0..=i128::from(i32::MAX)).contains(&self.last) && self.sum >= 0 && self.sum <= 1 << 62;
        if fits { Ok(()) } else { Err(DAMAGED.to_owned()) }
    }
}

/// The number of so many bits at this place, the lowest first.
fn bits(packed: &[u8], index: u64, width: u8) -> u64 {
    let start = index * u64::from(width);
    let (byte, shift) = (usize::try_from(start / 8).unwrap_or(usize::MAX), start % 8);
    let mut word = 0_u128;
    for (at, value) in packed.iter().skip(byte).take(9).enumerate() {
        word |= u128::from(*value) << (8 * at);
    }
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    u64::try_from((word >> shift) & u128::from(mask)).unwrap_or(u64::MAX)
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: u64) -> Result<&'b [u8], String> {
        let count = usize::try_from(count).map_err(|_| DAMAGED)?;
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count)).ok_or(DAMAGED)?;
        self.at += count;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DAMAGED.to_owned())
    }

    fn signed(&mut self) -> Result<i64, String> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}
