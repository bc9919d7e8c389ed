//! Messages of the queue `tasks`, judged as `run_task` judges them before it carries one out. Pure: the tests and the fuzz
//! targets ask it without a process around them.

use weir_contract::Contracts;

use crate::error::AppError;
use crate::pipeline::checked;
use crate::signed::TaskKeys;

/// The task of a message, as this version writes it, if it would be carried out.
///
/// `keys` is the text of `WEIR_TASK_KEY`; without it nothing has to be signed. `now_ms`: milliseconds since 1970.
///
/// # Errors
/// Why it is refused; the text is what is logged and parked.
pub fn judge(message: &[u8], contracts: &Contracts, keys: Option<&str>, now_ms: i64) -> Result<String, String> {
    let judged = || {
        let keys = keys.map(TaskKeys::from_text).transpose()?.unwrap_or_default();
        let task = keys.open(message, now_ms)?;
        checked::check(contracts, &task)?;
        task.encode()
    };
    judged().map_err(|error: AppError| error.to_string())
}
