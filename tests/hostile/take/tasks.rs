//! Messages of the queue `tasks`: refused, or what they ask for is what the contracts have, by a second reading of both.

use std::sync::LazyLock;

use serde_json::Value;
use weir::messages::judge;
use weir_contract::{Contracts, Source};

pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(crate) const OTHER: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub(crate) const NOW_MS: i64 = 1_764_547_200_000;
/// Bytes of the longest reason. It names the contract's things, and none of the message's.
const MAX_REASON: usize = 400;

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
    let blobs = |name: &str, path: &str| {
        let source = format!("kind = 'blob', container = 'landing', path = '{path}'");
        contract(name, &format!("source = {{ {source} }}"))
    };
    let clicks = contract("clicks", "source = { kind = 'events', hub = 'clicks' }");
    let derived = "[derived]\nfollows = 'orders'\nby = 'id'\nsql = 'SELECT id FROM orders'\n";
    let totals =
        ("totals.toml".to_owned(), format!("name = 'totals'\n{derived}[[columns]]\nname = 'id'\ntype = 'long'\n"));
    Contracts::parse_all(vec![blobs("orders", "orders/**/*.csv"), blobs("people", "people/*.ndjson"), clicks, totals])
        .unwrap()
});

fn contract(name: &str, source: &str) -> (String, String) {
    let columns = "columns = [{ name = 'id', type = 'long' }]";
    (format!("{name}.toml"), format!("name = '{name}'\n{source}\n{columns}\n"))
}

pub(crate) fn message(input: &[u8]) {
    let unsigned = judge(input, &CONTRACTS, None, NOW_MS);
    let signed = judge(input, &CONTRACTS, Some(KEY), NOW_MS);
    for judged in [&unsigned, &signed] {
        match judged {
            Ok(task) => allowed(task),
            Err(reason) => assert!(!reason.is_empty() && reason.len() <= MAX_REASON, "{reason}"),
        }
    }
    // What is signed well is no worse than what nobody signed, and a task by itself is never signed.
    if let Ok(task) = &signed {
        assert_eq!(unsigned.as_ref(), Ok(task));
        assert!(judge(task.as_bytes(), &CONTRACTS, Some(KEY), NOW_MS).is_err(), "nobody signed this: {task}");
        assert!(judge(input, &CONTRACTS, Some(OTHER), NOW_MS).is_err(), "signed with another key: {task}");
        assert!(judge(input, &CONTRACTS, Some(KEY), NOW_MS + 16 * 86_400_000).is_err(), "too old: {task}");
    }
    // What this version writes is what it reads.
    if let Ok(task) = &unsigned {
        assert_eq!(judge(task.as_bytes(), &CONTRACTS, None, NOW_MS).as_ref(), Ok(task));
    }
}

/// Asks the contracts itself.
fn allowed(task: &str) {
    let task: Value = serde_json::from_str(task).unwrap();
    let text = |key: &str| task[key].as_str();
    let kind = text("task").unwrap();
    if kind == "retry" {
        let parked = text("parked").unwrap();
        assert!(parked.len() < 64 && !parked.contains(".."), "{task}");
        return;
    }
    let contract = CONTRACTS.get(text("dataset").unwrap()).unwrap_or_else(|| panic!("no such dataset: {task}"));
    for key in ["etag", "request"] {
        let word = |id: &str| !id.is_empty() && id.len() <= 200 && id.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(text(key).is_none_or(word), "{task}");
    }
    match kind {
        "maintain" => {}
        "replay" => {
            assert!(matches!(contract.source, Source::Events { .. }), "{task}");
            let bounds = ["from", "to", "since_ms", "until_ms"].map(|key| task["window"][key].as_i64());
            assert!(bounds.iter().flatten().all(|bound| (0..=1 << 53).contains(bound)), "{task}");
            assert!(task["partition"].as_u64().is_some_and(|partition| partition < 4_096), "{task}");
        }
        "ingest_blob" | "ingest_part" | "remove_blob" => {
            let Source::Blob { container, .. } = &contract.source else { panic!("no dataset of blobs: {task}") };
            let path = text("path").unwrap();
            assert_eq!(text("container"), Some(container.as_str()), "{task}");
            let (folder, end) = if contract.name == "orders" { ("orders/", ".csv") } else { ("people/", ".ndjson") };
            assert!(path.starts_with(folder) && path.ends_with(end), "{task}");
            if kind == "ingest_part" {
                let number = |key: &str| task["part"][key].as_u64().unwrap();
                assert!(number("part") < number("parts") && number("parts") <= 10_000, "{task}");
                assert!(text("etag").is_some(), "{task}");
            }
        }
        "sweep" | "reprocess" | "vanished" => {
            assert!(matches!(contract.source, Source::Blob { .. }), "{task}");
            let (prefix, folder) = (text("prefix").unwrap_or_default(), format!("{}/", contract.name));
            assert!(prefix.starts_with(&folder) || folder.starts_with(prefix), "{task}");
        }
        _ => panic!("a task that nobody knows passes: {task}"),
    }
}
