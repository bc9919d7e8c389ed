//! Kinds that show by bytes which no JSON text has.

use super::Looks;

/// Ids of Confluent's registry are counted; a larger number is no id.
const MOST_SCHEMAS: u32 = 100_000_000;
/// Field numbers that people give; the format allows half a billion.
const MOST_FIELDS: u64 = 50_000;

/// What begins, or is written throughout, as nothing else is.
pub(super) fn of(record: &[u8]) -> Option<Looks> {
    Some(match record {
        [] => Looks::Empty,
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Looks::Utf32,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Looks::Utf16,
        [0x1f, 0x8b, ..] => Looks::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Looks::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Looks::Lz4,
        [0xff, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => Looks::Snappy,
        [b'P', b'K', 3, 4, ..] => Looks::Zip,
        [b'P', b'A', b'R', b'1', 0x15, ..] => Looks::Parquet,
        [b'O', b'b', b'j', 1, ..] => Looks::AvroFile,
        [0xc3, 0x01, rest @ ..] if rest.len() >= 8 => Looks::AvroSingle,
        [b'x', second, _, ..] if is_zlib(*second) && !is_mostly_text(record) => Looks::Zlib,
        _ => return wide(record).or_else(|| registry(record)),
    })
}

/// CM 8, window 32 KiB: the four levels that there are.
fn is_zlib(second: u8) -> bool {
    matches!(second, 0x01 | 0x5e | 0x9c | 0xda)
}

/// Text of two or four bytes a character, mostly of ASCII ones.
fn wide(record: &[u8]) -> Option<Looks> {
    let every = |width: usize, at: usize| {
        let (mut units, mut wide) = (0_usize, 0_usize);
        for unit in record.chunks_exact(width) {
            let is_wide = unit.iter().enumerate().all(|(index, byte)| (index == at) == (*byte != 0));
            (units, wide) = (units + 1, wide + usize::from(is_wide));
        }
        units >= 2 && record.len().is_multiple_of(width) && wide * 4 >= units * 3
    };
    if every(4, 0) || every(4, 3) {
        return Some(Looks::Utf32);
    }
    (every(2, 0) || every(2, 1)).then_some(Looks::Utf16)
}

/// What serializers of schema registries put before a value.
fn registry(record: &[u8]) -> Option<Looks> {
    if let [0, 0, 0, 0, rest @ ..] = record
        && let Some(id) = rest.get(..32).and_then(hex)
    {
        return Some(Looks::AzureRegistry(id));
    }
    let [0, a, b, c, d, rest @ ..] = record else { return None };
    let id = u32::from_be_bytes([*a, *b, *c, *d]);
    match rest.first() {
        _ if id == 0 || id > MOST_SCHEMAS => None,
        Some(b'{') => Some(Looks::ConfluentJson(id)),
        _ => Some(Looks::Confluent(id)),
    }
}

/// 32 hexadecimal digits.
pub(super) fn hex(digits: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.len() == 32)?;
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) { u128::from_str_radix(text, 16).ok() } else { None }
}

/// No control character but those of text, and most bytes ASCII.
pub(super) fn is_mostly_text(record: &[u8]) -> bool {
    let is_control = |byte: &u8| (*byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || *byte == 0x7f;
    let ascii = record.iter().filter(|byte| byte.is_ascii()).count();
    !record.iter().any(is_control) && ascii * 2 > record.len()
}

/// Binary without a signature.
pub(super) fn unnamed(record: &[u8]) -> Looks {
    match record {
        [length @ .., 0] if is_bson(length, record.len()) => Looks::Bson,
        [0x80..=0x8f, 0xa0..=0xbf, ..] | [0xde, _, _, 0xa0..=0xbf, ..] => Looks::MessagePack,
        [0xa0..=0xbb, 0x60..=0x7b, ..] | [0xbf, 0x60..=0x7b, ..] => Looks::Cbor,
        _ if is_protobuf(record) => Looks::Protobuf,
        _ => Looks::Binary,
    }
}

fn is_bson(record: &[u8], size: usize) -> bool {
    let length = record.first_chunk::<4>().map(|length| u32::from_le_bytes(*length));
    size >= 5 && length.is_some_and(|length| length as usize == size)
}

/// Whether the whole reads as fields: a number that people give, and a value that fits. Anything short does by chance.
fn is_protobuf(record: &[u8]) -> bool {
    let (mut at, mut fields) = (0, 0);
    while at < record.len() {
        let Some(tag) = varint(record, &mut at) else { return false };
        if !(1..=MOST_FIELDS).contains(&(tag >> 3)) {
            return false;
        }
        let end = match tag & 7 {
            0 => varint(record, &mut at).map(|_| at),
            1 => at.checked_add(8),
            2 => varint(record, &mut at).and_then(|length| at.checked_add(usize::try_from(length).ok()?)),
            5 => at.checked_add(4),
            _ => None,
        };
        match end.filter(|end| *end <= record.len()) {
            Some(end) => at = end,
            None => return false,
        }
        fields += 1;
    }
    fields > 0
}

fn varint(record: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *record.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
