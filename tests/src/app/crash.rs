//! SIGKILL at any instruction is a normal stop.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::handler::{Answer, Batch, Handler, books, queue_envelope};
use super::site::{ORDERS, Site};
use Step::{Lost, Told};

/// Handlers that are killed at work.
const KILLS: u32 = 30;

/// True when it was acknowledged. No answer: the handler was killed. Anything else but 200 would be a fault.
fn acknowledged(answer: Option<Answer>) -> bool {
    answer.is_some_and(|answer| {
        assert_eq!(answer.status, 200, "{}", answer.text);
        true
    })
}

async fn send_blob(handler: &Handler, message: &[u8]) -> bool {
    acknowledged(handler.try_post("ingest_blob", queue_envelope(message)).await)
}

/// Batches of a partition in their order; the next only when the last is acknowledged.
async fn send_partition(handler: &Handler, batches: &[Batch]) -> bool {
    for batch in batches {
        if !acknowledged(handler.try_post("ingest_clicks", batch.envelope().to_string()).await) {
            return false;
        }
    }
    true
}

/// What the host has to deliver, and how far it is.
#[derive(Default)]
struct Deliveries {
    blobs: Vec<Vec<u8>>,
    blobs_done: usize,
    partitions: [Vec<Batch>; 2],
    partitions_done: [usize; 2],
}

impl Deliveries {
    /// Delivers what is open, and some of what is done, side by side. True when all of it was acknowledged.
    async fn send(&self, handler: &Handler, again: usize) -> bool {
        let blobs = self.blobs[self.blobs_done.saturating_sub(again)..].iter();
        let blobs = futures::future::join_all(blobs.map(|message| send_blob(handler, message)));
        let rest =
            |partition: usize| &self.partitions[partition][self.partitions_done[partition].saturating_sub(again)..];
        let repeat = |partition: usize| &self.partitions[partition][..self.partitions_done[partition]];
        let events = futures::future::join_all([
            send_partition(handler, rest(0)),
            send_partition(handler, rest(1)),
            send_partition(handler, &repeat(0)[..again.min(repeat(0).len())]),
        ]);
        let (blobs, events) = tokio::join!(blobs, events);
        blobs.into_iter().chain(events).all(|done| done)
    }
}

/// What the tables must hold in the end, by the model: `source|position|value`.
#[derive(Default)]
struct Model {
    orders: BTreeSet<String>,
    clicks: BTreeSet<String>,
    quarantined: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_killed_at_random_moments_leave_each_record_once() {
    let seed = std::env::var("WEIR_TEST_SEED").map_or(20_261_124, |seed| seed.parse::<u64>().unwrap());
    println!("seed {seed}; WEIR_TEST_SEED sets another");
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::new();
    let (mut model, mut deliveries, mut interrupted) = (Model::default(), Deliveries::default(), 0);
    let mut reach_ms = 50;
    for round in 0..KILLS {
        add(&site, &mut model, &mut deliveries, &mut random, round).await;
        let handler = Handler::start(&site).await;
        // Some live long enough to finish; the others about as long as this machine needs to be at work.
        let life = Duration::from_millis(random.random_range(1..if round % 4 == 3 { 1000 } else { reach_ms }));
        let sent = deliveries.send(&handler, random.random_range(0..3));
        let complete = tokio::time::timeout(life, sent).await.unwrap_or(false);
        handler.kill();
        // Who is not told that all of it was acknowledged delivers all of it again.
        if complete {
            deliveries.blobs_done = deliveries.blobs.len();
            deliveries.partitions_done = [0, 1].map(|partition| deliveries.partitions[partition].len());
        } else {
            interrupted += 1;
        }
        reach_ms = if complete { (reach_ms / 2).max(2) } else { (reach_ms * 2).min(400) };
    }
    println!("{interrupted} of {KILLS} handlers were killed at work");
    assert!(interrupted >= KILLS / 4);
    let handler = Handler::start(&site).await;
    for _ in 0..2 {
        assert!(deliveries.send(&handler, usize::MAX).await);
    }
    compare(&site, &model).await;
    let status = handler.status().await;
    assert_eq!(status["balanced"], true, "{status}");
}

/// Some blobs, and the next batch of each partition.
async fn add(site: &Site, model: &mut Model, deliveries: &mut Deliveries, random: &mut StdRng, round: u32) {
    for blob in 0..3 {
        let path = format!("orders/r{round}b{blob}.csv");
        let mut content = "id,amount,note\n".to_owned();
        for position in 1..=random.random_range(1..200) {
            let (bad, id) = (random.random_ratio(1, 8), random.random::<u32>());
            content += &format!("{id},{}.00,n\n", if bad { -1 } else { 1 });
            if bad {
                model.quarantined += 1;
            } else {
                model.orders.insert(format!("blob:landing/{path}|{position}|{id}"));
            }
        }
        deliveries.blobs.push(site.put(&path, content).await);
    }
    for partition in 0..2 {
        // Batches overlap with the one before.
        let (from, to) = (i64::from(round) * 30 + 1, i64::from(round) * 30 + 40);
        let body = |n: i64| format!("{{\"n\":{}}}", if n % 9 == 0 { -n } else { n }).into_bytes();
        let batch = Batch { partition, events: (from..=to).map(|n| (n, body(n))).collect() };
        for n in (from..=to).filter(|n| n % 9 != 0) {
            model.clicks.insert(format!("{}|{n}|{n}", batch.source()));
        }
        deliveries.partitions[partition as usize].push(batch);
    }
}

async fn compare(site: &Site, model: &Model) {
    let orders = site.rows("orders", &["_source", "_source_position", "id"]).await;
    same("orders", orders, &model.orders);
    let clicks = site.rows("clicks", &["_source", "_source_position", "n"]).await;
    same("clicks", clicks, &model.clicks);
    assert_eq!(site.each_place_once("orders").await, model.orders.len() + model.quarantined);
    let events = usize::try_from((KILLS - 1) * 30 + 40).unwrap() * 2;
    assert_eq!(site.each_place_once("clicks").await, events);
}

fn same(table: &str, found: Vec<String>, model: &BTreeSet<String>) {
    let rows = found.len();
    let found: BTreeSet<String> = found.into_iter().collect();
    let lost: Vec<_> = model.difference(&found).collect();
    let foreign: Vec<_> = found.difference(model).collect();
    assert!(lost.is_empty() && foreign.is_empty(), "{table}: lost {lost:?}, foreign {foreign:?}");
    assert_eq!(rows, found.len(), "{table}: rows are doubled");
}

/// Takes back the newest commit of a table: as if the handler had been killed just before it, after the commit of the
/// quarantine.
pub(super) fn take_back_last_commit(site: &Site, table: &str) {
    fs::remove_file(site.log(table).pop().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_two_commits_of_a_blob_is_mended_by_its_redelivery() {
    const CONTENT: &str = "id,amount,note\n1,1.00,a\n2,-1.00,b\n3,5.00,c\n4,-2.00,d\n5,6.00,e\n";
    // What the contract says when the blob comes again, and what must be where then: it is read anew, and what quarantine
    // had of it is replaced.
    let cases = [
        ("the same", ORDERS.to_owned(), vec!["1", "3", "5"], vec![2, 4]),
        ("laxer", ORDERS.replace("amount > 0", "amount > -10"), vec!["1", "2", "3", "4", "5"], vec![]),
        ("stricter", ORDERS.replace("amount > 0", "amount > 5"), vec!["5"], vec![1, 2, 3, 4]),
        ("another", ORDERS.replace("amount > 0", "amount < 3"), vec!["1", "2", "4"], vec![3, 5]),
    ];
    for (name, contract, rows, quarantined) in cases {
        let site = Site::new();
        let message = site.put("orders/a.csv", CONTENT).await;
        let handler = Handler::start(&site).await;
        assert_eq!(books(&handler.ingest(&message).await), [5, 3, 2, 0]);
        handler.kill();
        take_back_last_commit(&site, "orders");
        site.contract("orders", &contract);
        // And once more: the redelivery crashes at the same place.
        let handler = Handler::start(&site).await;
        handler.ingest(&message).await;
        handler.kill();
        take_back_last_commit(&site, "orders");

        let handler = Handler::start(&site).await;
        let [records_in, committed, refused, _] = books(&handler.ingest(&message).await);
        assert_eq!((records_in, committed, refused), (5, rows.len() as u64, quarantined.len() as u64), "{name}");
        assert_eq!(handler.ingest(&message).await["outcome"], "alreadyCommitted");
        assert_eq!(site.rows("orders", &["id"]).await, rows, "{name}");
        let found = site.quarantined("orders", "blob:landing/orders/a.csv").await;
        assert_eq!(found.iter().map(|record| record.position).collect::<Vec<_>>(), quarantined, "{name}");
        assert_eq!(site.each_place_once("orders").await, 5, "{name}");
        assert_eq!(handler.status().await["balanced"], true, "{name}");
    }
}

/// The host builds batches anew after a crash: they may end elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_two_commits_of_a_batch_is_mended_by_whatever_batches_follow() {
    let bad: BTreeSet<i64> = [3, 8, 15, 19].into();
    let batch = |from: i64, to: i64| {
        let body = |n: i64| format!("{{\"n\":{}}}", if bad.contains(&n) { -1 } else { n }).into_bytes();
        Batch { partition: 0, events: (from..=to).map(|n| (n, body(n))).collect() }
    };
    let cases = [
        vec![Lost(1, 10), Told(1, 10), Told(11, 20)],
        vec![Lost(1, 10), Told(1, 4), Told(5, 9), Told(10, 20)],
        vec![Lost(1, 10), Told(1, 20)],
        vec![Lost(1, 10), Lost(1, 20), Told(1, 5), Told(6, 12), Told(13, 20)],
        // A second crash, further on than the first, and then shorter batches again.
        vec![Lost(1, 10), Told(1, 5), Lost(6, 20), Told(6, 12), Told(13, 20)],
        vec![Lost(1, 20), Lost(1, 10), Lost(1, 5), Told(1, 2), Told(3, 16), Told(15, 20)],
    ];
    for steps in cases {
        let site = Site::new();
        let mut handler = Handler::start(&site).await;
        for step in &steps {
            let (Lost(from, to) | Told(from, to)) = *step;
            let [records_in, committed, refused, already] = books(&handler.events(&batch(from, to)).await.receipt());
            assert_eq!(records_in, committed + refused + already, "{steps:?}");
            if let Lost(..) = step {
                handler.kill();
                take_back_last_commit(&site, "clicks");
                handler = Handler::start(&site).await;
            }
        }
        let quarantined = site.quarantined("clicks", &batch(1, 1).source()).await;
        let quarantined: Vec<i64> = quarantined.iter().map(|record| record.position).collect();
        assert_eq!(quarantined, bad.iter().copied().collect::<Vec<_>>(), "{steps:?}");
        assert_eq!(site.rows("clicks", &["n"]).await.len(), 16, "{steps:?}");
        assert_eq!(site.each_place_once("clicks").await, 20, "{steps:?}");
        assert_eq!(handler.status().await["balanced"], true, "{steps:?}");
    }
}

/// A batch, from the first to the last sequence number.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Its quarantine was committed, its table not.
    Lost(i64, i64),
    /// Acknowledged.
    Told(i64, i64),
}
