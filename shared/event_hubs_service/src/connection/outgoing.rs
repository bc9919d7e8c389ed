//! Links that the peer receives on: readers of a partition, and answers of the service nodes.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::{broadcast::error::RecvError, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    Context, Gone,
    link::{LinkFlow, SessionOut},
};
use crate::{
    amqp::{frame, message},
    faults::Order,
    limits::{READ_BYTES, READ_EVENTS},
    log::{HubLog, Position, StoredEvent},
    readers::{Place, STOLEN},
};

/// Events that leave between two looks at whether the reader has been sent away.
const BURST: usize = 16;

/// Where messages come from.
#[derive(Debug)]
pub(super) enum Source {
    Node(mpsc::Receiver<(Instant, Bytes)>),
    Partition { log: Arc<dyn HubLog>, hub: String, partition: u32, start: Position, place: Place },
}

/// What the peer grants; the latest counts.
#[derive(Debug, Clone, Copy, Default)]
struct Credit {
    /// What the number of deliveries may get to.
    limit: u32,
    drain: bool,
    /// Flows that asked for one in return.
    echoes: u32,
}

/// The session's side of the link.
#[derive(Debug)]
pub(super) struct Control {
    credit: watch::Sender<Credit>,
    stop: oneshot::Sender<()>,
}

impl Control {
    pub(super) fn grant(&self, limit: u32, drain: bool, echo: bool) {
        self.credit.send_modify(|credit| {
            *credit = Credit { limit, drain, echoes: credit.echoes.wrapping_add(u32::from(echo)) };
        });
    }

    /// The peer has detached.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
    }
}

#[derive(Debug)]
pub(super) struct Outgoing {
    context: Arc<Context>,
    session: Arc<SessionOut>,
    handle: u32,
    settled: bool,
    /// Deliveries so far.
    sent: u32,
    credit: watch::Receiver<Credit>,
    echoed: u32,
    stop: oneshot::Receiver<()>,
}

impl Outgoing {
    pub(super) fn new(context: Arc<Context>, session: Arc<SessionOut>, handle: u32, settled: bool) -> (Self, Control) {
        let (credit, granted) = watch::channel(Credit::default());
        let (stop, stopped) = oneshot::channel();
        let link = Self { context, session, handle, settled, sent: 0, credit: granted, echoed: 0, stop: stopped };
        (link, Control { credit, stop })
    }

    /// Runs until the peer detaches or the link has to end, and says so.
    pub(super) async fn run(mut self, source: Source) {
        let ended = match source {
            Source::Node(mut answers) => self.answer(&mut answers).await,
            Source::Partition { log, hub, partition, start, place } => {
                self.read(log, &hub, partition, start, place).await
            }
        };
        if let Ok(error) = ended {
            let _ = self.session.detach(self.handle, error.as_ref()).await;
        }
    }

    async fn answer(&mut self, answers: &mut mpsc::Receiver<(Instant, Bytes)>) -> Result<Option<Bytes>, Gone> {
        loop {
            let ready = self.available() > 0;
            tokio::select! {
                stopped = &mut self.stop => return stopped.map(|()| None).map_err(|_| Gone),
                changed = self.credit.changed() => {
                    changed.map_err(|_| Gone)?;
                    self.echo().await?;
                }
                answer = answers.recv(), if ready => {
                    let (due, answer) = answer.ok_or(Gone)?;
                    tokio::time::sleep_until(due).await;
                    self.send(&answer).await?;
                }
            }
        }
    }

    async fn read(
        &mut self,
        log: Arc<dyn HubLog>,
        hub: &str,
        partition: u32,
        start: Position,
        mut place: Place,
    ) -> Result<Option<Bytes>, Gone> {
        let mut orders = self.context.shared.faults.orders();
        let mut end = log.watch(partition);
        let mut next = match blocking(&log, move |log| log.seek(partition, start)).await {
            Ok(next) => next,
            Err(error) => return Ok(Some(error)),
        };
        let mut events: VecDeque<StoredEvent> = VecDeque::new();
        loop {
            self.credit.borrow_and_update();
            end.borrow_and_update();
            let available = self.available();
            if events.is_empty() && available > 0 {
                let most = READ_EVENTS.min(available as usize);
                match blocking(&log, move |log| log.read(partition, next, most, READ_BYTES)).await {
                    Ok(read) => events.extend(read),
                    Err(error) => return Ok(Some(error)),
                }
            }
            let ready = available > 0 && !events.is_empty();
            if !ready {
                self.echo().await?;
            }
            tokio::select! {
                biased;
                stopped = &mut self.stop => return stopped.map(|()| None).map_err(|_| Gone),
                why = &mut place.displaced => return Ok(Some(frame::error(STOLEN, &why.unwrap_or_default()))),
                order = orders.recv() => if let Some(error) = detaching(order, hub, partition) {
                    return Ok(Some(error));
                },
                changed = self.credit.changed(), if !ready => changed.map_err(|_| Gone)?,
                _ = end.changed(), if !ready && available > 0 => {}
                () = self.session.window(), if ready => {
                    for _ in 0..BURST.min(self.available() as usize) {
                        let Some(event) = events.pop_front() else { break };
                        next = event.sequence + 1;
                        self.send(&message::delivery(&event)).await?;
                        if self.context.shared.faults.delivered() {
                            self.context.out.cut().await;
                            return Err(Gone);
                        }
                    }
                }
            }
        }
    }

    async fn send(&mut self, message: &Bytes) -> Result<(), Gone> {
        self.session.deliver(self.handle, self.settled, message).await?;
        self.sent = self.sent.wrapping_add(1);
        Ok(())
    }

    /// Deliveries that the peer takes.
    fn available(&self) -> u32 {
        let left = self.credit.borrow().limit.wrapping_sub(self.sent);
        // Beyond half of the circle it is behind: the peer took credit back.
        if left > u32::MAX / 2 { 0 } else { left }
    }

    /// Answers a flow that asks for it, and uses up the credit of a peer that drains.
    async fn echo(&mut self) -> Result<(), Gone> {
        let credit = *self.credit.borrow();
        let drained = credit.drain && self.available() > 0;
        if drained {
            self.sent = credit.limit;
        }
        if !drained && credit.echoes == self.echoed {
            return Ok(());
        }
        self.echoed = credit.echoes;
        let flow =
            LinkFlow { handle: self.handle, delivery_count: self.sent, credit: self.available(), drain: credit.drain };
        self.session.flow(Some(flow)).await
    }
}

/// A call that may wait for a disk. The error is what the link ends with.
async fn blocking<T: Send + 'static>(
    log: &Arc<dyn HubLog>,
    call: impl FnOnce(&dyn HubLog) -> Result<T, crate::log::LogError> + Send + 'static,
) -> Result<T, Bytes> {
    let log = Arc::clone(log);
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "cannot read events");
        frame::error("amqp:internal-error", "the events cannot be read")
    };
    match tokio::task::spawn_blocking(move || call(&*log)).await {
        Ok(result) => result.map_err(|error| failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

fn detaching(order: Result<Order, RecvError>, hub: &str, partition: u32) -> Option<Bytes> {
    match order {
        Ok(Order::DetachReaders { hub: of, partition: at, condition }) if of == hub && at == partition => {
            Some(frame::error(&condition, "detached by order"))
        }
        _ => None,
    }
}
