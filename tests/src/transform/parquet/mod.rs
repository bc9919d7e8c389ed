//! Parquet files of many writers: every value is the one that is written, or its row is refused with a reason.

mod cases;
mod damage;
mod limits;
mod matrix;
mod parts;
mod types;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use polars::prelude::{DataFrame, ParquetWriter};
use serde_json::Value;
use weir_contract::Contract;
use weir_transform::{Output, ParquetRows};

use super::{checked, lineage, transform};
use crate::support::repository;

/// As Polars writes the frame.
pub(super) fn read_frame(contract: &Contract, frame: &DataFrame) -> Output {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame.clone()).unwrap();
    read(contract, &bytes)
}

/// The whole file, as one output; a file that is refused is one record.
pub(super) fn read(contract: &Contract, bytes: &[u8]) -> Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    read_file(contract, file)
}

fn read_file(contract: &Contract, file: File) -> Output {
    let transform = transform(contract);
    let mut rows = match ParquetRows::open(file, transform.max_record_bytes()) {
        Ok(rows) => rows,
        Err(reason) => return transform.quarantine_records(&[(&[], 1, reason)], &lineage()).unwrap(),
    };
    let mut whole: Option<Output> = None;
    loop {
        let before = whole.as_ref().map_or(0, |whole| whole.records);
        let output = match rows.next() {
            Ok(Some(step)) => {
                assert_eq!(step.first, before);
                checked(contract, transform.rows(&step, before as i64 + 1, &lineage()).unwrap())
            }
            Ok(None) => break,
            // One record stands for the rows that are left, as in a blob.
            Err(reason) => transform.quarantine_records(&[(&[], before as i64 + 1, reason)], &lineage()).unwrap(),
        };
        let Some(whole) = &mut whole else {
            whole = Some(output);
            continue;
        };
        whole.clean.vstack_mut_owned(output.clean).unwrap();
        whole.quarantined.vstack_mut_owned(output.quarantined).unwrap();
        whole.records += output.records;
        whole.report.merge(output.report);
    }
    let mut whole = whole.unwrap_or_else(|| transform.ndjson(b"", 1, &lineage()).unwrap());
    whole.clean.rechunk_mut();
    whole.quarantined.rechunk_mut();
    whole
}

/// `name type` lines as a contract for Parquet.
fn of_columns(columns: &[(&str, &str)]) -> Contract {
    let mut text =
        "name = \"t\"\n[source]\nkind = \"blob\"\ncontainer = \"landing\"\npath = \"*.parquet\"\n".to_owned();
    for (name, data_type) in columns {
        text += &format!("[[columns]]\nname = \"{name}\"\ntype = \"{data_type}\"\n");
    }
    Contract::parse(&text, "t.toml").unwrap()
}

/// What was rescued of each row, by position; null where nothing was.
fn rescued(output: &Output) -> Vec<Value> {
    let texts = output.clean.column("_rescued").unwrap().str().unwrap().clone();
    texts.iter().map(|text| text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())).collect()
}

fn case(name: &str) -> (Contract, PathBuf) {
    let folder = repository().join("tests/data/cases/files").join(name);
    let contract = std::fs::read_to_string(folder.join("contract.toml")).unwrap();
    (Contract::parse(&contract, "contract.toml").unwrap(), folder.join("input.parquet"))
}

fn read_path(contract: &Contract, path: &Path) -> Output {
    read_file(contract, File::open(path).unwrap())
}
