//! `retry`: `POST /api/retry` with `{"parked": [id, …]}`, or `{"all": true}`: parked messages are tried once more, each
//! as a task. `status` lists them.

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    parked: Vec<String>,
    #[serde(default)]
    all: bool,
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
    let known = parked::ids(app.runtime().await?).await?;
    if let Some(unknown) = body.parked.iter().find(|id| !known.contains(id)) {
        return refuse(&format!("`{unknown}` is not parked; `status` lists what is"));
    }
    let chosen = known.into_iter().filter(|id| body.all || body.parked.contains(id));
    let tasks = chosen.map(|id| Task::Retry { parked: id, handed_on: false }.encode());
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    let answer = json!({ "retried": tasks.len() });
    Ok(HttpReply::json(StatusCode::ACCEPTED, &answer).output("tasks", tasks))
}
