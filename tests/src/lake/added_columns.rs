//! Columns that come from data: whoever brings them first adds them, nobody is refused for them, and no value is lost.

use std::sync::Arc;

use futures::future::join_all;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polars::prelude::{Column, DataFrame, DataType as PolarsType, IntoColumn, NamedFrom, Series};
use weir_contract::{DataType as Type, NewColumns};
use weir_lake::{AddedColumns, Append, CompactOptions, Lake, LakeOptions, Outcome, Table, TableDefinition};
use weir_warehouse::{LogWindow, Plan, RawCommit, Step, Watermark};

use super::evolution::{dump, metadata, process, write};
use super::{column, commit_path, counted, definition, frame, memory, model, producer};

/// Takes columns from data, at most so many.
fn taking(most: usize) -> TableDefinition {
    let mut definition = definition();
    definition.columns.push(column("_rescued", Type::String, true));
    let added_columns = Some(AddedColumns { most, match_case: false });
    TableDefinition { new_columns: NewColumns::Add, added_columns, ..definition }
}

/// Rows of a source with these columns: the value is the column's name and the position.
fn with(source: &str, positions: std::ops::RangeInclusive<i64>, columns: &[&str]) -> DataFrame {
    let mut frame = frame(&model(source, positions.clone()));
    frame.with_column(Column::full_null("_rescued".into(), frame.height(), &PolarsType::String)).unwrap();
    for name in columns {
        let values: Vec<String> = positions.clone().map(|position| format!("{name}{position}")).collect();
        frame.with_column(Series::new((*name).into(), values).into_column()).unwrap();
    }
    frame
}

async fn names(table: &Arc<Table>) -> Vec<String> {
    table.refresh().await.unwrap();
    table.columns().into_iter().skip(taking(0).columns.len()).map(|column| column.name).collect()
}

async fn committed(table: &Arc<Table>, source: &str, version: i64, frame: DataFrame) {
    let outcome = write(table, source, version, frame).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

#[tokio::test]
async fn the_table_gets_what_frames_bring_up_to_its_limit() {
    let store = memory();
    let table = process(&store, &taking(3)).await;
    committed(&table, "a", 1, with("a", 1..=1, &["x", "y"])).await;
    committed(&table, "a", 2, with("a", 2..=2, &[])).await;
    committed(&table, "a", 3, with("a", 3..=3, &["z", "u", "v", "x"])).await;
    assert_eq!(names(&table).await, ["x", "y", "z"]);
    assert_eq!(
        dump(&table, &["x", "y", "z", "_rescued"]).await,
        ["a|1|a:1|x1|y1|null|null", "a|2|a:2|null|null|null|null", "a|3|a:3|x3|null|z3|{\"u\":\"u3\",\"v\":\"v3\"}"]
    );
    assert_eq!(metadata(&store).await.len(), 3, "created, and twice more columns");

    // Two spellings take the room of one.
    let table = process(&memory(), &taking(2)).await;
    committed(&table, "a", 1, with("a", 1..=1, &["x", "X", "y", "Y", "z"])).await;
    assert_eq!(names(&table).await, ["x", "y"]);
    let rows = dump(&table, &["x", "y", "_rescued"]).await;
    assert_eq!(rows, ["a|1|a:1|x1|y1|{\"X\":\"X1\",\"Y\":\"Y1\",\"z\":\"z1\"}"]);
}

#[tokio::test]
async fn names_in_other_letters_are_the_tables() {
    for match_case in [false, true] {
        let store = memory();
        let added_columns = Some(AddedColumns { most: 9, match_case });
        let definition = TableDefinition { added_columns, ..taking(9) };
        let table = process(&store, &definition).await;
        committed(&table, "a", 1, with("a", 1..=1, &["Colour", "VALUE"])).await;
        committed(&table, "a", 2, with("a", 2..=2, &["colour"])).await;
        committed(&table, "a", 3, with("a", 3..=3, &["colour", "COLOUR"])).await;
        committed(&table, "a", 4, with("a", 4..=4, &["colour", "Colour"])).await;
        committed(&table, "a", 5, with("a", 5..=5, &["new", "NEW"])).await;
        assert_eq!(names(&table).await, ["Colour", "new"]);
        let (second, third) = match match_case {
            false => ("colour2|null|null", "colour3|null|{\"COLOUR\":\"COLOUR3\"}"),
            true => ("null|null|{\"colour\":\"colour2\"}", "null|null|{\"colour\":\"colour3\",\"COLOUR\":\"COLOUR3\"}"),
        };
        assert_eq!(
            dump(&table, &["Colour", "new", "_rescued"]).await,
            [
                "a|1|a:1|Colour1|null|{\"VALUE\":\"VALUE1\"}".to_owned(),
                format!("a|2|a:2|{second}"),
                format!("a|3|a:3|{third}"),
                "a|4|a:4|Colour4|null|{\"colour\":\"colour4\"}".to_owned(),
                "a|5|a:5|null|new5|{\"NEW\":\"NEW5\"}".to_owned(),
            ]
        );
    }
}

#[tokio::test]
async fn a_column_of_another_type_is_left_alone() {
    let store = memory();
    let mut earlier = taking(9);
    earlier.columns.push(column("price", Type::Double, true));
    process(&store, &earlier).await;
    let table = process(&store, &taking(9)).await;
    committed(&table, "a", 1, with("a", 1..=1, &["price", "x"])).await;
    committed(&table, "a", 2, with("a", 2..=2, &["PRICE"])).await;
    assert_eq!(
        dump(&table, &["price", "x", "_rescued"]).await,
        ["a|1|a:1|null|x1|{\"price\":\"price1\"}", "a|2|a:2|null|null|{\"PRICE\":\"PRICE2\"}"]
    );
    // The contract adopts a column: its rows stay, whoever goes on writing it as one that comes from data.
    let mut adopting = taking(9);
    adopting.columns.insert(0, column("x", Type::String, true));
    let adopted = process(&store, &adopting).await;
    committed(&adopted, "b", 1, with("b", 1..=1, &["x"])).await;
    committed(&table, "a", 3, with("a", 3..=3, &["x"])).await;
    let rows = dump(&table, &["x"]).await;
    assert_eq!(rows, ["a|1|a:1|x1", "a|2|a:2|null", "a|3|a:3|x3", "b|1|b:1|x1"]);
}

/// Processes that all bring the same and different columns at once: each is added once, the limit holds, nobody fails.
#[tokio::test]
async fn many_writers_at_once_add_each_column_once() {
    let store = memory();
    let writers = 6;
    let definition = taking(4);
    let tables = join_all((0..writers).map(|_| process(&store, &definition))).await;
    let all = tables.iter().enumerate().map(|(index, table)| async move {
        let (source, own) = (format!("s{index}"), format!("own{index}"));
        for version in 1..=3 {
            committed(table, &source, version, with(&source, version..=version, &["shared", "SHARED2", &own])).await;
        }
    });
    join_all(all).await;
    let added = names(&tables[0]).await;
    assert_eq!(added.len(), 4, "{added:?}");
    assert_eq!(added.iter().filter(|name| name.to_lowercase().starts_with("shared")).count(), 2);
    let columns: Vec<&str> = added.iter().map(String::as_str).chain(["_rescued"]).collect();
    let rows = dump(&tables[1], &columns).await;
    assert_eq!(rows.len(), writers * 3);
    for (index, row) in rows.iter().enumerate() {
        let (source, version) = (index / 3, index % 3 + 1);
        for value in [format!("shared{version}"), format!("SHARED2{version}"), format!("own{source}{version}")] {
            assert_eq!(row.matches(&value).count(), 1, "{value} in {row}");
        }
    }
}

/// One process knows no such columns: it goes on writing, and its compactions keep them.
#[tokio::test]
async fn processes_without_them_keep_added_columns() {
    let store = memory();
    let old = process(&store, &TableDefinition { added_columns: None, ..taking(9) }).await;
    committed(&old, "old", 1, with("old", 1..=1, &[])).await;
    let table = process(&store, &taking(9)).await;
    committed(&table, "new", 1, with("new", 1..=1, &["x"])).await;
    committed(&old, "old", 2, with("old", 2..=2, &[])).await;
    committed(&table, "new", 2, with("new", 2..=2, &["y"])).await;
    let expected = ["new|1|new:1|x1|null", "new|2|new:2|null|y2", "old|1|old:1|null|null", "old|2|old:2|null|null"];
    assert_eq!(dump(&table, &["x", "y"]).await, expected);
    for compactor in [&old, &process(&store, &taking(1)).await] {
        compactor.compact(CompactOptions::default(), None).await.unwrap();
        assert_eq!(dump(&table, &["x", "y"]).await, expected);
    }
    assert_eq!(table.snapshot().await.unwrap().files.len(), 1);
}

/// Rows that were staged before and after the table got a column are one file; a file that is written in pieces is cut
/// once for each time that the table grew.
#[tokio::test]
async fn few_rows_with_new_columns_make_one_file() {
    let store = memory();
    let table = process(&store, &taking(9)).await;
    let mut writer = table.write();
    for position in 1..=9 {
        let name = format!("c{}", position % 4);
        writer.write(with("a", position..=position, &[&name])).await.unwrap();
    }
    let rows = writer.finish().await.unwrap();
    let append = Append { producer: producer("a", 9), rows, books: counted(9) };
    assert!(matches!(table.append(append, None).await.unwrap(), Outcome::Committed { .. }));
    assert_eq!(table.snapshot().await.unwrap().files.len(), 1);
    let rows = dump(&table, &["c0", "c1", "c2", "c3"]).await;
    assert_eq!((rows[0].as_str(), rows[8].as_str()), ("a|1|a:1|null|c11|null|null", "a|9|a:9|null|c19|null|null"));

    let options = LakeOptions { group_bytes: 1, ..LakeOptions::new(super::now_ms) };
    let lake = Lake::new(Arc::clone(&store), Path::from("lake"), options);
    let big = lake.table(&TableDefinition { name: "big".into(), ..taking(9) }).await.unwrap();
    let mut writer = big.write();
    for position in 1..=9 {
        let name = format!("c{}", position % 4);
        writer.write(with("a", position..=position, &[&name])).await.unwrap();
    }
    let append = Append { producer: producer("a", 9), rows: writer.finish().await.unwrap(), books: counted(9) };
    assert!(matches!(big.append(append, None).await.unwrap(), Outcome::Committed { .. }));
    assert_eq!(big.snapshot().await.unwrap().files.len(), 4);
}

/// The warehouse sees an ALTER and loads on; nothing is reloaded.
#[tokio::test]
async fn the_warehouse_adds_the_column_too() {
    let store = memory();
    let table = process(&store, &taking(9)).await;
    let (table_id, schema) = table.identity();
    let loaded = Watermark { table_id: table_id.clone(), version: 0, schema };
    committed(&table, "a", 1, with("a", 1..=1, &["x"])).await;
    let mut bodies = Vec::new();
    for version in 1..=2 {
        bodies.push(store.get(&commit_path(version)).await.unwrap().bytes().await.unwrap());
    }
    let commits: Vec<RawCommit<'_>> = (1..).zip(&bodies).map(|(version, body)| RawCommit { version, body }).collect();
    let (_, schema) = table.identity();
    let window = LogWindow { table_id: &table_id, schema: &schema, latest: 2, commits: &commits };
    let plan = weir_warehouse::plan(Some(&loaded), &window, weir_warehouse::Limits::default()).unwrap();
    let Plan::Load { steps, .. } = plan else { panic!("{plan:?}") };
    assert_eq!(steps[0], Step::AddColumns(vec![column("x", Type::String, true)]));
    assert!(matches!(&steps[1], Step::Append { files } if files.len() == 1));
}
