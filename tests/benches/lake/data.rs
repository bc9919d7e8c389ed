//! Events like those of `baseline.py`, and the table they go into.

use chrono::{TimeDelta, TimeZone, Utc};
use polars::prelude::DataFrame;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use weir_contract::{Contract, Contracts};
use weir_lake::{Books, Producer, TableDefinition};
use weir_transform::{Lineage, Transform};

use crate::Result;

const CONTRACT: &str = r#"
name = "clicks"
[source]
kind = "events"
hub = "clicks"
[[columns]]
name = "event_id"
type = "string"
[[columns]]
name = "user_id"
type = "string"
[[columns]]
name = "session"
type = "string"
[[columns]]
name = "page"
type = "string"
[[columns]]
name = "referrer"
type = "string"
[[columns]]
name = "agent"
type = "string"
[[columns]]
name = "country"
type = "string"
[[columns]]
name = "at"
type = "timestamp"
[[columns]]
name = "duration_ms"
type = "long"
[[columns]]
name = "price"
type = "double"
"#;

/// A dataset of about 1 KB an event.
pub(crate) struct Clicks {
    transform: Transform,
    pub(crate) table: TableDefinition,
}

impl Clicks {
    pub(crate) fn new() -> Result<Self> {
        let contracts = Contracts::parse_all(vec![("clicks.toml".to_owned(), CONTRACT.to_owned())])
            .map_err(|error| error.to_string())?;
        let contract: &Contract = contracts.iter().next().ok_or("no contract")?;
        let table = TableDefinition {
            name: contract.name.clone(),
            columns: contract.table_columns(),
            partition_by: Vec::new(),
            cluster_by: Vec::new(),
            properties: Vec::new(),
            new_columns: contract.table.new_columns,
            added_columns: None,
            transactions: Vec::new(),
        };
        Ok(Self { transform: Transform::new(contract, None)?, table })
    }

    /// What a function makes of a batch.
    pub(crate) fn frame(&self, source: &str, first: i64, bodies: &[Vec<u8>]) -> Result<DataFrame> {
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let positions: Vec<i64> = (first..).take(bodies.len()).collect();
        let lineage = Lineage {
            source: source.to_owned(),
            source_version: "1".to_owned(),
            ingested_at_us: Utc::now().timestamp_micros(),
        };
        let output = self.transform.events(&bodies, &positions, &lineage)?;
        if output.quarantined.height() > 0 {
            return Err("an event was quarantined".into());
        }
        Ok(output.clean)
    }
}

/// The bodies of `rows` events from a position on; the same for the same position.
pub(crate) fn bodies(first: i64, rows: usize) -> Vec<Vec<u8>> {
    (first..).take(rows).map(body).collect()
}

fn body(position: i64) -> Vec<u8> {
    let mut dice = StdRng::seed_from_u64(position.unsigned_abs());
    let mut hex = |bytes: usize| (0..bytes).map(|_| format!("{:02x}", dice.random::<u8>())).collect::<String>();
    let (event_id, session, campaign, click) = (hex(16), hex(16), hex(110), hex(180));
    let pages = ["home", "search", "product", "basket", "checkout", "account", "help"];
    let countries = ["AT", "BR", "CH", "DE", "FR", "GB", "IN", "JP", "US"];
    let mut page = || pages.choose(&mut dice).copied().unwrap_or_default();
    let (page, before) = (page(), page());
    let at =
        Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().unwrap_or_default() + TimeDelta::milliseconds(7 * position);
    let event = serde_json::json!({
        "event_id": event_id,
        "user_id": format!("user-{}", dice.random_range(0..50_000)),
        "session": session,
        "page": format!("https://shop.example.com/{page}/{}?campaign={campaign}", dice.random_range(0..9_999)),
        "referrer": format!("https://www.example.org/{before}?click={click}"),
        "agent": format!("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36", dice.random_range(138..144)),
        "country": countries.choose(&mut dice),
        "at": at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        "duration_ms": dice.random_range(1..60_000),
        "price": (dice.random_range(100.0..50_000.0_f64)).round() / 100.0,
    });
    event.to_string().into_bytes()
}

pub(crate) fn counted(rows: usize) -> Books {
    Books { records_in: rows as u64, committed: rows as u64, ..Books::default() }
}

pub(crate) fn producer(id: &str, version: i64) -> Producer {
    Producer { id: id.to_owned(), version, expires: false }
}

pub(crate) fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}
