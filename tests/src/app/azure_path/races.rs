//! Instances that meet at the worst moment, and instances that die before and after each of their writes. Gates on the way
//! to the store make each moment, so that no run misses it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::time::Duration;

use axum::http::Method;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::account::{Account, EventGrid};
use super::gates::{Gate, Gates, Moment};
use crate::app::handler::Handler;
use crate::app::large::tasks;
use crate::app::operations::dataset;
use crate::app::site::{ORDERS, blob_deleted};

const PATH: &str = "orders/a.csv";
const BLOB: &str = "/landing/orders/a.csv";

/// Positions 1 and 3 are good; 2 is not, if there is to be a refused one.
fn csv(note: &str, refused: bool) -> String {
    format!("id,amount,note\n1,1.00,{note}\n2,{}1.00,{note}\n3,1.00,{note}\n", if refused { "-" } else { "" })
}

/// What both tables hold when they hold `csv(note, refused)` alone.
async fn holds(account: &Account, etag: &str, note: &str, refused: bool) {
    let row = |position: u32| format!("orders|blob:landing/{PATH}|{etag}|{position}|{note}");
    let good = if refused { vec![1, 3] } else { vec![1, 2, 3] };
    let mut rows = account.rows("orders", Some("note")).await;
    rows.sort();
    assert_eq!(rows, good.into_iter().map(row).collect::<Vec<_>>());
    let left = account.rows("orders__quarantine", None).await;
    let bad = [format!("orders__quarantine|blob:landing/{PATH}|{etag}|2")];
    assert_eq!(left, if refused { bad.to_vec() } else { Vec::new() });
}

/// Uploads a version, and ingests it without any gate.
async fn newer(account: &Account, straight: &Handler, content: String) -> String {
    let etag = account.upload(PATH, content).await;
    assert_eq!(straight.ingest(EventGrid.event(PATH, &etag).as_bytes()).await["outcome"], "committed");
    etag
}

async fn balanced(handler: &Handler) {
    let status = handler.status().await;
    assert_eq!(status["balanced"], true, "{status}");
}

/// A handler has read one version when a newer one is committed: what it has read must not take its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_an_older_version_does_not_replace_a_newer_one() {
    for (is_first, refused) in [(true, false), (false, false), (true, true), (false, true)] {
        let account = Account::new().await;
        let gates = Gates::before(account.blob_url()).await;
        let (slow, straight) = (account.handler(Some(&gates)).await, account.handler(None).await);
        if !is_first {
            newer(&account, &straight, csv("zero", refused)).await;
        }
        let etag = account.upload(PATH, csv("one", refused)).await;
        let read = gates.hold(Method::GET, BLOB, Moment::After);
        let event = EventGrid.event(PATH, &etag);
        let overtaken = async {
            read.reached().await;
            let etag = newer(&account, &straight, csv("two", refused)).await;
            read.open();
            etag
        };
        let (receipt, etag) = tokio::join!(slow.ingest(event.as_bytes()), overtaken);
        assert_eq!(receipt["outcome"], "overwritten");
        holds(&account, &etag, "two", refused).await;
        balanced(&slow).await;
    }
}

/// The same, when the table has been looked at for the last time before quarantine is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_does_not_replace_what_a_newer_one_has_in_quarantine() {
    for is_first in [true, false] {
        let account = Account::new().await;
        let gates = Gates::before(account.blob_url()).await;
        let (slow, straight) = (account.handler(Some(&gates)).await, account.handler(None).await);
        if !is_first {
            newer(&account, &straight, csv("zero", true)).await;
        }
        let etag = account.upload(PATH, csv("one", true)).await;
        let read = gates.hold(Method::GET, BLOB, Moment::After);
        let event = EventGrid.event(PATH, &etag);
        let overtaken = async {
            read.reached().await;
            // The next look at the table is the one before quarantine is written: it finds nothing new, and is slow.
            let look = gates.hold(Method::GET, "/tables/orders/_delta_log/", Moment::After);
            read.open();
            look.reached().await;
            let etag = newer(&account, &straight, csv("two", true)).await;
            look.open();
            etag
        };
        let (receipt, etag) = tokio::join!(slow.ingest(event.as_bytes()), overtaken);
        assert_eq!(receipt["outcome"], "overwritten");
        holds(&account, &etag, "two", true).await;
        balanced(&slow).await;
    }
}

/// A blob without bytes is never read, so nothing but the order of claim and HEAD tells that it has been overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_without_bytes_does_not_replace_a_newer_one() {
    let account = Account::new().await;
    let gates = Gates::before(account.blob_url()).await;
    let (slow, straight) = (account.handler(Some(&gates)).await, account.handler(None).await);
    let etag = account.upload(PATH, "").await;
    let head = gates.hold(Method::HEAD, BLOB, Moment::After);
    let event = EventGrid.event(PATH, &etag);
    let overtaken = async {
        head.reached().await;
        let etag = newer(&account, &straight, csv("two", true)).await;
        head.open();
        etag
    };
    let (receipt, etag) = tokio::join!(slow.ingest(event.as_bytes()), overtaken);
    assert_eq!(receipt["outcome"], "overwritten");
    holds(&account, &etag, "two", true).await;
    balanced(&slow).await;
}

/// A blob that is overwritten between HEAD and GET is not read under the old version's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_another_version_are_not_read() {
    let account = Account::new().await;
    let gates = Gates::before(account.blob_url()).await;
    let slow = account.handler(Some(&gates)).await;
    let etag = account.upload(PATH, csv("one", false)).await;
    let head = gates.hold(Method::HEAD, BLOB, Moment::After);
    let event = EventGrid.event(PATH, &etag);
    let overwritten = async {
        head.reached().await;
        let etag = account.upload(PATH, csv("two", false)).await;
        head.open();
        etag
    };
    let (receipt, etag) = tokio::join!(slow.ingest(event.as_bytes()), overwritten);
    assert_eq!(receipt["outcome"], "overwritten");
    assert_eq!(account.rows("orders", None).await, Vec::<String>::new());
    assert_eq!(slow.ingest(EventGrid.event(PATH, &etag).as_bytes()).await["outcome"], "committed");
    holds(&account, &etag, "two", false).await;
}

/// A blob that comes back while its deletion is being worked on keeps its rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_deletion_does_not_take_the_rows_of_a_blob_that_is_back() {
    let account = Account::new().await;
    account.contract("orders", &ORDERS.replace("path = [", "on_delete = \"remove\"\npath = ["));
    let gates = Gates::before(account.blob_url()).await;
    let (slow, straight) = (account.handler(Some(&gates)).await, account.handler(None).await);
    newer(&account, &straight, csv("one", true)).await;
    account.delete(PATH).await;
    let head = gates.hold(Method::HEAD, BLOB, Moment::After);
    let back = async {
        head.reached().await;
        let etag = newer(&account, &straight, csv("two", true)).await;
        head.open();
        etag
    };
    let deleted = blob_deleted(PATH);
    let (receipt, etag) = tokio::join!(slow.ingest(&deleted), back);
    assert_eq!(receipt["outcome"], "kept");
    holds(&account, &etag, "two", true).await;
    balanced(&slow).await;
}

/// Delivers a message and all that it hands on. The handler dies at the gate and another goes on; false: no request has
/// come to the gate.
async fn deliver(account: &Account, gates: &Gates, gate: &Gate, event: String) -> bool {
    let mut waiting = VecDeque::from([("ingest_blob", event)]);
    let (mut handler, mut died) = (account.handler(Some(gates)).await, false);
    while let Some((function, message)) = waiting.front() {
        let answer = tokio::select! {
            answer = handler.queue(function, message.as_bytes()) => Some(answer),
            () = gate.reached(), if !died => None,
        };
        let Some(answer) = answer else {
            handler.kill();
            (handler, died) = (account.handler(None).await, true);
            continue;
        };
        answer.receipt();
        waiting.pop_front();
        waiting.extend(tasks(&answer).into_iter().map(|task| ("run_task", task.to_string())));
    }
    balanced(&handler).await;
    died
}

/// How many deaths there were, one for each write and moment; `upload` uploads a blob for each.
async fn die_at_each_write(account: &Account, mut upload: impl AsyncFnMut(String) -> String) -> usize {
    let mut deaths = 0;
    for moment in [Moment::Before, Moment::After] {
        for write in 0.. {
            let path = format!("{moment:?}-{write}.csv").to_lowercase();
            let event = upload(path).await;
            let gates = Gates::before(account.blob_url()).await;
            let writes = |method: &Method, path: &str| {
                [Method::PUT, Method::DELETE, Method::POST].contains(method) && path.contains("/lake")
            };
            let gate = gates.hold_after(write, moment, writes);
            if !deliver(account, &gates, &gate, event).await {
                break;
            }
            deaths += 1;
        }
    }
    deaths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_dies_at_any_write_leaves_each_record_once() {
    let account = Account::new().await;
    let straight = account.handler(None).await;
    let (mut rows, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let deaths = die_at_each_write(&account, async |path| {
        let path = format!("orders/{path}");
        // It takes the place of another version.
        let old = account.upload(&path, csv("old", true)).await;
        straight.ingest(EventGrid.event(&path, &old).as_bytes()).await;
        let etag = account.upload(&path, csv("new", true)).await;
        for position in [1, 3] {
            rows.insert(format!("orders|blob:landing/{path}|{etag}|{position}|new"));
        }
        refused.insert(format!("orders__quarantine|blob:landing/{path}|{etag}|2"));
        EventGrid.event(&path, &etag)
    })
    .await;
    println!("{deaths} deaths");
    assert!(deaths >= 8, "two files and two commits, before and after: {deaths}");
    same(account.rows("orders", Some("note")).await, rows);
    same(account.rows("orders__quarantine", None).await, refused);
}

fn same(mut found: Vec<String>, expected: BTreeSet<String>) {
    found.sort();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
}

/// Blobs in parts of 1 MiB; compressed ones in pieces of a chunk, which is 16 MiB.
pub(super) fn in_parts() -> String {
    in_pieces().replace("type = \"csv\"", "type = \"csv\"\nquoted_newlines = false")
}

/// All blobs in pieces.
fn in_pieces() -> String {
    let contract = r#"
name = "big"
[source]
kind = "blob"
container = "landing"
path = ["big/*.csv", "big/*.csv.gz"]
[format]
type = "csv"
split_bytes = 1_048_576
[[columns]]
name = "id"
type = "long"
nullable = false
[[columns]]
name = "note"
type = "string"
[[rules]]
name = "id_is_no_multiple"
expr = "id % 1000 <> 7"
action = "quarantine"
"#;
    contract.to_owned()
}

/// With so many lines of so many bytes and a few.
pub(super) fn big(lines: u32, width: usize) -> String {
    let mut content = "id,note\n".to_owned();
    (0..lines).for_each(|id| content += &format!("{id},{:0width$}\n", u64::from(id) * 7_919));
    content
}

pub(super) fn gzip(content: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(content.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// Each id of each blob is in table or quarantine once.
pub(super) async fn big_is_whole(account: &Account, blobs: usize, lines: u32) {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in account.rows("big", Some("id")).await {
        let parts: Vec<_> = row.split('|').collect();
        found.entry(parts[1].to_owned()).or_default().push(parts[4].parse().unwrap());
    }
    assert_eq!(found.len(), blobs);
    let expected: Vec<_> = (0..i64::from(lines)).filter(|id| id % 1_000 != 7).collect();
    for (blob, mut ids) in found {
        ids.sort_unstable();
        assert!(ids == expected, "{blob}: {} rows, {} expected", ids.len(), expected.len());
    }
    let mut refused: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in account.rows("big__quarantine", None).await {
        let blob = row.split('|').nth(1).unwrap().to_owned();
        assert!(refused.entry(blob).or_default().insert(row.clone()), "doubled: {row}");
    }
    let counts: Vec<_> = refused.iter().map(|(blob, rows)| (blob, rows.len())).collect();
    let expected = (0..lines).filter(|id| id % 1_000 == 7).count();
    assert!(counts.len() == blobs && counts.iter().all(|(_, rows)| *rows == expected), "{expected} each: {counts:?}");
}

/// In two parts, and in two pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_dies_at_any_write_of_a_large_blob_leaves_each_record_once() {
    for (contract, lines, width, least) in [(in_parts(), 6_000, 250, 24), (in_pieces(), 10_000, 2_000, 12)] {
        let account = Account::new().await;
        account.contract("big", &contract);
        let (content, mut blobs) = (big(lines, width), 0);
        let deaths = die_at_each_write(&account, async |path| {
            blobs += 1;
            let path = format!("big/{path}");
            let etag = account.upload(&path, content.clone()).await;
            EventGrid.event(&path, &etag)
        })
        .await;
        println!("{deaths} deaths");
        assert!(deaths >= least, "an outline, notes, their files, two commits, and notes that go: {deaths}");
        big_is_whole(&account, blobs, lines).await;
        // Who died over the deletion of its notes leaves some, for maintenance.
        let notes = account.notes("big").await;
        let folders: BTreeSet<_> = notes.keys().map(|note| note.rsplit_once('/').unwrap().0).collect();
        assert!((1..=6).contains(&folders.len()), "{folders:?}");
        let status = account.handler(None).await.status().await;
        assert_eq!(dataset(&status, "big")["inProgress"], json!([]), "nobody is at work on what is committed");
    }
}

/// An invocation that runs out of time hands the rest on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_takes_too_long_is_handed_on() {
    const LINES: u32 = 80_000;
    let account = Account::new().await;
    account.contract("big", &in_pieces());
    let etag = account.upload("big/a.csv", big(LINES, 500)).await;
    let event = EventGrid.event("big/a.csv", &etag);
    let gates = Gates::before(account.blob_url()).await;
    let reads = |method: &Method, path: &str| *method == Method::GET && path.ends_with("/big/a.csv");
    let read = gates.hold_after(2, Moment::After, reads);
    // At half of it, what is left is handed on.
    let handler = account.handler_with(Some(&gates), &[("WEIR_DEADLINE_S", "6")]).await;
    let slow = async {
        read.reached().await;
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        read.open();
    };
    let (first, ()) = tokio::join!(handler.queue("ingest_blob", event.as_bytes()), slow);
    // On a slow machine it is the deadline itself: the queue delivers again, and what is noted stays.
    assert!(first.status == 500 || first.receipt()["outcome"] == "handedOn", "{}", first.text);
    let mut waiting = VecDeque::from(match first.status {
        200 => tasks(&first).into_iter().map(|task| ("run_task", task.to_string())).collect(),
        _ => vec![("ingest_blob", event)],
    });
    let mut steps = 0;
    while let Some((function, message)) = waiting.pop_front() {
        steps += 1;
        assert!(steps < 100, "it does not come to an end");
        let answer = handler.queue(function, message.as_bytes()).await;
        match answer.status {
            200 => waiting.extend(tasks(&answer).into_iter().map(|task| ("run_task", task.to_string()))),
            _ => waiting.push_back((function, message)),
        }
    }
    big_is_whole(&account, 1, LINES).await;
    assert_eq!(account.notes("big").await, BTreeMap::new());
    balanced(&handler).await;
}

/// Two instances read one stream and cut it differently, as two versions of the app might. The notes that were there first
/// stand, and the other instance goes on where they end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_followed_as_whoever_was_first_has_cut_it() {
    const LINES: u32 = 110_000;
    let account = Account::new().await;
    // Chunks are of 16 MiB: a piece has two of them, or one.
    let cut = |bytes: &str| in_pieces().replace("1_048_576", bytes);
    let content = big(LINES, 500);
    let etag = account.upload("big/a.csv", content).await;
    let event = EventGrid.event("big/a.csv", &etag);
    let until = async |bytes: &str, note: &'static str| {
        account.contract("big", &cut(bytes));
        let gates = Gates::before(account.blob_url()).await;
        let gate = gates.hold(Method::PUT, note, Moment::Before);
        let handler = account.handler(Some(&gates)).await;
        tokio::select! {
            answer = handler.queue("ingest_blob", event.as_bytes()) => panic!("{}", answer.text),
            () = gate.reached() => handler.kill(),
        }
    };
    // The rest is the second piece, which is committed without a note.
    until("25_165_824", "_delta_log/00000000000000000001.json").await;
    let mut first = account.notes("big").await;
    first.retain(|name, _| name.ends_with("piece-000000"));
    let standing = first.into_values().next().unwrap();
    until("1_048_576", "piece-000000").await;
    let own: Vec<_> = account.notes("big").await.into_keys().collect();
    let folder = own
        .iter()
        .map(|name| name.rsplit_once('/').unwrap().0)
        .find(|folder| !own.contains(&format!("{folder}/piece-000000")));
    let note = format!("{}/piece-000000", folder.unwrap());

    let gates = Gates::before(account.blob_url()).await;
    let read = gates.hold(Method::GET, "/landing/big/a.csv", Moment::After);
    let second = gates.hold(Method::PUT, "piece-000001", Moment::Before);
    let handler = account.handler(Some(&gates)).await;
    let others = async {
        // It has seen no note.
        read.reached().await;
        account.put_note(&note, standing.clone()).await;
        read.open();
        second.reached().await;
        assert_eq!(account.notes("big").await[&note], standing, "a note that stood was overwritten");
        second.open();
    };
    let (receipt, ()) = tokio::join!(handler.ingest(event.as_bytes()), others);
    assert_eq!(receipt["outcome"], "committed", "{receipt}");
    assert_eq!(receipt["books"]["recordsIn"], json!(LINES));
    assert_eq!(receipt["dataset"], Value::from("big"));
    big_is_whole(&account, 1, LINES).await;
}
