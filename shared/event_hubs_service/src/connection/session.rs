//! One session: which links it has, and what came for which.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};

use super::{
    Context,
    incoming::{self, Delivery},
    link::{SessionOut, Window},
    nodes::Nodes,
    outgoing,
};
use crate::{
    address::{Address, position},
    amqp::{
        Malformed, code, decode, encode,
        frame::{self, Performative},
    },
    limits::{HANDLE_MAX, HANDSHAKE, INCOMING_WINDOW, MAX_MESSAGE, PRODUCER_CREDIT},
};

#[derive(Debug)]
pub(super) struct Session {
    context: Arc<Context>,
    out: Arc<SessionOut>,
    nodes: Nodes,
    links: HashMap<u32, Link>,
}

#[derive(Debug)]
enum Link {
    /// The peer sends.
    Incoming { arrivals: tokio::sync::mpsc::Sender<Delivery>, partial: Option<Partial> },
    /// The peer receives.
    Outgoing(outgoing::Control),
    /// Detached by us; what still comes for it is nobody's.
    Refused,
}

/// A message of which more frames are to come.
#[derive(Debug)]
struct Partial {
    delivery: u32,
    settled: bool,
    format: u32,
    message: BytesMut,
    too_large: bool,
    permit: OwnedSemaphorePermit,
}

impl Session {
    pub(super) async fn begin(context: Arc<Context>, channel: u16, begin: &Performative) -> Result<Self, Malformed> {
        let first = begin.uint(1).ok_or(Malformed("a begin without a next outgoing id"))?;
        let window = begin.uint(2).ok_or(Malformed("a begin without an incoming window"))?;
        let out = Arc::new(SessionOut::new(channel, context.out.clone(), first, window));
        let mut fields = encode::List::default();
        fields.ushort(channel).uint(0).uint(INCOMING_WINDOW).uint(INCOMING_WINDOW).uint(HANDLE_MAX).nulls(2);
        fields.raw(&encode::Map::with_symbol_keys().finish());
        // Nobody there to hear it: the next read says so.
        let _ = context.out.performative(channel, code::BEGIN, &fields).await;
        Ok(Self { context, out, nodes: Nodes::default(), links: HashMap::new() })
    }

    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    pub(super) async fn end(self) {
        // Links let go of what they are at; what they say afterwards is not sent.
        drop(self.links);
        self.out.end().await;
    }

    pub(super) async fn handle(
        &mut self,
        code: u8,
        performative: Performative,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), Malformed> {
        match code {
            code::ATTACH => self.attach(&performative, tasks).await,
            code::FLOW => self.flow(&performative).await,
            code::TRANSFER => self.transfer(performative).await,
            code::DETACH => self.detach(&performative).await,
            // Readers settle what they got; nobody waits for it.
            code::DISPOSITION => Ok(()),
            _ => Err(Malformed("an unknown performative")),
        }
    }

    async fn attach(&mut self, attach: &Performative, tasks: &mut JoinSet<()>) -> Result<(), Malformed> {
        let handle = attach.uint(1).ok_or(Malformed("an attach without a handle"))?;
        if handle > HANDLE_MAX || self.links.contains_key(&handle) {
            return Err(Malformed("a handle is taken or out of range"));
        }
        let peer_receives = attach.boolean(2);
        let end = attach.field(if peer_receives { 5 } else { 6 });
        let end = end.and_then(decode::described).map(|(_, list)| decode::elements(&list)).transpose()?;
        let end = end.unwrap_or_default();
        let address = end.first().and_then(|address| decode::text(address)).unwrap_or_default().to_owned();
        self.answer_attach(handle, peer_receives, attach).await;
        let filters = end.get(7);
        let linked = if peer_receives {
            self.outgoing(handle, &address, filters, attach, tasks)
        } else {
            self.incoming(handle, &address, attach, tasks)
        };
        let link = match linked {
            Ok(link) => link,
            Err((condition, description)) => {
                tracing::debug!(condition, description, "a link is refused");
                let _ = self.out.detach(handle, Some(&frame::error(condition, &description))).await;
                Link::Refused
            }
        };
        self.links.insert(handle, link);
        Ok(())
    }

    /// Refused or not, an attach is answered with one: only then may a detach say why.
    async fn answer_attach(&self, handle: u32, peer_receives: bool, attach: &Performative) {
        let null = Bytes::from_static(&[0x40]);
        let echo = |index| attach.field(index).unwrap_or(&null);
        let mut fields = encode::List::default();
        fields.raw(echo(0)).uint(handle).boolean(!peer_receives);
        match attach.field(3) {
            Some(mode) => fields.raw(mode),
            None => fields.ubyte(2),
        };
        // `first`, whatever the peer wants: a producer of the Python SDK asks for `second` and does not play it.
        fields.ubyte(0).raw(echo(5)).raw(echo(6)).null().boolean(false);
        if peer_receives {
            fields.uint(0)
        } else {
            fields.null()
        };
        fields.ulong(MAX_MESSAGE as u64).nulls(2).raw(&encode::Map::with_symbol_keys().finish());
        let _ = self.out.performative(code::ATTACH, &fields).await;
    }

    fn incoming(
        &mut self,
        handle: u32,
        address: &str,
        attach: &Performative,
        tasks: &mut JoinSet<()>,
    ) -> Result<Link, (&'static str, String)> {
        let purpose = match Address::parse(address) {
            Some(Address::Cbs) => incoming::Purpose::Cbs(self.nodes.clone()),
            Some(Address::Management) => incoming::Purpose::Management(self.nodes.clone()),
            Some(Address::Producer { hub, partition }) => {
                let found = self.hub(&hub, partition)?;
                self.authorized(address)?;
                incoming::Purpose::Producer { log: Arc::clone(&found.log), partition }
            }
            _ => return Err(not_found(address)),
        };
        let (arrivals, queue) = tokio::sync::mpsc::channel(PRODUCER_CREDIT as usize + 1);
        let received = attach.uint(9).unwrap_or(0);
        let link = incoming::Incoming::new(Arc::clone(&self.context), Arc::clone(&self.out), handle, received, purpose);
        tasks.spawn(link.run(queue));
        Ok(Link::Incoming { arrivals, partial: None })
    }

    fn outgoing(
        &mut self,
        handle: u32,
        address: &str,
        filters: Option<&Bytes>,
        attach: &Performative,
        tasks: &mut JoinSet<()>,
    ) -> Result<Link, (&'static str, String)> {
        let (source, target) = match Address::parse(address) {
            Some(address @ (Address::Cbs | Address::Management)) => {
                let target = attach.field(6).and_then(decode::described);
                let target = target.and_then(|(_, list)| decode::elements(&list).ok());
                let target = target.and_then(|fields| decode::text(fields.first()?).map(str::to_owned));
                (outgoing::Source::Node(self.nodes.answers(&address)), target.map(|target| (address, target)))
            }
            Some(Address::Reader { hub, group, partition }) => {
                let log = Arc::clone(&self.hub(&hub, Some(partition))?.log);
                self.authorized(address)?;
                let start = position(filters).ok_or_else(|| {
                    (
                        "amqp:invalid-field",
                        "the selector is not understood; it names an offset, a number or a time".to_owned(),
                    )
                })?;
                let epoch = attach.field(13).and_then(|map| decode::entry(map, "com.microsoft:epoch"));
                let epoch = epoch.and_then(|epoch| decode::signed(&epoch));
                let place = self.context.shared.readers.admit((hub.clone(), group, partition), epoch)?;
                (outgoing::Source::Partition { log, hub, partition, start, place }, None)
            }
            _ => return Err(not_found(address)),
        };
        if let (outgoing::Source::Node(_), Some((node, target))) = (&source, target) {
            self.nodes.name_last(&node, target);
        }
        let settled = attach.field(3).and_then(|mode| decode::unsigned(mode)) == Some(1);
        let (link, control) =
            outgoing::Outgoing::new(Arc::clone(&self.context), Arc::clone(&self.out), handle, settled);
        tasks.spawn(link.run(source));
        Ok(Link::Outgoing(control))
    }

    fn hub(&self, name: &str, partition: Option<u32>) -> Result<&crate::service::Hub, (&'static str, String)> {
        let Some(hub) = self.context.shared.hub(name) else {
            let known: Vec<&str> = self.context.shared.hubs.values().map(|hub| hub.name.as_str()).collect();
            return Err(("amqp:not-found", format!("there is no Event Hub {name:?}; known: {}", known.join(", "))));
        };
        match partition {
            Some(partition) if partition >= hub.log.partitions() => {
                let count = hub.log.partitions();
                Err(("amqp:not-found", format!("Event Hub {name:?} has the partitions 0 to {}", count - 1)))
            }
            _ => Ok(hub),
        }
    }

    fn authorized(&self, address: &str) -> Result<(), (&'static str, String)> {
        if self.context.may_use(address) {
            return Ok(());
        }
        Err(("amqp:unauthorized-access", format!("no token was put for {address:?}")))
    }

    async fn flow(&mut self, flow: &Performative) -> Result<(), Malformed> {
        let window = Window { next_incoming: flow.uint(0), size: flow.uint(1).unwrap_or(0) };
        self.out.open_window(&window);
        let echo = flow.boolean(9);
        let Some(handle) = flow.uint(4) else {
            if echo {
                let _ = self.out.flow(None).await;
            }
            return Ok(());
        };
        match self.links.get(&handle) {
            Some(Link::Outgoing(control)) => {
                let limit = flow.uint(5).unwrap_or(0).wrapping_add(flow.uint(6).unwrap_or(0));
                control.grant(limit, flow.boolean(8), echo);
            }
            Some(_) if echo => {
                let _ = self.out.flow(None).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn transfer(&mut self, transfer: Performative) -> Result<(), Malformed> {
        self.out.next_incoming.fetch_add(1, Ordering::Relaxed);
        let handle = transfer.uint(0).ok_or(Malformed("a transfer without a handle"))?;
        let Some(link) = self.links.get_mut(&handle) else {
            return Err(Malformed("a transfer is for a link that was not attached"));
        };
        let Link::Incoming { arrivals, partial } = link else { return Ok(()) };
        if transfer.boolean(9) {
            *partial = None;
            return Ok(());
        }
        let mut message = match partial.take() {
            None => Partial {
                delivery: transfer.uint(1).ok_or(Malformed("a delivery without an id"))?,
                settled: false,
                format: transfer.uint(3).unwrap_or(0),
                message: BytesMut::new(),
                too_large: false,
                permit: permit(&self.context, 0).await?,
            },
            Some(begun) => begun,
        };
        message.settled |= transfer.boolean(4);
        // Of a message that is too large the rest is let go; its producer is told at its end.
        message.too_large |= message.message.len() + transfer.payload.len() > MAX_MESSAGE;
        if message.too_large {
            message.message = BytesMut::new();
        } else {
            message.permit.merge(permit(&self.context, transfer.payload.len()).await?);
            message.message.extend_from_slice(&transfer.payload);
        }
        if transfer.boolean(5) {
            *partial = Some(message);
            return Ok(());
        }
        let Partial { delivery, settled, format, message, too_large, permit } = message;
        let message = (!too_large).then(|| message.freeze());
        // The queue has room for all that the credit allows.
        if arrivals.try_send(Delivery { delivery, settled, format, message, permit }).is_err() {
            return Err(Malformed("a producer sends more than it has credit for"));
        }
        Ok(())
    }

    async fn detach(&mut self, detach: &Performative) -> Result<(), Malformed> {
        let handle = detach.uint(0).ok_or(Malformed("a detach without a handle"))?;
        // The link's own task answers, after the last of what it sends.
        match self.links.remove(&handle) {
            Some(Link::Outgoing(control)) => control.stop(),
            Some(_) => {}
            None => return Err(Malformed("a detach is for a link that was not attached")),
        }
        Ok(())
    }
}

/// Waits for room among what the connection has on its way; a peer that fills it with halves of messages is stopped.
async fn permit(context: &Context, bytes: usize) -> Result<OwnedSemaphorePermit, Malformed> {
    let asked = Arc::clone(&context.budget).acquire_many_owned(bytes as u32);
    let stuck = Malformed("too many messages were begun and not ended");
    tokio::time::timeout(HANDSHAKE, asked).await.map_err(|_| stuck)?.map_err(|_| stuck)
}

fn not_found(address: &str) -> (&'static str, String) {
    let shown: String = address.chars().take(256).collect();
    ("amqp:not-found", format!("there is nothing at {shown:?}"))
}
