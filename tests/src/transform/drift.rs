//! Data that is not as it was: fields that nobody named, fields that are gone, names in other letters.

use polars::prelude::{DataFrame, df};
use proptest::prelude::*;
use weir_contract::UnknownFields::{self, Add, Fail, Rescue};
use weir_contract::{Contract, DataType, RuleAction, Treatment};
use weir_contract::{MissingColumns, PersonalUnknownFields};
use weir_transform::Output;

use super::{checked, clean, lineage, orders, quarantined, refused, rule, run_csv, run_ndjson, transform};

fn policy(unknown_fields: UnknownFields) -> Contract {
    let mut contract = orders();
    contract.drift.unknown_fields = unknown_fields;
    contract
}

fn run_rows(contract: &Contract, frame: &DataFrame) -> Output {
    super::parquet::read_frame(contract, frame)
}

/// The added columns, in order.
fn added(contract: &Contract, output: &Output) -> Vec<String> {
    let columns = output.clean.columns().iter().skip(contract.table_columns().len());
    columns.map(|column| column.name().to_string()).collect()
}

#[test]
fn unknown_fields_become_columns_as_text() {
    let contract = policy(Add);
    let output = run_ndjson(
        &contract,
        br#"{"id":1,"colour":"r\u00e9d","n":1.10,"o":{"a": [1]},"b":true,"nil":null}
{"id":2,"nil":null,"n":"x"}
{"id":"x","late":"only in quarantine"}
{"id":4}
"#,
    );
    assert_eq!(
        clean(&output),
        ["1: 1|~|~|~|colour=r\u{e9}d|n=1.10|o={\"a\": [1]}|b=true", "2: 2|~|~|~|n=x", "4: 4|~|~|~"]
    );
    assert_eq!(added(&contract, &output), ["colour", "n", "o", "b"], "what is null everywhere is no column");

    let output = run_csv(&contract, b"id,colour,empty,size\n1,red,,\"\"\n2,\"a \"\"b\"\"\",,7\n");
    assert_eq!(clean(&output), ["1: 1|~|~|~|colour=red|size=", "2: 2|~|~|~|colour=a \"b\"|size=7"]);

    let frame = df!("id" => [1_i64, 2], "x" => [Some(1.5), None], "day_" => [true, false]).unwrap();
    assert_eq!(clean(&run_rows(&contract, &frame)), ["1: 1|~|~|~|x=1.5|day_=true", "2: 2|~|~|~|day_=false"]);
}

#[test]
fn what_can_be_no_column_is_rescued() {
    let mut contract = policy(Add);
    contract.columns[1].from = Some("label".to_owned());
    contract.columns[3].personal = Some(Treatment::Drop);
    contract.drift.personal_unknown_fields = PersonalUnknownFields::Add;
    let output = run_ndjson(
        &contract,
        br#"{"id":1,"_x":1,"a b":2,"1st":3,"\u00e9":4,"NAME":5,"DAY":null,"ok":6,"":7}
{"id":2,"x":1,"x":2}
{"id":3,"x":"a\u0000","y":"\ud800"}
"#,
    );
    assert_eq!(
        clean(&output),
        [
            "1: 1|~|~|{\"_x\":1,\"a b\":2,\"1st\":3,\"\u{e9}\":4,\"NAME\":5,\"\":7}|ok=6",
            "2: 2|~|~|{\"x\":2}|x=1",
            "3: 3|~|~|{\"x\":\"a\\u0000\",\"y\":\"\\ud800\"}",
        ]
    );
    let output = run_csv(&contract, b"id,x,x,_y,name\n1,a,b,c,d\n");
    assert_eq!(clean(&output), ["1: 1|~|~|{\"x#2\":\"b\",\"_y\":\"c\",\"name\":\"d\"}|x=a"]);
    let frame = df!("id" => [1_i64, 2], "bad" => ["a\0", "b"], "good" => ["c", "d"]).unwrap();
    assert_eq!(
        clean(&run_rows(&contract, &frame)),
        ["1: 1|~|~|{\"bad\":\"a\\u0000\"}|good=c", "2: 2|~|~|{\"bad\":\"b\"}|good=d"]
    );
}

#[test]
fn columns_beyond_the_limit_are_rescued_in_the_same_row() {
    let mut contract = policy(Add);
    contract.drift.max_added_columns = 2;
    let output = run_ndjson(
        &contract,
        b"{\"id\":1,\"a\":null,\"b\":1,\"_r\":0}\n{\"id\":2,\"c\":2,\"d\":3.0,\"_r\":0}\n{\"id\":3,\"d\":\"x\",\"e\":[]}\n{\"id\":4,\"b\":4}\n",
    );
    assert_eq!(
        clean(&output),
        [
            "1: 1|~|~|~|{\"_r\":0}|b=1",
            "2: 2|~|~|~|{\"_r\":0,\"d\":3.0}|c=2",
            "3: 3|~|~|~|{\"d\":\"x\",\"e\":[]}",
            "4: 4|~|~|~|b=4",
        ]
    );
    let output = run_csv(&contract, b"id,a,b,c\n1,,2,3\n2,,,4\n3,5,,\n");
    assert_eq!(clean(&output), ["1: 1|~|~|~|{\"c\":\"3\"}|b=2", "2: 2|~|~|~|{\"c\":\"4\"}", "3: 3|~|~|~|a=5"]);
}

/// A chunk whose every record has a field of its own: columns stay few, and so does memory.
#[test]
fn a_field_for_every_record_adds_no_column_for_every_record() {
    let contract = policy(Add);
    let lines: String = (0..200_000).map(|n| format!("{{\"id\":{n},\"f{n}\":{n}}}\n")).collect();
    let output = run_ndjson(&contract, lines.as_bytes());
    let columns = added(&contract, &output);
    assert_eq!((columns.len(), columns[0].as_str()), (10, "f0"), "2 Mi cells");
    assert_eq!(output.clean.column("_rescued").unwrap().null_count(), columns.len());
    assert_eq!(clean(&output).last().unwrap(), "200000: 199999|~|~|~|{\"f199999\":199999}");
}

#[test]
fn refused_fields_are_named_and_bounded() {
    let contract = policy(Fail);
    let long = "l".repeat(65);
    let lines = format!(
        "{{\"id\":1}}\n{{\"id\":2,\"a\":1}}\n{{\"id\":3,\"x\":{{}},\"price\":\"q\",\"y\\n\":null}}\n\
         {{\"id\":4,\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"{long}\":1,\"f\":1,\"g\":1}}\n{{\"id\":5,\"z\":\n{{\"id\":6}}\n"
    );
    let output = run_ndjson(&contract, lines.as_bytes());
    assert_eq!(
        refused(&output),
        [
            "2: unknown field `a`".to_owned(),
            "3: column `price`: not a decimal(9,2); unknown fields `x`, `y\\n`".to_owned(),
            format!("4: unknown fields `a`, `b`, `c`, `d`, `{}…` and 2 more", "l".repeat(64)),
            "5: not one JSON object: a JSON object that ends too early".to_owned(),
        ]
    );
    assert_eq!(clean(&output), ["1: 1|~|~|~", "6: 6|~|~|~"]);

    let output = run_csv(&contract, b"id,colour,id\n1,red,2\nx,blue,3\n");
    assert_eq!(
        refused(&output),
        ["1: unknown fields `colour`, `id#2`", "2: column `id`: not a long; unknown fields `colour`, `id#2`"]
    );
    let output = run_rows(&contract, &df!("id" => [1_i64], "colour" => ["red"]).unwrap());
    assert_eq!(refused(&output), ["1: unknown field `colour`"]);
    assert_eq!(run_csv(&contract, b"id,name\n1,a\n").clean.height(), 1);
}

/// Any of them may be a copy of what is personal: none reaches the table, and none is lost without a word.
#[test]
fn beside_a_personal_column_unknown_fields_are_left_out_and_counted() {
    for unknown_fields in [Rescue, Add] {
        let mut contract = policy(unknown_fields);
        contract.columns[1].personal = Some(Treatment::Mask);
        contract.drift.unknown_fields = unknown_fields;
        let lines = b"{\"id\":1,\"e_mail\":\"ada\"}\n{\"id\":2}\n{\"id\":\"x\",\"e_mail\":\"ada\"}\n{\"id\":4,\"a\":{\"b\":[\"ada\"]}}\n";
        let output = run_ndjson(&contract, lines);
        assert_eq!(clean(&output), ["1: 1|~|~|~", "2: 2|~|~|~", "4: 4|~|~|~"]);
        assert_eq!(output.report.left_out, 2, "the third is in quarantine, with all of its fields");
        let output = run_csv(&contract, b"id,name,Name,x\n1,ada,ada,ada\n");
        assert_eq!((clean(&output), output.report.left_out), (vec!["1: 1|***|~|~".to_owned()], 1));
        let output = run_rows(&contract, &df!("id" => [1_i64], "NAME" => ["ada"], "name" => ["ada"]).unwrap());
        assert_eq!((clean(&output), output.report.left_out), (vec!["1: 1|***|~|~".to_owned()], 1));
        contract.drift.personal_unknown_fields = PersonalUnknownFields::Rescue;
        if unknown_fields == Rescue {
            let output = run_ndjson(&contract, lines);
            assert_eq!((clean(&output)[0].as_str(), output.report.left_out), ("1: 1|~|~|~|{\"e_mail\":\"ada\"}", 0));
        }
    }
}

#[test]
fn a_missing_column_is_null_or_refused() {
    let mut contract = orders();
    contract.columns[3].personal = Some(Treatment::Drop);
    let lines = b"{\"id\":1,\"name\":\"a\",\"price\":null}\n{\"id\":2,\"name\":\"a\"}\n{\"price\":1}\n";
    assert_eq!(refused(&run_ndjson(&contract, lines)), ["3: column `id`: null"]);
    contract.drift.missing_columns = MissingColumns::Fail;
    let output = run_ndjson(&contract, lines);
    assert_eq!(clean(&output), ["1: 1|a|~"], "null is there, and nobody misses what is dropped");
    assert_eq!(refused(&output), ["2: missing column `price`", "3: missing column `id`; missing column `name`"]);
    let output = run_csv(&contract, b"id,price\n1,2\n2,x\n");
    assert_eq!(
        refused(&output),
        ["1: missing column `name`", "2: column `price`: not a decimal(9,2); missing column `name`"]
    );
    let output = run_rows(&contract, &df!("id" => [1_i64], "name" => ["a"]).unwrap());
    assert_eq!(refused(&output), ["1: missing column `price`"]);
    let bodies: [&[u8]; 2] = [b"{\"id\":1,\"name\":\"\",\"price\":1}", b"{\"id\":1}"];
    let output = transform(&contract).events(&bodies, &[5, 9], &lineage()).unwrap();
    assert_eq!(refused(&checked(&contract, output)), ["9: missing column `name`; missing column `price`"]);
}

#[test]
fn names_find_their_columns_without_regard_to_case() {
    let mut contract = orders();
    contract.columns[1].from = Some("Gr\u{f6}\u{df}e".to_owned());
    assert_eq!(
        clean(&run_csv(&contract, " ID ,GR\u{d6}\u{df}E,\tPrice,dAY\n1,a,2,2024-01-01\n".as_bytes())),
        ["1: 1|a|2.00|2024-01-01"]
    );
    assert_eq!(
        clean(&run_ndjson(&contract, "{\"Id\":1,\"GR\u{d6}\u{df}E\":\"a\",\" day\":2}\n".as_bytes())),
        ["1: 1|a|~|~|{\" day\":2}"]
    );
    let output = run_rows(&contract, &df!("ID" => [1_i64], "DAY" => ["2024-01-01"]).unwrap());
    assert_eq!(clean(&output), ["1: 1|~|~|2024-01-01"]);

    contract.drift.match_case = true;
    let output = run_csv(&contract, b"id,PRICE, day\n1,2,3\n");
    assert_eq!(clean(&output), ["1: 1|~|~|~|{\"PRICE\":\"2\",\" day\":\"3\"}"]);
    let output = run_ndjson(&contract, b"{\"id\":1,\"Price\":2}\n{\"ID\":1}\n");
    assert_eq!(
        (clean(&output), refused(&output)),
        (vec!["1: 1|~|~|~|{\"Price\":2}".into()], vec!["2: column `id`: null".into()])
    );
    let output = run_rows(&contract, &df!("id" => [1_i64], "DAY" => ["x"]).unwrap());
    assert_eq!(clean(&output), ["1: 1|~|~|~|{\"DAY\":\"x\"}"]);
}

#[test]
fn of_two_spellings_the_contracts_own_counts_else_the_first() {
    let contract = orders();
    let output = run_csv(&contract, b"ID,id,Price,PRICE\n1,2,3,4\n");
    assert_eq!(clean(&output), ["1: 2|~|3.00|~|{\"ID\":\"1\",\"PRICE#2\":\"4\"}"]);
    let frame = df!("PRICE" => [1_i64], "Price" => [2_i64], "ID" => [3_i64], "id" => [4_i64]).unwrap();
    assert_eq!(clean(&run_rows(&contract, &frame)), ["1: 4|~|1.00|~|{\"Price\":2,\"ID\":3}"]);
    let output = run_ndjson(&contract, b"{\"id\":1,\"ID\":2}\n");
    assert_eq!(refused(&output), ["1: column `id`: given twice"]);
}

#[test]
fn added_columns_have_one_spelling() {
    let mut contract = policy(Add);
    let lines = b"{\"id\":1,\"Colour\":1}\n{\"id\":2,\"colour\":2}\n{\"id\":3,\"colour\":3,\"COLOUR\":4}\n";
    assert_eq!(
        clean(&run_ndjson(&contract, lines)),
        ["1: 1|~|~|~|Colour=1", "2: 2|~|~|~|Colour=2", "3: 3|~|~|~|{\"COLOUR\":4}|Colour=3"]
    );
    contract.drift.match_case = true;
    assert_eq!(
        clean(&run_ndjson(&contract, lines)),
        ["1: 1|~|~|~|Colour=1", "2: 2|~|~|~|{\"colour\":2}", "3: 3|~|~|~|{\"colour\":3,\"COLOUR\":4}"]
    );
    assert_eq!(
        clean(&run_csv(&contract, b"id,Colour,colour,ID\n1,a,b,c\n")),
        ["1: 1|~|~|~|{\"ID\":\"c\",\"colour\":\"b\"}|Colour=a"]
    );
}

#[test]
fn fields_that_differ_by_case_alone_need_match_case() {
    let mut contract = orders();
    contract.columns[1].from = Some("ID".to_owned());
    let error = weir_transform::Transform::new(&contract, None).unwrap_err().to_string();
    assert!(error.contains("reads the same field as column `id`"), "{error}");
    contract.drift.match_case = true;
    assert_eq!(clean(&run_ndjson(&contract, b"{\"ID\":\"a\",\"id\":2}\n")), ["1: 2|a|~|~"]);
}

/// A chunk that is cut into a part per core adds what its records add one at a time.
#[test]
fn parts_of_a_big_chunk_agree_on_columns() {
    let mut contract = policy(Add);
    contract.drift.max_added_columns = 3;
    let lines: Vec<String> = (0..50_000)
        .map(|n| format!("{{\"id\":{n},\"name\":\"{}\",\"f{}\":{n}}}\n", "x".repeat(20), n / 10_000))
        .collect();
    let output = run_ndjson(&contract, lines.concat().as_bytes());
    assert_eq!(added(&contract, &output), ["f0", "f1", "f2"]);
    let rows = clean(&output);
    assert!(rows[29_999].ends_with("|f2=29999") && rows[30_000].ends_with("|{\"f3\":30000}"), "{}", rows[30_000]);
    let header = "id,name,f0,f1,f2,f3\n";
    let lines: String = (0..50_000).map(|n| format!("{n},{},{n},,{n},{n}\n", "x".repeat(20))).collect();
    let output = run_csv(&contract, format!("{header}{lines}").as_bytes());
    assert_eq!(added(&contract, &output), ["f0", "f2", "f3"]);
    assert!(clean(&output)[49_999].ends_with("|f0=49999|f2=49999|f3=49999"));
}

fn contracts() -> impl Strategy<Value = Contract> {
    let unknown = prop::sample::select(vec![Rescue, Add, Fail]);
    (unknown, any::<[bool; 3]>(), 1..4_usize).prop_map(|(unknown, [missing, case, rules], most)| {
        let mut contract = policy(unknown);
        contract.columns[0].data_type = DataType::String;
        contract.columns[0].nullable = true;
        contract.drift.max_added_columns = most;
        contract.drift.match_case = case;
        contract.drift.missing_columns = if missing { MissingColumns::Fail } else { MissingColumns::Null };
        if rules {
            let actions = [RuleAction::Warn, RuleAction::Label, RuleAction::Quarantine];
            contract.rules = actions.map(|action| rule(action.name(), "name <> 'a'", action)).to_vec();
        }
        contract
    })
}

/// A record's unknown fields as the rows show them, whichever way they went.
fn kept(contract: &Contract, output: &Output) -> Vec<(i64, Vec<String>)> {
    let frame = &output.clean;
    let text = |name: &str, row| frame.column(name).unwrap().str().unwrap().get(row).map(str::to_owned);
    let columns = added(contract, output);
    let rows = (0..frame.height()).map(|row| {
        let mut values: Vec<String> = columns.iter().filter_map(|name| text(name, row)).collect();
        if let Some(object) = text("_rescued", row) {
            // Read member by member: a name may be there twice.
            let inner = object.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
            let members =
                inner.split(',').map(|member| member.rsplit(':').next().unwrap().trim_matches('"').to_owned());
            values.extend(members.filter(|value| value != "null"));
        }
        values.sort();
        (frame.column("_source_position").unwrap().i64().unwrap().get(row).unwrap(), values)
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the contract says: every record is in one frame, and no unknown value of a clean one is lost.
    #[test]
    fn no_policy_loses_a_record_or_a_value(
        contract in contracts(),
        records in prop::collection::vec(
            prop::collection::vec((prop::sample::select(vec!["id", "ID", "name", "price", "day", "x", "X", "y", "_z", "a b"]), 0..6_u8), 0..7),
            0..12,
        ),
        csv in any::<bool>(),
    ) {
        let value = |code: u8| ["", "a", "7", "2024-01-01", "b", "c"][usize::from(code)];
        let output = if csv {
            let header: Vec<&str> = records.first().into_iter().flatten().map(|(name, _)| *name).chain(["name"]).collect();
            let line = |record: &Vec<(&str, u8)>| {
                let values = record.iter().map(|(_, code)| value(*code)).chain(std::iter::repeat("b"));
                values.take(header.len()).collect::<Vec<_>>().join(",")
            };
            let lines: Vec<String> = records.iter().map(line).collect();
            run_csv(&contract, format!("{}\n{}\n", header.join(","), lines.join("\n")).as_bytes())
        } else {
            let member = |(name, code): &(&str, u8)| match code { 0 => format!("\"{name}\":null"), code => format!("\"{name}\":\"{}\"", value(*code)) };
            let lines: Vec<String> = records.iter().map(|record| format!("{{{}}}", record.iter().map(member).collect::<Vec<_>>().join(","))).collect();
            run_ndjson(&contract, format!("{}\n", lines.join("\n")).as_bytes())
        };
        let mut positions: Vec<i64> = quarantined(&output).into_iter().map(|(position, _, _)| position).collect();
        positions.extend(output.clean.column("_source_position").unwrap().i64().unwrap().iter().flatten());
        positions.sort_unstable();
        prop_assert_eq!(positions, (1..=output.records as i64).collect::<Vec<_>>());
        if !csv {
            prop_assert_eq!(output.records, records.len() as u64);
            let known = |name: &str| {
                let name = if contract.drift.match_case { name.to_owned() } else { name.to_lowercase() };
                ["id", "name", "price", "day"].contains(&name.as_str())
            };
            for (position, values) in kept(&contract, &output) {
                let given = &records[position as usize - 1];
                let mut expected: Vec<String> = given.iter().filter(|(name, code)| !known(name) && *code > 0).map(|(_, code)| value(*code).to_owned()).collect();
                expected.sort();
                prop_assert_eq!(values, expected);
            }
        }
    }
}
