//! What fires functions. Each loop settles its trigger (deletes the message, writes the checkpoint) only after the
//! handler has answered, and leaves it unsettled when the host is going down.

pub(crate) mod backoff;
pub(crate) mod event_hub;
pub(crate) mod landing;
pub(crate) mod queue;
pub(crate) mod timer;

use chrono::Utc;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    config::Function,
    envelope::Metadata,
    host::Core,
    invoke::{Invocation, InvocationReport, TriggerDetail},
};

/// Runs a function as often as its retry policy allows. None: the host is going down and the last attempt failed, so
/// the trigger must not be settled.
pub(crate) async fn run_with_retries(
    core: &Core,
    function: &Function,
    trigger: &TriggerDetail,
    envelope: impl Fn(Metadata) -> Value,
) -> Option<InvocationReport> {
    let mut failure = None;
    for retry in 0.. {
        let mut metadata = Metadata::new(&function.name, Utc::now(), Uuid::new_v4());
        if let Some(policy) = &function.retry {
            metadata.retry(policy, retry, failure.as_deref());
        }
        let invocation = Invocation { function, trigger: trigger.clone(), attempt: retry + 1 };
        let (report, _) = core.invoker.invoke(invocation, &envelope(metadata)).await;
        if report.ok {
            return Some(report);
        }
        if core.invoker.stopping() {
            return None;
        }
        failure.clone_from(&report.error);
        let jitter = rand::random_range(0.8..1.2);
        let Some(delay) = function.retry.as_ref().and_then(|policy| policy.delay(retry, jitter)) else {
            return Some(report);
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = core.stopped() => return None,
        }
    }
    None
}
