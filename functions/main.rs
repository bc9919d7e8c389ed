//! The binary: see `lib.rs`.

fn main() -> std::process::ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    with_few_arenas();
    weir::run()
}

/// Starts the program anew with settings of glibc's allocator, which are read when a process starts. By itself it keeps eight
/// arenas a core, each with what threads of its own gave up: memory that is in use nowhere (docs/limits.md, "Memory"). What is
/// larger than a chunk's buffer is asked of the system, and what is free at the end of an arena goes back to it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(clippy::disallowed_methods, reason = "the C library reads these, and before any setting is read")]
fn with_few_arenas() {
    use std::os::unix::process::CommandExt;

    const SETTINGS: [(&str, &str); 3] =
        [("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "67108864"), ("MALLOC_MMAP_THRESHOLD_", "33554432")];
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return; // the second start, or somebody's own settings
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    again.arg0(arguments.next().unwrap_or_default()).args(arguments).envs(SETTINGS);
    // It returns only if it fails; then all works as well, with more memory.
    let _ = again.exec();
}
