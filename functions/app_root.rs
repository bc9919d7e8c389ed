//! The folder that the Functions host runs: `host.json`, `<function>/function.json`, `datasets/*.toml`. The files of
//! this repository are the source; they are built into the binary, so that any machine with it can make the folder.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_contract::{Contracts, Source};

const HOST_JSON: &str = include_str!("../host.json");

/// Every function's manifest. A folder with a `function.json` that is missing here fails a test.
const FUNCTIONS: [(&str, &str); 11] = [
    ("backfill", include_str!("backfill/function.json")),
    ("ingest_blob", include_str!("ingest_blob/function.json")),
    ("ingest_clickstream", include_str!("ingest_clickstream/function.json")),
    ("ingest_sensors", include_str!("ingest_sensors/function.json")),
    ("maintain", include_str!("maintain/function.json")),
    ("park_blob_events", include_str!("park_blob_events/function.json")),
    ("park_tasks", include_str!("park_tasks/function.json")),
    ("reprocess", include_str!("reprocess/function.json")),
    ("retry", include_str!("retry/function.json")),
    ("run_task", include_str!("run_task/function.json")),
    ("status", include_str!("status/function.json")),
];

/// The manifest that event datasets without one of their own get, with hub and consumer group filled in.
const EVENT_TEMPLATE: &str = include_str!("ingest_sensors/function.json");

/// The contracts that Weir ships.
pub(crate) const DATASETS: [(&str, &str); 6] = [
    ("clickstream.toml", include_str!("../shared/datasets/clickstream.toml")),
    ("customers.toml", include_str!("../shared/datasets/customers.toml")),
    ("daily_sales.toml", include_str!("../shared/datasets/daily_sales.toml")),
    ("hourly_sensors.toml", include_str!("../shared/datasets/hourly_sensors.toml")),
    ("sales.toml", include_str!("../shared/datasets/sales.toml")),
    ("sensors.toml", include_str!("../shared/datasets/sensors.toml")),
];

pub(crate) fn shipped_datasets() -> Vec<(String, String)> {
    DATASETS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Writes the folder. `adjust` may change `host.json` (the demo shortens its waits). An event dataset of the contracts
/// gets its function; a function of an event dataset that is not among them is left out, because the host would wait
/// for its hub.
pub(crate) fn assemble(folder: &Path, datasets: &[(String, String)], adjust: impl FnOnce(&mut Value)) -> Result<()> {
    let contracts = Contracts::parse_all(datasets.to_vec())?;
    let mut host: Value = serde_json::from_str(HOST_JSON).context("host.json")?;
    adjust(&mut host);
    write(&folder.join("host.json"), &format!("{host:#}\n"))?;
    let is_event_function = |name: &str| EVENT_FUNCTIONS.contains(&name);
    for (name, manifest) in FUNCTIONS.iter().filter(|(name, _)| !is_event_function(name)) {
        write(&folder.join(name).join("function.json"), manifest)?;
    }
    for contract in contracts.iter() {
        let Source::Events { hub, consumer_group, .. } = &contract.source else { continue };
        let mut manifest: Value = serde_json::from_str(EVENT_TEMPLATE).context("function.json of event datasets")?;
        let trigger = &mut manifest["bindings"][0];
        trigger["eventHubName"] = hub.as_str().into();
        trigger["consumerGroup"] = consumer_group.as_str().into();
        let function = format!("ingest_{}", contract.name);
        write(&folder.join(function).join("function.json"), &format!("{manifest:#}\n"))?;
    }
    for (name, text) in datasets {
        write(&folder.join("datasets").join(name), text)?;
    }
    Ok(())
}

const EVENT_FUNCTIONS: [&str; 2] = ["ingest_clickstream", "ingest_sensors"];

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
