//! `status`: `GET /api/status`, the books of every dataset as JSON, or as a page for a browser.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::pipeline::books::{self, DatasetBooks};

pub(crate) async fn run(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let books = match books::all(&app).await {
        Ok(books) => books,
        Err(error) => {
            tracing::error!(%error, "status failed");
            let body = Json(json!({ "error": error.to_string() }));
            return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
        }
    };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        return Html(page(&books)).into_response();
    }
    let balanced = books.iter().all(|dataset| dataset.balanced);
    Json(json!({ "balanced": balanced, "datasets": books })).into_response()
}

/// A plain table. Names come from contracts, whose pattern has nothing to escape.
fn page(books: &[DatasetBooks]) -> String {
    let mut html = String::from(
        "<!doctype html><meta charset=\"utf-8\"><title>Weir</title><style>body{font:15px system-ui;margin:2em}\
         table{border-collapse:collapse}th,td{padding:.3em .8em;text-align:right;border-bottom:1px solid #ddd}\
         th:first-child,td:first-child{text-align:left}</style><h1>Weir</h1><table><tr><th>dataset<th>records in\
         <th>committed<th>quarantined<th>already committed<th>rows<th>files<th>small files<th>MB<th>version\
         <th>warehouse rows<th>balanced</tr>",
    );
    for DatasetBooks { name, table, warehouse_rows, balanced, .. } in books {
        let books = table.books;
        let megabytes = table.bytes / 1_000_000;
        let warehouse = warehouse_rows.map_or_else(|| "–".to_owned(), |rows| rows.to_string());
        // Writing to a String cannot fail.
        let _ = write!(
            html,
            "<tr><td>{name}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{megabytes}<td>{}<td>{warehouse}<td>{}</tr>",
            books.records_in,
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
    html + "</table>"
}
