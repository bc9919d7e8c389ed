//! Putting the parts together: opens what survives, starts the handler, starts a loop per trigger.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::Utc;
use event_hubs_service::{EventHubsService, HubLog, ServiceConfig};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, broadcast, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    config::{Function, HostJson, Trigger, check_hub_name, read_functions},
    error::HostError,
    files,
    host_config::HostConfig,
    http::{self, keys::Keys},
    invoke::{InvocationReport, Invoker},
    state::{State, queue_name},
    store::{Consumer, EventIn, Hub, Queues, create_dir},
    supervisor::{HandlerState, Launch, Supervisor},
    trigger::{event_hub, landing::Landing, queue, timer::Timer},
};

/// How long [`Host::shutdown`] lets running invocations finish, as WebJobs does.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const LOCK_LIMIT: Duration = Duration::from_secs(1);

/// A running host. Dropping it kills the handler; [`Host::shutdown`] first lets invocations finish.
#[derive(Debug)]
pub struct Host {
    core: Arc<Core>,
    tasks: Vec<JoinHandle<()>>,
    amqp: Option<EventHubsService>,
}

/// What the loops share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: HostJson,
    pub(crate) namespace: String,
    pub(crate) queue_visibility: Duration,
    pub(crate) functions: Vec<Arc<Function>>,
    pub(crate) invoker: Invoker,
    pub(crate) queues: Arc<Queues>,
    pub(crate) timers: BTreeMap<String, Arc<Timer>>,
    pub(crate) keys: Keys,
    pub(crate) http_address: SocketAddr,
    pub(crate) http_slots: Semaphore,
    hubs: BTreeMap<String, Arc<Hub>>,
    consumers: Vec<Arc<Consumer>>,
    landing: Option<Arc<Landing>>,
    stop: watch::Sender<bool>,
    ended: OnceLock<Ended>,
    /// Here, so that it is held until the last task has let go of the files.
    _lock: File,
}

/// Why the host stopped by itself.
#[derive(Debug)]
struct Ended {
    reason: String,
    /// Started again it would go on.
    restart: bool,
}

impl Host {
    /// Reads the app, starts the handler and returns once it answers.
    ///
    /// # Errors
    /// [`HostError::Config`] and others of kind `Config` when the app is not understood, [`HostError::InUse`] when another
    /// host uses the data directory, [`HostError::Listen`] when an address is taken, [`HostError::Handler`] when the handler
    /// does not get ready.
    pub async fn start(mut config: HostConfig) -> Result<Self, HostError> {
        let app_dir = std::path::absolute(&config.app_dir).map_err(HostError::io("find", &config.app_dir))?;
        let host_json = HostJson::read(&app_dir)?;
        let settings = config.env.iter().cloned().collect();
        let functions: Vec<_> = read_functions(&app_dir, &settings)?.into_iter().map(Arc::new).collect();
        let lock = lock(&config.data_dir).await?;
        let state = State::open(&config, &settings, &host_json, &functions)?;
        let listener = TcpListener::bind(config.http_addr).await;
        let listen = |source| HostError::Listen { address: config.http_addr, source };
        let listener = listener.map_err(listen)?;
        let http_address = listener.local_addr().map_err(listen)?;
        let amqp = serve_hubs(config.amqp, &state.hubs).await?;
        if let (Some(service), Some(setting)) = (&amqp, &config.amqp_setting) {
            config.env.retain(|(name, _)| name != setting);
            config.env.push((setting.clone(), service.connection_string()));
        }

        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|error| HostError::Handler { reason: format!("no http client: {error}") })?;
        let supervisor = Supervisor::start(launch(&config, &host_json, app_dir.clone()), client.clone());
        let (stop, stopping) = watch::channel(false);
        let timeout = host_json.function_timeout;
        let core = Arc::new(Core {
            http_slots: Semaphore::new(host_json.http.max_concurrent),
            config: host_json,
            namespace: config.namespace,
            queue_visibility: config.queue_visibility,
            functions,
            invoker: Invoker::new(client, supervisor, Arc::clone(&state.queues), timeout, stopping),
            queues: state.queues,
            timers: state.timers,
            keys: state.keys,
            http_address,
            hubs: state.hubs,
            consumers: state.consumers,
            landing: state.landing,
            stop,
            ended: OnceLock::new(),
            _lock: lock,
        });
        let mut host = Self { core, tasks: Vec::new(), amqp };
        host.core.invoker.supervisor.ready(Duration::MAX).await?;
        host.spawn_loops(listener, config.run_timers)?;
        host.tasks.push(tokio::spawn(watch_app(Arc::clone(&host.core), app_dir)));
        Ok(host)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// `http://address`, without a slash at the end.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.core.http_address)
    }

    /// The address that Event Hubs clients connect to, if [`HostConfig::amqp`] asked for it.
    pub fn amqp_address(&self) -> Option<SocketAddr> {
        self.amqp.as_ref().map(EventHubsService::address)
    }

    /// The connection string of Event Hubs clients, if [`HostConfig::amqp`] asked for one.
    pub fn amqp_connection_string(&self) -> Option<String> {
        self.amqp.as_ref().map(EventHubsService::connection_string)
    }

    /// The key of functions with authLevel `function`.
    pub fn function_key(&self) -> &str {
        &self.core.keys.function_key
    }

    /// The key of the admin routes and of every function.
    pub fn master_key(&self) -> &str {
        &self.core.keys.master_key
    }

    /// Puts a message with the body that the function will see, at most [`MAX_QUEUE_MESSAGE`](crate::MAX_QUEUE_MESSAGE) bytes
    /// once encoded. Returns its id. The queue appears with its first message, on the connection of the function that
    /// names it.
    ///
    /// # Errors
    /// [`HostError::Name`] for a name that no queue may have, [`HostError::TooLarge`] for a body above the limit,
    /// [`HostError::Io`] or [`HostError::Storage`] when the message cannot be stored.
    pub async fn enqueue(&self, queue: &str, body: Vec<u8>) -> Result<String, HostError> {
        self.core.enqueue(queue, &body).await
    }

    /// Messages in a queue, those in flight or hidden included; of a storage account's queue about that many.
    ///
    /// # Errors
    /// [`HostError::Storage`] when a storage account does not answer.
    pub async fn queue_len(&self, queue: &str) -> Result<usize, HostError> {
        match self.core.queues.existing(&queue_name(queue, &self.core.functions))? {
            Some(queue) => queue.count().await,
            None => Ok(0),
        }
    }

    /// Stores events in a hub that some function reads: by key, else in turn. Returns (partition, sequence number) of
    /// each, in the order given.
    ///
    /// # Errors
    /// [`HostError::Unknown`] for a hub that no function reads, [`HostError::TooLarge`] for an event above
    /// [`MAX_EVENT`](crate::MAX_EVENT), [`HostError::Io`] when they cannot be stored.
    pub fn send_events(&self, hub: &str, events: Vec<EventIn>) -> Result<Vec<(u32, u64)>, HostError> {
        self.core.send_events(hub, events)
    }

    /// Runs a timer function now, with its retries, and returns the last attempt.
    ///
    /// # Errors
    /// [`HostError::Unknown`] for a function that is no timer, [`HostError::Io`] when its schedule cannot be kept. A failed
    /// invocation is no error: see [`InvocationReport::ok`].
    pub async fn run_timer(&self, function: &str) -> Result<InvocationReport, HostError> {
        match self.core.timers.get(function) {
            Some(timer) => timer.run_now(&self.core).await,
            None => {
                let known = self.core.timers.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(HostError::Unknown { what: "timer function", name: function.to_owned(), known })
            }
        }
    }

    /// The handler's process id, None between two processes.
    pub fn handler_pid(&self) -> Option<u32> {
        match self.core.invoker.supervisor.state() {
            HandlerState::Ready(handler) => handler.pid,
            HandlerState::Starting { pid } => pid,
            HandlerState::Stopped(_) => None,
        }
    }

    /// Fault: SIGKILLs the handler and returns its process id once it is gone. It is restarted at once, and this does
    /// not count as a crash.
    pub async fn kill_handler(&self) -> Option<u32> {
        self.core.invoker.supervisor.kill(None).await
    }

    /// Fault: delivers the events of a partition to a function again from `to_sequence`, as after an ownership move.
    /// A batch being delivered is not interrupted.
    ///
    /// # Errors
    /// [`HostError::Unknown`] for a partition that the function does not read, [`HostError::Io`] when the checkpoint cannot
    /// be written.
    pub fn rewind(&self, hub: &str, function: &str, partition: u32, to_sequence: u64) -> Result<(), HostError> {
        let wanted = |c: &&Arc<Consumer>| c.hub == hub && c.function == function && c.partition.id == partition;
        let Some(consumer) = self.core.consumers.iter().find(wanted) else {
            let known: Vec<String> =
                self.core.consumers.iter().map(|c| format!("{}/{}/{}", c.hub, c.function, c.partition.id)).collect();
            let name = format!("{hub}/{function}/{partition}");
            return Err(HostError::Unknown { what: "consumer", name, known: known.join(", ") });
        };
        consumer.rewind(to_sequence)
    }

    /// Fault: sends the BlobCreated event of an existing blob once more.
    ///
    /// # Errors
    /// [`HostError::Unknown`] without a landing folder or for a blob that is not in it.
    pub fn announce_blob(&self, container: &str, path: &str) -> Result<(), HostError> {
        match &self.core.landing {
            Some(landing) => landing.announce(container, path),
            None => Err(HostError::Unknown { what: "landing folder", name: String::new(), known: "none".to_owned() }),
        }
    }

    /// Waits until there is nothing to do: files that lie in the landing folder now are announced, every queue that a
    /// function reads is empty (hidden messages included), every event is handled, nothing runs. Poison queues that
    /// no function reads do not count.
    ///
    /// # Errors
    /// [`HostError::NotIdle`] after `limit`, with what is left; [`HostError::Handler`] when the host has stopped by itself.
    pub async fn wait_idle(&self, limit: Duration) -> Result<(), HostError> {
        let (started, scan) = (Instant::now(), self.core.landing.as_ref().map(|landing| landing.next_scan()));
        loop {
            if let Some(reason) = self.failure() {
                return Err(HostError::Handler { reason });
            }
            let Some(outstanding) = self.core.outstanding(scan).await? else { return Ok(()) };
            if started.elapsed() >= limit {
                return Err(HostError::NotIdle { waited: limit, outstanding });
            }
            tokio::time::sleep(self.core.look_again()).await;
        }
    }

    /// Follows every invocation from now on. A receiver more than 16,384 reports behind loses the oldest and is told.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<InvocationReport>> {
        self.core.invoker.subscribe()
    }

    /// Completes when the host stops by itself: over a handler that keeps crashing, over an error of its own, or because
    /// the app's files have changed. The reason is then in [`Host::failure`].
    pub async fn stopped(&self) {
        self.core.stopped().await;
    }

    /// The reason for which the host stopped by itself, if it did.
    pub fn failure(&self) -> Option<String> {
        match (self.core.ended.get(), self.core.invoker.supervisor.state()) {
            (Some(ended), _) => Some(ended.reason.clone()),
            (None, HandlerState::Stopped(reason)) => Some(reason),
            _ => None,
        }
    }

    /// True if it stopped because the app's files have changed: the real host then starts anew by itself.
    pub fn wants_restart(&self) -> bool {
        self.core.ended.get().is_some_and(|ended| ended.restart)
    }

    /// Takes no more work, lets what runs finish for up to 10 s, kills the handler. A batch of events that did not finish is
    /// delivered again at the next start; a message has used up an attempt, and goes to its poison queue if that was the
    /// last.
    pub async fn shutdown(mut self) {
        self.core.wind_down("the host was shut down".to_owned()).await;
        for mut task in std::mem::take(&mut self.tasks) {
            // The loops end by themselves now; one that hangs is dropped with its work unsettled.
            if tokio::time::timeout(Duration::from_secs(1), &mut task).await.is_err() {
                tracing::warn!("a trigger loop did not end in time");
                task.abort();
            }
        }
    }

    fn spawn_loops(&mut self, listener: TcpListener, run_timers: bool) -> Result<(), HostError> {
        let core = &self.core;
        for function in &core.functions {
            let (core, function) = (|| Arc::clone(core), || Arc::clone(function));
            match &function().trigger {
                Trigger::Queue(trigger) => {
                    let opened = self.core.queues.queue(&trigger.queue)?;
                    self.tasks.push(tokio::spawn(queue::run(core(), function(), trigger.clone(), opened)));
                }
                Trigger::EventHub(trigger) => {
                    for consumer in self.core.consumers.iter().filter(|c| c.function == function().name) {
                        let consumer = Arc::clone(consumer);
                        self.tasks.push(tokio::spawn(event_hub::run(core(), function(), trigger.clone(), consumer)));
                    }
                }
                Trigger::Timer(_) | Trigger::Http(_) => {}
            }
        }
        for timer in self.core.timers.values().filter(|_| run_timers) {
            self.tasks.push(tokio::spawn(Arc::clone(timer).run(Arc::clone(core))));
        }
        if let Some(landing) = &core.landing {
            self.tasks.push(tokio::spawn(Arc::clone(landing).run(Arc::clone(core))));
        }
        self.tasks.push(tokio::spawn(http::serve(listener, Arc::clone(core))));
        let watcher = Arc::clone(core);
        self.tasks.push(tokio::spawn(async move {
            // The real host shuts down with a handler that keeps crashing.
            tokio::select! {
                () = watcher.stopped() => {}
                () = watcher.invoker.supervisor.given_up() => { watcher.stop.send_replace(true); }
            }
        }));
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.core.stop.send_replace(true);
        self.core.invoker.supervisor.abort();
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Core {
    /// Completes when the host is going down.
    pub(crate) async fn stopped(&self) {
        // An error would mean that the sender in `self` is gone.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Takes no more work, lets what runs finish for a while, and kills the handler.
    async fn wind_down(&self, reason: String) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.invoker.in_flight() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.invoker.supervisor.stop(reason).await;
    }

    /// Ends the host at once, with all that runs: what the real one does over an error that it does not expect.
    pub(crate) async fn give_up(&self, reason: String) {
        tracing::error!(reason, "the host gives up");
        let reason = self.ended.get_or_init(|| Ended { reason, restart: false }).reason.clone();
        self.invoker.supervisor.stop(reason).await;
        self.stop.send_replace(true);
    }

    pub(crate) fn send_events(&self, hub: &str, events: Vec<EventIn>) -> Result<Vec<(u32, u64)>, HostError> {
        check_hub_name("Event Hub name", hub)?;
        match self.hubs.get(hub) {
            Some(hub) => hub.send(events, Utc::now()),
            None => {
                let known = self.hubs.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(HostError::Unknown { what: "Event Hub", name: hub.to_owned(), known })
            }
        }
    }

    pub(crate) async fn enqueue(&self, queue: &str, body: &[u8]) -> Result<String, HostError> {
        self.queues.queue(&queue_name(queue, &self.functions))?.put(body).await
    }

    /// When to look again whether there is something to do: an account's queues are asked over the network.
    fn look_again(&self) -> Duration {
        let remote = |function: &Arc<Function>| match &function.trigger {
            Trigger::Queue(trigger) => self.queues.in_account(&trigger.queue),
            _ => false,
        };
        Duration::from_millis(if self.functions.iter().any(remote) { 50 } else { 5 })
    }

    /// What is left to do, in words. None: idle.
    async fn outstanding(&self, scan: Option<u64>) -> Result<Option<String>, HostError> {
        let begun = self.invoker.begun();
        if let (Some(landing), Some(scan)) = (&self.landing, scan)
            && !landing.settled(scan)
        {
            return Ok(Some("files in the landing folder are not announced".to_owned()));
        }
        let running = self.invoker.in_flight();
        if running > 0 {
            return Ok(Some(format!("{running} invocations are running or waiting for a retry")));
        }
        if let Some(consumer) = self.consumers.iter().find(|consumer| consumer.behind() > 0) {
            let (hub, partition) = (&consumer.hub, consumer.partition.id);
            let (behind, function) = (consumer.behind(), &consumer.function);
            return Ok(Some(format!("{behind} events of {hub}/{partition} for {function}")));
        }
        for function in &self.functions {
            let Trigger::Queue(trigger) = &function.trigger else { continue };
            let Some(queue) = self.queues.existing(&trigger.queue)? else { continue };
            let left = queue.count().await?;
            if left > 0 {
                return Ok(Some(format!("{left} messages in queue {}", queue.name())));
            }
        }
        // Work that ran between two of these looks may have moved from one place to another.
        Ok((self.invoker.begun() != begun).then(|| "invocations have just run".to_owned()))
    }
}

/// Ends the host when the app's files change, as the real one starts anew then.
async fn watch_app(core: Arc<Core>, app_dir: PathBuf) {
    let (reason, restart) = tokio::select! {
        () = core.stopped() => return,
        changed = files::changed(&app_dir) => changed,
    };
    tracing::warn!(reason, "the host stops");
    let reason = core.ended.get_or_init(|| Ended { reason, restart }).reason.clone();
    core.wind_down(reason).await;
}

/// Every hub that some function reads, for clients that speak AMQP.
async fn serve_hubs(
    address: Option<SocketAddr>,
    hubs: &BTreeMap<String, Arc<Hub>>,
) -> Result<Option<EventHubsService>, HostError> {
    let Some(address) = address else { return Ok(None) };
    let hub = |(name, hub): (&String, &Arc<Hub>)| (name.clone(), Arc::clone(hub) as Arc<dyn HubLog>);
    Ok(Some(EventHubsService::start(ServiceConfig::new(address), hubs.iter().map(hub)).await?))
}

fn launch(config: &HostConfig, host_json: &HostJson, app_dir: PathBuf) -> Launch {
    Launch {
        program: config.program.clone(),
        args: config.args.clone(),
        env: config.env.clone(),
        app_dir,
        working_directory: host_json.handler.working_directory.clone(),
        stdio: config.stdio.clone(),
        port: host_json.handler.port,
        initialization_timeout: host_json.handler.initialization_timeout,
        crash_limit: config.crash_limit.max(1),
    }
}

/// The lock is the operating system's: it ends with the process. A host that was just dropped may hold it a little
/// longer.
async fn lock(data_dir: &Path) -> Result<File, HostError> {
    create_dir(data_dir)?;
    let path = data_dir.join("lock");
    let file = File::create(&path).map_err(HostError::io("open", &path))?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(HostError::io("lock", &path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(HostError::InUse { path: data_dir.to_owned() });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
