//! A comparison of lake and pool finds whatever differs, and says in which column.

use std::sync::Arc;

use weir_warehouse::{Limits, Verified};

use super::super::tables::tick;
use super::engine::Engine;
use super::loads::{append, row, target, verified};
use super::values::limits;

fn named(verified: &Verified) -> Vec<&str> {
    verified.differing.iter().map(|difference| difference.column.as_str()).collect()
}

/// One value of one row is changed as little as it can be, in each type.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_changed_value_of_any_type() {
    let engine = Engine::start().await;
    let table = limits(&engine).await;
    engine.reads(&table);
    let pool = engine.pool();
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    let changes = [
        ("flag", "N'0'"),
        ("tiny", "126"),
        ("small", "32766"),
        ("whole", "2147483646"),
        ("long", "CAST(N'9223372036854775806' AS bigint)"),
        ("real", "N'3.4028232635611926e38'"),
        ("double", "N'1.7976931348623155e308'"),
        ("nine", "N'9999999.98'"),
        ("eighteen", "N'99999999999999.9998'"),
        ("most", "N'9999999999999999999999999999.9999999998'"),
        ("parts", "N'0.99999999999999999999999999999999999998'"),
        ("day", "N'9999-12-30'"),
        ("at", "N'9999-12-31 23:59:59.999998'"),
        ("text", "N'😁 é \u{202E}'"),
        ("raw", "N'\u{E000}00ff28'"),
    ];
    for (column, value) in changes {
        let original =
            format!("SELECT CONVERT(nvarchar(4000), [{column}]) FROM [dbo].[orders] WHERE [_source_position] = 2");
        let original = engine.rows(&original).await[0][0].clone().unwrap();
        let original = match value {
            text if text.starts_with('N') => format!("N'{original}'"),
            // The engine reads bare numbers as floating point.
            _ => format!("CAST(N'{original}' AS bigint)"),
        };
        for other in [value, "NULL"] {
            let set =
                |value: &str| format!("UPDATE [dbo].[orders] SET [{column}] = {value} WHERE [_source_position] = 2");
            engine.execute(&set(other)).await;
            let found = verified(&table, &pool, &target(2)).await;
            assert_eq!((named(&found), found.lake_rows, found.warehouse_rows), (vec![column], 4, 4), "{other}");
            let values = (found.differing[0].lake_values, found.differing[0].warehouse_values);
            assert_eq!(values, (3, if other == "NULL" { 2 } else { 3 }), "{column}");
            engine.execute(&set(&original)).await;
        }
        assert!(verified(&table, &pool, &target(2)).await.is_equal(), "{column}");
    }
    // An empty string is not a null.
    engine.execute("UPDATE [dbo].[orders] SET [text] = N'' WHERE [_source_position] = 3").await;
    assert_eq!(named(&verified(&table, &pool, &target(2)).await), ["text"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_changed_places_and_rows_that_are_not_there() {
    finds(&Engine::start().await).await;
}

pub(super) async fn finds(engine: &Arc<Engine>) {
    let table = engine.site().open(false, 0).await;
    engine.reads(&table);
    append(&table, "1", &[row("a", 1, "k", "first"), row("a", 2, "k", "other"), row("b", 1, "x", "last")], 0).await;
    let pool = engine.pool();
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    let steps: [(&[&str], &[&str], u64); 4] = [
        // Two values of one column change places: their sum is what it was.
        (
            &[
                "UPDATE [dbo].[orders] SET [value] = N'other' WHERE [_source] = N'a' AND [_source_position] = 1",
                "UPDATE [dbo].[orders] SET [value] = N'first' WHERE [_source] = N'a' AND [_source_position] = 2",
            ],
            &["value"],
            3,
        ),
        // Two columns of one row do.
        (&["UPDATE [dbo].[orders] SET [key] = N'last', [value] = N'x' WHERE [_source] = N'b'"], &["key", "value"], 3),
        // A row is gone, a row is there twice.
        (
            &[
                "DELETE FROM [dbo].[orders] WHERE [_source] = N'b'",
                "INSERT INTO [dbo].[orders] ([_source], [_source_version], [_source_position], [key], [value]) \
                 SELECT N'a', N'1', 1, N'k', N'first'",
            ],
            &["_source", "_source_version", "_source_position", "key", "value"],
            3,
        ),
        (&["DELETE FROM [dbo].[orders]"], &["_source", "_source_version", "_source_position", "key", "value"], 0),
    ];
    for (changes, columns, left) in steps {
        engine.execute("UPDATE [weir].[watermark_orders] SET [version] = -1").await;
        engine.execute("DROP TABLE [dbo].[orders]").await;
        tick(&table, &pool, &target(2), Limits::default()).await.unwrap();
        assert!(verified(&table, &pool, &target(3)).await.is_equal());
        for change in changes {
            engine.execute(change).await;
        }
        let found = verified(&table, &pool, &target(3)).await;
        assert_eq!((named(&found), found.warehouse_rows), (columns.to_vec(), left));
    }
}
