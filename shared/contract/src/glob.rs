//! Globs over blob paths: `*` and `?` stay within a folder, a segment `**` spans any number of folders (none
//! included), everything else is itself. A pattern is run as a non-deterministic automaton, so matching takes
//! O(pattern × path) and never backtracks, and two patterns can be proven disjoint.

use std::collections::VecDeque;

use crate::hidden;

/// Longer patterns are refused by the parser.
pub(crate) const MAX_PATTERN_CHARS: usize = 256;

/// Which names a source takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths {
    pub(crate) globs: Vec<Glob>,
    ignore: Vec<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Some,
    /// `**` as the last segment: the rest of the path.
    Rest,
    /// `**/`: nothing, or a text that ends in `/`.
    Folders,
}

impl Paths {
    pub(crate) fn new(paths: &[String], ignore: &[String]) -> Self {
        let compiled = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        Self { globs: compiled(paths), ignore: compiled(ignore) }
    }

    pub(crate) fn take(&self, path: &str) -> bool {
        let marks = hidden::marks(path);
        let is_taken = self.globs.iter().any(|glob| glob.runs(path, |index| marks.get(index) == Some(&true)));
        is_taken && !self.ignore.iter().any(|glob| glob.matches(path))
    }

    /// Whether a glob matches the name, which is not taken all the same.
    pub(crate) fn hide(&self, path: &str) -> bool {
        self.globs.iter().any(|glob| glob.matches(path)) && !self.take(path)
    }
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut tokens = Vec::new();
        let segments: Vec<&str> = pattern.split('/').collect();
        for (index, segment) in segments.iter().enumerate() {
            let last = index + 1 == segments.len();
            if *segment == "**" {
                tokens.push(if last { Token::Rest } else { Token::Folders });
                continue;
            }
            tokens.extend(segment.chars().map(|character| match character {
                '*' => Token::Some,
                '?' => Token::One,
                other => Token::Char(other),
            }));
            if !last {
                tokens.push(Token::Char('/'));
            }
        }
        Self { tokens }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.runs(path, |_| false)
    }

    /// Whether it matches, where the characters that are marked (by number) match none but themselves.
    fn runs(&self, path: &str, is_marked: impl Fn(usize) -> bool) -> bool {
        let mut states = vec![false; self.tokens.len() + 1];
        self.enter(0, &mut |state| states[state] = true);
        for (index, character) in path.chars().enumerate() {
            let (mut next, is_marked) = (vec![false; states.len()], is_marked(index));
            for state in (0..states.len()).filter(|state| states[*state]) {
                if is_marked && !self.names(state) {
                    continue;
                }
                self.step(state, character, &mut |state| next[state] = true);
            }
            if !next.contains(&true) {
                return false;
            }
            states = next;
        }
        states[self.tokens.len()]
    }

    /// Whether a state expects one character.
    fn names(&self, state: usize) -> bool {
        matches!(self.tokens.get(state), Some(Token::Char(_)))
    }

    /// Whether a state expects the first character of a segment that only a pattern which names it takes.
    fn hides(&self, state: usize) -> bool {
        let begins = state == 0 || matches!(self.tokens[state - 1], Token::Char('/') | Token::Folders);
        let segment = self.tokens[state..].iter().take_while(|token| **token != Token::Char('/'));
        match self.tokens.get(state) {
            Some(Token::Char('.')) => begins,
            // A wildcard may bring the `=` of a partition's folder.
            Some(Token::Char('_')) => {
                begins && segment.clone().all(|token| matches!(token, Token::Char(named) if *named != '='))
            }
            _ => false,
        }
    }

    /// A path that both patterns match, if there is one: a shortest way through the product of the two automata.
    pub(crate) fn overlap(&self, other: &Glob) -> Option<String> {
        let width = other.tokens.len() + 1;
        let accepting = (self.tokens.len() + 1) * width - 1;
        let mut came_from: Vec<Option<(usize, char)>> = vec![None; accepting + 1];
        let mut seen = vec![false; accepting + 1];
        let mut queue = VecDeque::new();
        self.enter(0, &mut |left| {
            other.enter(0, &mut |right| {
                seen[left * width + right] = true;
                queue.push_back(left * width + right);
            });
        });
        while let Some(pair) = queue.pop_front() {
            if pair == accepting {
                return Some(way_to(pair, &came_from));
            }
            let (left, right) = (pair / width, pair % width);
            if self.hides(left) && !other.names(right) || other.hides(right) && !self.names(left) {
                continue;
            }
            for character in characters(self.tokens.get(left), other.tokens.get(right)) {
                self.step(left, character, &mut |next_left| {
                    other.step(right, character, &mut |next_right| {
                        let next = next_left * width + next_right;
                        if !seen[next] {
                            seen[next] = true;
                            came_from[next] = Some((pair, character));
                            queue.push_back(next);
                        }
                    });
                });
            }
        }
        None
    }

    /// Visits `state` and all that is reached from it without a character.
    fn enter(&self, mut state: usize, visit: &mut impl FnMut(usize)) {
        visit(state);
        while let Some(Token::Some | Token::Rest | Token::Folders) = self.tokens.get(state) {
            state += 1;
            visit(state);
        }
    }

    /// Visits what is reached from `state` by `character`.
    fn step(&self, state: usize, character: char, visit: &mut impl FnMut(usize)) {
        match self.tokens.get(state) {
            Some(Token::Char(expected)) if *expected == character => self.enter(state + 1, visit),
            Some(Token::One) if character != '/' => self.enter(state + 1, visit),
            Some(Token::Some) if character != '/' => self.enter(state, visit),
            Some(Token::Rest) => self.enter(state, visit),
            Some(Token::Folders) => {
                visit(state); // within a folder's name: what follows may only begin after a slash
                if character == '/' {
                    self.enter(state + 1, visit);
                }
            }
            _ => {}
        }
    }
}

/// The characters that can tell two states apart: what either expects, a slash, and anything else (`x`).
fn characters(left: Option<&Token>, right: Option<&Token>) -> impl Iterator<Item = char> {
    let expected = |token: Option<&Token>| match token {
        Some(Token::Char(character)) => Some(*character),
        _ => None,
    };
    let free = match (expected(left), expected(right)) {
        (None, None) => [Some('x'), Some('/')],
        (left, right) => [left, right.filter(|right| left != Some(*right))],
    };
    free.into_iter().flatten()
}

fn way_to(mut pair: usize, came_from: &[Option<(usize, char)>]) -> String {
    let mut path = Vec::new();
    while let Some((before, character)) = came_from[pair] {
        path.push(character);
        pair = before;
    }
    path.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Glob, Paths};

    #[test]
    fn stars_stay_in_a_folder_and_double_stars_do_not() {
        let cases = [
            ("sales/*.csv", "sales/a.csv", true),
            ("sales/*.csv", "sales/.csv", true),
            ("sales/*.csv", "sales/2024/a.csv", false),
            ("sales/*.csv", "sales/a.csv.gz", false),
            ("sales/*.csv", "Sales/a.csv", false),
            ("sales/**/*.csv", "sales/a.csv", true),
            ("sales/**/*.csv", "sales/2024/01/a.csv", true),
            ("sales/**/*.csv", "sales2024/a.csv", false),
            ("sales/**/x/*.csv", "sales/yx/a.csv", false),
            ("sales/**/x/*.csv", "sales/y/x/a.csv", true),
            ("sales/**", "sales/a/b", true),
            ("sales/**", "sales", false),
            ("**", "any/thing", true),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "a/c", false),
            ("a?c", "ac", false),
            ("*", "", true),
            ("a[1]{b}", "a[1]{b}", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn files_that_are_no_data_are_taken_only_by_name() {
        let takes = |globs: &[&str], ignore: &[&str], path: &str| {
            let owned = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
            Paths::new(&owned(globs), &owned(ignore)).take(path)
        };
        let cases = [
            // Spark, Hive, Hadoop, Delta, Databricks, Office, WinSCP, distcp.
            ("out/**", "out/_SUCCESS", false),
            ("out/**", "out/_temporary/0/_temporary/attempt_1/part-0.csv", false),
            ("out/**", "out/.part-0.csv.crc", false),
            ("out/**", "out/part-0.csv.crc", false),
            ("out/**", "out/part-0.csv.CRC", false),
            ("out/**/*.csv", "out/.hive-staging_1/part-0.csv", false),
            ("out/**", "out/_committed_1", false),
            ("out/**", "out/_started_1", false),
            ("out/*", "out/~$report.csv", false),
            ("out/*", "out/a.csv.filepart", false),
            ("out/*", "out/a.csv.tmp", false),
            ("out/*", "out/a.csv._COPYING_", false),
            ("?_/*", "__/a", false),
            // A partition's folder, and what only looks like one of these.
            ("out/**", "out/_col=1/part-0.csv", true),
            ("out/**", "out/_col=1/_x/part-0.csv", false),
            ("out/**", "out/a_b/c.d/~e/f_.csv", true),
            ("out/**", "out/tmp", true),
            ("out/**", "out/a.tmp/b", true),
            ("out/**", "out/crc", true),
            // Named.
            ("_raw/*.csv", "_raw/a.csv", true),
            ("_raw/**", "_raw/_x/a.csv", false),
            ("**/_raw/*.csv", "a/_raw/b.csv", true),
            ("**/_raw/*.csv", "_a/_raw/b.csv", false),
            ("in/*.tmp", "in/a.tmp", true),
            ("in/_*", "in/_a", true),
            ("in/.*.crc", "in/.a.crc", true),
            ("_*/**", "_x/a", true),
        ];
        for (glob, path, expected) in cases {
            assert_eq!(takes(&[glob], &[], path), expected, "{glob} on {path}");
        }
        assert!(!takes(&["in/**"], &["**/old/**", "in/*.bak"], "in/a/old/b"));
        assert!(!takes(&["in/**"], &["in/*.bak"], "in/a.bak"));
        assert!(takes(&["in/**"], &["in/*.bak"], "in/x/a.bak"));
        assert!(!takes(&["in/_*"], &["in/*"], "in/_a"), "what is to be ignored is ignored under any name");
    }

    #[test]
    fn contracts_may_share_what_only_one_of_them_names() {
        for (left, right, shared) in [
            ("out/**", "out/_raw/*.csv", false),
            ("out/**", "out/.x/*.csv", false),
            ("out/**", "out/_col=1/*.csv", true),
            ("out/**", "out/_c*/*.csv", true),
            ("out/_raw/*", "out/_raw/*.csv", true),
            ("out/_r*/*", "out/_raw/*.csv", true),
        ] {
            assert_eq!(Glob::new(left).overlap(&Glob::new(right)).is_some(), shared, "{left} and {right}");
            assert_eq!(Glob::new(right).overlap(&Glob::new(left)).is_some(), shared, "{right} and {left}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = "*a".repeat(120);
        assert!(!Glob::new(&pattern).matches(&("a".repeat(1_023) + "b")));
    }

    #[test]
    fn overlap_finds_a_common_path() {
        let cases = [
            ("sales/*.csv", "sales/*.csv", Some("sales/.csv")),
            ("sales/*.csv", "**/*.csv", Some("sales/.csv")),
            ("sales/*.csv", "sales/*.csv.gz", None),
            ("sales/*.csv", "sales/2024/*.csv", None),
            ("sales/**", "**/b", Some("sales/b")),
            ("a?", "?b", Some("ab")),
            ("?", "*", Some("x")),
            ("a/**/c", "a/b?/c", Some("a/bx/c")),
        ];
        for (left, right, expected) in cases {
            assert_eq!(Glob::new(left).overlap(&Glob::new(right)).as_deref(), expected, "{left} and {right}");
            assert_eq!(Glob::new(right).overlap(&Glob::new(left)).is_some(), expected.is_some(), "{right} and {left}");
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        let segment = prop_oneof![1 => Just("**".to_owned()), 3 => "[ab?*]{1,3}"]
            .prop_filter("`**` stands alone", |segment| segment == "**" || !segment.contains("**"));
        proptest::collection::vec(segment, 1..4).prop_map(|segments| segments.join("/"))
    }

    proptest! {
        #[test]
        fn overlap_is_sound_and_complete(left in pattern(), right in pattern(), path in "[ab/]{0,8}") {
            let (left, right) = (Glob::new(&left), Glob::new(&right));
            match left.overlap(&right) {
                Some(witness) => prop_assert!(left.matches(&witness) && right.matches(&witness)),
                None => prop_assert!(!(left.matches(&path) && right.matches(&path))),
            }
        }

        #[test]
        fn matches_what_the_definition_says(pattern in pattern(), path in "[ab/]{0,8}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&path), by_definition(&pattern, &path));
        }
    }

    /// The definition, by (exponential) recursion.
    fn by_definition(pattern: &str, path: &str) -> bool {
        if pattern == "**" {
            return true;
        }
        if let Some(rest) = pattern.strip_prefix("**/") {
            let ends_of_folders = path.match_indices('/').map(|(index, _)| index + 1);
            return std::iter::once(0).chain(ends_of_folders).any(|end| by_definition(rest, &path[end..]));
        }
        let (segment, rest) = pattern.split_once('/').map_or((pattern, None), |(segment, rest)| (segment, Some(rest)));
        let (folder, below) = path.split_once('/').map_or((path, None), |(folder, below)| (folder, Some(below)));
        let here = segment_matches(segment.as_bytes(), folder.as_bytes());
        match (rest, below) {
            (None, None) => here,
            (Some(rest), Some(below)) => here && by_definition(rest, below),
            _ => false,
        }
    }

    fn segment_matches(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| segment_matches(rest, &text[taken..])),
            Some((b'?', rest)) => !text.is_empty() && segment_matches(rest, &text[1..]),
            Some((byte, rest)) => text.first() == Some(byte) && segment_matches(rest, &text[1..]),
        }
    }
}
