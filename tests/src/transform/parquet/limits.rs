//! Files that are to cost more than they are worth.

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};

use super::super::{clean, quarantined, refused};
use super::types::{put, written};
use super::{of_columns, read};

#[test]
fn a_row_that_is_too_long_is_refused_with_its_head() {
    let long = vec![b'x'; (1 << 20) + 1];
    let file = written("required int64 id; required binary v (UTF8); required binary w (UTF8);", |group| {
        put::<Int64Type>(group, &[1, 2, 3], &[], &[]);
        let texts = [b"a".as_slice(), &long, b"c"].map(|text| ByteArray::from(text.to_vec()));
        put::<ByteArrayType>(group, &texts, &[], &[]);
        let texts = ["p", "q", "r"].map(|text| ByteArray::from(text.as_bytes().to_vec()));
        put::<ByteArrayType>(group, &texts, &[], &[]);
    });
    let output = read(&of_columns(&[("id", "long"), ("v", "string")]), &file);
    assert_eq!(clean(&output), ["1: 1|a|{\"w\":\"p\"}", "3: 3|c|{\"w\":\"r\"}"]);
    assert_eq!(refused(&output), ["2: record longer than 1048576 bytes"]);
    let raw = &quarantined(&output)[0].2;
    assert!(raw.starts_with(b"{\"id\":2,\"v\":\"xxx") && raw.len() == 4 * 1024, "{}", raw.len());
    // A column that nobody asks for makes a row long, too.
    let output = read(&of_columns(&[("id", "long")]), &file);
    assert_eq!(refused(&output), ["2: record longer than 1048576 bytes"]);
}

#[test]
fn columns_have_a_ceiling_and_a_depth() {
    let contract = of_columns(&[("c0", "long")]);
    let wide = |columns: usize| {
        let fields: String = (0..columns).map(|column| format!("optional int32 c{column};")).collect();
        written(&fields, |group| (0..columns).for_each(|_| put::<Int32Type>(group, &[7], &[1], &[])))
    };
    assert_eq!(read(&contract, &wide(10_000)).clean.height(), 1);
    assert_eq!(
        refused(&read(&contract, &wide(10_001))),
        ["1: a Parquet file of 10001 columns; Weir reads at most 10000"]
    );
    let deep = |depth: usize| {
        let (open, close) = ("optional group g { ".repeat(depth), " }".repeat(depth));
        let fields = format!("required int64 c0; {open} optional int32 x; {close}");
        written(&fields, |group| {
            put::<Int64Type>(group, &[1], &[], &[]);
            put::<Int32Type>(group, &[], &[0], &[]);
        })
    };
    assert_eq!(read(&contract, &deep(90)).clean.height(), 1);
    assert_eq!(refused(&read(&contract, &deep(110))), ["1: a Parquet file whose columns are nested deeper than 100"]);
}

#[test]
fn a_page_takes_no_more_than_it_may() {
    let file = written("required int64 id;", |group| put::<Int64Type>(group, &[1, 2], &[], &[]));
    // The header of the first page: its type, then the size unpacked.
    assert_eq!((file[4], file[6]), (0x15, 0x15));
    let end = 7 + file[7..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let claims = [&file[..7], &[0xfe, 0xff, 0xff, 0xff, 0x0f], &file[end..]].concat();
    let output = read(&of_columns(&[("id", "long")]), &claims);
    let reason = "field `id` (INT64): rows 1 to 2 of the file cannot be read: a page of 2147483647 bytes is larger than 134217728";
    assert_eq!(refused(&output), [format!("1: {reason}"), format!("2: {reason}")]);
}
