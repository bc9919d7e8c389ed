//! No personal value in logs, answers, commit metadata or clean tables, by whatever name it came; the lake's quarantine may
//! hold them, because a refused record has to be reprocessable.

use std::fs;

use functions_host::HostConfig;
use polars::prelude::{Column, DataFrame, IntoColumn, ParquetReader, ParquetWriter, SerReader};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::handler::{Batch, Handler, books};
use super::site::{PEOPLE, Site, files};
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
    let receipt = handler.ingest(&message).await;
    assert_eq!((books(&receipt), &receipt["leftOut"]), ([7, 3, 4, 0], &serde_json::json!(1)));
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
    assert_eq!(site.rows("people", &["_rescued"]).await.concat(), "null".repeat(3));
    // It is where it may be.
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

/// A record with its personal value under every name that a producer may think of.
struct Copies {
    random: StdRng,
}

impl Copies {
    fn name(&mut self) -> String {
        let names = [
            "email", "Email", "EMAIL", "e_mail", "email#2", " email", "phone", "Phone", "name", "NAME", "contact", "x",
        ];
        match self.random.random_range(0..20) {
            0 => MARK.to_owned(),
            _ => (*names.choose(&mut self.random).unwrap()).to_owned(),
        }
    }

    fn json(&mut self, depth: usize) -> String {
        match self.random.random_range(0..if depth == 0 { 2 } else { 5 }) {
            0 => format!("\"{MARK}@example.org\""),
            1 => format!("\"+49 {MARK}\""),
            2 => format!("[{}, 1]", self.json(depth - 1)),
            3 => format!("{{\"{}\": {}}}", self.name(), self.json(depth - 1)),
            _ => format!("\"{{\\\"email\\\":\\\"{MARK}\\\"}}\""),
        }
    }

    fn object(&mut self, id: usize) -> String {
        let fields: Vec<_> =
            (0..self.random.random_range(1..6)).map(|_| format!(",\"{}\":{}", self.name(), self.json(3))).collect();
        format!("{{\"id\":{id}{}}}", fields.concat())
    }

    fn csv(&mut self, rows: usize) -> String {
        let names: Vec<_> = (0..self.random.random_range(1..6)).map(|_| self.name()).collect();
        let row = |id| format!("{id}{}\n", format!(",{MARK}@example.org").repeat(names.len()));
        format!("id,{}\n{}", names.join(","), (0..rows).map(row).collect::<String>())
    }

    fn parquet(&mut self, rows: usize) -> Vec<u8> {
        let ids = Column::new("id".into(), (0..rows as i64).collect::<Vec<_>>());
        let mut columns = vec![ids];
        for _ in 0..self.random.random_range(1..6) {
            let name = self.name();
            if columns.iter().any(|column| column.name() == &name) {
                continue;
            }
            let texts = Column::new(name.as_str().into(), vec![format!("{MARK}@example.org"); rows]);
            columns.push(if self.random.random_bool(0.3) {
                DataFrame::new(rows, vec![texts]).unwrap().into_struct(name.as_str().into()).into_column()
            } else {
                texts
            });
        }
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut DataFrame::new(rows, columns).unwrap()).unwrap();
        bytes
    }
}

/// Searched in the bytes: of the files as they are (their pages may be packed), of all cells, and of the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_personal_value_reaches_a_table_or_its_log() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut copies = Copies { random: StdRng::seed_from_u64(seed) };
    let site = Site::new();
    let any_format = PEOPLE.replace("type = \"ndjson\"", "type = \"auto\"").replace("*.ndjson", "*");
    // The phone is not asked for: most records are to reach the table.
    let rule = any_format.find("[[rules]]").unwrap()..any_format.find("[warehouse]").unwrap();
    let mut contract = any_format.clone();
    contract.replace_range(rule, "");
    site.contract("people", &contract);
    let events =
        contract.replace("name = \"people\"", "name = \"clicks\"").replace("table = \"people\"", "table = \"clicks\"");
    let source = events.find("[source]").unwrap()..events.find("[[columns]]").unwrap();
    let mut clicks = events.clone();
    clicks.replace_range(source, "[source]\nkind = \"events\"\nhub = \"clicks\"\n");
    site.contract("clicks", &clicks);
    let handler = Handler::start(&site).await;
    let (mut left_out, mut committed) = (0, 0);
    let mut count = |receipt: &serde_json::Value| {
        left_out += receipt["leftOut"].as_u64().unwrap_or_default();
        committed += receipt["books"]["committed"].as_u64().unwrap();
    };
    for blob in 0..12 {
        let lines: Vec<_> = (0..30).map(|id| copies.object(id)).collect();
        let message = site.put(&format!("people/{blob}.ndjson"), lines.join("\n")).await;
        count(&handler.ingest(&message).await);
        let message = site.put(&format!("people/{blob}.json"), format!("[{}]", lines.join(","))).await;
        count(&handler.ingest(&message).await);
        let message = site.put(&format!("people/{blob}.csv"), copies.csv(5)).await;
        count(&handler.ingest(&message).await);
        let message = site.put(&format!("people/{blob}.parquet"), copies.parquet(5)).await;
        count(&handler.ingest(&message).await);
        let at = blob * lines.len() as i64;
        let events: Vec<_> = lines.iter().enumerate().map(|(row, line)| (at + row as i64, line.as_str())).collect();
        count(&handler.events(&Batch::of(0, &events)).await.receipt());
    }
    assert!(committed > 200 && left_out > 100, "{committed} {left_out}");
    for table in ["people", "clicks"] {
        assert_free_of_mark(&site, table);
        // Reasons name fields, and a field may be called like a person.
        assert_free_of_mark(&site, &format!("{table}__quarantine"));
        for file in files(&site.path("lake").join(table), "parquet") {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes()), "{}", file.display());
            let rows = ParquetReader::new(std::io::Cursor::new(bytes)).finish().unwrap();
            for column in rows.columns() {
                assert!(!column.name().contains(MARK), "{}", column.name());
                let cells = column.as_materialized_series().iter().map(|cell| cell.to_string()).collect::<String>();
                assert!(!cells.contains(MARK), "{}: {cells}", column.name());
            }
        }
    }
    assert!(!handler.logged().contains(MARK));
    let status = handler.status().await;
    assert_eq!(status["balanced"], true, "{status}");
}
