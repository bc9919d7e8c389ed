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
        ("FROM orders", "FROM read_csv('/etc/passwd') AS orders", "opens a file with `read_csv`"),
        ("LEFT JOIN shops ON orders.shop = shops.shop", "", "does not read `shops`"),
        ("SUM(price) AS revenue", "SUM(prize) AS revenue", "cannot run"),
        ("COUNT(*) AS orders", "COUNT(*) AS n", "gives no column `orders`"),
        (
            "COUNT(*) AS orders",
            "COUNT(*) AS orders, 1 AS more",
            "gives a column `more` that the contract does not have",
        ),
        ("SUM(price) AS revenue", "AVG(CAST(price AS DOUBLE)) AS revenue", "CAST it"),
        ("FROM orders", "FROM orders JOIN elsewhere ON TRUE", "cannot run"),
        ("COUNT(*) AS orders", "MAX(_rescued) AS orders", "cannot run"),
        ("GROUP BY day, region\n", "GROUP BY day, region; SELECT 1\n", "cannot run"),
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

/// The shipped queries are sound over the shipped contracts.
#[test]
fn the_shipped_queries_run() {
    let folder = crate::support::repository().join("shared/datasets");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    });
    let contracts = Contracts::parse_all(files.collect()).unwrap_or_else(|errors| panic!("{errors}"));
    let mut derived = 0;
    for contract in contracts.iter() {
        let Some(own) = contract.derived() else { continue };
        let read: Vec<_> = own.reads().map(|name| contracts.get(name).unwrap()).collect();
        Derivation::new(contract, &read).unwrap_or_else(|error| panic!("{}: {error}", contract.name));
        derived += 1;
    }
    assert_eq!(derived, 2);
}
