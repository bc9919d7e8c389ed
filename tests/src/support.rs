//! What the tests share: where the binary is, what is installed once, how programs are run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// The `weir` binary of this build. `cargo test` does not build binaries for other packages' tests, so the first test
/// that asks builds it, with the profile and the target folder of the test binary itself.
pub(crate) fn weir_binary() -> PathBuf {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let profile_folder = profile_folder();
        let target = profile_folder.parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--workspace",
            "--bins",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
        ]);
        if profile_folder.ends_with("release") {
            cargo.arg("--release");
        }
        // Build scripts (ring's) watch the variables that cargo sets for a test: left in, they rebuild everything.
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "LD_LIBRARY_PATH"];
        for (name, _) in std::env::vars_os() {
            let set_by_cargo = name.to_str().is_some_and(|name| own.iter().any(|prefix| name.starts_with(prefix)));
            if set_by_cargo || name == "CARGO" || name == "OUT_DIR" {
                cargo.env_remove(name);
            }
        }
        let built = cargo.env("CARGO_TARGET_DIR", target).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        profile_folder.join("weir")
    });
    BINARY.clone()
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// `<target>/<profile>`, two above `deps/it-<hash>`.
fn profile_folder() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// A folder in the target folder that `install` fills once; another recipe makes another folder.
pub(crate) fn installed_once(name: &str, recipe: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let folder = profile_folder().with_file_name(format!("{name}-{:08x}", fingerprint(recipe)));
    // Other test processes wait here; the lock goes with the file handle, even when the process is killed.
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.join("complete").exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        install(&folder);
        fs::write(folder.join("complete"), recipe).unwrap();
    }
    folder
}

/// What a program prints; `what` it is, and what it needs, is said when it fails.
pub(crate) fn checked(command: &mut Command, what: &str) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{what}: cannot start: {error}"));
    assert!(status.success(), "{what} failed: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// FNV-1a.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
