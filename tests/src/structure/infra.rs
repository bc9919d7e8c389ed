//! Names that Terraform and the app both write. A name that differs is a function that is never fired.

use std::collections::BTreeSet;

use super::{bindings, contracts, files, functions, text};
use weir_contract::Source;

/// The string literals of `name = …` in HCL: one, or a list.
fn local(hcl: &str, name: &str) -> BTreeSet<String> {
    let mut definitions = hcl.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    let value = definitions.next().unwrap_or_else(|| panic!("no `{name}` in Terraform"));
    assert_eq!(definitions.next(), None, "`{name}` is defined twice");
    value.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The values of a key of all bindings of these types.
fn named(types: &[&str], key: &str) -> BTreeSet<String> {
    let functions = functions();
    let all = functions.iter().flat_map(|(_, manifest)| bindings(manifest));
    let chosen = all.filter(|binding| types.contains(&binding["type"].as_str().unwrap()));
    chosen.map(|binding| binding[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn queues_are_made_with_their_poison_queues() {
    let names = text("infra/names.tf");
    let queues = named(&["queueTrigger", "queue"], "queueName");
    // The host makes no poison queue of a poison queue.
    let poison = queues.iter().filter(|queue| !queue.ends_with("-poison")).map(|queue| format!("{queue}-poison"));
    let needed: BTreeSet<String> = queues.iter().cloned().chain(poison).collect();
    assert_eq!(local(&names, "queues"), needed);
    let events = local(&names, "blob_event_queue");
    let (_, ingest) = functions().into_iter().find(|(name, _)| name == "ingest_blob").unwrap();
    assert!(events.contains(ingest["bindings"][0]["queueName"].as_str().unwrap()), "{events:?}");
}

#[test]
fn hubs_and_consumer_groups_are_made() {
    let names = text("infra/names.tf");
    assert_eq!(local(&names, "event_hubs"), named(&["eventHubTrigger"], "eventHubName"));
    assert_eq!(local(&names, "event_hub_reader_group"), named(&["eventHubTrigger"], "consumerGroup"));
}

#[test]
fn blobs_are_announced_from_where_the_contracts_expect_them() {
    let contracts = contracts();
    let containers = contracts.iter().filter_map(|contract| match &contract.source {
        Source::Blob { container, .. } => Some(container.clone()),
        Source::Events { .. } | Source::Derived(_) => None,
    });
    assert_eq!(local(&text("infra/names.tf"), "landing_container"), containers.collect());
}

/// Each connection is an identity and an address: `<name>__accountName` and so on, never a connection string.
#[test]
fn connections_have_their_settings() {
    let settings = text("infra/settings.tf");
    let (_, block) = settings.split_once("connections = {").unwrap();
    let (block, _) = block.split_once("\n  }").unwrap();
    let defined: Vec<(&str, &str)> =
        block.lines().filter_map(|line| line.split_once('=').map(|(name, value)| (name.trim(), value))).collect();
    let used = named(&["queueTrigger", "queue", "eventHubTrigger"], "connection");
    let names: BTreeSet<String> = defined.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(used.is_subset(&names), "used {used:?}, set {names:?}");
    for (name, value) in defined {
        let address = ["accountName", "queueServiceUri", "fullyQualifiedNamespace"];
        assert!(address.iter().any(|key| value.contains(key)), "{name} has no address");
        assert!(value.contains("managed_identity"), "{name} has no identity");
    }
    let (_, others) = settings.split_once("app_settings = merge(").unwrap();
    assert!(!others.contains("AzureWebJobsStorage"), "the host would prefer a connection string to the identity");
}

/// A key that the app does not know stops it at start.
#[test]
fn settings_are_known_to_the_app() {
    let settings = text("infra/settings.tf");
    let written = settings.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let written: BTreeSet<&str> = written.filter(|key| key.starts_with("WEIR_")).collect();
    let known = super::sources::setting_keys();
    assert!(written.contains("WEIR_LAKE_URL"));
    for key in written {
        assert!(known.contains(key), "infra/settings.tf sets {key}, which the app refuses");
    }
}

#[test]
fn nothing_secret_or_generated_is_committed() {
    for path in files("infra", "tf") {
        let text = text(&path);
        for secret in ["AccountKey=", "SharedAccessKey=", "password =", "client_secret"] {
            assert!(!text.contains(secret), "{}: {secret}", path.display());
        }
    }
}
