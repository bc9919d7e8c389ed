//! What a contract may say and how each error looks. The invalid ones are in `tests/invalid.txt`: a contract, `---`,
//! the exact errors.

use proptest::prelude::*;

use crate::*;

mod derived;

const INVALID: &str = include_str!("tests/invalid.txt");
const PAGE: &str = include_str!("../../../docs/contracts.md");
const SHIPPED: [(&str, &str); 6] = [
    ("sales.toml", include_str!("../../datasets/sales.toml")),
    ("customers.toml", include_str!("../../datasets/customers.toml")),
    ("clickstream.toml", include_str!("../../datasets/clickstream.toml")),
    ("sensors.toml", include_str!("../../datasets/sensors.toml")),
    ("daily_sales.toml", include_str!("../../datasets/daily_sales.toml")),
    ("hourly_sensors.toml", include_str!("../../datasets/hourly_sensors.toml")),
];
/// A sound contract of three lines, to add to.
const SMALL: &str = r#"name = "sales"
source = { kind = "blob", container = "landing", path = "a/*.csv" }
columns = [{ name = "id", type = "long" }]
"#;

/// `(name, contract, errors)` of every case.
fn invalid_cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    INVALID.split("=== ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').expect("a name");
        let (contract, errors) = rest.split_once("---\n").expect("a separator");
        (name, contract, errors.trim_end())
    })
}

fn shipped() -> Contracts {
    let files = SHIPPED.map(|(file, text)| (file.to_owned(), text.to_owned()));
    Contracts::parse_all(files.to_vec()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    Contract::parse(text, "c.toml").expect_err(text).to_string()
}

#[test]
fn every_error_is_told_exactly() {
    for (name, contract, expected) in invalid_cases() {
        assert_eq!(errors(contract), expected, "{name}");
    }
}

#[test]
fn the_reference_page_shows_every_error() {
    for line in INVALID.lines().filter(|line| line.starts_with("c.toml:")) {
        let message = line.splitn(4, ':').nth(3).expect("file:line:column: message").trim_start();
        assert!(PAGE.contains(message), "not in docs/contracts.md: {message}");
    }
}

#[test]
fn the_reference_page_has_every_key() {
    for section in keys::SECTIONS {
        let heading =
            if section.header.is_empty() { "## Top level".to_owned() } else { format!("## `{}`", section.header) };
        let (_, rest) = PAGE.split_once(&heading).unwrap_or_else(|| panic!("no heading {heading}"));
        let text = rest.split("\n## ").next().unwrap_or_default();
        for key in section.keys {
            assert!(text.contains(&format!("\n| `{key}` |")), "{heading} lacks a row for `{key}`");
        }
    }
}

#[test]
fn the_reference_page_has_every_table_property() {
    for (name, _) in properties::ALLOWED {
        assert!(properties::check_name(name).is_ok() && PAGE.contains(&format!("\n| `{name}` |")), "{name}");
    }
    for (name, reason) in properties::REFUSED {
        let member = if name.ends_with('.') { format!("{name}x") } else { name.to_owned() };
        let (message, _) = properties::check_name(&member).expect_err(name);
        assert!(
            message.ends_with(reason) && PAGE.contains(&format!("\n| `{}", name)) && PAGE.contains(reason),
            "{name}"
        );
    }
}

#[test]
fn the_examples_of_the_reference_page_are_sound() {
    let blocks: Vec<&str> = PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let (complete, parts): (Vec<&str>, Vec<&str>) = blocks.iter().partition(|block| block.starts_with("name = "));
    assert!(complete.len() >= 2 && parts.len() >= 5, "{} and {}", complete.len(), parts.len());
    let columns = r#"columns = [
        { name = "id", type = "long" }, { name = "day", type = "date" }, { name = "quantity", type = "long" },
    ]"#;
    let head = r#"name = "x""#;
    let source = r#"source = { kind = "blob", container = "landing", path = "a" }"#;
    for block in complete {
        Contract::parse(block, "docs").unwrap_or_else(|errors| panic!("{block}\n{errors}"));
    }
    for part in parts {
        let columns = if part.contains("[[columns]]") { "" } else { columns };
        let source = if part.contains("[source]") || part.contains("source = ") { "" } else { source };
        let text = format!("{head}\n{source}\n{columns}\n{part}");
        Contract::parse(&text, "docs").unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    }
}

#[test]
fn the_shipped_datasets_are_sound() {
    let contracts = shipped();
    let names: Vec<&str> = contracts.iter().map(|contract| contract.name.as_str()).collect();
    assert_eq!(names, ["sales", "customers", "clickstream", "sensors", "daily_sales", "hourly_sensors"]);
    let customers = contracts.get("customers").expect("customers");
    for treatment in [Treatment::Pseudonym, Treatment::Mask, Treatment::Drop] {
        assert!(customers.columns.iter().any(|column| column.personal == Some(treatment)), "{treatment:?}");
    }
    assert!(customers.table_columns().iter().all(|column| column.name != "phone"));
}

#[test]
fn blobs_and_hubs_find_their_contract() {
    let contracts = shipped();
    let cases = [
        ("landing", "sales/2024.csv", Some("sales")),
        ("landing", "sales/2024.csv.gz", Some("sales")),
        ("landing", "sales/old/2024.csv", None),
        ("landing", "customers/a.ndjson", Some("customers")),
        ("landing", "customers/a.parquet", Some("customers")),
        ("other", "sales/2024.csv", None),
    ];
    for (container, path, expected) in cases {
        let found = contracts.for_blob(container, path);
        assert_eq!(found.map(|contract| contract.name.as_str()), expected, "{container}/{path}");
        let claims = contracts.iter().filter(|contract| contract.source.matches(container, path)).count();
        assert_eq!(claims, usize::from(expected.is_some()), "{container}/{path}");
    }
    assert_eq!(contracts.for_hub("Sensors").map(|contract| contract.name.as_str()), Some("sensors"));
    assert!(contracts.for_hub("landing").is_none() && contracts.get("landing").is_none());
    assert_eq!(contracts.file("sales"), Some("sales.toml"));
}

#[test]
fn a_dot_in_a_field_is_noted_where_it_may_be_meant_as_a_path() {
    let noted = |path: &str, from: &str| {
        let columns = format!("{{ name = \"temp\", type = \"double\", from = \"{from}\" }}");
        let text = SMALL.replace("a/*.csv", path).replace("{ name = \"id\", type = \"long\" }", &columns);
        let contract = Contract::parse(&text, "c.toml").unwrap_or_else(|errors| panic!("{errors}"));
        contract.dotted_fields().into_iter().map(|(_, path)| path).collect::<Vec<_>>()
    };
    assert_eq!(noted("a/*.json", "data.temp"), ["/data/temp"]);
    assert_eq!(noted("a/*", "a.b.c"), ["/a/b/c"]);
    for (path, from) in [("a/*.csv", "data.temp"), ("a/*.json", "data"), ("a/*.json", "Vers. 2"), ("a/*.json", "/a/b")]
    {
        assert!(noted(path, from).is_empty(), "{path} {from}");
    }
}

#[test]
fn a_minimal_contract_has_the_documented_defaults() {
    let contract = Contract::parse(SMALL, "c.toml").expect("sound");
    let format = Format {
        kind: FormatKind::Auto,
        compression: Compression::Auto,
        delimiter: b',',
        quote: Some(b'"'),
        header: true,
        null_values: vec![String::new()],
        quoted_newlines: true,
        decimal_comma: false,
        skip_lines: 0,
        comment: None,
        trailing_delimiter: false,
        escape: None,
        records: None,
        payload: None,
        encoding: "utf-8",
        max_record_bytes: 1_048_576,
        split_bytes: 268_435_456,
    };
    assert_eq!(contract.format, format);
    assert!(contract.columns[0].nullable && contract.columns[0].personal.is_none());
    assert_eq!((contract.table, contract.warehouse, contract.rules), (TableSpec::default(), None, vec![]));
    let events = SMALL.replace(r#""blob", container = "landing", path = "a/*.csv""#, r#""events", hub = "h""#);
    let contract = Contract::parse(&events, "c.toml").expect("sound");
    assert_eq!(
        contract.source,
        Source::Events { hub: "h".to_owned(), consumer_group: "$Default".to_owned(), gap: Gap::Heal, epoch: 1 }
    );
    assert_eq!(contract.format.kind, FormatKind::Auto);
}

#[test]
fn a_column_takes_what_is_around_an_events_body() {
    let text = SMALL.replace(r#""long""#, r#""long", from = "event:offset""#);
    let blob = Contract::parse(&text, "c.toml").expect("sound");
    assert_eq!(blob.event_field(&blob.columns[0]), None);
    let text = text.replace(r#""blob", container = "landing", path = "a/*.csv""#, r#""events", hub = "h""#);
    let events = Contract::parse(&text, "c.toml").expect("sound");
    assert_eq!(events.event_field(&events.columns[0]), Some(EventField::Offset));
    let property = Contract::parse(&text.replace("event:offset", "event:property:a b"), "c.toml").expect("sound");
    assert_eq!(property.event_field(&property.columns[0]), Some(EventField::Property("a b".to_owned())));
}

#[test]
fn without_a_header_from_still_serves_the_other_formats_of_auto() {
    let text = SMALL.replace(r#""long""#, r#""long", from = "ID""#) + "format = { header = false }\n";
    assert!(Contract::parse(&text, "c.toml").is_ok());
}

#[test]
fn what_is_written_is_what_is_read() {
    let text = r#"
name = "orders"
description = "All keys."

[source]
kind = "blob"
container = "landing"
path = ["a/*.csv", "b/**/c?.csv"]

[format]
type = "csv"
compression = "gzip"
delimiter = "\t"
quote = ""
header = false
null_values = ["NA", ""]
max_record_bytes = 0x100000

[[columns]]
name = "day"
type = "date"
nullable = false
format = "%d.%m.%Y"
description = "Of the order."

[[columns]]
name = "amount"
type = "decimal( 38 , 38 )"

[[columns]]
name = "mail"
type = "string"
personal = "pseudonym"

[[rules]]
name = "positive"
expr = """
amount > 0"""
action = "fail"

[table]
partition_by = "day"
cluster_by = ["amount", "mail"]
new_columns = "fail"

[table.properties]
delta.checkpointInterval = 20
"delta.logRetentionDuration" = "interval 2 weeks"

[warehouse]
table = "dbo.orders"
distribution = "hash(mail)"
index = "clustered(mail)"
long_text = "truncate"
text_lengths = { mail = 200 }
"#;
    let contract = Contract::parse(text, "c.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let expected_source = Source::Blob {
        container: "landing".to_owned(),
        paths: vec!["a/*.csv".to_owned(), "b/**/c?.csv".to_owned()],
        ignore: Vec::new(),
        on_overwrite: OnOverwrite::Replace,
        on_delete: OnDelete::Keep,
    };
    assert_eq!(contract.source, expected_source);
    assert_eq!(contract.format.kind, FormatKind::Csv);
    assert_eq!((contract.format.delimiter, contract.format.quote), (b'\t', None));
    assert_eq!(contract.format.null_values, ["NA", ""]);
    assert_eq!(contract.columns[1].data_type, DataType::Decimal { precision: 38, scale: 38 });
    assert_eq!(contract.columns[0].format.as_deref(), Some("%d.%m.%Y"));
    assert_eq!((contract.rules[0].line, contract.rules[0].expr.as_str()), (37, "amount > 0"));
    assert_eq!(contract.table.new_columns, NewColumns::Fail);
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties =
        [property("delta.checkpointInterval", "20"), property("delta.logRetentionDuration", "interval 2 weeks")];
    assert_eq!(contract.table.properties, properties);
    let warehouse = contract.warehouse.expect("a warehouse");
    assert_eq!(warehouse.table, "dbo.orders");
    assert_eq!(warehouse.distribution, Distribution::Hash("mail".to_owned()));
    assert_eq!(warehouse.index, WarehouseIndex::Clustered("mail".to_owned()));
    assert_eq!(warehouse.long_text, LongText::Truncate);
    assert_eq!(warehouse.text_lengths, [("mail".to_owned(), 200)]);
}

#[test]
fn new_columns_are_added_unless_the_contract_says_otherwise() {
    let cases = [
        ("", NewColumns::Add),
        ("table = {}", NewColumns::Add),
        ("table = { new_columns = 'add' }", NewColumns::Add),
        ("table = { new_columns = 'rescue' }", NewColumns::Rescue),
        ("table = { new_columns = 'fail' }", NewColumns::Fail),
    ];
    for (line, expected) in cases {
        let contract = Contract::parse(&format!("{SMALL}{line}\n"), "c.toml").expect(line);
        assert_eq!(contract.table.new_columns, expected, "{line}");
    }
}

#[test]
fn transaction_ids_are_kept_for_thirty_days_or_more() {
    let cases = [
        ("interval 30 days", true),
        ("interval 720 hours", true),
        ("interval 5 weeks", true),
        ("interval 4294967295 weeks", true),
        ("interval 2592000000 milliseconds", true),
        ("interval 4294967295 microseconds", false),
        ("interval 2591999 seconds", false),
        ("interval 719 hours", false),
        ("interval 0 days", false),
        ("interval 30 months", false),
        ("30 days", false),
        ("", false),
    ];
    for (interval, allowed) in cases {
        let checked = properties::check_value("delta.setTransactionRetentionDuration", interval);
        assert_eq!(checked.is_ok(), allowed, "{interval}");
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_shift_positions() {
    let text = format!("\u{feff}{}", SMALL.replace("long", "lonk").replace('\n', "\r\n"));
    assert_eq!(errors(&text), "c.toml:3:34: columns[0].type: unknown type `lonk`; did you mean `long`?");
    let first_line = format!("\u{feff}nam = 1\n{SMALL}");
    assert_eq!(errors(&first_line), "c.toml:1:1: nam: unknown key; did you mean `name`?");
}

#[test]
fn limits_hold() {
    let large = format!("{SMALL}#{}", " ".repeat(MAX_FILE_BYTES));
    assert_eq!(errors(&large), format!("c.toml:1:1: the file has {} bytes: at most 1048576 are allowed", large.len()));

    let column = |index: usize| format!("[[columns]]\nname = \"c{index}\"\ntype = \"long\"\n");
    let columns = |count: usize| (0..count).map(column).collect::<String>();
    let head = "name = \"x\"\nsource = { kind = \"events\", hub = \"h\" }\n";
    assert!(Contract::parse(&format!("{head}{}", columns(1024)), "c.toml").is_ok());
    let many = errors(&format!("{head}{}", columns(1025)));
    assert!(many.ends_with("columns: has 1025 entries: at most 1024 are allowed"), "{many}");

    let unknown: String = (0..150).map(|index| format!("q{index} = 1\n")).collect();
    let failure = Contract::parse(&format!("{unknown}{SMALL}"), "c.toml").expect_err("unknown keys");
    assert_eq!((failure.iter().count(), failure.count()), (100, 150));
    assert!(failure.to_string().ends_with("\nand 50 more"));

    assert!(errors(&format!("{SMALL}x = {}", "[".repeat(100_000))).contains("not valid TOML"));
}

#[test]
fn kinds_tell_what_sort_of_fault_it_is() {
    let cases = [
        ("x", ErrorKind::Syntax),
        ("zzz = 1", ErrorKind::UnknownKey),
        ("description = 1", ErrorKind::WrongType),
        ("warehouse = {}", ErrorKind::MissingKey),
        ("rules = [{ name = 'A', expr = 'x', action = 'warn' }]", ErrorKind::InvalidValue),
        ("table = { partition_by = ['id'] }", ErrorKind::Conflict),
    ];
    for (line, kind) in cases {
        let failure = Contract::parse(&format!("{SMALL}{line}\n"), "c.toml").expect_err(line);
        assert_eq!(failure.kind(), kind, "{failure}");
    }
}

#[test]
fn two_contracts_cannot_claim_the_same() {
    let events = SMALL.replace(r#""blob", container = "landing", path = "a/*.csv""#, r#""events", hub = "Hub""#);
    let other = |text: &str| text.replace(r#""sales""#, r#""other""#);
    let load = |text: &str| format!("{text}warehouse = {{ table = 'dbo.T' }}\n");
    let cases = [
        (SMALL.to_owned(), SMALL.replace("a/*", "b/*"), "b.toml:1:8: name: a.toml has a dataset `sales` already"),
        (
            SMALL.to_owned(),
            other(SMALL).replace("a/*.csv", "**/x.csv"),
            "b.toml:2:57: source.path: a.toml claims blobs of these paths too, such as `a/x.csv`",
        ),
        (
            events.clone(),
            other(&events).replace("Hub", "hub"),
            "b.toml:2:35: source.hub: a.toml reads the hub `Hub` already",
        ),
        (
            load(SMALL),
            load(&other(&events)).replace("dbo.T", "DBO.t"),
            "b.toml:4:23: warehouse.table: a.toml loads the table `dbo.T` already",
        ),
    ];
    for (first, second, expected) in cases {
        let files = vec![("a.toml".to_owned(), first), ("b.toml".to_owned(), second)];
        let failure = Contracts::parse_all(files).expect_err(expected);
        assert_eq!(failure.to_string(), expected);
        let message = expected.splitn(4, ':').nth(3).expect("a message").trim_start();
        assert!(PAGE.contains(message), "not in docs/contracts.md: {message}");
    }
    let apart = other(SMALL).replace("\"landing\"", "\"elsewhere\"");
    let files = vec![("a.toml".to_owned(), SMALL.to_owned()), ("b.toml".to_owned(), apart)];
    assert_eq!(Contracts::parse_all(files).expect("containers differ").len(), 2);
}

#[test]
fn errors_of_all_files_come_together() {
    let files = vec![("a.toml".to_owned(), SMALL.replace("long", "lon")), ("b.toml".to_owned(), "x = 1".to_owned())];
    let failure = Contracts::parse_all(files).expect_err("two bad files");
    let files: Vec<&str> = failure.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(files, ["a.toml", "b.toml", "b.toml", "b.toml", "b.toml"]);
}

#[test]
fn auto_goes_by_extension() {
    let contract = Contract::parse(SMALL, "c.toml").expect("sound");
    let cases = [
        ("a/x.csv", Some(FormatKind::Csv)),
        ("a/x.CSV.GZ", Some(FormatKind::Csv)),
        ("a/x.ndjson", Some(FormatKind::Ndjson)),
        ("a/x.jsonl.gz", Some(FormatKind::Ndjson)),
        ("a/x.json", Some(FormatKind::Ndjson)),
        ("a/x.snappy.parquet", Some(FormatKind::Parquet)),
        ("a/x.csv.zst", Some(FormatKind::Csv)),
        ("a/0/01.avro", Some(FormatKind::Avro)),
        ("a/x.txt", None),
        ("a.csv/x", None),
        ("a/x.gz", None),
        ("a/x.zst", None),
        ("a/x.csv.gz.zst", None),
    ];
    for (path, expected) in cases {
        assert_eq!(contract.resolve_format(path).ok(), expected, "{path}");
    }
    let failure = contract.resolve_format("a/x.txt").expect_err("no format").to_string();
    assert!(failure.contains("`sales`") && failure.contains("`a/x.txt`") && PAGE.contains(&failure), "{failure}");

    let fixed = Contract::parse(&format!("{SMALL}format = {{ type = 'ndjson' }}\n"), "c.toml").expect("sound");
    assert_eq!(fixed.resolve_format("a/x.csv"), Ok(FormatKind::Ndjson));
    for (path, expected) in [("a/x.json", true), ("a/x.JSON.gz", true), ("a/x.ndjson", false), ("a/json", false)] {
        assert_eq!((contract.may_be_document(path), fixed.may_be_document(path)), (expected, false), "{path}");
    }
}

#[test]
fn plain_lines_have_parts() {
    use FormatKind::{Avro, Csv, Json, Ndjson, Parquet};
    let cases = [
        ("", Csv, false),
        ("", Ndjson, true),
        ("", Json, false),
        ("", Parquet, true),
        ("", Avro, true),
        ("quote = ''", Csv, true),
        ("quoted_newlines = false", Csv, true),
        ("quoted_newlines = false, compression = 'none'", Csv, true),
        ("compression = 'gzip'", Ndjson, false),
        ("compression = 'zstd'", Ndjson, false),
        ("encoding = 'utf-16'", Ndjson, false),
    ];
    for (keys, kind, expected) in cases {
        let contract = Contract::parse(&format!("{SMALL}format = {{ {keys} }}\n"), "c.toml").expect(keys);
        assert_eq!(contract.format.splits(kind), expected, "{keys} {kind:?}");
    }
}

proptest! {
    /// A cut or a splice of a sound contract never panics, and every error points into the file.
    #[test]
    fn damaged_contracts_are_explained(
        file in 0..SHIPPED.len(),
        at in 0.0..1.0f64,
        length in 0..40usize,
        splice in r#"[\[\]{}="'.,#\n0-9a-z_é%* -]{0,6}"#,
    ) {
        let mut characters: Vec<char> = SHIPPED[file].1.chars().collect();
        let start = (characters.len() as f64 * at) as usize;
        let end = (start + length).min(characters.len());
        characters.splice(start..end, splice.chars());
        let text: String = characters.into_iter().collect();
        if let Err(failure) = Contract::parse(&text, "c.toml") {
            let lines = text.lines().count() + 1;
            prop_assert!(failure.count() > 0);
            for error in &failure {
                prop_assert!((1..=lines).contains(&error.line) && error.column >= 1, "{error}");
            }
        }
    }
}

#[test]
fn drift_and_quality_have_their_defaults_and_are_read() {
    let contract = Contract::parse(SMALL, "c.toml").expect("sound");
    let defaults = Drift {
        unknown_fields: UnknownFields::Rescue,
        max_added_columns: 100,
        missing_columns: MissingColumns::Null,
        match_case: false,
        personal_unknown_fields: PersonalUnknownFields::Drop,
    };
    assert_eq!((contract.drift, contract.quality), (defaults, Quality { max_faulty: None, min_records: 100 }));
    let text = format!(
        "{SMALL}drift = {{ unknown_fields = 'add', max_added_columns = 7, missing_columns = 'fail', match_case = true }}\n\
         quality = {{ max_faulty = 0.05, min_records = 0 }}\nrules = [{{ name = 'a', expr = 'id > 0', action = 'label' }}]\n"
    );
    let contract = Contract::parse(&text, "c.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let drift = Drift {
        unknown_fields: UnknownFields::Add,
        max_added_columns: 7,
        missing_columns: MissingColumns::Fail,
        match_case: true,
        personal_unknown_fields: PersonalUnknownFields::Drop,
    };
    assert_eq!((&contract.drift, contract.quality.min_records), (&drift, 0));
    assert_eq!(contract.rules[0].action, RuleAction::Label);
    assert_eq!(contract.table_columns().last().map(|column| column.name.clone()).as_deref(), Some(LABELS));
    let fail = Contract::parse(&format!("{SMALL}drift = {{ unknown_fields = 'fail' }}\n"), "c.toml").expect("sound");
    assert_eq!(fail.drift.unknown_fields, UnknownFields::Fail);
}

#[test]
fn shares_are_read_and_shown_exactly() {
    let cases = [
        ("0", "0 %"),
        ("1", "100 %"),
        ("1.0", "100 %"),
        ("0.05", "5 %"),
        ("0.29", "29 %"),
        ("5e-2", "5 %"),
        ("0.0025", "0.25 %"),
        ("0.000_001", "0.0001 %"),
        ("0.999999", "99.9999 %"),
    ];
    for (written, shown) in cases {
        let contract = Contract::parse(&format!("{SMALL}quality = {{ max_faulty = {written} }}\n"), "c.toml");
        let share = contract.unwrap_or_else(|errors| panic!("{errors}")).quality.max_faulty.expect("a share");
        assert_eq!(share.to_string(), shown, "{written}");
    }
}

#[test]
fn fields_that_differ_by_case_alone_are_two_if_case_counts() {
    let columns = r#"columns = [{ name = "id", type = "long" }, { name = "b", type = "long", from = "ID" }]"#;
    let text = SMALL.replace(r#"columns = [{ name = "id", type = "long" }]"#, columns);
    assert!(Contract::parse(&text, "c.toml").is_err());
    assert!(Contract::parse(&format!("{text}drift = {{ match_case = true }}\n"), "c.toml").is_ok());
}
