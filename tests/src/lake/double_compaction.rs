//! Two compactions at once, each with what it knew before the other was done: delta-rs doubles every row, Weir none.

use std::sync::Arc;

use object_store::ObjectStore;
use serde_json::{Value, json};
use weir_lake::CompactOptions;

use super::faulty::Faulty;
use super::readers::Local;
use super::{append, model, open, rows};
use crate::python;

/// Two timers compact a copy of the table with `deltalake`, the second with the handle that it loaded before the first
/// was done. The same is measured in `benches/lake/baseline.py`.
const TWO_HANDLES: &str = r#"
import json, shutil, sys, tempfile
from pathlib import Path
import polars as pl
from deltalake import DeltaTable

with tempfile.TemporaryDirectory() as folder:
    copy = str(Path(folder) / "table")
    shutil.copytree(sys.argv[1], copy)
    first, second = DeltaTable(copy), DeltaTable(copy)
    removed = [handle.optimize.compact()["numFilesRemoved"] for handle in (first, second)]
    print(json.dumps({"removed": removed, "rows": pl.scan_delta(copy).select(pl.len()).collect().item()}))
"#;

#[tokio::test]
async fn two_compactions_with_stale_handles_double_no_row() {
    let local = Local::new();
    let table = open(&local.store).await;
    for position in 1..=6 {
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
    // What this test is about is there: whoever repairs it in delta-rs will see this fail, and that is good news.
    let theirs: Value = serde_json::from_str(&python::run(TWO_HANDLES, &[local.table().to_str().unwrap()])).unwrap();
    assert_eq!(theirs, json!({"removed": [6, 6], "rows": 12}));

    // Ours, both as late as can be: each has read all files when the other commits. At its new file, and at its commit.
    let mut expected = model("hub/0", 1..=6);
    for (last, held_at) in [(6, "/part-"), (12, "_delta_log")] {
        if last > 6 {
            for position in 7..=last {
                append(&table, &model("hub/0", position..=position), Some(position - 1)).await.unwrap();
            }
            expected = model("hub/0", 1..=last);
        }
        let slow = Faulty::calm(&local.store);
        let (first, second) = (open(&local.store).await, open(&(Arc::clone(&slow) as Arc<dyn ObjectStore>)).await);
        let gate = slow.hold_next_write(held_at);
        let second = tokio::spawn(async move { second.compact(CompactOptions::default(), None).await.unwrap() });
        gate.reached().await;
        let done = first.compact(CompactOptions::default(), None).await.unwrap();
        assert_eq!((done.commits, done.files_removed, done.conflicts), (1, 6 + usize::from(last > 6), 0));
        gate.release();
        let late = second.await.unwrap();
        assert_eq!((late.commits, late.files_removed, late.conflicts), (0, 0, 1));
        assert_eq!(rows(&table).await, expected, "{held_at}");
        assert_eq!(open(&local.store).await.snapshot().await.unwrap().files.len(), 1);
    }
}
