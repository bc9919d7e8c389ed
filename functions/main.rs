//! The binary: see `lib.rs`.

/// Memory that one thread took and another gave up goes back to the system, which glibc's does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    weir::run()
}
