//! The whole way on one machine: users' producers, of whatever SDK, send to `weir dev`, and its functions commit what came.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_intake::hub::{HubConnection, HubRange, HubReader, ReadLimits};

use crate::support::weir_binary;

const PATIENCE: Duration = Duration::from_secs(60);
const CONTRACT: &str = r#"
name = "readings"
[source]
kind = "events"
hub = "readings"
consumer_group = "weir"
[format]
type = "ndjson"
[[columns]]
name = "device"
type = "string"
nullable = false
[[columns]]
name = "value"
type = "long"
"#;

/// A running `weir dev`, killed at the end.
struct Dev {
    folder: TempDir,
    child: Child,
    /// `key=value` of what it printed at its start.
    connection: String,
    status: String,
    /// What it printed until it was ready.
    printed: Vec<String>,
}

impl Dev {
    fn start(folder: TempDir) -> Self {
        fs::create_dir_all(folder.path().join("datasets")).unwrap();
        fs::write(folder.path().join("datasets/readings.toml"), CONTRACT).unwrap();
        let (http, amqp) = (free_port(), free_port());
        let mut command = weir(folder.path());
        command.args(["dev", "--dir", "work", "--datasets", "datasets", "--port", &http.to_string()]);
        command.args(["--amqp-port", &amqp.to_string()]);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut connection, mut status, mut printed) = (String::new(), String::new(), Vec::new());
        for line in lines.by_ref().map(Result::unwrap) {
            printed.push(line.clone());
            if let Some(rest) = line.strip_prefix("events   amqp://") {
                let (address, rest) = rest.split_once(" (connection string: ").unwrap();
                assert_eq!(address, format!("127.0.0.1:{amqp}"));
                connection = rest.strip_suffix(')').unwrap().to_owned();
                assert!(connection.starts_with(&format!("Endpoint=sb://{address};")), "{connection}");
                assert!(connection.ends_with(";UseDevelopmentEmulator=true"), "{connection}");
            }
            if let Some(rest) = line.strip_prefix("books    curl '") {
                status = rest.split('\'').next().unwrap().to_owned();
            }
            if line == "Ctrl-C stops" {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { folder, child, connection, status, printed }
    }

    fn send(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = weir(self.folder.path());
        command.args(["send", "readings"]).args(arguments).args(["--to", &self.connection, "--json"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        // A command that reads a file, or fails at once, does not take it.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    async fn books(&self) -> Value {
        let answer = reqwest::get(&self.status).await.unwrap().text().await.unwrap();
        let status: Value = serde_json::from_str(&answer).unwrap();
        status["datasets"][0].clone()
    }

    async fn committed(&self, count: u64) {
        let began = Instant::now();
        loop {
            let books = self.books().await;
            if books["table"]["books"]["committed"] == json!(count) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{books}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn weir(folder: &Path) -> Command {
    let mut command = Command::new(weir_binary());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder).current_dir(folder).stdin(Stdio::null());
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|value| format!("{{\"device\":\"d{}\",\"value\":{value}}}\n", value % 7)).collect()
}

fn summary(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_the_port_is_what_functions_get_and_readers_read() {
    weir_platform::install_crypto_provider();
    let dev = Dev::start(tempfile::tempdir().unwrap());
    let sent = summary(&dev.send(&["-", "--key", "device"], &format!("{}\n\r\n", lines(0..2_000))));
    assert_eq!((&sent["events"], &sent["repeated_batches"]), (&json!(2000), &json!(0)));
    dev.committed(2_000).await;
    fs::write(dev.folder.path().join("more.ndjson"), lines(2_000..2_050)).unwrap();
    let began = Instant::now();
    let sent = summary(&dev.send(&["more.ndjson", "--rate", "100/s"], ""));
    assert_eq!(sent["events"], json!(50));
    assert!(began.elapsed() >= Duration::from_millis(200), "100 a second, in steps of a fifth of a second");
    dev.committed(2_050).await;

    // One log: by key in one partition and in order, whoever reads it.
    let reader = HubReader::new(HubConnection::parse(&dev.connection).unwrap());
    let mut found = 0;
    let mut homes = std::collections::BTreeMap::new();
    for partition in 0..4 {
        let range = HubRange::Sequences(0..=10_000);
        let read = reader.read("readings", "inspection", partition, range, ReadLimits::default()).await.unwrap();
        assert_eq!(read.end_sequence, read.events.len() as u64);
        found += read.events.len();
        let mut last = std::collections::BTreeMap::new();
        for event in read.events.iter().filter(|event| event.partition_key.is_some()) {
            let line: Value = serde_json::from_slice(event.body.as_deref().unwrap()).unwrap();
            let device = line["device"].as_str().unwrap().to_owned();
            assert_eq!(event.partition_key.as_ref(), Some(&device));
            assert_eq!(*homes.entry(device.clone()).or_insert(partition), partition, "{device}");
            let value = line["value"].as_u64().unwrap();
            assert!(last.insert(device, value).is_none_or(|before| before < value));
        }
    }
    assert_eq!((found, homes.len()), (2_050, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_their_properties_survive_the_end_of_the_process() {
    weir_platform::install_crypto_provider();
    let mut dev = Dev::start(tempfile::tempdir().unwrap());
    summary(&dev.send(&[], &lines(0..100)));
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    let folder = std::mem::replace(&mut dev.folder, tempfile::tempdir().unwrap());
    drop(dev);
    let again = Dev::start(folder);
    again.committed(100).await;
    let consumer = HubConnection::parse(&again.connection).unwrap().consumer("readings", "g").await.unwrap();
    let mut total = 0;
    for partition in 0..4 {
        let properties = consumer.get_partition_properties(&partition.to_string()).await.unwrap();
        total += properties.last_enqueued_sequence_number + 1;
    }
    assert_eq!(total, 100);
}

/// The app reads the hubs that `weir dev` offers: what its host passed over is there all the same, and events come again.
/// A contract that is wrong keeps nobody from that.
#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_healed_and_events_replayed_on_a_laptop() {
    weir_platform::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    // As if the host had gone on without the first events of each partition.
    let checkpoints = folder.path().join("work/host/checkpoints/readings/weir");
    fs::create_dir_all(&checkpoints).unwrap();
    (0..4).for_each(|partition| fs::write(checkpoints.join(partition.to_string()), "2").unwrap());
    fs::create_dir_all(folder.path().join("datasets")).unwrap();
    fs::write(folder.path().join("datasets/wrong.toml"), "name = \"wrong\"\nnonsense = 1\n").unwrap();
    let rule = "[[rules]]\nname = \"r\"\nexpr = \"nothing > 1\"\naction = \"warn\"\n";
    let contract = CONTRACT.replace("\"readings\"", "\"other\"");
    fs::write(folder.path().join("datasets/other.toml"), format!("{contract}{rule}")).unwrap();
    let dev = Dev::start(folder);
    for (file, what) in [("wrong.toml", "nonsense"), ("other.toml", "nothing")] {
        let is_it = |line: &&String| line.starts_with(&format!("left out {file}")) && line.contains(what);
        assert!(dev.printed.iter().any(|line| is_it(&line)), "{:?}", dev.printed);
    }
    summary(&dev.send(&["-", "--key", "device"], &lines(0..2_000)));
    dev.committed(2_000).await;
    let client = reqwest::Client::new();
    let answer =
        client.post(dev.status.replace("/api/status", "/api/reprocess")).json(&json!({ "dataset": "readings" }));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202, "{}", answer.text().await.unwrap());
    let began = Instant::now();
    loop {
        let books = dev.books().await;
        if books["table"]["books"]["replaced"] == json!(2_000) {
            assert_eq!((&books["table"]["rows"], &books["balanced"]), (&json!(2_000), &json!(true)));
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{books}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn what_cannot_be_sent_is_said_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let local =
        "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=a;SharedAccessKey=secret-word;UseDevelopmentEmulator=true";
    fs::write(folder.path().join("bad.ndjson"), "{\"device\":\"x\"}\nnot json at all\n").unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["missing.ndjson"], "open missing.ndjson"),
        (&["-", "--rate", "0"], "a number above 0"),
        (&["-", "--to", "nowhere"], "neither a connection string nor a namespace"),
        (
            &[
                "-",
                "--to",
                "Endpoint=sb://example.com;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true",
            ],
            "on this machine",
        ),
    ];
    for (arguments, message) in cases {
        let output = weir(folder.path()).args(["send", "readings"]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(message), "{said}");
    }
    let output = weir(folder.path()).args(["send", "readings", "bad.ndjson", "--to", local]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !said.contains("secret-word"), "{said}");
}
