//! `status`: `GET /api/status`, the books of every dataset as JSON, or as a page for a browser. It answers 200 also when a
//! dataset's tables cannot be read or its books do not balance: `healthy` is then false, and `error` stands beside that
//! dataset. 500 is for an app that can tell nothing at all.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::answers::STYLE;
use crate::app::App;
use crate::pipeline::blob::Progress;
use crate::pipeline::books::{self, DatasetBooks, Status};
use crate::pipeline::parked::{Cursor, Parked};

/// Requests that are answered at a time; the others wait, and hold nothing.
static AT_A_TIME: Semaphore = Semaphore::const_new(2);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    /// `parkedNext` of the page before.
    parked_after: Option<String>,
}

pub(crate) async fn run(State(app): State<Arc<App>>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let failed = |status: StatusCode, message: &str| (status, Json(json!({ "error": message }))).into_response();
    let after: Option<Cursor> = match asked.parked_after.as_deref().map(str::parse).transpose() {
        Ok(after) => after,
        Err(problem) => return failed(StatusCode::BAD_REQUEST, &format!("parkedAfter: {problem}")),
    };
    // Never closed: an error cannot be.
    let _one_of_few = AT_A_TIME.acquire().await.ok();
    let status = match books::status(&app, after.as_ref()).await {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(%error, "status failed");
            return failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
        }
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        return Html(page(&status)).into_response();
    }
    Json(status).into_response()
}

/// Plain tables. Names of datasets come from contracts, whose pattern has nothing to escape; names of blobs do not.
fn page(status: &Status) -> String {
    let mut html = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Weir</title><style>{STYLE}</style><h1>Weir</h1><table><tr><th>dataset\
         <th>records in<th>bytes read<th>committed<th>quarantined<th>already committed<th>rows<th>files<th>small files<th>MB<th>version\
         <th>warehouse rows<th>balanced</tr>",
    );
    for DatasetBooks { name, table, warehouse_rows, balanced, .. } in &status.datasets {
        let Some(table) = table else {
            let _ = write!(html, "<tr><td>{name}<td colspan=11>cannot be read<td>NO</tr>");
            continue;
        };
        let books = table.books;
        let megabytes = table.bytes / 1_000_000;
        let warehouse = warehouse_rows.map_or_else(|| "–".to_owned(), |rows| rows.to_string());
        // Writing to a String cannot fail.
        let _ = write!(
            html,
            "<tr><td>{name}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{megabytes}<td>{}<td>{warehouse}<td>{}</tr>",
            books.records_in,
            books.bytes_read,
            books.committed,
            books.quarantined,
            books.already_committed,
            table.rows,
            table.files,
            table.small_files,
            table.version,
            if *balanced { "yes" } else { "NO" },
        );
    }
    html.push_str("</table>");
    for DatasetBooks { name, error, .. } in &status.datasets {
        if let Some(error) = error {
            let _ = write!(html, "<p>{name}: {}", escaped(error));
        }
    }
    for remark in status.datasets.iter().flat_map(DatasetBooks::remarks) {
        let _ = write!(html, "<p>{}", escaped(&remark));
    }
    for others in status.datasets.iter().flat_map(|dataset| &dataset.others) {
        let _ = write!(html, "<p>{}", escaped(&others.to_string()));
    }
    for DatasetBooks { name, stands_for, .. } in &status.datasets {
        if let Some(stands_for) = stands_for {
            let _ = write!(html, "<p>{name}: {stands_for}");
        }
    }
    let in_progress = status.datasets.iter().flat_map(|dataset| &dataset.in_progress);
    for Progress { source, bytes, written, parts, .. } in in_progress {
        let of = parts.map(|parts| format!(" of {parts}")).unwrap_or_default();
        let _ = write!(html, "<p>{}: {written}{of} parts written, {} MB", escaped(source), bytes / 1_000_000);
    }
    if let Some(error) = &status.parked_error {
        let _ = write!(html, "<p>nothing is known of parked messages: {}", escaped(error));
    }
    if status.parked_count > 0 {
        let _ = write!(html, "<h2>{} messages are parked</h2><table>", status.parked_count);
        for Parked { id, blob, reason, .. } in &status.parked {
            let blob = blob.as_deref().unwrap_or("–");
            let _ = write!(html, "<tr><td>{}<td>{}<td>{}</tr>", escaped(id), escaped(blob), escaped(reason));
        }
        html.push_str("</table>");
    }
    if let Some(next) = &status.parked_next {
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let _ = write!(html, "<p><a href=\"?parkedAfter={next}\">more</a>");
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
