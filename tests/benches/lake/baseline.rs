//! The Python side: `baseline.py`, by the Python that the tests install.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::checked;
use crate::{Result, python};

/// Runs a command of `baseline.py`; its answer.
pub(crate) fn run(arguments: &[&str]) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/lake/baseline.py");
    let printed = checked(Command::new(python::python()).arg("-I").arg(script).args(arguments), "baseline.py");
    Ok(serde_json::from_str(&printed)?)
}
