//! Thrift's compact protocol, written: what a Parquet file's footer and the headers of its pages are made of.

/// A struct in the making. Fields come in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Struct {
    out: Vec<u8>,
    last: i16,
}

impl Struct {
    fn field(&mut self, id: i16, kind: u8) {
        match u8::try_from(id - self.last) {
            Ok(step @ 1..=15) => self.out.push(step << 4 | kind),
            _ => {
                self.out.push(kind);
                varint(&mut self.out, zigzag(id.into()));
            }
        }
        self.last = id;
    }

    pub(crate) fn bool(mut self, id: i16, value: bool) -> Self {
        self.field(id, if value { 1 } else { 2 });
        self
    }

    pub(crate) fn i32(mut self, id: i16, value: i32) -> Self {
        self.field(id, 5);
        varint(&mut self.out, zigzag(value.into()));
        self
    }

    pub(crate) fn some_i32(self, id: i16, value: Option<i32>) -> Self {
        match value {
            Some(value) => self.i32(id, value),
            None => self,
        }
    }

    pub(crate) fn i64(mut self, id: i16, value: i64) -> Self {
        self.field(id, 6);
        varint(&mut self.out, zigzag(value));
        self
    }

    pub(crate) fn bytes(mut self, id: i16, value: &[u8]) -> Self {
        self.field(id, 8);
        varint(&mut self.out, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    pub(crate) fn inner(mut self, id: i16, value: &[u8]) -> Self {
        self.field(id, 12);
        self.out.extend_from_slice(value);
        self
    }

    fn list(&mut self, id: i16, kind: u8, count: usize) {
        self.field(id, 9);
        if count < 15 {
            self.out.push((count as u8) << 4 | kind);
        } else {
            self.out.push(0xf0 | kind);
            varint(&mut self.out, count as u64);
        }
    }

    pub(crate) fn structs(mut self, id: i16, values: &[Vec<u8>]) -> Self {
        self.list(id, 12, values.len());
        values.iter().for_each(|value| self.out.extend_from_slice(value));
        self
    }

    pub(crate) fn i32s(mut self, id: i16, values: &[i32]) -> Self {
        self.list(id, 5, values.len());
        values.iter().for_each(|value| varint(&mut self.out, zigzag((*value).into())));
        self
    }

    pub(crate) fn texts(mut self, id: i16, values: &[&str]) -> Self {
        self.list(id, 8, values.len());
        for value in values {
            varint(&mut self.out, value.len() as u64);
            self.out.extend_from_slice(value.as_bytes());
        }
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.out.push(0);
        self.out
    }
}

pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
