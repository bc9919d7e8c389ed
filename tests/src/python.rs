//! A Python with the `deltalake` package: a reader of our tables that shares no code with Weir.
//!
//! It lives in the target folder and is made once; a change of [`REQUIREMENTS`] makes a new one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// Everything that is installed, exactly: pip resolves nothing (`--no-deps`). `deltalake` brings its own query engine.
const REQUIREMENTS: [&str; 5] =
    ["deltalake==1.6.6", "arro3-core==0.9.1", "Deprecated==1.3.1", "wrapt==2.5.2", "typing-extensions==4.16.0"];

/// The interpreter. Needs `python3` (3.10 or newer, with `venv`) on the path, and PyPI the first time.
pub(crate) fn python() -> PathBuf {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        // <target>/<profile>/deps/it-<hash>
        let target = test.ancestors().nth(3).unwrap();
        let folder = target.join(format!("python-{:08x}", fingerprint()));
        // Other test processes wait here; the lock goes with the file handle, even when the process is killed.
        let lock = File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        if !folder.join("complete").exists() {
            install(&folder);
        }
        folder.join("bin").join("python")
    });
    PYTHON.clone()
}

/// Runs a script with arguments and returns what it printed.
pub(crate) fn run(script: &str, arguments: &[&str]) -> String {
    checked(Command::new(python()).args(["-I", "-c", script]).args(arguments), "the Python script")
}

fn install(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    checked(
        Command::new("python3").args(["-m", "venv"]).arg(folder),
        "`python3 -m venv` (Debian: apt install python3-venv)",
    );
    let pip =
        ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
    checked(Command::new(folder.join("bin").join("python")).args(pip).args(REQUIREMENTS), "pip install (needs PyPI)");
    fs::write(folder.join("complete"), REQUIREMENTS.join("\n")).unwrap();
}

fn checked(command: &mut Command, what: &str) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{what}: cannot start: {error}"));
    assert!(status.success(), "{what} failed: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// FNV-1a of the requirements.
fn fingerprint() -> u32 {
    REQUIREMENTS.join("\n").bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
