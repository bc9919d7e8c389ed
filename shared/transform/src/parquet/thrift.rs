//! Thrift's compact protocol, as far as bounds have to be known before a library allocates: what headers of pages claim,
//! and how large and how deep a footer is.

/// Types on the wire.
pub(super) const I32: u8 = 5;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;
pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
/// Nothing that Parquet defines is nested deeper.
const DEPTH: u8 = 24;

/// The bytes are no such message, or it goes on behind their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type Read<T> = Result<T, Malformed>;

#[derive(Debug)]
pub(super) struct Thrift<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Elements of lists so far, at every depth.
    pub(super) elements: usize,
}

impl<'b> Thrift<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, elements: 0 }
    }

    /// Bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Read<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    pub(super) fn integer(&mut self) -> Read<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        i32::try_from(self.integer()?).map_err(|_| Malformed)
    }

    /// The type of the next field, whose number is put into `id`; `None` at the end of the struct.
    pub(super) fn field(&mut self, id: &mut i64) -> Read<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *id = match byte >> 4 {
            0 => self.integer()?,
            step => id.saturating_add(i64::from(step)),
        };
        Ok(Some(byte & 0x0f))
    }

    /// Type and number of the elements that follow.
    pub(super) fn list(&mut self) -> Read<(u8, usize)> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => usize::try_from(self.varint()?).map_err(|_| Malformed)?,
            count => usize::from(count),
        };
        // Each takes at least a byte.
        if count > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        self.elements += count;
        Ok((byte & 0x0f, count))
    }

    /// Passes over a field's value.
    pub(super) fn skip(&mut self, kind: u8) -> Read<()> {
        self.skip_at(kind, 0)
    }

    fn skip_at(&mut self, kind: u8, depth: u8) -> Read<()> {
        if depth > DEPTH {
            return Err(Malformed);
        }
        match kind {
            TRUE | FALSE => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            8 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                self.advance(length)
            }
            LIST | 10 => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| match kind {
                    TRUE | FALSE => self.byte().map(drop),
                    kind => self.skip_at(kind, depth + 1),
                })
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip_at(kind, depth + 1)?;
                }
                Ok(())
            }
            // Parquet has no maps.
            _ => Err(Malformed),
        }
    }

    fn advance(&mut self, length: usize) -> Read<()> {
        if length > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        self.at += length;
        Ok(())
    }
}
