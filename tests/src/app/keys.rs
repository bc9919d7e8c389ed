//! Keys of pseudonyms: what two of them would have made never stands in one table.

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::handler::Handler;
use super::large::tasks;
use super::site::{PEOPLE, Site, files};
use crate::support::weir_binary;

const OTHER: &str = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a";
const EVENTS: &str = r#"
name = "clicks"
[source]
kind = "events"
hub = "clicks"
[[columns]]
name = "email"
type = "string"
personal = "pseudonym"
"#;

fn person(id: u32) -> String {
    format!("{{\"id\":{id},\"email\":\"ada@example.org\",\"name\":\"Ada\",\"phone\":\"1\"}}\n")
}

async fn with_key(site: &Site, key: &str) -> Handler {
    Handler::start_with(site, &[("WEIR_PSEUDONYM_KEY", key)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_is_refused_before_a_row_is_written() {
    let site = Site::new();
    let (own, other) = (Handler::start(&site).await, with_key(&site, OTHER).await);
    let first = site.put("people/a.ndjson", person(1)).await;
    assert_eq!(own.ingest(&first).await["outcome"], "committed");
    let commits = [site.log("people").len(), site.log("people__quarantine").len()];

    let second = site.put("people/b.ndjson", person(2)).await;
    let answer = other.queue("ingest_blob", &second).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert!(
        other.logged().contains("weir:key:1") && other.logged().contains("WEIR_PSEUDONYM_KEY"),
        "{}",
        other.logged()
    );
    assert!(!other.logged().contains(OTHER));
    assert_eq!([site.log("people").len(), site.log("people__quarantine").len()], commits, "nothing was written");
    assert_eq!(files(&site.path("lake/people"), "parquet").len(), 1);
    // What has no pseudonym has nothing to do with keys.
    let order = site.put("orders/a.csv", "id,amount,note\n1,2.00,x\n").await;
    assert_eq!(other.ingest(&order).await["outcome"], "committed");

    // The key comes back, and so does the delivery.
    assert_eq!(own.ingest(&second).await["outcome"], "committed");
    let rows = site.rows("people", &["email"]).await;
    assert_eq!((rows.len(), &rows[0]), (2, &rows[1]));
}

/// Both at once, on tables that do not exist: one of them makes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_keys_one_gets_both_tables() {
    for round in 0..6 {
        let site = Site::new();
        let handlers = [Handler::start(&site).await, with_key(&site, OTHER).await];
        let blobs = [site.put("people/a.ndjson", person(1)).await, site.put("people/b.ndjson", person(2)).await];
        let answers = futures::future::join_all(
            handlers.iter().enumerate().map(|(at, handler)| handler.queue("ingest_blob", &blobs[(at + round) % 2])),
        )
        .await;
        let sound = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(sound <= 1, "{:?}", answers.iter().map(|answer| &answer.text).collect::<Vec<_>>());
        assert_eq!(site.rows("people", &["email"]).await.len(), sound);
        // Whoever has the key goes on, the other one does not.
        let mut ends = Vec::new();
        for handler in &handlers {
            for blob in &blobs {
                ends.push(handler.queue("ingest_blob", blob).await.status);
            }
        }
        let ok = |status: &u16| *status == 200;
        assert!(ends[..2].iter().all(ok) != ends[2..].iter().all(ok), "{ends:?}");
        let rows = site.rows("people", &["email"]).await;
        assert_eq!((rows.len(), &rows[0]), (2, &rows[1]), "round {round}");
    }
}

/// Tables of an earlier release say nothing of a key: the first commit of this one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_without_a_check_value_get_one() {
    let site = Site::new();
    // Without pseudonyms, no key is noted, as in an earlier release.
    site.contract("people", &PEOPLE.replace("personal = \"pseudonym\"", "personal = \"mask\""));
    let before = Handler::start(&site).await;
    let first = site.put("people/a.ndjson", person(1)).await;
    before.ingest(&first).await;
    let noted = |site: &Site, table: &str| {
        site.log(table).iter().any(|entry| std::fs::read_to_string(entry).unwrap().contains("\"weir:key:1\""))
    };
    assert!(!noted(&site, "people"));
    before.kill();

    site.contract("people", PEOPLE);
    let handlers = [Handler::start(&site).await, with_key(&site, OTHER).await];
    let second = site.put("people/b.ndjson", person(2)).await;
    let third = site.put("people/c.ndjson", person(3)).await;
    let answers = futures::join!(handlers[0].queue("ingest_blob", &second), handlers[1].queue("ingest_blob", &third));
    let sound = [answers.0.status, answers.1.status].iter().filter(|status| **status == 200).count();
    assert_eq!(sound, 1, "{} {}", answers.0.text, answers.1.text);
    assert!(noted(&site, "people") && noted(&site, "people__quarantine"));
    assert_eq!(site.rows("people", &["email"]).await.len(), 2);
}

/// The parts of one blob come to two processes with two keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_blob_are_never_of_two_keys() {
    let site = Site::new();
    site.contract("people", &PEOPLE.replace("type = \"ndjson\"", "type = \"ndjson\"\nsplit_bytes = 1_048_576"));
    let handlers = [Handler::start(&site).await, with_key(&site, OTHER).await];
    let content: String = (0..60_000).map(person).collect();
    let message = site.put("people/big.ndjson", &content).await;
    let answer = handlers[0].queue("ingest_blob", &message).await;
    assert_eq!(answer.receipt()["outcome"], "handedOut");
    let parts = tasks(&answer);
    assert!(parts.len() > 3, "{}", parts.len());
    for (number, part) in parts.iter().enumerate() {
        let answer = handlers[number % 2].queue("run_task", part.to_string().as_bytes()).await;
        assert_eq!(answer.status == 200, number % 2 == 0, "{}", answer.text);
    }
    assert!(site.rows("people", &["email"]).await.is_empty(), "a part is missing");
    // The host delivers again what failed.
    for part in &parts {
        assert_eq!(handlers[0].queue("run_task", part.to_string().as_bytes()).await.status, 200);
    }
    let mut rows = site.rows("people", &["email"]).await;
    assert_eq!(rows.len(), 60_000);
    rows.dedup();
    assert_eq!(rows.len(), 1, "one person has one pseudonym: {rows:?}");
    assert_eq!(handlers[0].status().await["balanced"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_key_wait() {
    let site = Site::new();
    site.contract("clicks", EVENTS);
    let (own, other) = (Handler::start(&site).await, with_key(&site, OTHER).await);
    let batch = |at: i64| super::handler::Batch::of(0, &[(at, r#"{"email":"ada@example.org"}"#)]);
    assert_eq!(own.events(&batch(0)).await.receipt()["outcome"], "committed");
    assert_eq!(other.events(&batch(1)).await.status, 500);
    assert_eq!(own.events(&batch(1)).await.receipt()["outcome"], "committed");
    let rows = site.rows("clicks", &["email"]).await;
    assert_eq!((rows.len(), &rows[0]), (2, &rows[1]));
}

#[test]
fn a_key_is_made_that_is_taken() {
    let key = || {
        let made = std::process::Command::new(weir_binary()).arg("key").output().unwrap();
        assert!(made.status.success());
        String::from_utf8(made.stdout).unwrap()
    };
    let keys = [key(), key()];
    assert_ne!(keys[0], keys[1]);
    for key in keys {
        assert_eq!(STANDARD.decode(key.trim()).unwrap().len(), 32);
        weir_transform::PseudonymKey::from_text(1, &key).unwrap();
    }
}

/// Under a root that is everybody's, what Weir makes is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_nobody_elses() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let message = site.put("people/a.ndjson", [person(1), "x\n".to_owned()].concat()).await;
    handler.ingest(&message).await;
    handler.queue("run_task", json!({ "task": "maintain", "dataset": "people" }).to_string().as_bytes()).await;
    let mut folders = vec![site.path("lake")];
    let (mut seen, mode) = (0, |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777);
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen}");
    for entry in std::fs::read_dir(site.path("")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("warehouse.db") {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            seen += 100;
        }
    }
    assert!(seen > 100, "no warehouse");
}
