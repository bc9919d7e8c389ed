//! One suite for every store: what the lake needs of it. Other stores join by calling [`conforms`].

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use weir_lake::{CompactOptions, Outcome, Replacement};

use super::{append, books, counted, definition, frame, lake, memory, model, open, producer, rows};
use crate::azurite;

/// Create, append, deliver again, race, compact, replace, checkpoint, open again.
pub(super) async fn conforms(store: Arc<dyn ObjectStore>) {
    assert!(lake(&store).existing(&definition()).await.unwrap().is_none(), "the store must be empty");
    let (ours, theirs) = tokio::join!(open(&store), open(&store));
    assert_eq!(ours.identity(), theirs.identity(), "two creators, one table");

    for batch in 0..6 {
        let (first, last) = (batch * 10 + 1, batch * 10 + 10);
        let after = (batch > 0).then_some(first - 1);
        // The same rows by both processes at the same time: one of them commits.
        let rows = model("hub/0", first..=last);
        let (one, other) = tokio::join!(append(&ours, &rows, after), append(&theirs, &rows, after));
        let outcomes = [one.unwrap(), other.unwrap()];
        let committed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed { .. })).count();
        assert_eq!(committed, 1, "{outcomes:?}");
    }
    append(&theirs, &model("blob", 1..=5), None).await.unwrap();
    let expected = [model("blob", 1..=5), model("hub/0", 1..=60)].concat();
    assert_eq!(rows(&ours).await, expected);

    let (one, other) =
        tokio::join!(ours.compact(CompactOptions::default(), None), theirs.compact(CompactOptions::default(), None));
    assert_eq!(one.unwrap().commits + other.unwrap().commits, 1, "one of two racing compactions commits");
    assert_eq!(rows(&ours).await, expected);
    assert_eq!(ours.checkpoint().await.unwrap(), 8);

    let staged = theirs.stage(frame(&model("blob", 1..=2))).await.unwrap();
    let replacement = Replacement {
        source: "blob".to_owned(),
        positions: None,
        producer: producer("request", 1),
        rows: staged,
        books: counted(2),
    };
    assert_eq!(theirs.replace_source(replacement).await.unwrap(), Outcome::Committed { version: 9 });

    let expected = [model("blob", 1..=2), model("hub/0", 1..=60)].concat();
    let cold = open(&store).await;
    assert_eq!(rows(&cold).await, expected);
    let totals = books(&cold).await;
    assert_eq!((totals.committed, totals.replaced, totals.balanced()), (67, 5, true));
    assert_eq!(cold.snapshot().await.unwrap().statistics().rows, 62);
}

#[tokio::test]
async fn memory_conforms() {
    conforms(memory()).await;
}

#[tokio::test]
async fn the_local_file_system_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azurite_conforms() {
    conforms(azurite::container().await).await;
}
