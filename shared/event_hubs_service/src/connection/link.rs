//! What links of one session share on their way out: numbers that must rise in the order in which frames leave, and the
//! window of frames that the peer takes.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Gone, writer::Out};
use crate::{
    amqp::{
        code, encode,
        frame::{Transfer, transfer_payload},
    },
    limits::INCOMING_WINDOW,
};

#[derive(Debug)]
pub(super) struct SessionOut {
    channel: u16,
    out: Out,
    /// Held while a delivery leaves, so that ids rise and frames of two deliveries do not mix. The value is the next
    /// delivery's id.
    order: tokio::sync::Mutex<u32>,
    sent: Mutex<Sent>,
    changed: Notify,
    /// The session is over: nothing more may be said on it.
    over: AtomicBool,
    /// Transfers that came, as the peer counts them.
    pub(super) next_incoming: AtomicU32,
}

#[derive(Debug)]
struct Sent {
    next_outgoing: u32,
    /// Frames that the peer takes from now on.
    window: u32,
}

/// What a flow says about the peer's window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) next_incoming: Option<u32>,
    pub(super) size: u32,
}

/// What a flow says about a link of ours.
#[derive(Debug)]
pub(super) struct LinkFlow {
    pub(super) handle: u32,
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) drain: bool,
}

impl SessionOut {
    pub(super) fn new(channel: u16, out: Out, next_incoming: u32, window: u32) -> Self {
        Self {
            channel,
            out,
            order: tokio::sync::Mutex::new(0),
            sent: Mutex::new(Sent { next_outgoing: 0, window }),
            changed: Notify::new(),
            over: AtomicBool::new(false),
            next_incoming: AtomicU32::new(next_incoming),
        }
    }

    pub(super) fn open_window(&self, window: &Window) {
        let mut sent = self.lock();
        // Frames that the peer had not seen when it wrote the flow are taken off.
        let under_way = sent.next_outgoing.wrapping_sub(window.next_incoming.unwrap_or(0));
        sent.window = window.size.saturating_sub(under_way);
        drop(sent);
        self.changed.notify_waiters();
    }

    /// Returns once the peer takes a frame, or the session is over. May be cancelled.
    pub(super) async fn window(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().window > 0 || self.over.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// Sends a message in as many frames as it takes. Must not be cancelled: a delivery without its end confuses peers.
    pub(super) async fn deliver(&self, handle: u32, settled: bool, message: &Bytes) -> Result<(), Gone> {
        let mut next_delivery = self.order.lock().await;
        let delivery = *next_delivery;
        *next_delivery = delivery.wrapping_add(1);
        let room = transfer_payload(self.out.max_frame);
        let pieces = message.len().div_ceil(room).max(1);
        for piece in 0..pieces {
            self.take_window().await?;
            let payload = message.slice(piece * room..message.len().min((piece + 1) * room));
            let more = piece + 1 < pieces;
            let transfer = Transfer { channel: self.channel, handle, delivery, settled, more, payload: &payload };
            self.out.frame(transfer.encode()).await?;
        }
        Ok(())
    }

    pub(super) async fn flow(&self, link: Option<LinkFlow>) -> Result<(), Gone> {
        let next_outgoing = self.lock().next_outgoing;
        let mut fields = encode::List::default();
        fields.uint(self.next_incoming.load(Ordering::Relaxed)).uint(INCOMING_WINDOW);
        fields.uint(next_outgoing).uint(INCOMING_WINDOW);
        match link {
            Some(link) => {
                fields.uint(link.handle).uint(link.delivery_count).uint(link.credit).uint(0).boolean(link.drain)
            }
            None => fields.nulls(4).boolean(false),
        };
        fields.boolean(false).null();
        self.performative(code::FLOW, &fields).await
    }

    /// Settles deliveries `first` to `last` with an outcome.
    pub(super) async fn settle(&self, first: u32, last: u32, outcome: &[u8]) -> Result<(), Gone> {
        let mut fields = encode::List::default();
        fields.boolean(true).uint(first).uint(last).boolean(true).raw(outcome).boolean(false);
        self.performative(code::DISPOSITION, &fields).await
    }

    pub(super) async fn detach(&self, handle: u32, error: Option<&Bytes>) -> Result<(), Gone> {
        let mut fields = encode::List::default();
        fields.uint(handle).boolean(true);
        match error {
            Some(error) => fields.raw(error),
            None => fields.null(),
        };
        self.performative(code::DETACH, &fields).await
    }

    /// Answers the end of the session, after the last frame of whatever was being sent.
    pub(super) async fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.changed.notify_waiters();
        let _last = self.order.lock().await;
        let mut fields = encode::List::default();
        fields.null();
        let _ = self.out.performative(self.channel, code::END, &fields).await;
    }

    pub(super) async fn performative(&self, code: u8, fields: &encode::List) -> Result<(), Gone> {
        if self.over.load(Ordering::Acquire) {
            return Err(Gone);
        }
        self.out.performative(self.channel, code, fields).await
    }

    async fn take_window(&self) -> Result<(), Gone> {
        loop {
            if self.over.load(Ordering::Acquire) {
                return Err(Gone);
            }
            let changed = self.changed.notified();
            {
                let mut sent = self.lock();
                if sent.window > 0 {
                    sent.window -= 1;
                    sent.next_outgoing = sent.next_outgoing.wrapping_add(1);
                    return Ok(());
                }
            }
            // The session may have ended between the look and the wait.
            if self.over.load(Ordering::Acquire) {
                return Err(Gone);
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
