//! Damaged files: every row that the footer counts is counted, what is sound is read, and nothing fails.

use parquet::data_type::{Int32Type, Int64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tempfile::TempDir;

use super::super::{clean, refused};
use super::matrix::WRITERS;
use super::types::{put, written};
use super::{of_columns, read, rescued};
use crate::python;

/// Pages of 1,000 rows with checksums; `id` counts from 0 and `v` is ten times that, a row group has 4,000.
fn paged() -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("paged.parquet");
    let write = format!(
        "t = pa.table({{'id': pa.array(range(10_000), pa.int64()), 'v': pa.array([i * 10 for i in range(10_000)], pa.int64())}})\n\
         pq.write_table(t, {path:?}, row_group_size=4_000, data_page_size=8_000, write_batch_size=1_000, compression='none', \
         use_dictionary=False, write_page_checksum=True, column_encoding='PLAIN')"
    );
    python::run(WRITERS, &["write", &write]);
    std::fs::read(path).unwrap()
}

/// The place of a value of `v` or `id`.
fn place(file: &[u8], value: i64) -> usize {
    let place = file.windows(8).position(|bytes| bytes == value.to_le_bytes()).unwrap();
    assert!(value > 4_096, "small ones are found elsewhere");
    place
}

#[test]
fn a_broken_page_takes_its_rows_and_no_others() {
    let mut file = paged();
    let at = place(&file, 55_550); // row 5,555 of column v
    file[at] ^= 1;
    let output = read(&of_columns(&[("id", "long"), ("v", "long")]), &file);
    let reason =
        "field `v` (INT64): rows 5001 to 6000 of the file cannot be read: a page is damaged: its checksum is another";
    assert_eq!(output.records, 10_000);
    assert_eq!(refused(&output), (5_001..=6_000).map(|row| format!("{row}: {reason}")).collect::<Vec<_>>());
    let rows = clean(&output);
    assert_eq!((rows[4_999].as_str(), rows[5_000].as_str()), ("5000: 4999|49990", "6001: 6000|60000"));
    // Nobody asked for it: nothing is refused, and the rows say what they do not have.
    let output = read(&of_columns(&[("id", "long")]), &file);
    assert_eq!((output.clean.height(), output.quarantined.height()), (10_000, 0));
    let rescued = rescued(&output);
    assert_eq!(rescued[4_999], json!({"v": 49_990}));
    assert_eq!(rescued[5_000..6_000], vec![json!({"_unreadable": ["v"]}); 1_000]);
    assert_eq!(rescued[6_000], json!({"v": 60_000}));
}

#[test]
fn a_file_that_breaks_off_in_its_middle_counts_all_rows() {
    // As a copy that lost a block: zeros from a page on.
    let mut file = paged();
    let (from, to) = (place(&file, 5_501), place(&file, 7_999)); // of id
    file[from..to].fill(0);
    let output = read(&of_columns(&[("id", "long"), ("v", "long")]), &file);
    assert_eq!(output.records, 10_000);
    let rows = clean(&output);
    assert!(rows.iter().all(|row| {
        let (position, values) = row.split_once(": ").unwrap();
        let id = position.parse::<i64>().unwrap() - 1;
        values == format!("{id}|{}", id * 10)
    }));
    assert!(output.quarantined.height() >= 2_000 && output.quarantined.height() <= 3_000);
}

/// The footer with every count of `from` rows or values replaced.
fn recounted(file: &[u8], from: u64, to: u64) -> Vec<u8> {
    let varint = |mut value: u64| {
        let mut bytes = vec![0x16]; // the next field, 64 bits
        value <<= 1;
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let length = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize;
    let (body, footer) = file[..file.len() - 8].split_at(file.len() - 8 - length);
    let (old, new, mut changed, mut rest) = (varint(from), varint(to), Vec::new(), footer);
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        changed.extend_from_slice(&rest[..at]);
        changed.extend_from_slice(&new);
        rest = &rest[at + old.len()..];
    }
    changed.extend_from_slice(rest);
    [body, &changed, &(changed.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn counts_that_pages_do_not_hold() {
    let contract = of_columns(&[("id", "long")]);
    let file =
        written("required int64 id;", |group| put::<Int64Type>(group, &(0..1_234).collect::<Vec<_>>(), &[], &[]));
    assert_eq!(read(&contract, &file).clean.height(), 1_234);
    // More rows than there are: those that are there are read, the others counted.
    let output = read(&contract, &recounted(&file, 1_234, 2_000));
    assert_eq!((output.records, output.clean.height()), (2_000, 1_234));
    let reason = "field `id` (INT64): rows 1235 to 2000 of the file cannot be read: \
        the footer counts 2000 values, its pages hold 1234, its row group has 2000 rows";
    assert_eq!(refused(&output)[0], format!("1235: {reason}"));
    // Fewer: nobody knows which.
    let output = read(&contract, &recounted(&file, 1_234, 1_000));
    assert_eq!((output.records, output.clean.height()), (1_000, 0));
    // More than any file of so few bytes can have: one record.
    let output = read(&contract, &recounted(&file, 1_234, 1 << 60));
    let bytes = recounted(&file, 1_234, 1 << 60).len();
    let reason = format!("1: the Parquet file's footer counts {} rows, more than {bytes} bytes can hold", 1_u64 << 60);
    assert_eq!(refused(&output), [reason]);
}

#[test]
fn lists_whose_pages_hold_other_counts() {
    let contract = of_columns(&[("id", "long"), ("v", "string")]);
    let of_rows = |rows: i64| {
        written("required int64 id; repeated int32 v;", |group| {
            put::<Int64Type>(group, &(0..rows).collect::<Vec<_>>(), &[], &[]);
            put::<Int32Type>(group, &[7; 700], &[1; 700], &[[0].as_slice(), &[1; 699]].concat());
        })
    };
    // The writer does not hold columns against each other: the list has one row, its row group two.
    let file = std::panic::catch_unwind(|| of_rows(2));
    if let Ok(file) = file {
        let output = read(&contract, &file);
        assert_eq!(output.records, 2);
        assert_eq!(output.quarantined.height(), 1, "{:?}", refused(&output));
    }
    assert_eq!(read(&contract, &of_rows(1)).clean.height(), 1);
}

/// Whatever bytes are changed: all rows are counted once, none is read twice, and nothing panics.
#[test]
fn mutated_files_keep_the_books() {
    let (file, seed) = (paged(), rand::random::<u64>());
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let contract = of_columns(&[("id", "long"), ("v", "long")]);
    for _ in 0..60 {
        let mut mutated = file.clone();
        for _ in 0..random.random_range(1..6) {
            // Headers and the footer, more often than values.
            let at = match random.random_range(0..3) {
                0 => random.random_range(0..mutated.len()),
                1 => random.random_range(mutated.len() - 700..mutated.len()),
                _ => random.random_range(0..60),
            };
            mutated[at] = random.random();
        }
        let output = read(&contract, &mutated);
        assert_eq!(output.records, (output.clean.height() + output.quarantined.height()) as u64);
        assert!(output.records == 10_000 || refused(&output).iter().any(|row| row.starts_with("1: ")), "{output:?}");
    }
}
