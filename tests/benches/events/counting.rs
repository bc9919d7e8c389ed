//! A proxy in front of Azurite that counts the requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};

use crate::Result;

#[derive(Clone)]
pub(crate) struct Counting {
    client: reqwest::Client,
    target: Arc<str>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Counting {
    /// Serves on a port of its own, which is returned. `target`: scheme, host and port.
    pub(crate) async fn start(target: &str) -> Result<(Self, u16)> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let counting = Self { client, target: target.into(), counts: Arc::default() };
        let router = Router::new().fallback(forward).with_state(counting.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((counting, port))
    }

    /// By method and status, since the last time.
    pub(crate) fn take(&self) -> BTreeMap<String, u64> {
        self.counts.lock().map(|mut counts| std::mem::take(&mut *counts)).unwrap_or_default()
    }
}

async fn forward(State(counting): State<Counting>, request: Request<Body>) -> Response<Body> {
    let refuse = |status| Response::builder().status(status).body(Body::empty()).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return refuse(StatusCode::BAD_REQUEST) };
    let query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut sent = counting.client.request(parts.method.clone(), format!("{}{query}", counting.target));
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != "host") {
        sent = sent.header(name, value);
    }
    let Ok(answer) = sent.body(body).send().await else { return refuse(StatusCode::BAD_GATEWAY) };
    let what = match query.contains("comp=list") {
        true => "LIST".to_owned(),
        false => format!("{} {}", parts.method, answer.status().as_u16()),
    };
    if let Ok(mut counts) = counting.counts.lock() {
        *counts.entry(what).or_default() += 1;
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    let body: Bytes = answer.bytes().await.unwrap_or_default();
    response.body(Body::from(body)).unwrap_or_default()
}
