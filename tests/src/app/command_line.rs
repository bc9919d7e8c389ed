//! The commands: what they print, and how they exit.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::handler::{Handler, free_port};
use super::site::{ORDERS, Site, read_json};
use crate::support::{repository, weir_binary};

const PATIENCE: Duration = Duration::from_secs(30);

/// Exit code, stdout, stderr.
pub(super) fn weir(site: &Site, arguments: &[&str], extra: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(weir_binary());
    command.args(arguments).env_clear().envs(site.settings()).envs(extra.iter().copied()).current_dir(site.path(""));
    let (stdout, stderr) = (site.path("stdout"), site.path("stderr"));
    command.stdin(Stdio::null()).stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
    let (mut child, began) = (command.spawn().unwrap(), Instant::now());
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code().unwrap(),
            None if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            None => {
                child.kill().unwrap();
                panic!("weir {arguments:?} does not end");
            }
        }
    };
    (code, fs::read_to_string(stdout).unwrap(), fs::read_to_string(stderr).unwrap())
}

#[test]
fn check_names_every_contract_that_is_sound() {
    let site = Site::new();
    let (code, stdout, stderr) = weir(&site, &["check"], &[]);
    assert_eq!((code, &*stderr), (0, ""));
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{stdout}");
    assert_eq!(lines[0], "clicks: ok: events of clicks (consumer group weir); 1 columns, 0 personal, 3 rules");
    assert!(
        lines[2].starts_with("people: ok: blobs landing/{people/*.ndjson}; 4 columns, 3 personal, 1 rules"),
        "{stdout}"
    );
    // The contracts that are shipped, by folder.
    let shipped = repository().join("shared/datasets");
    let (code, stdout, _) = weir(&site, &["check", shipped.to_str().unwrap(), "--json"], &[]);
    assert_eq!(code, 0, "{stdout}");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    let names = ["clickstream", "customers", "daily_sales", "hourly_sensors", "sales", "sensors"];
    assert_eq!(found, json!({ "valid": true, "datasets": names, "errors": [], "notes": [] }));
}

#[test]
fn an_impossible_contract_is_explained_and_not_served() {
    // What is wrong, and what the message must say.
    let cases = [
        (ORDERS.replace("amount > 0", "amuont > 0"), ["orders.toml", "amount_is_positive", "amuont"]),
        (ORDERS.replace("amount > 0", "amount >"), ["orders.toml", "amount_is_positive", "expression"]),
        (ORDERS.replace("amount > 0", "sum(amount) > 0"), ["orders.toml", "amount_is_positive", "one record"]),
        (ORDERS.replace("amount > 0", "amount + 1"), ["orders.toml", "amount_is_positive", "boolean"]),
        (ORDERS.replace("amount > 0", "(SELECT 1) > 0"), ["orders.toml", "amount_is_positive", "rule"]),
        (ORDERS.replace("nullable = false", "nulable = false"), ["orders.toml:12", "nulable", "nullable"]),
        (ORDERS.replace("decimal(12,2)", "decimal(99,2)"), ["orders.toml:15", "type", "99"]),
    ];
    for (contract, parts) in cases {
        let site = Site::new();
        site.contract("orders", &contract);
        let (code, stdout, _) = weir(&site, &["check"], &[]);
        assert_eq!(code, 1);
        for part in parts {
            assert!(stdout.contains(part), "check does not say {part:?}: {stdout}");
        }
        let (code, stdout, _) = weir(&site, &["check", "--json"], &[]);
        let found: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &found["valid"]), (1, &json!(false)));
        assert!(found["errors"][0].to_string().contains(parts[1]), "{found}");
        let port = free_port().to_string();
        let (code, _, stderr) = weir(&site, &["serve"], &[("FUNCTIONS_CUSTOMHANDLER_PORT", &port)]);
        assert_eq!(code, 1, "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "serve does not say {part:?}: {stderr}");
        }
        assert!(!site.path("lake").exists());
    }
}

#[test]
fn settings_that_are_wrong_are_told_by_name() {
    let site = Site::new();
    let cases: [(&[&str], &str, &str, &str); 5] = [
        (&["serve"], "WEIR_LAKE_ULR", "x", "did you mean `WEIR_LAKE_URL`?"),
        (&["status"], "WEIR_DEADLINE_S", "soon", "setting `WEIR_DEADLINE_S`: must be a whole number"),
        (&["status"], "WEIR_DATASETS", "/nowhere/at/all", "read contracts from /nowhere/at/all"),
        (&["status"], "WEIR_PSEUDONYM_KEY", "hunter2", "neither hex nor base64"),
        (&["serve"], "WEIR_LOG", "info", "FUNCTIONS_CUSTOMHANDLER_PORT is not set"),
    ];
    for (arguments, key, value, message) in cases {
        let (code, stdout, stderr) = weir(&site, arguments, &[(key, value)]);
        assert_eq!((code, &*stdout), (1, ""), "{key}: {stderr}");
        assert!(stderr.starts_with("weir: ") && stderr.contains(message), "{key}: {stderr}");
        assert!(!stderr.contains("hunter2"));
    }
    let (code, _, stderr) = weir(&site, &["serv"], &[]);
    assert!(code == 2 && stderr.contains("serve"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_prints_the_books() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let message = site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n2,-1.00,b\n3,1.00,c\n").await;
    handler.ingest(&message).await;
    let (code, stdout, stderr) = weir(&site, &["status", "--json"], &[]);
    assert_eq!((code, &*stderr), (0, ""));
    let printed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(printed, handler.status().await);
    let (code, stdout, _) = weir(&site, &["status"], &[]);
    assert_eq!(code, 0);
    let orders = stdout.lines().find(|line| line.starts_with("orders")).unwrap();
    let columns: Vec<_> = orders.split_whitespace().collect();
    assert_eq!(columns, ["orders", "3", "43", "2", "1", "2", "1", "1", "0", "yes"], "{stdout}");
}

#[test]
fn package_makes_the_folder_that_is_deployed() {
    let site = Site::new();
    let shipped = repository().join("shared/datasets");
    let (code, stdout, stderr) = weir(&site, &["package", "dist", "--datasets", shipped.to_str().unwrap()], &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("6 contracts"), "{stdout}");
    assert!(weir(&site, &["package", "mine"], &[]).1.contains("4 contracts of datasets"), "the folder that is there");
    let dist = site.path("dist");
    assert_eq!(read_json(&dist.join("host.json")), read_json(&repository().join("host.json")));
    // Every function of the repository is there, and its manifest is the repository's.
    for entry in fs::read_dir(repository().join("functions")).unwrap() {
        let entry = entry.unwrap().path();
        if entry.join("function.json").is_file() {
            let packaged = dist.join(entry.file_name().unwrap()).join("function.json");
            assert_eq!(read_json(&packaged), read_json(&entry.join("function.json")));
        }
    }
    assert!(dist.join("datasets/sales.toml").is_file());
    let handler = fs::metadata(dist.join("handler")).unwrap();
    assert_eq!(handler.permissions().mode() & 0o111, 0o111, "the host could not start it");
    let (code, _, stderr) = weir(&site, &["package", "dist"], &[]);
    assert!(code == 1 && stderr.contains("is not empty"), "{stderr}");
    // One's own datasets; an event dataset gets a function with its hub.
    let (code, _, stderr) = weir(&site, &["package", "own", "--datasets", "datasets"], &[]);
    assert_eq!(code, 0, "{stderr}");
    let manifest = read_json(&site.path("own/ingest_clicks/function.json"));
    assert_eq!(manifest["bindings"][0]["eventHubName"], "clicks");
    assert_eq!(manifest["retry"]["maxRetryCount"], -1);
    assert!(!site.path("own/ingest_sensors").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_ingests_what_is_dropped_and_stops_on_ctrl_c() {
    let site = Site::new();
    let port = free_port();
    let mut command = Command::new(weir_binary());
    command.args(["dev", "--dir", "work", "--datasets", "datasets", "--port", &port.to_string()]);
    command.args(["--amqp-port", "0"]);
    command.current_dir(site.path("")).env_clear().env("PATH", "/usr/bin:/bin");
    let output = File::create(site.path("dev.log")).unwrap();
    let mut dev = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    wait_for(async || reqwest::get(&url).await.is_ok(), "the host does not answer").await;

    let landing = site.path("work/landing/landing/orders");
    fs::create_dir_all(&landing).unwrap();
    fs::write(landing.join("a.csv.part"), "id,amount,note\n1,1.00,a\n2,-1.00,b\n").unwrap();
    fs::rename(landing.join("a.csv.part"), landing.join("a.csv")).unwrap();
    reqwest::Client::new().post(format!("{url}/eventhubs/clicks/messages")).body("{\"n\":1}").send().await.unwrap();
    let keys = read_json(&site.path("work/host/host-keys.json"));
    let status = format!("{url}/api/status?code={}", keys["functionKey"].as_str().unwrap());
    let ingested = async || {
        let books: Value = reqwest::get(&status).await.unwrap().json().await.unwrap();
        let records = |name| {
            let dataset = books["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == name).unwrap();
            dataset["table"]["books"]["recordsIn"].clone()
        };
        (records("orders"), records("clicks")) == (json!(2), json!(1))
    };
    wait_for(ingested, "the file and the event do not arrive").await;

    let interrupt = Command::new("kill").args(["-INT", &dev.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    wait_for(async || dev.try_wait().unwrap().is_some(), "it does not stop").await;
    let log = fs::read_to_string(site.path("dev.log")).unwrap();
    assert!(dev.wait().unwrap().success(), "{log}");
    assert!(log.contains("Ctrl-C stops"), "{log}");
}

async fn wait_for(mut condition: impl AsyncFnMut() -> bool, what: &str) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
