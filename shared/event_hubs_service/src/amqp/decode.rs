//! Reading values that are still encoded. A compound is opened one level at a time and only where somebody looks, so
//! reading neither recurses nor copies; every length is checked against what is there.

use bytes::Bytes;

use super::Malformed;

const DESCRIBED: u8 = 0x00;
const TOO_SHORT: Malformed = Malformed("a value ends early");

/// The length of the encoded value that `bytes` begins with.
pub(crate) fn value_len(bytes: &[u8]) -> Result<usize, Malformed> {
    let (mut at, mut open) = (0_usize, 1_usize);
    while open > 0 {
        let code = *bytes.get(at).ok_or(TOO_SHORT)?;
        at += 1;
        if code == DESCRIBED {
            // A descriptor and a value follow.
            open += 1;
            continue;
        }
        at = at.checked_add(body_len(code, &bytes[at..])?).ok_or(TOO_SHORT)?;
        if at > bytes.len() {
            return Err(TOO_SHORT);
        }
        open -= 1;
    }
    Ok(at)
}

/// Bytes that follow the constructor: the size field and what it counts.
fn body_len(code: u8, rest: &[u8]) -> Result<usize, Malformed> {
    let small = || rest.first().map(|size| usize::from(*size) + 1).ok_or(TOO_SHORT);
    let large = || {
        let size = rest.get(..4).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes).ok_or(TOO_SHORT)?;
        (size as usize).checked_add(4).ok_or(TOO_SHORT)
    };
    match code >> 4 {
        0x4 => Ok(0),
        0x5 => Ok(1),
        0x6 => Ok(2),
        0x7 => Ok(4),
        0x8 => Ok(8),
        0x9 => Ok(16),
        0xa | 0xc | 0xe => small(),
        0xb | 0xd | 0xf => large(),
        _ => Err(Malformed("a value has an unknown constructor")),
    }
}

/// Cuts the value off that `bytes` begins with.
pub(crate) fn take(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = value_len(bytes)?;
    Ok(bytes.split_to(length))
}

/// The elements of a list, or the keys and values of a map in turn. Not of an array.
pub(crate) fn elements(value: &Bytes) -> Result<Vec<Bytes>, Malformed> {
    let not_compound = Malformed("a list or a map was expected");
    let (header, count) = match value.first() {
        Some(0x45) => return Ok(Vec::new()),
        Some(0xc0 | 0xc1) => (3, usize::from(*value.get(2).ok_or(TOO_SHORT)?)),
        Some(0xd0 | 0xd1) => {
            let count = value.get(5..9).and_then(|count| count.try_into().ok()).map(u32::from_be_bytes);
            (9, count.ok_or(TOO_SHORT)? as usize)
        }
        _ => return Err(not_compound),
    };
    if value_len(value)? != value.len() || value.len() < header {
        return Err(TOO_SHORT);
    }
    let mut rest = value.slice(header..);
    // Every element takes a byte at least: a count beyond that is a lie, and would be memory.
    if count > rest.len() {
        return Err(Malformed("a list counts more than it holds"));
    }
    let elements = (0..count).map(|_| take(&mut rest)).collect::<Result<Vec<_>, _>>()?;
    if rest.is_empty() { Ok(elements) } else { Err(Malformed("a list holds more than it counts")) }
}

/// Keys and values of a map; of null none.
pub(crate) fn entries(value: &Bytes) -> Result<Vec<(Bytes, Bytes)>, Malformed> {
    if is_null(value) {
        return Ok(Vec::new());
    }
    if !matches!(value.first(), Some(0xc1 | 0xd1)) {
        return Err(Malformed("a map was expected"));
    }
    let elements = elements(value)?;
    if !elements.len().is_multiple_of(2) {
        return Err(Malformed("a map has a key without a value"));
    }
    let mut elements = elements.into_iter();
    let mut entries = Vec::with_capacity(elements.len() / 2);
    while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
        entries.push((key, value));
    }
    Ok(entries)
}

/// The value under a key that is a string or a symbol.
pub(crate) fn entry(map: &Bytes, key: &str) -> Option<Bytes> {
    let entries = entries(map).ok()?;
    entries.into_iter().find(|(name, _)| text(name) == Some(key)).map(|(_, value)| value)
}

/// Descriptor and value of a described value.
pub(crate) fn described(value: &Bytes) -> Option<(Bytes, Bytes)> {
    if value.first() != Some(&DESCRIBED) {
        return None;
    }
    let mut rest = value.slice(1..);
    let descriptor = take(&mut rest).ok()?;
    let inner = take(&mut rest).ok()?;
    rest.is_empty().then_some((descriptor, inner))
}

/// Numeric descriptor and value at the front of `bytes`, cut off: a performative or a section.
pub(crate) fn take_described(bytes: &mut Bytes) -> Result<(u64, Bytes), Malformed> {
    let whole = take(bytes)?;
    let (descriptor, value) = described(&whole).ok_or(Malformed("a described value was expected"))?;
    let code = unsigned(&descriptor).ok_or(Malformed("a descriptor is no number"))?;
    Ok((code, value))
}

pub(crate) fn is_null(value: &[u8]) -> bool {
    value.first() == Some(&0x40)
}

/// Any unsigned integer.
pub(crate) fn unsigned(value: &[u8]) -> Option<u64> {
    let body = value.get(1..)?;
    match *value.first()? {
        0x43 | 0x44 => Some(0),
        0x50 | 0x52 | 0x53 => Some(u64::from(*body.first()?)),
        0x60 => Some(u64::from(u16::from_be_bytes(body.get(..2)?.try_into().ok()?))),
        0x70 => Some(u64::from(u32::from_be_bytes(body.get(..4)?.try_into().ok()?))),
        0x80 => Some(u64::from_be_bytes(body.get(..8)?.try_into().ok()?)),
        _ => None,
    }
}

/// An unsigned integer of 32 bits.
pub(crate) fn uint(value: &[u8]) -> Option<u32> {
    unsigned(value)?.try_into().ok()
}

/// Any integer, or a timestamp.
pub(crate) fn signed(value: &[u8]) -> Option<i64> {
    let body = value.get(1..)?;
    match *value.first()? {
        0x51 | 0x54 | 0x55 => Some(i64::from(i8::from_be_bytes([*body.first()?]))),
        0x61 => Some(i64::from(i16::from_be_bytes(body.get(..2)?.try_into().ok()?))),
        0x71 => Some(i64::from(i32::from_be_bytes(body.get(..4)?.try_into().ok()?))),
        0x81 | 0x83 => Some(i64::from_be_bytes(body.get(..8)?.try_into().ok()?)),
        _ => unsigned(value)?.try_into().ok(),
    }
}

pub(crate) fn boolean(value: &[u8]) -> Option<bool> {
    match *value.first()? {
        0x41 => Some(true),
        0x42 => Some(false),
        0x56 => Some(*value.get(1)? != 0),
        _ => None,
    }
}

/// A string or a symbol.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let body = match *value.first()? {
        0xa1 | 0xa3 => value.get(2..),
        0xb1 | 0xb3 => value.get(5..),
        _ => None,
    };
    std::str::from_utf8(body?).ok()
}

pub(crate) fn binary(value: &Bytes) -> Option<Bytes> {
    match *value.first()? {
        0xa0 if value.len() >= 2 => Some(value.slice(2..)),
        0xb0 if value.len() >= 5 => Some(value.slice(5..)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amqp::encode::{List, Map};

    #[test]
    fn whatever_comes_is_refused_or_read_and_never_more_than_is_there() {
        let bombs: [&[u8]; 7] = [
            &[0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
            &[0xc0, 1, 200],
            &[0xd0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
            &[0xb0, 0xff, 0xff, 0xff, 0xff],
            &[0x00, 0x00, 0x00],
            &[0xc0],
            &[0xc1, 2, 1, 0x40],
        ];
        for bomb in bombs {
            let bomb = Bytes::from_static(bomb);
            assert!(value_len(&bomb).is_err() || elements(&bomb).is_err() || entries(&bomb).is_err(), "{bomb:?}");
        }
        // As deep as a message may be long: the stack must not know.
        let described = Bytes::from(vec![0_u8; 1 << 20]);
        assert_eq!(value_len(&described), Err(TOO_SHORT));
    }

    #[test]
    fn reads_what_was_written() {
        let mut map = Map::default();
        map.entry_string("a", "x").entry_long("b", -7);
        let mut list = List::default();
        list.uint(7).null().boolean(true).string("text").raw(&map.finish()).ulong(1 << 40).binary(&[1, 2]);
        let items = elements(&list.finish()).unwrap();
        assert_eq!((uint(&items[0]), is_null(&items[1]), boolean(&items[2])), (Some(7), true, Some(true)));
        assert_eq!((text(&items[3]), unsigned(&items[5])), (Some("text"), Some(1 << 40)));
        assert_eq!(binary(&items[6]).unwrap(), &[1, 2][..]);
        assert_eq!(text(&entry(&items[4], "a").unwrap()), Some("x"));
        assert_eq!(signed(&entry(&items[4], "b").unwrap()), Some(-7));
        assert_eq!(entry(&items[4], "c"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = (value_len(&bytes), elements(&bytes), entries(&bytes), described(&bytes), take_described(&mut bytes.clone()));
            let _ = (unsigned(&bytes), signed(&bytes), boolean(&bytes), text(&bytes).map(str::len), binary(&bytes));
        }
    }
}
