//! The program `functions_host` with handlers of two languages, and what it says when it cannot run one.
#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml exempts test functions, not their helpers

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A host that runs an app in a folder of its own.
struct Running {
    child: Child,
    lines: Receiver<String>,
    url: String,
    /// What it said before it ran.
    said: Vec<String>,
    dir: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, where the test ended it.
        let _ = self.child.kill();
    }
}

fn host(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_functions_host"));
    command.arg(dir.path().join("app")).args(["--port", "0", "--no-timers", "--data"]).arg(dir.path().join("data"));
    command.stdout(Stdio::piped());
    command
}

/// A copy of an example's app: a host stops when its files change.
fn copy_of(example: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example).join("app");
    copy(&app, &dir.path().join("app"));
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Examples lie beside the folder of this test's own binary.
fn example_program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is missing: build it with `cargo build --examples`", program.display());
    program
}

impl Running {
    fn start(dir: TempDir, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Self { child, lines, url: String::new(), said: Vec::new(), dir };
        running.await_start();
        running
    }

    fn await_start(&mut self) {
        let line = self.until("is running at ");
        let (_, rest) = line.split_once("is running at ").unwrap();
        self.url = rest.split(';').next().unwrap().to_owned();
    }

    /// The next line with `text` in it.
    fn until(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.said.push(line),
                Err(_) => panic!("no line has {text:?}: {:#?}", self.said),
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > end => panic!("it does not end"),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn hello(url: &str) -> (StatusCode, String) {
    let response = client().get(format!("{url}/api/hello/world")).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn put(url: &str, path: &str, body: &str) {
    let response = client().post(format!("{url}/{path}/messages")).body(body.to_owned()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_rust_with_every_trigger_and_ctrl_c() {
    let dir = copy_of("rust");
    fs::copy(example_program("rust"), dir.path().join("app/handler")).unwrap();
    let mut command = host(&dir);
    command.args(["--landing"]).arg(dir.path().join("landing")).args(["--blob-queue", "names", "--amqp-port", "0"]);
    let mut host = Running::start(dir, command);
    assert_eq!(hello(&host.url).await, (StatusCode::OK, "hello, world".to_owned()));
    put(&host.url, "queues/names", "jane").await;
    host.until("greet (queue names, delivery 1): ok");
    host.until("  greeted jane");
    put(&host.url, "eventhubs/readings", "21.5").await;
    host.until("readings (readings/0, events 0 to 0): ok");
    host.until("  1 events");
    // The command that it printed starts the timer.
    let printed = host.said.iter().find(|line| line.contains("/admin/functions/tick")).unwrap();
    let key = printed.split("x-functions-key: ").nth(1).unwrap().trim_end_matches('\'').to_owned();
    let tick = client().post(format!("{}/admin/functions/tick", host.url)).header("x-functions-key", key);
    assert_eq!(tick.send().await.unwrap().status(), StatusCode::ACCEPTED);
    host.until("tick (timer): ok");
    let blob = host.dir.path().join("landing/in/a.csv");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(blob, "1,2").unwrap();
    host.until("greet (queue names, delivery 1): ok");
    assert!(host.until("  greeted {").contains("in/a.csv"));

    host.signal("-INT");
    assert!(host.end().success(), "Ctrl-C is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_python_with_a_setting_and_a_change_of_the_app() {
    let dir = copy_of("python");
    fs::write(dir.path().join("app/local.settings.json"), r#"{"Values": {"GREETING": "nobody", "B": "2"}}"#).unwrap();
    let mut command = host(&dir);
    command.args(["--setting", "GREETING=good day"]);
    let mut host = Running::start(dir, command);
    assert_eq!(hello(&host.url).await, (StatusCode::OK, "hello, world".to_owned()));
    put(&host.url, "queues/names", "jane").await;
    host.until("  greeted jane");
    let stored = fs::read(host.dir.path().join("data/queues/greetings.journal")).unwrap();
    // "good day, jane" in base64.
    assert!(String::from_utf8_lossy(&stored).contains("Z29vZCBkYXksIGphbmU="), "the command line's setting is first");

    let manifest = host.dir.path().join("app/hello/function.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("hello/{name}", "hello/{name}/{rest?}")).unwrap();
    host.until("starting again");
    host.await_start();
    assert_eq!(hello(&host.url).await.0, StatusCode::OK);
    host.signal("-TERM");
    assert!(host.end().success());
}

#[test]
fn what_cannot_run_is_said_with_file_and_key() {
    let handler =
        |description: &str| format!(r#"{{"version": "2.0", "customHandler": {{"description": {description}}}}}"#);
    let path = "customHandler.description.defaultExecutablePath";
    let cases = [
        (handler("{}"), format!("host.json: {path}: is needed")),
        (
            handler(r#"{"defaultExecutablePath": "%HANDLER%"}"#),
            format!("host.json: {path}: has an environment variable"),
        ),
        (handler(r#"{"defaultExecutablePath": "no-such-program-anywhere"}"#), "cannot start the handler".to_owned()),
        (handler(r#"{"defaultExecutablePath": "true", "arguments": [1]}"#), "arguments: must hold strings".to_owned()),
        ("{".to_owned(), "host.json: line 1: is not JSON".to_owned()),
    ];
    for (text, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        fs::write(dir.path().join("app/host.json"), text).unwrap();
        let output = host(&dir).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(&expected), "{expected}: {error}");
        assert_eq!(output.status.code(), Some(1));
    }
    let output = host(&tempfile::tempdir().unwrap()).args(["--setting", "=secret"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("NAME=VALUE"), "{error}");
}
