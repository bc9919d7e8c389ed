//! A host that can be killed: this test binary, started once more.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use functions_host::{ChildOutput, Host, HostConfig};
use serde_json::{Value, json};

use super::account::Account;
use crate::support::weir_binary;

/// Names a file that says what to run.
const VARIABLE: &str = "WEIR_TEST_HOST_PROCESS";
/// How long a message stays hidden after whoever had it died. Whole seconds.
const HIDDEN_S: u64 = 1;

/// Not a test of its own: without its variable it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run() {
    let Ok(file) = std::env::var(VARIABLE) else { return };
    let order: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let text = |key: &str| order[key].as_str().unwrap().to_owned();
    let mut config = HostConfig::new(text("app"), text("program"), text("data"));
    config.args = vec!["serve".to_owned()];
    config.env = serde_json::from_value(order["env"].clone()).unwrap();
    config.run_timers = false;
    config.partitions = 1;
    config.queue_visibility = Duration::from_secs(HIDDEN_S);
    config.crash_limit = u32::MAX;
    config.stdio = ChildOutput::File(text("log").into());
    let host = Host::start(config).await.unwrap();
    let mut reports = host.subscribe();
    while let Ok(report) = reports.recv().await {
        let outcome = report.return_value.as_ref().map_or("failed", |value| value["outcome"].as_str().unwrap());
        println!("{DELIVERED} {} {outcome}", report.attempt);
    }
    panic!("the host stopped: {:?}", host.failure());
}

/// What a host says of each delivery, with its number and its outcome.
const DELIVERED: &str = "delivery";

/// A host process, killed when this is dropped, with the handlers that it has left behind.
pub(super) struct HostProcess {
    order: PathBuf,
    host: Child,
    log: PathBuf,
    orphans: Vec<u32>,
}

impl HostProcess {
    /// `change` is of `extensions.queues` in `host.json`.
    pub(super) fn start(account: &Account, change: impl FnOnce(&mut Value)) -> Self {
        let config = account.host_config(&weir_binary());
        account.change_host_json(change);
        let log = account.path("handler.log");
        let order = json!({
            "app": config.app_dir, "program": config.program, "data": config.data_dir, "env": config.env, "log": log,
        });
        let file = account.path("host-process.json");
        fs::write(&file, order.to_string()).unwrap();
        let log = account.path("host-process.log");
        Self { host: spawn(&file, &log), order: file, log, orphans: Vec::new() }
    }

    /// Kills the handler alone; the host starts another. None: there is none just now.
    pub(super) fn kill_handler(&self) -> Option<u32> {
        let handler = children(self.host.id()).first().copied()?;
        kill(handler);
        Some(handler)
    }

    /// Kills the host alone, and starts another; the handler goes on, with nobody who hears it.
    pub(super) fn replace_host(&mut self) {
        let handlers = children(self.host.id());
        self.end_host();
        self.orphans.extend(handlers);
        self.host = spawn(&self.order, &self.log);
    }

    /// Kills host and handler, and starts another host.
    pub(super) fn replace_both(&mut self) {
        self.replace_host();
        self.end_orphans();
    }

    pub(super) fn end_orphans(&mut self) {
        self.orphans.drain(..).for_each(kill);
    }

    /// Number and outcome of each delivery that a host lived to hear of.
    pub(super) fn deliveries(&self) -> Vec<(u32, String)> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix(DELIVERED)?.trim().split_once(' '));
        lines.filter_map(|(number, outcome)| Some((number.parse().ok()?, outcome.to_owned()))).collect()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn end_host(&mut self) {
        self.host.kill().unwrap();
        self.host.wait().unwrap();
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.orphans.extend(children(self.host.id()));
        self.end_host();
        self.end_orphans();
    }
}

fn spawn(order: &Path, log: &Path) -> Child {
    let output = || File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "app::azure_path::process::run", "--nocapture"]).env(VARIABLE, order);
    command.stdin(Stdio::null()).stdout(output()).stderr(output()).process_group(0).spawn().unwrap()
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let of = |process: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // pid (name) state ppid …; a name may hold anything.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let names = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let processes = names.filter_map(|name| name.to_str()?.parse().ok());
    processes.filter(|process| of(*process) == Some(parent)).collect()
}

/// One that is gone already is no error.
fn kill(process: u32) {
    let _ = Command::new("kill").args(["-9", &process.to_string()]).stderr(Stdio::null()).status().unwrap();
}
