//! What a host opens before it starts: all that survives in its data directory, and the queues of storage accounts.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    config::{DEFAULT_CONNECTION, Function, HostJson, QueueName, Trigger},
    error::HostError,
    host_config::HostConfig,
    http::keys::Keys,
    store::{Consumer, Hub, LocalQueue, Queues, create_dir},
    trigger::{landing::Landing, timer::Timer},
};

/// What is opened from the data directory.
pub(crate) struct State {
    pub(crate) queues: Arc<Queues>,
    pub(crate) hubs: BTreeMap<String, Arc<Hub>>,
    pub(crate) consumers: Vec<Arc<Consumer>>,
    pub(crate) timers: BTreeMap<String, Arc<Timer>>,
    pub(crate) keys: Keys,
    pub(crate) landing: Option<Arc<Landing>>,
}

impl State {
    pub(crate) fn open(
        config: &HostConfig,
        settings: &HashMap<String, String>,
        host_json: &HostJson,
        functions: &[Arc<Function>],
    ) -> Result<Self, HostError> {
        let dir = &config.data_dir;
        let connections = functions.iter().flat_map(|function| function.queues());
        let connections = connections.map(|queue| queue.connection.as_str()).chain([DEFAULT_CONNECTION]);
        let queues = Queues::open(&dir.join("queues"), host_json.queues.base64, connections, settings)?;
        let queues = Arc::new(queues);
        let (mut hubs, mut consumers, mut timers) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        create_dir(&dir.join("timers"))?;
        for function in functions {
            match &function.trigger {
                Trigger::EventHub(trigger) => {
                    if !hubs.contains_key(&trigger.hub) {
                        let log_dir = dir.join("eventhubs").join(&trigger.hub);
                        hubs.insert(trigger.hub.clone(), Arc::new(Hub::open(&log_dir, config.partitions)?));
                    }
                    let checkpoints = dir.join("checkpoints").join(&trigger.hub).join(&trigger.consumer_group);
                    for partition in hubs.get(&trigger.hub).into_iter().flat_map(|hub| &hub.partitions) {
                        let partition = Arc::clone(partition);
                        let consumer = Consumer::open(&function.name, &trigger.hub, &checkpoints, partition)?;
                        consumers.push(Arc::new(consumer));
                    }
                }
                Trigger::Timer(trigger) => {
                    let path = dir.join("timers").join(format!("{}.json", function.name));
                    let timer = Timer::open(Arc::clone(function), trigger.clone(), path)?;
                    timers.insert(function.name.clone(), Arc::new(timer));
                }
                Trigger::Queue(_) | Trigger::Http(_) => {}
            }
        }
        let open_landing = |root: &PathBuf| {
            let queue = blob_queue(&config.blob_queue, functions, &queues)?;
            Landing::open(root, &dir.join("landing.journal"), queue).map(Arc::new)
        };
        let landing = config.landing.as_ref().map(open_landing).transpose()?;
        let keys = Keys::open(&dir.join("host-keys.json"))?;
        Ok(Self { queues, hubs, consumers, timers, keys, landing })
    }
}

/// Where a queue is that somebody names without its connection: where a function of the app has it.
pub(crate) fn queue_name(queue: &str, functions: &[Arc<Function>]) -> QueueName {
    let named = |queue: &str| functions.iter().flat_map(|function| function.queues()).find(|name| name.queue == queue);
    let found = named(queue).or_else(|| named(queue.strip_suffix("-poison")?));
    let connection = found.map_or(DEFAULT_CONNECTION, |name| &name.connection);
    QueueName { connection: connection.to_owned(), queue: queue.to_owned() }
}

/// The queue that a watched folder announces its files in.
fn blob_queue(queue: &str, functions: &[Arc<Function>], queues: &Queues) -> Result<Arc<LocalQueue>, HostError> {
    let name = queue_name(queue, functions);
    if queues.in_account(&name) {
        let problem = format!(
            "puts queue {queue:?} into a storage account, where a watched folder announces nothing: upload the files there, \
             or take the setting away"
        );
        return Err(HostError::Config { file: "the app settings".to_owned(), key: name.connection, problem });
    }
    queues.local(queue)
}
