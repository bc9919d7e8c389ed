//! The functions of an app, for programs that show them.

use std::fmt;

use crate::{
    config::{Function, HttpTrigger, Trigger},
    host::Host,
};

/// A function that the host runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// The name of its folder.
    pub name: String,
    /// The event that starts it.
    pub trigger: TriggerInfo,
}

/// The trigger of a function, as its `function.json` declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerInfo {
    /// A message in a queue.
    Queue {
        /// The queue's name.
        queue: String,
    },
    /// Events of an Event Hub.
    EventHub {
        /// The hub's name.
        hub: String,
        /// The consumer group that the function reads as.
        consumer_group: String,
    },
    /// A schedule.
    Timer {
        /// The NCRONTAB expression.
        schedule: String,
    },
    /// An HTTP request.
    Http {
        /// Methods in upper case; empty means all.
        methods: Vec<String>,
        /// Path with the route prefix, such as `/api/orders/{id}`.
        path: String,
        /// `anonymous`, `function` or `admin`.
        auth_level: &'static str,
    },
}

impl Host {
    /// The functions of the app, sorted by name, without those that are disabled.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        let prefix = &self.core().config.http.route_prefix;
        let info = |function: &Function| FunctionInfo {
            name: function.name.clone(),
            trigger: match &function.trigger {
                Trigger::Queue(trigger) => TriggerInfo::Queue { queue: trigger.queue.queue.clone() },
                Trigger::EventHub(trigger) => {
                    TriggerInfo::EventHub { hub: trigger.hub.clone(), consumer_group: trigger.consumer_group.clone() }
                }
                Trigger::Timer(trigger) => TriggerInfo::Timer { schedule: trigger.expression.clone() },
                Trigger::Http(trigger) => http(trigger, prefix),
            },
        };
        self.core().functions.iter().map(|function| info(function)).collect()
    }
}

fn http(trigger: &HttpTrigger, prefix: &str) -> TriggerInfo {
    let pieces = [prefix, trigger.route.template()];
    let pieces = pieces.iter().map(|piece| piece.trim_matches('/')).filter(|piece| !piece.is_empty());
    TriggerInfo::Http {
        methods: trigger.methods.iter().map(ToString::to_string).collect(),
        path: pieces.map(|piece| format!("/{piece}")).collect(),
        auth_level: trigger.auth.as_str(),
    }
}

/// In a few words, such as `queue names` or `GET /api/hello/{name}`.
impl fmt::Display for TriggerInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { queue } => write!(formatter, "queue {queue}"),
            Self::EventHub { hub, consumer_group } => write!(formatter, "Event Hub {hub} as {consumer_group}"),
            Self::Timer { schedule } => write!(formatter, "timer {schedule}"),
            Self::Http { methods, path, auth_level } => {
                let methods = if methods.is_empty() { "any method".to_owned() } else { methods.join(", ") };
                write!(formatter, "{methods} {path} ({auth_level})")
            }
        }
    }
}
