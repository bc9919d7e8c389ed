//! Directories of an account with a hierarchical namespace, moved or deleted at once: one event stands for all blobs that
//! were in them.

use weir_contract::{Contract, Source};
use weir_lake::stamp;

use super::Done;
use super::blob::id_of;
use super::pages::{HANDED_OUT, narrower};
use crate::app::App;
use crate::error::AppError;
use crate::tasks::Task;

/// Names that begin with this are in the directory.
fn prefix(directory: &str) -> String {
    format!("{}/", directory.trim_end_matches('/'))
}

/// The contracts that may take blobs of a directory.
fn concerned<'a>(app: &'a App, container: &'a str, directory: &str) -> impl Iterator<Item = &'a Contract> {
    let prefix = prefix(directory);
    app.contracts.iter().filter(move |contract| {
        let is_own = matches!(&contract.source, Source::Blob { container: own, .. } if own == container);
        is_own && narrower(contract.source.common_prefix(), &prefix).is_some()
    })
}

/// A sweep of a directory for each contract that may take blobs in it.
pub(crate) fn came(app: &App, container: &str, directory: &str) -> Vec<Task> {
    let sweep = |contract: &Contract| Task::Sweep {
        dataset: contract.name.clone(),
        marker: None,
        prefix: Some(prefix(directory)),
        after: None,
        since_ms: None,
        asked: true,
    };
    concerned(app, container, directory).map(sweep).collect()
}

/// A look for rows of a directory's blobs, for each contract that follows deletions.
pub(crate) fn went(app: &App, container: &str, directory: &str) -> Vec<Task> {
    let vanished =
        |contract: &Contract| Task::Vanished { dataset: contract.name.clone(), prefix: prefix(directory), after: None };
    concerned(app, container, directory).filter(|contract| contract.follows_deletions()).map(vanished).collect()
}

/// Hands out the removal of each blob whose rows a table has and whose name begins with `prefix`. Each removal looks for
/// itself whether the blob is gone.
pub(crate) async fn vanished(
    app: &App,
    dataset: String,
    prefix: String,
    after: Option<String>,
) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let known = runtime.dataset(&dataset)?;
    let source = &known.contract.source;
    let (Source::Blob { container, .. }, true) = (source, known.contract.follows_deletions()) else {
        return Ok(Done::said("the contract does not follow deletions"));
    };
    let table = runtime.lake.table(&known.table).await?;
    table.refresh().await?;
    let (all, first) = (id_of(container, ""), id_of(container, &prefix));
    let is_wanted = |id: &str| id.starts_with(&first) && after.as_deref().is_none_or(|after| id > after);
    let mut ids = table.producers(is_wanted);
    ids.retain(|(_, version)| !stamp::holds(Some(*version), stamp::REMOVED));
    ids.sort();
    let (page, rest) = ids.split_at(ids.len().min(HANDED_OUT));
    let mut tasks: Vec<Task> = Vec::new();
    for (id, _) in page {
        if let Some(path) = id.strip_prefix(&all) {
            let (dataset, container, path) = (dataset.clone(), container.clone(), path.to_owned());
            tasks.push(Task::RemoveBlob { dataset, container, path });
        }
    }
    let line = format!("{dataset}: {} blobs may be gone", tasks.len());
    if let (false, Some((last, _))) = (rest.is_empty(), page.last()) {
        tasks.push(Task::Vanished { dataset, prefix, after: Some(last.clone()) });
    }
    Ok(Done::said(&line).with(tasks))
}
