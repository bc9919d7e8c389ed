//! Names of blobs on a real storage service, where they may be what no file can be called.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::{StreamExt, stream};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::account::Account;
use crate::app::names::{FOLDER, ODD, event, follow, names, paths, sweep, tasks};
use crate::azurite::{ACCOUNT, KEY};
use crate::support::repository;

/// Everything but these is encoded; a slash stays, however often it comes.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Puts a blob under any name. Its etag; `None` when the service refuses the name.
async fn put(account: &Account, client: &reqwest::Client, name: &str, content: &str) -> Option<String> {
    let url = format!("{}/landing/{}", account.blob_url(), utf8_percent_encode(name, PATH));
    let mut request = HttpRequest::new(HttpRequestBody::from(content.to_owned()));
    *request.method_mut() = reqwest::Method::PUT;
    *request.uri_mut() = url.parse().unwrap();
    request.headers_mut().insert("x-ms-blob-type", "BlockBlob".parse().unwrap());
    request.headers_mut().insert("content-length", content.len().into());
    let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).unwrap());
    AzureAuthorizer::new(&key, ACCOUNT).authorize(&mut request);
    let answer = client.call(request).await.unwrap();
    let etag = answer.headers().get("etag").and_then(|etag| Some(etag.to_str().ok()?.trim_matches('"').to_owned()));
    etag.filter(|_| answer.status() == 201)
}

/// What a file system cannot hold, or not beside the others.
fn further() -> Vec<String> {
    let folder = FOLDER.to_owned();
    let mut names = vec!["a//b", "/lead", "//", "trail/", "x///y/", "raw:/a", "both", "both/a", "é", "e\u{301}"];
    names.extend(["\u{85}", "\u{fffd}", "t\tt", "n\nn", "c\rc"]);
    let mut names: Vec<String> = names.into_iter().map(|name| format!("{folder}{name}")).collect();
    // 1,024 characters; 254 segments.
    names.push(format!("{folder}{}", "l".repeat(1_024 - folder.chars().count())));
    names.push(format!("{folder}{}", vec!["s"; 253].join("/")));
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_double_slash_name() {
    let folder = repository().join("tests/data/cases/files/double_slash_name");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let (account, client) = (Account::new().await, reqwest::Client::new());
    account.contract("t", &read("contract.toml"));
    let handler = account.handler(None).await;
    put(&account, &client, "sales/a.csv", &read("a.csv")).await.unwrap();
    let etag = put(&account, &client, "sales//b.csv", &read("b.csv")).await.unwrap();
    let found = follow(&handler, sweep("t")).await;
    assert_eq!(paths(&found), ["sales//b.csv", "sales/a.csv"]);
    assert_eq!(handler.ingest(&event("sales//b.csv", &etag)).await["outcome"], "committed");
    for task in &found {
        assert_eq!(handler.queue("run_task", task.to_string().as_bytes()).await.status, 200);
    }
    let mut rows = account.rows("t", Some("id")).await;
    rows.retain(|row| row.starts_with("t|"));
    let mut ids: Vec<_> =
        rows.iter().map(|row| (row.split('|').nth(1).unwrap(), row.rsplit('|').next().unwrap())).collect();
    ids.sort_unstable();
    assert_eq!(ids, [("blob:landing/sales//b.csv", "2"), ("blob:landing/sales/a.csv", "1")]);
    assert_eq!(handler.status().await["parkedCount"], 0);
    // What Azurite takes and cannot list: its event is enough.
    let etag = put(&account, &client, "sales/\u{1}\u{7}.csv", "id\n3\n").await.unwrap();
    assert_eq!(handler.ingest(&event("sales/\u{1}\u{7}.csv", &etag)).await["outcome"], "committed");
}

/// Whether a name stays what it is: storage makes `/` of `\`; and Azurite answers 500 to a listing in which a name has what
/// XML cannot hold.
fn stays(name: &str) -> bool {
    name.chars().all(|character| character >= ' ' && character != '\\' || matches!(character, '\t' | '\n' | '\r'))
}

/// Names of which the two know only one.
fn differences(left: &[String], right: &[String]) -> Vec<String> {
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (left.iter().collect(), right.iter().collect());
    left.symmetric_difference(&right).map(|name| format!("{name:?}")).collect()
}

/// For any name that Azurite takes: event, sweep, reprocess and status agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_a_blob_takes_the_same_name_here_too() {
    let (account, client) = (Account::new().await, reqwest::Client::new());
    account.contract("odd", ODD);
    let handler = account.handler(None).await;
    let (mut held, mut refused) = (Vec::new(), Vec::new());
    for (number, name) in names(5, 220).into_iter().chain(further()).filter(|name| stays(name)).enumerate() {
        match put(&account, &client, &name, &format!("id\n{number}\n")).await {
            Some(etag) => held.push((number, name, etag)),
            None => refused.push(name),
        }
    }
    println!("Azurite refuses {refused:?}");
    assert!(refused.len() < 8, "{refused:?}");
    let by_event = |number: usize| number.is_multiple_of(3);
    for (number, name, etag) in held.iter().filter(|(number, ..)| by_event(*number)) {
        assert_eq!(handler.ingest(&event(name, etag)).await["outcome"], "committed", "{number} {name:?}");
    }
    let swept = follow(&handler, sweep("odd")).await;
    let mut expected: Vec<_> =
        held.iter().filter(|(number, ..)| !by_event(*number)).map(|(_, name, _)| name.clone()).collect();
    expected.sort();
    assert_eq!(differences(&paths(&swept), &expected), Vec::<String>::new());
    assert_eq!(swept.len(), expected.len());
    for task in &swept {
        let done = handler.queue("run_task", task.to_string().as_bytes()).await.receipt();
        assert_eq!(done["outcome"], "committed", "{task}");
    }
    let rows: BTreeSet<String> = account.rows("odd", Some("id")).await.into_iter().collect();
    let expected: BTreeSet<String> =
        held.iter().map(|(number, name, etag)| format!("odd|blob:landing/{name}|{etag}|1|{number}")).collect();
    assert_eq!(rows, expected);
    assert_eq!(follow(&handler, sweep("odd")).await, Vec::<Value>::new());
    let order = json!({ "task": "reprocess", "dataset": "odd", "prefix": FOLDER, "request": "r1" });
    let mut all: Vec<_> = held.iter().map(|(_, name, _)| name.clone()).collect();
    all.sort();
    assert_eq!(paths(&follow(&handler, order).await), all);
    assert_eq!(handler.status().await["balanced"], true);
}

/// However many are missing, each is handed out once, in answers of a few hundred, and the chain of sweeps ends.
/// `WEIR_TEST_NAMES` is how many; 100,000 take some minutes, most of them Azurite's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_missing_names_are_handed_out_once_each() {
    let count: usize = std::env::var("WEIR_TEST_NAMES").map_or(6_500, |count| count.parse().unwrap());
    let (account, client) = (Account::new().await, reqwest::Client::new());
    account.contract("odd", ODD);
    let kinds: Vec<_> = names(7, 150).into_iter().filter(|name| stays(name)).collect();
    let all: Vec<String> = (0..count)
        .map(|number| match number % 50 {
            0 => format!("{FOLDER}d{number}//x"),
            1 => format!("{FOLDER}d{number}/"),
            _ => format!("{}-{number}", kinds[number % kinds.len()]),
        })
        .collect();
    let began = Instant::now();
    let (own, client) = (&account, &client);
    let put = stream::iter(&all).map(|name| async move { put(own, client, name, "id\n1\n").await.is_some() });
    let held: Vec<bool> = put.buffered(32).collect().await;
    let uploaded = began.elapsed();
    let mut expected: Vec<_> = all.iter().zip(held).filter(|(_, held)| *held).map(|(name, _)| name.clone()).collect();
    assert!(expected.len() > count * 9 / 10, "Azurite took {} of {count}", expected.len());
    expected.sort();
    let handler = account.handler(None).await;
    let began = Instant::now();
    let found = paths(&follow(&handler, sweep("odd")).await);
    println!("{count} names: {uploaded:?} to upload, {:?} to sweep", began.elapsed());
    assert_eq!(found.len(), expected.len());
    assert_eq!(differences(&found, &expected), Vec::<String>::new());
    let again = handler.queue("run_task", sweep("odd").to_string().as_bytes()).await;
    assert!(tasks(&again).len() <= 301);
}
