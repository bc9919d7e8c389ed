//! `retry`: `POST /api/retry` with `{"parked": [id, …]}`, or `{"all": true}`: parked messages are tried once more, each
//! as a task. `status` lists them. One answer hands out a few hundred: `next` says where to go on, as `after`.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, HttpReply};
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::answers::{json_body, refused};
use crate::app::App;
use crate::pipeline::parked;
use crate::tasks::Task;

/// The host sends the tasks of an answer one after the other, while the caller waits.
const PER_ANSWER: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    parked: Vec<String>,
    #[serde(default)]
    all: bool,
    /// With `all`: only those whose ids come after this one.
    after: Option<String>,
}

pub(crate) async fn run(app: Arc<App>, request: Request<Bytes>) -> Result<HttpReply, HandlerError> {
    let refuse = |message: &str| Ok(refused(StatusCode::BAD_REQUEST, message));
    let body: Body = match json_body(&request, "{\"parked\": [id, …]} or {\"all\": true}") {
        Ok(body) => body,
        Err(answer) => return Ok(*answer),
    };
    if body.parked.is_empty() != body.all {
        return refuse("send either `parked`, a list of ids, or `all`");
    }
    if body.parked.len() > PER_ANSWER {
        return refuse(&format!("send at most {PER_ANSWER} ids at a time"));
    }
    let mut known = parked::ids(app.runtime().await?).await?;
    if let Some(unknown) = body.parked.iter().find(|id| !known.contains(id)) {
        return refuse(&format!("`{unknown}` is not parked; `status` lists what is"));
    }
    known.sort_unstable();
    let after = |id: &String| body.after.as_ref().is_none_or(|after| id > after);
    let chosen: Vec<String> =
        known.into_iter().filter(|id| if body.all { after(id) } else { body.parked.contains(id) }).collect();
    let next = chosen.get(PER_ANSWER - 1).filter(|_| chosen.len() > PER_ANSWER).cloned();
    let chosen = chosen.into_iter().take(PER_ANSWER);
    let tasks: Vec<_> = chosen.map(|id| Task::Retry { parked: id, handed_on: false }).collect();
    let answer = json!({ "retried": tasks.len(), "next": next });
    Ok(HttpReply::json(StatusCode::ACCEPTED, &answer).output("tasks", app.seal(&tasks)?))
}
