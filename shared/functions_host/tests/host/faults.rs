//! Where the real host fails, and a kinder one would not.

use std::time::Duration;

use functions_host::Host;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{LIMIT, app, lay, next, reports};

/// What the handler's `message` function answers a body with.
async fn returned(host: &Host, body: &str) -> Value {
    let mut receiver = host.subscribe();
    host.enqueue("inbox", body.into()).await.unwrap();
    let report = next(&mut receiver).await;
    assert!(report.ok, "{report:?}");
    report.return_value.clone().unwrap_or_default()
}

#[tokio::test]
async fn outputs_are_named_exactly_and_a_return_value_may_name_one() {
    let (_dir, config) = app();
    let host = Host::start(config).await.unwrap();
    returned(&host, "wrong case").await;
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(host.queue_len("outbox").await.unwrap(), 0, "dropped without a word");
    returned(&host, "receipt").await;
    host.wait_idle(LIMIT).await.unwrap();
    assert_eq!(host.queue_len("outbox").await.unwrap(), 1, "a property of the return value became a message");
    host.shutdown().await;
}

#[tokio::test]
async fn messages_before_one_that_is_too_large_are_in_the_queue() {
    let (_dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let mut receiver = host.subscribe();
    host.enqueue("inbox", b"too large".to_vec()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let attempts = reports(&mut receiver);
    assert!(
        attempts.iter().all(|report| report.error.as_deref().is_some_and(|error| error.contains("a queue message")))
    );
    assert_eq!((attempts.len(), host.queue_len("outbox").await.unwrap()), (3, 3), "`first`, once for each attempt");
    assert_eq!(host.queue_len("inbox-poison").await.unwrap(), 1);
    host.shutdown().await;
}

/// Its outputs are written all the same, and the message comes again.
#[tokio::test]
async fn an_answer_within_two_seconds_after_the_timeout_saves_the_process_and_not_the_invocation() {
    let (dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let (mut receiver, pid) = (host.subscribe(), host.handler_pid());
    lay(&dir, "late");
    host.enqueue("inbox", b"late once".to_vec()).await.unwrap();
    host.wait_idle(LIMIT).await.unwrap();
    let reports = reports(&mut receiver);
    assert!(!reports[0].ok && reports[0].error.as_deref().unwrap().contains("timed out"), "{:?}", reports[0]);
    assert_eq!((reports.len(), reports[1].ok, host.handler_pid()), (2, true, pid));
    assert_eq!(host.queue_len("outbox").await.unwrap(), 1);
    host.shutdown().await;
}

#[tokio::test]
async fn a_handler_that_is_started_again_takes_the_same_port() {
    let (_dir, config) = app();
    let host = Host::start(config).await.unwrap();
    let before = returned(&host, "environment").await;
    assert_eq!((&before[0], &before[1]), (&before[2], &before[3]), "both names of each, {before}");
    assert!(!before[4].as_str().unwrap().is_empty(), "the host's own environment is there, too");
    let address = format!("127.0.0.1:{}", before[0].as_str().unwrap());
    let mut open = Vec::new();
    for _ in 0..21 {
        open.push(TcpStream::connect(&address).await.unwrap());
    }
    host.kill_handler().await;
    let after = returned(&host, "environment").await;
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1], "another process");
    drop(open);
    host.shutdown().await;
}

/// As the real host: it ends, with all that runs.
#[tokio::test]
async fn an_error_while_a_message_is_settled_ends_the_host() {
    let (_dir, config) = app();
    let host = Host::start(config.clone()).await.unwrap();
    std::fs::create_dir(config.data_dir.join("queues/inbox-poison.journal")).unwrap();
    host.enqueue("inbox", b"fail".to_vec()).await.unwrap();
    tokio::time::timeout(LIMIT, host.stopped()).await.unwrap();
    let reason = host.failure().unwrap();
    assert!(reason.contains("cannot settle a message of queue inbox"), "{reason}");
    assert!(!host.wants_restart());
    host.shutdown().await;
}

#[tokio::test]
async fn a_change_of_the_apps_files_stops_the_host() {
    let cases: [(&str, bool); 4] =
        [("state", true), ("host.json", true), ("message/function.json", true), ("app_offline.htm", false)];
    for (name, restart) in cases {
        let (_dir, config) = app();
        let host = Host::start(config.clone()).await.unwrap();
        let path = config.app_dir.join(name);
        std::fs::write(config.app_dir.join("notes.txt"), "nobody minds").unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(host.failure(), None, "over a file that is nobody's");
        match std::fs::read_to_string(&path) {
            Ok(text) => std::fs::write(&path, text + " ").unwrap(),
            Err(_) if name.contains('.') => std::fs::write(&path, "").unwrap(),
            Err(_) => std::fs::create_dir(&path).unwrap(),
        }
        tokio::time::timeout(LIMIT, host.stopped()).await.unwrap();
        let reason = host.failure().unwrap();
        assert!(reason.contains(name), "{reason}");
        assert_eq!(host.wants_restart(), restart, "{name}");
        host.shutdown().await;
    }
}
