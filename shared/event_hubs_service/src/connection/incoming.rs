//! Links that the peer sends on: producers, and requests to the service nodes.
//!
//! An event is in the log before it is settled.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use super::{
    Context, Gone,
    link::{LinkFlow, SessionOut},
    nodes::{self, Nodes},
};
use crate::{
    address::Address,
    amqp::{
        code, encode, frame,
        message::{self, Request},
    },
    limits::PRODUCER_CREDIT,
    log::{HubLog, LogError},
};

/// What the link is for.
#[derive(Debug)]
pub(super) enum Purpose {
    Cbs(Nodes),
    Management(Nodes),
    Producer { log: Arc<dyn HubLog>, partition: Option<u32> },
}

/// A message that has come whole.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) delivery: u32,
    pub(super) settled: bool,
    pub(super) format: u32,
    /// None: it was larger than the link takes.
    pub(super) message: Option<Bytes>,
    /// Its share of what the connection may have on its way.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What a producer is told, once it is time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Rejected { condition: &'static str, description: String },
}

#[derive(Debug)]
pub(super) struct Incoming {
    context: Arc<Context>,
    session: Arc<SessionOut>,
    handle: u32,
    purpose: Purpose,
    /// Deliveries that came, as the peer counts them.
    received: u32,
    /// What `received` may get to.
    granted: u32,
    /// Stored, and to be settled at a time.
    settling: VecDeque<(Instant, u32, Outcome)>,
    /// Never settled, by order.
    forgotten: u32,
}

impl Incoming {
    pub(super) fn new(
        context: Arc<Context>,
        session: Arc<SessionOut>,
        handle: u32,
        received: u32,
        purpose: Purpose,
    ) -> Self {
        let settling = VecDeque::new();
        Self { context, session, handle, purpose, received, granted: received, settling, forgotten: 0 }
    }

    /// Runs until the peer detaches, and answers that.
    pub(super) async fn run(mut self, mut arrivals: mpsc::Receiver<Delivery>) {
        if self.receive(&mut arrivals).await.is_ok() {
            let _ = self.session.detach(self.handle, None).await;
        }
    }

    async fn receive(&mut self, arrivals: &mut mpsc::Receiver<Delivery>) -> Result<(), Gone> {
        loop {
            self.grant().await?;
            let due = self.settling.front().map(|(due, ..)| *due);
            tokio::select! {
                arrived = arrivals.recv() => match arrived {
                    None => return Ok(()),
                    Some(delivery) => self.take(delivery).await,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.settle().await?,
            }
        }
    }

    /// Gives the peer credit for what is settled, in steps.
    async fn grant(&mut self) -> Result<(), Gone> {
        let unsettled = self.settling.len() as u32 + self.forgotten;
        let limit = self.received.wrapping_add(PRODUCER_CREDIT.saturating_sub(unsettled));
        if limit.wrapping_sub(self.granted) < PRODUCER_CREDIT / 2 || limit.wrapping_sub(self.granted) > PRODUCER_CREDIT
        {
            return Ok(());
        }
        self.granted = limit;
        let credit = limit.wrapping_sub(self.received);
        let flow = LinkFlow { handle: self.handle, delivery_count: self.received, credit, drain: false };
        self.session.flow(Some(flow)).await
    }

    async fn take(&mut self, delivery: Delivery) {
        self.received = self.received.wrapping_add(1);
        let Delivery { delivery: id, settled, format, message, permit } = delivery;
        let delay = self.context.shared.faults.settle_delay();
        let outcome = match (&self.purpose, message) {
            (_, None) => rejected("amqp:link:message-size-exceeded", "a message has more than 1 MiB"),
            (Purpose::Producer { log, partition }, Some(message)) => self.store(log, *partition, format, message).await,
            (Purpose::Cbs(nodes), Some(message)) => self.request(nodes, &Address::Cbs, &message, delay),
            (Purpose::Management(nodes), Some(message)) => self.request(nodes, &Address::Management, &message, delay),
        };
        drop(permit);
        if settled {
            return;
        }
        if self.context.shared.faults.settles() {
            self.settling.push_back((Instant::now() + delay, id, outcome));
        } else {
            self.forgotten += 1;
        }
    }

    async fn store(&self, log: &Arc<dyn HubLog>, partition: Option<u32>, format: u32, message: Bytes) -> Outcome {
        if self.context.shared.faults.rejects() {
            return rejected("com.microsoft:server-busy", "the service is busy, by order");
        }
        let (key, events) = match message::events(&message, format) {
            Ok(found) => found,
            Err(error) => return rejected("amqp:decode-error", error.0),
        };
        let partition = partition.unwrap_or_else(|| log.partition_for(key.as_deref()));
        let log = Arc::clone(log);
        match tokio::task::spawn_blocking(move || log.append(partition, events)).await {
            Ok(Ok(())) => Outcome::Accepted,
            Ok(Err(LogError::Refused(why))) => rejected("amqp:not-allowed", &why),
            Ok(Err(LogError::Broken(why))) => {
                tracing::error!(why, "cannot store events");
                rejected("amqp:internal-error", "the events could not be stored")
            }
            Err(error) => {
                tracing::error!(%error, "cannot store events");
                rejected("amqp:internal-error", "the events could not be stored")
            }
        }
    }

    fn request(&self, nodes: &Nodes, node: &Address, message: &Bytes, delay: Duration) -> Outcome {
        match Request::decode(message) {
            Ok(request) => {
                let answer = match node {
                    Address::Cbs => nodes::put_token(&self.context, &request),
                    _ => nodes::read(&self.context.shared, &request),
                };
                nodes.send(node, request.reply_to.as_deref(), answer, delay);
                Outcome::Accepted
            }
            Err(error) => rejected("amqp:decode-error", error.0),
        }
    }

    /// Settles what is due, runs of deliveries with one outcome together.
    async fn settle(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        while let Some((_, first, outcome)) = self.settling.pop_front_if(|(due, ..)| *due <= now) {
            let mut last = first;
            while self
                .settling
                .pop_front_if(|(due, id, next)| *due <= now && *id == last.wrapping_add(1) && *next == outcome)
                .is_some()
            {
                last = last.wrapping_add(1);
            }
            self.session.settle(first, last, &outcome.encode()).await?;
        }
        Ok(())
    }
}

impl Outcome {
    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            // An empty list, as everybody writes it.
            Self::Accepted => encode::described(&mut bytes, code::ACCEPTED, &[0x45]),
            Self::Rejected { condition, description } => {
                let mut fields = encode::List::default();
                fields.raw(&frame::error(condition, description));
                encode::described(&mut bytes, code::REJECTED, &fields.finish());
            }
        }
        bytes.freeze()
    }
}

fn rejected(condition: &'static str, description: &str) -> Outcome {
    Outcome::Rejected { condition, description: description.to_owned() }
}
