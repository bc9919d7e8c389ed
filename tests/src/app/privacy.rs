//! No personal value in logs, answers, commit metadata or clean tables; the lake's quarantine and `_rescued` may hold
//! them, because a refused record has to be reprocessable.

use std::fs;

use functions_host::HostConfig;

use super::handler::{Handler, books};
use super::site::{Site, files};
use crate::support::weir_binary;

/// In every personal value, shorter than what file statistics cut strings to.
const MARK: &str = "zz-private-zz";

fn people() -> String {
    let person = |id: &str, extra: &str| {
        format!(
            "{{\"id\":{id},\"email\":\"{MARK}-{id}@example.org\",\"name\":\"{MARK} name\",\"phone\":\"+49 {MARK}\"{extra}}}\n"
        )
    };
    [
        person("1", ""),
        person("2", ""),
        // Refused: a wrong type whose value is personal, a rule, an object given twice.
        person(&format!("\"{MARK}\""), ""),
        format!("{{\"id\":4,\"email\":\"{MARK}\",\"name\":\"{MARK}\",\"phone\":null}}\n"),
        format!("{{\"id\":5,\"email\":\"{MARK}\",\"email\":\"{MARK}\"}}\n"),
        format!("{{\"id\":6,\"{MARK}\n"),
        // Kept, with a field that nobody knows.
        person("7", &format!(",\"nickname\":\"{MARK}\"")),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn personal_values_stay_where_they_may_be() {
    let site = Site::new();
    let handler = Handler::start_with(&site, &[("WEIR_LOG", "debug")]).await;
    let message = site.put("people/a.ndjson", people()).await;
    assert_eq!(books(&handler.ingest(&message).await), [7, 3, 4, 0]);
    // Requests that fail with personal values in them.
    let bodies = [
        format!("{{\"Data\":{{\"event\":{MARK}"),
        format!("{{\"Data\":{{\"event\":\"{MARK}\"}}}}"),
        format!(
            "{{\"Data\":{{\"req\":{{\"Body\":\"{{\\\"dataset\\\":\\\"people\\\",\\\"path\\\":\\\"{MARK}\\\"}}\"}}}}}}"
        ),
    ];
    for function in ["ingest_blob", "ingest_clicks", "run_task", "reprocess"] {
        for body in &bodies {
            let answer = handler.post(function, body.clone()).await;
            assert!(!answer.text.contains(MARK), "{function}: {}", answer.text);
        }
    }
    assert!(!handler.logged().contains(MARK), "the log of the handler");

    let columns = ["id", "email", "name", "_source", "_source_version", "_source_position"];
    let rows = site.rows("people", &columns).await;
    assert_eq!(rows.len(), 3);
    assert!(!rows.concat().contains(MARK), "{rows:?}");
    assert!(rows[0].starts_with("1|p1:") && rows[0].contains("|***|"), "{}", rows[0]);
    for table in ["people", "people__quarantine"] {
        assert_free_of_mark(&site, table);
    }
    // It is where it may be.
    assert!(site.rows("people", &["_rescued"]).await.concat().contains(MARK));
    let quarantined = site.quarantined("people", "blob:landing/people/a.ndjson").await;
    assert_eq!(quarantined.len(), 4);
    for record in quarantined {
        assert!(!record.reasons.contains(MARK), "{}", record.reasons);
        assert!(String::from_utf8_lossy(&record.raw).contains(MARK));
    }
}

/// Compaction makes statistics anew, the checkpoint copies them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_brings_no_personal_value_into_the_log() {
    let site = Site::new();
    let mut config = HostConfig::new(site.app_folder(), weir_binary(), site.path("host"));
    config.args = vec!["serve".to_owned()];
    config.env = site.settings();
    config.landing = Some(site.path("landing"));
    config.run_timers = false;
    let host = functions_host::Host::start(config).await.unwrap();
    let patience = std::time::Duration::from_secs(30);
    for blob in 0..22 {
        site.put(&format!("people/{blob}.ndjson"), people()).await;
        host.wait_idle(patience).await.unwrap();
    }
    assert!(host.run_timer("maintain").await.unwrap().ok);
    host.wait_idle(patience).await.unwrap();
    assert_eq!(files(&site.path("lake/people/_delta_log"), "parquet").len(), 1, "no checkpoint");
    for table in ["people", "people__quarantine"] {
        assert_free_of_mark(&site, table);
    }
    host.shutdown().await;
}

/// Nothing in a table's log, checkpoints (their pages are compressed, their statistics are not) and file names.
fn assert_free_of_mark(site: &Site, table: &str) {
    for entry in fs::read_dir(site.path("lake").join(table).join("_delta_log")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes());
        assert_eq!(found, None, "{}: {}", path.display(), String::from_utf8_lossy(&bytes));
    }
}
