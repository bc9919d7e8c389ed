//! Real files of many writers: what Weir stores of them is what others read, or the difference is listed with its reason.
//!
//! The files come out of packages, which `tests/data/real/packages.json` pins. `real.py` makes three contracts for each and
//! reads it with pyarrow, DuckDB, `fastavro` or Python's `csv` and `json`; one handler ingests them all; then every value of
//! its tables is compared. A fixed sample is read, or everything with `WEIR_TEST_REAL=all`.

mod new;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;

use crate::app::handler::Handler;
use crate::app::site::Site;
use crate::python::python;
use crate::support::{checked, installed_once, repository};

/// What takes files out of packages, and the packages: a change of either makes another folder.
const EXTRACTION: &str = include_str!("packages.py");
const PACKAGES: &str = include_str!("../../data/real/packages.json");
const SAMPLE: &str = include_str!("../../data/real/sample.txt");

/// `tests/data/real/differences.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Differences {
    difference: Vec<Difference>,
}

/// A difference that several files have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// Why it is right, or what is known of it.
    why: String,
    /// As `real.py` says it.
    seen: String,
    /// Each as `<times> × <name>`, all looks together.
    files: Vec<String>,
}

/// `<times> × <name>: <what differs>`.
type Seen = BTreeSet<String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_files_are_read_as_others_read_them() {
    let whole = std::env::var("WEIR_TEST_REAL").is_ok_and(|wish| wish == "all");
    let files = tokio::task::spawn_blocking(move || files(whole)).await.unwrap();
    // A handler has some hundred datasets.
    let parts = if whole { 8 } else { 1 };
    let mut compared: Vec<Value> = Vec::new();
    for part in 0..parts {
        compared.extend(ingested_and_compared(&files, whole, &format!("{part}/{parts}")).await);
    }
    let names: BTreeSet<&str> = compared.iter().map(|look| look["name"].as_str().unwrap()).collect();
    assert!(names.len() >= if whole { 1_000 } else { 40 }, "{}", names.len());
    println!("{}", summary(&compared));
    let (seen, listed) = (seen(&compared), listed(&names));
    let examples: Vec<&Value> = compared.iter().filter(|look| look["differences"] != serde_json::json!([])).collect();
    let unexplained: Vec<&String> = seen.difference(&listed).collect();
    assert!(unexplained.is_empty(), "not in tests/data/real/differences.toml: {unexplained:#?}\n{examples:#?}");
    let gone: Vec<&String> = listed.difference(&seen).collect();
    assert!(gone.is_empty(), "in tests/data/real/differences.toml, and not seen: {gone:#?}");
}

/// What `real.py` says of each look at the files of a part.
async fn ingested_and_compared(files: &Path, whole: bool, part: &str) -> Vec<Value> {
    let site = Site::new();
    let sample = repository().join("tests/data/real/sample.txt");
    let wish = if whole { Path::new("all") } else { &sample };
    let prepared = lines(&script("real.py", &[Path::new("prepare"), files, wish, &site.path(""), Path::new(part)]));
    let handler = Handler::start(&site).await;
    let refused = stream::iter(&prepared).map(|blob| delivered(&site, &handler, blob)).buffer_unordered(4);
    let wrong: Vec<String> = refused.filter_map(|wrong| async { wrong }).collect().await;
    assert_eq!(wrong, Vec::<String>::new());
    let compared = lines(&script("real.py", &[Path::new("compare"), &site.path("")]));
    assert_eq!(compared.len(), prepared.len());
    compared
}

fn lines(printed: &str) -> Vec<Value> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each of the sample, and a file of each kind and of each package of the sample, is there to be read.
#[test]
fn the_sample_has_every_kind_and_every_package() {
    let packages: Vec<Value> = serde_json::from_str(PACKAGES).unwrap();
    let sampled = packages.iter().filter(|package| package["sample"] == true);
    let sampled: BTreeSet<&str> = sampled.map(|package| package["name"].as_str().unwrap()).collect();
    let found: BTreeSet<&str> = SAMPLE.lines().map(|name| name.split('/').next().unwrap()).collect();
    assert_eq!(found, sampled);
    for kind in [".parquet", ".avro", ".csv", ".json", ".csv.gz"] {
        assert!(SAMPLE.lines().any(|name| name.ends_with(kind)), "{kind}");
    }
    for difference in differences() {
        assert!(difference.why.len() > 20 && !difference.files.is_empty(), "{}", difference.seen);
    }
}

/// The files of the packages, out of the target folder or from the registries.
fn files(whole: bool) -> PathBuf {
    let wish = if whole { "all" } else { "sample" };
    installed_once(&format!("real-files-{wish}"), &format!("{EXTRACTION}{PACKAGES}"), |folder| {
        let pins = repository().join("tests/data/real/packages.json");
        script("packages.py", &[folder, &pins, Path::new(wish)]);
    })
}

fn script(name: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new(python());
    command.args(["-I", "-B"]).arg(repository().join("tests/src/real").join(name)).args(arguments);
    checked(&mut command, &format!("{name} (the first time it needs PyPI and npm's registry)"))
}

/// Why a blob was not taken, if it was not.
async fn delivered(site: &Site, handler: &Handler, blob: &Value) -> Option<String> {
    let message = site.event(blob["blob"].as_str().unwrap()).await;
    let answer = handler.queue("ingest_blob", &message).await;
    let balanced = answer.status == 200 && {
        let books = &answer.json()["ReturnValue"]["books"];
        let number = |key: &str| books[key].as_u64();
        number("recordsIn") == number("committed").zip(number("quarantined")).map(|(left, right)| left + right)
    };
    (!balanced).then(|| format!("{}: {} {}", blob["name"], answer.status, answer.text))
}

fn seen(compared: &[Value]) -> Seen {
    let mut times: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for look in compared {
        for difference in look["differences"].as_array().unwrap() {
            let (count, what) = difference.as_str().unwrap().split_once(" × ").unwrap();
            *times.entry((look["name"].as_str().unwrap(), what)).or_default() += count.parse::<u64>().unwrap();
        }
    }
    times.into_iter().map(|((name, what), times)| format!("{times} × {name}: {what}")).collect()
}

fn differences() -> Vec<Difference> {
    let text = std::fs::read_to_string(repository().join("tests/data/real/differences.toml")).unwrap();
    toml::from_str::<Differences>(&text).unwrap().difference
}

fn listed(names: &BTreeSet<&str>) -> Seen {
    let mut listed = Seen::new();
    for difference in &differences() {
        for file in &difference.files {
            let (_, name) = file.split_once(" × ").unwrap();
            if names.contains(name) {
                assert!(listed.insert(format!("{file}: {}", difference.seen)), "twice: {file}");
            }
        }
    }
    listed
}

fn summary(compared: &[Value]) -> String {
    let kinds = ["parquet", "avro", "csv", "json"].map(|kind| {
        let of_kind = compared.iter().filter(|look| look["kind"] == kind && look["look"] == "typed");
        format!("{} {kind}", of_kind.count())
    });
    let sum = |key: &str| compared.iter().filter_map(|look| look[key].as_u64()).sum::<u64>();
    let agreed = compared.iter().filter(|look| look["look"] == "typed" && look["second"] == true).count();
    format!(
        "{} files; {} records, {} values; {agreed} read alike by two others",
        kinds.join(", "),
        sum("records"),
        sum("values")
    )
}
