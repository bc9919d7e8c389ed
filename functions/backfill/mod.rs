//! `backfill`: `POST /api/backfill` with `{"dataset": …, "since": …}`. It answers 202 at once; a sweep of the landing
//! container goes to the queue `tasks`, and hands out every blob that the table does not hold.

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
use crate::tasks::Task;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    dataset: String,
    /// Blobs that were written before are left out.
    since: Option<DateTime<Utc>>,
}

pub(crate) async fn run(app: Arc<App>, request: Request<Bytes>) -> Result<HttpReply, HandlerError> {
    let refuse = |message: &str| Ok(refused(StatusCode::BAD_REQUEST, message));
    let body: Body = match json_body(&request, "{\"dataset\": …, \"since\": \"2026-01-01T00:00:00Z\"}") {
        Ok(body) => body,
        Err(answer) => return Ok(*answer),
    };
    let Some(contract) = app.contracts.get(&body.dataset) else {
        return refuse(&format!("no dataset `{}`; `weir check` lists them", body.dataset));
    };
    if !matches!(contract.source, Source::Blob { .. }) {
        return refuse(&format!("dataset `{}` takes {}, not blobs", body.dataset, contract.source.takes()));
    }
    let since_ms = body.since.map(|since| since.timestamp_millis());
    let task = Task::sweep(&body.dataset, since_ms, true);
    let answer = json!({ "dataset": body.dataset, "sinceMs": since_ms });
    Ok(HttpReply::json(StatusCode::ACCEPTED, &answer).output("tasks", app.seal(&[task])?))
}
