//! One version of a blob, range by range.

use std::io::{Read, Seek};
use std::sync::Arc;

use axum::Json;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use functions_host::{ChildOutput, Host, HostConfig};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weir_intake::{Blob, ErrorKind, Piece};

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
    let store = store("old,1\n".repeat(9).as_bytes()).await;
    let blob = open(&store).await;
    let mut reader = blob.clone().chunks(super::ChunkOptions { chunk_bytes: 4, ..options(6) });
    let first = reader.next().await.unwrap().unwrap();
    assert!(matches!(first, Piece::Records(bytes) if bytes.starts_with(b"old,1\n")));
    put(&store, "new,1\n".repeat(9).as_bytes()).await;
    // The range that was already on its way may still be an old one.
    let error = loop {
        match reader.next().await {
            Ok(piece) => assert_eq!(joined(piece), [records("old,1\n")]),
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
    let store: Arc<dyn ObjectStore> = store;
    for spelling in [etag.clone(), format!("\"{etag}\"")] {
        assert_eq!(Blob::open(Arc::clone(&store), path(), Some(&spelling)).await.unwrap().etag(), etag);
    }
    let error = Blob::open(store, path(), Some("another")).await.unwrap_err();
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

/// The event of the local host's landing folder names the version as the store does that reads the file: otherwise every
/// blob of a local run would count as overwritten.
#[tokio::test]
async fn the_local_hosts_etag_is_the_stores() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (mut events, host) = host_that_shows_events(folder.path()).await;
    std::fs::create_dir_all(at("landing/in/sub")).unwrap();
    for content in ["a", "longer\n"] {
        std::fs::write(at("landing/in/sub/x.csv"), content).unwrap();
        let event = events.recv().await.unwrap();
        let store = Arc::new(LocalFileSystem::new_with_prefix(at("landing/in")).unwrap());
        let etag = event["data"]["eTag"].as_str().unwrap();
        let blob = Blob::open(store, Path::from("sub/x.csv"), Some(etag)).await.unwrap();
        assert_eq!(blob.etag(), etag);
        assert_eq!(blob.read(0..100).await.unwrap(), content);
    }
    host.shutdown().await;
}

/// A host whose handler is this test: the child only tells its port.
async fn host_that_shows_events(folder: &std::path::Path) -> (mpsc::UnboundedReceiver<Value>, Host) {
    let queue_function = json!({ "bindings": [{
        "type": "queueTrigger", "direction": "in", "name": "event", "queueName": "blob-events", "connection": "C",
        "dataType": "binary",
    }] });
    std::fs::create_dir_all(folder.join("app/show")).unwrap();
    std::fs::write(folder.join("app/show/function.json"), queue_function.to_string()).unwrap();
    std::fs::copy(crate::support::repository().join("host.json"), folder.join("app/host.json")).unwrap();
    let mut config = HostConfig::new(folder.join("app"), "/bin/sh", folder.join("host"));
    let script = format!(
        "echo $FUNCTIONS_CUSTOMHANDLER_PORT > {0}/port.part; mv {0}/port.part {0}/port; exec sleep 60",
        folder.display()
    );
    config.args = vec!["-c".to_owned(), script];
    config.landing = Some(folder.join("landing"));
    config.stdio = ChildOutput::File(folder.join("handler.log"));

    let (sender, events) = mpsc::unbounded_channel();
    let show = move |Json(envelope): Json<Value>| {
        let event = BASE64_STANDARD.decode(envelope["Data"]["event"].as_str().unwrap().trim_matches('"')).unwrap();
        sender.send(serde_json::from_slice(&event).unwrap()).unwrap();
        std::future::ready(Json(json!({ "Outputs": {}, "Logs": [], "ReturnValue": "seen" })))
    };
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "" })).fallback(show);
    let port_file = folder.join("port");
    tokio::spawn(async move {
        let port = loop {
            match std::fs::read_to_string(&port_file) {
                Ok(port) => break port,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        };
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", port.trim())).await.unwrap();
        axum::serve(listener, router).await.unwrap();
    });
    (events, Host::start(config).await.unwrap())
}
