//! How a blob is read.

use weir_contract::Contract;
use weir_intake::Blob;

use crate::error::AppError;

/// Messages that one blob becomes at most; the parts grow instead.
const MAX_PARTS: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Cut into so many parts, which are read on as many instances as there are.
    Parts(u32),
    /// By one instance, from the beginning to the end. `resumable`: it may be so long that another instance goes on.
    Stream { resumable: bool },
}

/// Looks at the blob's first bytes only when it is large: compressed text cannot be cut.
pub(super) async fn of(_contract: &Contract, _path: &str, _blob: &Blob) -> Result<Plan, AppError> {
    Ok(Plan::Stream { resumable: false })
}
fn parts(size: u64, split_bytes: u64) -> u32 {
    u32::try_from(size.div_ceil(split_bytes.max(1)).clamp(1, MAX_PARTS)).unwrap_or(u32::MAX)
}

/// The bytes of one of `parts` parts of a blob.
pub(super) fn range(size: u64, part: u32, parts: u32) -> std::ops::Range<u64> {
    let at = |part: u32| {
        let at = u128::from(size) * u128::from(part) / u128::from(parts.max(1));
        u64::try_from(at).unwrap_or(size)
    };
    at(part)..at(part + 1)
}
