//! What the SQLite warehouse does around the rows: its address, its state, whose table it touches, what users keep.

use tempfile::TempDir;
use weir_warehouse::{Error, ErrorKind, Limits, LoadReport, Plan, ReloadReason};

use super::lake::{Lake, rows_of, warehouse_rows};
use super::{connect, load_of, open, table};

#[tokio::test]
async fn addresses() {
    for (address, part) in [
        ("synapse://user:secret@host", "no database"),
        ("fabric://secret", "no database"),
        ("synapse://secret@host/db", "a password"),
        ("synapse://host/secret?x=secret", "unknown parameter"),
        ("synapse://user:secret@host/db?encrypt=off", "this machine"),
        ("synapse://secret-ondemand.sql.azuresynapse.net/db", "serverless"),
        ("postgres://secret", "unknown scheme"),
        ("secret.db", "no scheme"),
        ("sqlite://relative/secret.db", "absolute"),
        ("sqlite://", "absolute"),
        ("sqlite:///secret/", "absolute"),
        ("sqlite:///secret.db?mode=ro", "parameters"),
        ("sqlite:///%FF", "UTF-8"),
        ("sqlite:///a%00b", "absolute"),
    ] {
        let error = weir_warehouse::open(address, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{address}: {error}");
        assert!(error.to_string().contains(part), "{address}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

/// A file that cannot be used is an error of whoever uses it, and says what to do.
#[tokio::test]
async fn files_that_cannot_be_used() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text.db"), "not a database, and longer than a header of one: ".repeat(100)).unwrap();
    let newer = rusqlite::Connection::open(at("newer.db")).unwrap();
    newer.execute_batch("CREATE TABLE weir_format (format INTEGER); INSERT INTO weir_format VALUES (7)").unwrap();
    // A warehouse whose pages were overwritten.
    let damaged = weir_warehouse::open(&format!("sqlite://{}", at("damaged.db").display()), None).await.unwrap();
    let mut lake = Lake::new();
    lake.append((0..50).map(|file| rows_of(&format!("s{file}"), 0, 50)).collect());
    lake.load(damaged.as_ref(), &table()).await.unwrap();
    let mut bytes = std::fs::read(at("damaged.db")).unwrap();
    bytes[4096..].fill(0xAA);
    std::fs::write(at("damaged.db"), bytes).unwrap();
    for (path, kind, parts) in [
        (at("text.db/warehouse.db"), ErrorKind::Config, ["folder", "cannot be made"]),
        (folder.path().to_owned(), ErrorKind::Config, ["opening the warehouse", "is its path a file's"]),
        (at("text.db"), ErrorKind::Corrupt, ["opening the warehouse", "move it away"]),
        (at("damaged.db"), ErrorKind::Corrupt, ["damaged", "move it away"]),
        (at("newer.db"), ErrorKind::Config, ["format 7", "update it"]),
    ] {
        let warehouse = weir_warehouse::open(&format!("sqlite://{}", path.display()), None).await.unwrap();
        let error = lake.load(warehouse.as_ref(), &table()).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, false), "{path:?}: {error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{path:?}: {error}");
        }
    }
    assert_eq!(newer.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    // Moved away, it is made anew.
    std::fs::remove_file(at("damaged.db")).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(at(&format!("damaged.db{suffix}")));
    }
    assert_eq!(lake.load(damaged.as_ref(), &table()).await.unwrap().rows_inserted, 2500);
}

/// A warehouse that was made before there was a format, and one whose file vanished under a running process.
#[tokio::test]
async fn the_state_is_made_where_it_is_missing() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    let before = "DROP TABLE weir_format; DROP TABLE weir_pending; DROP TABLE weir_pending_file";
    connect(&folder).execute_batch(before).unwrap();
    lake.append(vec![rows_of("b", 1, 5)]);
    assert!(!lake.load(warehouse.as_ref(), &table()).await.unwrap().reloaded);
    std::fs::remove_dir_all(folder.path().join("a b")).unwrap();
    assert!(lake.load(warehouse.as_ref(), &table()).await.unwrap().reloaded);
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(2));
}

#[tokio::test]
async fn a_table_is_followed_from_its_first_load_on() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    assert_eq!(warehouse.watermark(&table()).await.unwrap(), None);
    assert_eq!(warehouse.row_count(&table()).await.unwrap(), 0);

    lake.append(vec![rows_of("a", 1, 5), rows_of("b", 1, 2)]);
    let first = lake.load(warehouse.as_ref(), &table()).await.unwrap();
    assert_eq!(first, LoadReport { version: 1, rows_inserted: 7, rows_deleted: 0, reloaded: true });

    lake.append(vec![rows_of("c", 1, 4)]);
    lake.compact();
    lake.add_column();
    lake.replace("a", Some((2, 3)), rows_of("a", 2, 1));
    let second = lake.load(warehouse.as_ref(), &table()).await.unwrap();
    assert_eq!(second, LoadReport { version: 5, rows_inserted: 5, rows_deleted: 2, reloaded: false });
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(5));

    let third = lake.load(warehouse.as_ref(), &table()).await.unwrap();
    assert_eq!(third, LoadReport { version: 5, ..LoadReport::default() });

    let watermark = warehouse.watermark(&table()).await.unwrap().unwrap();
    assert_eq!((watermark.table_id.as_str(), watermark.schema), ("table-1", lake.schema()));
    let state = "SELECT run_id || ' ' || (updated_at > '2020') FROM weir_watermark";
    assert_eq!(connect(&folder).query_row(state, [], |row| row.get::<_, String>(0)).unwrap(), "run-1 1");
}

#[tokio::test]
async fn many_replaces_at_once_leave_no_index_behind() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append((0..20).map(|file| rows_of(&format!("s{file}"), 0, 10)).collect());
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    for source in 0..20 {
        lake.replace(&format!("s{source}"), (source % 2 == 0).then_some((0, 4)), rows_of(&format!("s{source}"), 0, 3));
    }
    let report = lake.load(warehouse.as_ref(), &table()).await.unwrap();
    assert_eq!((report.rows_deleted, report.rows_inserted), (150, 60));
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(lake.latest()));
    let indexes = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite_%'";
    assert_eq!(connect(&folder).query_row(indexes, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn a_reload_keeps_users_views_indexes_and_triggers() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    connect(&folder)
        .execute_batch(
            r#"CREATE VIEW totals AS SELECT count(*) AS n FROM "gold.orders ""1""";
               CREATE VIEW broken AS SELECT * FROM nowhere;
               CREATE INDEX by_value ON "gold.orders ""1""" (value);
               CREATE TRIGGER guard BEFORE DELETE ON "gold.orders ""1""" WHEN old.value = 'x' BEGIN SELECT 1; END;"#,
        )
        .unwrap();
    lake.append(vec![rows_of("b", 1, 3)]);
    lake.delete_file(&lake.active()[0].clone());
    assert!(lake.load(warehouse.as_ref(), &table()).await.unwrap().reloaded);
    let ask = |sql: &str| connect(&folder).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(ask("SELECT n FROM totals"), 3);
    let kept =
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('by_value', 'guard') AND tbl_name LIKE 'gold.orders%'";
    assert_eq!(ask(kept), 2);
    assert_eq!(ask("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'weir_reload%'"), 0);
}

#[tokio::test]
async fn tables_of_others_are_not_touched() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    connect(&folder).execute_batch("CREATE TABLE mine (x); CREATE VIEW seen AS SELECT 1 AS x;").unwrap();
    lake.load(warehouse.as_ref(), &load_of("orders", "Sales")).await.unwrap();
    for target in ["mine", "MINE", "seen", "sales"] {
        let error = lake.load(warehouse.as_ref(), &load_of("other", target)).await.unwrap_err();
        assert!(matches!(error, Error::TableTaken { .. }), "{target}: {error}");
        assert!(!error.is_retryable());
    }
    for target in ["", "a\0", "weir_watermark", "Weir_x", "SQLITE_y", &"x".repeat(513)] {
        let error = lake.load(warehouse.as_ref(), &load_of("other", target)).await.unwrap_err();
        assert!(matches!(error, Error::Name { what: "table", .. }), "{target}: {error}");
    }
    assert_eq!(warehouse_rows(&connect(&folder), "Sales"), lake.rows(1));
}

#[tokio::test]
async fn a_dropped_or_renamed_table_is_loaded_anew() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    lake.load(warehouse.as_ref(), &load_of("orders", "old")).await.unwrap();
    connect(&folder).execute_batch("DROP TABLE old").unwrap();
    assert!(lake.load(warehouse.as_ref(), &load_of("orders", "old")).await.unwrap().reloaded);

    assert!(lake.load(warehouse.as_ref(), &load_of("orders", "new")).await.unwrap().reloaded);
    lake.append(vec![rows_of("b", 1, 5)]);
    assert!(!lake.load(warehouse.as_ref(), &load_of("orders", "new")).await.unwrap().reloaded);
    assert_eq!(warehouse_rows(&connect(&folder), "new"), lake.rows(2));
    assert_eq!(warehouse_rows(&connect(&folder), "old"), lake.rows(1), "left for whoever reads it");
}

#[tokio::test]
async fn a_renamed_dataset_may_have_its_table_once_that_is_dropped() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    lake.load(warehouse.as_ref(), &load_of("before", "sales")).await.unwrap();
    let error = lake.load(warehouse.as_ref(), &load_of("after", "Sales")).await.unwrap_err();
    assert!(error.to_string().contains("drop or rename it"), "{error}");
    connect(&folder).execute_batch("DROP TABLE sales").unwrap();
    assert_eq!(lake.load(warehouse.as_ref(), &load_of("after", "Sales")).await.unwrap().rows_inserted, 5);
    assert_eq!(warehouse.watermark(&load_of("before", "sales")).await.unwrap(), None);
}

#[tokio::test]
async fn two_tables_in_one_warehouse_know_nothing_of_each_other() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let (mut orders, mut others) = (Lake::new(), Lake::new());
    for round in 0..3 {
        orders.append(vec![rows_of("a", round, 1)]);
        others.append(vec![rows_of("b", round, 2)]);
        others.append_again();
        orders.load(warehouse.as_ref(), &load_of("orders", "orders")).await.unwrap();
        others.load(warehouse.as_ref(), &load_of("others", "others")).await.unwrap();
    }
    assert_eq!(warehouse_rows(&connect(&folder), "orders"), orders.rows(3));
    assert_eq!(warehouse_rows(&connect(&folder), "others"), others.rows(6));
}

#[tokio::test]
async fn the_plan_says_why_it_reloads() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    lake.recreate();
    lake.append(vec![rows_of("b", 1, 5)]);
    let plan = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    let Plan::Reload { reason, .. } = &plan else { panic!("{plan:?}") };
    assert_eq!((reason, reason.to_string().as_str()), (&ReloadReason::TableRecreated, "the table was recreated"));
    warehouse.apply(&table(), &plan, &lake).await.unwrap();
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(1));
}
