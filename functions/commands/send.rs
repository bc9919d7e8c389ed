//! `weir send`: the lines of a file or of standard input as events, through the SDK that producers use.
//!
//! At least once: what is not known to have arrived is sent again.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use azure_messaging_eventhubs::models::EventData;
use azure_messaging_eventhubs::{EventDataBatchOptions, ProducerClient};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_intake::hub::HubConnection;
use weir_platform::Settings;

use super::say;

/// Where `weir dev` listens.
const LOCAL: &str =
    "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=local;SharedAccessKey=local;UseDevelopmentEmulator=true";
/// The SDK has no limit of time of its own, and may wait for ever.
const CALL_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 4;
/// As Event Hubs takes it.
const MAX_LINE: usize = 1024 * 1024;
const MAX_KEY: usize = 128;
/// Lines that are read ahead, and that one batch is made of at most.
const READ_AHEAD: usize = 4096;
const READ_AHEAD_BYTES: usize = 1024 * 1024;
/// A line waits as long at most for others to share its batch.
const LINGER: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Event Hub to send to
    hub: String,
    /// File with one event a line; `-`: standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Field of the JSON lines whose value is the partition key
    #[arg(long)]
    key: Option<String>,
    /// Events a second at most: `100` or `100/s`
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Connection string, or namespace such as `mine.servicebus.windows.net` [default: `weir dev` on this machine]
    #[arg(long)]
    to: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// A line with its key.
#[derive(Debug)]
struct Line {
    body: Vec<u8>,
    key: Option<String>,
}

pub(crate) async fn run(arguments: Arguments, settings: &Settings) -> Result<ExitCode> {
    let connection = connection(arguments.to.as_deref(), settings)?;
    let source: Box<dyn Read + Send> = if arguments.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(&arguments.file);
        Box::new(file.with_context(|| format!("open {}", arguments.file.display()))?)
    };
    let (lines, queue) = mpsc::channel(READ_AHEAD);
    let key = arguments.key.clone();
    let reading = tokio::task::spawn_blocking(move || read_lines(BufReader::new(source), key.as_deref(), &lines));
    let mut sender = Sender::new(connection, arguments.hub.clone(), arguments.rate);
    let sent = sender.send_all(queue).await;
    sender.progress.finish_and_clear();
    sent.with_context(|| format!("{} events were sent before", sender.events))?;
    reading.await.context("read the lines")?.with_context(|| format!("{} events were sent before", sender.events))?;
    let seconds = sender.started.elapsed().as_secs_f64();
    let Sender { hub, events, bytes, batches, repeated, .. } = &sender;
    if arguments.json {
        say(json!({ "hub": hub, "events": events, "bytes": bytes, "batches": batches, "repeated_batches": repeated,
            "seconds": seconds }));
    } else {
        say(format_args!("{hub}: {events} events, {bytes} bytes, in {batches} batches; {seconds:.1} s"));
    }
    // Standard input may be waiting in a thread of its own; the process ends without it.
    Ok(ExitCode::SUCCESS)
}

fn connection(to: Option<&str>, settings: &Settings) -> Result<HubConnection> {
    match to {
        None => Ok(HubConnection::parse(LOCAL)?),
        Some(text) if text.contains('=') => Ok(HubConnection::parse(text)?),
        Some(namespace) => {
            let sane = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
            let named = namespace.contains('.') && namespace.chars().all(sane);
            anyhow::ensure!(
                named,
                "--to: neither a connection string nor a namespace such as mine.servicebus.windows.net"
            );
            Ok(HubConnection::with_identity(namespace, weir_platform::identity(settings)?))
        }
    }
}

/// Reads lines until the end, or until nobody takes them. Empty lines are no events.
fn read_lines(mut source: impl BufRead, key: Option<&str>, lines: &mpsc::Sender<Line>) -> Result<()> {
    for number in 1_u64.. {
        let mut body = Vec::new();
        // One byte more than is allowed shows that the line is too long, whatever its length is.
        let read = source.by_ref().take(MAX_LINE as u64 + 2).read_until(b'\n', &mut body);
        if read.context("read a line")? == 0 {
            break;
        }
        while body.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            body.pop();
        }
        anyhow::ensure!(
            body.len() <= MAX_LINE,
            "line {number}: longer than the {MAX_LINE} bytes that an event may have"
        );
        if body.is_empty() {
            continue;
        }
        let key = key.map(|field| key_of(&body, field)).transpose().with_context(|| format!("line {number}"))?;
        if lines.blocking_send(Line { body, key }).is_err() {
            break;
        }
    }
    Ok(())
}

/// The value of a field as a key: a string as it is, a number or a truth value as JSON writes it.
fn key_of(line: &[u8], field: &str) -> Result<String> {
    let value: Value =
        serde_json::from_slice(line).map_err(|_| anyhow::anyhow!("not JSON, so it has no key {field:?}"))?;
    let key = match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(_) => anyhow::bail!("field {field:?} is neither text nor a number"),
        None => anyhow::bail!("no field {field:?}"),
    };
    anyhow::ensure!(key.len() <= MAX_KEY, "field {field:?}: a partition key has {MAX_KEY} bytes at most");
    Ok(key)
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    number.filter(|rate| rate.is_finite() && *rate > 0.0).ok_or_else(|| "a number above 0, such as 100/s".to_owned())
}

struct Sender {
    connection: HubConnection,
    hub: String,
    rate: Option<f64>,
    client: Option<ProducerClient>,
    started: Instant,
    events: u64,
    bytes: u64,
    batches: u64,
    repeated: u64,
    progress: ProgressBar,
}

impl Sender {
    fn new(connection: HubConnection, hub: String, rate: Option<f64>) -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let progress = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} events, {per_sec}") {
            progress.set_style(style);
        }
        let (client, started) = (None, Instant::now());
        Self { connection, hub, rate, client, started, events: 0, bytes: 0, batches: 0, repeated: 0, progress }
    }

    async fn send_all(&mut self, mut queue: mpsc::Receiver<Line>) -> Result<()> {
        let mut open = true;
        while open {
            let (mut lines, mut bytes) = (Vec::new(), 0);
            let most = self.rate.map_or(READ_AHEAD, |rate| (rate / 5.0).ceil().clamp(1.0, READ_AHEAD as f64) as usize);
            let full = tokio::time::sleep(LINGER);
            tokio::pin!(full);
            while lines.len() < most && bytes < READ_AHEAD_BYTES {
                let line = tokio::select! {
                    line = queue.recv() => line,
                    () = &mut full, if !lines.is_empty() => break,
                };
                let Some(line) = line else {
                    open = false;
                    break;
                };
                bytes += line.body.len();
                lines.push(line);
            }
            self.send_lines(lines).await?;
        }
        Ok(())
    }

    /// Lines with one key go together, in their order; those without are a group of their own.
    async fn send_lines(&mut self, lines: Vec<Line>) -> Result<()> {
        let mut groups: Vec<(Option<String>, Vec<Vec<u8>>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for line in lines {
            let place = *places.entry(line.key.clone()).or_insert_with(|| {
                groups.push((line.key, Vec::new()));
                groups.len() - 1
            });
            if let Some((_, bodies)) = groups.get_mut(place) {
                bodies.push(line.body);
            }
        }
        for (key, bodies) in groups {
            let mut rest = &bodies[..];
            while !rest.is_empty() {
                self.wait_for_turn().await;
                let sent = self.send_batch(key.as_deref(), rest).await?;
                let (done, left) = rest.split_at(sent);
                self.batches += 1;
                self.events += sent as u64;
                self.bytes += done.iter().map(|body| body.len() as u64).sum::<u64>();
                self.progress.set_position(self.events);
                rest = left;
            }
        }
        Ok(())
    }

    async fn wait_for_turn(&self) {
        if let Some(rate) = self.rate {
            let due = self.started + Duration::from_secs_f64(self.events as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Sends as many as fit into one batch and says how many that were. A client that failed or did not answer is
    /// replaced, and the batch sent again.
    async fn send_batch(&mut self, key: Option<&str>, bodies: &[Vec<u8>]) -> Result<usize> {
        let mut attempt = 1;
        loop {
            let client = self.client.take();
            let hub = &self.hub;
            let trying = async {
                let client = match client {
                    Some(client) => client,
                    None => self.connection.producer(hub).await?,
                };
                let sent = try_batch(&client, key, bodies).await?;
                Ok::<_, anyhow::Error>((client, sent))
            };
            let error = match timeout(CALL_LIMIT, trying).await {
                Ok(Ok((client, sent))) => {
                    self.client = Some(client);
                    anyhow::ensure!(sent > 0, "an event is too large for a batch");
                    return Ok(sent);
                }
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("no answer within {} s", CALL_LIMIT.as_secs()),
            };
            if attempt == ATTEMPTS {
                return Err(error.context(format!("send to {hub}")));
            }
            attempt += 1;
            self.repeated += 1;
            tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempt)).await;
        }
    }
}

/// A batch without an event is not sent: the SDK would panic.
async fn try_batch(client: &ProducerClient, key: Option<&str>, bodies: &[Vec<u8>]) -> Result<usize> {
    let options = EventDataBatchOptions { partition_key: key.map(str::to_owned), ..Default::default() };
    let batch = client.create_batch(Some(options)).await?;
    let mut count = 0;
    for body in bodies {
        let event = EventData::builder().with_body(body.clone()).build();
        if !batch.try_add_event_data(event, None)? {
            break;
        }
        count += 1;
    }
    if count > 0 {
        client.send_batch(batch, None).await?;
    }
    Ok(count)
}
