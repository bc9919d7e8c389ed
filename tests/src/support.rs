//! What the tests share: where the binary is, folders that vanish.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

/// The `weir` binary of this build. `cargo test` does not build binaries for other packages' tests, so the first test
/// that asks builds it, with the profile and the target folder of the test binary itself.
pub(crate) fn weir_binary() -> PathBuf {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        // <target>/<profile>/deps/it-<hash>
        let profile_folder = test.parent().unwrap().parent().unwrap();
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
