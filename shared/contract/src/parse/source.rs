//! `[source]`: where bytes come from.

use crate::error::ErrorKind;
use crate::glob::MAX_PATTERN_CHARS;
use crate::keys;
use crate::model::{Gap, OnDelete, OnOverwrite, Source};
use crate::reader::{At, Place, Report, Table, quoted};

const MAX_PATHS: usize = 32;
const DEFAULT_CONSUMER_GROUP: &str = "$Default";
const MAX_EPOCH: u64 = 1_000_000;

pub(super) struct SourceAt {
    pub(super) value: Source,
    /// One place a path, or one for the hub.
    pub(super) claims: Vec<Place>,
}

impl Source {
    pub(super) fn is_events(&self) -> bool {
        matches!(self, Source::Events { .. })
    }
}

pub(super) fn read(top: &Table<'_>, report: &mut Report<'_>) -> SourceAt {
    let nothing = || SourceAt {
        value: Source::Events { hub: String::new(), consumer_group: String::new(), gap: Gap::default(), epoch: 1 },
        claims: Vec::new(),
    };
    let Some(table) = top.table("source", &keys::SOURCE, report) else {
        if top.key_place("source").or(top.key_place("derived")).is_none() {
            top.missing("source", "missing: a contract needs a `[source]` (or `[derived]`)", report);
        }
        return nothing();
    };
    match table.required_choice("kind", "source kind", &[("blob", false), ("events", true)], report) {
        Some(At { value: false, .. }) => read_blob(&table, report),
        Some(At { value: true, .. }) => read_events(&table, report),
        None => nothing(),
    }
}

fn read_blob(table: &Table<'_>, report: &mut Report<'_>) -> SourceAt {
    refuse(table, &["hub", "consumer_group", "gap", "epoch"], "belongs to `kind = \"events\"`", report);
    let container = table.required_text("container", report);
    if let Some(container) = container.as_ref().filter(|container| !is_container(container.value)) {
        let message = format!(
            "{} is not a container: 3 to 63 lower-case letters, digits and single hyphens between them",
            quoted(container.value)
        );
        report.add(ErrorKind::InvalidValue, &container.place, message);
    }
    let paths = table.texts("path", 1..=MAX_PATHS, report);
    if table.key_place("path").is_none() {
        table.missing("path", "missing: say which blobs (`sales/*.csv`), as a string or a list", report);
    }
    for (index, path) in paths.iter().enumerate() {
        if let Err(message) = check_glob(path.value) {
            report.add(ErrorKind::InvalidValue, &path.place, message);
        } else if paths[..index].iter().any(|earlier| earlier.value == path.value) {
            report.add(ErrorKind::Conflict, &path.place, format!("{} is there already", quoted(path.value)));
        }
    }
    let ignore = table.texts("ignore", 1..=MAX_PATHS, report);
    for glob in &ignore {
        if let Err(message) = check_glob(glob.value) {
            report.add(ErrorKind::InvalidValue, &glob.place, message);
        }
    }
    let overwrites = [("replace", OnOverwrite::Replace), ("append", OnOverwrite::Append)];
    let on_overwrite = table.choice("on_overwrite", "choice", &overwrites, report).map(|at| at.value);
    let deletions = [("keep", OnDelete::Keep), ("remove", OnDelete::Remove)];
    let on_delete = table.choice("on_delete", "choice", &deletions, report);
    if let (Some(OnOverwrite::Append), Some(At { value: OnDelete::Remove, place })) = (on_overwrite, &on_delete) {
        let message = "`remove` needs `on_overwrite = \"replace\"`: with `append` the rows are of all versions";
        report.add(ErrorKind::Conflict, place, message);
    }
    SourceAt {
        value: Source::Blob {
            container: container.map(|container| container.value.to_owned()).unwrap_or_default(),
            paths: paths.iter().map(|path| path.value.to_owned()).collect(),
            ignore: ignore.iter().map(|glob| glob.value.to_owned()).collect(),
            on_overwrite: on_overwrite.unwrap_or_default(),
            on_delete: on_delete.map(|at| at.value).unwrap_or_default(),
        },
        claims: paths.into_iter().map(|path| path.place).collect(),
    }
}

fn read_events(table: &Table<'_>, report: &mut Report<'_>) -> SourceAt {
    refuse(
        table,
        &["container", "path", "ignore", "on_overwrite", "on_delete"],
        "belongs to `kind = \"blob\"`",
        report,
    );
    let hub = table.required_text("hub", report);
    if let Some(hub) = hub.as_ref().filter(|hub| !is_hub(hub.value)) {
        let message = format!(
            "{} is not an event hub: at most 256 letters, digits, `.`, `-` and `_`, a letter or digit at both ends",
            quoted(hub.value)
        );
        report.add(ErrorKind::InvalidValue, &hub.place, message);
    }
    let group = table.text("consumer_group", report);
    if let Some(group) = group.as_ref().filter(|group| !is_consumer_group(group.value)) {
        let message = format!(
            "{} is not a consumer group: `$Default`, or at most 50 letters, digits, `.`, `-` and `_`",
            quoted(group.value)
        );
        report.add(ErrorKind::InvalidValue, &group.place, message);
    }
    let gaps = [("heal", Gap::Heal), ("report", Gap::Report), ("ignore", Gap::Ignore)];
    let gap = table.choice("gap", "choice", &gaps, report);
    let epoch = table.count("epoch", report);
    if let Some(epoch) = epoch.as_ref().filter(|epoch| !(1..=MAX_EPOCH).contains(&epoch.value)) {
        let message = format!("is {}: it must be 1 to {MAX_EPOCH}; 1 is the first hub of that name", epoch.value);
        report.add(ErrorKind::InvalidValue, &epoch.place, message);
    }
    SourceAt {
        value: Source::Events {
            hub: hub.as_ref().map(|hub| hub.value.to_owned()).unwrap_or_default(),
            consumer_group: group.map_or(DEFAULT_CONSUMER_GROUP, |group| group.value).to_owned(),
            gap: gap.map(|at| at.value).unwrap_or_default(),
            epoch: epoch.and_then(|epoch| u32::try_from(epoch.value).ok()).unwrap_or(1),
        },
        claims: hub.into_iter().map(|hub| hub.place).collect(),
    }
}

pub(super) fn refuse(table: &Table<'_>, names: &[&str], reason: &str, report: &mut Report<'_>) {
    for place in names.iter().filter_map(|name| table.key_place(name)) {
        report.add(ErrorKind::Conflict, &place, reason);
    }
}

/// Azure's rule for containers.
fn is_container(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

/// Azure's rule for event hubs.
fn is_hub(name: &str) -> bool {
    let alphanumeric = |character: char| character.is_ascii_alphanumeric();
    (1..=256).contains(&name.len())
        && name.chars().all(|character| alphanumeric(character) || matches!(character, '.' | '-' | '_'))
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
}

fn is_consumer_group(name: &str) -> bool {
    name == DEFAULT_CONSUMER_GROUP || name.len() <= 50 && is_hub(name)
}

fn check_glob(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("is empty: say which blobs (`sales/*.csv`)".to_owned());
    }
    if pattern.chars().count() > MAX_PATTERN_CHARS {
        return Err(format!("is too long: at most {MAX_PATTERN_CHARS} characters are allowed"));
    }
    if pattern.contains("://") {
        return Err("is an address: paths are relative to the container, which `container` names".to_owned());
    }
    if pattern.starts_with('/') {
        return Err("begins with `/`: paths are relative to the container".to_owned());
    }
    if pattern.contains('\\') || pattern.chars().any(char::is_control) {
        return Err("has a backslash or a control character: folders are separated by `/`".to_owned());
    }
    for segment in pattern.split('/') {
        match segment {
            "" => return Err("has an empty folder name (`//`, or a `/` at the end)".to_owned()),
            "." | ".." => return Err(format!("has a folder `{segment}`: blob paths do not go up or stay")),
            "**" => {}
            _ if segment.contains("**") => {
                return Err(format!("has `**` within {}: it stands alone between slashes", quoted(segment)));
            }
            _ => {}
        }
    }
    Ok(())
}
