//! Parquet files read by row groups: the parts are the whole, and a part needs the footer and its own bytes only.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::{DataFrame, ParquetWriter, df};
use weir_contract::DataType;
use weir_intake::Blob;
use weir_transform::{ParquetPart, ParquetRows, parquet_parts};

use super::super::{column, contract, lineage, transform};

const MOST: usize = 1 << 20;

const ROWS: i64 = 1_000;

fn frame() -> DataFrame {
    let ids: Vec<i64> = (0..ROWS).collect();
    let names: Vec<String> = ids.iter().map(|id| format!("name {}", id * 7_919 % 1_000)).collect();
    df!("id" => ids, "name" => names).unwrap()
}

fn written(group: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).with_row_group_size(Some(group)).finish(&mut frame()).unwrap();
    bytes
}

async fn blob(content: Vec<u8>) -> Blob {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&Path::from("x"), content.into()).await.unwrap();
    Blob::open(store, Path::from("x"), None).await.unwrap()
}

fn ids(mut rows: ParquetRows) -> Vec<i64> {
    let transform = transform(&contract(vec![column("id", DataType::Long)]));
    let mut ids = Vec::new();
    while let Some(step) = rows.next().unwrap() {
        let output = transform.rows(&step, 1, &lineage()).unwrap();
        ids.extend(output.clean.column("id").unwrap().i64().unwrap().iter().flatten());
    }
    ids
}

#[tokio::test]
async fn parts_are_the_whole() {
    let bytes = written(100);
    let blob = blob(bytes.clone()).await;
    let footer = blob.parquet_footer().await.unwrap().unwrap();
    let mut planned = tempfile::tempfile().unwrap();
    blob.spill_ranges(&mut planned, std::slice::from_ref(&footer), 1 << 20).await.unwrap();
    for (split, expected) in [(1, 10), (footer.start / 4, 5), (u64::MAX, 1)] {
        let parts = parquet_parts(&planned, split).unwrap();
        assert_eq!(parts.len(), expected, "{parts:?}");
        assert_eq!((parts[0].rows.start, parts[parts.len() - 1].rows.end), (0, ROWS as u64));
        assert!(parts.windows(2).all(|pair| pair[0].rows.end == pair[1].rows.start));
        let mut found = Vec::new();
        for part in &parts {
            let mut file = tempfile::tempfile().unwrap();
            blob.spill_ranges(&mut file, &[footer.clone(), part.bytes.clone()], 300).await.unwrap();
            let of_part = ids(ParquetRows::open_part(file, part, MOST).unwrap());
            assert_eq!(of_part.len() as u64, part.rows.end - part.rows.start);
            found.extend(of_part);
        }
        assert_eq!(found, (0..ROWS).collect::<Vec<_>>(), "parts of {split}");
    }
    // Without its bytes a part cannot be read: the footer alone holds no rows.
    let part = parquet_parts(&planned, 1).unwrap().remove(3);
    assert_eq!(ids(ParquetRows::open_part(planned, &part, MOST).unwrap()), Vec::<i64>::new());
    // Some rows are left out where a piece before wrote them.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let rest = ids(ParquetRows::open_after(file, 555, MOST).unwrap());
    assert_eq!(rest, (555..ROWS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_without_rows_has_one_part() {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame().head(Some(0))).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let parts = parquet_parts(&file, 1).unwrap();
    assert!(matches!(&parts[..], [ParquetPart { rows, .. }] if *rows == (0..0)), "{parts:?}");
    assert_eq!(ids(ParquetRows::open_part(file, &parts[0], MOST).unwrap()), Vec::<i64>::new());
}

#[tokio::test]
async fn footers_that_are_none() {
    let sound = written(100);
    let with_tail = |tail: &[u8]| [&sound[..sound.len() - 8], tail].concat();
    let no_footer = "not a Parquet file that can be read: it has no footer at its end; is it truncated?";
    let cases = [
        (sound[..sound.len() - 1].to_vec(), no_footer),
        (b"PAR1".to_vec(), no_footer),
        (b"".to_vec(), no_footer),
        (with_tail(b"\x01\0\0\0PARE"), "not a Parquet file that can be read: its footer is encrypted"),
        (with_tail(b"\xff\xff\xff\x00PAR1"), "not a Parquet file that can be read: its footer is longer than the file"),
    ];
    for (content, expected) in cases {
        assert_eq!(blob(content).await.parquet_footer().await.unwrap(), Err(expected.to_owned()));
    }
    // Never a panic, whatever the footer says.
    let footer = sound.len() - 8 - 200;
    for at in footer..sound.len() - 8 {
        let mut damaged = sound.clone();
        damaged[at] ^= 0xff;
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(&damaged).unwrap();
        if let Ok(parts) = parquet_parts(&file, 1) {
            assert!(!parts.is_empty());
        }
    }
}
