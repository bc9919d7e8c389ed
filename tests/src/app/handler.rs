//! A running `weir serve`, and the envelopes that the Functions host posts to it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::site::Site;
use crate::structure;
use crate::support::weir_binary;

/// The handler gives up on nothing in less.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// The handler process. It is killed when this is dropped, as the host would.
pub(crate) struct Handler {
    child: Child,
    pub(super) port: u16,
    pub(super) log: PathBuf,
    /// From the start of the process to the first answer.
    pub(super) ready_after: Duration,
    client: reqwest::Client,
}

/// What the handler answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Part of one partition, as one invocation gets it.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) partition: u32,
    /// Sequence number and body of each event.
    pub(super) events: Vec<(i64, Vec<u8>)>,
}

impl Handler {
    pub(crate) async fn start(site: &Site) -> Self {
        Self::start_with(site, &[]).await
    }

    /// `extra` settings win over the site's.
    pub(super) async fn start_with(site: &Site, extra: &[(&str, &str)]) -> Self {
        // A free port may be gone before the handler takes it.
        for _ in 0..5 {
            if let Some(handler) = Self::try_start(site, free_port(), extra).await {
                return handler;
            }
        }
        panic!("the handler does not start: {}", fs::read_to_string(site.path("handler.log")).unwrap());
    }

    /// On that port or not at all.
    pub(super) async fn start_on(site: &Site, port: u16) -> Self {
        let started = Self::try_start(site, port, &[]).await;
        started.unwrap_or_else(|| panic!("port {port}: {}", fs::read_to_string(site.path("handler.log")).unwrap()))
    }

    async fn try_start(site: &Site, port: u16, extra: &[(&str, &str)]) -> Option<Self> {
        let binary = weir_binary();
        let log = site.path("handler.log");
        let output = || File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(binary);
        command.arg("serve").env_clear().envs(site.settings()).envs(extra.iter().copied());
        command.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string());
        let began = Instant::now();
        let child = command.current_dir(site.path("")).stdin(Stdio::null()).stdout(output()).stderr(output()).spawn();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut handler = Self { child: child.unwrap(), port, log, ready_after: Duration::ZERO, client };
        while began.elapsed() < READY_LIMIT {
            if handler.alive().await {
                handler.ready_after = began.elapsed();
                return Some(handler);
            }
            if handler.child.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the handler does not answer: {}", handler.logged());
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Whether `GET /` is answered.
    pub(super) async fn alive(&self) -> bool {
        let answer = self.client.get(self.url("/")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Everything that the handlers of this site have written to stdout and stderr.
    pub(super) fn logged(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Peak resident memory. Bytes.
    pub(super) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// CPU time of the process, in steps of 10 ms.
    pub(super) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    pub(super) async fn status(&self) -> Value {
        let answer = self.client.get(self.url("/api/status")).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Posts a body to a function, as the host does. `None`: the handler died over it.
    pub(super) async fn try_post(&self, function: &str, body: impl Into<reqwest::Body>) -> Option<Answer> {
        let request = self.client.post(self.url(&format!("/{function}"))).body(body);
        let request = request
            .header("content-type", "application/json; charset=utf-8")
            .header("x-azure-functions-invocationid", "35e6e68c-0b7f-4b52-9d2c-8d6c7a9c1f10");
        let answer = request.send().await.ok()?;
        let answer = Answer { status: answer.status().as_u16(), text: answer.text().await.ok()? };
        if let Ok(value) = serde_json::from_str::<Value>(&answer.text) {
            structure::assert_names_no_output(function, &value["ReturnValue"]);
        }
        Some(answer)
    }

    pub(super) async fn post(&self, function: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.try_post(function, body).await.unwrap()
    }

    /// Delivers a queue message to a function.
    pub(crate) async fn queue(&self, function: &str, message: &[u8]) -> Answer {
        self.post(function, queue_envelope(message)).await
    }

    /// The same, as a message with another id.
    pub(super) async fn queue_with(&self, function: &str, message: &[u8], id: &str) -> Answer {
        self.post(function, queue_envelope(message).replace("9a5b2c1e-7f51-4f0e-9d3a-3c8a52d3f7aa", id)).await
    }

    /// Delivers a blob event; answers the receipt.
    pub(super) async fn ingest(&self, message: &[u8]) -> Value {
        self.queue("ingest_blob", message).await.receipt()
    }

    /// Delivers events of the hub `clicks`.
    pub(super) async fn events(&self, batch: &Batch) -> Answer {
        self.post("ingest_clicks", batch.envelope().to_string()).await
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // An error says that it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The return value of an invocation that succeeded.
    pub(super) fn receipt(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let receipt = self.json()["ReturnValue"].clone();
        // Whatever a test is about: every byte that came in was read.
        assert_eq!(receipt["books"]["bytesIn"], receipt["books"]["bytesRead"], "{receipt}");
        receipt
    }
}

/// Records in, committed, quarantined, already committed.
pub(super) fn books(receipt: &Value) -> [u64; 4] {
    let books = &receipt["books"];
    ["recordsIn", "committed", "quarantined", "alreadyCommitted"]
        .map(|key| books[key].as_u64().unwrap_or_else(|| panic!("no books.{key} in {receipt}")))
}

impl Batch {
    /// Events with `{"n": <sequence number>}`.
    pub(super) fn counting(partition: u32, sequence_numbers: impl IntoIterator<Item = i64>) -> Self {
        let events = sequence_numbers.into_iter().map(|n| (n, json!({ "n": n }).to_string().into_bytes()));
        Self { partition, events: events.collect() }
    }

    pub(super) fn of(partition: u32, events: &[(i64, &str)]) -> Self {
        Self { partition, events: events.iter().map(|(n, body)| (*n, body.as_bytes().to_vec())).collect() }
    }

    /// `_source` of these events.
    pub(super) fn source(&self) -> String {
        format!("eventhub:ns/clicks/{}", self.partition)
    }

    /// As a host with another consumer group, or settings that spell names otherwise, writes it.
    pub(super) fn spelled(&self, namespace: &str, hub: &str, group: &str) -> Value {
        let mut envelope = self.envelope();
        let context = &mut envelope["Metadata"]["PartitionContext"];
        context["FullyQualifiedNamespace"] = namespace.into();
        context["EventHubName"] = hub.into();
        context["ConsumerGroup"] = group.into();
        envelope
    }

    /// As the host writes it: every array is a string that holds JSON.
    pub(super) fn envelope(&self) -> Value {
        let bodies: Vec<String> = self.events.iter().map(|(_, body)| BASE64.encode(body)).collect();
        let numbers: Vec<i64> = self.events.iter().map(|(number, _)| *number).collect();
        let system = |number: &i64| json!({ "SequenceNumber": number, "Offset": number * 64, "PartitionKey": null });
        let context = json!({
            "FullyQualifiedNamespace": "ns.servicebus.windows.net",
            "EventHubName": "clicks",
            "ConsumerGroup": "weir",
            "PartitionId": self.partition.to_string(),
        });
        let array = |values: Value| Value::String(values.to_string());
        json!({
            "Data": { "events": array(json!(bodies)) },
            "Metadata": {
                "PartitionContext": context,
                "SequenceNumberArray": array(json!(numbers)),
                "OffsetArray": array(numbers.iter().map(|number| json!((number * 64).to_string())).collect()),
                "SystemPropertiesArray": array(numbers.iter().map(system).collect()),
                "sys": { "MethodName": "ingest_clicks", "UtcNow": "2026-01-05T10:00:00.0042Z" },
            },
        })
    }
}

/// A message of a queue trigger with `dataType: binary`.
pub(super) fn queue_envelope(message: &[u8]) -> String {
    json!({
        "Data": { "event": BASE64.encode(message) },
        "Metadata": {
            "DequeueCount": "1",
            "Id": "\"9a5b2c1e-7f51-4f0e-9d3a-3c8a52d3f7aa\"",
            "InsertionTime": "2026-01-05T10:00:00+00:00",
            "sys": { "MethodName": "ingest_blob", "UtcNow": "2026-01-05T10:00:00.0042Z" },
        },
    })
    .to_string()
}

/// A request to an HTTP function, as the host hands it over; `None` for a body that it did not pass on.
pub(super) fn http_envelope(function: &str, body: Option<&str>) -> String {
    let request = json!({
        "Url": format!("https://app.test/api/{function}"), "Method": "POST", "Query": {}, "Params": {},
        "Headers": { "Content-Type": ["application/json"] }, "Body": body,
    });
    json!({ "Data": { "req": request }, "Metadata": {} }).to_string()
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
