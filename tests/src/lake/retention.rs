//! Transaction ids: those that may expire are forgotten after the table's retention, everywhere; the others never.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use weir_lake::{Append, Books, CompactOptions, LogCleanupOptions, Outcome, Producer, Table, TableDefinition};

use super::clock::{self, DAY, MINUTE, open_as, with};
use super::{books, counted, definition, frame, memory, model};

fn expiring() -> TableDefinition {
    with(&[("delta.setTransactionRetentionDuration", "interval 30 days")])
}

/// One row; `expires` as for a part of a blob.
async fn append(table: &Arc<Table>, id: &str, version: i64, expires: bool) -> Outcome {
    let producer = Producer { id: id.to_owned(), version, expires };
    let rows = table.stage(frame(&model(id, version..=version))).await.unwrap();
    let after = table.committed(id);
    table.append(Append { producer, rows, books: counted(1) }, after).await.unwrap()
}

/// The transaction ids in a checkpoint's file: what every other engine carries on.
async fn in_checkpoint(store: &Arc<dyn ObjectStore>, version: i64) -> BTreeSet<String> {
    let path = Path::from(format!("lake/orders/_delta_log/{version:020}.checkpoint.parquet"));
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    let frame = ParquetReader::new(Cursor::new(bytes)).finish().unwrap();
    let ids = frame.column("txn").unwrap().struct_().unwrap().field_by_name("appId").unwrap();
    ids.str().unwrap().iter().flatten().map(str::to_owned).collect()
}

/// delta-rs goes by the real time: the past is where the test begins.
#[tokio::test]
async fn expired_ids_are_forgotten_and_the_others_never() {
    clock::before(31 * DAY);
    let store = memory();
    let table = open_as(&store, &expiring()).await;
    append(&table, "blob:old", 1, true).await;
    append(&table, "hub/0", 1, false).await;
    append(&table, "blob:again", 1, true).await;
    let mut lease = table.lease("tests", MINUTE).await.unwrap().unwrap();
    assert_eq!(table.compact(CompactOptions::default(), Some(&mut lease)).await.unwrap().commits, 1);
    clock::before(30 * DAY - MINUTE);
    append(&table, "blob:young", 1, true).await;
    append(&table, "blob:again", 2, true).await;
    let version = table.refresh().await.unwrap();

    for checkpointed in [false, true] {
        if checkpointed {
            assert_eq!(table.checkpoint().await.unwrap(), version);
        }
        clock::at(Duration::ZERO);
        let cold = open_as(&store, &expiring()).await;
        assert_eq!(cold.committed("blob:old"), None, "checkpointed: {checkpointed}");
        assert_eq!(cold.committed("blob:young"), Some(1));
        assert_eq!(cold.committed("blob:again"), Some(2), "by when it was used last");
        assert_eq!((cold.committed("hub/0"), cold.committed("weir:fence")), (Some(1), Some(lease.fence())));
        assert_eq!(books(&cold).await, Books { records_in: 5, committed: 5, ..Books::default() });
        let known = cold.snapshot().await.unwrap().transactions;
        assert!(!known.keys().any(|id| id.starts_with("weir:rewrite:")), "{known:?}");
    }
    // The checkpoint's file has no more than we have; the log before it can go.
    let ids = in_checkpoint(&store, version).await;
    assert!(!ids.contains("blob:old") && !ids.iter().any(|id| id.starts_with("weir:rewrite:")), "{ids:?}");
    for id in ["blob:young", "blob:again", "hub/0", "weir:fence", "weir:books:records_in"] {
        assert!(ids.contains(id), "{id}: {ids:?}");
    }
    clock::at(60 * DAY);
    assert!(table.clean_log(LogCleanupOptions::default()).await.unwrap().commits > 0);
    // By the store's time of the newest commit nothing more has expired, whatever this machine's clock says.
    append(&table, "hub/0", 2, false).await;
    let cold = open_as(&store, &expiring()).await;
    assert_eq!(cold.committed("blob:young"), Some(1));
    assert_eq!((cold.committed("hub/0"), cold.committed("weir:fence")), (Some(2), Some(lease.fence())));
    assert_eq!(books(&cold).await.committed, 6);
    // A producer that had expired begins anew, and is remembered as long as any.
    assert!(matches!(append(&cold, "blob:old", 1, true).await, Outcome::Committed { .. }));
    assert_eq!(
        append(&open_as(&store, &expiring()).await, "blob:old", 1, true).await,
        Outcome::AlreadyCommitted { producer_version: 1 }
    );
}

/// Within the retention a second delivery is known, whatever was cleaned up.
#[tokio::test]
async fn a_second_delivery_within_the_retention_is_recognised() {
    clock::before(29 * DAY);
    let store = memory();
    let table = open_as(&store, &expiring()).await;
    append(&table, "blob:a", 7, true).await;
    clock::at(Duration::ZERO);
    table.checkpoint().await.unwrap();
    for table in [table, open_as(&store, &expiring()).await] {
        assert_eq!(append(&table, "blob:a", 7, true).await, Outcome::AlreadyCommitted { producer_version: 7 });
    }
}

/// Without the property nothing expires, and that is what the definition says.
#[tokio::test]
async fn without_the_property_every_id_stays() {
    clock::before(3650 * DAY);
    let store = memory();
    let table = clock::open(&store).await;
    append(&table, "blob:a", 1, true).await;
    clock::at(Duration::ZERO);
    let version = table.checkpoint().await.unwrap();
    assert!(in_checkpoint(&store, version).await.contains("blob:a"));
    assert_eq!(clock::open(&store).await.committed("blob:a"), Some(1));
}

/// Five months, fifty blobs a day. What is carried on is one month of them, on disk, in a cold start and in a process
/// that has been there all the time.
#[tokio::test]
async fn live_ids_are_bounded_by_the_retention_and_not_by_the_age_of_the_table() {
    const DAYS: u32 = 150;
    const BLOBS: usize = 50;
    let month = 31 * BLOBS;
    let mut checkpoint_bytes = Vec::new();
    for expires in [true, false] {
        clock::before(DAYS * DAY);
        let store = memory();
        let definition = if expires { expiring() } else { definition() };
        let table = open_as(&store, &definition).await;
        for day in 0..DAYS {
            clock::before((DAYS - day) * DAY - MINUTE);
            let blobs: Vec<_> =
                (0..BLOBS).map(|blob| format!("blob:{day}/{blob}@{:032x}", day as usize * BLOBS + blob)).collect();
            let outcomes = join_all(blobs.iter().map(|blob| append(&table, blob, 1, true))).await;
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
        }
        clock::at(Duration::ZERO);
        let version = table.checkpoint().await.unwrap();
        let ids = in_checkpoint(&store, version).await;
        let cold = open_as(&store, &definition).await;
        let known = cold.snapshot().await.unwrap().transactions.len();
        assert_eq!(books(&cold).await.committed, u64::from(DAYS) * BLOBS as u64);
        let oldest = table.committed(&format!("blob:0/0@{:032x}", 0));
        if expires {
            assert!((month - BLOBS..=month + 8).contains(&ids.len()), "{} in the checkpoint", ids.len());
            assert!((month - BLOBS..=month + 8).contains(&known), "{known} in a cold start");
            assert_eq!(oldest, None, "a process that never ends forgets as well");
        } else {
            assert!(known >= DAYS as usize * BLOBS && ids.len() == known, "{known}, {}", ids.len());
            assert_eq!(oldest, Some(1));
        }
        let path = Path::from(format!("lake/orders/_delta_log/{version:020}.checkpoint.parquet"));
        checkpoint_bytes.push(store.head(&path).await.unwrap().size);
    }
    println!("checkpoint with expiry {} bytes, without {} bytes", checkpoint_bytes[0], checkpoint_bytes[1]);
    assert!(checkpoint_bytes[0] < checkpoint_bytes[1] / 2, "{checkpoint_bytes:?}");
}
