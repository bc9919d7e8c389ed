//! Many events: none lost, none twice, all in order.

use std::{sync::Arc, time::Instant};

use azure_messaging_eventhubs::{OpenReceiverOptions, StartLocation};
use event_hubs_service::HubLog;
use futures::StreamExt;

use crate::support::{Site, at, event, to_partition, within};

const EVENTS: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_events_come_out_as_they_went_in() {
    let site = Arc::new(Site::start().await);
    let started = Instant::now();
    let producing = tokio::spawn({
        let site = Arc::clone(&site);
        async move {
            let producer = site.producer().await;
            let mut sent = 0;
            while sent < EVENTS {
                let batch = within(producer.create_batch(Some(to_partition("0")))).await.unwrap();
                while sent < EVENTS && batch.try_add_event_data(event(&format!("{sent:01000}")), None).unwrap() {
                    sent += 1;
                }
                within(producer.send_batch(batch, None)).await.unwrap();
            }
            started.elapsed()
        }
    });
    // Reads while the other writes: from the tail of what is there, again and again.
    let client = site.consumer("$Default").await;
    let options =
        OpenReceiverOptions { start_position: Some(at(StartLocation::Earliest, false)), ..Default::default() };
    let receiver = client.open_receiver_on_partition("0".to_owned(), Some(options)).await.unwrap();
    let mut stream = std::pin::pin!(receiver.stream_events());
    for number in 0..EVENTS {
        let event = within(stream.next()).await.unwrap().unwrap();
        assert_eq!(event.sequence_number(), Some(number as i64));
        assert_eq!(event.event_data().body().unwrap(), format!("{number:01000}").as_bytes());
    }
    let (sent, received) = (producing.await.unwrap(), started.elapsed());
    let rate = |elapsed: std::time::Duration| EVENTS as f64 / elapsed.as_secs_f64();
    println!("{EVENTS} events of 1 KB: {:.0} sent a second, {:.0} through a second", rate(sent), rate(received));
    assert_eq!(site.log.state(0).unwrap().next_sequence, EVENTS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_at_the_same_time_keep_each_their_own_order() {
    const PRODUCERS: usize = 8;
    const EACH: usize = 2_000;
    let site = Arc::new(Site::start().await);
    let tasks = (0..PRODUCERS).map(|number| {
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let producer = site.producer().await;
            for chunk in (0..EACH).collect::<Vec<_>>().chunks(200) {
                let batch = within(producer.create_batch(Some(to_partition("0")))).await.unwrap();
                for index in chunk {
                    assert!(batch.try_add_event_data(event(&format!("{number} {index}")), None).unwrap());
                }
                within(producer.send_batch(batch, None)).await.unwrap();
            }
        })
    });
    futures::future::join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
    let mut next = [0; PRODUCERS];
    let events = site.log.read(0, 0, PRODUCERS * EACH + 1, usize::MAX).unwrap();
    assert_eq!(events.len(), PRODUCERS * EACH);
    for event in events {
        let text = String::from_utf8(event.body.to_vec()).unwrap();
        let (producer, index) = text.split_once(' ').unwrap();
        let (producer, index): (usize, usize) = (producer.parse().unwrap(), index.parse().unwrap());
        assert_eq!(index, next[producer]);
        next[producer] += 1;
    }
}
