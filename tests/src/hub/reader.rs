//! The reader of ranges: everything that is there, once, in order; and the truth about what is not.

use std::sync::Arc;
use std::time::Duration;

use event_hubs_service::{
    EventHubsService, HubLog, LogError, MemoryLog, NewEvent, PartitionState, Position, Retention, ServiceConfig,
    StoredEvent,
};
use weir_intake::hub::{HubConnection, HubErrorKind, HubRange, HubRead, HubReader, ReadLimits};

use super::{HUB, Site};

/// Events that expire between the moment that a reader asks what is there and the moment that it gets there.
#[derive(Debug)]
struct Expiring(MemoryLog, std::ops::Range<u64>);

impl HubLog for Expiring {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn created_ms(&self) -> i64 {
        self.0.created_ms()
    }

    fn partition_for(&self, key: Option<&str>) -> u32 {
        self.0.partition_for(key)
    }

    fn append(&self, partition: u32, events: Vec<NewEvent>) -> Result<(), LogError> {
        self.0.append(partition, events)
    }

    fn read(&self, partition: u32, sequence: u64, events: usize, bytes: usize) -> Result<Vec<StoredEvent>, LogError> {
        let found = self.0.read(partition, sequence, events, bytes)?;
        Ok(found.into_iter().filter(|event| !self.1.contains(&event.sequence)).collect())
    }

    fn seek(&self, partition: u32, position: Position) -> Result<u64, LogError> {
        self.0.seek(partition, position)
    }

    fn state(&self, partition: u32) -> Result<PartitionState, LogError> {
        self.0.state(partition)
    }

    fn watch(&self, partition: u32) -> tokio::sync::watch::Receiver<u64> {
        self.0.watch(partition)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_while_it_is_read_is_said_too() {
    weir_platform::install_crypto_provider();
    for (hole, range, expected) in
        [(40..60, 30..=69, vec![40..=59]), (0..10, 5..=14, vec![5..=9]), (60..64, 50..=61, vec![60..=61])]
    {
        let log = Expiring(MemoryLog::new(1), hole);
        log.append(0, (0..100).map(|number| NewEvent::new(number.to_string())).collect()).unwrap();
        let hub: Arc<dyn HubLog> = Arc::new(log);
        let config = ServiceConfig::new(([127, 0, 0, 1], 0).into());
        let service = EventHubsService::start(config, [(HUB.to_owned(), hub)]).await.unwrap();
        let reader = HubReader::new(HubConnection::parse(&service.connection_string()).unwrap());
        let all = HubRange::Sequences(range.clone());
        let found = reader.read(HUB, "$Default", 0, all, ReadLimits::default()).await.unwrap();
        let gone = |sequence: &u64| expected.iter().any(|gone| gone.contains(sequence));
        assert_eq!(numbers(&found), range.filter(|sequence| !gone(sequence)).collect::<Vec<_>>());
        assert_eq!(found.expired, expected);
    }
}

async fn read(site: &Site, partition: u32, range: HubRange, limits: ReadLimits) -> HubRead {
    site.reader().read(HUB, "$Default", partition, range, limits).await.unwrap()
}

async fn sequences(site: &Site, range: std::ops::RangeInclusive<u64>) -> HubRead {
    read(site, 0, HubRange::Sequences(range), ReadLimits::default()).await
}

fn numbers(found: &HubRead) -> Vec<u64> {
    found.events.iter().map(|event| event.sequence).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_in_the_middle_at_the_ends_and_beyond_them() {
    let site = Site::start().await;
    site.fill(0, (0..50).map(|number| format!("event {number}")));
    let found = sequences(&site, 10..=19).await;
    assert_eq!(numbers(&found), (10..20).collect::<Vec<_>>());
    assert_eq!((found.begin_sequence, found.end_sequence, found.next), (0, 50, None));
    let first = &found.events[0];
    assert_eq!((first.body.as_deref(), first.offset.as_str()), (Some(&b"event 10"[..]), "640"));
    assert_eq!(numbers(&sequences(&site, 0..=0).await), [0]);
    assert_eq!(numbers(&sequences(&site, 49..=60).await), [49]);
    assert_eq!(numbers(&sequences(&site, 0..=u64::from(u32::MAX)).await).len(), 50);
    for nothing in [50..=60, 1000..=1001] {
        let found = sequences(&site, nothing).await;
        assert!(found.events.is_empty() && found.expired.is_empty() && found.end_sequence == 50);
    }
    #[allow(clippy::reversed_empty_ranges)]
    let empty = sequences(&site, 5..=4).await;
    assert!(empty.events.is_empty() && empty.expired.is_empty());
    let untouched = read(&site, 3, HubRange::Sequences(0..=9), ReadLimits::default()).await;
    assert!(untouched.events.is_empty() && untouched.end_sequence == 0 && untouched.expired.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_said() {
    let site = Site::with(MemoryLog::with_retention(1, Retention { events: Some(20), age_ms: None })).await;
    site.fill(0, (0..50).map(|number| number.to_string()));
    let partly = sequences(&site, 25..=34).await;
    assert_eq!((numbers(&partly), partly.expired), ((30..35).collect::<Vec<_>>(), vec![25..=29]));
    assert_eq!(partly.begin_sequence, 30);
    let wholly = sequences(&site, 3..=7).await;
    assert_eq!((numbers(&wholly), wholly.expired), (vec![], vec![3..=7]));
    let none = sequences(&site, 30..=31).await;
    assert_eq!((numbers(&none), none.expired), (vec![30, 31], vec![]));
    site.log.expire(0, 1000);
    let all = sequences(&site, 0..=60).await;
    assert_eq!((numbers(&all), all.expired, all.begin_sequence), (vec![], vec![0..=49], 50));
}

/// The SDK begins again at its first position without saying so; the reader must not.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_drop_in_the_middle_cost_no_event_and_double_none() {
    let site = Site::start().await;
    site.fill(0, (0..2_000).map(|number| format!("{number:0500}")));
    for cut in [1, 7, 300, 301, 900] {
        site.service.faults().cut_after(cut);
        let found = sequences(&site, 100..=1_899).await;
        assert_eq!(numbers(&found), (100..1_900).collect::<Vec<_>>(), "cut after {cut}");
        assert!(found.expired.is_empty());
    }
    let reading = sequences(&site, 0..=1_999);
    let dropping = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            site.service.faults().drop_connections();
        }
    };
    let (found, ()) = tokio::join!(reading, dropping);
    assert_eq!(numbers(&found), (0..2_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_detach_in_the_middle_is_survived() {
    let site = Site::start().await;
    site.fill(0, (0..3_000).map(|number| format!("{number:0500}")));
    let detaching = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            site.service.faults().detach_readers(HUB, 0, "amqp:link:detach-forced");
        }
    };
    let (found, ()) = tokio::join!(sequences(&site, 0..=2_999), detaching);
    assert_eq!(numbers(&found), (0..3_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_a_read_and_it_goes_on_from_there() {
    let site = Site::start().await;
    site.fill(0, (0..100).map(|number| format!("{number:0100}")));
    let by_count = ReadLimits { events: 30, ..ReadLimits::default() };
    let by_size = ReadLimits { bytes: 1_000, ..ReadLimits::default() };
    for (limits, step) in [(by_count, 30), (by_size, 10)] {
        let (mut next, mut all) = (Some(0), Vec::new());
        while let Some(from) = next {
            let found = read(&site, 0, HubRange::Sequences(from..=99), limits).await;
            assert!(found.events.len() <= step && !found.events.is_empty());
            all.extend(numbers(&found));
            next = found.next;
        }
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
    let one = ReadLimits { bytes: 1, ..ReadLimits::default() };
    assert_eq!(numbers(&read(&site, 0, HubRange::Sequences(5..=9), one).await), [5], "one at least");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_time() {
    let site = Site::start().await;
    let mut times = Vec::new();
    for round in 0..3 {
        site.fill(0, (0..10).map(|number| format!("{round} {number}")));
        times.push(site.log.read(0, round * 10, 1, 1).unwrap()[0].enqueued_ms);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let window = |range| read(&site, 0, HubRange::Enqueued(range), ReadLimits::default());
    assert_eq!(numbers(&window(times[1]..times[2]).await), (10..20).collect::<Vec<_>>());
    assert_eq!(numbers(&window(times[0]..times[0] + 1).await), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&window(times[1]..i64::MAX).await), (10..30).collect::<Vec<_>>());
    assert!(window(0..times[0]).await.events.is_empty(), "before all of them");
    assert!(window(times[2] + 1_000..i64::MAX).await.events.is_empty(), "after all of them");
    let empty = read(&site, 1, HubRange::Enqueued(0..i64::MAX), ReadLimits::default()).await;
    assert!(empty.events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_kind_they_are() {
    let site = Site::start().await;
    site.fill(0, ["a".to_owned()]);
    let quick = ReadLimits { silence: Duration::from_millis(500), attempts: 2, ..ReadLimits::default() };
    let all = || HubRange::Sequences(0..=0);
    let kind = |outcome: Result<HubRead, weir_intake::hub::HubError>| outcome.unwrap_err().kind();
    assert_eq!(kind(site.reader().read("strange", "$Default", 0, all(), quick).await), HubErrorKind::NotFound);
    assert_eq!(kind(site.reader().read(HUB, "$Default", 9, all(), quick).await), HubErrorKind::NotFound);
    let holder = site.connection().consumer(HUB, "held").await.unwrap();
    let level = azure_messaging_eventhubs::OpenReceiverOptions { owner_level: Some(1), ..Default::default() };
    {
        let receiver = holder.open_receiver_on_partition("0".to_owned(), Some(level)).await.unwrap();
        let mut stream = std::pin::pin!(receiver.stream_events());
        // It is attached some time after it is first asked; until then, the other reads.
        let mut found = None;
        for _ in 0..20 {
            let waited = tokio::time::timeout(Duration::from_millis(500), futures::StreamExt::next(&mut stream)).await;
            assert!(waited.is_err(), "it begins at the latest event");
            found = site.reader().read(HUB, "held", 0, all(), quick).await.err().map(|error| error.kind());
            if found == Some(HubErrorKind::Displaced) {
                break;
            }
        }
        assert_eq!(found, Some(HubErrorKind::Displaced));
    }
    let string = site.service.connection_string();
    drop(site);
    let gone = HubReader::new(HubConnection::parse(&string).unwrap());
    assert_eq!(kind(gone.read(HUB, "$Default", 0, all(), quick).await), HubErrorKind::Retryable);
    for wrong in [
        "",
        "Endpoint=sb://x/",
        "Endpoint=sb://example.com;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true",
    ] {
        assert_eq!(HubConnection::parse(wrong).unwrap_err().kind(), HubErrorKind::Configuration, "{wrong}");
    }
    let shown = format!("{:?}", HubConnection::parse(&string).unwrap());
    assert!(!shown.contains("SharedAccessKey"), "{shown}");
}

/// A service that takes the connection and never answers must not hold the reader.
#[tokio::test(flavor = "multi_thread")]
async fn silence_has_an_end() {
    let site = Site::start().await;
    site.log.append(0, vec![NewEvent::new("a")]).unwrap();
    site.service.faults().never_settle(true);
    let limits = ReadLimits { silence: Duration::from_millis(300), attempts: 2, ..ReadLimits::default() };
    let began = std::time::Instant::now();
    let outcome = site.reader().read(HUB, "$Default", 0, HubRange::Sequences(0..=0), limits).await;
    assert_eq!(outcome.unwrap_err().kind(), HubErrorKind::Retryable);
    assert!(began.elapsed() < Duration::from_secs(10));
}
