//! A way to Azurite on which chosen requests wait: races and deaths happen at the moment that a test names, on a machine of
//! whatever speed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A request that has not come after this does not come any more.
const PATIENCE: Duration = Duration::from_secs(120);

/// When a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the store has heard of it.
    Before,
    /// It has had its effect, and its answer is on the way.
    After,
}

/// Where a request waits. One that nobody lets go is lost.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

type Which = Box<dyn Fn(&Method, &str) -> bool + Send>;

struct Wait {
    which: Which,
    /// Such requests that pass.
    pass: usize,
    moment: Moment,
    gate: Gate,
}

struct Way {
    /// `http://127.0.0.1:<port>`
    store: String,
    client: reqwest::Client,
    waits: Mutex<Vec<Wait>>,
    passed: Mutex<Vec<String>>,
}

pub(super) struct Gates {
    /// In place of the account's address.
    pub(super) url: String,
    way: Arc<Way>,
    server: tokio::task::JoinHandle<()>,
}

impl Gate {
    /// Waits until the request is here.
    pub(super) async fn reached(&self) {
        let reached = tokio::time::timeout(PATIENCE, self.reached.acquire()).await;
        reached.expect("the request that was to be held never came").unwrap().forget();
    }

    pub(super) fn open(&self) {
        self.open.add_permits(1);
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }
}

impl Gates {
    /// `store` is the account's address.
    pub(super) async fn before(store: &str) -> Self {
        let (store, account) = store.rsplit_once('/').unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let way = Arc::new(Way { store: store.to_owned(), client, waits: Mutex::default(), passed: Mutex::default() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/{account}", listener.local_addr().unwrap());
        let router = Router::new().fallback(forward).with_state(Arc::clone(&way));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, way, server }
    }

    /// Method and path of each request since this was asked last.
    pub(super) fn passed(&self) -> Vec<String> {
        std::mem::take(&mut *self.way.passed.lock().unwrap())
    }

    /// The first request with this method and this in its path waits.
    pub(super) fn hold(&self, method: Method, part_of_path: &'static str, moment: Moment) -> Gate {
        self.hold_after(0, moment, move |found, path| *found == method && path.contains(part_of_path))
    }

    /// The first request of a kind waits, after so many of that kind have passed.
    pub(super) fn hold_after(
        &self,
        pass: usize,
        moment: Moment,
        which: impl Fn(&Method, &str) -> bool + Send + 'static,
    ) -> Gate {
        let gate = Gate { reached: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) };
        self.way.waits.lock().unwrap().push(Wait { which: Box::new(which), pass, moment, gate: gate.clone() });
        gate
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Way {
    fn wait(&self, method: &Method, path: &str) -> Option<(Moment, Gate)> {
        let mut waits = self.waits.lock().unwrap();
        let at = waits.iter_mut().position(|wait| {
            let meant = (wait.which)(method, path);
            let first = wait.pass == 0;
            wait.pass = wait.pass.saturating_sub(usize::from(meant));
            meant && first
        })?;
        let Wait { moment, gate, .. } = waits.remove(at);
        Some((moment, gate))
    }
}

async fn forward(State(way): State<Arc<Way>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    way.passed.lock().unwrap().push(format!("{} {}", head.method, head.uri.path()));
    let wait = way.wait(&head.method, head.uri.path());
    if let Some((Moment::Before, gate)) = &wait {
        gate.pass().await;
    }
    let url = format!("{}{}", way.store, head.uri.path_and_query().unwrap());
    let mut headers = head.headers;
    for own in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(own);
    }
    let answer = way.client.request(head.method, url).headers(headers).body(body).send().await;
    let Ok(answer) = answer else { return status(StatusCode::BAD_GATEWAY) };
    let mut given = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if *name != header::TRANSFER_ENCODING && *name != header::CONNECTION {
            given = given.header(name, value);
        }
    }
    let Ok(content) = answer.bytes().await else { return status(StatusCode::BAD_GATEWAY) };
    if let Some((Moment::After, gate)) = &wait {
        gate.pass().await;
    }
    given.body(Body::from(content)).unwrap()
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}
