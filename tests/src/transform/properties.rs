//! Properties over arbitrary input: nothing is lost, nothing depends on where a chunk is cut, and what is written is
//! what is read.

use proptest::prelude::*;
use weir_contract::{Contract, DataType};
use weir_transform::{Output, Transform};

use super::{checked, clean, column, contract, lineage, orders, quarantined, run_csv, run_ndjson, transform};

fn csv(contract: &Contract, transform: &Transform, chunk: &[u8], first: i64) -> Output {
    let layout = transform.csv_layout(Some(b"id,name,price,day")).unwrap();
    checked(contract, transform.csv(&layout, chunk, first, &lineage()).unwrap())
}

/// Bytes that are likely to hit the grammar's corners.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        5 => prop::sample::select(vec!["1", "a", ",", ",", "\n", "\n", "\r\n", "\"", "\"\"", "2024-01-01", "1.5", "\r", " ", "\u{e9}"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
        2 => Just(b"7,x,1,2024-01-01\n".to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A field as a writer would write it.
fn written(value: &str, quoted: bool) -> String {
    if quoted || value.is_empty() || value.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_accounted_for(bytes in soup()) {
        let output = run_csv(&orders(), &bytes);
        let mut positions: Vec<i64> = quarantined(&output).into_iter().map(|(position, _, _)| position).collect();
        let clean = output.clean.column("_source_position").unwrap();
        positions.extend(clean.i64().unwrap().iter().flatten());
        positions.sort_unstable();
        // A first line that is no header is a record too: the one before the first.
        let first = positions.first().copied().unwrap_or(1);
        prop_assert!(first == 0 || first == 1);
        prop_assert_eq!(positions, (first..first + output.records as i64).collect::<Vec<_>>());
        run_ndjson(&orders(), &bytes);
    }

    /// The fast way through clean text and the careful way through doubtful bytes give the same verdicts.
    #[test]
    fn one_doubtful_record_changes_no_other(bytes in soup()) {
        let (contract, transform) = (orders(), transform(&orders()));
        let alone = csv(&contract, &transform, &bytes, 2);
        for doubtful in [b"\xff\n".as_slice(), b"\0\n"] {
            let both = csv(&contract, &transform, &[doubtful, &bytes].concat(), 1);
            prop_assert_eq!(clean(&both), clean(&alone));
            prop_assert_eq!(&quarantined(&both)[1..], &quarantined(&alone)[..]);
        }
    }

    /// What is written is read back, however it is quoted and wherever lines end.
    #[test]
    fn round_trip(
        rows in prop::collection::vec(
            (any::<i64>(), "[^\\x00\\r]{0,12}", -999_999_999_i64..1_000_000_000, any::<[bool; 3]>()),
            1..20,
        )
    ) {
        let (mut bytes, mut expected) = ("id,name,price,day\n".to_owned(), Vec::new());
        for (index, (id, name, cents, quoted)) in rows.iter().enumerate() {
            let sign = if *cents < 0 { "-" } else { "" };
            let price = format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100);
            let end = if quoted[2] { "\r\n" } else { "\n" };
            bytes.push_str(&format!("{},{},{},{end}", written(&id.to_string(), quoted[0]), written(name, quoted[1]), written(&price, quoted[2])));
            expected.push(format!("{}: {id}|{name}|{price}|~", index + 1));
        }
        let output = run_csv(&orders(), bytes.as_bytes());
        prop_assert_eq!(clean(&output), expected);
    }

    #[test]
    fn doubles_and_timestamps_are_what_the_standard_parsers_read(value in any::<f64>(), micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
        let contract = contract(vec![column("v", DataType::Double), column("at", DataType::Timestamp)]);
        let at = chrono::DateTime::from_timestamp_micros(micros).unwrap();
        let output = run_csv(&contract, format!("v,at\n{value:e},{}\n", at.to_rfc3339()).as_bytes());
        if value.is_finite() {
            let read = output.clean.column("v").unwrap().f64().unwrap().get(0).unwrap();
            prop_assert_eq!(read.to_bits(), value.to_bits());
            let read = output.clean.column("at").unwrap().cast(&polars::prelude::DataType::Int64).unwrap();
            prop_assert_eq!(read.i64().unwrap().get(0), Some(micros));
        } else {
            prop_assert_eq!(output.quarantined.height(), 1);
        }
    }
}

/// A chunk that is cut into a part per core gives what its records give one at a time.
#[test]
fn parts_of_a_big_chunk_agree_with_its_records() {
    let (contract, transform) = (orders(), transform(&orders()));
    for quotes in [false, true] {
        let records: Vec<String> = (0..60_000)
            .map(|id| match id % 997 {
                3 => "broken\n".to_owned(),
                5 if quotes => format!("{id},\"two\nlines \"\"here\"\"\",1.5,2024-01-01\r\n"),
                _ => format!("{id},name {id},1.5,2024-01-01\n"),
            })
            .collect();
        let whole = csv(&contract, &transform, records.concat().as_bytes(), 1);
        assert!(
            whole.clean.column("id").unwrap().n_chunks() > 1
                || std::thread::available_parallelism().unwrap().get() == 1
        );
        let (mut rows, mut faults) = (clean(&whole).into_iter(), quarantined(&whole).into_iter());
        for (index, record) in records.iter().enumerate().step_by(17) {
            let position = index as i64 + 1;
            let alone = csv(&contract, &transform, record.as_bytes(), position);
            let prefix = format!("{position}: ");
            match clean(&alone).into_iter().next() {
                Some(row) => assert_eq!(rows.find(|row| row.starts_with(&prefix)), Some(row)),
                None => assert_eq!(faults.find(|(at, _, _)| *at == position), quarantined(&alone).into_iter().next()),
            }
        }
    }
}

/// Names in the contract's order and out of it, spelt plainly or not, between lines that are no text: each record gives
/// alone what it gives among others, wherever blocks and parts of the chunk are cut.
#[test]
fn lines_of_a_big_chunk_agree_with_their_records() {
    let (contract, transform) = (orders(), transform(&orders()));
    let records: Vec<Vec<u8>> = (0..30_000)
        .map(|id| match id % 1009 {
            3 => b"{\"id\": 1".to_vec(),
            4 => b"{\"id\":1,\"name\":\"\xff\"}".to_vec(),
            5 => b" \t\r".to_vec(),
            6 => b"{\"id\":7,\"name\":\"a\",\"price\":1,\"day\":null,\"id\":8}".to_vec(),
            7 => b"{\"id\":7,,\"name\":\"a\"}".to_vec(),
            _ => match id % 7 {
                0 => format!("{{\"id\":{id},\"name\":\"n {id}\",\"price\":1.5,\"day\":\"2024-01-01\"}}\r"),
                1 => format!("{{ \"id\" : {id} , \"name\" : \"n\" , \"price\" : \"1.5\" , \"day\" : null }}"),
                2 => format!("{{\"day\":\"2024-01-01\",\"price\":2,\"name\":\"\\u00e9 \u{e9}\",\"id\":{id}}}"),
                3 => format!("{{\"i\\u0064\":{id},\"NAME\":\"n\",\"price\":3,\"more\":{{\"a\":[1]}},\"day\":null}}"),
                4 => format!("{{\"id\":{id},\"name\":null}}"),
                5 => format!("{{\"id\": {id}, \"name\": \"n\", \"price\": 1e2, \"day\": \"2024-02-30\"}}"),
                _ => format!("{{\"ids\":0,\"id\":{id},\"nam\":1,\"name\":\"n\",\"price\":1.234}}"),
            }
            .into_bytes(),
        })
        .collect();
    let whole = transform.ndjson(&records.join(&b'\n'), 1, &lineage()).unwrap();
    let whole = checked(&contract, whole);
    let (mut rows, mut faults) = (clean(&whole).into_iter(), quarantined(&whole).into_iter());
    let mut position = 0;
    for record in &records {
        if record.trim_ascii().is_empty() {
            continue;
        }
        position += 1;
        let alone = checked(&contract, transform.ndjson(record, position, &lineage()).unwrap());
        match clean(&alone).into_iter().next() {
            Some(row) => assert_eq!(rows.next(), Some(row)),
            None => assert_eq!(faults.next(), quarantined(&alone).into_iter().next()),
        }
    }
    assert_eq!((rows.next(), faults.next(), whole.records), (None, None, position as u64));
}

/// Polars' own reader is the judge of clean data.
#[test]
fn agrees_with_polars_on_clean_data() {
    use polars::prelude::{CsvReadOptions, Schema, SerReader};
    let mut text = String::from("id,name,price,day\n");
    for id in 0..5_000_i64 {
        text.push_str(&format!(
            "{},name {id},{}.{:02},{:04}-{:02}-{:02}\n",
            id * 7 - 900,
            id * 31,
            id % 100,
            1970 + id % 60,
            id % 12 + 1,
            id % 28 + 1
        ));
    }
    let contract = orders();
    let schema: Schema = contract
        .columns
        .iter()
        .map(|column| polars::prelude::Field::new(column.name.as_str().into(), super::dtype(column.data_type)))
        .collect();
    let options = CsvReadOptions::default().with_schema(Some(std::sync::Arc::new(schema)));
    let expected = options.into_reader_with_file_handle(std::io::Cursor::new(text.as_bytes())).finish().unwrap();
    let given = run_csv(&contract, text.as_bytes()).clean;
    let given = given.select(["id", "name", "price", "day"]).unwrap();
    assert!(given.equals_missing(&expected));
}
