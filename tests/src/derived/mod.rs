//! Derived tables over real Delta tables, held against a model that sums up rows by hand.

mod guards;
mod histories;
mod queries;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use polars::prelude::*;
use weir_contract::{Contract, Contracts};
use weir_derived::{DerivedError, Options, Refreshed, Sources, refresh};
use weir_lake::{Books, Lake, LakeOptions, Producer, Replacement, Table, TableDefinition};
use weir_transform::Derivation;

const ORDERS: &str = r#"
name = "orders"
source = { kind = "blob", container = "landing", path = "orders/*" }
columns = [
    { name = "id", type = "long" }, { name = "day", type = "date" }, { name = "at", type = "timestamp" },
    { name = "shop", type = "long" }, { name = "price", type = "decimal(12,2)" }, { name = "unused", type = "string" },
]
"#;
const SHOPS: &str = r#"
name = "shops"
source = { kind = "blob", container = "landing", path = "shops/*" }
columns = [{ name = "shop", type = "long" }, { name = "region", type = "string" }]
"#;
const DAILY: &str = r#"
name = "daily"
[derived]
follows = "orders"
lookups = ["shops"]
by = "day"
sql = """
SELECT day, region, COUNT(*) AS orders, SUM(price) AS revenue
FROM orders LEFT JOIN shops ON orders.shop = shops.shop
GROUP BY day, region
"""
[[columns]]
name = "day"
type = "date"
[[columns]]
name = "region"
type = "string"
[[columns]]
name = "orders"
type = "integer"
nullable = false
[[columns]]
name = "revenue"
type = "decimal(38,2)"
"#;

/// A day (or none), a shop, a price in cents.
type Order = (Option<i32>, i64, i64);
/// A day, a region, how many orders, and their price in cents.
type Sum = (Option<i32>, Option<String>, i64, i64);

/// One process's view of a lake with two sources and what is made of them.
struct World {
    store: Arc<dyn ObjectStore>,
    lake: Lake,
    contracts: Contracts,
    orders: Arc<Table>,
    shops: Arc<Table>,
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn definition(contract: &Contract) -> TableDefinition {
    TableDefinition {
        name: contract.name.clone(),
        columns: contract.table_columns(),
        partition_by: contract.table.partition_by.clone(),
        cluster_by: contract.table.cluster_by.clone(),
        properties: Vec::new(),
        new_columns: contract.table.new_columns,
        added_columns: None,
        transactions: Vec::new(),
    }
}

fn options() -> Options {
    Options {
        group_bytes: 64 << 20,
        most_bytes: 64 << 20,
        units_per_commit: 1_000,
        stop_at: None,
        now_us: || chrono::Utc::now().timestamp_micros(),
    }
}

impl World {
    async fn new(daily: &str) -> Self {
        Self::over(Arc::new(InMemory::new()), daily).await
    }

    /// A process that has just started.
    async fn over(store: Arc<dyn ObjectStore>, daily: &str) -> Self {
        let files = [("orders.toml", ORDERS), ("shops.toml", SHOPS), ("daily.toml", daily)];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let contracts = Contracts::parse_all(files.to_vec()).unwrap_or_else(|errors| panic!("{errors}"));
        let lake = Lake::new(Arc::clone(&store), Path::from("lake"), LakeOptions::new(now_ms));
        let orders = lake.table(&definition(contracts.get("orders").unwrap())).await.unwrap();
        let shops = lake.table(&definition(contracts.get("shops").unwrap())).await.unwrap();
        Self { store, lake, contracts, orders, shops }
    }

    async fn daily(&self) -> Arc<Table> {
        self.lake.table(&definition(self.contracts.get("daily").unwrap())).await.unwrap()
    }

    fn derivation(&self) -> Derivation {
        let contract = self.contracts.get("daily").unwrap();
        let read: Vec<_> = contract.derived().unwrap().reads().map(|name| self.contracts.get(name).unwrap()).collect();
        Derivation::new(contract, &read).unwrap_or_else(|error| panic!("{error}")).unwrap()
    }

    async fn refresh(&self, options: Options) -> Result<Refreshed, DerivedError> {
        let contract = self.contracts.get("daily").unwrap();
        let derived = contract.derived().unwrap();
        let columns = self.contracts.get("orders").unwrap().table_columns();
        let sources = Sources {
            derivation: &self.derivation(),
            unit_column: columns.into_iter().find(|column| column.name == derived.unit.of).unwrap(),
            followed: Arc::clone(&self.orders),
            lookups: derived.lookups.iter().map(|_| Some(Arc::clone(&self.shops))).collect(),
            on_lookup_change: derived.on_lookup_change,
        };
        refresh(&self.daily().await, &sources, options).await
    }

    /// Puts a blob's orders in place of those that it had before.
    async fn put(&self, blob: &str, version: i64, orders: &[Order]) {
        let price: Vec<String> =
            orders.iter().map(|(.., cents)| format!("{}.{:02}", cents / 100, cents % 100)).collect();
        let at: Vec<Option<i64>> =
            orders.iter().map(|(day, ..)| day.map(|day| i64::from(day) * 86_400_000_000 + 3_723_000_000)).collect();
        let columns = vec![
            Column::new("id".into(), (0..orders.len() as i64).collect::<Vec<_>>()),
            Column::new("day".into(), orders.iter().map(|order| order.0).collect::<Vec<_>>())
                .cast(&DataType::Date)
                .unwrap(),
            Column::new("at".into(), at)
                .cast(&DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)))
                .unwrap(),
            Column::new("shop".into(), orders.iter().map(|order| order.1).collect::<Vec<_>>()),
            Column::new("price".into(), price).cast(&DataType::Decimal(12, 2)).unwrap(),
            Column::full_null("unused".into(), orders.len(), &DataType::String),
        ];
        replace(&self.orders, blob, version, columns, orders.len()).await;
    }

    async fn open_shops(&self, version: i64, shops: &[(i64, &str)]) {
        let columns = vec![
            Column::new("shop".into(), shops.iter().map(|shop| shop.0).collect::<Vec<_>>()),
            Column::new("region".into(), shops.iter().map(|shop| shop.1).collect::<Vec<_>>()),
        ];
        replace(&self.shops, "shops", version, columns, shops.len()).await;
    }

    /// What the derived table holds, sorted. Every row is in its place: one unit, numbered from 1.
    async fn sums(&self) -> Vec<Sum> {
        let mut sums = Vec::new();
        let mut places: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let table = self.daily().await;
        for file in table.snapshot().await.unwrap().files {
            let frame = table.read(&file).await.unwrap();
            let day = frame.column("day").unwrap().cast(&DataType::Int32).unwrap();
            let region = frame.column("region").unwrap();
            let orders = frame.column("orders").unwrap().cast(&DataType::Int64).unwrap();
            let revenue = frame.column("revenue").unwrap().cast(&DataType::String).unwrap();
            let source = frame.column("_source").unwrap();
            for row in 0..frame.height() {
                let cents = revenue.str().unwrap().get(row).unwrap().replace('.', "").parse().unwrap();
                let day = day.i32().unwrap().get(row);
                let name = source.str().unwrap().get(row).unwrap().to_owned();
                let date = day.map(|day| chrono::NaiveDate::from_epoch_days(day).unwrap());
                assert_eq!(name, date.map_or("derived:day is null".to_owned(), |date| format!("derived:day={date}")));
                let position = frame.column("_source_position").unwrap().i64().unwrap().get(row).unwrap();
                places.entry(name).or_default().push(position);
                let region = region.str().unwrap().get(row).map(str::to_owned);
                sums.push((day, region, orders.i64().unwrap().get(row).unwrap(), cents));
            }
        }
        for (unit, mut positions) in places {
            positions.sort_unstable();
            assert_eq!(positions, (1..=positions.len() as i64).collect::<Vec<_>>(), "{unit}");
        }
        sums.sort();
        sums
    }

    async fn version(&self) -> i64 {
        self.daily().await.snapshot().await.unwrap().version
    }

    /// The version of `orders` that the table says it stands for.
    async fn stands_for(&self) -> Option<i64> {
        let transactions = self.daily().await.snapshot().await.unwrap().transactions;
        weir_derived::stands_for(&transactions, &self.orders.identity().0)
    }
}

async fn replace(table: &Arc<Table>, source: &str, version: i64, mut columns: Vec<Column>, height: usize) {
    columns.push(Column::new("_source".into(), vec![source; height]));
    columns.push(Column::new("_source_version".into(), vec![version.to_string(); height]));
    columns.push(Column::new("_source_position".into(), (1..=height as i64).collect::<Vec<_>>()));
    let ingested = Column::new("_ingested_at".into(), vec![now_ms() * 1_000; height]);
    columns.push(ingested.cast(&DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC))).unwrap());
    columns.push(Column::full_null("_rescued".into(), height, &DataType::String));
    let rows = table.stage(DataFrame::new(height, columns).unwrap()).await.unwrap();
    let producer = Producer { id: format!("blob:{source}"), version, expires: false };
    let books = Books { records_in: height as u64, committed: height as u64, ..Books::default() };
    table
        .replace_source(Replacement { source: source.to_owned(), positions: None, producer, rows, books })
        .await
        .unwrap();
}

/// What the query gives, by hand.
fn expected<'a>(orders: impl IntoIterator<Item = &'a Order>, shops: &[(i64, &str)]) -> Vec<Sum> {
    let mut sums: BTreeMap<(Option<i32>, Option<String>), (i64, i64)> = BTreeMap::new();
    for (day, shop, cents) in orders {
        let region = shops.iter().find(|own| own.0 == *shop).map(|own| own.1.to_owned());
        let sum = sums.entry((*day, region)).or_default();
        sum.0 += 1;
        sum.1 += cents;
    }
    sums.into_iter().map(|((day, region), (count, cents))| (day, region, count, cents)).collect()
}
