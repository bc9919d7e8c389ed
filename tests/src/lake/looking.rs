//! Looking for a table that may not be there: each blob does, for its dataset's quarantine.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::faulty::Faulty;
use super::{commit_path, definition, lake, memory};

/// A lake of its own, whose requests are counted.
fn counting(store: &Arc<dyn ObjectStore>) -> (Arc<Faulty>, weir_lake::Lake) {
    let faulty = Faulty::calm(store);
    let lake = lake(&(Arc::clone(&faulty) as _));
    (faulty, lake)
}

#[tokio::test]
async fn a_table_that_is_not_there_is_looked_for_without_a_listing_and_found_once_it_is_made() {
    let store = memory();
    let (faulty, ours) = counting(&store);
    assert!(ours.existing(&definition()).await.unwrap().is_none());
    assert!(faulty.take_requests().contains_key("list"), "the first look is thorough");
    for _ in 0..3 {
        assert!(ours.existing(&definition()).await.unwrap().is_none());
        assert_eq!(faulty.take_requests().into_iter().collect::<Vec<_>>(), [("get log", 2)]);
    }

    lake(&store).table(&definition()).await.unwrap();
    let found = ours.existing(&definition()).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&found, &ours.table(&definition()).await.unwrap()), "one writer a process");
}

/// Its first commit may be gone by then: what is left of the log says so.
#[tokio::test]
async fn a_table_whose_log_was_cleaned_up_meanwhile_is_found() {
    let store = memory();
    let (_, ours) = counting(&store);
    assert!(ours.existing(&definition()).await.unwrap().is_none());
    lake(&store).table(&definition()).await.unwrap();
    let first = store.get(&commit_path(0)).await.unwrap().bytes().await.unwrap();
    store.put(&commit_path(1), first.into()).await.unwrap();
    store.delete(&commit_path(0)).await.unwrap();
    let hint = "lake/orders/_delta_log/_last_checkpoint".into();
    store.put(&hint, PutPayload::from_static(b"{\"version\":1,\"size\":1}")).await.unwrap();
    // There is no such checkpoint, so the table is damaged; what counts is that it is not taken for none.
    assert!(ours.existing(&definition()).await.is_err());
}

/// Who asks while somebody looks does not take that answer, which may be older than the question; but all of them share
/// the next.
#[tokio::test]
async fn those_who_wait_share_a_look() {
    let store = memory();
    let (faulty, ours) = counting(&store);
    let ours = Arc::new(ours);
    assert!(ours.existing(&definition()).await.unwrap().is_none());
    faulty.take_requests();

    let gate = faulty.hold_next_read("00000000000000000000.json");
    let look = |lake: &Arc<weir_lake::Lake>| {
        let lake = Arc::clone(lake);
        tokio::spawn(async move { lake.existing(&definition()).await.unwrap().is_some() })
    };
    let first = look(&ours);
    gate.reached().await;
    let others: Vec<_> = (0..16).map(|_| look(&ours)).collect();
    tokio::task::yield_now().await;
    lake(&store).table(&definition()).await.unwrap();
    gate.release();
    first.await.unwrap();
    for other in others {
        assert!(other.await.unwrap(), "the table was made after this one asked");
    }
    let requests: usize = faulty.take_requests().values().sum();
    assert!(requests < 12, "{requests} requests of 17 who looked");
}

#[tokio::test]
async fn nobody_waits_twice_for_what_is_not_there() {
    let store = memory();
    let (faulty, ours) = counting(&store);
    let ours = Arc::new(ours);
    assert!(ours.existing(&definition()).await.unwrap().is_none());
    faulty.take_requests();
    let gate = faulty.hold_next_read("00000000000000000000.json");
    let look = || {
        let lake = Arc::clone(&ours);
        tokio::spawn(async move { lake.existing(&definition()).await.unwrap().is_none() })
    };
    let first = look();
    gate.reached().await;
    let others: Vec<_> = (0..16).map(|_| look()).collect();
    tokio::task::yield_now().await;
    gate.release();
    assert!(first.await.unwrap());
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(faulty.take_requests().into_iter().collect::<Vec<_>>(), [("get log", 4)], "two looks of two requests");
}
