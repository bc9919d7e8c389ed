//! Names of blobs: every way that leads to a blob (its event, a sweep, a backfill, a request to read it again, what is
//! parked, what status shows) takes the same name for it, to the last character.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::command_line::weir;
use super::handler::{Answer, Handler};
use super::site::{Site, blob_created};
use crate::support::repository;

/// What stays as it is in the address of a blob.
const ADDRESS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// One column, and every name below a folder that is odd itself.
pub(super) const ODD: &str = r#"
name = "odd"
[source]
kind = "blob"
container = "landing"
path = "ödd [1]{%20}/**"
[format]
type = "csv"
[[columns]]
name = "id"
type = "long"
nullable = false
"#;
pub(super) const FOLDER: &str = "ödd [1]{%20}/";

/// Names that a file system can hold, too: random ones of every kind of character, and the kinds one by one.
pub(super) fn names(seed: u64, count: usize) -> Vec<String> {
    const PIECES: [&str; 40] = [
        "#",
        "%",
        "~",
        "{",
        "}",
        "[",
        "]",
        "^",
        "`",
        "|",
        "\\",
        "?",
        "*",
        "&",
        "=",
        "+",
        " ",
        "'",
        "\"",
        "<",
        ">",
        "$",
        ":",
        ";",
        ",",
        "!",
        "@",
        "(",
        ")",
        "%20",
        "%2F",
        "%zz",
        "\u{fc}",
        "u\u{308}",
        "\u{1f48e}",
        "\u{212b}",
        "ß",
        "\u{200d}",
        "#1",
        "a",
    ];
    let mut random = StdRng::seed_from_u64(seed);
    let mut names = BTreeSet::from(
        [
            "trailing.",
            "dots..",
            "a.b./c",
            " blank",
            "blank ",
            "data#1",
            "d#2/data#3",
            "tab\there",
            "line\nbreak",
            "\u{1}\u{7f}",
        ]
        .map(str::to_owned),
    );
    names.extend(PIECES.map(|piece| format!("one{piece}")));
    names.extend(PIECES.map(|piece| format!("{piece}/two")));
    while names.len() < count {
        let segments = (0..random.random_range(1..4)).map(|_| {
            let text: String = (0..random.random_range(1..6)).map(|_| *PIECES.choose(&mut random).unwrap()).collect();
            format!("x{text}")
        });
        names.insert(segments.collect::<Vec<_>>().join("/"));
    }
    // A file and a folder of one name cannot both be there.
    let folders: BTreeSet<String> =
        names.iter().flat_map(|name| name.match_indices('/').map(|(at, _)| name[..at].to_owned())).collect();
    names.into_iter().filter(|name| !folders.contains(name)).map(|name| format!("{FOLDER}{name}")).collect()
}

/// The event of a blob as Event Grid writes it: percent-encoded address, plain subject.
pub(super) fn event(name: &str, etag: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(&blob_created(name, etag)).unwrap();
    event["data"]["url"] =
        format!("https://acct.blob.core.windows.net/landing/{}", utf8_percent_encode(name, ADDRESS)).into();
    event.to_string().into_bytes()
}

/// The tasks that an answer hands on.
pub(super) fn tasks(answer: &Answer) -> Vec<Value> {
    let json = answer.json();
    let tasks = json["Outputs"]["tasks"].as_array().cloned().unwrap_or_default();
    tasks.iter().map(|task| serde_json::from_str(task.as_str().unwrap()).unwrap()).collect()
}

/// Carries out tasks that hand on further ones until there are none, and returns those that ingest a blob.
pub(super) async fn follow(handler: &Handler, first: Value) -> Vec<Value> {
    let (mut chain, mut handed_out) = (vec![first], Vec::new());
    while let Some(task) = chain.pop() {
        let answer = handler.queue("run_task", task.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{task}: {}", answer.text);
        let handed = tasks(&answer);
        assert!(handed.len() <= 301, "{} messages in one answer", handed.len());
        let (ingest, on): (Vec<_>, Vec<_>) = handed.into_iter().partition(|task| task["task"] == "ingest_blob");
        assert!(on.len() <= 1, "{on:?}");
        handed_out.extend(ingest);
        chain.extend(on);
    }
    handed_out
}

pub(super) fn paths(tasks: &[Value]) -> Vec<String> {
    let mut paths: Vec<_> = tasks.iter().map(|task| task["path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

pub(super) fn sweep(dataset: &str) -> Value {
    json!({ "task": "sweep", "dataset": dataset, "asked": true })
}

/// A request to read blobs again, as `reprocess` hands it on.
fn reread(dataset: &str, prefix: &str, request: &str) -> Value {
    json!({ "task": "reprocess", "dataset": dataset, "prefix": prefix, "request": request })
}

pub(super) fn write(site: &Site, name: &str, content: &str) {
    let file = site.path("landing/landing").join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
}

/// The contract and the folder of a case, and a site that has it.
pub(super) fn case(name: &str) -> (Site, std::path::PathBuf) {
    let (site, folder) = (Site::new(), repository().join("tests/data/cases/files").join(name));
    site.contract("t", &fs::read_to_string(folder.join("contract.toml")).unwrap());
    (site, folder)
}

pub(super) fn backfill(site: &Site, arguments: &[&str]) -> Value {
    let (code, said, complaint) = weir(site, &[&["backfill"], arguments, &["--json"]].concat(), &[]);
    assert_eq!(code, 0, "{said}{complaint}");
    serde_json::from_str(&said).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_sweep_folder_not_ascii() {
    let (site, folder) = case("sweep_folder_not_ascii");
    write(&site, "über/a.csv", &fs::read_to_string(folder.join("landing/über/a.csv")).unwrap());
    let ran = backfill(&site, &["t"]);
    assert_eq!((&ran["names"], &ran["missing"], &ran["ran"]["books"]["committed"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(site.rows("t", &["id", "_source"]).await, ["1|blob:landing/über/a.csv"]);
    assert_eq!(backfill(&site, &["t"])["missing"], 0);
}

/// Further folders of that kind, each alone in its contract.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_with_any_character_are_listed() {
    for folder in ["#1", "100%", "~home", "[a]", "{b}", "c|d", "e^f", "g`h", "u\u{308}ber", "a%20b", "x y", "q&a=+"] {
        let (site, _) = case("sweep_folder_not_ascii");
        site.contract("t", &ODD.replace("\"odd\"", "\"t\"").replace("ödd [1]{%20}/**", &format!("{folder}/*.csv")));
        write(&site, &format!("{folder}/a.csv"), "id\n1\n");
        let ran = backfill(&site, &["t"]);
        assert_eq!((&ran["names"], &ran["missing"]), (&json!(1), &json!(1)), "{folder}");
        assert_eq!(site.rows("t", &["_source"]).await, [format!("blob:landing/{folder}/a.csv")]);
    }
}

/// For any name that a file can have: event, sweep, backfill, reprocess and status agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_a_blob_takes_the_same_name() {
    for seed in [1, 2] {
        println!("seed {seed}");
        let (site, names) = (Site::new(), names(seed, 260));
        site.contract("odd", ODD);
        for (number, name) in names.iter().enumerate() {
            write(&site, name, &format!("id\n{number}\n"));
        }
        let handler = Handler::start(&site).await;
        // A third by its event, which comes without an etag here: the name alone finds the blob.
        let by_event: Vec<_> = names.iter().step_by(3).collect();
        for name in &by_event {
            let mut event: Value = serde_json::from_slice(&event(name, "")).unwrap();
            event["data"].as_object_mut().unwrap().remove("eTag");
            assert_eq!(handler.ingest(event.to_string().as_bytes()).await["outcome"], "committed", "{name:?}");
        }
        // The sweep finds exactly the others; a third is ingested by its tasks, the rest by a backfill.
        let swept = follow(&handler, sweep("odd")).await;
        let mut expected: Vec<_> = names.iter().filter(|name| !by_event.contains(name)).cloned().collect();
        expected.sort();
        assert_eq!(paths(&swept), expected);
        for task in swept.iter().step_by(2) {
            let done = handler.queue("run_task", task.to_string().as_bytes()).await.receipt();
            assert_eq!(done["outcome"], "committed", "{task}");
        }
        let ran = backfill(&site, &["odd"]);
        assert_eq!(ran["missing"], swept.len() - swept.len().div_ceil(2), "{ran}");
        let rows: Vec<_> = site.rows("odd", &["_source", "id"]).await;
        let mut expected: Vec<_> =
            names.iter().enumerate().map(|(number, name)| format!("blob:landing/{name}|{number}")).collect();
        expected.sort();
        assert_eq!(rows, expected);
        // All are held now, whoever asks; and all can be asked for again, by prefix.
        assert_eq!(paths(&follow(&handler, sweep("odd")).await), Vec::<String>::new());
        let again = follow(&handler, reread("odd", &FOLDER[..4], "r1")).await;
        let mut all = names.clone();
        all.sort();
        assert_eq!(paths(&again), all);
        for task in again.iter().step_by(7) {
            assert_eq!(handler.queue("run_task", task.to_string().as_bytes()).await.receipt()["outcome"], "committed");
        }
        assert_eq!(site.each_place_once("odd").await, names.len());
        assert_eq!(handler.status().await["balanced"], true);
    }
}

/// What is parked is shown under the blob's name, and no sweep hands it out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_is_known_by_its_name() {
    let site = Site::new();
    site.contract("odd", ODD);
    let handler = Handler::start(&site).await;
    let names = names(3, 150);
    for name in &names {
        write(&site, name, "id\n1\n");
    }
    for task in follow(&handler, sweep("odd")).await.iter().step_by(15) {
        let body = task.to_string().replace("\"dataset\":\"odd\"", "\"dataset\":\"nope\"");
        assert_eq!(handler.queue("park_tasks", body.as_bytes()).await.status, 200);
    }
    let status = handler.status().await;
    let parked: BTreeSet<String> =
        status["parked"].as_array().unwrap().iter().map(|parked| parked["blob"].as_str().unwrap().to_owned()).collect();
    let left: BTreeSet<String> = paths(&follow(&handler, sweep("odd")).await).into_iter().collect();
    let all: BTreeSet<String> = names.into_iter().collect();
    let expected = all.difference(&left).map(|name| format!("blob:landing/{name}")).collect::<BTreeSet<_>>();
    assert_eq!(parked, expected);
    assert_eq!(parked.len(), 150_usize.min(all.len()).div_ceil(15));
}

/// A storage account that lists what no real one on this machine can be made to hold.
#[derive(Clone)]
struct Fake {
    /// Name as the listing has it, more of its entry, content.
    blobs: Arc<Vec<(String, &'static str, &'static str)>>,
}

impl Fake {
    /// Its address.
    async fn start(blobs: Vec<(impl Into<String>, &'static str, &'static str)>) -> String {
        let blobs = blobs.into_iter().map(|(name, more, content)| (name.into(), more, content));
        let fake = Self { blobs: Arc::new(blobs.collect()) };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(Self::answer).with_state(fake);
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}/devstoreaccount1")
    }

    async fn answer(State(fake): State<Self>, request: Request) -> Response {
        const TIME: &str = "Mon, 05 Jan 2026 10:00:00 GMT";
        let query = request.uri().query().unwrap_or_default();
        if query.contains("comp=list") {
            let number = |key: &str, otherwise: usize| {
                let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key);
                given.map_or(otherwise, |(_, number)| number.parse().unwrap())
            };
            let from = number("marker", 0);
            let to = fake.blobs.len().min(from + number("maxresults", 5_000));
            let next = if to < fake.blobs.len() { to.to_string() } else { String::new() };
            let entry = |(name, more, content): &(String, &str, &str)| {
                let size = content.len();
                format!(
                    "<Blob>{name}<Properties><Last-Modified>{TIME}</Last-Modified><Etag>0x1</Etag><Content-Length>{size}\
                     </Content-Length>{more}</Properties></Blob>"
                )
            };
            let blobs: String = fake.blobs[from..to].iter().map(entry).collect();
            return format!(
                "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
            )
            .into_response();
        }
        let path = request.uri().path().trim_start_matches("/devstoreaccount1/landing/").to_owned();
        let found = fake.blobs.iter().find(|(name, ..)| {
            name.contains(&format!(">{path}<")) || {
                let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
                name.contains(&format!(">{decoded}<")) || name.contains(&format!(">{path}<").replace("%25", "%"))
            }
        });
        let Some((.., content)) = found else { return StatusCode::NOT_FOUND.into_response() };
        let headers = [("etag", "\"0x1\""), ("last-modified", TIME)];
        if *request.method() == Method::HEAD {
            return (headers, [("content-length", content.len().to_string())]).into_response();
        }
        let range = request.headers().get("range").or(request.headers().get("x-ms-range"));
        let (start, end) = match range {
            None => return (headers, (*content).to_owned()).into_response(),
            Some(range) => range.to_str().unwrap().trim_start_matches("bytes=").split_once('-').unwrap(),
        };
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        let said = [("content-range", format!("bytes {start}-{end}/{}", content.len()))];
        (StatusCode::PARTIAL_CONTENT, headers, said, content[start..=end].to_owned()).into_response()
    }
}

/// Names that nobody can ask for are parked once, each with its name; folders are no blobs; everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_survives_names_that_nobody_can_ask_for() {
    let site = Site::new();
    let folder = "<ResourceType>directory</ResourceType>";
    let url = Fake::start(vec![
        ("<Name>t/a.csv</Name>", "", "id\n1\n"),
        ("<Name>t/../t/b.csv</Name>", "", "id\n2\n"),
        ("<Name>t/./c.csv</Name>", "", "id\n3\n"),
        ("<Name>t/folder.csv</Name>", folder, ""),
        ("<Name>t/marker.csv/</Name>", "", ""),
        ("<Name>t//d.csv</Name>", "", "id\n4\n"),
        ("<Name Encoded=\"true\">t/e%EF%BF%BF.csv</Name>", "", "id\n5\n"),
        ("<Name> t/not ours.csv</Name>", "", "id\n6\n"),
        ("<Name>t/z.csv</Name>", "", "id\n7\n"),
    ])
    .await;
    site.contract("t", &ODD.replace("\"odd\"", "\"t\"").replace("ödd [1]{%20}/**", "t/**"));
    let handler = Handler::start_with(&site, &[("WEIR_LANDING_URL", &url)]).await;
    for parked_before in [0, 2] {
        assert_eq!(handler.status().await["parkedCount"], parked_before);
        let answer = handler.queue("run_task", sweep("t").to_string().as_bytes()).await;
        let report = answer.receipt();
        assert_eq!(
            (&report["names"], &report["missing"], &report["unusable"]),
            (&json!(7), &json!(4), &json!(2)),
            "{report}"
        );
        let found = paths(&tasks(&answer));
        assert_eq!(found, ["t//d.csv", "t/a.csv", "t/e\u{ffff}.csv", "t/z.csv"]);
    }
    // Asked for by a person, they are handed out as they are: each fails with its name.
    let again = paths(&follow(&handler, reread("t", "t/", "r1")).await);
    assert_eq!(again, ["t/../t/b.csv", "t/./c.csv", "t//d.csv", "t/a.csv", "t/e\u{ffff}.csv", "t/z.csv"]);
    let status = handler.status().await;
    let parked = status["parked"].as_array().unwrap();
    let names: BTreeSet<_> = parked.iter().map(|parked| parked["blob"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["blob:landing/t/../t/b.csv", "blob:landing/t/./c.csv"]));
    assert!(parked.iter().all(|parked| parked["reason"].as_str().unwrap().contains("rename the blob")), "{parked:?}");
    let ran = weir(&site, &["backfill", "t", "--json"], &[("WEIR_LANDING_URL", &url)]);
    assert_eq!(ran.0, 0, "{ran:?}");
    assert_eq!(site.rows("t", &["id"]).await, ["1", "4", "5", "7"]);
}

/// A contract that takes what is below `t/`, and a handler whose storage account is made up.
async fn made_up(names: impl Iterator<Item = String>) -> (Site, Handler) {
    let site = Site::new();
    let blobs: Vec<(String, _, _)> = names.map(|name| (format!("<Name>{name}</Name>"), "", "id\n1\n")).collect();
    let url = Fake::start(blobs).await;
    site.contract("t", &ODD.replace("\"odd\"", "\"t\"").replace("ödd [1]{%20}/**", "t/**"));
    let handler = Handler::start_with(&site, &[("WEIR_LANDING_URL", &url)]).await;
    (site, handler)
}

/// However many nobody can ask for: a run parks some, and later ones go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_parks_so_many_names() {
    let (_site, handler) = made_up((0..420).map(|number| format!("t/../{number:03}.csv"))).await;
    for parked in [50, 100] {
        let answer = handler.queue("run_task", sweep("t").to_string().as_bytes()).await;
        let report = answer.receipt();
        assert_eq!((&report["names"], &report["unusable"]), (&json!(300), &json!(300)), "{report}");
        assert_eq!((&report["missing"], &report["more"]), (&json!(0), &json!(true)), "{report}");
        assert_eq!(handler.status().await["parkedCount"], parked);
        // The next run begins where this one has ended.
        let [rest] = &tasks(&answer)[..] else { panic!("{}", answer.text) };
        assert_eq!(rest["marker"], "300", "{rest}");
    }
}

/// Where few are missing pages are long, and where many are they are short: each name is handed out once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_any_density_are_handed_out_once_each() {
    for runs in
        [&[(299, 1), (700, 1_200), (5_000, 900)][..], &[(300, 1_000)], &[(290, 10), (0, 301), (400, 299), (1, 2)]]
    {
        let (mut names, mut missing, mut number) = (Vec::new(), Vec::new(), 0);
        for (others, ours) in runs {
            for (folder, count) in [("other", *others), ("t", *ours)] {
                names.extend((number..number + count).map(|number| format!("{folder}/{number:05}.csv")));
                number += count;
            }
        }
        missing.extend(names.iter().filter(|name| name.starts_with("t/")).cloned());
        let (_site, handler) = made_up(names.into_iter()).await;
        assert_eq!(paths(&follow(&handler, sweep("t")).await), missing, "{runs:?}");
    }
}

/// Names that are nobody's cost a listing, and it is cut into runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_looks_at_so_many_names() {
    const NAMES: usize = 106_000;
    let (_site, handler) = made_up((0..NAMES).map(|number| format!("other/{number}.csv"))).await;
    let first = handler.queue("run_task", sweep("t").to_string().as_bytes()).await;
    let looked_at = first.receipt()["names"].as_u64().unwrap() as usize;
    assert!((100_000..105_000).contains(&looked_at), "{looked_at}");
    let [rest] = &tasks(&first)[..] else { panic!("{}", first.text) };
    let last = handler.queue("run_task", rest.to_string().as_bytes()).await;
    assert_eq!((&last.receipt()["names"], &last.receipt()["more"]), (&json!(NAMES - looked_at), &json!(false)));
    assert_eq!(tasks(&last), Vec::<Value>::new());
}
