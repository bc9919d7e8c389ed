//! What `docs/guards.md` says is there, and every case from public reports has a test.

use std::collections::HashSet;
use std::fs;

use super::{files, text};
use crate::support::repository;

/// What a cell has in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The functions, constants and types that a file has.
fn defined(text: &str) -> HashSet<&str> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty());
    let pairs = words.clone().zip(words.skip(1));
    pairs.filter(|(kind, _)| ["fn", "const", "static", "struct"].contains(kind)).map(|(_, name)| name).collect()
}

#[test]
fn guards_name_places_and_tests_that_are_there() {
    let paths = files(".", "rs").into_iter();
    let sources: Vec<(String, String)> =
        paths.map(|path| (path.to_str().unwrap().replace("/src/", "/"), text(&path))).collect();
    let sources: Vec<(&str, HashSet<&str>)> = sources.iter().map(|(path, text)| (&**path, defined(text))).collect();
    let (page, mut count) = (text("docs/guards.md"), 0);
    for (number, line) in (1..).zip(page.lines()).filter(|(_, line)| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, places, tests] = cells[..] else { panic!("line {number} has {} cells", cells.len()) };
        let mut file = "";
        for place in quoted(places) {
            // A function alone is of the file before it.
            let (path, name) = place.split_once("::").unwrap_or(match place.ends_with(".rs") {
                true => (place, ""),
                false => (file, place),
            });
            file = path;
            let is_it = |(path, defined): &(&str, HashSet<&str>)| {
                path.ends_with(&format!("/{file}")) && (name.is_empty() || defined.contains(name))
            };
            assert!(sources.iter().any(is_it), "line {number}: there is no {place}");
        }
        for test in quoted(tests) {
            assert!(
                sources.iter().any(|(_, defined)| defined.contains(test)),
                "line {number}: there is no test {test}"
            );
            count += 1;
        }
    }
    assert!(count > 300, "{count}");
}

#[test]
fn every_case_from_public_reports_has_a_test() {
    let tests: String = files("tests/src", "rs").iter().map(text).collect();
    let mut count = 0;
    for kind in ["files", "events"] {
        for case in fs::read_dir(repository().join("tests/data/cases").join(kind)).unwrap() {
            let name = case.unwrap().file_name().into_string().unwrap();
            let named = [format!("\"{name}\""), format!("/{name}\""), format!("/{name}/"), format!("`{name}`")];
            assert!(named.iter().any(|named| tests.contains(named)), "{kind}/{name} has no test");
            count += 1;
        }
    }
    assert_eq!(count, 43);
}
