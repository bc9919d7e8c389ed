//! Azurite, Microsoft's own stand-in for Azure storage: stores that answer as Azure does, on this machine.
//!
//! npm installs it once into the target folder, all of it as `tests/azurite/package-lock.json` pins it; a change of that
//! makes a new one. One process, started by the first test that asks, serves all tests of a run that have names of their
//! own, and keeps everything in memory.

use std::fs;
use std::io::{BufRead, BufReader, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, SendError};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService};

use crate::support::{checked, installed_once};

/// What npm installs. `npm install --package-lock-only` in that folder makes the lock anew.
const PACKAGE: &str = include_str!("../azurite/package.json");
const LOCK: &str = include_str!("../azurite/package-lock.json");

/// Runs Azurite until standard input closes. The kernel closes our end when the tests end, whichever way they do, so that
/// Azurite never outlives them; nothing would drop what is in a static.
const UNTIL_INPUT_CLOSES: &str =
    r#"process.stdin.on("close", () => process.exit()).resume(); require(process.argv[1]);"#;

/// Port 0 is a free one, chosen by the kernel; Azurite prints which.
const OPTIONS: [&str; 7] = [
    "--inMemoryPersistence",
    "--silent",
    "--disableTelemetry",
    "--skipApiVersionCheck",
    "--blobPort=0",
    "--queuePort=0",
    "--tablePort=0",
];

/// For its start, which takes half a second on an idle machine, and for its end.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(60);

pub(crate) const ACCOUNT: &str = "devstoreaccount1";

/// No secret: every Azurite has this key, and Microsoft's documentation prints it.
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite.
#[derive(Debug)]
pub(crate) struct Azurite {
    /// `http://127.0.0.1:<port>/devstoreaccount1`, and so the next one.
    pub(crate) blob_url: String,
    pub(crate) queue_url: String,
    /// Holds our end of its standard input.
    pub(crate) process: Child,
}

/// The one that the tests of this process share. Needs Node.js 20 or newer with npm on the path, and npm's registry the
/// first time.
pub(crate) fn account() -> &'static Azurite {
    static AZURITE: LazyLock<Azurite> = LazyLock::new(start);
    &AZURITE
}

/// A store on a new container.
///
/// A test that lets delta-rs write a checkpoint to it needs `flavor = "multi_thread"`: on a runtime of one thread delta-rs
/// blocks that thread, with it the store's open connection, and the request ends in a time-out of 30 s before a retry.
pub(crate) async fn container() -> Arc<dyn ObjectStore> {
    let (url, name) = named_container().await;
    store(&url, &name)
}

/// The account's address and the name of a new container, for processes that open it themselves.
pub(crate) async fn named_container() -> (String, String) {
    static CONTAINERS: AtomicU32 = AtomicU32::new(1);
    let name = format!("container-{}", CONTAINERS.fetch_add(1, Ordering::Relaxed));
    let url = &account().blob_url;
    create(&format!("{url}/{name}?restype=container")).await;
    (url.clone(), name)
}

pub(crate) fn store(url: &str, name: &str) -> Arc<dyn ObjectStore> {
    // Not `with_use_emulator`: it ignores the endpoint.
    let store = MicrosoftAzureBuilder::new()
        .with_endpoint(url.to_owned())
        .with_allow_http(true)
        .with_account(ACCOUNT)
        .with_access_key(KEY)
        .with_container_name(name)
        .build();
    Arc::new(store.unwrap())
}

/// Makes a container or a queue, which object_store does not.
pub(crate) async fn create(url: &str) {
    let (status, answer) = ask(reqwest::Method::PUT, url, "").await;
    assert_eq!(status, 201, "PUT {url}: {answer}");
}

/// A request to Azurite, signed by object_store; its status and what it says.
pub(crate) async fn ask(method: reqwest::Method, url: &str, body: &str) -> (u16, String) {
    let mut request = HttpRequest::new(HttpRequestBody::from(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().unwrap();
    if !body.is_empty() {
        request.headers_mut().insert("content-type", "application/xml".parse().unwrap());
        request.headers_mut().insert("content-length", body.len().into());
    }
    let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).unwrap());
    AzureAuthorizer::new(&key, ACCOUNT).authorize(&mut request);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.call(request).await.unwrap();
    let (status, body) = (answer.status().as_u16(), answer.into_body().bytes().await.unwrap());
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) fn start() -> Azurite {
    let folder = installed_once("azurite", &format!("{PACKAGE}{LOCK}"), install);
    let (output, input) = pipe().unwrap();
    let mut node = Command::new("node");
    node.args(["-e", UNTIL_INPUT_CLOSES]).arg(folder.join("node_modules/azurite/dist/src/azurite.js")).args(OPTIONS);
    node.current_dir(folder).stdin(Stdio::piped()).stdout(input.try_clone().unwrap()).stderr(input);
    let process = node.spawn().unwrap_or_else(|error| panic!("node (20 or newer): cannot start: {error}"));
    // With it goes our copy of the pipe's input: the output ends when Azurite does.
    drop(node);

    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens any more: it has started, and says something all the same.
            if let Err(SendError(line)) = sender.send(line) {
                eprintln!("azurite: {line}");
            }
        }
    });
    let deadline = Instant::now() + TIME_LIMIT;
    let mut printed = Vec::new();
    let [blob_url, queue_url, _table_url] = ["Blob", "Queue", "Table"].map(|service| {
        let announcement = format!("Azurite {service} service is successfully listening at ");
        loop {
            let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                panic!("Azurite does not start (Node.js 20 or newer?). It printed:\n{}", printed.join("\n"));
            };
            if let Some(url) = line.strip_prefix(&announcement) {
                return format!("{url}/{ACCOUNT}");
            }
            printed.push(line);
        }
    });
    Azurite { blob_url, queue_url, process }
}

/// An app setting that sends a connection's queues there.
pub(crate) fn connection_string(azurite: &Azurite) -> String {
    let Azurite { blob_url, queue_url, .. } = azurite;
    format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={blob_url};QueueEndpoint={queue_url};"
    )
}

fn install(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("package.json"), PACKAGE).unwrap();
    fs::write(folder.join("package-lock.json"), LOCK).unwrap();
    let mut npm = Command::new("npm");
    // Azurite asks for Node.js 22 and runs on 20, which npm refuses if it is configured to be strict.
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict=false"]);
    checked(npm.current_dir(folder), "npm ci (needs Node.js 20 or newer with npm, and npm's registry)");
}
