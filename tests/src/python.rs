//! A Python with readers of our tables: `deltalake` (delta-rs with DataFusion), Polars, and ClickHouse in a wheel; with
//! pyarrow and DuckDB, which write and read the Parquet files of others; with `fastavro`, which does so for Avro; and with
//! `duckdb-kql`, which runs the alert rules.
//!
//! It lives in the target folder and is made once; a change of [`REQUIREMENTS`] makes a new one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::{checked, installed_once};

/// Everything that is installed, exactly: pip resolves nothing (`--no-deps`). `deltalake` brings its own query engine.
/// `chdb-core` is the engine of `chdb`, which on top of it wants pandas and pyarrow; 530 MB on disk.
const REQUIREMENTS: [&str; 13] = [
    "deltalake==1.6.6",
    "arro3-core==0.9.1",
    "Deprecated==1.3.1",
    "wrapt==2.5.2",
    "typing-extensions==4.16.0",
    "polars==2.1.0",
    "polars-runtime-32==2.1.0",
    "chdb-core==26.9.0",
    "pyarrow==26.0.1",
    "duckdb==2.0.1",
    "fastavro==1.13.1",
    "duckdb-kql==1.1.2",
    "antlr4-python3-runtime==4.13.2",
];

/// The interpreter. Needs `python3` (3.10 or newer, with `venv`) on the path, and PyPI the first time.
pub(crate) fn python() -> PathBuf {
    static PYTHON: LazyLock<PathBuf> =
        LazyLock::new(|| installed_once("python", &REQUIREMENTS.join("\n"), install).join("bin").join("python"));
    PYTHON.clone()
}

/// Runs a script with arguments and returns what it printed.
pub(crate) fn run(script: &str, arguments: &[&str]) -> String {
    // Threads of extension modules that outlive the script abort some interpreters at their exit.
    let script = format!("{script}\nimport os, sys\nsys.stdout.flush()\nsys.stderr.flush()\nos._exit(0)\n");
    checked(Command::new(python()).args(["-I", "-c", &script]).args(arguments), "the Python script")
}

fn install(folder: &Path) {
    pip_install(folder, &REQUIREMENTS);
}

/// Makes a virtual environment with these packages and nothing that they ask for.
pub(crate) fn pip_install(folder: &Path, requirements: &[&str]) {
    checked(
        Command::new("python3").args(["-m", "venv"]).arg(folder),
        "`python3 -m venv` (Debian: apt install python3-venv)",
    );
    let pip =
        ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
    checked(Command::new(folder.join("bin").join("python")).args(pip).args(requirements), "pip install (needs PyPI)");
}
