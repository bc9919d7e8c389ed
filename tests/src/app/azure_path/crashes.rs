//! SIGKILL of the handler, of the host, and of both, at any moment: the queue delivers again what nobody deleted, and
//! each record is there once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::account::{Account, CloudEvents, EventGrid, Model, blob};
use super::process::HostProcess;
use super::races::{big, big_is_whole, gzip, in_parts};

const BLOBS_A_KILL: u32 = 7;
const KILLS: u32 = 15;
/// On a machine where hardly anybody was killed at work by then, it goes on up to so many.
const MOST_KILLS: u32 = 60;
/// Deliveries after somebody died over the message.
const AGAIN: usize = 10;
/// Of a blob that is read in parts, and of one that is read piece by piece.
const LINES: u32 = 50_000;
/// From the last kill to the last message.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_handlers_killed_at_random_moments_leave_each_record_once() {
    let seed = std::env::var("WEIR_TEST_SEED").map_or(20_261_125, |seed| seed.parse::<u64>().unwrap());
    println!("seed {seed}; WEIR_TEST_SEED sets another");
    let mut random = StdRng::seed_from_u64(seed);
    let account = Account::new().await;
    account.contract("big", &in_parts());
    // A message whose takers are killed five times is no poison.
    let mut host = HostProcess::start(&account, |queues| queues["maxDequeueCount"] = 1000.into());

    let (mut model, mut uploaded) = (Model::default(), 0);
    // From the beginning on: 25 MB in parts, and as much that is compressed.
    let content = big(LINES, 500);
    for (path, content) in [("big/a.csv.gz", gzip(&content)), ("big/b.csv", content.into_bytes())] {
        let etag = account.upload(path, content).await;
        account.send("blob-events", &EventGrid.event(path, &etag)).await;
    }
    let mut reach_ms = 500;
    for kill in 1..=MOST_KILLS {
        if kill > KILLS && again(&host) >= AGAIN {
            break;
        }
        while uploaded < BLOBS_A_KILL * kill {
            let blob = blob(uploaded);
            let etag = account.upload(&blob.path, blob.content.clone()).await;
            let cloud = random.random();
            let event = if cloud { CloudEvents.event(&blob.path, &etag) } else { EventGrid.event(&blob.path, &etag) };
            account.send("blob-events", &event).await;
            model.add(&blob, &etag);
            uploaded += 1;
        }
        // About as long as this machine needs to be at work.
        tokio::time::sleep(Duration::from_millis(random.random_range(1..reach_ms))).await;
        let idle = account.count("blob-events").await + account.count("tasks").await == 0;
        reach_ms = if idle { (reach_ms / 2).max(20) } else { (reach_ms * 2).min(500) };
        match random.random_range(0..3) {
            0 => drop(host.kill_handler()),
            1 => host.replace_host(),
            _ => host.replace_both(),
        }
        if random.random() {
            host.end_orphans();
        }
    }
    let since = Instant::now();
    while account.count("blob-events").await + account.count("tasks").await > 0 {
        assert!(since.elapsed() < PATIENCE, "messages are left:\n{}\n{}", host.log(), account.handler_log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{} records; all delivered {:?} after the last kill", model.len(), since.elapsed());
    for queue in ["blob-events-poison", "tasks-poison"] {
        assert_eq!(account.count(queue).await, 0);
    }
    account.holds(&model).await;
    big_is_whole(&account, 2, LINES).await;
    // Who died over the deletion of its notes leaves some, and who lived on with no host makes one late, for maintenance:
    // all takers of one blob under one key.
    let notes = account.notes("big").await;
    let readings: BTreeSet<_> = notes.keys().map(|note| note.rsplit_once('/').unwrap().0).collect();
    assert!(readings.len() <= 2, "{readings:?}");
    let deliveries = host.deliveries();
    let again = again(&host);
    let already = deliveries.iter().filter(|(_, outcome)| outcome == "alreadyCommitted").count();
    println!("{again} deliveries after somebody died over the message, {already} of what was committed already");
    assert!(again >= AGAIN, "hardly anybody was killed at work: {deliveries:?}");
}

fn again(host: &HostProcess) -> usize {
    host.deliveries().iter().filter(|(number, _)| *number > 1).count()
}
