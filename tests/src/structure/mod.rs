//! What the repository promises about itself: who may know whom, and that everything said twice is said alike.

mod crates;
mod guards;
mod infra;
mod manifests;
mod sources;
mod supply;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::repository;

fn text(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder of the repository, without what building and running leave behind.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    const LEFT_BEHIND: [&str; 7] = ["target", "node_modules", ".git", ".terraform", "dist", "demo-data", ".weir"];
    let (mut found, mut folders) = (Vec::new(), vec![repository().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !LEFT_BEHIND.contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no *.{extension} in {folder}");
    found
}

/// `function.json` of every function, by folder name.
pub(crate) fn functions() -> Vec<(String, Value)> {
    let folder = repository().join("functions");
    let manifests = files("functions", "json").into_iter().filter(|path| path.ends_with("function.json"));
    let functions: Vec<_> = manifests
        .map(|path| {
            let name = path.parent().unwrap().strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            (name, json(path))
        })
        .collect();
    assert!(functions.len() >= 7);
    functions
}

fn bindings(manifest: &Value) -> impl Iterator<Item = &Value> {
    manifest["bindings"].as_array().unwrap().iter()
}

/// The host copies every property of a return value that is an object over the outputs: one that is called like an output
/// binding of any function would become queue messages, or the answer to a caller. Looked at for every answer that the tests
/// get.
pub(crate) fn assert_names_no_output(function: &str, returned: &Value) {
    static OUTPUTS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let functions = functions();
        let bindings = functions.iter().flat_map(|(_, manifest)| bindings(manifest));
        let outputs = bindings.filter(|binding| binding["direction"] == "out");
        outputs.map(|binding| binding["name"].as_str().unwrap().to_owned()).collect()
    });
    for name in returned.as_object().into_iter().flat_map(|properties| properties.keys()) {
        assert!(
            !OUTPUTS.contains(name),
            "{function} returns `{name}`, which the host takes for the output of that name"
        );
    }
}

/// Of any function: one that is deployed beside another must not turn its answers into messages either.
#[test]
#[should_panic(expected = "`tasks`, which the host takes for the output")]
fn a_return_value_that_names_an_output_is_noticed() {
    assert_names_no_output("run_task", &serde_json::json!({ "dataset": "orders", "tasks": 4 }));
}

fn is_trigger(binding: &Value) -> bool {
    binding["type"].as_str().unwrap().ends_with("Trigger")
}

/// The contracts that are shipped.
fn contracts() -> weir_contract::Contracts {
    let files = files("shared/datasets", "toml");
    let texts = files.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), text(path)));
    weir_contract::Contracts::parse_all(texts.collect()).unwrap()
}
