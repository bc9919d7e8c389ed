//! The knobs, and what the SDK makes of what they do. Some of it is surprising, and what reads with the SDK has to know.

use std::time::Duration;

use azure_messaging_eventhubs::{OpenReceiverOptions, SendEventOptions, StartLocation};
use event_hubs_service::HubLog;
use futures::StreamExt;

use crate::support::{Site, at, event, to_partition, within};

fn after(sequence: i64) -> OpenReceiverOptions {
    OpenReceiverOptions {
        start_position: Some(at(StartLocation::SequenceNumber(sequence), false)),
        ..Default::default()
    }
}

/// The trap: a reader whose connection was lost begins again where it first began, without a word. Whoever reads with
/// this SDK must drop what it has had.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_connection_the_sdk_reads_again_from_where_it_first_began() {
    let site = Site::start().await;
    site.send(to_partition("0"), &["x"; 2_000]).await;
    let client = site.consumer("$Default").await;
    let receiver = within(client.open_receiver_on_partition("0".to_owned(), Some(after(9)))).await.unwrap();
    let mut stream = std::pin::pin!(receiver.stream_events());
    // Some are read before the cut, because what is prefetched when it comes may be lost with the connection.
    for sequence in 10..15 {
        assert_eq!(within(stream.next()).await.unwrap().unwrap().sequence_number(), Some(sequence));
    }
    site.service.faults().cut_after(1);
    let mut last = 14;
    loop {
        let next = within(stream.next()).await.unwrap().expect("no error tells of it").sequence_number().unwrap();
        // Number 10 for the second time: events come twice.
        if next == 10 {
            break;
        }
        assert_eq!(next, last + 1);
        last = next;
        assert!(last < 1_999, "it was not cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_survives_connections_that_drop() {
    let site = Site::start().await;
    let producer = site.producer().await;
    let options = || Some(SendEventOptions { partition_id: Some("0".to_owned()) });
    for number in 0..20 {
        if number % 5 == 4 {
            site.service.faults().drop_connections();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        within(producer.send_event(event(&number.to_string()), options())).await.unwrap();
    }
    let stored = site.log.read(0, 0, 100, 10_000).unwrap();
    let mut numbers: Vec<_> = stored.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
    numbers.dedup();
    assert_eq!(numbers, (0..20).map(|number| number.to_string()).collect::<Vec<_>>(), "none is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_asked_again_or_says_no() {
    let site = Site::start().await;
    let producer = site.producer().await;
    within(producer.send_event(event("first"), None)).await.unwrap();
    site.service.faults().reject_sends(1);
    let outcome = within(producer.send_event(event("second"), None)).await;
    let stored: u64 = (0..4).map(|partition| site.log.state(partition).unwrap().next_sequence).sum();
    // Stored once when it was tried again, not at all when it was refused: never both.
    assert_eq!(stored, if outcome.is_ok() { 2 } else { 1 }, "{outcome:?}");
    within(producer.send_event(event("third"), None)).await.unwrap();
}

/// The SDK waits without end for a settlement that does not come: every call needs a limit of time.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_never_comes_is_waited_for_for_ever() {
    let site = Site::start().await;
    let producer = site.producer().await;
    within(producer.send_event(event("first"), None)).await.unwrap();
    site.service.faults().never_settle(true);
    let sent = tokio::time::timeout(Duration::from_secs(2), producer.send_event(event("second"), None)).await;
    assert!(sent.is_err(), "and yet it is stored");
    let stored: u64 = (0..4).map(|partition| site.log.state(partition).unwrap().next_sequence).sum();
    assert_eq!(stored, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_detached_by_force_hears_of_it_or_comes_back() {
    let site = Site::start().await;
    site.send(to_partition("0"), &["a", "b"]).await;
    let client = site.consumer("$Default").await;
    let receiver = within(client.open_receiver_on_partition("0".to_owned(), Some(after(-1)))).await.unwrap();
    let mut stream = std::pin::pin!(receiver.stream_events());
    for _ in 0..2 {
        within(stream.next()).await.unwrap().unwrap();
    }
    site.service.faults().detach_readers("sensors", 0, "amqp:link:detach-forced");
    let next = within(stream.next()).await.unwrap();
    // Again from its first position, as after a lost connection, unless the error is handed on.
    assert!(next.as_ref().map_or(true, |event| event.sequence_number() == Some(0)), "{next:?}");
}
