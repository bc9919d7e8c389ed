//! Parquet files of a few kilobytes that would take gigabytes: memory follows the budget, not the input.

use serde_json::Value;

use super::handler::{Handler, books};
use super::site::Site;
use crate::python;

const CONTRACT: &str = r#"
name = "orders"
[source]
kind = "blob"
container = "landing"
path = ["orders/*.parquet"]
[[columns]]
name = "v"
type = "string"
"#;

/// `length` bytes of text on each of 65,536 rows, which the file has once.
const REPEATED: &str = "
import sys, pyarrow as pa, pyarrow.parquet as pq
value = pa.array(['x' * int(sys.argv[2])])
column = pa.DictionaryArray.from_arrays(pa.array([0] * 65536, pa.int32()), value)
pq.write_table(pa.table({'v': column}), sys.argv[1], compression='zstd', dictionary_pagesize_limit=1 << 24)
";

/// So many columns that hold nothing, on 65,536 rows.
const WIDE: &str = "
import sys, pyarrow as pa, pyarrow.parquet as pq
nulls = pa.nulls(65536, pa.int32())
columns = int(sys.argv[2])
pq.write_table(pa.table({f'c{i}': nulls for i in range(columns)}), sys.argv[1], compression='zstd', write_statistics=False)
";

async fn ingested(script: &str, size: usize) -> (Value, u64, u64) {
    let site = Site::new();
    site.contract("orders", CONTRACT);
    let path = site.path("written.parquet");
    python::run(script, &[path.to_str().unwrap(), &size.to_string()]);
    let content = std::fs::read(path).unwrap();
    let bytes = content.len() as u64;
    let handler = Handler::start_with(&site, &[("WEIR_MEMORY_BUDGET_MB", "512")]).await;
    let message = site.put("orders/a.parquet", content).await;
    let receipt = handler.ingest(&message).await;
    (receipt, bytes, handler.peak_memory())
}

const PEAK: u64 = 700 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_the_file_has_once_and_every_row_refers_to() {
    let (receipt, bytes, peak) = ingested(REPEATED, 32 << 10).await;
    assert!(bytes < 16_000, "{bytes}");
    // Half a gigabyte of text is what so small a file may give; one refused record stands for the other rows.
    assert_eq!(books(&receipt), [16_353, 16_352, 1, 0]);
    assert!(peak < PEAK, "{} MiB", peak >> 20);
    let (receipt, bytes, peak) = ingested(REPEATED, 2 << 20).await;
    assert!(bytes < 400_000, "{bytes}");
    assert_eq!(books(&receipt), [65_536, 0, 65_536, 0], "longer than a record may be");
    assert!(peak < PEAK, "{} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_without_end() {
    let (receipt, _, peak) = ingested(WIDE, 5_000).await;
    assert_eq!(books(&receipt), [65_536, 65_536, 0, 0]);
    assert!(peak < PEAK, "{} MiB", peak >> 20);
    let (receipt, _, peak) = ingested(WIDE, 20_000).await;
    assert_eq!(books(&receipt), [1, 0, 1, 0], "more columns than are read");
    assert!(peak < PEAK, "{} MiB", peak >> 20);
}
