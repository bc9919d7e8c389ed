//! The host goes on without some events: they come from the hub, or it is said that they are lost. The hub is a real
//! AMQP service, read by the real SDK.

use std::ops::RangeInclusive;
use std::sync::Arc;

use event_hubs_service::{EventHubsService, HubLog, MemoryLog, NewEvent, Retention, ServiceConfig};
use serde_json::{Value, json};

use super::handler::{Answer, Batch, Handler, books};
use super::site::{CLICKS, Site};

/// The hub `clicks`, of two partitions.
pub(super) struct Hub {
    pub(super) service: EventHubsService,
    pub(super) log: Arc<MemoryLog>,
}

impl Hub {
    pub(super) async fn start(events: usize) -> Self {
        Self::with(MemoryLog::new(2), events).await
    }

    /// In both partitions `events` events, `{"n": <sequence number>}`.
    pub(super) async fn with(log: MemoryLog, events: usize) -> Self {
        weir_platform::install_crypto_provider();
        let log = Arc::new(log);
        let hub: Arc<dyn HubLog> = log.clone();
        let config = ServiceConfig::new(([127, 0, 0, 1], 0).into());
        let service = EventHubsService::start(config, [("clicks".to_owned(), hub)]).await.unwrap();
        for partition in 0..2 {
            let bodies = (0..events).map(|number| NewEvent::new(json!({ "n": number }).to_string()));
            log.append(partition, bodies.collect()).unwrap();
        }
        Self { service, log }
    }

    pub(super) fn add(&self, partition: u32, bodies: &[&str]) {
        let bodies = bodies.iter().map(|body| NewEvent::new((*body).to_owned()));
        self.log.append(partition, bodies.collect()).unwrap();
    }

    pub(super) async fn handler(&self, site: &Site) -> Handler {
        Handler::start_with(site, &[("EventHub", &self.service.connection_string())]).await
    }
}

pub(super) async fn deliver(handler: &Handler, numbers: RangeInclusive<i64>) -> Value {
    handler.events(&Batch::counting(0, numbers)).await.receipt()
}

/// Missing, healed, lost.
fn gap(receipt: &Value) -> [u64; 3] {
    ["missing", "healed", "lost"].map(|key| receipt["gap"][key].as_u64().unwrap_or(0))
}

pub(super) async fn positions(site: &Site) -> Vec<i64> {
    let rows = site.rows("clicks", &["_source_position"]).await;
    let mut positions: Vec<i64> = rows.iter().map(|position| position.parse().unwrap()).collect();
    positions.sort_unstable();
    positions
}

fn with_gap(choice: &str) -> String {
    CLICKS.replace("hub = \"clicks\"", &format!("hub = \"clicks\"\ngap = \"{choice}\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_the_host_passed_over_are_read_from_the_hub() {
    let (site, hub) = (Site::new(), Hub::start(100).await);
    let handler = hub.handler(&site).await;
    let first = deliver(&handler, 0..=9).await;
    assert_eq!((books(&first), &first["gap"]), ([10, 10, 0, 0], &Value::Null));
    let second = deliver(&handler, 30..=39).await;
    assert_eq!((books(&second), gap(&second)), ([30, 30, 0, 0], [20, 20, 0]));
    // The batch that was lost is delivered after all, by an instance that was slow.
    assert_eq!(books(&deliver(&handler, 10..=25).await), [16, 0, 0, 16]);
    // Holes in a batch itself, and a part of it that is there already.
    let holes = handler.events(&Batch::counting(0, [35, 36, 41, 42, 45, 45])).await.receipt();
    assert_eq!((books(&holes), gap(&holes)), ([9, 6, 0, 3], [3, 3, 0]));
    assert_eq!(positions(&site).await, (0..=45).collect::<Vec<_>>());
    assert_eq!(site.rows("clicks", &["n"]).await.len(), site.each_place_once("clicks").await);
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_begins_with_the_oldest_event_of_the_hub() {
    let hub = Hub::with(MemoryLog::with_retention(2, Retention { events: Some(60), age_ms: None }), 100).await;
    let site = Site::new();
    let handler = hub.handler(&site).await;
    let first = deliver(&handler, 90..=99).await;
    // What the hub has no more was never there for this table.
    assert_eq!((books(&first), gap(&first)), ([60, 60, 0, 0], [50, 50, 0]));
    assert_eq!(positions(&site).await, (40..100).collect::<Vec<_>>());
    assert!(site.quarantined("clicks", "eventhub:ns/clicks/0").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_in_quarantine_as_lost() {
    let hub = Hub::with(MemoryLog::with_retention(2, Retention { events: Some(20), age_ms: None }), 10).await;
    let site = Site::new();
    let handler = hub.handler(&site).await;
    deliver(&handler, 0..=9).await;
    let more: Vec<String> = (10..50).map(|n| json!({ "n": n }).to_string()).collect();
    hub.add(0, &more.iter().map(String::as_str).collect::<Vec<_>>());
    for (delivery, expected) in [([21, 1 + 19, 1, 0], [30, 10, 20]), ([10, 0, 0, 10], [0; 3])] {
        let receipt = deliver(&handler, 40..=49).await;
        let [_, committed, quarantined, already] = delivery;
        assert_eq!(books(&receipt), [committed + quarantined + already, committed, quarantined, already]);
        assert_eq!(gap(&receipt), expected);
    }
    assert_eq!(positions(&site).await, (0..10).chain(30..50).collect::<Vec<_>>());
    let lost = site.quarantined("clicks", "eventhub:ns/clicks/0").await;
    assert_eq!((lost.len(), lost[0].position, lost[0].raw.len()), (1, 10, 0));
    assert!(lost[0].reasons.contains("events 10 to 29"), "{}", lost[0].reasons);
    assert_eq!(site.each_place_once("clicks").await, 31);
    assert_eq!(handler.status().await["balanced"], true);
    assert!(handler.logged().contains("the host went on without some events"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_is_not_healed_is_reported_or_ignored() {
    let hub = Hub::start(100).await;
    for (contract, connected, lost) in
        [(with_gap("report"), true, 20), (with_gap("heal"), false, 20), (with_gap("ignore"), true, 0)]
    {
        let site = Site::new();
        site.contract("clicks", &contract);
        let handler = if connected { hub.handler(&site).await } else { Handler::start(&site).await };
        // A new table begins where the host begins.
        assert_eq!(gap(&deliver(&handler, 5..=9).await), [0; 3]);
        let receipt = deliver(&handler, 30..=39).await;
        assert_eq!(gap(&receipt), [lost, 0, lost], "{contract}");
        // Its place is accounted for, or was never asked about.
        assert_eq!(books(&deliver(&handler, 10..=12).await), [3, 0, 0, 3]);
        let quarantined = site.quarantined("clicks", "eventhub:ns/clicks/0").await;
        assert_eq!(
            quarantined.iter().map(|record| record.position).collect::<Vec<_>>(),
            &[10][..usize::from(lost > 0)]
        );
        assert_eq!(positions(&site).await, (5..10).chain(30..40).collect::<Vec<_>>());
        assert_eq!(handler.status().await["balanced"], true);
    }
}

/// More than one read gives; some bodies are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_gap_is_healed_in_several_commits() {
    let (site, hub) = (Site::new(), Hub::start(24_000).await);
    hub.add(0, &["{\"n\": 24000", "[1]", "", "{\"n\":-1}", "{\"n\":24004}"]);
    let handler = hub.handler(&site).await;
    let receipt = deliver(&handler, 24_004..=24_004).await;
    assert_eq!((books(&receipt), gap(&receipt)), ([24_005, 24_001, 4, 0], [24_004, 24_004, 0]));
    assert!(site.log("clicks").len() >= 4, "{:?}", site.log("clicks"));
    let quarantined = site.quarantined("clicks", "eventhub:ns/clicks/0").await;
    let raw: Vec<_> = quarantined.iter().map(|record| (record.position, &*record.raw)).collect();
    assert_eq!(raw, [(24_000, &b"{\"n\": 24000"[..]), (24_001, b"[1]"), (24_002, b""), (24_003, b"{\"n\":-1}")]);
    assert_eq!(site.each_place_once("clicks").await, 24_005);
    assert_eq!(handler.status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_that_heal_the_same_gap_commit_each_event_once() {
    let (site, hub) = (Site::new(), Hub::start(5_000).await);
    let handlers = [hub.handler(&site).await, hub.handler(&site).await];
    let deliveries = (0..8).map(|n| {
        let (handler, end) = (&handlers[n % 2], 3_000 + 200 * n as i64);
        async move { handler.events(&Batch::counting(0, end..=end + 9)).await }
    });
    for Answer { status, text } in futures::future::join_all(deliveries).await {
        assert!(status == 200 || text.contains("deliver them again"), "{text}");
    }
    deliver(&handlers[0], 4_900..=4_999).await;
    assert_eq!(positions(&site).await, (0..5_000).collect::<Vec<_>>());
    assert_eq!(site.each_place_once("clicks").await, 5_000);
    assert_eq!(handlers[1].status().await["balanced"], true);
}

/// The batch fails and is delivered again, until somebody has mended it: nothing is passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_cannot_be_read_holds_the_partition_up_and_says_why() {
    let site = Site::new();
    let hub = Hub::start(100).await;
    let unreachable = Hub::start(1).await.service.connection_string();
    let cases = [
        (("EventHub", &*unreachable), 20, "clicks/weir-replay/0"),
        (
            ("EventHub__fullyQualifiedNamespace", "other.servicebus.windows.net"),
            20,
            "the setting `EventHub` is for other",
        ),
        (("EventHub", &*hub.service.connection_string()), 200, "ends at event 100"),
    ];
    for (setting, from, expected) in cases {
        let handler = Handler::start_with(&site, &[setting, ("WEIR_DEADLINE_S", "20")]).await;
        let answer = handler.events(&Batch::counting(0, from..=from + 9)).await;
        assert_eq!(answer.status, 500, "{}", answer.text);
        assert!(answer.text.contains(expected), "{expected}: {}", answer.text);
        assert!(positions(&site).await.is_empty());
    }
    let handler = hub.handler(&site).await;
    deliver(&handler, 20..=29).await;
    assert_eq!(positions(&site).await, (0..30).collect::<Vec<_>>());
}

/// A hub that was deleted and made again counts from 0: its events must not be taken for those that are committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_hub_that_was_made_anew_are_not_taken_for_old_ones() {
    let site = Site::new();
    site.contract("clicks", CLICKS);
    let handler = Handler::start(&site).await;
    let deliver = async |numbers: RangeInclusive<i64>, time: &str| {
        let mut envelope = Batch::counting(0, numbers.clone()).envelope();
        let times: Vec<_> = numbers.map(|_| time).collect();
        envelope["Metadata"]["EnqueuedTimeUtcArray"] = Value::String(json!(times).to_string());
        handler.post("ingest_clicks", envelope.to_string()).await
    };
    assert_eq!(books(&deliver(0..=4, "2026-01-05T10:00:00.5").await.receipt()), [5, 5, 0, 0]);
    assert_eq!(books(&deliver(3..=6, "2026-01-05T10:00:20").await.receipt()), [4, 2, 0, 2]);
    // Times that differ by little say nothing.
    assert_eq!(books(&deliver(0..=6, "2026-01-05T10:01:10").await.receipt()), [7, 0, 0, 7]);
    for _ in 0..2 {
        let anew = deliver(2..=3, "2026-01-05T11:00:00").await;
        assert_eq!(anew.status, 500, "{}", anew.text);
        assert!(anew.text.contains("event 2") && anew.text.contains("`epoch = 2`"), "{}", anew.text);
    }
    assert_eq!(positions(&site).await, (0..=6).collect::<Vec<_>>());
    // The old hub's own go on.
    assert_eq!(books(&deliver(7..=8, "2026-01-05T11:00:00").await.receipt()), [2, 2, 0, 0]);
}

/// The way out: a contract that says which of the hubs of that name it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_tells_the_events_of_a_new_hub_from_the_old_ones() {
    let site = Site::new();
    site.contract("clicks", CLICKS);
    let handler = Handler::start(&site).await;
    let timed = |numbers: RangeInclusive<i64>, time: &str| {
        let mut envelope = Batch::counting(0, numbers.clone()).envelope();
        let times: Vec<_> = numbers.map(|_| time).collect();
        envelope["Metadata"]["EnqueuedTimeUtcArray"] = Value::String(json!(times).to_string());
        envelope.to_string()
    };
    let old = timed(0..=9, "2026-01-05T10:00:00");
    assert_eq!(books(&handler.post("ingest_clicks", old.clone()).await.receipt()), [10, 10, 0, 0]);
    handler.kill();
    site.contract("clicks", &CLICKS.replace("hub = \"clicks\"", "hub = \"clicks\"\nepoch = 2"));
    let handler = Handler::start(&site).await;
    // Raised without a reason it would bring every event twice.
    let same = handler.post("ingest_clicks", timed(5..=9, "2026-01-05T09:58:00")).await;
    assert!(same.status == 500 && same.text.contains("`epoch = 2`"), "{}", same.text);
    let new = timed(0..=4, "2026-01-05T11:00:00");
    for expected in [[5, 5, 0, 0], [5, 0, 0, 5]] {
        assert_eq!(books(&handler.post("ingest_clicks", new.clone()).await.receipt()), expected);
    }
    let third = handler.post("ingest_clicks", timed(3..=3, "2026-01-05T12:00:00")).await;
    assert!(third.status == 500 && third.text.contains("`epoch = 3`"), "{}", third.text);
    assert_eq!(site.rows("clicks", &["_source"]).await.iter().filter(|source| source.contains("clicks@2")).count(), 5);
    assert_eq!(site.each_place_once("clicks").await, 15);
    assert_eq!(handler.status().await["balanced"], true);
}
