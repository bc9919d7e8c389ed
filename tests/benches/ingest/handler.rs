//! `weir serve` as the Functions host runs it: a child, a port, an envelope.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::Result;

const START_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn datasets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets")
}

/// Builds `weir` into the benchmark's own target folder, with the same features.
pub(crate) fn build(target: &Path) -> Result<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--workspace", "--bins", "--manifest-path", manifest, "--target-dir"]);
    // Build scripts (ring's) watch the variables that cargo sets for a benchmark: left in, they rebuild everything.
    let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "LD_LIBRARY_PATH"];
    for (name, _) in std::env::vars_os() {
        let set_by_cargo = name.to_str().is_some_and(|name| own.iter().any(|prefix| name.starts_with(prefix)));
        if set_by_cargo || name == "CARGO" || name == "OUT_DIR" {
            cargo.env_remove(name);
        }
    }
    if !cargo.arg(target).status()?.success() {
        return Err("weir does not build".into());
    }
    Ok(target.join("release").join("weir"))
}

/// A running handler. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Handler {
    child: Child,
    port: u16,
    began: Instant,
}

impl Handler {
    /// Starts it over the folders `landing` and `lake` in `site` and waits for its first answer.
    pub(crate) fn start(weir: &Path, site: &Path) -> Result<Self> {
        Self::start_with(weir, site, &[])
    }

    /// `extra` settings win.
    pub(crate) fn start_with(weir: &Path, site: &Path, extra: &[(&str, &str)]) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = |name: &str| -> Result<String> {
            let folder = site.join(name);
            std::fs::create_dir_all(&folder)?;
            Ok(format!("file://{}", folder.display()))
        };
        let mut command = Command::new(weir);
        command
            .arg("serve")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("WEIR_LAKE_URL", folder("lake")?)
            .env("WEIR_LANDING_URL", folder("landing")?)
            .env("WEIR_DATASETS", datasets())
            .env(
                "WEIR_PSEUDONYM_KEY",
                BASE64.encode(std::array::from_fn::<u8, 32, _>(|at| (at as u8).wrapping_mul(37) ^ (at as u8 >> 2))),
            )
            .env("WEIR_DEADLINE_S", "3600")
            .env("WEIR_LOG", "warn")
            .envs(extra.iter().copied())
            .stdout(Stdio::null());
        let began = Instant::now();
        let handler = Self { child: command.spawn()?, port, began };
        while handler.call("GET / HTTP/1.1", "").is_err() {
            if began.elapsed() > START_LIMIT {
                return Err("the handler does not answer".into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(handler)
    }

    /// Delivers the event of one blob in the container `landing` as the queue's message, and waits for the answer.
    pub(crate) fn blob_created(&mut self, path: &str) -> Result<Value> {
        let event = json!({
            "id": "bench", "topic": "/bench", "eventType": "Microsoft.Storage.BlobCreated", "dataVersion": "",
            "eventTime": "2026-01-01T00:00:00Z", "metadataVersion": "1",
            "subject": format!("/blobServices/default/containers/landing/blobs/{path}"),
            "data": {"api": "PutBlob", "url": format!("https://bench.blob.core.windows.net/landing/{path}")},
        });
        let message = BASE64.encode(event.to_string());
        let envelope = json!({"Data": {"event": message}, "Metadata": {"DequeueCount": "1", "Id": "\"bench\""}});
        let answer = self.call("POST /ingest_blob HTTP/1.1", &envelope.to_string())?;
        Ok(serde_json::from_str(&answer)?)
    }

    #[allow(dead_code)] // for the other bench
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Resident memory now; only Linux tells.
    #[allow(dead_code)] // for the other bench
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        memory_of(&self.child.id().to_string(), "VmRSS:")
    }

    /// Seconds since the start of the process.
    pub(crate) fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        peak_bytes_of(&self.child.id().to_string())
    }

    /// CPU time of all threads so far; only Linux tells.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // After the name, which ends with the last bracket: state is the first field, utime and stime are 12 and 13, in
        // hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let [user, system] = [11, 12].map(|at| fields.get(at)?.parse::<f64>().ok());
        Some((user? + system?) / 100.0)
    }

    /// The body of a 200.
    fn call(&self, line: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "{line}\r\nHost: localhost\r\nX-Azure-Functions-InvocationId: 00000000-0000-4000-8000-000000000001\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(format!("{line} was answered with {answer}").into()),
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It may be gone already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds from the start of the process to its first answer, `count` times.
pub(crate) fn start_times(weir: &Path, folder: &Path, count: usize) -> Result<Vec<f64>> {
    let site = tempfile::tempdir_in(folder)?;
    (0..count).map(|_| Ok(Handler::start(weir, site.path())?.elapsed())).collect()
}

/// The peak of resident memory so far; only Linux tells.
pub(crate) fn peak_bytes_of(process: &str) -> Option<u64> {
    memory_of(process, "VmHWM:")
}

fn memory_of(process: &str, which: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
