//! `$cbs` and `$management`: a link for requests and a link for answers, in one session.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Context;
use crate::{
    address::Address,
    amqp::{encode::Map, message::Request},
    limits::NODE_ANSWERS,
    service::{Shared, now_s},
};

/// Where answers go, in one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes {
    links: Arc<Mutex<Vec<AnswerLink>>>,
}

#[derive(Debug)]
struct AnswerLink {
    node: Address,
    /// What requests call it in `reply-to`.
    name: Option<String>,
    answers: mpsc::Sender<(tokio::time::Instant, Bytes)>,
}

impl Nodes {
    /// A new link for the answers of a node.
    pub(super) fn answers(&self, node: &Address) -> mpsc::Receiver<(tokio::time::Instant, Bytes)> {
        let (answers, queue) = mpsc::channel(NODE_ANSWERS);
        let mut links = self.lock();
        links.retain(|link| !link.answers.is_closed());
        links.push(AnswerLink { node: node.clone(), name: None, answers });
        queue
    }

    pub(super) fn name_last(&self, node: &Address, name: String) {
        if let Some(link) = self.lock().iter_mut().rfind(|link| link.node == *node) {
            link.name = Some(name);
        }
    }

    /// Answers on the link that the request names, else on the latest. An answer that nobody takes is dropped.
    pub(super) fn send(&self, node: &Address, reply_to: Option<&str>, answer: Bytes, delay: Duration) {
        let links = self.lock();
        let of_node = || links.iter().rev().filter(|link| link.node == *node && !link.answers.is_closed());
        let named = of_node().find(|link| link.name.as_deref() == reply_to);
        match named.or_else(|| of_node().next()) {
            Some(link) => {
                // After the request is settled: clients wait for the two in this order.
                let _ = link.answers.try_send((tokio::time::Instant::now() + delay * 2, answer));
            }
            None => tracing::debug!(?node, "nobody takes the answer"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AnswerLink>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `$cbs`: 202 for a good token, as Event Hubs has it.
pub(super) fn put_token(context: &Context, request: &Request) -> Bytes {
    if request.text("operation") != "put-token" {
        return request.answer(400, "the operation is not put-token", None);
    }
    let audience = request.text("name");
    let good = match (&context.shared.key, request.body_text()) {
        (None, Some(_)) => true,
        (Some(key), Some(token)) => key.admits(token, &audience, now_s()),
        (_, None) => false,
    };
    if good {
        context.authorize(&audience);
        return request.answer(202, "Accepted", None);
    }
    request.answer(401, "InvalidSignature: the token is not good for this key and address", None)
}

/// `$management`: what a hub or a partition is.
pub(super) fn read(shared: &Shared, request: &Request) -> Bytes {
    if request.text("operation") != "READ" {
        return request.answer(400, "the operation is not READ", None);
    }
    let (name, kind) = (request.text("name"), request.text("type"));
    let Some(hub) = shared.hub(&name.to_ascii_lowercase()) else {
        return request.answer(404, "there is no such Event Hub", None);
    };
    let count = hub.log.partitions();
    let mut body = Map::default();
    body.entry_string("name", &hub.name).entry_string("type", &kind);
    match kind.as_str() {
        "com.microsoft:eventhub" => {
            body.entry_timestamp("created_at", hub.log.created_ms()).entry_int("partition_count", count as i32);
            body.entry_strings("partition_ids", (0..count).map(|id| id.to_string()));
        }
        "com.microsoft:partition" => {
            let asked = request.text("partition");
            let Some(partition) = asked.parse().ok().filter(|id| *id < count) else {
                return request.answer(404, "there is no such partition", None);
            };
            let Ok(state) = hub.log.state(partition) else {
                return request.answer(500, "the log of the partition cannot be read", None);
            };
            let last = state.next_sequence as i64 - 1;
            let offset = state.last_offset.map_or_else(|| "-1".to_owned(), |offset| offset.to_string());
            body.entry_string("partition", &asked);
            body.entry_long("begin_sequence_number", state.begin_sequence as i64);
            body.entry_long("last_enqueued_sequence_number", last);
            body.entry_long("last_enqueued_sequence_number_epoch", 0);
            body.entry_string("last_enqueued_offset", &offset);
            body.entry_timestamp("last_enqueued_time_utc", state.last_enqueued_ms.unwrap_or(0));
            body.entry_boolean("is_partition_empty", state.is_empty());
        }
        _ => return request.answer(400, "the type is neither an Event Hub nor a partition", None),
    }
    request.answer(200, "OK", Some(&body))
}
