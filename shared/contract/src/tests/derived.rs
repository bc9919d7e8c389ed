//! Derived tables among the contracts that they read.

use crate::*;

const PAGE: &str = include_str!("../../../../docs/contracts.md");
const SALES: &str = r#"name = "sales"
source = { kind = "blob", container = "landing", path = "a/*.csv" }
columns = [
    { name = "id", type = "long" }, { name = "day", type = "date" }, { name = "at", type = "timestamp" },
    { name = "who", type = "string", personal = "drop" }, { name = "price", type = "decimal(12,2)" },
]
"#;

/// A derived table whose `[derived]` has these lines, and whose column `by` is of this type.
fn derived(name: &str, by: &str, lines: &str) -> (String, String) {
    let text = format!(
        "name = \"{name}\"\ncolumns = [{{ name = \"by\", type = \"{by}\" }}, {{ name = \"day\", type = \"date\" }}]\n\
         [derived]\nsql = \"SELECT 1\"\n{lines}\n"
    );
    (format!("{name}.toml"), text)
}

fn sales() -> (String, String) {
    ("sales.toml".to_owned(), SALES.to_owned())
}

/// The errors, one a line; empty when it is sound.
fn check(files: Vec<(String, String)>) -> String {
    Contracts::parse_all(files).map_or_else(|errors| errors.to_string(), |_| String::new())
}

#[test]
fn a_derived_table_is_what_it_says() {
    let lines = "follows = \"sales\"\nby = \"by\"\nof = \"at\"\nevery = \"month\"\nlookups = [\"other\"]\n\
                 on_lookup_change = \"keep\"";
    let other = ("other.toml".to_owned(), SALES.replace("sales", "other").replace("a/*.csv", "b"));
    let contracts = Contracts::parse_all(vec![derived("monthly", "date", lines), sales(), other]).expect("sound");
    let contract = contracts.get("monthly").expect("monthly");
    let expected = Derived {
        sql: "SELECT 1".to_owned(),
        line: 4,
        follows: "sales".to_owned(),
        lookups: vec!["other".to_owned()],
        on_lookup_change: OnLookupChange::Keep,
        unit: Unit { by: "by".to_owned(), of: "at".to_owned(), every: Some(Every::Month) },
    };
    assert_eq!(contract.derived(), Some(&expected));
    assert_eq!(expected.reads().collect::<Vec<_>>(), ["sales", "other"]);
    // Lineage as every table, and nothing that could be rescued.
    let names: Vec<_> = contract.table_columns().into_iter().map(|column| column.name).collect();
    assert_eq!(names, ["by", "day", "_source", "_source_version", "_source_position", "_ingested_at"]);
    assert!(contracts.get("sales").expect("sales").derived().is_none());
    assert!(contracts.for_blob("landing", "a/1.csv").is_some() && contracts.for_hub("monthly").is_none());
}

#[test]
fn what_it_names_has_to_be_there() {
    let cases = [
        ("date", "follows = \"sles\"\nby = \"day\"", "there is no dataset `sles`; did you mean `sales`?"),
        ("date", "follows = \"sales\"\nby = \"day\"\nlookups = \"x\"", "there is no dataset `x`"),
        ("date", "follows = \"sales\"\nby = \"by\"", "the table of `sales` has no column `by`"),
        ("date", "follows = \"sales\"\nby = \"day\"\nof = \"who\"", "the table of `sales` has no column `who`"),
        ("date", "follows = \"sales\"\nby = \"day\"\nof = \"ay\"", "has no column `ay`; did you mean `day`?"),
        (
            "date",
            "follows = \"sales\"\nby = \"by\"\nof = \"at\"",
            "`at` is timestamp, and `by` is date with no `every`",
        ),
        ("date", "follows = \"sales\"\nby = \"by\"\nof = \"id\"", "`id` is long, and `by` is date with no `every`"),
        (
            "timestamp",
            "follows = \"sales\"\nby = \"by\"\nof = \"day\"\nevery = \"hour\"",
            "`day` is date, and `by` is timestamp with `every = \"hour\"`",
        ),
        (
            "date",
            "follows = \"sales\"\nby = \"day\"\nevery = \"month\"",
            "`sales` has a column `day` itself: the query could not tell it from the unit, call that something else",
        ),
    ];
    for (by, lines, expected) in cases {
        let errors = check(vec![derived("d", by, lines), sales()]);
        assert!(errors.contains(expected) && errors.lines().count() == 1, "{lines}: {errors}");
    }
    for sound in [
        ("date", "follows = \"sales\"\nby = \"day\""),
        ("date", "follows = \"sales\"\nby = \"by\"\nof = \"day\"\nevery = \"year\""),
        ("date", "follows = \"sales\"\nby = \"by\"\nof = \"at\"\nevery = \"day\""),
        ("timestamp", "follows = \"sales\"\nby = \"by\"\nof = \"at\"\nevery = \"hour\""),
        ("timestamp", "follows = \"sales\"\nby = \"by\"\nof = \"at\""),
        ("integer", "follows = \"sales\"\nby = \"by\"\nof = \"id\""),
    ] {
        assert_eq!(check(vec![derived("d", sound.0, sound.1), sales()]), "", "{sound:?}");
    }
}

#[test]
fn nothing_is_made_of_itself() {
    let own = |name: &str, reads: &str| derived(name, "date", &format!("follows = \"{reads}\"\nby = \"day\""));
    assert_eq!(check(vec![own("a", "a")]), "a.toml:5:11: derived.follows: goes around in a circle: a reads a");
    let errors = check(vec![own("a", "b"), own("b", "c"), own("c", "a"), own("d", "a")]);
    assert_eq!(
        errors.lines().next(),
        Some("a.toml:5:11: derived.follows: goes around in a circle: a reads b reads c reads a")
    );
    assert_eq!(errors.lines().count(), 3, "d reads a circle and is none of it: {errors}");
    assert_eq!(check(vec![own("a", "b"), own("b", "sales"), sales()]), "", "a chain is none");
    // What could not be read makes nobody else wrong.
    let errors = check(vec![own("a", "sales"), ("sales.toml".to_owned(), "name = 1".to_owned())]);
    assert!(!errors.contains("a.toml"), "{errors}");
}

#[test]
fn the_reference_page_shows_the_errors_between_contracts() {
    for message in ["there is no dataset", "has no column", "goes around in a circle", "has a column", "a unit is"] {
        assert!(PAGE.contains(message), "{message}");
    }
}
