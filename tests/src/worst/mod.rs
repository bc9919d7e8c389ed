//! The most that an input of a megabyte may ask for, of each format and of each way to ask: less than 2 s of CPU and 256 MB.
//!
//! `hostile` looks for such inputs; here are those that are known. Each runs in a process of its own, in which nothing else
//! allocates, under a contract of few columns, of many, and of columns that come from the data.

mod inputs;

use std::process::Command;

use crate::hostile::ALLOCATOR;
use weir_hostile::{MAX_BYTES, MAX_CPU, MAX_MEMORY, contracts, cpu, memory, take};

/// What else the machine does makes the same work take more CPU: the least of so many counts.
const TRIES: usize = 4;
/// The target that the child is to run.
const CHILD: &str = "WEIR_TEST_WORST_CHILD";

fn costs(target: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["worst::runs_one_target", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, target)
        .envs(ALLOCATOR)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    println!("{output}");
    assert!(child.status.success(), "{target}: {}\n{output}", String::from_utf8_lossy(&child.stderr));
    let beyond: Vec<&str> = output.lines().filter(|line| line.starts_with("beyond ")).collect();
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
    assert!(output.contains("done"), "{output}");
}

#[test]
fn avro_costs_what_its_bytes_pay_for() {
    costs("avro");
}

#[test]
fn parquet_costs_what_its_bytes_pay_for() {
    costs("parquet");
}

#[test]
fn text_costs_what_its_bytes_pay_for() {
    costs("csv");
    costs("json");
}

#[test]
fn packed_text_costs_what_its_bytes_pay_for() {
    costs("packed");
}

#[test]
#[ignore = "the child of the tests above"]
fn runs_one_target() {
    let Ok(target) = std::env::var(CHILD) else { return };
    let only = std::env::var("WEIR_TEST_WORST").unwrap_or_default();
    for (name, input) in inputs::inputs(&target) {
        assert!(input.len() <= MAX_BYTES + 4_096, "{name}: {} bytes", input.len());
        if !name.contains(&only) {
            continue;
        }
        for made in contracts() {
            let mut least = None;
            for _ in 0..TRIES {
                std::fs::write("/proc/self/clear_refs", "5").unwrap();
                let (before, base) = (cpu(), memory("VmRSS:"));
                let records = take(&target, made, &input);
                let (took, peak) = (cpu() - before, memory("VmHWM:").saturating_sub(base));
                least = least.into_iter().chain([(took, peak, records)]).min();
                if took <= MAX_CPU {
                    break;
                }
            }
            let Some((took, peak, records)) = least else { continue };
            assert!(records > 0 || name.starts_with("a header"), "{name}: nothing was read");
            let verdict = if took > MAX_CPU || peak > MAX_MEMORY { "beyond" } else { "within" };
            let (columns, bytes, mib) = (made.name, input.len(), peak >> 20);
            println!("{verdict} {target}, {name}, {columns}: {bytes} bytes, {records} records, {took:?}, {mib} MiB");
        }
    }
    println!("done");
}
