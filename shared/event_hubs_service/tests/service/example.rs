//! The example that goes through the SDK.

use std::{path::Path, process::Command};

/// `cargo test` builds it first; with a filter on targets (`--test service`) add `--examples`.
#[test]
fn fill() {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples/fill");
    let output = Command::new(&program).output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Some(0): 20.5\n") && said.contains("Some(2): 21.5\n"), "{said}");
}
