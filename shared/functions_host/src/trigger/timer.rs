//! timerTrigger: no overlap with itself, a missed run is caught up at start, the schedule status survives restarts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::{
    config::{Function, TimerTrigger},
    envelope,
    error::HostError,
    host::Core,
    invoke::{InvocationReport, TriggerDetail},
    store::{ScheduleStatus, replace_file},
    trigger::run_with_retries,
};

#[derive(Debug)]
pub(crate) struct Timer {
    function: Arc<Function>,
    trigger: TimerTrigger,
    path: PathBuf,
    /// None where the host keeps no status. Held during a run, so that runs do not overlap.
    status: Mutex<Option<ScheduleStatus>>,
}

impl Timer {
    /// Reads the status in `path`, or begins one.
    pub(crate) fn open(function: Arc<Function>, trigger: TimerTrigger, path: PathBuf) -> Result<Self, HostError> {
        let now = Utc::now();
        let kept = match std::fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).ok(),
            Err(_) => None,
        };
        let begun = || trigger.schedule.next(now).map(|next| ScheduleStatus { last: None, next, last_updated: now });
        let status = if trigger.monitor { kept.or_else(begun) } else { None };
        let timer = Self { function, trigger, path, status: Mutex::new(None) };
        timer.save(status.as_ref())?;
        Ok(Self { status: Mutex::new(status), ..timer })
    }

    /// Runs it by hand, after a run that is under way. The schedule status stays as it is.
    pub(crate) async fn run_now(&self, core: &Core) -> Result<InvocationReport, HostError> {
        let status = self.status.lock().await;
        self.invoke(core, status.as_ref(), false).await
    }

    /// Runs it on schedule until the host stops.
    pub(crate) async fn run(self: Arc<Self>, core: Arc<Core>) {
        let started = Utc::now();
        let missed = self.status.lock().await.as_ref().is_some_and(|status| status.next < started);
        if missed || self.trigger.run_on_startup {
            self.tick(&core, started, missed).await;
        }
        let mut from = Utc::now();
        while let Some(due) = self.trigger.schedule.next(from) {
            let pause = (due - Utc::now()).to_std().unwrap_or(Duration::ZERO);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = core.stopped() => return,
            }
            self.tick(&core, due, false).await;
            // Not the same occurrence again, should the clock be a little behind the timer.
            from = due.max(Utc::now());
        }
    }

    async fn tick(&self, core: &Core, due: DateTime<Utc>, past_due: bool) {
        let mut status = self.status.lock().await;
        if self.invoke(core, status.as_ref(), past_due).await.is_err() {
            return;
        }
        let now = Utc::now();
        if let (Some(status), Some(next)) = (status.as_mut(), self.trigger.schedule.next(due.max(now))) {
            *status = ScheduleStatus { last: Some(due), next, last_updated: now };
        }
        if let Err(error) = self.save(status.as_ref()) {
            tracing::error!(%error, function = self.function.name, "cannot keep the schedule status");
        }
    }

    async fn invoke(
        &self,
        core: &Core,
        status: Option<&ScheduleStatus>,
        past_due: bool,
    ) -> Result<InvocationReport, HostError> {
        let _running = core.invoker.running();
        let build = |metadata| envelope::timer(&self.trigger, status, past_due, metadata);
        let report = run_with_retries(core, &self.function, &TriggerDetail::Timer { past_due }, build).await;
        report.ok_or_else(|| HostError::Handler { reason: "the host is going down".to_owned() })
    }

    fn save(&self, status: Option<&ScheduleStatus>) -> Result<(), HostError> {
        let Some(status) = status else { return Ok(()) };
        let content = serde_json::to_vec(status).map_err(|error| HostError::io("write", &self.path)(error.into()))?;
        replace_file(&self.path, &content)
    }
}
