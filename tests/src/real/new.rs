//! `weir new` on the same files: the contract that it writes takes every record of its file, or the list says why not.
//! `WEIR_TEST_NEW=all` also counts what becomes of every file of the packages (docs/benchmarks.md has the figures).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use futures::{StreamExt, stream};
use serde_json::Value;

use super::{SAMPLE, files};
use crate::app::handler::Handler;
use crate::app::site::Site;
use crate::support::weir_binary;

/// Files of which not every record can be taken: what is said of them. All others are taken whole.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("awkward/awkward-2.9.1/tests/samples/enum_null_test_data.avro", "the Avro file's schema is not a record"),
    ("awkward/awkward-2.9.1/tests/samples/zero-record-batches.parquet", "without columns that can be read"),
    // One line has a field too few, another one too many.
    ("csvkit/csvkit-2.2.0/examples/bad.csv", "2 of 3: "),
    ("csvkit/csvkit-2.2.0/examples/null_byte.csv", "the file is not text, Parquet or Avro"),
];

/// Records of each file's dry run, by dataset, and what is wrong with the others.
struct Made {
    datasets: BTreeMap<String, (String, u64)>,
    others: Vec<(String, String)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_contract_takes_every_record_of_its_file() {
    let folder = tokio::task::spawn_blocking(|| files(false)).await.unwrap();
    if std::env::var("WEIR_TEST_NEW").is_ok_and(|wish| wish == "all") {
        survey(&folder);
    }
    let site = Site::new();
    let Made { datasets, others } = made(&folder, &site);
    println!("{} files: {} taken whole", datasets.len() + others.len(), datasets.len());
    let listed: Vec<(String, String)> =
        EXCEPTIONS.iter().map(|(name, said)| ((*name).to_owned(), (*said).to_owned())).collect();
    let unlisted: Vec<_> = others
        .iter()
        .filter(|(name, said)| !listed.iter().any(|(listed, text)| name == listed && said.contains(text)))
        .collect();
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    assert_eq!(others.len(), listed.len(), "an exception that is none any more: {others:#?}");

    // The same with the app: each file where its contract looks.
    let handler = Handler::start(&site).await;
    let wrong =
        stream::iter(&datasets).map(|(dataset, (path, records))| delivered(&site, &handler, dataset, path, *records));
    let wrong: Vec<String> = wrong.buffer_unordered(4).filter_map(|wrong| async { wrong }).collect().await;
    assert_eq!(wrong, Vec::<String>::new());
}

fn made(folder: &Path, site: &Site) -> Made {
    let mut made = Made { datasets: BTreeMap::new(), others: Vec::new() };
    for (number, name) in SAMPLE.lines().filter(|name| !name.is_empty()).enumerate() {
        let (dataset, path) = (format!("n{number:03}"), folder.join(name));
        let output = new(&dataset, &site.path("datasets"), &path);
        let said = String::from_utf8_lossy(&output.stderr).replace(&*path.to_string_lossy(), "<file>");
        if !output.status.success() {
            made.others.push((name.to_owned(), said.trim().to_owned()));
            continue;
        }
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tried = &answer["tried"];
        assert_eq!(tried["complete"], true, "{name}: {tried}");
        if tried["quarantined"] == 0 {
            made.datasets.insert(dataset, (path.display().to_string(), tried["records"].as_u64().unwrap()));
        } else {
            std::fs::remove_file(site.path(&format!("datasets/{dataset}.toml"))).unwrap();
            made.others.push((
                name.to_owned(),
                format!("{} of {}: {}", tried["quarantined"], tried["records"], tried["reasons"]),
            ));
        }
    }
    made
}

fn new(dataset: &str, datasets: &Path, file: &Path) -> Output {
    let mut command = Command::new(weir_binary());
    command.args(["new", "--json", "--name", dataset, "--datasets"]).arg(datasets).arg(file);
    command.env_clear().stdin(Stdio::null()).output().unwrap()
}

/// What becomes of every file, by its ending; printed.
fn survey(folder: &Path) {
    const ENDINGS: [&str; 8] = [".csv", ".csv.gz", ".tsv", ".json", ".ndjson", ".jsonl", ".parquet", ".avro"];
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if ENDINGS.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let (datasets, began) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, path) in found.iter().enumerate() {
        // In a folder of its own: globs of others are not at issue.
        let output = new(&format!("n{number}"), &datasets.path().join(number.to_string()), path);
        let tried = serde_json::from_slice::<Value>(&output.stdout).map(|answer| answer["tried"].clone());
        let outcome = match tried {
            Err(_) => "refused",
            Ok(tried) if tried["records"] == 0 => "without a record",
            Ok(tried) if tried["quarantined"] == 0 => "taken whole",
            Ok(_) => "with refused records",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{} files in {:?}: {outcomes:?}", found.len(), began.elapsed());
}

/// Why the file was not taken whole, if it was not.
async fn delivered(site: &Site, handler: &Handler, dataset: &str, path: &str, records: u64) -> Option<String> {
    let blob = format!("{dataset}/{}", Path::new(path).file_name().unwrap().to_string_lossy());
    let message = site.put(&blob, std::fs::read(path).unwrap()).await;
    let answer = handler.queue("ingest_blob", &message).await;
    let books = &answer.json()["ReturnValue"]["books"];
    let taken = answer.status == 200 && books["committed"] == records && books["quarantined"] == 0;
    (!taken).then(|| format!("{path}: {records} records, {} {}", answer.status, answer.text))
}
