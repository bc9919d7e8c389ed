//! `weir key`: 32 random bytes, as `WEIR_PSEUDONYM_KEY` takes them.

use std::process::ExitCode;

use anyhow::Result;
use data_encoding::BASE64;

use super::say;

pub(crate) fn run() -> Result<ExitCode> {
    say(BASE64.encode(&rand::random::<[u8; 32]>()));
    Ok(ExitCode::SUCCESS)
}
