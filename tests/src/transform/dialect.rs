//! CSV as other tools and countries write it.

use weir_contract::DataType;

use super::{clean, column, contract, orders, refused, run_csv};

#[test]
fn without_quoted_newlines_every_line_is_a_record() {
    let text = b"id,name,price,day\n1,\"a\n2,\"b\"\"c\",3,\n3,\"d,4,2024-01-01\n4,\"e\"\"\n5,\"f\",1,\n";
    let mut contract = orders();
    contract.format.quoted_newlines = false;
    let output = run_csv(&contract, text);
    assert_eq!(clean(&output), ["2: 2|b\"c|3.00|~", "5: 5|f|1.00|~"]);
    let faults = refused(&output);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("field 2: unclosed quote")), "{faults:?}");
    // With them, the first quote closes in the second line: other records.
    contract.format.quoted_newlines = true;
    assert_ne!(clean(&run_csv(&contract, text)), clean(&output));
}

#[test]
fn a_decimal_comma() {
    let decimal = DataType::Decimal { precision: 9, scale: 2 };
    let columns = [("d", decimal), ("f", DataType::Double), ("n", DataType::Long), ("s", DataType::String)];
    let mut contract = contract(columns.map(|(name, data_type)| column(name, data_type)).to_vec());
    contract.format.delimiter = b';';
    contract.format.decimal_comma = true;
    let text = "d;f;n;s\n1,5; 2,25;3;1,5\n-1234,50;1e3;4;x\n,5;0,1;5;\"a,b\"\n;;6;\n1.234;1;7;\n1.234,5;1;8;\n1;1.5;9;\n\
                1;1;1,0;\n1,2,3;1;10;\n";
    let output = run_csv(&contract, text.as_bytes());
    assert_eq!(clean(&output), ["1: 1.50|2.25|3|1,5", "2: -1234.50|1000.0|4|x", "3: 0.50|0.1|5|a,b", "4: ~|~|6|~"]);
    let expected = ["d", "d", "f", "n", "d"];
    let faults = refused(&output);
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
    for (fault, column) in faults.iter().zip(expected) {
        assert!(fault.contains(&format!("column `{column}`: not a")), "{fault}");
    }
    // Without it, a comma is none of a number's.
    contract.format.decimal_comma = false;
    assert_eq!(clean(&run_csv(&contract, b"d;f;n;s\n1,5;1;1;\n1.5;1;1;\n")), ["2: 1.50|1.0|1|~"]);
}

#[test]
fn reasons_name_the_encoding() {
    let mut contract = orders();
    let text = b"id,name,price,day\n1,\xff,1,\n";
    assert_eq!(refused(&run_csv(&contract, text)), ["1: not UTF-8"]);
    contract.format.encoding = "utf-16";
    assert_eq!(refused(&run_csv(&contract, text)), ["1: not utf-16"]);
}

/// `auto` may bring a CSV file to a contract that was written for JSON.
#[test]
fn a_path_leads_nowhere_in_csv() {
    let mut contract = contract(vec![column("id", DataType::Long), column("v", DataType::String)]);
    contract.columns[1].from = Some("/data/v".to_owned());
    for text in [&b"id,v\n1,x\n"[..], b"id\n1\n"] {
        assert_eq!(refused(&run_csv(&contract, text)), ["1: missing column `v`"]);
    }
}
