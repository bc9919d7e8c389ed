//! Writing values. Sizes and counts are written at full width: simple, and read by everybody.

use bytes::{BufMut, Bytes, BytesMut};

/// The elements of a list.
#[derive(Debug, Default)]
pub(crate) struct List {
    body: BytesMut,
    count: u32,
}

impl List {
    pub(crate) fn null(&mut self) -> &mut Self {
        self.put(|body| body.put_u8(0x40))
    }

    pub(crate) fn nulls(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            self.null();
        }
        self
    }

    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.put(|body| body.put_u8(if value { 0x41 } else { 0x42 }))
    }

    pub(crate) fn ubyte(&mut self, value: u8) -> &mut Self {
        self.put(|body| body.put_slice(&[0x50, value]))
    }

    pub(crate) fn ushort(&mut self, value: u16) -> &mut Self {
        self.put(|body| {
            body.put_u8(0x60);
            body.put_u16(value);
        })
    }

    pub(crate) fn uint(&mut self, value: u32) -> &mut Self {
        self.put(|body| {
            body.put_u8(0x70);
            body.put_u32(value);
        })
    }

    pub(crate) fn ulong(&mut self, value: u64) -> &mut Self {
        self.put(|body| {
            body.put_u8(0x80);
            body.put_u64(value);
        })
    }

    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        self.put(|body| string(body, value))
    }

    pub(crate) fn symbol(&mut self, value: &str) -> &mut Self {
        self.put(|body| symbol(body, value))
    }

    pub(crate) fn binary(&mut self, value: &[u8]) -> &mut Self {
        self.put(|body| binary(body, value))
    }

    /// One value that is encoded already.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.put(|body| body.put_slice(value))
    }

    pub(crate) fn finish(&self) -> Bytes {
        compound(0xd0, self.count, &self.body)
    }

    fn put(&mut self, write: impl FnOnce(&mut BytesMut)) -> &mut Self {
        write(&mut self.body);
        self.count += 1;
        self
    }
}

/// The entries of a map.
#[derive(Debug, Default)]
pub(crate) struct Map {
    list: List,
    symbol_keys: bool,
}

impl Map {
    /// Keys are symbols, as annotations have them, not strings.
    pub(crate) fn with_symbol_keys() -> Self {
        Self { list: List::default(), symbol_keys: true }
    }

    pub(crate) fn entry_string(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.list.string(value);
        self
    }

    pub(crate) fn entry_int(&mut self, key: &str, value: i32) -> &mut Self {
        self.key(key);
        self.list.put(|body| {
            body.put_u8(0x71);
            body.put_i32(value);
        });
        self
    }

    pub(crate) fn entry_long(&mut self, key: &str, value: i64) -> &mut Self {
        self.key(key);
        self.list.put(|body| {
            body.put_u8(0x81);
            body.put_i64(value);
        });
        self
    }

    pub(crate) fn entry_timestamp(&mut self, key: &str, milliseconds: i64) -> &mut Self {
        self.key(key);
        self.list.put(|body| {
            body.put_u8(0x83);
            body.put_i64(milliseconds);
        });
        self
    }

    pub(crate) fn entry_boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key);
        self.list.boolean(value);
        self
    }

    pub(crate) fn entry_strings(&mut self, key: &str, values: impl Iterator<Item = String>) -> &mut Self {
        self.key(key);
        self.list.raw(&array(0xb1, values));
        self
    }

    /// Key and value that are encoded already.
    pub(crate) fn raw(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.list.raw(key).raw(value);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.count == 0
    }

    pub(crate) fn finish(&self) -> Bytes {
        compound(0xd1, self.list.count, &self.list.body)
    }

    fn key(&mut self, key: &str) {
        if self.symbol_keys {
            self.list.symbol(key);
        } else {
            self.list.string(key);
        }
    }
}

/// An array of symbols.
pub(crate) fn symbols(values: &[&str]) -> Bytes {
    array(0xb3, values.iter().map(|value| (*value).to_owned()))
}

fn array(constructor: u8, values: impl Iterator<Item = String>) -> Bytes {
    let (mut body, mut count) = (BytesMut::new(), 0);
    body.put_u8(constructor);
    for value in values {
        body.put_u32(value.len() as u32);
        body.put_slice(value.as_bytes());
        count += 1;
    }
    compound(0xf0, count, &body)
}

fn compound(constructor: u8, count: u32, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(body.len() + 9);
    bytes.put_u8(constructor);
    bytes.put_u32(body.len() as u32 + 4);
    bytes.put_u32(count);
    bytes.put_slice(body);
    bytes.freeze()
}

/// `descriptor` applied to a value that is encoded already.
pub(crate) fn described(bytes: &mut BytesMut, descriptor: u8, value: &[u8]) {
    bytes.put_slice(&[0x00, 0x53, descriptor]);
    bytes.put_slice(value);
}

pub(crate) fn string(bytes: &mut BytesMut, value: &str) {
    sized(bytes, 0xa1, 0xb1, value.as_bytes());
}

pub(crate) fn symbol(bytes: &mut BytesMut, value: &str) {
    sized(bytes, 0xa3, 0xb3, value.as_bytes());
}

pub(crate) fn binary(bytes: &mut BytesMut, value: &[u8]) {
    sized(bytes, 0xa0, 0xb0, value);
}

fn sized(bytes: &mut BytesMut, small: u8, large: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => bytes.put_slice(&[small, length]),
        Err(_) => {
            bytes.put_u8(large);
            bytes.put_u32(value.len() as u32);
        }
    }
    bytes.put_slice(value);
}
