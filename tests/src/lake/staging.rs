//! Notes about work that is not committed yet: the first one stands. Files that they list are committed once, also where
//! that was done before.

use bytes::Bytes;

use weir_lake::{Outcome, Replacement};

use super::faulty::Fault;
use super::{actions, books, counted, definition, frame, memory, model, of_kind, process, producer, rows};

#[tokio::test]
async fn a_note_that_stands_is_never_overwritten() {
    let store = memory();
    let (_, first) = process(&store, &definition()).await;
    let (_, second) = process(&store, &definition()).await;
    let (first, second) = (first.staging("key"), second.staging("key"));
    assert_eq!(first.put("piece", Bytes::from("first")).await.unwrap(), "first");
    assert_eq!(second.put("piece", Bytes::from("second")).await.unwrap(), "first", "the one that stands");
    assert_eq!(first.get("piece").await.unwrap().unwrap(), "first");
    assert_eq!(second.put("other", Bytes::from("second")).await.unwrap(), "second");
    let names: Vec<_> = first.list().await.unwrap().into_iter().map(|note| note.name).collect();
    assert_eq!(names, ["other", "piece"]);
    first.clear().await.unwrap();
    assert_eq!(second.list().await.unwrap(), []);
}

/// Whoever does not learn whether its note was made reads what is there.
#[tokio::test]
async fn a_note_whose_answer_is_lost_is_ones_own() {
    let store = memory();
    let (faulty, table) = process(&store, &definition()).await;
    for fault in [Fault::Before, Fault::After] {
        let notes = table.staging(&format!("{fault:?}").to_lowercase());
        faulty.next_write("piece", fault);
        assert_eq!(notes.put("piece", Bytes::from("mine")).await.unwrap(), "mine");
        assert_eq!(notes.get("piece").await.unwrap().unwrap(), "mine");
    }
}

/// Whoever was killed after the first of two commits makes it again, of the same files.
#[tokio::test]
async fn listed_files_that_are_committed_already_stay() {
    let store = memory();
    let (_, table) = process(&store, &definition()).await;
    for (source, version, replaced) in [("a", 1, 0), ("b", 1, 0), ("a", 2, 2), ("a", 3, 2)] {
        let list = match version {
            1 => {
                let staged = table.stage(frame(&model(source, 1..=2))).await.unwrap();
                let list = table.list_files(staged).await.unwrap();
                let note = serde_json::to_vec(&list).unwrap();
                table.staging(source).put("piece", note.into()).await.unwrap();
                list
            }
            _ => {
                let note = table.staging(source).get("piece").await.unwrap().unwrap();
                serde_json::from_slice(&note).unwrap()
            }
        };
        let replacement = Replacement {
            source: source.to_owned(),
            positions: None,
            producer: producer(source, version),
            rows: table.listed([list]).unwrap(),
            books: counted(2),
        };
        let after = (version > 1).then(|| version - 1);
        let outcome = table.replace_source_after(replacement, after, Vec::new()).await.unwrap();
        let Outcome::Committed { version: at } = outcome else { panic!("{outcome:?}") };
        let actions = actions(&store, at).await;
        let in_and_out = (of_kind(&actions, "add").len(), of_kind(&actions, "remove").len());
        assert_eq!(in_and_out, (usize::from(version == 1), 0), "{source} {version}");
        let books = books(&table).await;
        assert_eq!(books.replaced, if version == 3 { 4 } else { replaced });
    }
    assert_eq!(rows(&table).await, [model("a", 1..=2), model("b", 1..=2)].concat());
    let books = books(&table).await;
    assert_eq!(books.committed, books.replaced + 4);
}
