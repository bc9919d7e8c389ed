//! Messages of the queue `tasks`, signed: whoever may write to the queue cannot make up work.
//!
//! A signed message is `{"task": <the task's JSON, as text>, "made_ms": …, "mac": …}`, where `mac` is HMAC-SHA-256 over the
//! time and that very text. So nothing has to be written the same way twice to be checked. Carrying out a task a second
//! time changes nothing, so a message that is put back is harmless as long as it counts: two weeks, which is a message's
//! life in `tasks` and then in `tasks-poison`.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::AppError;
use crate::tasks::Task;

/// What the key is used for; another use of the same key would have another text.
const PURPOSE: &[u8] = b"weir task 1";
/// Seven days in a queue, seven more in its poison queue, and one for clocks.
const MAX_AGE_MS: i64 = 15 * 24 * 3600 * 1000;
/// Clocks of two instances differ by less.
const MAX_AHEAD_MS: i64 = 3600 * 1000;
/// Keys that count at a time: the one that signs, and the one before it.
const MAX_KEYS: usize = 2;
/// Fewer different bytes are no random key.
const MIN_DIFFERENT: usize = 16;

/// The keys of `WEIR_TASK_KEY`: the first signs, all of them count. Without any, nothing is signed and messages are
/// judged by what they ask for alone.
#[derive(Clone, Default)]
pub(crate) struct TaskKeys {
    macs: Vec<Hmac<Sha256>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    task: String,
    made_ms: i64,
    mac: String,
}

impl TaskKeys {
    /// One key, or two parted by a comma: 32 bytes each, hex or base64.
    pub(crate) fn from_text(text: &str) -> Result<Self, AppError> {
        let macs = text.split(',').map(key).collect::<Result<Vec<_>, _>>()?;
        if macs.len() > MAX_KEYS {
            return Err(AppError::TaskKey { problem: "has more than two keys: the new one and the one before it" });
        }
        Ok(Self { macs })
    }

    pub(crate) fn are_set(&self) -> bool {
        !self.macs.is_empty()
    }

    /// The message of a task.
    pub(crate) fn seal(&self, task: &Task, now_ms: i64) -> Result<String, AppError> {
        let task = task.encode()?;
        let Some(mac) = self.macs.first() else { return Ok(task) };
        let mac = HEXLOWER_PERMISSIVE.encode(&over(mac, now_ms, &task).finalize().into_bytes());
        serde_json::to_string(&Signed { task, made_ms: now_ms, mac })
            .map_err(|error| AppError::Task { message: error.to_string() })
    }

    /// The task of a message.
    ///
    /// # Errors
    /// For a message that is none, that nobody signed who has a key, or that is too old.
    pub(crate) fn open(&self, message: &[u8], now_ms: i64) -> Result<Task, AppError> {
        let Ok(signed) = serde_json::from_slice::<Signed>(message) else {
            // An unreadable message is told so, whether it should have been signed or not.
            let task = Task::decode(message)?;
            return if self.are_set() { Err(AppError::Unsigned { problem: "is not signed" }) } else { Ok(task) };
        };
        if self.are_set() {
            self.check(&signed, now_ms)?;
        }
        Task::decode(signed.task.as_bytes())
    }

    fn check(&self, signed: &Signed, now_ms: i64) -> Result<(), AppError> {
        let given = HEXLOWER_PERMISSIVE.decode(signed.mac.as_bytes()).unwrap_or_default();
        // Compared in constant time.
        let counts = |mac: &Hmac<Sha256>| over(mac, signed.made_ms, &signed.task).verify_slice(&given).is_ok();
        if !self.macs.iter().any(counts) {
            return Err(AppError::Unsigned { problem: "is signed with a key that does not count (any more)" });
        }
        let age_ms = now_ms.saturating_sub(signed.made_ms);
        if !(-MAX_AHEAD_MS..=MAX_AGE_MS).contains(&age_ms) {
            return Err(AppError::Unsigned { problem: "was signed more than two weeks ago, or in the future" });
        }
        Ok(())
    }
}

fn over(mac: &Hmac<Sha256>, made_ms: i64, task: &str) -> Hmac<Sha256> {
    let mut mac = mac.clone();
    mac.update(PURPOSE);
    mac.update(&made_ms.to_be_bytes());
    mac.update(task.as_bytes());
    mac
}

fn key(text: &str) -> Result<Hmac<Sha256>, AppError> {
    let wrong = |problem| AppError::TaskKey { problem };
    let text = text.trim().as_bytes();
    let decoded = match text.len() {
        64 => HEXLOWER_PERMISSIVE.decode(text).ok(),
        _ => [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD].iter().find_map(|known| known.decode(text).ok()),
    };
    let bytes = decoded.filter(|bytes| bytes.len() == 32).ok_or(wrong("is not 32 bytes in hex or base64"))?;
    let mut different = bytes.clone();
    different.sort_unstable();
    different.dedup();
    if different.len() < MIN_DIFFERENT {
        return Err(wrong("is no random key: `openssl rand -base64 32` makes one"));
    }
    Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_| wrong("is not usable with HMAC-SHA-256"))
}

impl fmt::Debug for TaskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskKeys({})", self.macs.len())
    }
}
