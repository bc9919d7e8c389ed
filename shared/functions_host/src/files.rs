//! Files of the app that a host reads when it starts. When they change the real host starts anew, after half a second of
//! quiet; so it does when a folder in the app's root comes or goes, whatever is in it. `app_offline.htm` stops it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_millis(500);
const OFFLINE: &str = "app_offline.htm";

/// What is looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    folders: BTreeSet<PathBuf>,
    /// `host.json` and every `function.json`, with time and size.
    files: BTreeMap<PathBuf, (Option<SystemTime>, u64)>,
    offline: bool,
}

/// Returns when something has changed and been quiet for a while: what it was, and whether the host should start again.
pub(crate) async fn changed(app_dir: &Path) -> (String, bool) {
    let first = look(app_dir).await;
    let mut last = first.clone();
    let mut since = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look(app_dir).await;
        if now != last {
            since = tokio::time::Instant::now();
            last = now;
        } else if last != first && since.elapsed() >= QUIET {
            return (difference(&first, &last), !last.offline);
        }
    }
}

async fn look(app_dir: &Path) -> Seen {
    let app_dir = app_dir.to_owned();
    // An error says that the runtime is going down.
    tokio::task::spawn_blocking(move || seen(&app_dir)).await.unwrap_or_default()
}

fn seen(app_dir: &Path) -> Seen {
    let mut seen = Seen { offline: app_dir.join(OFFLINE).exists(), ..Seen::default() };
    let mut note = |file: PathBuf| {
        if let Ok(metadata) = std::fs::metadata(&file) {
            seen.files.insert(file, (metadata.modified().ok(), metadata.len()));
        }
    };
    note(app_dir.join("host.json"));
    for entry in std::fs::read_dir(app_dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            note(entry.path().join("function.json"));
            seen.folders.insert(entry.path());
        }
    }
    seen
}

fn difference(first: &Seen, last: &Seen) -> String {
    if last.offline && !first.offline {
        return format!("{OFFLINE} is there");
    }
    let folder = first.folders.symmetric_difference(&last.folders).next();
    let changed = |path: &&PathBuf| first.files.get(*path) != last.files.get(*path);
    let file = first.files.keys().chain(last.files.keys()).find(changed);
    match (folder, file) {
        (Some(folder), _) => format!("the folder {} came into the app's root or went: start again", folder.display()),
        (None, Some(file)) => format!("{} changed: start again", file.display()),
        (None, None) => "the app's files changed: start again".to_owned(),
    }
}
