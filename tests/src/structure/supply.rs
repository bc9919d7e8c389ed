//! The lock file against `deny.toml`: licences, sources, bans, and advisories that are looked at again. It needs no network;
//! what it cannot know, the advisories of the day, `cargo deny check advisories` asks.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Metadata, Package};
use toml::{Table, Value};

use super::{crates, text};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn policy() -> Table {
    text("deny.toml").parse().unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

/// Name and version, `None` for every version.
fn spec(entry: &Value) -> (&str, Option<&str>) {
    let text = entry["crate"].as_str().unwrap();
    text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)))
}

fn reason(entry: &Value) -> &str {
    let reason = entry.get("reason").and_then(Value::as_str).unwrap_or_default();
    assert!(!reason.is_empty(), "no reason is given for {entry:?}");
    reason
}

/// What is not ours.
fn foreign(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| package.source.is_some())
}

/// Names and versions of all that is locked, for every platform.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let mut locked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock_entries() {
        let value = |key: &str| package[key].as_str().unwrap().to_owned();
        locked.entry(value("name")).or_default().insert(value("version"));
    }
    locked
}

fn lock_entries() -> Vec<Value> {
    let lock: Table = text("Cargo.lock").parse().unwrap();
    lock["package"].as_array().unwrap().clone()
}

/// Whether the licences that may be used satisfy an SPDX expression; `/` is an older way to write OR.
fn satisfied(expression: &str, allowed: &impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let found = any(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression}");
    found
}

fn any(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut found = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        found |= all(words, at, allowed);
    }
    found
}

fn all(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut found = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        found &= one(words, at, allowed);
    }
    found
}

fn one(words: &[&str], at: &mut usize, allowed: &impl Fn(&str) -> bool) -> bool {
    let word = words[*at];
    *at += 1;
    if word == "(" {
        let found = any(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"));
        *at += 1;
        return found;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
        return allowed(&format!("{word} WITH {}", words[*at - 1]));
    }
    allowed(word)
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let allowed = |id: &str| matches!(id, "MIT" | "ISC" | "Apache-2.0 WITH LLVM-exception");
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND (GPL-3.0 OR ISC)", true),
        ("ISC OR GPL-3.0 AND Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_is_on_the_list() {
    let (policy, metadata) = (policy(), crates::metadata());
    let allowed = strings(&policy["licenses"]["allow"]);
    let exceptions = policy["licenses"]["exceptions"].as_array().unwrap();
    let mut unused: BTreeSet<&str> = exceptions.iter().map(|entry| spec(entry).0).collect();
    for package in foreign(&metadata) {
        let name = package.name.as_str();
        let own = exceptions.iter().find(|entry| spec(entry).0 == name);
        let own: Vec<&str> = own.map(|entry| strings(&entry["allow"])).unwrap_or_default();
        unused.remove(name);
        let expression = package.license.as_deref().unwrap_or("none");
        let listed = |id: &str| allowed.contains(&id) || own.contains(&id);
        assert!(satisfied(expression, &listed), "{name} {}: {expression}", package.version);
    }
    assert!(unused.is_empty(), "exceptions for what is not there: {unused:?}");
}

/// For every platform, not only the one that is deployed.
#[test]
fn everything_comes_from_the_registry_and_has_a_checksum() {
    let policy = policy();
    assert_eq!(strings(&policy["sources"]["allow-registry"]), [REGISTRY.strip_prefix("registry+").unwrap()]);
    assert!(strings(&policy["sources"]["allow-git"]).is_empty());
    let members: BTreeSet<String> =
        crates::metadata().workspace_packages().iter().map(|member| member.name.to_string()).collect();
    let entries = lock_entries();
    assert!(entries.len() > 500);
    for package in entries {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(Value::as_str) {
            None => assert!(members.contains(name), "{name} has no source and is not ours"),
            Some(source) => {
                assert_eq!(source, REGISTRY, "{name}");
                let checksum = package.get("checksum").and_then(Value::as_str).unwrap_or_default();
                assert_eq!(checksum.len(), 64, "{name} has no checksum");
            }
        }
    }
}

#[test]
fn nothing_that_is_banned_is_built_and_second_versions_are_known() {
    let (policy, metadata) = (policy(), crates::metadata());
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().insert(package.version.to_string());
    }
    for entry in policy["bans"]["deny"].as_array().unwrap() {
        let (name, _) = spec(entry);
        if entry.get("deny-multiple-versions").is_some() {
            assert_eq!(versions.get(name).map(BTreeSet::len), Some(1), "{name}: {:?}", versions.get(name));
        } else {
            assert!(!versions.contains_key(name), "{name} is banned: {}", reason(entry));
        }
    }
    let skipped: BTreeSet<(&str, &str)> = policy["bans"]["skip"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            reason(entry);
            let (name, version) = spec(entry);
            (name, version.unwrap())
        })
        .collect();
    for (name, version) in &skipped {
        let there = versions.get(name).is_some_and(|found| found.len() > 1 && found.contains(*version));
        assert!(there, "deny.toml skips {name}@{version}, which nobody asks for any more");
    }
    for (name, found) in &versions {
        let left = found.iter().filter(|version| !skipped.contains(&(*name, version.as_str()))).count();
        assert_eq!(left, 1, "{name} has versions {found:?}: lift one, or say in deny.toml who asks for the older");
    }
}

/// A reason speaks of one version; when that has gone somebody has to look again.
#[test]
fn advisories_that_are_set_aside_say_why_and_of_which_version() {
    let (policy, locked) = (policy(), locked());
    for entry in policy["advisories"]["ignore"].as_array().unwrap() {
        let id = entry["id"].as_str().unwrap();
        assert!(id.starts_with("RUSTSEC-20") && id.len() == "RUSTSEC-2026-0001".len(), "{id}");
        let (of, why) = reason(entry).split_once(": ").unwrap();
        let (name, version) = of.split_once('@').unwrap();
        assert!(locked[name].contains(version), "{id}: {name} is not at {version} any more; look at it again");
        assert!(!why.is_empty(), "{id}");
    }
}

#[test]
fn the_toolchain_is_pinned_to_what_the_manifest_allows() {
    let toolchain: Table = text("rust-toolchain.toml").parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let manifest: Table = text("Cargo.toml").parse().unwrap();
    let oldest = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    let parts = |version: &str| version.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>();
    assert_eq!(parts(channel).len(), 3, "{channel} is no release");
    assert!(parts(channel) >= parts(oldest), "{channel} is older than rust-version {oldest}");
    let components = strings(&toolchain["toolchain"]["components"]);
    assert!(components.contains(&"clippy") && components.contains(&"rustfmt"));
}
