//! The whole path on real storage services: blobs land in Azurite, their events lie on its queues, the stand-in host
//! polls those with the settings of `host.json`, the `weir` binary ingests into a lake that is on Azurite, too, and
//! delta-rs and Polars read from there what came of it.

mod account;
mod crashes;
mod derived;
mod gates;
mod names;
mod process;
mod races;
mod ticks;
mod two_contracts;

use std::time::Duration;

use functions_host::Host;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use self::account::{Account, CloudEvents, EventGrid, Model, blob};
use super::handler::Handler;
use super::operations::status;
use super::site::Site;
use crate::support::weir_binary;

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(account: &Account) -> Host {
    Host::start(account.host_config(&weir_binary())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_blobs_are_in_the_tables_once() {
    let account = Account::new().await;
    let host = start(&account).await;
    let mut model = Model::default();
    for number in 0..30 {
        let blob = blob(number);
        let etag = account.upload(&blob.path, blob.content.clone()).await;
        // Both schemas that Event Grid can be told to write.
        let event =
            if number % 2 == 0 { EventGrid.event(&blob.path, &etag) } else { CloudEvents.event(&blob.path, &etag) };
        account.send("blob-events", &event).await;
        model.add(&blob, &etag);
    }
    host.wait_idle(PATIENCE).await.unwrap();
    account.holds(&model).await;
    let books = status(&host).await;
    assert_eq!(books["balanced"], true, "{books}");

    // The output binding writes to the real queue `tasks`; maintenance rewrites on Azurite what it made of thirty blobs.
    let before = account.files("orders").await;
    assert!(host.run_timer("maintain").await.unwrap().ok);
    host.wait_idle(PATIENCE).await.unwrap();
    assert!(account.files("orders").await < before, "nothing was compacted");
    account.holds(&model).await;
    for queue in ["blob-events", "tasks", "blob-events-poison", "tasks-poison"] {
        assert_eq!(host.queue_len(queue).await.unwrap(), 0, "{queue}");
        assert_eq!(account.peek(queue).await, Vec::<String>::new(), "{queue}");
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_come_twice_late_or_in_disorder_change_nothing() {
    const SEED: u64 = 11;
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let account = Account::new().await;
    let (mut model, mut events) = (Model::default(), Vec::new());
    for number in 0..12 {
        let blob = blob(number);
        let mut etag = account.upload(&blob.path, blob.content.clone()).await;
        if number % 3 == 0 {
            // Overwritten before anybody read it: its first event speaks of a version that is gone.
            events.push(EventGrid.event(&blob.path, &etag));
            etag = account.upload(&blob.path, blob.content.clone()).await;
        }
        model.add(&blob, &etag);
        events.extend([EventGrid.event(&blob.path, &etag), EventGrid.event(&blob.path, &etag)]);
        events.push(CloudEvents.event(&blob.path, &etag));
    }
    // Deleted before anybody read it; never there; of no dataset; and another type of event.
    let etag = account.upload("orders/deleted.csv", "id,amount,note\n1,1.00,a\n").await;
    account.delete("orders/deleted.csv").await;
    events.push(EventGrid.event("orders/deleted.csv", &etag));
    events.push(EventGrid.event("orders/never.csv", "0x8DCFFFFFFFFFFFF"));
    events.push(EventGrid.event("elsewhere/a.csv", &etag));
    events.push(EventGrid.event("orders/deleted.csv", &etag).replace("BlobCreated", "BlobDeleted"));
    events.shuffle(&mut random);
    for event in &events {
        account.send("blob-events", event).await;
    }
    let host = start(&account).await;
    host.wait_idle(PATIENCE).await.unwrap();
    account.holds(&model).await;
    // All of them once more, long after.
    for event in events.iter().rev() {
        account.send("blob-events", event).await;
    }
    host.wait_idle(PATIENCE).await.unwrap();
    account.holds(&model).await;
    assert_eq!(host.queue_len("blob-events-poison").await.unwrap(), 0);
    assert_eq!(status(&host).await["balanced"], true);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_handled_is_parked_and_the_rest_goes_on() {
    let account = Account::new().await;
    let config = account.host_config(&weir_binary());
    account.leave_poison();
    let host = Host::start(config).await.unwrap();
    let mut reports = host.subscribe();
    let mut model = Model::default();
    account.send("blob-events", "not an event").await;
    // Not even base64: the function never sees it.
    account.send_as_it_is("blob-events", "{not base64}").await;
    for number in 0..4 {
        let blob = blob(number);
        let etag = account.upload(&blob.path, blob.content.clone()).await;
        account.send("blob-events", &EventGrid.event(&blob.path, &etag)).await;
        model.add(&blob, &etag);
    }
    host.wait_idle(PATIENCE).await.unwrap();
    let mut attempts = Vec::new();
    while let Ok(report) = reports.try_recv() {
        if !report.ok {
            assert_eq!((&*report.function, report.status), ("ingest_blob", Some(500)));
            attempts.push(report.attempt);
        }
    }
    assert_eq!(attempts, [1, 2, 3, 4, 5], "maxDequeueCount of host.json");
    let mut parked = account.peek("blob-events-poison").await;
    parked.sort();
    assert_eq!(parked, ["bm90IGFuIGV2ZW50", "{not base64}"], "as they were put");
    account.holds(&model).await;
    host.shutdown().await;
}

/// Storage answers "not found" for it, too; taken for a deleted blob, the event would be acknowledged and the blob lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_landing_container_is_no_missing_blob() {
    let account = Account::without_landing().await;
    let host = start(&account).await;
    let event = EventGrid.event("orders/a.csv", "0x8DCFFFFFFFFFFFF");
    account.send("blob-events", &event).await;
    host.wait_idle(PATIENCE).await.unwrap();
    assert_eq!(status(&host).await["parkedCount"], 1, "it was acknowledged");
    let expected = "container `landing` does not exist where `WEIR_LANDING_URL` points";
    assert!(account.handler_log().contains(expected), "{}", account.handler_log());
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_reaches_the_emulator_on_this_machine_and_nothing_else() {
    let site = Site::new();
    for key in ["WEIR_LAKE_URL", "WEIR_LANDING_URL"] {
        let elsewhere = [(key, "http://storage.example.com/devstoreaccount1/landing")];
        let handler = Handler::start_with(&site, &elsewhere).await;
        let answer = handler.queue("ingest_blob", EventGrid.event("orders/a.csv", "0x1").as_bytes()).await;
        assert_eq!(answer.status, 500);
        let expected = format!("setting `{key}`: plain http is for the storage emulator on this machine");
        assert!(handler.logged().contains(&expected), "{}\n{}", answer.text, handler.logged());
    }
}
