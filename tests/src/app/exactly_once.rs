//! Each record once, however deliveries are repeated, overlap, change places or race.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::handler::{Batch, Handler, books};
use super::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_delivered_again_changes_nothing() {
    let site = Site::new();
    let message = site.put("orders/a.csv", b"id,amount,note\n1,1.00,a\n2,-1.00,b\n3,x,c\n4,1.00,d\n").await;
    let first = Handler::start(&site).await;
    assert_eq!(books(&first.ingest(&message).await), [4, 2, 2, 0]);
    for _ in 0..3 {
        assert_eq!(books(&first.ingest(&message).await), [0; 4]);
    }
    first.kill();
    // A process that has only the log to go by.
    let second = Handler::start(&site).await;
    let log = (site.log("orders"), site.log("orders__quarantine"));
    assert_eq!(books(&second.ingest(&message).await), [0; 4]);
    assert_eq!((site.log("orders"), site.log("orders__quarantine")), log, "a repeated delivery made a commit");
    assert_eq!(site.rows("orders", &["id", "amount", "note"]).await, ["1|1.00|a", "4|1.00|d"]);
    let quarantined = site.quarantined("orders", "blob:landing/orders/a.csv").await;
    let raw: Vec<_> = quarantined.iter().map(|record| (record.position, &*record.raw)).collect();
    assert_eq!(raw, [(2, &b"2,-1.00,b"[..]), (3, b"3,x,c")]);
    assert_eq!(site.each_place_once("orders").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_blob_delivered_many_times_at_once_is_committed_once() {
    let site = Site::new();
    let mut content = "id,amount,note\n".to_owned();
    (0..2000).for_each(|id| content += &format!("{id},{}.00,n\n", if id % 10 == 0 { -1 } else { 1 }));
    let message = site.put("orders/a.csv", content).await;
    let handlers = [Handler::start(&site).await, Handler::start(&site).await];
    let deliveries = (0..12).map(|n| handlers[n % 2].queue("ingest_blob", &message));
    let mut committed = 0;
    for answer in futures::future::join_all(deliveries).await {
        match &*answer.receipt()["outcome"].as_str().unwrap().to_owned() {
            "committed" => committed += 1,
            other => assert_eq!(other, "alreadyCommitted"),
        }
    }
    assert_eq!(committed, 1);
    assert_eq!(site.each_place_once("orders").await, 2000);
    assert_eq!(handlers[0].status().await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_overlap_give_each_event_once() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    // What the host sends, and the books of each delivery.
    let deliveries = [
        (vec![1, 2, 3, 4, 5], [5, 5, 0, 0]),
        (vec![1, 2, 3, 4, 5], [5, 0, 0, 5]),
        (vec![4, 5, 6, 7], [4, 2, 0, 2]),
        (vec![2, 3], [2, 0, 0, 2]),
        // Out of order and twice in one batch: as no host should, and a bridge in front of one may.
        (vec![9, 8, 9, 10, 8], [5, 3, 0, 2]),
        (vec![7, 8, 9, 10, 11], [5, 1, 0, 4]),
        (vec![], [0, 0, 0, 0]),
        // A gap, and no hub to read: quarantine says what is lost.
        (vec![1000], [2, 1, 1, 0]),
    ];
    for (numbers, expected) in deliveries {
        let batch = Batch::counting(0, numbers.clone());
        assert_eq!(books(&handler.events(&batch).await.receipt()), expected, "{numbers:?}");
    }
    let rows = site.rows("clicks", &["_source_position", "n"]).await;
    let number = |text: &str| text.parse::<i64>().unwrap();
    let mut rows: Vec<_> = rows.iter().map(|row| row.split_once('|').unwrap()).collect();
    rows.sort_by_key(|(position, _)| number(position));
    let expected = (1..=11).chain([1000]).map(|n| (n, n));
    assert!(rows.into_iter().map(|(position, n)| (number(position), number(n))).eq(expected));
    assert_eq!(site.each_place_once("clicks").await, 13);
    assert_eq!(handler.status().await["balanced"], true);
}

/// Two instances own the same partitions for a while, as during an ownership move that the old owner does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_the_same_partitions_give_each_event_once() {
    const SEED: u64 = 7;
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let site = Site::new();
    let handlers = [Handler::start(&site).await, Handler::start(&site).await];
    let (mut acknowledged, rounds) = (0_i64, 25);
    for _ in 0..rounds {
        // Both begin at or before what is acknowledged, and end where they like.
        let mut deliveries = Vec::new();
        for handler in &handlers {
            for partition in 0..2 {
                let from = (acknowledged - random.random_range(0..20)).max(0) + 1;
                let batch = clicks(partition, from, acknowledged + random.random_range(1..40));
                deliveries.push(until_acknowledged(handler, batch));
            }
        }
        deliveries.shuffle(&mut random);
        futures::future::join_all(deliveries).await;
        acknowledged += 1;
        let catch_up =
            (0..2).map(|partition| until_acknowledged(&handlers[0], clicks(partition, 1, acknowledged + 10)));
        futures::future::join_all(catch_up).await;
        acknowledged += 9;
    }
    // The last word: everything there is.
    let last = acknowledged + 50;
    for partition in 0..2 {
        until_acknowledged(&handlers[1], clicks(partition, 1, last)).await;
    }
    assert_eq!(site.each_place_once("clicks").await, 2 * usize::try_from(last).unwrap());
    let good = (1..=last).filter(|n| n % 7 != 0).count();
    assert_eq!(site.rows("clicks", &["n"]).await.len(), 2 * good);
    assert_eq!(handlers[0].status().await["balanced"], true);
}

/// Each seventh is negative and belongs into quarantine.
fn clicks(partition: u32, from: i64, to: i64) -> Batch {
    let body = |n: i64| format!("{{\"n\":{}}}", if n % 7 == 0 { -n } else { n }).into_bytes();
    Batch { partition, events: (from..=to).map(|n| (n, body(n))).collect() }
}

/// The host tries again without end.
async fn until_acknowledged(handler: &Handler, batch: Batch) {
    for _ in 0..20 {
        let answer = handler.events(&batch).await;
        if answer.status == 200 {
            let [records_in, committed, quarantined, already] = books(&answer.receipt());
            assert_eq!(records_in, committed + quarantined + already);
            assert_eq!(records_in, batch.events.len() as u64);
            return;
        }
        assert!(answer.text.contains("deliver them again"), "{}", answer.text);
    }
    panic!("never acknowledged");
}
