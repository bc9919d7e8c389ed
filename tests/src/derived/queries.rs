//! What a query may be, and how a wrong one is told.

use super::*;

fn compile(daily: &str) -> Result<Derivation, String> {
    let files = [("orders.toml", ORDERS), ("shops.toml", SHOPS), ("daily.toml", daily)];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let contracts = Contracts::parse_all(files.to_vec()).map_err(|errors| errors.to_string())?;
    let contract = contracts.get("daily").unwrap();
    let read: Vec<_> = contract.derived().unwrap().reads().map(|name| contracts.get(name).unwrap()).collect();
    Derivation::new(contract, &read).map(Option::unwrap).map_err(|error| error.to_string())
}

#[test]
fn wrong_queries_are_told() {
    let cases = [
        ("SELECT day,", "DELETE day,", "begins with neither SELECT nor WITH"),
        ("FROM orders", "FROM read_csv('/etc/passwd') AS orders", "calls `read_csv` in FROM"),
        ("LEFT JOIN shops ON orders.shop = shops.shop", "", "does not read `shops`"),
        ("SUM(price) AS revenue", "SUM(prize) AS revenue", "cannot run"),
        ("COUNT(*) AS orders", "COUNT(*) AS n", "gives no column `orders`"),
        (
            "COUNT(*) AS orders",
            "COUNT(*) AS orders, 1 AS more",
            "gives a column `more` that the contract does not have",
        ),
        ("SUM(price) AS revenue", "AVG(CAST(price AS DOUBLE)) AS revenue", "CAST it"),
        ("FROM orders", "FROM orders JOIN elsewhere ON TRUE", "reads `elsewhere`"),
        ("COUNT(*) AS orders", "MAX(_rescued) AS orders", "cannot run"),
        ("GROUP BY day, region\n", "GROUP BY day, region; SELECT 1\n", "has 2 statements"),
        ("FROM orders", "FROM orders CROSS JOIN /*! read_csv('/etc/passwd') */ AS s", "begins with `/*!`"),
        ("COUNT(*) AS orders", "COUNT(*) AS orders, MAX($$'$$) AS q", "the contract does not have"),
        ("SUM(price) AS revenue", "SUM(price) + RANDOM() AS revenue", "the function `RANDOM` is not allowed"),
    ];
    compile(DAILY).unwrap();
    for (from, to, expected) in cases {
        assert!(DAILY.contains(from), "{from}");
        let error = compile(&DAILY.replace(from, to)).unwrap_err();
        assert!(error.contains(expected) && error.starts_with("sql (line "), "{to}: {error}");
    }
}

#[test]
fn only_the_columns_that_are_named_are_read() {
    let derivation = compile(DAILY).unwrap();
    assert_eq!(derivation.needs(0), ["day", "shop", "price"]);
    assert_eq!(derivation.needs(1), ["shop", "region"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_mixes_units_is_refused() {
    let limited = DAILY.replace("GROUP BY day, region", "GROUP BY day, region ORDER BY day, region LIMIT 1");
    let world = World::new(&limited).await;
    world.put("a", 1, &[(Some(1), 1, 100), (Some(2), 2, 250)]).await;
    let error = world.refresh(options()).await.unwrap_err().to_string();
    assert!(error.contains("mixes units"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_do_not_fit_are_told_without_them() {
    let world = World::new(&DAILY.replace("COUNT(*) AS orders", "SUM(id) + 3000000000 AS orders")).await;
    world.put("a", 1, &[(Some(1), 1, 100)]).await;
    let error = world.refresh(options()).await.unwrap_err().to_string();
    assert!(error.contains("does not fit integer") && !error.contains("3000000000"), "{error}");
    let world = World::new(&DAILY.replace("COUNT(*) AS orders", "MAX(CAST(NULL AS BIGINT)) AS orders")).await;
    world.put("a", 1, &[(Some(1), 1, 100)]).await;
    let error = world.refresh(options()).await.unwrap_err().to_string();
    assert!(error.contains("gives no value for `orders`"), "{error}");
}

/// Nobody has so much memory.
#[test]
fn every_row_with_every_row_is_bounded() {
    let crossed = DAILY.replace("LEFT JOIN shops ON orders.shop = shops.shop", "CROSS JOIN shops");
    let derivation = compile(&crossed).unwrap();
    let orders = |rows: usize| {
        let days = Column::new("day".into(), vec![1_i32; rows]).cast(&DataType::Date).unwrap();
        let prices = Column::new("price".into(), vec!["1.00"; rows]).cast(&DataType::Decimal(9, 2)).unwrap();
        DataFrame::new(rows, vec![days, prices, Column::new("shop".into(), vec![1_i64; rows])]).unwrap()
    };
    let shops = |rows: usize| {
        let regions = Column::new("region".into(), vec!["north"; rows]);
        DataFrame::new(rows, vec![Column::new("shop".into(), vec![1_i64; rows]), regions]).unwrap()
    };
    assert_eq!(derivation.run(vec![orders(100), shops(100)], "1.1", 0).unwrap().height(), 1);
    let error = derivation.run(vec![orders(100_000), shops(1_000)], "1.1", 0).unwrap_err().to_string();
    assert!(error.contains("joins every row with every row"), "{error}");
}

fn shipped() -> Contracts {
    let folder = crate::support::repository().join("shared/datasets");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    });
    Contracts::parse_all(files.collect()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn derivation(contracts: &Contracts, name: &str) -> Derivation {
    let contract = contracts.get(name).unwrap();
    let read: Vec<_> = contract.derived().unwrap().reads().map(|name| contracts.get(name).unwrap()).collect();
    Derivation::new(contract, &read).unwrap_or_else(|error| panic!("{name}: {error}")).unwrap()
}

/// Sums of products keep all digits of their factors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daily_sales_are_exact() {
    let sales = derivation(&shipped(), "daily_sales");
    let decimal =
        |name: &str, values: [&str; 3]| Column::new(name.into(), values).cast(&DataType::Decimal(12, 2)).unwrap();
    let columns = vec![
        Column::new("ship_date".into(), [Some(1_i32), Some(1), None]).cast(&DataType::Date).unwrap(),
        Column::new("ship_mode".into(), ["RAIL"; 3]),
        Column::new("return_flag".into(), ["R", "R", "N"]),
        decimal("quantity", ["1.00", "2.50", "1.00"]),
        decimal("extended_price", ["37792.08", "0.01", "0.33"]),
        decimal("discount", ["0.06", "0.05", "0.01"]),
    ];
    let rows = sales.run(vec![DataFrame::new(3, columns).unwrap()], "1.1", 0).unwrap();
    let rows = rows.sort(["lines"], SortMultipleOptions::default()).unwrap();
    let texts = |name: &str| -> Vec<String> {
        let column = rows.column(name).unwrap().cast(&DataType::String).unwrap();
        column.str().unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
    };
    assert_eq!(texts("lines"), ["1", "2"]);
    assert_eq!(texts("quantity"), ["1.00", "3.50"]);
    assert_eq!(texts("gross"), ["0.33", "37792.09"]);
    assert_eq!(texts("discounts"), ["0.0033", "2267.5253"]);
    assert_eq!(texts("_source"), ["derived:ship_date is null", "derived:ship_date=1970-01-02"]);
}

#[test]
fn the_shipped_queries_run() {
    let contracts = shipped();
    let names: Vec<_> = contracts.iter().filter(|own| own.derived().is_some()).map(|own| &own.name).collect();
    names.iter().for_each(|name| drop(derivation(&contracts, name)));
    assert_eq!(names.len(), 2);
}
