//! What bytes are by their first few, so that a blob that is something else than its contract says becomes one refused
//! record that tells what to do, and not a million of garbage.

use crate::blob::Blob;
use crate::error::IntakeError;

/// No signature is longer.
pub(crate) const HEAD_BYTES: usize = 16;

/// What a blob begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    Gzip,
    Zstd,
    Zip,
    Bzip2,
    Xz,
    Parquet,
    Avro,
    Pdf,
    Utf32,
    /// Text, or nothing that is known here.
    Other,
}

impl Magic {
    /// By bytes that no text has: a CSV may well begin with the word `PAR1`.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // The first page's header follows, in Thrift: a field 1 of type i32.
            [b'P', b'A', b'R', b'1', 0x15, ..] => Self::Parquet,
            [b'P', b'A', b'R', b'1'] => Self::Parquet,
            [b'O', b'b', b'j', 1, ..] => Self::Avro,
            [b'%', b'P', b'D', b'F', b'-', b'1'..=b'2', b'.', ..] => Self::Pdf,
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Self::Utf32,
            _ => Self::Other,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "a gzip stream",
            Self::Zstd => "a zstd stream",
            Self::Zip => "a zip archive",
            Self::Bzip2 => "a bzip2 stream",
            Self::Xz => "an xz stream",
            Self::Parquet => "a Parquet file",
            Self::Avro => "an Avro file",
            Self::Pdf => "a PDF document",
            Self::Utf32 => "UTF-32 text",
            Self::Other => "something else",
        }
    }

    /// Why this is no text, and what to do; `None` when it may be text. `within` is the stream that it was unpacked from.
    pub(crate) fn not_text(self, within: Option<Magic>) -> Option<String> {
        let (name, outer) = (self.name(), within.map(Self::name));
        Some(match (self, outer) {
            (Self::Other, _) => return None,
            (Self::Gzip | Self::Zstd, None) => {
                format!("looks like {name}: set `[format] compression` to \"auto\", or leave it out")
            }
            (Self::Gzip | Self::Zstd, Some(outer)) => {
                format!("looks like {name} within {outer}: compress it once")
            }
            (Self::Parquet, None) => format!("looks like {name}: set `[format] type` to \"parquet\""),
            (Self::Avro, None) => format!("looks like {name}: set `[format] type` to \"avro\""),
            (Self::Parquet | Self::Avro, Some(outer)) => {
                format!("looks like {name} within {outer}: it compresses its own contents, so store it as it is")
            }
            (Self::Zip | Self::Bzip2 | Self::Xz, _) => {
                format!("looks like {name}: store what is in it, plain, or compressed with gzip or zstd")
            }
            (Self::Utf32, _) => format!("looks like {name}: convert it to UTF-8"),
            (Self::Pdf, _) => format!("looks like {name}: no format here can read it"),
        })
    }

    /// Why a blob that begins as this is not the `wanted`.
    pub(crate) fn instead_of(self, wanted: Magic) -> String {
        let remedy = match wanted {
            Self::Gzip | Self::Zstd => "set `[format] compression` to \"auto\", or leave it out",
            _ => "set `[format] type` to what it is",
        };
        format!("not {}, it looks like {}: {remedy}", wanted.name(), self.name())
    }

    /// Whether bytes that begin so, and may go on, may become this.
    pub(crate) fn may_become(self, head: &[u8]) -> bool {
        let signature: &[u8] = match self {
            Self::Gzip => &[0x1f, 0x8b],
            Self::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            _ => &[],
        };
        head.len() < signature.len() && signature.starts_with(head)
    }
}

impl Blob {
    /// Why the blob cannot be what the contract says (Parquet, Avro): it begins as something else. `None` when it begins
    /// well.
    pub async fn refusal(&self, wanted: Magic) -> Result<Option<String>, IntakeError> {
        if self.size() == 0 {
            return Ok(Some(format!("not {}: the blob is empty", wanted.name())));
        }
        let head = self.read(0..HEAD_BYTES as u64).await?;
        let found = Magic::of(&head);
        // The signature alone counts here: there are writers of Parquet that pad before their first page.
        let begins = wanted == Magic::Parquet && head.starts_with(b"PAR1");
        Ok((found != wanted && !begins).then(|| found.instead_of(wanted)))
    }
}
