//! One suite of what a storage queue does, for both stores of the stand-in host: journals on the disk, and Azurite.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::Utc;
use functions_host::queues::{Delivery, Queue, QueueName, Queues};
use functions_host::{HostErrorKind, MAX_QUEUE_MESSAGE};
use tempfile::TempDir;

use crate::azurite::{account, connection_string};

/// Long enough for everything that a test does meanwhile; a storage account counts whole seconds.
const HIDDEN: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A new queue in each store.
struct Both {
    _folder: TempDir,
    queues: Queues,
    name: String,
}

impl Both {
    fn new(base64: bool) -> Self {
        static QUEUES: AtomicU32 = AtomicU32::new(1);
        let folder = tempfile::tempdir().unwrap();
        let settings = HashMap::from([("Azurite".to_owned(), connection_string(account()))]);
        let queues = Queues::open(folder.path(), base64, ["Local", "Azurite"], &settings).unwrap();
        let name = format!("conformance-{}", QUEUES.fetch_add(1, Ordering::Relaxed));
        Self { _folder: folder, queues, name }
    }

    fn each(&self) -> [(&'static str, Queue); 2] {
        ["Local", "Azurite"].map(|connection| (connection, self.open(connection, &self.name)))
    }

    fn open(&self, connection: &str, queue: &str) -> Queue {
        self.queues.queue(&QueueName { connection: connection.to_owned(), queue: queue.to_owned() }).unwrap()
    }
}

async fn take_one(queue: &Queue) -> Delivery {
    let mut taken = queue.take(1, HIDDEN).await.unwrap();
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

async fn texts(queue: &Queue, max: usize) -> Vec<String> {
    let taken = queue.take(max, HIDDEN).await.unwrap();
    taken.into_iter().map(|message| String::from_utf8(message.body.unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn messages_come_in_order_and_once() {
    for (store, queue) in Both::new(true).each() {
        assert!(queue.take(32, HIDDEN).await.unwrap().is_empty(), "{store}: a queue that nobody made");
        assert_eq!(queue.count().await.unwrap(), 0, "{store}");
        let put: Vec<String> = (0..40).map(|n| format!("message {n}")).collect();
        for text in &put {
            queue.put(text.as_bytes()).await.unwrap();
        }
        let mut taken = texts(&queue, 16).await;
        assert_eq!(taken.len(), 16, "{store}");
        taken.extend(texts(&queue, 32).await);
        assert_eq!(taken, put, "{store}");
        assert!(texts(&queue, 32).await.is_empty(), "{store}: hidden");
        assert_eq!(queue.count().await.unwrap(), 40, "{store}: hidden messages count");
    }
}

#[tokio::test]
async fn a_message_that_is_not_settled_comes_again() {
    for (store, queue) in Both::new(true).each() {
        let id = queue.put(b"a").await.unwrap();
        let before = Utc::now();
        let first = queue.take(1, SECOND).await.unwrap().remove(0);
        assert_eq!((&first.id, first.dequeue_count), (&id, 1), "{store}");
        // Times travel in whole seconds.
        assert!((first.next_visible - before).num_milliseconds().abs_diff(1000) <= 1000, "{store}: {first:?}");
        assert_eq!((first.expires - first.inserted).num_days(), 7, "{store}");
        assert!(queue.take(1, SECOND).await.unwrap().is_empty(), "{store}: hidden");
        tokio::time::sleep(SECOND + SECOND / 5).await;
        let second = take_one(&queue).await;
        assert_eq!((&second.id, second.dequeue_count, &second.body), (&id, 2, &first.body), "{store}");
        assert_ne!(second.pop_receipt, first.pop_receipt, "{store}");
    }
}

/// Who was too slow must not touch what somebody else has now.
#[tokio::test]
async fn a_stale_receipt_settles_nothing() {
    for (store, queue) in Both::new(true).each() {
        queue.put(b"a").await.unwrap();
        let mut stale = queue.take(1, SECOND).await.unwrap().remove(0);
        tokio::time::sleep(SECOND + SECOND / 5).await;
        let owner = take_one(&queue).await;
        assert!(!queue.delete(&stale).await.unwrap(), "{store}: delete");
        assert!(!queue.release(&stale, Duration::ZERO).await.unwrap(), "{store}: release");
        assert!(!queue.renew(&mut stale, HIDDEN).await.unwrap(), "{store}: renew");
        assert!(queue.take(1, HIDDEN).await.unwrap().is_empty(), "{store}: the stale one gave it away");
        assert_eq!(queue.count().await.unwrap(), 1, "{store}: the stale one deleted it");
        assert!(queue.delete(&owner).await.unwrap(), "{store}");
        assert_eq!(queue.count().await.unwrap(), 0, "{store}");
        assert!(!queue.delete(&owner).await.unwrap(), "{store}: twice");
        assert!(!queue.release(&owner, Duration::ZERO).await.unwrap(), "{store}: a message that is gone");
    }
}

#[tokio::test]
async fn a_released_message_comes_again_when_it_was_told_to() {
    for (store, queue) in Both::new(true).each() {
        queue.put(b"a").await.unwrap();
        let first = take_one(&queue).await;
        assert!(queue.release(&first, Duration::ZERO).await.unwrap(), "{store}");
        let second = take_one(&queue).await;
        assert_eq!(second.dequeue_count, 2, "{store}");
        assert!(queue.release(&second, SECOND).await.unwrap(), "{store}");
        assert!(!queue.delete(&second).await.unwrap(), "{store}: who released it has no say any more");
        assert!(queue.take(1, HIDDEN).await.unwrap().is_empty(), "{store}: too early");
        tokio::time::sleep(SECOND + SECOND / 5).await;
        assert_eq!(take_one(&queue).await.dequeue_count, 3, "{store}");
    }
}

#[tokio::test]
async fn a_renewed_message_stays_hidden_and_has_another_receipt() {
    for (store, queue) in Both::new(true).each() {
        queue.put(b"a").await.unwrap();
        let mut delivery = queue.take(1, SECOND).await.unwrap().remove(0);
        let before = delivery.clone();
        tokio::time::sleep(SECOND / 2).await;
        assert!(queue.renew(&mut delivery, 2 * SECOND).await.unwrap(), "{store}");
        tokio::time::sleep(SECOND).await;
        assert!(queue.take(1, HIDDEN).await.unwrap().is_empty(), "{store}: visible though renewed");
        assert!(!queue.delete(&before).await.unwrap(), "{store}: the receipt from before the renewal");
        assert!(queue.delete(&delivery).await.unwrap(), "{store}");
    }
}

#[tokio::test]
async fn a_message_moves_to_the_poison_queue_as_it_is() {
    let both = Both::new(true);
    for (store, queue) in both.each() {
        assert_eq!(queue.poison(), Some(format!("{}-poison", both.name)));
        let poison = both.open(store, &queue.poison().unwrap());
        assert_eq!(poison.poison(), None, "a poison queue has none of its own");
        for text in ["aGk=", "no base64!"] {
            queue.put_text(text.to_owned()).await.unwrap();
            let delivery = take_one(&queue).await;
            poison.put_text(delivery.text.clone()).await.unwrap();
            assert!(queue.delete(&delivery).await.unwrap(), "{store}");
            let parked = take_one(&poison).await;
            assert_eq!((&*parked.text, parked.dequeue_count), (text, 1), "{store}");
        }
        assert_eq!((queue.count().await.unwrap(), poison.count().await.unwrap()), (0, 2), "{store}");
    }
    let longest = both.open("Local", &"q".repeat(60));
    assert_eq!(longest.poison(), None, "its name would be too long");
}

#[tokio::test]
async fn a_message_has_at_most_64_kib_once_it_is_encoded() {
    for (store, queue) in Both::new(true).each() {
        let body: Vec<u8> = (0..48 * 1024).map(|n| (n % 251) as u8).collect();
        queue.put(&body).await.unwrap();
        assert_eq!(take_one(&queue).await.body.unwrap(), body, "{store}");
        let error = queue.put(&[0; 48 * 1024 + 1]).await.unwrap_err();
        assert_eq!(error.kind(), HostErrorKind::Request, "{store}: {error}");
        assert!(error.to_string().contains(&MAX_QUEUE_MESSAGE.to_string()), "{store}: {error}");
    }
    for (store, queue) in Both::new(false).each() {
        queue.put(&[b'<'; MAX_QUEUE_MESSAGE]).await.unwrap();
        assert_eq!(take_one(&queue).await.body.unwrap(), vec![b'<'; MAX_QUEUE_MESSAGE], "{store}");
        assert!(queue.put(&[b'<'; MAX_QUEUE_MESSAGE + 1]).await.is_err(), "{store}");
        let error = queue.put(&[0xff, 0xfe]).await.unwrap_err();
        assert!(error.to_string().contains("is not UTF-8 text"), "{store}: {error}");
    }
}

#[tokio::test]
async fn what_is_not_base64_is_told_apart() {
    for (store, queue) in Both::new(true).each() {
        for (text, body) in [("{\"id\": 1}", None), ("aGk", None), ("aGk=", Some("hi")), ("aG\n k=\t", Some("hi"))] {
            queue.put_text(text.to_owned()).await.unwrap();
            let delivery = take_one(&queue).await;
            assert_eq!((&*delivery.text, delivery.body.as_deref()), (text, body.map(str::as_bytes)), "{store}");
        }
    }
}

#[tokio::test]
async fn text_comes_through_as_it_was_put() {
    for (store, queue) in Both::new(false).each() {
        for text in
            ["<a href=\"b\">&amp; 'c' &#13;</a>", "\u{fc} \u{1f680}", "line\nline\ttab", "]]>", " inner  blanks "]
        {
            queue.put(text.as_bytes()).await.unwrap();
            let delivery = take_one(&queue).await;
            assert_eq!(delivery.body.as_deref(), Some(text.as_bytes()), "{store}");
            queue.delete(&delivery).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_closed_port_are_errors_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let url = &account().queue_url;
    let wrong_key = format!("AccountName=devstoreaccount1;AccountKey=d3Jvbmc=;QueueEndpoint={url}");
    let closed = connection_string(account()).replace(url, "http://127.0.0.1:9/devstoreaccount1");
    let settings = HashMap::from([("WrongKey".to_owned(), wrong_key), ("Closed".to_owned(), closed)]);
    let queues = Queues::open(folder.path(), true, ["WrongKey", "Closed"], &settings).unwrap();
    for (connection, expected) in [("WrongKey", "AuthenticationFailed"), ("Closed", "Connection refused")] {
        let name = QueueName { connection: connection.to_owned(), queue: "tasks".to_owned() };
        let queue = queues.queue(&name).unwrap();
        let error = queue.take(1, HIDDEN).await.unwrap_err();
        assert_eq!(error.kind(), HostErrorKind::Io);
        let text = error.to_string();
        assert!(text.contains("queue \"tasks\"") && text.contains(expected) && !text.contains("d3Jvbmc"), "{text}");
        assert!(queue.put(b"a").await.is_err() && queue.count().await.is_err(), "{connection}");
    }
}
