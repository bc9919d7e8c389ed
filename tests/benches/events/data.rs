//! Clickstream events of 1 KB, and the envelopes that the Functions host would post them in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

pub(crate) const EVENTS_OF_A_BATCH: usize = 1_000;
/// Batches that differ; then they come again under other sequence numbers.
const VARIANTS: u64 = 16;

/// Bodies, and `Data` of the envelope that holds them.
pub(crate) struct Batch {
    pub(crate) bodies: Vec<String>,
    data: String,
}

pub(crate) fn batches() -> Vec<Batch> {
    (0..VARIANTS).map(Batch::new).collect()
}

impl Batch {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let bodies: Vec<String> = (0..EVENTS_OF_A_BATCH).map(|_| body(&mut random)).collect();
        let encoded: Vec<String> = bodies.iter().map(|body| BASE64.encode(body)).collect();
        // The host writes an array as a string that holds JSON.
        let data = json!(json!(encoded).to_string()).to_string();
        Self { bodies, data }
    }

    /// As it would be delivered of a partition from a sequence number on.
    pub(crate) fn envelope(&self, partition: usize, first: i64) -> String {
        let numbers: Vec<i64> = (first..).take(EVENTS_OF_A_BATCH).collect();
        let offsets: Vec<String> = numbers.iter().map(|number| (number * 1_100).to_string()).collect();
        let times = vec!["2026-01-05T10:00:00.042Z"; numbers.len()];
        let text = |value: serde_json::Value| value.to_string();
        let metadata = json!({
            "PartitionContext": {
                "FullyQualifiedNamespace": "bench.servicebus.windows.net",
                "EventHubName": "clickstream",
                "ConsumerGroup": "weir",
                "PartitionId": partition.to_string(),
            },
            "SequenceNumberArray": text(json!(numbers)),
            "OffsetArray": text(json!(offsets)),
            "EnqueuedTimeUtcArray": text(json!(times)),
            "PartitionKeyArray": text(json!(vec![serde_json::Value::Null; numbers.len()])),
            "PropertiesArray": text(json!(vec![json!({}); numbers.len()])),
            "SystemPropertiesArray": text(json!(vec![json!({}); numbers.len()])),
            "sys": { "MethodName": "ingest_clickstream", "UtcNow": "2026-01-05T10:00:00.0042Z" },
        });
        format!("{{\"Data\":{{\"events\":{}}},\"Metadata\":{metadata}}}", self.data)
    }
}

/// 1,000 bytes or a few more.
fn body(random: &mut StdRng) -> String {
    let kinds = ["page_view", "click", "search", "add_to_cart", "purchase"];
    let hex = |random: &mut StdRng, bytes: usize| -> String {
        (0..bytes).map(|_| format!("{:02x}", random.random::<u8>())).collect()
    };
    let mut event = json!({
        "event_id": hex(random, 16),
        "event_type": kinds[random.random_range(0..kinds.len())],
        "event_time": format!("2026-01-05T10:{:02}:{:02}.{:03}Z", random.random_range(0..60),
            random.random_range(0..60), random.random_range(0..1000)),
        "user_id": format!("user-{}", random.random_range(0..50_000)),
        "session_id": hex(random, 16),
        "url": format!("https://shop.example.com/product/{}?campaign=", random.random_range(0..9_999)),
        "referrer": format!("https://www.example.org/search?click={}", hex(random, 180)),
        "ip": format!("203.0.113.{}", random.random_range(0..256)),
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0",
        "duration_ms": random.random_range(0..60_000),
    });
    let missing = 1_000_usize.saturating_sub(event.to_string().len());
    let url = format!("{}{}", event["url"].as_str().unwrap_or_default(), hex(random, missing.div_ceil(2)));
    event["url"] = url.into();
    event.to_string()
}
