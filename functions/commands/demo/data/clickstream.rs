//! Invented visitors of a web shop. Many sessions run side by side; each has a user or none, and walks from page to page.

use chrono::{DateTime, SecondsFormat};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::faults::{Faults, MEAN_GAP, pick, rng, set, spoil_utf8, truncate};
use super::{Event, EventBatchOut, Expected, Plan, Verdict};

const EVENTS: u64 = 20_000;
/// Of returning users, for each step of the scale.
const USERS: u32 = 3_000;
/// That run at the same time.
const SESSIONS: usize = 150;
/// 2025-03-01T00:00:00Z. `EVENTS` fill about a day.
const START_MS: i64 = 1_740_787_200_000;
const LONGEST_PAUSE_MS: i64 = 8_640;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TextInNumber,
    BadTime,
    NoEventId,
    NullUrl,
    /// Breaks a rule that quarantines.
    UnknownType,
    Truncated,
    /// JSON, but not an object.
    NotAnObject,
    Empty,
    NotUtf8,
    NulCharacter,
    /// Fields that the contract does not know are rescued.
    UnknownFields,
    /// Breaks a rule that only warns.
    NegativeDuration,
}

const FAULTS: &[Fault] = &[
    Fault::TextInNumber,
    Fault::BadTime,
    Fault::NoEventId,
    Fault::NullUrl,
    Fault::UnknownType,
    Fault::Truncated,
    Fault::NotAnObject,
    Fault::Empty,
    Fault::NotUtf8,
    Fault::NulCharacter,
    Fault::UnknownFields,
    Fault::NegativeDuration,
];

/// `scale` × 20,000 events of well below 1 KB, in batches of 50 to 400, keyed by session.
pub(crate) fn clickstream(plan: &Plan) -> impl Iterator<Item = EventBatchOut> + use<> {
    let mut random = rng(plan, "clickstream");
    let users = USERS.saturating_mul(plan.scale());
    let sessions = (0..SESSIONS).map(|_| Session::new(&mut random, users, START_MS)).collect();
    let faults = Faults::new(plan, "clicks", FAULTS, MEAN_GAP);
    Clickstream { random, faults, users, sessions, now_ms: START_MS, left: EVENTS * u64::from(plan.scale()) }
}

#[derive(Debug)]
struct Clickstream {
    random: StdRng,
    faults: Faults<Fault>,
    users: u32,
    sessions: Vec<Session>,
    now_ms: i64,
    left: u64,
}

impl Iterator for Clickstream {
    type Item = EventBatchOut;

    fn next(&mut self) -> Option<EventBatchOut> {
        if self.left == 0 {
            return None;
        }
        let size = self.random.random_range(50..=400).min(self.left);
        self.left -= size;
        let mut batch =
            EventBatchOut { hub: "clickstream".to_owned(), events: Vec::new(), expected: Expected::default() };
        for _ in 0..size {
            let (key, fields) = self.event();
            let fault = self.faults.next();
            batch.expected.count(fault.map_or(Verdict::Clean, Fault::verdict));
            let body = match fault {
                None => Value::Object(fields).to_string().into_bytes(),
                Some(fault) => spoil(fault, fields, self.faults.rng()),
            };
            batch.events.push(Event { body, key });
        }
        Some(batch)
    }
}

impl Clickstream {
    /// The next event of some session: its key and its fields.
    fn event(&mut self) -> (String, Map<String, Value>) {
        let random = &mut self.random;
        self.now_ms += random.random_range(0..=LONGEST_PAUSE_MS);
        let slot = random.random_range(0..self.sessions.len());
        if self.sessions[slot].steps_left == 0 {
            self.sessions[slot] = Session::new(random, self.users, self.now_ms);
        }
        let session = &mut self.sessions[slot];
        (session.id.clone(), session.step(random, self.now_ms))
    }
}

#[derive(Debug)]
struct Session {
    id: String,
    user_id: Option<String>,
    ip: String,
    user_agent: &'static str,
    url: String,
    referrer: Option<String>,
    /// When the page was opened.
    since_ms: i64,
    steps_left: u32,
}

impl Session {
    fn new(random: &mut StdRng, users: u32, now_ms: i64) -> Self {
        let network = pick(random, &NETWORKS);
        Self {
            id: format!("s-{:016x}", random.random::<u64>()),
            user_id: random.random_ratio(3, 5).then(|| format!("u-{:07}", random.random_range(1..=users))),
            ip: format!("{network}.{}", random.random_range(1..=254)),
            user_agent: pick(random, &USER_AGENTS),
            url: format!("{SHOP}/"),
            referrer: random.random_ratio(1, 2).then(|| pick(random, &REFERRERS).to_owned()),
            since_ms: now_ms,
            steps_left: random.random_range(1..=30),
        }
    }

    fn step(&mut self, random: &mut StdRng, now_ms: i64) -> Map<String, Value> {
        self.steps_left -= 1;
        let event_type = event_type(random);
        if let Some(path) = destination(event_type, random) {
            self.referrer = Some(std::mem::replace(&mut self.url, format!("{SHOP}{path}")));
            self.since_ms = now_ms;
        }
        let time = DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
        let mut fields = Map::new();
        set(&mut fields, "event_id", format!("e-{:016x}", random.random::<u64>()));
        set(&mut fields, "event_type", event_type);
        set(&mut fields, "event_time", time.to_rfc3339_opts(SecondsFormat::Millis, true));
        set(&mut fields, "user_id", self.user_id.clone());
        set(&mut fields, "session_id", self.id.clone());
        set(&mut fields, "url", self.url.clone());
        set(&mut fields, "referrer", self.referrer.clone());
        set(&mut fields, "ip", self.ip.clone());
        set(&mut fields, "user_agent", self.user_agent);
        set(&mut fields, "duration_ms", now_ms - self.since_ms);
        fields
    }
}

/// Of a hundred events 55 are page views, 25 clicks, 10 searches, 7 put something into the cart and 3 buy it.
fn event_type(random: &mut StdRng) -> &'static str {
    match random.random_range(0..100) {
        0..55 => "page_view",
        55..80 => "click",
        80..90 => "search",
        90..97 => "add_to_cart",
        _ => "purchase",
    }
}

/// The page that an event leads to; a click and the cart stay where they are.
fn destination(event_type: &str, random: &mut StdRng) -> Option<String> {
    match event_type {
        "page_view" => Some(format!("/product/{}", random.random_range(1..=2_000))),
        "search" => Some(format!("/search?q={}", pick(random, &SEARCHES))),
        "purchase" => Some("/checkout/thanks".to_owned()),
        _ => None,
    }
}

impl Fault {
    fn verdict(self) -> Verdict {
        match self {
            Self::UnknownFields | Self::NegativeDuration => Verdict::Clean,
            _ => Verdict::Quarantined,
        }
    }
}

fn spoil(fault: Fault, mut fields: Map<String, Value>, rng: &mut StdRng) -> Vec<u8> {
    match fault {
        Fault::TextInNumber => set(&mut fields, "duration_ms", "a while"),
        Fault::BadTime => set(&mut fields, "event_time", "2025-02-30T25:61:00Z"),
        Fault::NullUrl => set(&mut fields, "url", Value::Null),
        Fault::UnknownType => set(&mut fields, "event_type", "teleport"),
        Fault::NulCharacter => set(&mut fields, "user_agent", "curl\0"),
        Fault::NegativeDuration => set(&mut fields, "duration_ms", -rng.random_range(1..5_000_i64)),
        Fault::UnknownFields => {
            set(&mut fields, "experiment", "blue_button");
            set(&mut fields, "screen", json!({ "width": 1920, "height": 1080 }));
        }
        Fault::NoEventId => drop(fields.shift_remove("event_id")),
        Fault::NotAnObject => return json!([fields]).to_string().into_bytes(),
        Fault::Empty => return Vec::new(),
        Fault::Truncated | Fault::NotUtf8 => {}
    }
    let mut body = Value::Object(fields).to_string().into_bytes();
    match fault {
        Fault::Truncated => truncate(&mut body, rng),
        Fault::NotUtf8 => spoil_utf8(&mut body, "user_agent"),
        _ => {}
    }
    body
}

const SHOP: &str = "https://shop.example.com";
/// The networks that are reserved for documentation (RFC 5737).
const NETWORKS: [&str; 3] = ["192.0.2", "198.51.100", "203.0.113"];
const REFERRERS: [&str; 3] =
    ["https://search.example.org/", "https://news.example.org/gifts", "https://mail.example.com/offer?campaign=spring"];
const SEARCHES: [&str; 8] = ["lamp", "desk", "running+shoes", "tea", "caf%C3%A9", "rain+coat", "usb+cable", "garden"];
const USER_AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
];
