//! One version of a blob, range by range.

use std::io::{Read, Seek};
use std::sync::Arc;

use functions_host::{ChildOutput, Host};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_intake::{Blob, ErrorKind};

use super::{joined, open, options, path, put, read, records, store};

#[tokio::test]
async fn borders_of_ranges_and_pieces_do_not_show() {
    let text = "a,b\n1,\"x\ny\"\n22,z\r\n\n333,w";
    for size in 0..=text.len() {
        let content = &text[..size];
        // An open quote at the end is another test's.
        if content.matches('"').count() == 1 {
            continue;
        }
        for range in [2, 3, size as u64 - u64::from(size > 0), size as u64, size as u64 + 1, u64::MAX] {
            let expected = if size == 0 { vec![] } else { vec![records(content)] };
            assert_eq!(joined(read(content.as_bytes(), options(range)).await), expected, "{size} bytes by {range}");
        }
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_dropped_once() {
    const MARK: char = '\u{feff}';
    let bytes = |text: &str| records(&text.bytes().map(char::from).collect::<String>());
    for range in [2, 3, 4, 100] {
        let text = format!("{MARK}a\n{MARK}b\n");
        let expected = bytes(&format!("a\n{MARK}b\n"));
        assert_eq!(joined(read(text.as_bytes(), options(range)).await), [expected]);
        assert_eq!(joined(read(&text.as_bytes()[..2], options(range)).await), [records("\u{ef}\u{bb}")]);
        assert_eq!(read(MARK.to_string().as_bytes(), options(range)).await, []);
    }
}

#[tokio::test]
async fn an_overwritten_blob_is_never_mixed() {
    let store = store(b"old,1\nold,2\nold,3\n").await;
    let blob = open(&store).await;
    let mut reader = blob.clone().chunks(super::ChunkOptions { chunk_bytes: 4, ..options(6) });
    let first = reader.next().await.unwrap().unwrap();
    assert_eq!(joined([first]), [records("old,1\n")]);
    put(&store, b"new,1\nnew,2\nnew,3\n").await;
    // The range that was already on its way may still be an old one.
    let error = loop {
        match reader.next().await {
            Ok(piece) => assert_eq!(joined(piece), [records("old,2\n")]),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Changed);
    assert_eq!(blob.read(0..1).await.unwrap_err().kind(), ErrorKind::Changed);
    assert_eq!(blob.spill(&mut tempfile::tempfile().unwrap(), 5).await.unwrap_err().kind(), ErrorKind::Changed);
}

#[tokio::test]
async fn a_deleted_blob_is_gone() {
    let store = store(b"a\nb\n").await;
    let blob = open(&store).await;
    store.delete(&path()).await.unwrap();
    let mut reader = blob.chunks(options(2));
    assert_eq!(reader.next().await.unwrap_err().kind(), ErrorKind::Gone);
    let store: Arc<dyn ObjectStore> = store;
    assert_eq!(Blob::open(store, path(), None).await.unwrap_err().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn the_event_names_the_version() {
    let store = store(b"a").await;
    let etag = open(&store).await.etag().to_owned();
    assert!(!etag.is_empty() && !etag.contains('"'));
    let open = |etag: String| Blob::open(Arc::clone(&store) as Arc<dyn ObjectStore>, path(), Some(Box::leak(etag.into_boxed_str())));
    for spelling in [etag.clone(), format!("\"{etag}\"")] {
        assert_eq!(open(spelling).await.unwrap().etag(), etag);
    }
    let error = open("another".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed);
    assert!(error.to_string().contains("sales/a.csv"), "{error}");
}

#[tokio::test]
async fn spilled_whole_and_read_in_part() {
    let store = store(b"0123456789").await;
    let blob = open(&store).await;
    for range in [0, 1, 3, 10, 11, u64::MAX] {
        let mut file = tempfile::tempfile().unwrap();
        blob.spill(&mut file, range).await.unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123456789", "by {range}");
    }
    let cases = [(0..4, "0123"), (8..100, "89"), (10..12, ""), (50..60, ""), (3..3, "")];
    for (range, expected) in cases {
        assert_eq!(blob.read(range).await.unwrap(), expected);
    }
}
