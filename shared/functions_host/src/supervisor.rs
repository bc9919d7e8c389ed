//! The handler process: started, probed, restarted after a crash, killed on demand. It never outlives the supervisor.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::error::HostError;

const PROBE_EVERY: Duration = Duration::from_millis(25);
/// Crashes further apart than this are not added up.
const CRASH_WINDOW: Duration = Duration::from_secs(30 * 60);
/// The handler's way to ask for a restart that does not count as a crash.
const EXIT_RESTART: i32 = 200;

/// Target of the handler's stdout and stderr.
#[derive(Debug, Clone, Default)]
pub enum ChildOutput {
    /// To this process's own.
    Inherit,
    /// Appended to a file.
    File(PathBuf),
    /// Nowhere.
    #[default]
    Discard,
}

/// How to start the handler.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) app_dir: PathBuf,
    pub(crate) working_directory: PathBuf,
    pub(crate) stdio: ChildOutput,
    pub(crate) port: Option<u16>,
    pub(crate) initialization_timeout: Duration,
    pub(crate) crash_limit: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum HandlerState {
    Starting {
        pid: Option<u32>,
    },
    Ready(Handler),
    /// For good, with the reason.
    Stopped(String),
}

/// A handler that answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handler {
    pub(crate) port: u16,
    pub(crate) pid: Option<u32>,
    /// Counts the processes, from 1.
    pub(crate) generation: u64,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    state: watch::Receiver<HandlerState>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Order {
    /// Kill only this process; None: whichever runs.
    generation: Option<u64>,
    /// For good, and why.
    stop: Option<String>,
    /// Answered with the process id once the process is gone.
    done: oneshot::Sender<Option<u32>>,
}

/// Why one process ended.
enum End {
    Killed,
    Stopped(String),
    Exited(ExitStatus),
    Failed(String),
}

impl Supervisor {
    pub(crate) fn start(launch: Launch, client: reqwest::Client) -> Self {
        let (state_sender, state) = watch::channel(HandlerState::Starting { pid: None });
        let (orders, receiver) = mpsc::channel(64);
        let task = tokio::spawn(supervise(launch, client, state_sender, receiver));
        Self { state, orders, task }
    }

    /// Waits until the handler answers.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<Handler, HostError> {
        let mut state = self.state.clone();
        let found = tokio::time::timeout(limit, state.wait_for(|s| !matches!(s, HandlerState::Starting { .. }))).await;
        let reason = match found {
            Ok(Ok(found)) => match &*found {
                HandlerState::Ready(handler) => return Ok(*handler),
                HandlerState::Stopped(reason) => reason.clone(),
                HandlerState::Starting { .. } => "it is starting".to_owned(),
            },
            Ok(Err(_)) => "its supervisor is gone".to_owned(),
            Err(_) => format!("it did not get ready within {limit:?}"),
        };
        Err(HostError::Handler { reason })
    }

    /// Completes when the handler is stopped for good.
    pub(crate) async fn given_up(&self) {
        let _ = self.state.clone().wait_for(|state| matches!(state, HandlerState::Stopped(_))).await;
    }

    pub(crate) fn state(&self) -> HandlerState {
        self.state.borrow().clone()
    }

    /// SIGKILLs the handler and waits until it is gone; it is then restarted, and this does not count as a crash.
    /// Returns the killed process id, None if that process was gone already.
    pub(crate) async fn kill(&self, generation: Option<u64>) -> Option<u32> {
        self.order(generation, None).await
    }

    /// Kills the handler for good.
    pub(crate) async fn stop(&self, reason: String) {
        self.order(None, Some(reason)).await;
    }

    /// As [`Supervisor::stop`] without waiting: dropping the task drops the child, which kills it.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    async fn order(&self, generation: Option<u64>, stop: Option<String>) -> Option<u32> {
        let (done, gone) = oneshot::channel();
        self.orders.send(Order { generation, stop, done }).await.ok()?;
        gone.await.ok().flatten()
    }
}

async fn supervise(
    launch: Launch,
    client: reqwest::Client,
    state: watch::Sender<HandlerState>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut crashes = Crashes::default();
    let port = match launch.port.map_or_else(free_port, Ok) {
        Ok(port) => port,
        Err(error) => {
            state.send_replace(HandlerState::Stopped(error.to_string()));
            return;
        }
    };
    for generation in 1.. {
        let end = run_once(&launch, port, &client, generation, &state, &mut orders).await;
        state.send_replace(HandlerState::Starting { pid: None });
        let reason = match end {
            End::Killed => continue,
            End::Stopped(reason) => {
                state.send_replace(HandlerState::Stopped(reason));
                return;
            }
            End::Exited(status) if status.code() == Some(EXIT_RESTART) => {
                tracing::info!("handler asked for a restart");
                continue;
            }
            End::Exited(status) if status.success() => {
                tracing::warn!("handler exited with 0: the real host would not restart it, this one does");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            End::Exited(status) => format!("it ended with {status}"),
            End::Failed(reason) => reason,
        };
        let count = crashes.add(Instant::now());
        tracing::warn!(reason, crashes = count, "handler crashed");
        if count >= launch.crash_limit {
            let reason =
                format!("{reason}; crash {count}, each within 30 minutes of the one before: it is not restarted");
            state.send_replace(HandlerState::Stopped(reason));
            return;
        }
    }
}

/// Crashes that count together.
#[derive(Debug, Default)]
struct Crashes {
    count: u32,
    last: Option<Instant>,
}

impl Crashes {
    /// They add up while each comes soon after the one before, however long ago the first was.
    fn add(&mut self, now: Instant) -> u32 {
        let soon = self.last.is_some_and(|last| now.duration_since(last) < CRASH_WINDOW);
        self.count = if soon { self.count + 1 } else { 1 };
        self.last = Some(now);
        self.count
    }
}

/// Runs one process from start to end.
async fn run_once(
    launch: &Launch,
    port: u16,
    client: &reqwest::Client,
    generation: u64,
    state: &watch::Sender<HandlerState>,
    orders: &mut mpsc::Receiver<Order>,
) -> End {
    let mut child = match spawn(launch, port) {
        Ok(started) => started,
        Err(error) => return End::Failed(error.to_string()),
    };
    let pid = child.id();
    state.send_replace(HandlerState::Starting { pid });
    let probe = tokio::time::timeout(launch.initialization_timeout, probe(client, port));
    tokio::pin!(probe);
    let mut answered = false;
    loop {
        tokio::select! {
            status = child.wait() => return match status {
                Ok(status) => End::Exited(status),
                Err(error) => End::Failed(format!("cannot wait for it: {error}")),
            },
            found = &mut probe, if !answered => {
                if found.is_err() {
                    kill(&mut child).await;
                    let limit = launch.initialization_timeout;
                    return End::Failed(format!("it did not answer on port {port} within {limit:?}"));
                }
                answered = true;
                state.send_replace(HandlerState::Ready(Handler { port, pid, generation }));
            }
            order = orders.recv() => {
                let Some(order) = order else {
                    kill(&mut child).await;
                    return End::Stopped("the host was shut down".to_owned());
                };
                if order.generation.is_some_and(|wanted| wanted != generation) {
                    let _ = order.done.send(None);
                    continue;
                }
                kill(&mut child).await;
                // Before the answer, so that nobody who got it sees the dead process as ready.
                state.send_replace(HandlerState::Starting { pid: None });
                let _ = order.done.send(pid);
                return order.stop.map_or(End::Killed, End::Stopped);
            }
        }
    }
}

/// `GET /` until anything answers.
async fn probe(client: &reqwest::Client, port: u16) {
    let url = format!("http://127.0.0.1:{port}/");
    while client.get(&url).timeout(Duration::from_secs(1)).send().await.is_err() {
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

async fn kill(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "cannot kill the handler");
    }
}

/// The child sees all of this process's environment, as the real host's does; app settings win over it.
fn spawn(launch: &Launch, port: u16) -> Result<Child, HostError> {
    let (stdout, stderr) = launch.stdio.open()?;
    let directory = launch.app_dir.join(&launch.working_directory);
    let (port, id) = (port.to_string(), uuid::Uuid::new_v4().to_string());
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .envs(launch.env.iter().map(|(key, value)| (key, value)))
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
        .env("FUNCTIONS_HTTPWORKER_PORT", &port)
        .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id)
        .env("FUNCTIONS_HTTPWORKER_ID", &id)
        .env("FUNCTIONS_APP_ROOT_PATH", &launch.app_dir)
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .kill_on_drop(true);
    command.spawn().map_err(HostError::io("start the handler", &launch.program))
}

/// For the life of the host: a handler that is started again has to take the same one.
fn free_port() -> Result<u16, HostError> {
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    listener.map(|bound| bound.port()).map_err(|source| HostError::Listen { address, source })
}

impl ChildOutput {
    fn open(&self) -> Result<(Stdio, Stdio), HostError> {
        match self {
            Self::Inherit => Ok((Stdio::inherit(), Stdio::inherit())),
            Self::Discard => Ok((Stdio::null(), Stdio::null())),
            Self::File(path) => {
                let file = open_append(path)?;
                let copy = file.try_clone().map_err(HostError::io("open", path))?;
                Ok((file.into(), copy.into()))
            }
        }
    }
}

fn open_append(path: &Path) -> Result<std::fs::File, HostError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(HostError::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_add_up_while_each_is_soon_after_the_one_before() {
        let (mut crashes, start) = (Crashes::default(), Instant::now());
        let minutes = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert_eq!([0, 29, 58].map(|at| crashes.add(minutes(at))), [1, 2, 3]);
        assert_eq!([88, 90].map(|at| crashes.add(minutes(at))), [1, 2]);
    }
}
