//! The same against a live pool, for whoever has one:
//! - `WEIR_TEST_SYNAPSE_URL`, `WEIR_TEST_FABRIC_URL`: the pool, as `WEIR_WAREHOUSE_URL` has it;
//! - `WEIR_TEST_LAKE_URL`: a folder in Azure storage that this process writes and the pool reads, as `WEIR_LAKE_URL` has it.
//!
//! Whoever runs this is signed in with `az login`, and may create schemas and tables in that database. The tests keep to the
//! schemas `weir_test` and `weir_test_state`, which they empty first. Without the variables they say that they were
//! skipped. What a user has to set up stands in `docs/settings.md`.

use std::sync::{Arc, Mutex};

use object_store::path::Path;
use object_store::prefix::PrefixStore;
use weir_platform::{DatabaseIdentity, LakeRoot, Settings};
use weir_warehouse::tsql::Flavor;
use weir_warehouse::{AccessTokens, Limits, async_trait, tsql};

use super::super::tables::{Site, tick};
use super::engine::{Engine, ROOT};
use super::loads::{target, verified};
use super::{loads, races, values, verify};

/// Where a live pool finds what the tests mean.
pub(super) struct Live {
    lake: LakeRoot,
    /// The folder of the last table that was made.
    folder: Mutex<String>,
}

impl Live {
    pub(super) fn site(&self) -> Site {
        let own = format!("weir-test-{}", uuid());
        *self.folder.lock().unwrap() = format!("{}/{own}/lake/orders", self.lake.https.as_ref().unwrap());
        let prefix = self.lake.path.parts().chain(Path::from(own).parts()).collect::<Path>();
        Site::over(Arc::new(PrefixStore::new(Arc::clone(&self.lake.store), prefix)))
    }

    /// The tests' schemas instead of the user's, the table's folder instead of one that is made up.
    pub(super) fn renamed(&self, sql: &str) -> String {
        let sql = sql.replace("[dbo]", "[weir_test]").replace("[weir]", "[weir_test_state]");
        let sql = sql.replace("'dbo'", "'weir_test'").replace("'weir'", "'weir_test_state'");
        sql.replace(ROOT, &self.folder.lock().unwrap())
    }
}

fn uuid() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[derive(Debug)]
struct Tokens(DatabaseIdentity);

#[async_trait]
impl AccessTokens for Tokens {
    async fn token(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.token().await?)
    }
}

/// The pool that a variable names, with nothing of the tests in it.
async fn pool(variable: &str, flavor: Flavor) -> Option<Arc<Engine>> {
    let Ok(url) = std::env::var(variable) else {
        println!("skipped: {variable} is not set");
        return None;
    };
    weir_platform::install_crypto_provider();
    let lake = std::env::var("WEIR_TEST_LAKE_URL").expect("WEIR_TEST_LAKE_URL has to be set, too");
    let ecosystem = std::env::vars().filter(|(key, _)| !key.starts_with("WEIR_"));
    let settings = Settings::parse(ecosystem.chain([("WEIR_LAKE_URL".to_owned(), lake)])).unwrap();
    let lake = LakeRoot::open(&settings).unwrap();
    assert!(lake.https.is_some(), "WEIR_TEST_LAKE_URL is no folder that a pool could read");
    let tokens: Arc<dyn AccessTokens> = Arc::new(Tokens(DatabaseIdentity::new(&settings).unwrap()));
    let live = Live { lake, folder: Mutex::default() };
    Some(Engine::with(tsql::connector(&url, Some(tokens)).unwrap(), flavor, Some(live)))
}

async fn emptied(engine: &Arc<Engine>) -> &Arc<Engine> {
    let found =
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA IN (N'dbo', N'weir')";
    for row in engine.rows(found).await {
        let [schema, table] = [0, 1].map(|index| tsql::quoted_name(row[index].as_deref().unwrap()).unwrap());
        engine.execute(&format!("DROP TABLE {schema}.{table}")).await;
    }
    engine
}

async fn everything(variable: &str, flavor: Flavor) {
    let Some(engine) = pool(variable, flavor).await else { return };
    for partitioned in [false, true] {
        loads::operations(emptied(&engine).await, partitioned).await;
    }
    loads::recreated(emptied(&engine).await).await;
    races::second(emptied(&engine).await).await;
    races::two_loaders(emptied(&engine).await, 3).await;
    races::two_reloads(emptied(&engine).await, 0).await;
    verify::finds(emptied(&engine).await).await;
    let table = values::limits(emptied(&engine).await).await;
    engine.reads(&table);
    tick(&table, &engine.pool(), &target(1), Limits::default()).await.unwrap();
    assert_eq!(verified(&table, &engine.pool(), &target(2)).await.differing, [], "values at their limits");
    emptied(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_dedicated_pool() {
    everything("WEIR_TEST_SYNAPSE_URL", Flavor::Dedicated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_warehouse_of_fabric() {
    everything("WEIR_TEST_FABRIC_URL", Flavor::Fabric).await;
}
