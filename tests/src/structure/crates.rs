//! Directions of dependencies, and what must never be in the graph, over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::support::repository;

/// Which crates of the workspace each crate may know. `weir` is the top, `weir_tests` looks at all.
const ARROWS: [(&str, &[&str]); 13] = [
    ("azure_functions_custom_handler", &[]),
    ("event_hubs_service", &[]),
    ("functions_host", &["event_hubs_service"]),
    ("weir_contract", &[]),
    ("weir_platform", &[]),
    ("weir_intake", &["weir_contract"]),
    ("weir_transform", &["weir_contract"]),
    ("weir_infer", &["weir_contract", "weir_transform"]),
    ("weir_lake", &["weir_contract"]),
    ("weir_derived", &["weir_contract", "weir_lake", "weir_transform"]),
    ("weir_warehouse", &["weir_contract"]),
    ("weir", &SHARED),
    ("weir_tests", &ALL),
];

/// What the tests and examples of a crate may know beside that: a handler and a host show that they fit together.
const IN_TESTS: [(&str, &str); 2] =
    [("azure_functions_custom_handler", "functions_host"), ("functions_host", "azure_functions_custom_handler")];

const ALL: [&str; 12] = {
    let mut all = ["weir"; 12];
    let mut at = 0;
    while at < SHARED.len() {
        all[at] = SHARED[at];
        at += 1;
    }
    all
};

const SHARED: [&str; 11] = [
    "azure_functions_custom_handler",
    "event_hubs_service",
    "functions_host",
    "weir_contract",
    "weir_derived",
    "weir_infer",
    "weir_intake",
    "weir_lake",
    "weir_platform",
    "weir_transform",
    "weir_warehouse",
];

/// What a crate must not use itself, nor through others.
const NEVER: [(&str, &[&str]); 8] = [
    ("event_hubs_service", &["polars", "deltalake", "object_store", "reqwest", "azure_core", "fe2o3-amqp"]),
    ("azure_functions_custom_handler", &["polars", "deltalake", "object_store", "reqwest"]),
    ("functions_host", &["polars", "deltalake", "object_store"]),
    ("weir_contract", &["tokio", "futures", "async-trait", "mio", "hyper", "object_store", "rusqlite"]),
    ("weir_intake", &["polars", "deltalake", "rusqlite"]),
    ("weir_lake", &["rusqlite", "mssql-client", "axum"]),
    ("weir_warehouse", &["deltalake", "axum"]),
    ("weir_platform", &["polars", "deltalake", "rusqlite"]),
];

/// What a crate must not use itself. Polars brings an object store and a runtime; `weir_transform` does not touch them.
const NEVER_ITSELF: [(&str, &[&str]); 2] = [
    ("weir_transform", &["tokio", "object_store", "reqwest", "futures", "async-trait"]),
    ("weir_infer", &["tokio", "object_store", "reqwest", "futures", "async-trait", "polars"]),
];

#[test]
fn every_crate_knows_only_what_is_below_it() {
    let metadata = metadata();
    let members: BTreeSet<&str> = metadata.workspace_packages().iter().map(|member| member.name.as_str()).collect();
    assert_eq!(members, ARROWS.iter().map(|(name, _)| *name).collect(), "a new crate needs its place in ARROWS");
    for (name, allowed) in ARROWS {
        let direct = &package(&metadata, name).dependencies;
        for dependency in direct.iter().filter(|dependency| members.contains(dependency.name.as_str())) {
            let (known, kind) = (dependency.name.as_str(), dependency.kind);
            let in_tests = kind == DependencyKind::Development && IN_TESTS.contains(&(name, known));
            assert!(in_tests || allowed.contains(&known), "{name} must not know {known}");
        }
    }
}

#[test]
fn no_crate_uses_what_is_not_its_business() {
    let metadata = metadata();
    for (name, forbidden) in NEVER {
        let used = closure(&metadata, name);
        let found: Vec<_> = forbidden.iter().filter(|crate_| used.contains(**crate_)).collect();
        assert!(found.is_empty(), "{name} uses {found:?}, itself or through others");
    }
    for (name, forbidden) in NEVER_ITSELF {
        let dependencies = &package(&metadata, name).dependencies;
        let found: Vec<_> = dependencies.iter().filter(|used| forbidden.contains(&used.name.as_str())).collect();
        assert!(found.is_empty(), "{name} uses {found:?}");
    }
}

/// With a second program in the workspace `cargo run -- demo`, the README's first command, needs to be told which is meant.
#[test]
fn cargo_run_is_weir() {
    let metadata = metadata();
    let chosen = metadata.workspace_packages().into_iter().filter_map(|package| package.default_run.as_deref());
    assert_eq!(chosen.collect::<Vec<_>>(), ["weir"]);
}

/// That there is one of each, and none of others, says `deny.toml`; these are the versions that fit together.
#[test]
fn heavy_crates_are_of_the_versions_that_fit_together() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().push(package.version.to_string());
    }
    let expected = [
        ("polars", "0.55."),
        ("deltalake", "1."),
        ("rustls", "0.23."),
        ("tokio", "1."),
        ("axum", "0.8."),
        // The version that deltalake and Polars speak.
        ("object_store", "0.13."),
        // Newer ones break fe2o3-amqp under azure_messaging_eventhubs.
        ("tokio-util", "0.7.18"),
    ];
    for (name, prefix) in expected {
        let found = &versions[name];
        assert!(found.len() == 1 && found[0].starts_with(prefix), "{name}: {found:?}, expected one {prefix}");
    }
}

/// For the platform that is deployed; also proof that `Cargo.lock` is complete.
pub(super) fn metadata() -> Metadata {
    let options = ["--offline", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let mut command = MetadataCommand::new();
    command.manifest_path(repository().join("Cargo.toml")).other_options(options.map(str::to_owned).to_vec());
    command.exec().unwrap()
}

fn package<'m>(metadata: &'m Metadata, name: &str) -> &'m Package {
    metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == name).unwrap()
}

/// Names of everything that the crate is built from; its tests do not count.
fn closure<'m>(metadata: &'m Metadata, name: &str) -> BTreeSet<&'m str> {
    let nodes = &metadata.resolve.as_ref().unwrap().nodes;
    let nodes: BTreeMap<&PackageId, _> = nodes.iter().map(|node| (&node.id, &node.deps)).collect();
    let (mut seen, mut open) = (BTreeSet::new(), vec![&package(metadata, name).id]);
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let built = nodes[id]
                .iter()
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development));
            open.extend(built.map(|dependency| &dependency.pkg));
        }
    }
    seen.into_iter().map(|id| metadata[id].name.as_str()).collect()
}
