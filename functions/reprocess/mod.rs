//! `reprocess`: `POST /api/reprocess` with `{"dataset": …}` and which of it: `path` or `prefix` of blobs, `partition`,
//! `from`, `to`, `since`, `until` of events. It answers 202 at once; the work goes to the queue `tasks`, one message a
//! blob or a partition. Of many blobs the first few hundred are handed out, and a task that goes on with the others.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, HttpReply};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use weir_contract::Source;

use crate::answers::{json_body, refused};
use crate::app::App;
use crate::error::{AppError, ErrorKind};
use crate::pipeline::events::replay::{self, Asked};
use crate::pipeline::events::window::Window;
use crate::pipeline::reread;
use crate::tasks::Task;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    dataset: String,
    /// One blob's name in the contract's container.
    path: Option<String>,
    /// All blobs of the contract whose names begin with it.
    prefix: Option<String>,
    /// One partition of the contract's hub; all without it.
    partition: Option<u32>,
    /// First and last sequence number.
    from: Option<i64>,
    to: Option<i64>,
    /// Enqueued at or after the first, before the second.
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

pub(crate) async fn run(app: Arc<App>, request_id: String, request: Request<Bytes>) -> Result<HttpReply, HandlerError> {
    let body: Body = match json_body(&request, "{\"dataset\": …, \"path\": …}") {
        Ok(body) => body,
        Err(answer) => return Ok(*answer),
    };
    match tasks(&app, &body, &request_id).await {
        Ok((tasks, left_out)) => {
            let mut answer = json!({ "request": request_id, "tasks": tasks.len() });
            if !left_out.is_empty() {
                answer["leftOut"] = json!(left_out);
            }
            Ok(HttpReply::json(StatusCode::ACCEPTED, &answer).output("tasks", tasks))
        }
        Err(error @ (AppError::NothingToReplay { .. } | AppError::NoBlobs)) => {
            Ok(refused(StatusCode::NOT_FOUND, &error.to_string()))
        }
        Err(error) if error.kind() == ErrorKind::Configuration => {
            Ok(refused(StatusCode::BAD_REQUEST, &error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Messages for the queue `tasks`, and what there is none for.
async fn tasks(app: &App, body: &Body, request_id: &str) -> Result<(Vec<String>, Vec<String>), AppError> {
    let unknown = || AppError::UnknownDataset { name: body.dataset.clone() };
    let contract = app.contracts.get(&body.dataset).ok_or_else(unknown)?;
    let (tasks, left_out) = match &contract.source {
        Source::Blob { container, .. } => {
            (blobs(app, body, container, &contract.source, request_id).await?, Vec::new())
        }
        Source::Events { .. } => {
            let Asked { tasks, left_out } = events(app, body, request_id).await?;
            (tasks, left_out)
        }
        Source::Derived(_) => {
            let message = format!(
                "dataset `{}` takes {}: reprocess those, and `maintain` makes it anew",
                body.dataset,
                contract.source.takes()
            );
            return Err(AppError::Request { message });
        }
    };
    Ok((app.seal(&tasks)?, left_out))
}

async fn blobs(
    app: &App,
    body: &Body,
    container: &str,
    source: &Source,
    request_id: &str,
) -> Result<Vec<Task>, AppError> {
    let Body { dataset, path, prefix, partition, from, to, since, until } = body;
    if partition.is_some() || from.or(*to).is_some() || since.or(*until).is_some() {
        return Err(AppError::WrongSource { name: dataset.clone(), takes: "blobs", given: "events" });
    }
    match (path, prefix) {
        (Some(path), None) if source.matches(container, path) => Ok(vec![Task::IngestBlob {
            dataset: dataset.clone(),
            container: container.to_owned(),
            path: path.clone(),
            etag: None,
            request: Some(request_id.to_owned()),
        }]),
        (Some(_), None) => Err(AppError::Request { message: "the contract's paths do not match this path".to_owned() }),
        (None, Some(prefix)) => {
            let (dataset, prefix, request) = (dataset.clone(), prefix.clone(), request_id.to_owned());
            let tasks = reread::tasks(app, reread::Order { dataset, prefix, marker: None, request }).await?;
            if tasks.is_empty() { Err(AppError::NoBlobs) } else { Ok(tasks) }
        }
        _ => Err(AppError::Request { message: "give either `path` or `prefix`".to_owned() }),
    }
}

async fn events(app: &App, body: &Body, request_id: &str) -> Result<Asked, AppError> {
    let Body { dataset, path, prefix, partition, from, to, since, until } = body;
    if path.is_some() || prefix.is_some() {
        return Err(AppError::WrongSource { name: dataset.clone(), takes: "events", given: "blobs" });
    }
    let window = Window {
        from: *from,
        to: *to,
        since_ms: since.map(|at| at.timestamp_millis()),
        until_ms: until.map(|at| at.timestamp_millis()),
    };
    replay::tasks(app, dataset, *partition, window, request_id).await
}
