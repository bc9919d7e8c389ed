//! The Python side: `baseline.py`, by the Python that the tests install.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::report::Run;
use crate::support::checked;
use crate::{Result, data, python};

/// Without the start of Python and its imports, as in a warm worker.
pub(crate) fn measure(folder: &Path, blob: &data::Blob) -> Result<Run> {
    let site = tempfile::tempdir_in(folder)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ingest/baseline.py");
    let mut command = Command::new(python::python());
    command.arg("-I").arg(script).arg(&blob.path).arg(site.path().join("table"));
    let told: Value = serde_json::from_str(&checked(&mut command, "baseline.py"))?;
    if told["rows"].as_u64() != Some(blob.records) {
        return Err(format!("{} records were written, and the table has {}", blob.records, told["rows"]).into());
    }
    let seconds = told["seconds"].as_f64().ok_or("baseline.py tells no time")?;
    Ok(Run { cpu_seconds: None, seconds, peak_bytes: told["peak_bytes"].as_u64() })
}
