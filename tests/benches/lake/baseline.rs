//! The Python side: `baseline.py` in a venv of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::support::{checked, installed_once};

/// Everything that is installed, exactly.
const REQUIREMENTS: [&str; 7] = [
    "deltalake==1.6.6",
    "arro3-core==0.9.1",
    "Deprecated==1.3.1",
    "wrapt==2.5.2",
    "typing-extensions==4.16.0",
    "polars==2.1.0",
    "polars-runtime-32==2.1.0",
];

/// Runs a command of `baseline.py`; its answer.
pub(crate) fn run(arguments: &[&str]) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/lake/baseline.py");
    let printed = checked(Command::new(python()).arg("-I").arg(script).args(arguments), "baseline.py");
    Ok(serde_json::from_str(&printed)?)
}

fn python() -> PathBuf {
    let folder = installed_once("bench-python", &REQUIREMENTS.join("\n"), |folder| {
        checked(Command::new("python3").args(["-m", "venv"]).arg(folder), "`python3 -m venv`");
        let pip = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        checked(Command::new(folder.join("bin/python")).args(pip).args(REQUIREMENTS), "pip install (needs PyPI)");
    });
    folder.join("bin/python")
}
