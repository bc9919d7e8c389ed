//! How a connection begins: protocol headers, SASL, open.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    amqp::{
        code, encode,
        frame::{self, FrameReader, Performative},
    },
    limits::{CHANNEL_MAX, IDLE, MAX_FRAME},
};

const PLAIN_AMQP: u8 = 0;
const SASL: u8 = 3;
/// The smallest that the protocol allows a peer to ask for.
const MIN_FRAME: usize = 512;
/// `ANONYMOUS` for most SDKs, `MSSBCBS` for .NET's: both say that tokens come later, to `$cbs`.
const MECHANISMS: [&str; 2] = ["MSSBCBS", "ANONYMOUS"];

/// What the client said of itself.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) max_frame: usize,
    /// How often it wants to hear something.
    pub(super) idle: Option<Duration>,
}

pub(super) async fn open<R, W>(reader: &mut FrameReader<R>, writer: &mut W) -> io::Result<Peer>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut protocol = reader.protocol().await?;
    if protocol[0] == SASL {
        authenticate(reader, writer).await?;
        protocol = reader.protocol().await?;
    }
    writer.write_all(&header(PLAIN_AMQP)).await?;
    if protocol != [PLAIN_AMQP, 1, 0, 0] {
        // The answer to every other protocol, TLS among them, is the one that is spoken here.
        return Err(invalid("another protocol than AMQP 1.0"));
    }
    let frame = reader.next().await?;
    let open = Performative::decode(frame.body).map_err(|error| invalid(error.0))?;
    if frame.kind != frame::AMQP || open.code != u64::from(code::OPEN) {
        return Err(invalid("a connection begins with something else than open"));
    }
    writer.write_all(&answer()).await?;
    let max_frame = open.uint(2).map_or(MAX_FRAME, |size| size.min(MAX_FRAME)) as usize;
    // Half of what it asks for, so that a slow moment is no loss.
    let idle = open.uint(4).filter(|idle| *idle > 0).map(|idle| Duration::from_millis(u64::from(idle / 2).max(50)));
    Ok(Peer { max_frame: max_frame.max(MIN_FRAME), idle })
}

async fn authenticate<R, W>(reader: &mut FrameReader<R>, writer: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut fields = encode::List::default();
    fields.raw(&encode::symbols(&MECHANISMS));
    writer.write_all(&header(SASL)).await?;
    writer.write_all(&frame::performative(frame::SASL, 0, code::SASL_MECHANISMS, &fields)).await?;
    let frame = reader.next().await?;
    let init = Performative::decode(frame.body).map_err(|error| invalid(error.0))?;
    let chosen = init.field(0).and_then(|mechanism| crate::amqp::decode::text(mechanism)).unwrap_or_default();
    let known = init.code == u64::from(code::SASL_INIT) && MECHANISMS.contains(&chosen);
    let mut outcome = encode::List::default();
    // 1: authentication failed.
    outcome.ubyte(u8::from(!known)).null();
    writer.write_all(&frame::performative(frame::SASL, 0, code::SASL_OUTCOME, &outcome)).await?;
    if known { Ok(()) } else { Err(invalid("a SASL mechanism that is not offered")) }
}

fn answer() -> bytes::Bytes {
    let mut fields = encode::List::default();
    fields.string("event_hubs_service").null().uint(MAX_FRAME).ushort(CHANNEL_MAX).uint(IDLE.as_millis() as u32);
    fields.nulls(4).raw(&encode::Map::with_symbol_keys().finish());
    frame::performative(frame::AMQP, 0, code::OPEN, &fields)
}

fn header(protocol: u8) -> [u8; 8] {
    [b'A', b'M', b'Q', b'P', protocol, 1, 0, 0]
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
