//! Readers beside one another: epochs, the limit of readers without one, and slow ones.

use std::time::Duration;

use azure_messaging_eventhubs::{OpenReceiverOptions, StartLocation, error::ErrorKind};
use event_hubs_service::{HubLog, NewEvent};
use futures::StreamExt;

use crate::support::{Site, at, take, to_partition, within};

fn from_the_start(owner_level: Option<i64>) -> OpenReceiverOptions {
    OpenReceiverOptions { start_position: Some(at(StartLocation::Earliest, false)), owner_level, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_epoch_takes_the_partition_over_and_a_lower_one_is_refused() {
    let site = Site::start().await;
    site.send(to_partition("0"), &["a"]).await;
    let (first, second, third) = (site.consumer("g").await, site.consumer("g").await, site.consumer("g").await);
    let receiver =
        within(first.open_receiver_on_partition("0".to_owned(), Some(from_the_start(Some(1))))).await.unwrap();
    let mut stream = std::pin::pin!(receiver.stream_events());
    within(stream.next()).await.unwrap().unwrap();
    let lower = within(take(&second, "0", from_the_start(Some(0)), 1)).await.unwrap_err();
    assert!(matches!(lower.kind, ErrorKind::ConsumerDisconnected(_)), "{lower:?}");
    let without = within(take(&second, "0", from_the_start(None), 1)).await.unwrap_err();
    assert!(matches!(without.kind, ErrorKind::ConsumerDisconnected(_)), "{without:?}");
    assert_eq!(within(take(&third, "0", from_the_start(Some(2)), 1)).await.unwrap().len(), 1);
    let displaced = within(stream.next()).await.unwrap().unwrap_err();
    assert!(matches!(displaced.kind, ErrorKind::ConsumerDisconnected(_)), "{displaced:?}");
    let other_group = site.consumer("h").await;
    assert_eq!(within(take(&other_group, "0", from_the_start(Some(0)), 1)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_readers_without_an_epoch_share_a_partition_and_the_sixth_is_refused() {
    let site = Site::start().await;
    site.send(to_partition("0"), &["a"]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let client = site.consumer("g").await;
        assert_eq!(within(take(&client, "0", from_the_start(None), 1)).await.unwrap().len(), 1);
        clients.push(client);
    }
    let sixth = site.consumer("g").await;
    let error = within(take(&sixth, "0", from_the_start(None), 1)).await.unwrap_err();
    assert!(format!("{error:?}").contains("ResourceLimitExceeded"), "{error:?}");
    // A client that is gone leaves its place.
    drop(clients.pop());
    let seventh = site.consumer("g").await;
    let mut admitted = false;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let fresh = site.consumer("g").await;
        if within(take(&fresh, "0", from_the_start(None), 1)).await.is_ok() {
            admitted = true;
            break;
        }
    }
    drop(seventh);
    assert!(admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_holds_up_nobody() {
    let site = Site::start().await;
    let body = vec![b'x'; 10_000];
    for _ in 0..40 {
        site.log.append(0, (0..50).map(|_| NewEvent::new(body.clone())).collect()).unwrap();
        site.log.append(1, (0..50).map(|_| NewEvent::new(body.clone())).collect()).unwrap();
    }
    let client = site.consumer("$Default").await;
    let slow = within(client.open_receiver_on_partition("0".to_owned(), Some(from_the_start(None)))).await.unwrap();
    let mut slow = std::pin::pin!(slow.stream_events());
    within(slow.next()).await.unwrap().unwrap();
    // On the same connection, twenty times what is prefetched.
    let other = within(take(&client, "1", from_the_start(None), 2000)).await.unwrap();
    assert_eq!(other.len(), 2000);
    for _ in 1..2000 {
        within(slow.next()).await.unwrap().unwrap();
    }
}
