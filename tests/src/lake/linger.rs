//! How long rows wait for others: who comes alone never, a crowd for as long as it takes to be whole.
//!
//! On a clock that stands still while there is work: what waits, waits for a reason, and how long can be told exactly.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use weir_lake::{LakeOptions, Table};

use super::faulty::{Faulty, Weather};
use super::sharing::{all, hub, options, over};
use super::{append, definition, memory, model, rows};

#[tokio::test(start_paused = true)]
async fn who_comes_alone_never_waits() {
    let table = over(&Faulty::calm(&memory()), &definition(), options()).await;
    let began = Instant::now();
    for position in 1..=100 {
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// On threads that really run at the same time: the next append is there before the last one's commit has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_at_once_is_not_taken_for_a_crowd() {
    let linger = Duration::from_secs(30);
    let table = over(&Faulty::calm(&memory()), &definition(), LakeOptions { linger, ..options() }).await;
    let began = std::time::Instant::now();
    for position in 1..=500 {
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
    assert!(began.elapsed() < linger);
}

/// Callers that come back soon after they are answered, each after a time of its own.
async fn closed_loop(store: Arc<Faulty>, options: LakeOptions, callers: usize, batches: i64) -> (Arc<Table>, usize) {
    let table = over(&store, &definition(), options).await;
    store.take_requests();
    let tasks = (0..callers).map(|index| {
        let table = Arc::clone(&table);
        tokio::spawn(async move {
            for batch in 1..=batches {
                let rows = model(&hub(index), batch..=batch);
                append(&table, &rows, (batch > 1).then(|| batch - 1)).await.unwrap();
                if batch < batches {
                    tokio::time::sleep(Duration::from_millis(index as u64 % 6)).await;
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let files = store.take_requests()["put data"];
    (table, files)
}

#[tokio::test(start_paused = true)]
async fn a_crowd_shares_one_file_a_round() {
    let stormy = || Faulty::new(memory(), 7, Weather { faults: 0.0, latency: Duration::from_millis(10) });
    let (table, files) = closed_loop(stormy(), options(), 16, 20).await;
    assert_eq!(rows(&table).await, all((0..16).map(hub), 20));
    // The first comes alone, and the last round may be two.
    assert!(files <= 22, "{files} files for 20 rounds");
    let (_, without) = closed_loop(stormy(), LakeOptions { linger: Duration::ZERO, ..options() }, 16, 20).await;
    assert!(without > 30, "lingering is what makes it so: {without} files without");
}

/// Who is left alone by a crowd waits for it once, and not longer than it may.
#[tokio::test(start_paused = true)]
async fn a_crowd_that_is_gone_is_waited_for_once() {
    let (table, _) = closed_loop(Faulty::calm(&memory()), options(), 16, 3).await;
    let mut waited = Vec::new();
    for position in 1..=4 {
        let began = Instant::now();
        append(&table, &model("late", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
        waited.push(began.elapsed());
    }
    let linger = options().linger;
    assert!(waited[0] > Duration::ZERO && waited[0] <= linger + Duration::from_millis(1), "{waited:?}");
    assert_eq!(waited[1..], [Duration::ZERO; 3], "{waited:?}");
    // And not at all, if the crowd has been gone for longer than that.
    let (table, _) = closed_loop(Faulty::calm(&memory()), options(), 16, 3).await;
    tokio::time::sleep(linger).await;
    let began = Instant::now();
    append(&table, &model("late", 1..=1), None).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}
