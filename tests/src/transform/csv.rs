//! CSV: nasty files, and every type's grammar.

use weir_contract::DataType;

use super::{clean, column, contract, lineage, orders, quarantined, refused, run_csv, transform};

struct Case {
    name: &'static str,
    bytes: &'static [u8],
    clean: &'static [&'static str],
    refused: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "plain",
        bytes: b"id,name,price,day\n1,a,2.50,2024-02-29\n",
        clean: &["1: 1|a|2.50|2024-02-29"],
        refused: &[],
    },
    Case { name: "no data", bytes: b"id,name,price,day\n", clean: &[], refused: &[] },
    Case {
        name: "byte order mark, CRLF, blank lines, no line end at the end",
        bytes: b"\xEF\xBB\xBFid,name,price,day\r\n\r\n1,a,2,2024-01-01\r\n\n\n2,b,,\r\n3,c,,",
        clean: &["1: 1|a|2.00|2024-01-01", "2: 2|b|~|~", "3: 3|c|~|~"],
        refused: &[],
    },
    Case {
        name: "columns in another order, an unknown field",
        bytes: b"day,id,colour,price,name\n2024-01-01,1,red,2,a\n,2,,,\n",
        clean: &["1: 1|a|2.00|2024-01-01|{\"colour\":\"red\"}", "2: 2|~|~|~|{\"colour\":null}"],
        refused: &[],
    },
    Case {
        name: "a nullable column is missing",
        bytes: b"id,name,day\n1,a,2024-01-01\n",
        clean: &["1: 1|a|~|2024-01-01"],
        refused: &[],
    },
    Case {
        name: "a needed column is missing",
        bytes: b"name,price,day\na,1,\nb,2,x\n",
        clean: &[],
        refused: &["1: missing column `id`", "2: column `day`: not a date; missing column `id`"],
    },
    Case {
        name: "wrong header",
        bytes: b"colour;shape\nred;round\n",
        clean: &[],
        refused: &[
            "0: the header has none of the contract's columns",
            "1: the header has none of the contract's columns",
        ],
    },
    Case {
        name: "header that is no text",
        bytes: b"\xff\xfe,\xff\n1,2\n",
        clean: &[],
        refused: &[
            "0: the header is not UTF-8: say by `[format] encoding` what it is",
            "1: the header is not UTF-8: say by `[format] encoding` what it is",
        ],
    },
    Case {
        name: "a header name twice: the first has the column",
        bytes: b"id,name,name,price,day,x,x\n1,a,b,2,,y,z\n",
        clean: &["1: 1|a|2.00|~|{\"name#2\":\"b\",\"x\":\"y\",\"x#2\":\"z\"}"],
        refused: &[],
    },
    Case {
        name: "ragged",
        bytes: b"id,name,price,day\n1,a\n2,b,1,2024-01-01\n3,c,1,2024-01-01,more\n4\n",
        clean: &["2: 2|b|1.00|2024-01-01"],
        refused: &["1: 2 fields, expected 4", "3: 5 fields, expected 4", "4: 1 fields, expected 4"],
    },
    Case {
        name: "quotes: delimiters, line ends and quotes inside",
        bytes: b"id,name,price,day\n1,\"a,\n\"\"b\"\"\r\nc\",\"2\",\"2024-01-01\"\r\n\"2\",\"\",\"\",\n",
        clean: &["1: 1|a,\n\"b\"\r\nc|2.00|2024-01-01", "2: 2||~|~"],
        refused: &[],
    },
    Case {
        name: "a stray quote inside a field is text; one that opens and never closes costs its line",
        bytes: b"id,name,price,day\n1,5\" nail,2,\n2,\"open,2,\n3,c,3,\n",
        clean: &["1: 1|5\" nail|2.00|~", "3: 3|c|3.00|~"],
        refused: &["2: field 2: unclosed quote; 2 fields, expected 4"],
    },
    Case {
        name: "text after a closing quote",
        bytes: b"id,name,price,day\n1,\"a\"b,2,\n2,b,2,\n",
        clean: &["2: 2|b|2.00|~"],
        refused: &["1: field 2: text after the closing quote"],
    },
    Case {
        name: "NUL and bytes that are no text cost their record only",
        bytes: b"id,name,price,day\n1,a\0,2,\n2,\xff\xfe,2,\n3,\xc3\xa9,2,\n",
        clean: &["3: 3|\u{e9}|2.00|~"],
        refused: &["1: NUL character", "2: not UTF-8"],
    },
    Case {
        name: "wrong types: every reason at once, no value in any",
        bytes: b"id,name,price,day\nsecret,a,12345678.00,31.12.2024\n,a,1.234,2023-02-29\n",
        clean: &[],
        refused: &[
            "1: column `id`: not a long; column `price`: out of range for a decimal(9,2); column `day`: not a date",
            "2: column `id`: null; column `price`: more digits after the point than a decimal(9,2) holds; column `day`: not a date",
        ],
    },
    Case {
        name: "padding around anything but a string means nothing",
        bytes: b"id,name,price,day\n 1\t, a , 2 , 2024-01-01 \n2,b,  ,\n",
        clean: &["1: 1| a |2.00|2024-01-01", "2: 2|b|~|~"],
        refused: &[],
    },
];

#[test]
fn nasty_files() {
    for case in CASES {
        let output = run_csv(&orders(), case.bytes);
        assert_eq!(clean(&output), case.clean, "{}", case.name);
        assert_eq!(refused(&output), case.refused, "{}", case.name);
    }
}

#[test]
fn quarantine_keeps_the_record_as_it_came() {
    let output = run_csv(&orders(), b"id,name,price,day\nx,\"a\nb\",,\r\n\r\n2,b,,\n\"y\xff\",\"\0\",,");
    let raw: Vec<Vec<u8>> = quarantined(&output).into_iter().map(|(_, _, raw)| raw).collect();
    assert_eq!(raw, [b"x,\"a\nb\",,".to_vec(), b"\"y\xff\",\"\0\",,".to_vec()]);
}

#[test]
fn a_record_that_is_too_long_leaves_its_head() {
    let mut contract = orders();
    contract.format.max_record_bytes = 100_000;
    let mut bytes = b"id,name,price,day\n1,".to_vec();
    bytes.extend(std::iter::repeat_n(b'a', 100_000));
    bytes.extend(b",,\n2,b,,\n");
    let output = run_csv(&contract, &bytes);
    assert_eq!(clean(&output), ["2: 2|b|~|~"]);
    assert_eq!(refused(&output), ["1: record longer than 100000 bytes"]);
    assert_eq!(quarantined(&output)[0].2.len(), 64 * 1024);
}

#[test]
fn without_a_header_fields_are_taken_in_order() {
    let mut contract = orders();
    contract.format.header = false;
    contract.format.delimiter = b'|';
    contract.format.quote = None;
    contract.format.null_values = vec!["\\N".to_owned()];
    let output = run_csv(&contract, b"\xEF\xBB\xBF1|\"a|\\N|2024-01-01\n2||\\N|\\N\n");
    assert_eq!(clean(&output), ["1: 1|\"a|~|2024-01-01", "2: 2||~|~"]);
}

#[test]
fn a_header_that_is_wanted_must_be_passed() {
    assert!(transform(&orders()).csv_layout(None).is_err());
}

#[test]
fn positions_go_on_from_the_first() {
    let transform = transform(&orders());
    let layout = transform.csv_layout(Some(b"id,name,price,day")).unwrap();
    let output = transform.csv(&layout, b"1,a,,\n\nx,,,\n3,c,,\n", 1_000, &lineage()).unwrap();
    assert_eq!(clean(&output), ["1000: 1|a|~|~", "1002: 3|c|~|~"]);
    assert_eq!(refused(&output), ["1001: column `id`: not a long"]);
}

/// Every type's grammar: texts that are values (with what they become), texts that are faults.
#[test]
fn grammar_of_each_type() {
    let decimal = |precision, scale| DataType::Decimal { precision, scale };
    type Accepted = &'static [(&'static str, &'static str)];
    let cases: Vec<(DataType, Accepted, &[&str])> = vec![
        (
            DataType::Long,
            &[
                ("0", "0"),
                ("-0", "0"),
                ("+7", "7"),
                ("007", "7"),
                ("9223372036854775807", "9223372036854775807"),
                ("-9223372036854775808", "-9223372036854775808"),
                ("000000000000000000000000012", "12"),
            ],
            &[
                "9223372036854775808",
                "-9223372036854775809",
                "99999999999999999999999",
                "1.0",
                "1e3",
                "0x1",
                "1_000",
                "1 000",
                "-",
                "+",
                "--1",
                "a",
                "\u{661}",
            ],
        ),
        (
            DataType::Integer,
            &[("2147483647", "2147483647"), ("-2147483648", "-2147483648")],
            &["2147483648", "-2147483649"],
        ),
        (DataType::Short, &[("32767", "32767")], &["32768", "-32769"]),
        (DataType::Byte, &[("-128", "-128"), ("127", "127")], &["128", "-129", "300"]),
        (
            DataType::Double,
            &[("1.5", "1.5"), ("-1e-3", "-0.001"), (".5", "0.5"), ("5.", "5.0"), ("1E2", "100.0")],
            &["NaN", "inf", "-Infinity", "1e999", "1,5", "1.5f", "."],
        ),
        (DataType::Float, &[("0.25", "0.25")], &["1e39", "nan"]),
        (
            DataType::Boolean,
            &[("true", "true"), ("False", "false"), ("TRUE", "true")],
            &["1", "0", "yes", "t", "truee"],
        ),
        (
            DataType::Date,
            &[
                ("2000-02-29", "2000-02-29"),
                ("0001-01-01", "0001-01-01"),
                ("9999-12-31", "9999-12-31"),
                ("1969-12-31", "1969-12-31"),
            ],
            &[
                "1900-02-29",
                "2024-13-01",
                "2024-04-31",
                "2024-1-1",
                "20240101",
                "0000-01-01",
                "2024-01-01T00:00:00",
                "2024/01/01",
                "2024/01-01",
                "2024-01/01",
                "-024-01-01",
            ],
        ),
        (
            DataType::Timestamp,
            &[
                ("2024-01-01T00:00:00Z", "2024-01-01 00:00:00 UTC"),
                ("2024-01-01 12:30", "2024-01-01 12:30:00 UTC"),
                ("2024-01-01T00:30:00+01:00", "2023-12-31 23:30:00 UTC"),
                ("2024-01-01T00:00:00.5-0130", "2024-01-01 01:30:00.500 UTC"),
                ("2024-01-01t00:00:00.1234567z", "2024-01-01 00:00:00.123456 UTC"),
                ("1969-12-31T23:59:59.999999Z", "1969-12-31 23:59:59.999999 UTC"),
            ],
            &[
                "1700000000",
                "2024-01-01",
                "2024-01-01T24:00:00Z",
                "2024-01-01T00:00:60Z",
                "2024-01-01T00:00:00.Z",
                "2024-01-01T00:00:00 Z",
                "2024-01-01T00:00:00+1",
                "2024-02-30T00:00:00Z",
            ],
        ),
        (
            decimal(5, 2),
            &[
                ("1", "1.00"),
                ("-1.5", "-1.50"),
                ("999.99", "999.99"),
                ("1.500", "1.50"),
                (".5", "0.50"),
                ("5.", "5.00"),
                ("1e2", "100.00"),
                ("125e-2", "1.25"),
                ("0.000", "0.00"),
                ("0e99", "0.00"),
                ("00000000000000000000001", "1.00"),
            ],
            &[
                "1000",
                "-1000.00",
                "1.005",
                "1e3",
                "1e-3",
                ".",
                "e5",
                "1e",
                "1.2.3",
                "1e99999999999",
                "NaN",
                "123456789012345678901234567890123456789012",
            ],
        ),
        (
            decimal(38, 0),
            &[("99999999999999999999999999999999999999", "99999999999999999999999999999999999999")],
            &["100000000000000000000000000000000000000", "1e38", "0.1"],
        ),
        (
            decimal(38, 38),
            &[("0.12345678901234567890123456789012345678", "0.12345678901234567890123456789012345678")],
            &["1", "1e-39"],
        ),
        (DataType::Binary, &[("aGk=", "[104, 105]")], &["aGk", "a", "?"]),
    ];
    for (data_type, accepted, faults) in cases {
        let mut contract = contract(vec![column("v", data_type), column("end", DataType::String)]);
        contract.format.header = false;
        for (text, value) in accepted {
            let output = run_csv(&contract, format!("{text},x\n").as_bytes());
            assert_eq!(clean(&output), [format!("1: {value}|x")], "{data_type:?} {text}");
        }
        for text in faults {
            let output = run_csv(&contract, format!("{text},x\n").as_bytes());
            assert_eq!(refused(&output).len(), 1, "{data_type:?} {text}: {:?}", clean(&output));
        }
    }
}

#[test]
fn patterns_of_the_contract() {
    let cases = [
        (DataType::Date, "%d.%m.%Y", "31.12.2024", "2024-12-31"),
        (DataType::Timestamp, "%d/%b/%Y:%H:%M:%S %z", "10/Oct/2000:13:55:36 -0700", "2000-10-10 20:55:36 UTC"),
        (DataType::Timestamp, "%Y%m%d%H%M%S", "20240102030405", "2024-01-02 03:04:05 UTC"),
        (DataType::Timestamp, "%s", "1700000000", "2023-11-14 22:13:20 UTC"),
    ];
    for (data_type, pattern, text, value) in cases {
        let mut contract = contract(vec![column("v", data_type)]);
        contract.format.header = false;
        contract.columns[0].format = Some(pattern.to_owned());
        let output = run_csv(&contract, format!("{text}\nnonsense\n").as_bytes());
        assert_eq!(clean(&output), [format!("1: {value}")], "{pattern}");
        assert_eq!(output.quarantined.height(), 1);
    }
}

/// Each of the fields is faulty in its own words, and comparing them all with each other would take minutes.
#[test]
fn a_record_lists_so_many_reasons() {
    let reasons = |fields: usize| {
        let line = "\"a\"b,".repeat(fields) + "x\n";
        let output = run_csv(&orders(), format!("id,name,price,day\n{line}").as_bytes());
        quarantined(&output).remove(0).1
    };
    let few = reasons(10);
    assert_eq!(few.iter().filter(|reason| reason.ends_with("text after the closing quote")).count(), 10, "{few:?}");
    assert!(few.contains(&"11 fields, expected 4".to_owned()), "{few:?}");
    let many = reasons(100_000);
    assert_eq!((many.len(), many.last().map(String::as_str)), (257, Some("and more that is not listed")));
}
