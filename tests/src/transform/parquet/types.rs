//! Types and forms that few writers use now, and many files have.

use std::sync::Arc;

use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
    Int96, Int96Type,
};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use super::super::{clean, quarantined, refused};
use super::{of_columns, read, rescued};

type Group<'g> = SerializedRowGroupWriter<'g, Vec<u8>>;

/// One row group; columns are written in order.
pub(super) fn written(fields: &str, write: impl FnOnce(&mut Group<'_>)) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message m {{ {fields} }}")).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    write(&mut group);
    group.close().unwrap();
    writer.into_inner().unwrap()
}

/// Values and their levels.
pub(super) fn put<T: DataType>(group: &mut Group<'_>, values: &[T::T], definitions: &[i16], repetitions: &[i16]) {
    let mut column = group.next_column().unwrap().unwrap();
    let given = |levels: &[i16]| (!levels.is_empty()).then(|| levels.to_vec());
    let (definitions, repetitions) = (given(definitions), given(repetitions));
    column.typed::<T>().write_batch(values, definitions.as_deref(), repetitions.as_deref()).unwrap();
    column.close().unwrap();
}

fn ids(group: &mut Group<'_>, count: i64) {
    put::<Int64Type>(group, &(1..=count).collect::<Vec<_>>(), &[], &[]);
}

fn bytes(texts: &[&[u8]]) -> Vec<ByteArray> {
    texts.iter().map(|text| ByteArray::from(text.to_vec())).collect()
}

#[test]
fn lists_of_every_age() {
    let contract = of_columns(&[("id", "long"), ("v", "string")]);
    // 7, 8 | nothing | 9
    let (definitions, repetitions) = ([1, 1, 0, 1], [0, 1, 0, 0]);
    let lists = [
        "repeated int32 v;",
        "required group v (LIST) { repeated int32 element; }",
        "required group v (LIST) { repeated group list { required int32 element; } }",
        "required group v (LIST) { repeated group bag { required int32 array_element; } }",
    ];
    for list in lists {
        let file = written(&format!("required int64 id; {list}"), |group| {
            ids(group, 3);
            put::<Int32Type>(group, &[7, 8, 9], &definitions, &repetitions);
        });
        assert_eq!(clean(&read(&contract, &file)), ["1: 1|[7,8]", "2: 2|[]", "3: 3|[9]"], "{list}");
    }
    let structs = [
        "repeated group v { required int32 x; required int32 y; }",
        "required group v (LIST) { repeated group element { required int32 x; required int32 y; } }",
        "required group v (LIST) { repeated group v_tuple { required int32 x; required int32 y; } }",
    ];
    for list in structs {
        let file = written(&format!("required int64 id; {list}"), |group| {
            ids(group, 3);
            put::<Int32Type>(group, &[7, 8, 9], &definitions, &repetitions);
            put::<Int32Type>(group, &[1, 2, 3], &definitions, &repetitions);
        });
        let expected = ["1: 1|[{\"x\":7,\"y\":1},{\"x\":8,\"y\":2}]", "2: 2|[]", "3: 3|[{\"x\":9,\"y\":3}]"];
        assert_eq!(clean(&read(&contract, &file)), expected, "{list}");
    }
    // One field that is called `array` is no wrapper.
    let file =
        written("required int64 id; required group v (LIST) { repeated group array { required int32 x; } }", |group| {
            ids(group, 3);
            put::<Int32Type>(group, &[7, 8, 9], &definitions, &repetitions);
        });
    assert_eq!(clean(&read(&contract, &file)), ["1: 1|[{\"x\":7},{\"x\":8}]", "2: 2|[]", "3: 3|[{\"x\":9}]"]);
    // A list in a list, neither of them annotated.
    let file = written("required int64 id; repeated group v { repeated int32 b; }", |group| {
        ids(group, 3);
        put::<Int32Type>(group, &[1, 2, 3], &[2, 2, 1, 0, 2], &[0, 2, 1, 0, 0]);
    });
    let expected = ["1: 1|[{\"b\":[1,2]},{\"b\":[]}]", "2: 2|[]", "3: 3|[{\"b\":[3]}]"];
    assert_eq!(clean(&read(&contract, &file)), expected);
}

/// Elements that are lists or maps themselves, in a repeated group that is no wrapper; and repeated ones in no list.
#[test]
fn lists_of_two_levels_in_each_other() {
    let contract = of_columns(&[("id", "long"), ("v", "string")]);
    let ints = |definitions: [i16; 4], repetitions: [i16; 4], fields: &str| {
        let file = written(&format!("required int64 id; {fields}"), |group| {
            ids(group, 3);
            put::<Int32Type>(group, &[7, 8, 9], &definitions, &repetitions);
        });
        clean(&read(&contract, &file))
    };
    let lists = [
        (
            "required group v (LIST) { repeated group array (LIST) { repeated int32 array; } }",
            [2, 2, 0, 2],
            [0, 2, 0, 0],
            1,
        ),
        (
            "required group v (LIST) { repeated group array (LIST) { repeated group array (LIST) { repeated int32 array; } } }",
            [3, 3, 0, 3],
            [0, 3, 0, 0],
            2,
        ),
        ("repeated group v (LIST) { repeated int32 x; }", [2, 2, 0, 2], [0, 2, 0, 0], 1),
        ("repeated group v (LIST) { repeated group list { required int32 element; } }", [2, 2, 0, 2], [0, 2, 0, 0], 1),
    ];
    for (fields, definitions, repetitions, around) in lists {
        let (open, close) = ("[".repeat(around), "]".repeat(around));
        let expected = [format!("1: 1|{open}[7,8]{close}"), "2: 2|[]".to_owned(), format!("3: 3|{open}[9]{close}")];
        assert_eq!(ints(definitions, repetitions, fields), expected, "{fields}");
    }
    let structs = [
        "required group v (LIST) { repeated group array { repeated int32 x; } }",
        "required group v (LIST) { repeated group list { repeated int32 x; } }",
    ];
    for fields in structs {
        let expected = ["1: 1|[{\"x\":[7,8]}]", "2: 2|[]", "3: 3|[{\"x\":[9]}]"];
        assert_eq!(ints([2, 2, 0, 2], [0, 2, 0, 0], fields), expected, "{fields}");
    }
    let maps = [
        "required group v (LIST) { repeated group array (MAP) { repeated group key_value { required binary key (UTF8); required int32 value; } } }",
        "repeated group v (MAP) { repeated group key_value { required binary key (UTF8); required int32 value; } }",
        "repeated group v (MAP_KEY_VALUE) { repeated group map { required binary k (UTF8); required int32 x; } }",
    ];
    for fields in maps {
        let file = written(&format!("required int64 id; {fields}"), |group| {
            ids(group, 3);
            put::<ByteArrayType>(group, &bytes(&[b"a", b"b", b"c"]), &[2, 2, 0, 2], &[0, 2, 0, 0]);
            put::<Int32Type>(group, &[7, 8, 9], &[2, 2, 0, 2], &[0, 2, 0, 0]);
        });
        let expected = ["1: 1|[{\"a\":7,\"b\":8}]", "2: 2|[]", "3: 3|[{\"c\":9}]"];
        assert_eq!(clean(&read(&contract, &file)), expected, "{fields}");
    }
}

/// Dremio and old parquet-mr say that a dictionary, which is not there, is at the file's first byte.
#[test]
fn a_dictionary_that_is_nowhere() {
    let schema = Arc::new(parse_message_type("message m { required int64 id; required int64 v; }").unwrap());
    let properties = Arc::new(WriterProperties::builder().set_dictionary_enabled(false).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    ids(&mut group, 3);
    put::<Int64Type>(&mut group, &[7, 8, 9], &[], &[]);
    group.close().unwrap();
    let file = bytes::Bytes::from(writer.into_inner().unwrap());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    let columns = metadata.row_group(0).columns().iter().map(|column| {
        let built = column.clone().into_builder().set_dictionary_page_offset(Some(0)).set_column_index_offset(None);
        built.set_column_index_length(None).set_offset_index_offset(None).set_offset_index_length(None).build().unwrap()
    });
    let group = metadata.row_group(0).clone().into_builder().set_column_metadata(columns.collect()).build().unwrap();
    let metadata = ParquetMetaData::new(metadata.file_metadata().clone(), vec![group]);
    // The old footer becomes what no page refers to.
    let mut file = file.to_vec();
    ParquetMetaDataWriter::new(&mut file, &metadata).finish().unwrap();
    let contract = of_columns(&[("id", "long"), ("v", "long")]);
    assert_eq!(clean(&read(&contract, &file)), ["1: 1|7", "2: 2|8", "3: 3|9"]);
}

/// parquet-cpp before 0.14 gave columns of nulls a converted type that the format does not have.
#[test]
fn a_column_of_nulls_with_an_annotation_of_its_own() {
    let fields = "required int64 id; optional int32 v (INT_32); optional int32 w (INT_8);";
    let file = written(fields, |group| {
        ids(group, 2);
        put::<Int32Type>(group, &[], &[0, 0], &[0, 0]);
        put::<Int32Type>(group, &[5, 6], &[1, 1], &[0, 0]);
    });
    // The schema's element: physical type, repetition, name, converted type.
    let element = |converted: u8| [&[0x15, 0x02, 0x25, 0x02, 0x18, 0x01, b'v', 0x25, converted << 1][..]].concat();
    let place = file.windows(9).rposition(|window| window == element(17)).unwrap();
    let contract = of_columns(&[("id", "long"), ("v", "string"), ("w", "long")]);
    let annotated = |converted| {
        let mut file = file.clone();
        file[place..place + 9].copy_from_slice(&element(converted));
        read(&contract, &file)
    };
    assert_eq!(clean(&annotated(24)), ["1: 1|~|5", "2: 2|~|6"]);
    // What no writer is known to mean anything by.
    assert_eq!(refused(&annotated(25)), ["1: not a Parquet file, or its footer is damaged"]);
}

#[test]
fn maps_of_every_age() {
    let contract = of_columns(&[("id", "long"), ("v", "string")]);
    let maps = [
        "optional group v (MAP) { repeated group key_value { required binary key (UTF8); optional int32 value; } }",
        "optional group v (MAP_KEY_VALUE) { repeated group map { required binary k (UTF8); optional int32 x; } }",
        "optional group v (MAP) { repeated group map (MAP_KEY_VALUE) { required binary k (UTF8); optional int32 x; } }",
    ];
    for map in maps {
        let file = written(&format!("required int64 id; {map}"), |group| {
            ids(group, 3);
            put::<ByteArrayType>(group, &bytes(&[b"a", b"b\"", b"a"]), &[2, 2, 0, 2], &[0, 1, 0, 0]);
            put::<Int32Type>(group, &[1, 3], &[3, 2, 0, 3], &[0, 1, 0, 0]);
        });
        let expected = ["1: 1|{\"a\":1,\"b\\\"\":null}", "2: 2|~", "3: 3|{\"a\":3}"];
        assert_eq!(clean(&read(&contract, &file)), expected, "{map}");
    }
    // A key that is there twice would be lost in an object.
    let file = written(&format!("required int64 id; {}", maps[0]), |group| {
        ids(group, 1);
        put::<ByteArrayType>(group, &bytes(&[b"a", b"a"]), &[2, 2], &[0, 1]);
        put::<Int32Type>(group, &[1, 2], &[3, 3], &[0, 1]);
    });
    assert_eq!(clean(&read(&contract, &file)), ["1: 1|[[\"a\",1],[\"a\",2]]"]);
}

#[test]
fn annotations_of_both_generations() {
    let fields = "required int64 id; required int32 a (UINT_8); required int32 b (INTEGER(16,false));
        required binary c (ENUM); required binary d (JSON); required binary e (BSON);
        required fixed_len_byte_array(16) f (UUID); required fixed_len_byte_array(12) g (INTERVAL);
        required binary h (DECIMAL(40,2)); required int32 i (TIME_MILLIS); required int64 j (TIMESTAMP_MILLIS);
        required int32 k (DECIMAL(5,3)); required fixed_len_byte_array(5) l (DECIMAL(10,1));";
    let file = written(fields, |group| {
        ids(group, 1);
        put::<Int32Type>(group, &[255], &[], &[]);
        put::<Int32Type>(group, &[65_535], &[], &[]);
        put::<ByteArrayType>(group, &bytes(&[b"RED"]), &[], &[]);
        put::<ByteArrayType>(group, &bytes(&[b"{\"a\": 1}"]), &[], &[]);
        put::<ByteArrayType>(group, &bytes(&[b"\x05\0\0\0\0"]), &[], &[]);
        put::<FixedLenByteArrayType>(group, &[FixedLenByteArray::from((0..16).collect::<Vec<u8>>())], &[], &[]);
        let interval = [1_u32, 2, 3_004].iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<u8>>();
        put::<FixedLenByteArrayType>(group, &[FixedLenByteArray::from(interval)], &[], &[]);
        put::<ByteArrayType>(group, &bytes(&[&[0xff]]), &[], &[]);
        put::<Int32Type>(group, &[3_600_001], &[], &[]);
        put::<Int64Type>(group, &[1_500], &[], &[]);
        put::<Int32Type>(group, &[-1_500], &[], &[]);
        put::<FixedLenByteArrayType>(group, &[FixedLenByteArray::from(vec![0, 0, 0, 0, 25])], &[], &[]);
    });
    let expected = json!({
        "a": 255, "b": 65_535, "c": "RED", "d": "{\"a\": 1}", "e": "BQAAAAA=",
        "f": "00010203-0405-0607-0809-0a0b0c0d0e0f", "g": "P1M2DT3.004S", "h": "-0.01", "i": "01:00:00.001000",
        "j": "1970-01-01T00:00:01.500Z", "k": "-1.500", "l": "2.5",
    });
    assert_eq!(rescued(&read(&of_columns(&[("id", "long")]), &file)), [expected]);
    let typed = of_columns(&[
        ("a", "short"),
        ("b", "integer"),
        ("c", "string"),
        ("d", "string"),
        ("e", "binary"),
        ("f", "string"),
        ("g", "string"),
        ("h", "decimal(38,2)"),
        ("i", "string"),
        ("j", "timestamp"),
        ("k", "decimal(9,4)"),
        ("l", "double"),
    ]);
    let row = &clean(&read(&typed, &file))[0];
    let expected = "1: 255|65535|RED|{\"a\": 1}|[5, 0, 0, 0, 0]|00010203-0405-0607-0809-0a0b0c0d0e0f|P1M2DT3.004S|-0.01\
        |01:00:00.001000|1970-01-01 00:00:01.500 UTC|-1.5000|2.5|{\"id\":1}";
    assert_eq!(row, expected);
}

#[test]
fn int96_beyond_every_year_is_refused_and_never_wraps() {
    let day = |day: u32, nanos: u64| {
        let mut value = Int96::new();
        value.set_data(nanos as u32, (nanos >> 32) as u32, day);
        value
    };
    // The last of the year 9999, the first of 10000, and a day that is in the year 2000 when microseconds have wrapped.
    let days = [2_451_545, 5_373_484, 5_373_485, 2_451_545_u32.wrapping_add(213_503_982), u32::MAX];
    let file = written("required int64 id; required int96 v;", |group| {
        ids(group, 5);
        put::<Int96Type>(group, &days.map(|date| day(date, 1_000)), &[], &[]);
    });
    let output = read(&of_columns(&[("id", "long"), ("v", "timestamp")]), &file);
    assert_eq!(clean(&output), ["1: 1|2000-01-01 00:00:00.000001 UTC", "2: 2|9999-12-31 00:00:00.000001 UTC"]);
    let out = |row: usize| format!("{row}: column `v`: out of range for a timestamp");
    assert_eq!(refused(&output), [out(3), out(4), out(5)]);
    // In a list, too.
    let file = written("required int64 id; repeated int96 v;", |group| {
        ids(group, 1);
        put::<Int96Type>(group, &[day(2_451_545, 0), day(5_373_484, 0)], &[1, 1], &[0, 1]);
    });
    let output = read(&of_columns(&[("id", "long"), ("v", "string")]), &file);
    assert_eq!(clean(&output), ["1: 1|[\"2000-01-01T00:00:00\",\"9999-12-31T00:00:00\"]"]);
}

#[test]
fn a_text_that_is_none_refuses_its_row_alone() {
    let file = written("required int64 id; required binary v (UTF8); required binary w (UTF8);", |group| {
        ids(group, 4);
        put::<ByteArrayType>(group, &bytes(&[b"a", b"\xff", b"nul\0", "\u{e9}".as_bytes()]), &[], &[]);
        put::<ByteArrayType>(group, &bytes(&[b"\xfe", b"x", b"y", b"z"]), &[], &[]);
    });
    let output = read(&of_columns(&[("id", "long"), ("v", "string")]), &file);
    // Where nobody asks for it, it stands as base64.
    assert_eq!(clean(&output), ["1: 1|a|{\"w\":\"/g==\"}", "4: 4|\u{e9}|{\"w\":\"z\"}"]);
    assert_eq!(refused(&output), ["2: column `v`: not a string", "3: column `v`: not a string"]);
}

#[test]
fn names_that_are_there_twice() {
    let file = written("required int64 id; required int32 v; required int32 v; required int32 V;", |group| {
        ids(group, 1);
        (1..=3).for_each(|value| put::<Int32Type>(group, &[value], &[], &[]));
    });
    let output = read(&of_columns(&[("id", "long"), ("v", "long")]), &file);
    assert_eq!(clean(&output), ["1: 1|1|{\"v\":2,\"V\":3}"]);
}

/// Where an annotation stands in the footer, with another one in its place.
fn annotated_anew(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let length = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize;
    let (body, footer) = file[..file.len() - 8].split_at(file.len() - 8 - length);
    let at = footer.windows(from.len()).position(|window| window == from).unwrap();
    let footer = [&footer[..at], to, &footer[at + from.len()..]].concat();
    [body, &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn types_that_nobody_knows_refuse_who_asks_for_them() {
    let half = written("required int64 id; required fixed_len_byte_array(2) v (FLOAT16);", |group| {
        ids(group, 2);
        put::<FixedLenByteArrayType>(group, &[vec![0, 0x3e], vec![0, 0xc0]].map(FixedLenByteArray::from), &[], &[]);
    });
    assert_eq!(clean(&read(&of_columns(&[("v", "float")]), &half)), ["1: 1.5|{\"id\":1}", "2: -2.0|{\"id\":2}"]);
    // A logical type of the future: number 40.
    let unknown = annotated_anew(&half, &[0xfc, 0, 0], &[0x0c, 80, 0, 0]);
    let output = read(&of_columns(&[("id", "long")]), &unknown);
    assert_eq!(rescued(&output), vec![json!({"_unreadable": ["v"]}); 2]);
    let output = read(&of_columns(&[("id", "long"), ("v", "binary")]), &unknown);
    let reason =
        "field `v` (FIXED_LEN_BYTE_ARRAY(2) unknown logical type 40) has a logical type that Weir does not know";
    assert_eq!(refused(&output), [format!("1: {reason}"), format!("2: {reason}")]);
    assert_eq!(quarantined(&output)[1].2, b"{\"id\":2,\"_unreadable\":[\"v\"]}");

    let variant = written(
        "required int64 id; required group v (VARIANT) { required binary metadata; required binary value; }",
        |group| {
            ids(group, 1);
            put::<ByteArrayType>(group, &bytes(&[b"\x01\0\0"]), &[], &[]);
            put::<ByteArrayType>(group, &bytes(&[b"\x0c\x01"]), &[], &[]);
        },
    );
    let output = read(&of_columns(&[("id", "long"), ("v", "string")]), &variant);
    assert_eq!(refused(&output), ["1: field `v` (group VARIANT) is a VARIANT, which Weir does not read"]);
    assert_eq!(clean(&read(&of_columns(&[("id", "long")]), &variant)), ["1: 1|{\"_unreadable\":[\"v\"]}"]);
}

#[test]
fn doubles_as_text_are_the_same_doubles_again() {
    let mut values: Vec<f64> =
        (0..2_000).map(|_| f64::from_bits(rand::random())).filter(|value| value.is_finite()).collect();
    values.extend([0.0, -0.0, 1e15, 1e16, 1e-5, 9.999e-6, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1]);
    let file = written("required double v;", |group| put::<DoubleType>(group, &values, &[], &[]));
    let output = read(&of_columns(&[("v", "string")]), &file);
    let texts = output.clean.column("v").unwrap().str().unwrap().clone();
    for (text, value) in texts.iter().flatten().zip(&values) {
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_number(), "{text}");
    }
    assert_eq!(texts.len(), values.len());
}

/// What one type holds and another does not.
#[test]
fn pairs_of_types() {
    let file = written(
        "required int64 id; required double d; required binary n (DECIMAL(45,3)); required int64 t (TIMESTAMP(MICROS,false));",
        |group| {
            ids(group, 4);
            put::<DoubleType>(group, &[3.0, 2.5, 1e300, f64::NAN], &[], &[]);
            let digits =
                [1_000_i64, -2_000, 1_001, i64::MAX].map(|digits| ByteArray::from(digits.to_be_bytes().to_vec()));
            put::<ByteArrayType>(group, &digits, &[], &[]);
            let day = 86_400_000_000;
            put::<Int64Type>(group, &[day, -day, day + 1, 0], &[], &[]);
        },
    );
    let refusals = |columns: &[(&str, &str)]| {
        let output = read(&of_columns(columns), &file);
        let rows = clean(&output).into_iter().map(|row| row.split("|{").next().unwrap().to_owned());
        (rows.collect::<Vec<_>>(), refused(&output))
    };
    let (rows, refused) = refusals(&[("d", "long")]);
    assert_eq!(rows, ["1: 3"]);
    assert_eq!(
        refused,
        ["2: column `d`: not a long", "3: column `d`: out of range for a long", "4: column `d`: not a long"]
    );
    let (rows, refused) = refusals(&[("n", "short")]);
    assert_eq!(rows, ["1: 1", "2: -2"]);
    assert_eq!(refused, ["3: column `n`: not a short", "4: column `n`: not a short"]);
    let (rows, refused) = refusals(&[("n", "decimal(5,2)")]);
    assert_eq!(rows, ["1: 1.00", "2: -2.00"]);
    let scale = |row| format!("{row}: column `n`: more digits after the point than a decimal(5,2) holds");
    assert_eq!(refused, [scale(3), scale(4)]);
    let (rows, refused) = refusals(&[("t", "date")]);
    assert_eq!(rows, ["1: 1970-01-02", "2: 1969-12-31", "4: 1970-01-01"]);
    assert_eq!(refused, ["3: column `t`: not a date"]);
    let (rows, _) = refusals(&[("t", "string"), ("d", "string")]);
    assert_eq!(
        rows,
        [
            "1: 1970-01-02T00:00:00|3",
            "2: 1969-12-31T00:00:00|2.5",
            "3: 1970-01-02T00:00:00.000001|1e300",
            "4: 1970-01-01T00:00:00|NaN"
        ]
    );
}
