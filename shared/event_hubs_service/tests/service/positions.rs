//! Readers: every kind of start, the tail, and what has expired.

use std::time::Duration;

use azure_messaging_eventhubs::{OpenReceiverOptions, StartLocation};
use event_hubs_service::HubLog;
use futures::StreamExt;

use crate::support::{Site, at, bodies, event, sequences, take, to_partition, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_starts_where_it_asks_to() {
    let site = Site::start().await;
    site.send(to_partition("0"), &["0", "1", "2"]).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    site.send(to_partition("0"), &["3", "4"]).await;
    let later = site.log.read(0, 3, 1, 1).unwrap()[0].enqueued_ms;
    let time = |ms: i64| std::time::UNIX_EPOCH + Duration::from_millis(ms as u64);
    let cases = [
        (StartLocation::Earliest, false, 0),
        (StartLocation::SequenceNumber(2), false, 3),
        (StartLocation::SequenceNumber(2), true, 2),
        (StartLocation::Offset("64".to_owned()), false, 2),
        (StartLocation::Offset("64".to_owned()), true, 1),
        (StartLocation::EnqueuedTime(time(later)), true, 3),
        (StartLocation::EnqueuedTime(time(later - 1)), false, 3),
    ];
    for (location, inclusive, first) in cases {
        let what = format!("{location:?} {inclusive}");
        let events = site.receive("0", at(location, inclusive), 5 - first).await;
        assert_eq!(sequences(&events), (first as i64..5).collect::<Vec<_>>(), "{what}");
    }
    site.log.expire(0, 3);
    let events = site.receive("0", at(StartLocation::SequenceNumber(0), true), 2).await;
    assert_eq!(sequences(&events), [3, 4], "what expired cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_at_the_tail() {
    let site = Site::start().await;
    site.send(to_partition("0"), &["before"]).await;
    let consumer = site.consumer("$Default").await;
    let latest = OpenReceiverOptions { start_position: Some(at(StartLocation::Latest, false)), ..Default::default() };
    let receiver = within(consumer.open_receiver_on_partition("0".to_owned(), Some(latest))).await.unwrap();
    let mut stream = std::pin::pin!(receiver.stream_events());
    let nothing = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(nothing.is_err(), "the event before is not for a reader of the latest");
    let producer = site.producer().await;
    for number in 0..50 {
        let options = azure_messaging_eventhubs::SendEventOptions { partition_id: Some("0".to_owned()) };
        within(producer.send_event(event(&number.to_string()), Some(options))).await.unwrap();
        let next = within(stream.next()).await.unwrap().unwrap();
        assert_eq!(next.event_data().body().unwrap(), number.to_string().as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_a_frame_comes_whole() {
    let site = Site::start().await;
    let body: String = (0..200_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    site.send(to_partition("0"), &[&body, "small"]).await;
    assert_eq!(bodies(&site.receive("0", at(StartLocation::Earliest, false), 2).await), [body.as_str(), "small"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_or_a_hub_that_is_not_there_is_an_error() {
    let site = Site::start().await;
    let consumer = site.consumer("$Default").await;
    let error = within(take(&consumer, "9", OpenReceiverOptions::default(), 1)).await.unwrap_err();
    assert!(format!("{error:?}").contains("NotFound"), "{error:?}");
    let builder = azure_messaging_eventhubs::ProducerClient::builder().with_custom_endpoint(site.service.endpoint());
    let strange = within(builder.open_with_connection_string(&site.service.connection_string(), Some("strange"))).await;
    let strange = strange.unwrap();
    let error = within(strange.send_event(event("lost"), None)).await.unwrap_err();
    assert!(format!("{error:?}").contains("NotFound"), "{error:?}");
}
