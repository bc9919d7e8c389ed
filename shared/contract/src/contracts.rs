//! All contracts of an app. What a set of them must guarantee beyond each one: a name, a blob, an event hub and a
//! warehouse table belong to one contract only.

use crate::error::{ContractError, ContractErrors, ErrorKind};
use crate::glob::Paths;
use crate::model::{Contract, Source};
use crate::parse::{Parsed, parse};
use crate::reader::{Place, Report, quoted};
use crate::references;

/// Sound contracts, no two of which claim the same thing.
#[derive(Debug, Clone, Default)]
pub struct Contracts {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    file: String,
    contract: Contract,
    /// The compiled `path` and `ignore` of a blob source.
    paths: Paths,
}

/// A contract that has been read, with what is needed to point into its file.
struct Candidate<'t> {
    file: &'t str,
    text: &'t str,
    parsed: Parsed,
    paths: Paths,
}

impl Contracts {
    /// Reads `(file, text)` pairs. On failure returns the errors of every file, and the conflicts between those that
    /// could be read.
    pub fn parse_all(files: Vec<(String, String)>) -> Result<Self, ContractErrors> {
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        let mut all: Option<ContractErrors> = None;
        let mut add = |errors: ContractErrors| match &mut all {
            Some(all) => all.append(errors),
            none => *none = Some(errors),
        };
        for (file, text) in &files {
            match parse(text, file) {
                Err(errors) => add(errors),
                Ok(parsed) => {
                    let candidate = Candidate { file, text, paths: paths(&parsed.contract), parsed };
                    let conflicts: Vec<ContractError> =
                        candidates.iter().flat_map(|earlier| conflicts(earlier, &candidate)).collect();
                    if !conflicts.is_empty() {
                        add(ContractErrors::new(conflicts, 0));
                    }
                    candidates.push(candidate);
                }
            }
        }
        if let Some(errors) = all {
            return Err(errors);
        }
        // Of sound contracts only: what names a contract that could not be read is not wrong itself.
        let references: Vec<_> = candidates.iter().map(|own| (own.file, own.text, &own.parsed)).collect();
        references::check(&references)?;
        let entries = candidates.into_iter().map(|candidate| Entry {
            file: candidate.file.to_owned(),
            contract: candidate.parsed.contract,
            paths: candidate.paths,
        });
        Ok(Self { entries: entries.collect() })
    }

    /// What [`Contracts::parse_all`] gives, and where one contract is unsound the largest set without it: those that
    /// remain when every file with an error is left out, and then what names one of these.
    pub fn parse_sound(files: Vec<(String, String)>) -> (Self, Option<ContractErrors>) {
        let (mut files, mut all) = (files, None::<ContractErrors>);
        loop {
            let errors = match Self::parse_all(files.clone()) {
                Ok(contracts) => return (contracts, all),
                Err(errors) => errors,
            };
            let before = files.len();
            files.retain(|(file, _)| errors.iter().all(|error| error.file != *file));
            match &mut all {
                Some(all) => all.append(errors),
                none => *none = Some(errors),
            }
            // More errors than are kept may not name every file.
            if files.len() == before {
                return (Self::default(), all);
            }
        }
    }

    /// The contract that claims the blob. There is at most one: overlapping paths are refused by `parse_all`.
    pub fn for_blob(&self, container: &str, path: &str) -> Option<&Contract> {
        let claims = |entry: &&Entry| match &entry.contract.source {
            Source::Blob { container: own, .. } => own == container && entry.paths.take(path),
            Source::Events { .. } | Source::Derived(_) => false,
        };
        self.entries.iter().find(claims).map(|entry| &entry.contract)
    }

    /// Whether a contract would take the blob, were it not a file that is no data, or one that the contract ignores.
    pub fn hides(&self, container: &str, path: &str) -> bool {
        self.entries.iter().any(|entry| match &entry.contract.source {
            Source::Blob { container: own, .. } => own == container && entry.paths.hide(path),
            Source::Events { .. } | Source::Derived(_) => false,
        })
    }

    /// The contract that reads the event hub. Hub names do not differ by case.
    pub fn for_hub(&self, name: &str) -> Option<&Contract> {
        self.iter().find(|contract| match &contract.source {
            Source::Events { hub, .. } => hub.eq_ignore_ascii_case(name),
            Source::Blob { .. } | Source::Derived(_) => false,
        })
    }

    pub fn get(&self, name: &str) -> Option<&Contract> {
        self.iter().find(|contract| contract.name == name)
    }

    /// The file that the contract called `name` came from, for errors that are found later.
    pub fn file(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.contract.name == name).map(|entry| entry.file.as_str())
    }

    /// In the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.entries.iter().map(|entry| &entry.contract)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn paths(contract: &Contract) -> Paths {
    match &contract.source {
        Source::Blob { paths, ignore, .. } => Paths::new(paths, ignore),
        Source::Events { .. } | Source::Derived(_) => Paths::default(),
    }
}

/// What `later` claims although `earlier` has it.
fn conflicts(earlier: &Candidate<'_>, later: &Candidate<'_>) -> Vec<ContractError> {
    let (first, second) = (&earlier.parsed.contract, &later.parsed.contract);
    let report = Report::new(later.file, later.text);
    let conflict = |place: &Place, message: String| report.error(ErrorKind::Conflict, place, message, None);
    let mut found = Vec::new();
    if first.name == second.name {
        let message = format!("{} has a dataset {} already", earlier.file, quoted(&first.name));
        found.push(conflict(&later.parsed.name, message));
    }
    match (&first.source, &second.source) {
        (Source::Blob { container: left, .. }, Source::Blob { container: right, .. }) if left == right => {
            for (place, glob) in later.parsed.claims.iter().zip(&later.paths.globs) {
                let shared = earlier.paths.globs.iter().find_map(|other| other.overlap(glob));
                if let Some(path) = shared {
                    let message =
                        format!("{} claims blobs of these paths too, such as {}", earlier.file, quoted(&path));
                    found.push(conflict(place, message));
                }
            }
        }
        (Source::Events { hub: left, .. }, Source::Events { hub: right, .. }) if left.eq_ignore_ascii_case(right) => {
            for place in &later.parsed.claims {
                found.push(conflict(place, format!("{} reads the hub {} already", earlier.file, quoted(left))));
            }
        }
        _ => {}
    }
    if let (Some(left), Some(right), Some(place)) = (&first.warehouse, &second.warehouse, &later.parsed.warehouse_table)
        && left.table.eq_ignore_ascii_case(&right.table)
    {
        found.push(conflict(place, format!("{} loads the table {} already", earlier.file, quoted(&left.table))));
    }
    found
}
