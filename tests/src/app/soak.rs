//! Event Hubs with everything wrong at once, seeded: batches that come again, overlap, change their order or are lost; two
//! owners of each partition; handlers that are killed; bodies that are none; storage that refuses, loses answers and drops
//! connections; replays in between. In the end each event that the hub accepted is in `table ∪ quarantine` once.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use deltalake::DeltaTableBuilder;
use futures::future::join_all;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::gaps::Hub;
use super::handler::{Batch, Handler};
use super::site::Site;
use crate::azurite;

const PARTITIONS: u32 = 2;
const OWNERS: usize = 2;

/// What a body says, which decides where it has to end.
fn body(random: &mut StdRng, n: usize) -> String {
    match random.random_range(0..100) {
        0 => String::new(),
        1 => format!("{{\"n\": {n}"),
        2 => "[[1]]".to_owned(),
        3..=7 => json!({ "n": -1 - n as i64 }).to_string(),
        8 => json!({ "n": n, "more": "x".repeat(random.random_range(0..100_000)) }).to_string(),
        _ => json!({ "n": n }).to_string(),
    }
}

/// Whether the table must have it.
fn is_sound(body: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(body).is_ok_and(|value| value["n"].as_i64().is_some_and(|n| n >= 0))
}

/// A proxy in front of storage.
#[derive(Clone)]
struct Faults {
    client: reqwest::Client,
    target: Arc<str>,
    random: Arc<Mutex<StdRng>>,
    on: Arc<AtomicBool>,
    caused: Arc<AtomicU64>,
}

impl Faults {
    async fn start(target: &str, seed: u64) -> (Self, u16) {
        let faults = Self {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            target: target.into(),
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            on: Arc::new(AtomicBool::new(true)),
            caused: Arc::default(),
        };
        let router = Router::new().fallback(forward).with_state(faults.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (faults, port)
    }

    fn refuse(&self) -> Response<Body> {
        self.caused.fetch_add(1, Ordering::Relaxed);
        Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty()).unwrap()
    }
}

async fn forward(State(faults): State<Faults>, request: Request<Body>) -> Response<Body> {
    let dice = if faults.on.load(Ordering::Relaxed) { faults.random.lock().unwrap().random_range(0..100) } else { 100 };
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    match dice {
        0..3 => return faults.refuse(),
        3..10 => tokio::time::sleep(Duration::from_millis(10 * dice)).await,
        _ => {}
    }
    let query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut sent = faults.client.request(parts.method, format!("{}{query}", faults.target));
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != "host") {
        sent = sent.header(name, value);
    }
    let Ok(answer) = sent.body(body).send().await else { return faults.refuse() };
    // Done, and nobody hears of it.
    if (10..13).contains(&dice) {
        return faults.refuse();
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    let bytes = answer.bytes().await.unwrap_or_default();
    if dice == 13 {
        faults.caused.fetch_add(1, Ordering::Relaxed);
        // The connection breaks in the middle of the answer.
        let torn = futures::stream::iter([Ok(bytes), Err(std::io::Error::other("torn"))]);
        return response.body(Body::from_stream(torn)).unwrap();
    }
    response.body(Body::from(bytes)).unwrap()
}

/// What the hub accepted, and who may be asked to ingest it.
struct World {
    bodies: Vec<Mutex<Vec<String>>>,
    ports: Vec<AtomicU16>,
    until: Instant,
    seen: Mutex<BTreeMap<String, u32>>,
}

impl World {
    fn batch(&self, partition: u32, from: usize, to: usize) -> Batch {
        let bodies = self.bodies[partition as usize].lock().unwrap();
        let to = to.min(bodies.len());
        let events = (from..to).map(|n| (n as i64, bodies[n].clone().into_bytes()));
        Batch { partition, events: events.collect() }
    }

    /// Whether it was answered with 200.
    async fn post(&self, handler: usize, function: &str, body: String, patience: Duration) -> bool {
        let url = format!("http://127.0.0.1:{}/{function}", self.ports[handler].load(Ordering::Relaxed));
        let client = reqwest::Client::builder().no_proxy().timeout(patience).build().unwrap();
        let request = client.post(url).header("content-type", "application/json").body(body);
        let request = request.header("x-azure-functions-invocationid", "35e6e68c-0b7f-4b52-9d2c-8d6c7a9c1f10");
        let (what, done) = match request.send().await {
            Err(error) if error.is_timeout() => ("gave up".to_owned(), false),
            Err(_) => ("dead".to_owned(), false),
            Ok(answer) => {
                let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap_or_default());
                let receipt: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let receipt = &receipt["ReturnValue"];
                let healed = if receipt["gap"].is_null() { "" } else { ", healed" };
                (format!("{function} {status} {}{healed}", receipt["outcome"].as_str().unwrap_or("")), status == 200)
            }
        };
        *self.seen.lock().unwrap().entry(what).or_default() += 1;
        done
    }

    /// One owner of one partition, with a checkpoint of its own.
    async fn own(&self, partition: u32, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut at = 0_usize;
        while Instant::now() < self.until {
            match random.random_range(0..20) {
                // A batch is lost, and another owner's checkpoint is behind.
                0 | 1 => at += random.random_range(1..300),
                2 | 3 => at = at.saturating_sub(random.random_range(0..400)),
                _ => {}
            }
            let there = self.bodies[partition as usize].lock().unwrap().len();
            at = at.min(there);
            let size =
                if random.random_ratio(1, 20) { random.random_range(0..1_500) } else { random.random_range(0..200) };
            let first = self.batch(partition, at, at + size);
            let end = at + first.events.len();
            let patience = Duration::from_millis(random.random_range(100..6_000));
            let handler = random.random_range(0..OWNERS);
            if random.random_ratio(1, 30) {
                let (from, to) = (random.random_range(0..=at), random.random_range(0..2_000));
                let window = json!({ "from": from, "to": from + to });
                let task = json!({ "task": "replay", "dataset": "clicks", "partition": partition, "window": window,
                    "request": random.random::<u64>().to_string() });
                let message = super::handler::queue_envelope(task.to_string().as_bytes());
                self.post(handler, "run_task", message, patience).await;
                continue;
            }
            let sent = self.post(handler, "ingest_clicks", first.envelope().to_string(), patience);
            // The next one comes first, or at the same time.
            let next = self.batch(partition, end, end + random.random_range(0..100));
            let done = if random.random_ratio(1, 5) && !next.events.is_empty() {
                let other = random.random_range(0..OWNERS);
                let early = self.post(other, "ingest_clicks", next.envelope().to_string(), patience);
                let (_, done) = tokio::join!(early, sent);
                done
            } else {
                sent.await
            };
            // The host checkpoints whether the function succeeded or not.
            if done || random.random() {
                at = end;
            }
            if end == there {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_wrong_at_once_leaves_each_event_once() {
    let seed = std::env::var("WEIR_TEST_SEED").map_or(20_261_125, |seed| seed.parse::<u64>().unwrap());
    let seconds = std::env::var("WEIR_TEST_SOAK_S").map_or(20, |seconds| seconds.parse::<u64>().unwrap());
    println!("seed {seed}, {seconds} s; WEIR_TEST_SEED and WEIR_TEST_SOAK_S set others");
    let mut random = StdRng::seed_from_u64(seed);
    let (url, container) = azurite::named_container().await;
    let (target, account) = url.rsplit_once('/').unwrap();
    let (faults, port) = Faults::start(target, random.random()).await;
    let (site, hub) = (Site::new(), Hub::start(0).await);
    let settings = [
        ("EventHub".to_owned(), hub.service.connection_string()),
        ("WEIR_LAKE_URL".to_owned(), format!("http://127.0.0.1:{port}/{account}/{container}/tables")),
        ("WEIR_DEADLINE_S".to_owned(), "30".to_owned()),
        ("WEIR_LOG".to_owned(), "warn".to_owned()),
    ];
    let extra: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (&**key, &**value)).collect();
    let mut handlers = Vec::new();
    for _ in 0..OWNERS {
        handlers.push(Handler::start_with(&site, &extra).await);
    }
    let world = World {
        bodies: (0..PARTITIONS).map(|_| Mutex::default()).collect(),
        ports: handlers.iter().map(|handler| AtomicU16::new(handler.port)).collect(),
        until: Instant::now() + Duration::from_secs(seconds),
        seen: Mutex::default(),
    };
    let owners = (0..PARTITIONS as usize * OWNERS).map(|owner| world.own(owner as u32 % PARTITIONS, random.random()));
    let owners: Vec<_> = owners.collect();
    let produce = produce(&world, &hub, random.random());
    let kill = async {
        let mut kills = 0;
        while Instant::now() < world.until {
            tokio::time::sleep(Duration::from_millis(random.random_range(200..2_500))).await;
            let one = random.random_range(0..OWNERS);
            handlers.swap_remove(one).kill();
            handlers.insert(one.min(handlers.len()), Handler::start_with(&site, &extra).await);
            for (port, handler) in world.ports.iter().zip(&handlers) {
                port.store(handler.port, Ordering::Relaxed);
            }
            kills += 1;
        }
        kills
    };
    let (_, (), kills) = tokio::join!(join_all(owners), produce, kill);
    let caused = faults.caused.load(Ordering::Relaxed);
    println!("{kills} kills, {caused} faults of storage, answers: {:#?}", world.seen.lock().unwrap());
    faults.on.store(false, Ordering::Relaxed);
    // The hub goes quiet. The last event of each partition comes to a handler that nobody kills.
    let last = Handler::start_with(&site, &extra).await;
    for partition in 0..PARTITIONS {
        let there = world.bodies[partition as usize].lock().unwrap().len();
        let since = Instant::now();
        let answer = last.events(&world.batch(partition, there - 1, there)).await;
        println!("{:?} for the rest of partition {partition}: {}", since.elapsed(), answer.text);
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let store = azurite::store(&url, &container);
    check(&world, &store).await;
    assert!(caused > 20 && kills > 5, "too little went wrong");
    assert_eq!(last.status().await["balanced"], true);
}

/// Events come in bursts; the hub and the host have the same.
async fn produce(world: &World, hub: &Hub, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while Instant::now() < world.until {
        for partition in 0..PARTITIONS {
            let mut bodies = world.bodies[partition as usize].lock().unwrap();
            let from = bodies.len();
            bodies.extend((from..from + random.random_range(1..60)).map(|n| body(&mut random, n)));
            let new: Vec<&str> = bodies[from..].iter().map(String::as_str).collect();
            hub.add(partition, &new);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..100))).await;
    }
}

/// delta-rs tells the files and Polars reads them: no code of Weir.
async fn check(world: &World, store: &Arc<dyn ObjectStore>) {
    let (mut rows, mut quarantined) = (BTreeMap::new(), BTreeMap::new());
    for (table, found) in [("clicks", &mut rows), ("clicks__quarantine", &mut quarantined)] {
        for frame in frames(store, table).await {
            let sources = frame.column("_source").unwrap().str().unwrap();
            let positions = frame.column("_source_position").unwrap().i64().unwrap();
            for (source, position) in sources.iter().zip(positions.iter()) {
                *found.entry((source.unwrap().to_owned(), position.unwrap())).or_insert(0) += 1;
            }
        }
    }
    let mut events = 0;
    for partition in 0..PARTITIONS {
        let bodies = world.bodies[partition as usize].lock().unwrap();
        for (n, body) in bodies.iter().enumerate() {
            let place = (format!("eventhub:ns/clicks/{partition}"), n as i64);
            let expected = if is_sound(body) { (Some(1), None) } else { (None, Some(1)) };
            assert_eq!((rows.remove(&place), quarantined.remove(&place)), expected, "{place:?}: {body:.60}");
        }
        events += bodies.len();
    }
    println!("{events} events");
    assert!(rows.is_empty() && quarantined.is_empty(), "nobody sent these: {rows:?} {quarantined:?}");
}

async fn frames(store: &Arc<dyn ObjectStore>, table: &str) -> Vec<DataFrame> {
    let folder = ObjectPath::from(format!("tables/{table}"));
    let at = url::Url::parse("memory:///").unwrap();
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(store), folder.clone()));
    let opened =
        DeltaTableBuilder::from_url(at.clone()).unwrap().with_storage_backend(prefixed, at).load().await.unwrap();
    let uris: Vec<String> = opened.get_file_uris().unwrap().collect();
    let mut frames = Vec::new();
    for uri in uris {
        let name = uri.trim_start_matches("memory://").trim_start_matches('/').to_owned();
        let path = ObjectPath::parse(format!("{folder}/{name}")).unwrap();
        let content = store.get(&path).await.unwrap().bytes().await.unwrap();
        frames.push(ParquetReader::new(Cursor::new(content)).finish().unwrap());
    }
    frames
}
