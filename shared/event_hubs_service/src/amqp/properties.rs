//! What a sender gave its event, read out of the sections that are kept of a message.

use bytes::Bytes;

use super::{code, decode, message};

/// A value of AMQP's simple types.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    /// `null`.
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `byte`, `short`, `int`, `long`.
    Signed(i64),
    /// `ubyte`, `ushort`, `uint`, `ulong`.
    Unsigned(u64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `string`, `symbol`, `char`.
    Text(String),
    /// `binary`.
    Binary(Bytes),
    /// `timestamp`, in milliseconds since 1970.
    Time(i64),
    /// `uuid`.
    Uuid([u8; 16]),
}

/// The application properties in [`crate::NewEvent::sections`], in order. Decimals and what is damaged are left out.
pub fn properties(sections: &Bytes) -> Vec<(String, Property)> {
    let map = message::section(sections, code::APPLICATION_PROPERTIES).unwrap_or_default();
    let entries = decode::entries(&map).unwrap_or_default();
    entries.iter().filter_map(|(key, value)| Some((decode::text(key)?.to_owned(), property(value)?))).collect()
}

fn property(value: &Bytes) -> Option<Property> {
    let body = value.get(1..)?;
    Some(match *value.first()? {
        0x40 => Property::Null,
        0x41 | 0x42 | 0x56 => Property::Boolean(decode::boolean(value)?),
        0x43 | 0x44 | 0x50 | 0x52 | 0x53 | 0x60 | 0x70 | 0x80 => Property::Unsigned(decode::unsigned(value)?),
        0x51 | 0x54 | 0x55 | 0x61 | 0x71 | 0x81 => Property::Signed(decode::signed(value)?),
        0x72 => Property::Float(f32::from_be_bytes(body.try_into().ok()?)),
        0x73 => Property::Text(char::from_u32(u32::from_be_bytes(body.try_into().ok()?))?.to_string()),
        0x82 => Property::Double(f64::from_be_bytes(body.try_into().ok()?)),
        0x83 => Property::Time(decode::signed(value)?),
        0x98 => Property::Uuid(body.try_into().ok()?),
        0xa0 | 0xb0 => Property::Binary(decode::binary(value)?),
        _ => Property::Text(decode::text(value)?.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::amqp::encode;

    #[test]
    fn every_simple_type() {
        let mut map = encode::Map::default();
        let mut put = |name: &str, value: &[u8]| {
            let key = [&[0xa1, name.len() as u8], name.as_bytes()].concat();
            map.raw(&key, value);
        };
        put("null", &[0x40]);
        put("bool", &[0x41]);
        put("ubyte", &[0x50, 200]);
        put("int", &[0x54, 0xfe]);
        put("float", &[0x72, 0x3f, 0x80, 0, 0]);
        put("char", &[0x73, 0, 0, 0, b'c']);
        put("time", &[0x83, 0, 0, 0, 0, 0, 0, 3, 232]);
        put("binary", &[0xa0, 1, 9]);
        put("symbol", &[0xa3, 1, b's']);
        put("decimal", &[0x74, 0, 0, 0, 0]);
        let mut sections = BytesMut::new();
        encode::described(&mut sections, code::APPLICATION_PROPERTIES, &map.finish());
        let expected = [
            ("null", Property::Null),
            ("bool", Property::Boolean(true)),
            ("ubyte", Property::Unsigned(200)),
            ("int", Property::Signed(-2)),
            ("float", Property::Float(1.0)),
            ("char", Property::Text("c".to_owned())),
            ("time", Property::Time(1_000)),
            ("binary", Property::Binary(Bytes::from_static(&[9]))),
            ("symbol", Property::Text("s".to_owned())),
        ];
        assert_eq!(properties(&sections.freeze()), expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(properties(&Bytes::from_static(&[0, 0x53, 0x74, 0xc1])).is_empty());
    }
}
