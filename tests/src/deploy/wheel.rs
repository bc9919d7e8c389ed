//! The Python wheel: the same binary gives the same bytes, and what pip installs runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{checked, repository, weir_binary};

fn wheel(binary: &Path, folder: &Path) -> PathBuf {
    let mut command = Command::new("python3");
    command.arg(repository().join("infra/deploy/wheel.py")).arg(binary).arg(env!("CARGO_PKG_VERSION")).arg(folder);
    PathBuf::from(checked(&mut command, "wheel.py").trim())
}

#[test]
fn the_same_binary_gives_the_same_wheel() {
    let folder = TempDir::new().unwrap();
    let program = fs::canonicalize("/bin/sh").unwrap();
    let (one, two) = (wheel(&program, &folder.path().join("1")), wheel(&program, &folder.path().join("2")));
    assert_eq!(one.file_name(), two.file_name());
    assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
}

#[test]
fn what_pip_installs_runs() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let wheel = wheel(&weir_binary(), &path("dist"));
    let name = wheel.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("weir_ingest-") && name.contains("-py3-none-manylinux_2_"), "{name}");
    checked(Command::new("python3").args(["-m", "venv"]).arg(path("venv")), "python3 -m venv");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"];
    checked(Command::new(path("venv/bin/python")).args(pip).arg(&wheel), "pip install");
    let version = checked(Command::new(path("venv/bin/weir")).arg("--version"), "weir --version");
    assert_eq!(version.trim(), concat!("weir ", env!("CARGO_PKG_VERSION")));
    fs::write(path("x.csv"), "id,n\n1,2\n").unwrap();
    let made =
        checked(Command::new(path("venv/bin/weir")).args(["new", "x.csv"]).current_dir(folder.path()), "weir new");
    assert!(made.contains("1 records read, 1 would be committed, 0 quarantined"), "{made}");
}
