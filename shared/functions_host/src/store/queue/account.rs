//! The queues of a storage account, by the REST interface of Azure Storage: Put, Get, Update and Delete Message, Create
//! Queue, Get Queue Metadata.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

use super::{Delivery, shared_key};
use crate::{config::QueueService, error::HostError};

const API_VERSION: &str = "2023-11-03";
const RFC_1123: &str = "%a, %d %b %Y %H:%M:%S GMT";
const XML: &str = "application/xml";
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Azurite closes a connection that is idle for 5 s; a request that meets the closing would fail.
const IDLE_LIMIT: Duration = Duration::from_secs(3);
/// 32 messages of 64 KiB with every letter escaped, and more.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The most messages that one request may take.
const MAX_TAKEN: usize = 32;
/// The longest that a message can be hidden: its time to live.
const MAX_HIDDEN: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Account {
    service: QueueService,
    client: reqwest::Client,
}

/// An answer that is a success, or a refusal with its error code.
struct Answer {
    refused: Option<String>,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Account {
    /// Asks nothing of the service yet.
    pub(super) fn open(service: QueueService) -> Result<Self, HostError> {
        let client = reqwest::Client::builder().no_proxy().timeout(TIME_LIMIT).pool_idle_timeout(IDLE_LIMIT).build();
        let failed = |error: reqwest::Error| HostError::Storage {
            action: "open",
            queue: String::new(),
            problem: error.to_string(),
        };
        Ok(Self { service, client: client.map_err(failed)? })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.service.endpoint
    }

    /// Creates the queue if it is not there.
    pub(super) async fn put(&self, queue: &str, text: &str) -> Result<String, HostError> {
        let path = format!("/{queue}/messages");
        let message = format!("<QueueMessage><MessageText>{}</MessageText></QueueMessage>", escaped(text));
        let mut answer = self.ask("put a message into", Method::POST, queue, &path, &[], &message).await?;
        if answer.refused.as_deref() == Some("QueueNotFound") {
            let made = self.ask("create", Method::PUT, queue, &format!("/{queue}"), &[], "").await?;
            made.unless("create", queue, &["QueueAlreadyExists"])?;
            answer = self.ask("put a message into", Method::POST, queue, &path, &[], &message).await?;
        }
        let put = answer.accepted("put a message into", queue)?.messages(queue)?;
        put.into_iter().next().map(|message| message.message_id).ok_or_else(|| unreadable(queue))
    }

    /// A queue that is not there is empty.
    pub(super) async fn take(&self, queue: &str, max: usize, hidden: Duration) -> Result<Vec<Delivery>, HostError> {
        let (count, hidden) = (max.clamp(1, MAX_TAKEN).to_string(), seconds(hidden.max(Duration::from_secs(1))));
        let query = [("numofmessages", count.as_str()), ("visibilitytimeout", &hidden)];
        let answer =
            self.ask("take messages from", Method::GET, queue, &format!("/{queue}/messages"), &query, "").await?;
        if answer.refused.as_deref() == Some("QueueNotFound") {
            return Ok(Vec::new());
        }
        let taken = answer.accepted("take messages from", queue)?.messages(queue)?;
        taken.into_iter().map(|message| message.delivery().ok_or_else(|| unreadable(queue))).collect()
    }

    /// Hides a message from now on for that long. None: it is not ours any more.
    pub(super) async fn hide(
        &self,
        queue: &str,
        delivery: &Delivery,
        hidden: Duration,
    ) -> Result<Option<String>, HostError> {
        let (path, hidden) = (format!("/{queue}/messages/{}", delivery.id), seconds(hidden));
        let query = [("popreceipt", delivery.pop_receipt.as_str()), ("visibilitytimeout", &hidden)];
        let answer = self.ask("hide a message of", Method::PUT, queue, &path, &query, "").await?;
        if !answer.unless("hide a message of", queue, &LOST)? {
            return Ok(None);
        }
        let receipt = answer.headers.get("x-ms-popreceipt").and_then(|value| value.to_str().ok());
        receipt.map(|receipt| Some(receipt.to_owned())).ok_or_else(|| unreadable(queue))
    }

    /// False: it is not ours any more.
    pub(super) async fn delete(&self, queue: &str, delivery: &Delivery) -> Result<bool, HostError> {
        let path = format!("/{queue}/messages/{}", delivery.id);
        let query = [("popreceipt", delivery.pop_receipt.as_str())];
        let answer = self.ask("delete a message of", Method::DELETE, queue, &path, &query, "").await?;
        answer.unless("delete a message of", queue, &LOST)
    }

    pub(super) async fn count(&self, queue: &str) -> Result<usize, HostError> {
        let answer = self.ask("look at", Method::GET, queue, &format!("/{queue}"), &[("comp", "metadata")], "").await?;
        if !answer.unless("look at", queue, &["QueueNotFound"])? {
            return Ok(0);
        }
        let count = answer.headers.get("x-ms-approximate-messages-count").and_then(|value| value.to_str().ok());
        count.and_then(|count| count.parse().ok()).ok_or_else(|| unreadable(queue))
    }

    /// `query` is in order of its names.
    async fn ask(
        &self,
        action: &'static str,
        method: Method,
        queue: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, HostError> {
        let failed = |problem: String| HostError::Storage { action, queue: queue.to_owned(), problem };
        let mut url = Url::parse(&format!("{}{path}", self.service.endpoint)).map_err(|e| failed(e.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let date = Utc::now().format(RFC_1123).to_string();
        let content_type = if body.is_empty() { "" } else { XML };
        let signed = shared_key::Request {
            method: method.as_str(),
            length: body.len(),
            content_type,
            ms_headers: [("x-ms-date", &date), ("x-ms-version", API_VERSION)],
            path: url.path(),
            query,
        };
        let authorization = shared_key::authorization(&signed, &self.service.account, &self.service.key);
        let mut request =
            self.client.request(method, url).header("x-ms-date", &date).header("x-ms-version", API_VERSION);
        request = request.header(reqwest::header::AUTHORIZATION, authorization);
        if !body.is_empty() {
            request = request.header(reqwest::header::CONTENT_TYPE, content_type);
        }
        let answer =
            request.body(body.to_owned()).send().await.map_err(|error| failed(crate::invoke::explain(error)))?;
        Answer::read(answer).await.map_err(failed)
    }
}

/// Somebody else has the message, or it is gone: as the host's SDK counts it.
const LOST: [&str; 5] =
    ["MessageNotFound", "PopReceiptMismatch", "QueueNotFound", "QueueBeingDeleted", "QueueDisabled"];

impl Answer {
    async fn read(mut response: reqwest::Response) -> Result<Self, String> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(crate::invoke::explain)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(format!("the answer exceeds {MAX_ANSWER} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let refused = (!status.is_success()).then(|| error_code(status, &headers, &body));
        Ok(Self { refused, headers, body })
    }

    fn accepted(self, action: &'static str, queue: &str) -> Result<Self, HostError> {
        self.unless(action, queue, &[])?;
        Ok(self)
    }

    /// True for a success, false for a refusal that is one of those.
    fn unless(&self, action: &'static str, queue: &str, codes: &[&str]) -> Result<bool, HostError> {
        match &self.refused {
            None => Ok(true),
            Some(code) if codes.contains(&code.as_str()) => Ok(false),
            Some(code) => Err(HostError::Storage { action, queue: queue.to_owned(), problem: code.clone() }),
        }
    }

    fn messages(&self, queue: &str) -> Result<Vec<Message>, HostError> {
        let list: MessageList = quick_xml::de::from_str(&self.body).map_err(|_| unreadable(queue))?;
        Ok(list.messages)
    }
}

#[derive(Deserialize)]
struct MessageList {
    #[serde(rename = "QueueMessage", default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message_id: String,
    #[serde(deserialize_with = "rfc_1123")]
    insertion_time: DateTime<Utc>,
    #[serde(deserialize_with = "rfc_1123")]
    expiration_time: DateTime<Utc>,
    pop_receipt: Option<String>,
    #[serde(deserialize_with = "rfc_1123")]
    time_next_visible: DateTime<Utc>,
    #[serde(default)]
    dequeue_count: u32,
    #[serde(default)]
    message_text: String,
}

impl Message {
    fn delivery(self) -> Option<Delivery> {
        Some(Delivery {
            id: self.message_id,
            text: self.message_text,
            body: None,
            inserted: self.insertion_time,
            expires: self.expiration_time,
            next_visible: self.time_next_visible,
            pop_receipt: self.pop_receipt?,
            dequeue_count: self.dequeue_count,
        })
    }
}

fn rfc_1123<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    DateTime::parse_from_rfc2822(&text).map(|time| time.to_utc()).map_err(D::Error::custom)
}

/// The code alone: the message beside it may repeat what was sent.
fn error_code(status: StatusCode, headers: &reqwest::header::HeaderMap, body: &str) -> String {
    let header = headers.get("x-ms-error-code").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let in_body = || Some(body.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned());
    header.or_else(in_body).unwrap_or_else(|| format!("status {}", status.as_u16()))
}

fn unreadable(queue: &str) -> HostError {
    let problem = "the answer is not what the interface says".to_owned();
    HostError::Storage { action: "use", queue: queue.to_owned(), problem }
}

/// Whole seconds, cut off as the host's SDK does.
fn seconds(time: Duration) -> String {
    time.min(MAX_HIDDEN).as_secs().to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;")
}
