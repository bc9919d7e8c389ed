//! `weir plan`: what the contracts would change in their tables. Nothing is written; for pull requests and before a deployment.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use weir_contract::{Contract, NewColumns, TableColumn};
use weir_platform::Settings;

use super::say;
use crate::app::{App, Dataset, Runtime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Datasets to look at [default: all]
    datasets: Vec<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// The changes that a contract would make to its table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    dataset: String,
    /// False when the app could not write the table.
    possible: bool,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    kind: Kind,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// A table or a column that is new.
    Added,
    /// Something that stays, and is used in another way.
    Changed,
    /// A change that the table's readers and rules forbid.
    Refused,
}

impl Kind {
    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Changed => '~',
            Self::Refused => '!',
        }
    }
}

/// Fails when a contract cannot be carried out.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load_to_look(settings)?;
    let runtime = app.runtime().await?;
    let mut plans = Vec::new();
    if arguments.datasets.is_empty() {
        for dataset in runtime.datasets() {
            plans.push(planned(runtime, dataset).await);
        }
    }
    for name in &arguments.datasets {
        plans.push(planned(runtime, runtime.dataset(name)?).await);
    }
    let possible = plans.iter().all(|plan| plan.possible);
    if arguments.json {
        say(serde_json::to_string(&plans)?);
    } else {
        plans.iter().flat_map(lines).for_each(say);
    }
    Ok(if possible { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lines(plan: &Planned) -> Vec<String> {
    if plan.changes.is_empty() {
        return vec![format!("{}: no change", plan.dataset)];
    }
    let line = |change: &Change| format!("{} {}: {}", change.kind.sign(), plan.dataset, change.text);
    plan.changes.iter().map(line).collect()
}

async fn planned(runtime: &Runtime, dataset: &Dataset) -> Planned {
    let Dataset { contract, table, .. } = dataset;
    let change = |kind, text: String| Change { kind, text };
    let changes = match runtime.table_now(table).await {
        Ok(None) => vec![change(Kind::Added, format!("the table, with {} columns", contract.columns.len()))],
        Ok(Some(table)) => between(contract, &dataset.table.columns, &table.columns()),
        Err(error) => vec![change(Kind::Refused, error.to_string())],
    };
    let possible = changes.iter().all(|change| change.kind != Kind::Refused);
    Planned { dataset: contract.name.clone(), possible, changes }
}

/// The differences between the columns that the contract wants and those that the table has.
fn between(contract: &Contract, wanted: &[TableColumn], there: &[TableColumn]) -> Vec<Change> {
    let named = |columns: &[TableColumn], name: &str| columns.iter().find(|column| column.name == name).cloned();
    let mut changes = Vec::new();
    for column in wanted {
        let TableColumn { name, data_type, nullable } = column;
        let (kind, text) = match (named(there, name), contract.table.new_columns) {
            (Some(own), _) if own.data_type != *data_type => {
                (Kind::Changed, format!("column {name}: {data_type} is stored as the table's {}", own.data_type))
            }
            (Some(own), _) if own.nullable && !nullable => {
                (Kind::Changed, format!("column {name}: no value may be missing from now on"))
            }
            (Some(_), _) => continue,
            (None, NewColumns::Add) => (Kind::Added, format!("column {name} {data_type}, null in rows that are there")),
            (None, NewColumns::Rescue) => {
                (Kind::Changed, format!("column {name} {data_type} is kept in _rescued (new_columns = \"rescue\")"))
            }
            (None, NewColumns::Fail) => {
                (Kind::Refused, format!("column {name} {data_type} is not in the table (new_columns = \"fail\")"))
            }
        };
        changes.push(Change { kind, text });
    }
    for TableColumn { name, .. } in there.iter().filter(|column| named(wanted, &column.name).is_none()) {
        changes
            .push(Change { kind: Kind::Changed, text: format!("column {name} stays in the table, null in new rows") });
    }
    changes
}
