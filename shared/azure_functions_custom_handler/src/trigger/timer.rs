//! `timerTrigger`: a tick of an NCRONTAB schedule.

use chrono::{DateTime, Utc};

use super::Trigger;
use crate::envelope::{DataType, Envelope};
use crate::error::Error;
use crate::wire::Members;

/// A tick. The schedule runs on one instance at a time through a blob lease, but a lost lease can still overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TimerInfo {
    /// The tick makes up for one that was missed.
    pub is_past_due: bool,
    /// The last and the next run. Absent with `useMonitor: false`, which the host forces for schedules of more than one tick a minute.
    pub schedule_status: Option<ScheduleStatus>,
    /// Whether the schedule follows daylight saving time (`WEBSITE_TIME_ZONE`).
    pub adjust_for_dst: Option<bool>,
}

/// Runs of the schedule; `None` for "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScheduleStatus {
    /// When it ran last.
    pub last: Option<DateTime<Utc>>,
    /// When it will run next.
    pub next: Option<DateTime<Utc>>,
    /// When this status was written.
    pub last_updated: Option<DateTime<Utc>>,
}

impl Trigger for TimerInfo {
    fn decode(envelope: &mut Envelope<'_>, _: DataType) -> Result<Self, Error> {
        let binding = envelope.trigger()?;
        let text = binding.text()?;
        let timer = Members::parse(&text).ok_or_else(|| binding.error("is not a json object"))?;
        // A JSON null would read as an object without members.
        let status = timer.get("ScheduleStatus").filter(|raw| raw.get() != "null");
        let (mut status_text, mut schedule_text) = (String::new(), String::new());
        let status = status.and_then(|raw| Members::unwrap(raw, &mut status_text));
        let schedule = timer.get("Schedule").and_then(|raw| Members::unwrap(raw, &mut schedule_text));
        Ok(Self {
            is_past_due: timer.read("IsPastDue").unwrap_or(false),
            schedule_status: status.map(|status| ScheduleStatus {
                last: status.time("Last"),
                next: status.time("Next"),
                last_updated: status.time("LastUpdated"),
            }),
            adjust_for_dst: schedule.and_then(|schedule| schedule.read("AdjustForDST")),
        })
    }
}
