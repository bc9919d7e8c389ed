//! One thing at a time: what is made anew, and what is not.

use super::*;
use weir_lake::CompactOptions;

const SHOP: &[(i64, &str)] = &[(1, "north"), (2, "south")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_changed_is_made_anew() {
    let world = World::new(DAILY).await;
    world.open_shops(1, SHOP).await;
    let (a, b) = ([(Some(1), 1, 100), (Some(2), 2, 250), (None, 1, 5)], [(Some(1), 2, 7), (Some(3), 9, 1)]);
    world.put("a", 1, &a).await;
    world.put("b", 1, &b).await;
    let done = world.refresh(options()).await.unwrap();
    assert_eq!((done.units, done.commits, done.reason), (4, 1, Some("it is new")));
    assert_eq!(world.sums().await, expected(a.iter().chain(&b), SHOP));
    assert_eq!(world.stands_for().await, Some(2));

    // Nothing happened, so nothing happens.
    let version = world.version().await;
    assert_eq!(world.refresh(options()).await.unwrap(), Refreshed::default());

    // Files are merged, and no row changes.
    let compacted = world.orders.compact(CompactOptions::default(), None).await.unwrap();
    assert!(compacted.files_removed > 1, "{compacted:?}");
    assert_eq!(world.refresh(options()).await.unwrap(), Refreshed::default());
    assert_eq!(world.version().await, version, "a compaction of the source is no reason to commit");

    // A blob is replaced: one day empties, one comes, one changes. The day that only `b` has stays as it is, although
    // its row is in the file that was rewritten.
    let a = [(Some(1), 1, 300), (Some(4), 2, 1), (None, 1, 5)];
    world.put("a", 2, &a).await;
    let done = world.refresh(options()).await.unwrap();
    assert_eq!((done.units, done.commits, done.reason), (4, 1, None), "days 1, 2 and 4, and rows without a day");
    assert_eq!(world.sums().await, expected(a.iter().chain(&b), SHOP));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_that_changes_changes_everything_or_nothing() {
    for (text, moved) in [(DAILY.to_owned(), true), (DAILY.replace("by =", "on_lookup_change = \"keep\"\nby ="), false)]
    {
        let world = World::new(&text).await;
        world.open_shops(1, SHOP).await;
        let a = [(Some(1), 1, 100), (Some(2), 2, 250)];
        world.put("a", 1, &a).await;
        world.refresh(options()).await.unwrap();
        let other: &[(i64, &str)] = &[(1, "east"), (2, "south")];
        world.open_shops(2, other).await;
        let done = world.refresh(options()).await.unwrap();
        assert_eq!(done.reason.is_some(), moved);
        assert_eq!(world.sums().await, expected(&a, if moved { other } else { SHOP }));
        // A lookup's compaction is none of these.
        world.shops.compact(CompactOptions::default(), None).await.unwrap();
        assert_eq!(world.refresh(options()).await.unwrap(), Refreshed::default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_query_makes_all_anew_and_so_does_the_first_one_again() {
    let world = World::new(DAILY).await;
    world.open_shops(1, SHOP).await;
    let a = [(Some(1), 1, 100), (Some(2), 2, 250)];
    world.put("a", 1, &a).await;
    world.refresh(options()).await.unwrap();
    let only = DAILY.replace("GROUP BY", "WHERE price > 2 GROUP BY");
    let other = World::over(Arc::clone(&world.store), &only).await;
    let done = other.refresh(options()).await.unwrap();
    assert!(done.reason.unwrap().contains("query changed"), "{done:?}");
    assert_eq!(other.sums().await, expected(&a[1..], SHOP));
    let back = World::over(Arc::clone(&world.store), DAILY).await;
    back.refresh(options()).await.unwrap();
    assert_eq!(back.sums().await, expected(&a, SHOP));
    assert_eq!(back.refresh(options()).await.unwrap(), Refreshed::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_table_that_was_made_anew_is_another_one() {
    let world = World::new(DAILY).await;
    world.put("a", 1, &[(Some(1), 1, 100), (Some(2), 2, 250)]).await;
    world.refresh(options()).await.unwrap();
    let all: Vec<_> = {
        use futures::TryStreamExt;
        world.store.list(Some(&Path::from("lake/orders"))).try_collect().await.unwrap()
    };
    for object in all {
        use object_store::ObjectStoreExt;
        world.store.delete(&object.location).await.unwrap();
    }
    let again = World::over(Arc::clone(&world.store), DAILY).await;
    let a = [(Some(2), 1, 9)];
    again.put("a", 1, &a).await;
    assert!(again.refresh(options()).await.unwrap().reason.is_some());
    assert_eq!(again.sums().await, expected(&a, &[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_gone_make_all_anew() {
    let world = World::new(DAILY).await;
    world.put("a", 1, &[(Some(1), 1, 100)]).await;
    world.refresh(options()).await.unwrap();
    world.put("a", 2, &[(Some(2), 1, 100)]).await;
    world.put("b", 1, &[(Some(3), 1, 100)]).await;
    world
        .orders
        .checkpoint_if_due(weir_lake::CheckpointPolicy { commits: 1, age: std::time::Duration::ZERO })
        .await
        .unwrap();
    {
        use object_store::ObjectStoreExt;
        world.store.delete(&Path::from("lake/orders/_delta_log/00000000000000000002.json")).await.unwrap();
    }
    let again = World::over(Arc::clone(&world.store), DAILY).await;
    let done = again.refresh(options()).await.unwrap();
    assert!(done.reason.unwrap().contains("log"), "{done:?}");
    assert_eq!(again.sums().await, expected(&[(Some(2), 1, 100), (Some(3), 1, 100)], &[]));
}

/// Cut off after each commit, a refresh gets through all the same, and does nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_not_done_again() {
    let world = World::new(DAILY).await;
    let a: Vec<Order> = (0..10).map(|day| (Some(day), 1, 1)).collect();
    world.put("a", 1, &a).await;
    let hurried = Options { stop_at: Some(tokio::time::Instant::now()), units_per_commit: 3, ..options() };
    let mut runs = Vec::new();
    loop {
        let done = world.refresh(hurried).await.unwrap();
        runs.push((done.commits, done.units, done.units_left));
        assert_eq!(world.stands_for().await.is_some(), done.units_left == 0);
        if done.units_left == 0 {
            break;
        }
    }
    assert_eq!(runs, [(1, 3, 7), (1, 3, 4), (1, 3, 1), (1, 1, 0)]);
    // The same for a change of many units, with one that changes again in between.
    let b: Vec<Order> = (0..10).map(|day| (Some(day), 2, 1)).collect();
    world.put("b", 1, &b).await;
    assert_eq!(world.refresh(hurried).await.unwrap().units_left, 7);
    world.put("c", 1, &[(Some(0), 3, 1)]).await;
    let mut units = 3;
    loop {
        let done = world.refresh(hurried).await.unwrap();
        units += done.units;
        if done.units_left == 0 {
            break;
        }
    }
    assert_eq!(units, 11, "ten units, and the first once more");
    assert_eq!(world.sums().await, expected(a.iter().chain(&b).chain(&[(Some(0), 3, 1)]), &[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_does_not_fit_is_told() {
    let world = World::new(DAILY).await;
    let a: Vec<Order> = (0..1_000).map(|_| (Some(1), 1, 1)).collect();
    world.put("a", 1, &a).await;
    let error = world.refresh(Options { most_bytes: 10_000, ..options() }).await.unwrap_err();
    assert!(matches!(error, DerivedError::TooLarge { rows: 1_000, .. }), "{error}");
}
