//! The warehouse against a model lake (commits are written as text, files live in memory, so every order of events can
//! be tried) and against real Delta tables (`operations`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy's exemption for tests does not reach their helpers")]

mod dialect;
mod faults;
mod history;
mod lake;
mod limits;
pub(crate) mod operations;
mod planner;
mod pool;
mod reloads;
pub(crate) mod tables;
mod values;
mod verify;

use tempfile::TempDir;
use weir_warehouse::{Physical, TableLoad, Warehouse};

/// The table that most tests load, into a warehouse table whose name needs quoting.
fn table() -> TableLoad {
    load_of("orders", "gold.orders \"1\"")
}

fn load_of(source_table: &str, target: &str) -> TableLoad {
    TableLoad {
        source_table: source_table.to_owned(),
        table: target.to_owned(),
        run_id: "run-1".to_owned(),
        physical: Physical::default(),
        time_limit: None,
    }
}

/// A warehouse file in a folder whose name has to be encoded in the address.
async fn open(folder: &TempDir) -> Box<dyn Warehouse> {
    let address = format!("sqlite://{}/a%20b/warehouse.db", folder.path().display());
    let warehouse = weir_warehouse::open(&address, None).await.unwrap();
    // The file is made by whoever uses it first; tests look at it before.
    warehouse.watermark(&table()).await.unwrap();
    warehouse
}

/// The same file, to look at.
fn connect(folder: &TempDir) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.path().join("a b/warehouse.db")).unwrap()
}
