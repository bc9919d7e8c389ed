//! Files that are to cost more than they are worth.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use weir_transform::ParquetRows;

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

/// One column of texts.
fn texts(properties: WriterPropertiesBuilder, values: &[ByteArray]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message m { required binary v (UTF8); }").unwrap());
    let properties = Arc::new(properties.set_dictionary_enabled(false).build());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.into_inner().unwrap()
}

#[test]
fn texts_that_share_their_beginnings_take_what_they_are() {
    let properties = || WriterProperties::builder().set_encoding(Encoding::DELTA_BYTE_ARRAY);
    let contract = of_columns(&[("v", "string")]);
    let long = ByteArray::from(Bytes::from(vec![b'x'; 1_000_000]));
    let of = |count: usize| texts(properties(), &vec![long.clone(); count]);
    assert!(of(67).len() < 1_010_000);
    assert_eq!(read(&contract, &of(67)).clean.height(), 67);
    let reason = "field `v` (BYTE_ARRAY UTF8): rows 1 to 68 of the file cannot be read: the texts of a page have 68000000 \
                  bytes, more than 67108864";
    let found = refused(&read(&contract, &of(68)));
    assert_eq!((found.len(), found[0].split_once(": ").unwrap().1), (68, reason));
    // More lengths than any page has, which take no bytes.
    let empty = ByteArray::from(Vec::new());
    let many = properties().set_data_page_row_count_limit(usize::MAX).set_write_batch_size(1 << 23);
    let found = refused(&read(&contract, &texts(many, &vec![empty; (4 << 20) + 1])));
    assert!(found[0].ends_with("it has 4194305 texts, more than 4194304"), "{}", found[0]);
    // Lengths of every kind are added up as the decoder does it.
    let texts_of_any_length: Vec<String> =
        (0..5_000_usize).map(|row| "ab".repeat(row * row % 97) + &row.to_string()).collect();
    let values: Vec<ByteArray> = texts_of_any_length.iter().map(|text| ByteArray::from(&**text)).collect();
    for encoding in [Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY] {
        let output = read(&contract, &texts(WriterProperties::builder().set_encoding(encoding), &values));
        let read: Vec<&str> = output.clean.column("v").unwrap().str().unwrap().iter().flatten().collect();
        assert_eq!(read, texts_of_any_length);
    }
}

#[test]
fn a_file_gives_what_its_bytes_pay_for() {
    let schema = Arc::new(parse_message_type("message m { required int64 n; }").unwrap());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let ones = vec![1; 1 << 20];
    for _ in 0..20 {
        column.typed::<Int64Type>().write_batch(&ones, None, None).unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    let bytes = file.into_inner().unwrap();
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let mut rows = ParquetRows::open(file, 1 << 20).unwrap();
    let (mut read, mut reason) = (0, None);
    while reason.is_none() {
        match rows.next() {
            Ok(Some(step)) => read += step.rows as u64,
            Ok(None) => break,
            Err(why) => reason = Some(why),
        }
    }
    // A row draws 64 and its number 8.
    let most = ((512 << 20) + 512 * bytes.len() as u64) / 72;
    assert!(read <= most && read + 2 * 65_536 > most, "{read} of {most}");
    let (from, to) = (read + 1, 20 << 20);
    let says =
        format!("the Parquet file gives more than 512 times its bytes: rows {from} to {to} of the file cannot be read");
    assert_eq!(reason, Some(says));
    assert!(rows.next().unwrap().is_none(), "said once");
}

#[test]
fn so_many_damaged_pages_are_told_apart() {
    let one_each = WriterProperties::builder().set_data_page_row_count_limit(1).set_write_batch_size(1);
    let mut file = texts(one_each, &vec![ByteArray::from("xyzw"); 300]);
    let text = [4, 0, 0, 0, b'x', b'y', b'z', b'w'];
    let pages: Vec<usize> = (0..file.len() - text.len()).filter(|at| file[*at..].starts_with(&text)).collect();
    assert_eq!(pages.len(), 300);
    // Every other one: its text is then longer than its page.
    pages.iter().step_by(2).for_each(|at| file[*at] = 200);
    let output = read(&of_columns(&[("v", "string")]), &file);
    let found = refused(&output);
    assert!(found[0].contains("rows 1 to 1 of the file"), "{}", found[0]);
    assert_eq!(output.clean.height(), 64, "those between the first 64 damaged ones");
    assert!(found[200].contains("rows 129 to 300 of the file"), "{}", found[200]);
}
