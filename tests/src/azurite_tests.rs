//! What the lake relies on, as Azurite answers it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};

use crate::azurite::*;

/// The first of the lake's commits at a version stands, and everybody else is told.
#[tokio::test]
async fn a_blob_is_created_once() {
    let store = container().await;
    let path = Path::from("lake/orders/_delta_log/00000000000000000001.json");
    let create = |writer: usize| store.put_opts(&path, format!("writer {writer}").into(), PutMode::Create.into());
    let racing = join_all((0..8).map(create)).await;
    let winners: Vec<usize> = (0..8).filter(|writer| racing[*writer].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{racing:?}");

    let late = create(8).await;
    for refused in racing.iter().chain([&late]).filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(refused, Error::AlreadyExists { .. } | Error::Precondition { .. }), "{refused:?}");
    }
    let content = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(content, format!("writer {}", winners[0]));
}

#[tokio::test]
async fn a_log_is_listed_in_order_and_alone() {
    let store = container().await;
    // Written backwards. `%` and blanks are in the names of partition folders.
    let written = [
        "lake/orders/_delta_log/_last_checkpoint",
        "lake/orders/_delta_log/00000000000000000010.json",
        "lake/orders/_delta_log/00000000000000000010.checkpoint.parquet",
        "lake/orders/_delta_log/00000000000000000009.json",
    ];
    let neighbours = ["lake/orders/_delta_log2/a", "lake/orders/city=S%C3%A3o Paulo/b.parquet", "lake/orders2/c"];
    for name in written.iter().chain(&neighbours) {
        store.put(&Path::from(*name), (*name).into()).await.unwrap();
    }
    let mut expected: Vec<Path> = written.iter().map(|name| Path::from(*name)).collect();
    expected.reverse();
    let log = Path::from("lake/orders/_delta_log");
    assert_eq!(listed(&store, Some(&log)).await, expected);

    let after: Vec<_> = store.list_with_offset(Some(&log), &expected[0]).try_collect().await.unwrap();
    assert_eq!(after.into_iter().map(|object| object.location).collect::<Vec<_>>(), expected[1..]);

    expected.extend(neighbours.map(Path::from));
    let everything = listed(&store, None).await;
    assert!(everything.is_sorted(), "{everything:?}");
    for path in expected {
        assert!(everything.contains(&path), "{path}: {everything:?}");
        assert_eq!(store.get(&path).await.unwrap().meta.location, path);
    }
}

async fn listed(store: &Arc<dyn ObjectStore>, prefix: Option<&Path>) -> Vec<Path> {
    let objects: Vec<_> = store.list(prefix).try_collect().await.unwrap();
    objects.into_iter().map(|object| object.location).collect()
}

#[tokio::test]
async fn a_missing_blob_is_not_found() {
    let store = container().await;
    let (missing, there) = (Path::from("missing"), Path::from("there"));
    store.put(&there, "there".into()).await.unwrap();
    store.delete(&there).await.unwrap();
    for path in [&missing, &there] {
        let outcomes =
            [store.get(path).await.map(|_| ()), store.head(path).await.map(|_| ()), store.delete(path).await];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(Error::NotFound { .. })), "{path}: {outcome:?}");
        }
    }
    assert!(listed(&store, None).await.is_empty());
}

/// A blob that is overwritten while it is read is not read as a mixture.
#[tokio::test]
async fn a_read_sticks_to_one_version() {
    let store = container().await;
    let path = Path::from("landing/orders.csv");
    let first = store.put(&path, "one,two".into()).await.unwrap();
    let read =
        || GetOptions { if_match: first.e_tag.clone(), range: Some(GetRange::Bounded(4..7)), ..GetOptions::default() };
    let part = store.get_opts(&path, read()).await.unwrap().bytes().await.unwrap();
    assert_eq!(part, "two");

    store.put(&path, "1,2,3,4".into()).await.unwrap();
    let refused = store.get_opts(&path, read()).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })), "{refused:?}");
}

#[tokio::test]
async fn there_are_queues() {
    create(&format!("{}/events", account().queue_url)).await;
}

#[test]
fn azurite_ends_with_its_tests() {
    let Azurite { mut process, .. } = start();
    assert!(process.try_wait().unwrap().is_none(), "it runs");
    // What the kernel does when a test process ends.
    drop(process.stdin.take());
    let deadline = Instant::now() + TIME_LIMIT;
    while process.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it outlives its tests");
        thread::sleep(Duration::from_millis(20));
    }
}
