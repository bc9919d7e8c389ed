//! `function.json` and `host.json` against the host's rules, the code and the contracts.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_contract::Source;

use super::{bindings, contracts, functions, is_trigger, text};

/// The host's `^[a-z][a-z0-9_\-]{0,127}$`; without the hyphen, since a folder is also a Rust module.
fn is_function_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

/// The host's `^[a-zA-Z][a-zA-Z0-9]{0,127}$`, or `$return`.
fn is_binding_name(name: &str) -> bool {
    name == "$return"
        || (name.len() <= 128
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric()))
}

#[test]
fn names_are_what_the_host_accepts() {
    for (function, manifest) in functions() {
        assert!(is_function_name(&function) && function != "host", "{function}");
        let names: Vec<&str> = bindings(&manifest).map(|binding| binding["name"].as_str().unwrap()).collect();
        assert!(names.iter().all(|name| is_binding_name(name)), "{function}: {names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{function}: {names:?}");
        assert_eq!(bindings(&manifest).filter(|binding| is_trigger(binding)).count(), 1, "{function}");
        for binding in bindings(&manifest) {
            let direction = if is_trigger(binding) { "in" } else { "out" };
            assert_eq!(binding["direction"], direction, "{function}: {}", binding["name"]);
        }
    }
}

/// The binary makes the app's folder from what is built into it.
#[test]
fn every_function_is_built_in_and_answered() {
    let (app_root, router) = (text("functions/app_root.rs"), text("functions/router.rs"));
    for (function, _) in functions() {
        let entry = format!("(\"{function}\", include_str!(\"{function}/function.json\"))");
        assert!(app_root.contains(&entry), "functions/app_root.rs lacks {entry}");
        let event_function = function.strip_prefix("ingest_").filter(|name| contracts().get(name).is_some());
        if event_function.is_none() {
            assert!(router.contains(&format!("{function}\"")), "functions/router.rs does not answer {function}");
        }
    }
    let built_in = app_root.matches("/function.json\")),").count();
    assert_eq!(built_in, functions().len(), "functions/app_root.rs builds in what is no function");
}

#[test]
fn triggers_bring_bytes_and_events_are_retried_without_end() {
    for (function, manifest) in functions() {
        for binding in bindings(&manifest) {
            match binding["type"].as_str().unwrap() {
                "queueTrigger" => assert_eq!(binding["dataType"], "binary", "{function}"),
                "eventHubTrigger" => {
                    assert_eq!(binding["dataType"], "binary", "{function}");
                    assert_eq!(binding["cardinality"], "many", "{function}");
                    // The host checkpoints a batch that failed for good: it must never fail for good.
                    assert_eq!(manifest["retry"]["maxRetryCount"], -1, "{function}");
                }
                "timerTrigger" => assert!(binding["schedule"].is_string(), "{function}"),
                "httpTrigger" => assert_eq!(binding["authLevel"], "function", "{function} is open to anybody"),
                "queue" | "http" => {}
                other => panic!("{function}: a {other} binding is new: say here what it must have"),
            }
        }
        // Elsewhere the host ignores it, or retries what the queue retries.
        let has_events = bindings(&manifest).any(|binding| binding["type"] == "eventHubTrigger");
        assert_eq!(manifest.get("retry").is_some(), has_events, "{function}");
    }
}

/// A task that is handed out is one that some function takes.
#[test]
fn queue_outputs_have_a_reader() {
    let read: BTreeSet<(String, String)> = queues("queueTrigger");
    let written: BTreeSet<(String, String)> = queues("queue");
    assert!(!written.is_empty());
    assert!(written.is_subset(&read), "written {written:?}, read {read:?}");
}

fn queues(kind: &str) -> BTreeSet<(String, String)> {
    let functions = functions();
    let all = functions.iter().flat_map(|(_, manifest)| bindings(manifest)).filter(|binding| binding["type"] == kind);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|binding| (text(&binding["queueName"]), text(&binding["connection"]))).collect()
}

#[test]
fn event_functions_are_those_of_the_contracts() {
    let mut declared = BTreeSet::new();
    for contract in contracts().iter() {
        if let Source::Events { hub, consumer_group, .. } = &contract.source {
            declared.insert((format!("ingest_{}", contract.name), hub.clone(), consumer_group.clone()));
        }
    }
    let mut found = BTreeSet::new();
    for (function, manifest) in functions() {
        for binding in bindings(&manifest).filter(|binding| binding["type"] == "eventHubTrigger") {
            let text = |key: &str| binding[key].as_str().unwrap().to_owned();
            found.insert((function.clone(), text("eventHubName"), text("consumerGroup")));
        }
    }
    assert_eq!(found, declared);
}

#[test]
fn the_host_is_told_what_the_handler_relies_on() {
    let host = super::json("host.json");
    assert_eq!(host["version"], "2.0");
    // The handler's deadline comes from it; without it the host would wait for ever on some plans.
    let timeout = host["functionTimeout"].as_str().unwrap();
    let parts: Vec<u64> = timeout.split(':').map(|part| part.parse().unwrap()).collect();
    assert!(matches!(parts[..], [0, minutes, 0] if (5..=30).contains(&minutes)), "{timeout}");

    let handler = &host["customHandler"];
    assert_eq!(handler["description"]["defaultExecutablePath"], "handler");
    assert_eq!(handler["description"]["arguments"], json!(["serve"]));
    assert_eq!(handler["enableForwardingHttpRequest"], true);
    // Outputs are written with this; Event Grid writes base64.
    assert_eq!(host["extensions"]["queues"]["messageEncoding"], "base64");
    assert_eq!(host["extensions"]["eventHubs"]["batchCheckpointFrequency"], 1);
    assert!(host["extensionBundle"]["id"].is_string(), "triggers other than HTTP and timer need the bundle");
}
