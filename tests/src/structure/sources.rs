//! Rules for the files themselves.

use std::collections::BTreeSet;

use super::{files, text};
use crate::support::repository;

/// A file is read in one go. The aim is 500 lines; here it ends.
const MAX_LINES: usize = 700;

#[test]
fn no_file_is_too_long_to_be_read() {
    let long: Vec<String> = files(".", "rs")
        .into_iter()
        .map(|path| (text(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn nothing_is_left_to_be_done() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let all = ["rs", "toml", "tf", "hcl", "json", "md"].iter().flat_map(|extension| files(".", extension));
    for path in all {
        for (index, line) in text(&path).lines().enumerate() {
            let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
            let found = words.find(|word| marks.contains(&(*word).to_owned()));
            assert_eq!(found, None, "{}:{}", path.display(), index + 1);
        }
    }
}

#[test]
fn every_crate_has_the_workspaces_lints() {
    let root = text("Cargo.toml");
    for lint in ["unsafe_code", "unwrap_used", "expect_used", "panic", "todo", "dbg_macro", "print_stdout"] {
        assert!(root.contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
    for path in files(".", "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let manifest = text(&path);
        if manifest.contains("[package]") && !manifest.contains("[workspace]") {
            assert!(manifest.contains("[lints]\nworkspace = true"), "{}", path.display());
        }
    }
}

/// The keys that the app reads.
pub(super) fn setting_keys() -> BTreeSet<String> {
    let source = text("shared/platform/src/settings.rs");
    let (code, _) = source.split_once("mod tests {").unwrap();
    let literals = code.split('"').skip(1).step_by(2);
    let is_key = |text: &&str| {
        text.len() > 3
            && text.contains('_')
            && !text.ends_with('_')
            && text.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
    };
    let keys: BTreeSet<String> = literals.filter(is_key).map(str::to_owned).collect();
    assert!(keys.contains("WEIR_LAKE_URL") && keys.contains("IDENTITY_ENDPOINT"), "{keys:?}");
    keys
}

#[test]
fn every_setting_is_documented() {
    let mut documents = files("docs", "md");
    documents.push(repository().join("README.md"));
    let words: BTreeSet<String> = documents
        .iter()
        .filter(|path| path.exists())
        .flat_map(|path| {
            let text = text(path);
            let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            words.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<String> = setting_keys().into_iter().filter(|key| !words.contains(key)).collect();
    assert!(missing.is_empty(), "docs/settings.md says nothing of {missing:?}");
}
