//! Where in a block the next value begins.

use super::schema::{Number, Schema};

/// Why no more of a block is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes do not fit the schema.
    Damaged,
    /// The allowance is used up.
    TooMuch,
    /// Nobody waits any more.
    Stopped,
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

pub(crate) struct Cursor<'d> {
    bytes: &'d [u8],
    at: usize,
}

impl<'d> Cursor<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'d [u8]> {
        let taken = self.bytes[self.at..].get(..count).ok_or(Fault::Damaged)?;
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Fault::Damaged)
    }

    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Fault::Damaged)
    }

    pub(crate) fn int(&mut self) -> Result<i32> {
        i32::try_from(self.long()?).map_err(|_| Fault::Damaged)
    }

    pub(crate) fn number(&mut self, number: Number) -> Result<i64> {
        match number {
            Number::Int => self.int().map(i64::from),
            Number::Long => self.long(),
        }
    }

    /// A number that counts, or points to something.
    pub(crate) fn index(&mut self) -> Result<usize> {
        usize::try_from(self.long()?).map_err(|_| Fault::Damaged)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'d [u8]> {
        let length = self.index()?;
        self.take(length)
    }

    pub(crate) fn branch<'s>(&mut self, branches: &'s [Schema]) -> Result<&'s Schema> {
        branches.get(self.index()?).ok_or(Fault::Damaged)
    }

    /// How many items the next block of an array or a map says it has; 0 ends it. Items of no bytes are possible: who
    /// reads them pays for each.
    pub(crate) fn items(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            self.long()?; // its bytes
        }
        Ok(count.unsigned_abs())
    }
}
