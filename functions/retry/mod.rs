//! `retry`: `POST /api/retry` with `{"parked": [id, …]}`, or `{"all": true}`: parked messages are tried once more, each
//! as a task. `status` lists them.

use std::sync::Arc;

use azure_functions_custom_handler::{HandlerError, HttpReply};
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

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
    let refuse = |message: &str| Ok(HttpReply::json(StatusCode::BAD_REQUEST, &json!({ "error": message })));
    let body: Body = match serde_json::from_slice(request.body()) {
        Ok(body) => body,
        Err(error) => return refuse(&format!("body: {error}; send {{\"parked\": [id, …]}} or {{\"all\": true}}")),
    };
    if body.parked.is_empty() != body.all {
        return refuse("send either `parked`, a list of ids, or `all`");
    }
    let known = parked::list(app.runtime().await?).await?;
    let unknown = body.parked.iter().find(|id| known.iter().all(|parked| parked.id != **id));
    if let Some(unknown) = unknown {
        return refuse(&format!("`{unknown}` is not parked; `status` lists what is"));
    }
    let chosen = known.into_iter().map(|parked| parked.id).filter(|id| body.all || body.parked.contains(id));
    let tasks = chosen.map(|id| Task::Retry { parked: id, handed_on: false }.encode());
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    let answer = json!({ "retried": tasks.len() });
    Ok(HttpReply::json(StatusCode::ACCEPTED, &answer).output("tasks", tasks))
}
