//! A watched folder that stands for a storage account: `<landing>/<container>/<path>`. Each file that appears or
//! changes becomes one BlobCreated event in a queue, as Event Grid would put it there; one that is moved a BlobRenamed
//! event, as in an account with a hierarchical namespace; one that goes a BlobDeleted event. At least once: a crash
//! between the event and its record repeats it. What goes while nobody watches has no event.

use std::{
    collections::{BTreeMap, HashMap},
    fs::Metadata,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{SecondsFormat, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    error::HostError,
    host::Core,
    store::{Journal, LocalQueue, create_dir},
};

const POLL_EVERY: Duration = Duration::from_millis(100);
const MAX_FILES: usize = 500_000;
const MAX_DEPTH: usize = 32;
/// Looks for a file under another name before it is taken for deleted. A file is announced when two looks agree.
const LOOKS: u32 = 3;
/// What stays as it is in a blob's URL, path by path segment.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

#[derive(Debug)]
pub(crate) struct Landing {
    root: PathBuf,
    queue: Arc<LocalQueue>,
    state: Mutex<State>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    /// etag of each file when it was announced.
    announced: HashMap<String, String>,
    /// etag of each file that may still be growing.
    unstable: BTreeMap<String, String>,
    /// Files that went, until they are found again or taken for deleted.
    gone: HashMap<String, Gone>,
    sequencer: u128,
}

#[derive(Debug)]
struct Gone {
    etag: String,
    looks: u32,
}

/// What became of a file.
enum Change<'a> {
    Created(&'a Metadata),
    /// Where it was.
    Renamed(&'a Metadata, &'a str),
    Deleted,
}

#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    begun: u64,
    finished: u64,
    unstable: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Announced {
    path: String,
    etag: String,
}

impl Landing {
    pub(crate) fn open(root: &Path, journal: &Path, queue: Arc<LocalQueue>) -> Result<Self, HostError> {
        create_dir(root)?;
        let (journal, announced) = Journal::open(journal, |entries: Vec<Announced>| {
            let latest: HashMap<String, String> = entries.into_iter().map(|entry| (entry.path, entry.etag)).collect();
            let kept = latest.into_iter().filter(|(path, _)| root.join(path).exists());
            let entries: Vec<Announced> = kept.map(|(path, etag)| Announced { path, etag }).collect();
            (entries.iter().cloned().map(|entry| (entry.path, entry.etag)).collect(), entries)
        })?;
        let state =
            Mutex::new(State { journal, announced, unstable: BTreeMap::new(), gone: HashMap::new(), sequencer: 0 });
        Ok(Self { root: root.to_owned(), queue, state, progress: Mutex::default() })
    }

    /// Polls until the host stops.
    pub(crate) async fn run(self: Arc<Self>, core: Arc<Core>) {
        loop {
            let landing = Arc::clone(&self);
            let scan = tokio::task::spawn_blocking(move || landing.scan()).await;
            if let Ok(Err(error)) = scan {
                tracing::warn!(%error, "cannot watch the landing folder");
            }
            tokio::select! {
                () = core.stopped() => return,
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
    }

    /// Sends the event of an existing blob once more.
    pub(crate) fn announce(&self, container: &str, path: &str) -> Result<(), HostError> {
        let blob = format!("{container}/{path}");
        let file = self.root.join(&blob);
        let inside = Path::new(&blob).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        match std::fs::metadata(&file) {
            Ok(metadata) if inside && metadata.is_file() => {
                self.send(&mut self.lock(), &blob, &Change::Created(&metadata))
            }
            _ => Err(HostError::Unknown { what: "blob", name: blob, known: self.root.display().to_string() }),
        }
    }

    /// A scan that begins after this call has this number.
    pub(crate) fn next_scan(&self) -> u64 {
        self.progress().begun + 1
    }

    /// Scan `number` is over and every file it saw was announced.
    pub(crate) fn settled(&self, number: u64) -> bool {
        let progress = self.progress();
        progress.finished >= number && progress.unstable == 0
    }

    fn scan(&self) -> Result<(), HostError> {
        self.progress().begun += 1;
        let mut files = HashMap::new();
        let listed = list(&self.root, "", 0, &mut files);
        let mut state = self.lock();
        if listed.is_ok() {
            state.part_with(&files);
        }
        let before = std::mem::take(&mut state.unstable);
        let mut failure = listed.err();
        for (blob, metadata) in files {
            let etag = etag(&metadata);
            if state.announced.get(&blob) == Some(&etag) {
                continue;
            }
            let stable = before.get(&blob) == Some(&etag);
            let sent = match stable {
                true => self.announce_stable(&mut state, &blob, &metadata),
                false => Ok(()),
            };
            if !stable || sent.is_err() {
                state.unstable.insert(blob, etag);
            }
            failure = sent.err().or(failure);
        }
        for blob in state.deleted() {
            failure = self.send(&mut state, &blob, &Change::Deleted).err().or(failure);
        }
        let mut progress = self.progress();
        progress.finished = progress.begun;
        progress.unstable = state.unstable.len() + state.gone.len();
        failure.map_or(Ok(()), Err)
    }

    /// One that has the etag of one that went was moved: it is the same file, of the same time and length.
    fn announce_stable(&self, state: &mut State, blob: &str, metadata: &Metadata) -> Result<(), HostError> {
        let etag = etag(metadata);
        let from = state.gone.iter().find(|(_, gone)| gone.etag == etag).map(|(path, _)| path.clone());
        match &from {
            Some(from) => self.send(state, blob, &Change::Renamed(metadata, from))?,
            None => self.send(state, blob, &Change::Created(metadata))?,
        }
        from.map(|from| state.gone.remove(&from));
        Ok(())
    }

    fn send(&self, state: &mut State, blob: &str, change: &Change<'_>) -> Result<(), HostError> {
        let now = Utc::now();
        let clock = u128::try_from(now.timestamp_micros()).unwrap_or_default();
        state.sequencer = clock.max(state.sequencer + 1);
        let event = blob_event(blob, change, state.sequencer, &now.to_rfc3339_opts(SecondsFormat::Millis, true));
        // Event Grid writes base64, whatever host.json expects.
        self.queue.put(BASE64.encode(event.to_string()), now)?;
        let (Change::Created(metadata) | Change::Renamed(metadata, _)) = change else { return Ok(()) };
        let entry = Announced { path: blob.to_owned(), etag: etag(metadata) };
        state.journal.append(std::slice::from_ref(&entry))?;
        state.announced.insert(entry.path, entry.etag);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes the files that went.
    fn part_with(&mut self, files: &HashMap<String, Metadata>) {
        let gone = &mut self.gone;
        self.announced.retain(|path, etag| {
            let stays = files.contains_key(path);
            if !stays {
                gone.insert(path.clone(), Gone { etag: std::mem::take(etag), looks: 0 });
            }
            stays
        });
        // Back under their own names.
        gone.retain(|path, _| !files.contains_key(path));
    }

    /// The files that went and were not found again.
    fn deleted(&mut self) -> Vec<String> {
        let mut deleted = Vec::new();
        self.gone.retain(|path, gone| {
            gone.looks += 1;
            if gone.looks > LOOKS {
                deleted.push(path.clone());
            }
            gone.looks <= LOOKS
        });
        deleted
    }
}

/// The event in the Event Grid schema. `blob` is `<container>/<path>`.
fn blob_event(blob: &str, change: &Change<'_>, sequencer: u128, time: &str) -> Value {
    let (container, path) = blob.split_once('/').unwrap_or((blob, ""));
    let id = || uuid::Uuid::new_v4().to_string();
    let url = |blob: &str| format!("https://local.blob.core.windows.net/{}", utf8_percent_encode(blob, UNRESERVED));
    let (kind, mut data) = match change {
        Change::Created(metadata) => {
            let own = json!({
                "api": "PutBlob",
                "eTag": etag(metadata),
                "contentType": "application/octet-stream",
                "contentLength": metadata.len(),
                "blobType": "BlockBlob",
                "url": url(blob),
            });
            ("BlobCreated", own)
        }
        Change::Renamed(_, from) => {
            ("BlobRenamed", json!({ "api": "RenameFile", "destinationUrl": url(blob), "sourceUrl": url(from) }))
        }
        Change::Deleted => ("BlobDeleted", json!({ "api": "DeleteBlob", "blobType": "BlockBlob", "url": url(blob) })),
    };
    data["clientRequestId"] = id().into();
    data["requestId"] = id().into();
    data["sequencer"] = format!("{sequencer:032x}").into();
    data["storageDiagnostics"] = json!({ "batchId": id() });
    json!({
        "topic": "/subscriptions/local/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/local",
        "subject": format!("/blobServices/default/containers/{container}/blobs/{path}"),
        "eventType": format!("Microsoft.Storage.{kind}"),
        "id": id(),
        "eventTime": time,
        "dataVersion": "",
        "metadataVersion": "1",
        "data": data,
    })
}

/// As object_store 0.13 gives it for a local file, so that a conditional read of that version works.
fn etag(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{:x}-{:x}-{:x}", inode(metadata), modified.unwrap_or_default().as_micros(), metadata.len())
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}

/// Collects files as `<container>/<path>`. Links, hidden and half-written files and those without a container are
/// left out; so is what vanishes meanwhile.
fn list(dir: &Path, prefix: &str, depth: usize, files: &mut HashMap<String, Metadata>) -> Result<(), HostError> {
    for entry in std::fs::read_dir(dir).map_err(HostError::io("list", dir))? {
        let entry = entry.map_err(HostError::io("list", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_complete(name)) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && depth < MAX_DEPTH {
            match list(&entry.path(), &format!("{prefix}{name}/"), depth + 1, files) {
                Err(HostError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        } else if metadata.is_file() && depth > 0 {
            if files.len() >= MAX_FILES {
                return Err(HostError::Full { what: "the landing folder".to_owned(), limit: MAX_FILES });
            }
            files.insert(format!("{prefix}{name}"), metadata);
        }
    }
    Ok(())
}

fn is_complete(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with(".tmp") && !name.ends_with(".part")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_shape_and_etag() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        std::fs::write(&file, "12345").unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        let event = blob_event("in/a b/ü#1.csv", &Change::Created(&metadata), 255, "2026-01-05T10:00:00.123Z");
        assert_eq!(event["subject"], "/blobServices/default/containers/in/blobs/a b/ü#1.csv");
        assert_eq!(event["data"]["url"], "https://local.blob.core.windows.net/in/a%20b/%C3%BC%231.csv");
        assert_eq!(event["data"]["contentLength"], 5);
        assert_eq!(event["data"]["sequencer"], "000000000000000000000000000000ff");
        let moved = blob_event("in/c", &Change::Renamed(&metadata, "in/a b"), 256, "2026-01-05T10:00:00.123Z");
        assert_eq!(moved["eventType"], "Microsoft.Storage.BlobRenamed");
        assert_eq!(moved["subject"], "/blobServices/default/containers/in/blobs/c");
        let urls = (&moved["data"]["sourceUrl"], &moved["data"]["destinationUrl"], &moved["data"]["url"]);
        let base = "https://local.blob.core.windows.net/in/";
        assert_eq!(urls, (&json!(format!("{base}a%20b")), &json!(format!("{base}c")), &Value::Null));
        let etag = event["data"]["eTag"].as_str().unwrap();
        let parts: Vec<u128> = etag.split('-').map(|part| u128::from_str_radix(part, 16).unwrap()).collect();
        let modified = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        assert_eq!(parts, [u128::from(inode(&metadata)), modified, 5]);
    }
}
