//! The binary: see `lib.rs`.

fn main() -> std::process::ExitCode {
    weir::run()
}
