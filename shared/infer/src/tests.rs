use weir_contract::{Contract, DataType as T};
use weir_transform::{Lineage, Transform};

use super::*;

fn sample(text: &str) -> Sample {
    Sample { pieces: vec![text.as_bytes().to_vec()], whole: true }
}

fn draft(text: &str) -> Draft {
    of_text(&sample(text)).unwrap()
}

fn toml(draft: &Draft) -> String {
    let source = Source::Blob { container: "landing".to_owned(), paths: vec!["x/*.csv".to_owned()] };
    let mut draft = draft.clone();
    draft.tell_kind(Some(FormatKind::Csv));
    draft.toml("x", &source, &["made by a test".to_owned()])
}

fn types(draft: &Draft) -> Vec<(String, String)> {
    let format =
        |column: &DraftColumn| column.verdict.format.as_ref().map(|format| format!(" {format}")).unwrap_or_default();
    draft
        .columns
        .iter()
        .map(|column| (column.name.clone(), format!("{}{}", column.data_type(), format(column))))
        .collect()
}

/// The contract takes every record of the text that it was made of.
fn takes_all(text: &str) -> Contract {
    let draft = draft(text);
    let toml = toml(&draft);
    let contract = Contract::parse(&toml, "x.toml").unwrap_or_else(|errors| panic!("{errors}\n{toml}"));
    let transform = Transform::new(&contract, None).unwrap();
    let lineage = Lineage { source: "s".to_owned(), source_version: "1".to_owned(), ingested_at_us: 0 };
    let output = match draft.kind {
        FormatKind::Csv => {
            let text = text.split_inclusive('\n').skip(contract.format.skip_lines).collect::<String>();
            let text = text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect::<String>();
            let (header, rest) = match contract.format.header {
                true => text.split_at(text.find('\n').unwrap() + 1),
                false => ("", text.as_str()),
            };
            let layout = transform.csv_layout(contract.format.header.then_some(header.as_bytes())).unwrap();
            assert_eq!(layout.refusal(), None);
            transform.csv(&layout, rest.as_bytes(), 1, &lineage).unwrap()
        }
        _ => transform.json(text.as_bytes(), 1, &lineage).unwrap(),
    };
    assert_eq!(output.quarantined.height(), 0, "{toml}\n{:?}", output.report.reasons);
    assert!(output.records > 0);
    contract
}

#[test]
fn types_are_those_that_every_value_has() {
    let text = "id,zip,price,share,ok,day,at,note\n\
                1,01234,12.50,0.5,true,2024-01-31,2024-01-31T10:00:00Z,a\n\
                2,98765,3.1,1e-3,FALSE,2024-02-01,2024-01-31 10:00:00,2\n";
    let expected = ["long", "string", "decimal(18,2)", "double", "boolean", "date", "timestamp", "string"];
    assert_eq!(types(&draft(text)).into_iter().map(|(_, kind)| kind).collect::<Vec<_>>(), expected);
    takes_all(text);
}

#[test]
fn dates_have_the_format_that_they_are_written_in() {
    let cases = [
        ("31.01.2024", "date %d.%m.%Y"),
        ("1/31/2024", "date %m/%d/%Y"),
        ("31/1/2024", "date %d/%m/%Y"),
        ("Jan 1 2000", "date %b %d %Y"),
        ("2001/01/01 06:55", "timestamp %Y/%m/%d %H:%M"),
        ("2/23/1990 0:00:00", "timestamp %m/%d/%Y %H:%M:%S"),
        ("Mon Jan  1 10:00:00 2024", "timestamp %a %b %e %H:%M:%S %Y"),
        ("10/Oct/2000:13:55:36 -0700", "timestamp %d/%b/%Y:%H:%M:%S %z"),
        ("2024-01-31 10:00:00.123+02", "timestamp"),
    ];
    for (value, expected) in cases {
        let text = format!("id;at\n1;{value}\n2;{value}\n");
        assert_eq!(types(&draft(&text))[1].1, expected, "{value}");
        takes_all(&text);
    }
}

#[test]
fn a_day_that_could_be_a_month_is_told_by_others_or_said() {
    let told = draft("a,b\n01/02/2024,31/12/2023\n03/04/2024,30/11/2023\n");
    assert_eq!(types(&told)[0].1, "date %d/%m/%Y");
    let open = toml(&draft("a,b\n01/02/2024,1\n03/04/2024,2\n"));
    assert!(open.contains(r#"format = "%m/%d/%Y""#) && open.contains(r#"or "%d/%m/%Y""#), "{open}");
}

#[test]
fn words_for_missing_values_are_null_only_where_they_have_to_be() {
    let contract = takes_all("n,name\n1,NA\nNA,b\n-,c\n");
    assert_eq!(contract.format.null_values, ["", "-", "NA"]);
    assert_eq!(contract.columns[0].data_type, T::Long);
    let contract = takes_all("n,name\n1,NA\n2,None\n");
    assert_eq!(contract.format.null_values, [""], "a name may be NA");
}

#[test]
fn german_files_have_commas_and_days_first() {
    let contract = takes_all("Name;Betrag;Datum\nA;1234,50;01.02.2024\nB;2,5;02.02.2024\n");
    assert!(contract.format.decimal_comma && contract.format.delimiter == b';');
    assert_eq!(contract.columns[1].data_type, T::Double);
    // A point and a comma in one file: the comma groups thousands, or nobody can tell.
    let contract = takes_all("a;b\n1,5;1.5\n2,5;2.5\n");
    assert!(!contract.format.decimal_comma);
    assert_eq!((contract.columns[0].data_type, contract.columns[1].data_type), (T::String, T::Double));
}

#[test]
fn headers_become_names() {
    let contract = takes_all("Ship Mode,Order ID,Größe\na,1,2\nb,2,3\n");
    let columns: Vec<_> = contract.columns.iter().map(|column| (column.name.as_str(), column.field())).collect();
    assert_eq!(columns, [("ship_mode", "Ship Mode"), ("order_id", "Order ID"), ("groesse", "Größe")]);
    let found = draft(",a\n0,1\n1,2\n");
    assert_eq!(found.columns.len(), 1);
    assert!(found.notes[0].contains("without a name"), "{:?}", found.notes);
    takes_all(",a\n0,1\n1,2\n");
}

#[test]
fn what_surrounds_the_table_is_left_out() {
    let contract = takes_all("Report of May\nid,amount\n1,2\n3,4\n5,6\n7,8\n");
    assert_eq!(contract.format.skip_lines, 1);
    let contract = takes_all(",,\nA report,,\nid,amount,n\n1,2,3\n3,4,5\n");
    assert_eq!((contract.format.skip_lines, contract.columns.len()), (2, 3));
    let contract = takes_all("# by hand\nid,amount\n1,2\n3,4\n");
    assert_eq!(contract.format.comment, Some(b'#'));
    let contract = takes_all("1,a\n2,b\n3,c\n");
    assert!(!contract.format.header);
}

#[test]
fn people_are_pointed_out_and_not_decided_about() {
    let text = toml(&draft("id,contact,last_name,n\n1,ada@example.org,Lovelace,5\n2,grace@example.org,Hopper,6\n"));
    assert!(text.contains("looks like an e-mail address: personal = \"pseudonym\"?"), "{text}");
    assert!(text.contains("looks like a person's name"), "{text}");
    assert!(!text.contains("ada@"), "no value is shown");
    assert_eq!(takes_all("id,email\n1,a@b.c\n").columns[1].personal, None);
}

#[test]
fn json_has_types_of_its_own_and_fields_within_fields() {
    let text = "{\"id\":1,\"code\":\"007\",\"sku\":\"12\",\"price\":\"12.50\",\"at\":{\"t\":1700000000000,\"place\":{\"lat\":1.5}},\"tags\":[1]}\n\
                {\"id\":2,\"code\":\"x\",\"sku\":\"13\",\"price\":\"1.25\",\"at\":{\"t\":1700000000001,\"place\":null},\"tags\":[]}\n";
    let found = types(&draft(text));
    let expected = [
        ("id", "long"),
        ("code", "string"),
        ("sku", "string"),
        ("price", "decimal(18,2)"),
        ("at_t", "timestamp epoch_ms"),
        ("at_place_lat", "double"),
        ("tags", "string"),
    ];
    assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    takes_all(text);
    let epoch = draft("{\"created_at\":1700000000}\n{\"created_at\":1700000001}\n");
    assert_eq!(types(&epoch)[0].1, "timestamp epoch_s");
    takes_all("{\"n\":\"\",\"m\":1}\n{\"n\":\"1.5\",\"m\":2}\n");
}

#[test]
fn documents_are_told_from_lines() {
    let array = draft("[{\"a\":1},\n{\"a\":2}]");
    assert_eq!((array.kind, array.records), (FormatKind::Json, Some(2)));
    let features = draft(
        "{\"type\":\"FeatureCollection\",\n\"features\":[{\"id\":1,\"p\":{\"m\":2}},{\"id\":2,\"p\":{\"m\":3}}]}",
    );
    assert_eq!(features.records, Some(2));
    assert!(toml(&features).contains("records = \"/features\""));
    assert_eq!(draft("{\n \"a\": 1\n}\n").records, Some(1));
    let spread = draft("{\"features\":[\n{\"id\":1},\n{\"id\":2}\n]}\n");
    assert_eq!((spread.kind, spread.records), (FormatKind::Json, Some(2)));
    // One line is a line: the next file may have many.
    assert_eq!(draft("{\"a\":1}\n").kind, FormatKind::Ndjson);
    let lines = draft("{\"records\":[{\"a\":1},{\"a\":2}]}\n{\"records\":[{\"a\":3},{\"a\":4}]}\n");
    assert_eq!((lines.kind, lines.records), (FormatKind::Ndjson, Some(4)));
    assert!(toml(&lines).contains("records = \"/records\""));
}

#[test]
fn what_is_no_table_is_said() {
    let problem = |text: &str| of_text(&sample(text)).unwrap_err().0;
    assert!(problem("  \n ").contains("empty"));
    assert!(problem("<a><b/></a>").contains("XML"));
    assert!(problem("PK\u{3}\u{4}\0\0").contains("not text"));
}

#[test]
fn parts_of_a_large_file_are_read_from_line_to_line() {
    let piece = |text: &str| text.as_bytes().to_vec();
    let sample =
        Sample { pieces: vec![piece("a,b\n1,2\n3,"), piece("9,x\n5,6.5\n7,"), piece("z\n8,9\n")], whole: false };
    let found = of_text(&sample).unwrap();
    assert_eq!(found.records, Some(3));
    assert_eq!(types(&found), [("a", "long"), ("b", "double")].map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn fields_that_differ_by_case_alone_are_told_apart() {
    let contract = takes_all("v_1,V_1\n1,x\n2,y\n");
    assert!(contract.drift.match_case);
}

#[test]
fn a_record_that_is_long_gets_the_room_that_it_needs() {
    let long = "x".repeat(2 * DEFAULT_RECORD_BYTES);
    let found = toml(&draft(&format!("{{\"a\":\"{long}\"}}\n{{\"a\":\"b\"}}\n")));
    assert!(found.contains("max_record_bytes = 5242880"), "{found}");
}

#[test]
fn only_the_header_may_end_with_a_delimiter() {
    let contract = takes_all("id,year,\n1,1959\n2,1960\n");
    assert!(contract.format.trailing_delimiter && contract.columns.len() == 2);
}

#[test]
fn names_of_rows_have_no_name_in_the_header() {
    let contract = takes_all("a b\n\"r1\" 1 x\n\"r2\" 2 y\n\"r3\" 3 z\n");
    assert_eq!((contract.format.delimiter, contract.format.skip_lines, contract.format.header), (b' ', 1, false));
    assert_eq!(contract.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["row", "a", "b"]);
}

#[test]
fn blanks_around_names_are_none_of_them() {
    let contract = takes_all("  Ix,   Iy\n 1, 2.5\n10, 3.5\n");
    assert_eq!(contract.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["Ix", "Iy"]);
}
