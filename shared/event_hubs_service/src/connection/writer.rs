//! The one task that writes to the socket.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWriteExt, net::tcp::OwnedWriteHalf, sync::mpsc};

use super::Gone;
use crate::{
    amqp::{
        encode,
        frame::{self, AMQP},
    },
    limits::OUTGOING_FRAMES,
};

/// What one write takes together.
const WRITE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) enum Outbound {
    Frame(Bytes),
    /// Write what came before, then let the socket go.
    Cut,
}

/// The way to the socket.
#[derive(Debug, Clone)]
pub(super) struct Out {
    frames: mpsc::Sender<Outbound>,
    /// The largest frame that the peer takes.
    pub(super) max_frame: usize,
}

pub(super) fn channel(max_frame: usize) -> (Out, mpsc::Receiver<Outbound>) {
    let (frames, queue) = mpsc::channel(OUTGOING_FRAMES);
    (Out { frames, max_frame }, queue)
}

impl Out {
    pub(super) async fn frame(&self, frame: Bytes) -> Result<(), Gone> {
        self.frames.send(Outbound::Frame(frame)).await.map_err(|_| Gone)
    }

    pub(super) async fn performative(&self, channel: u16, code: u8, fields: &encode::List) -> Result<(), Gone> {
        self.frame(frame::performative(AMQP, channel, code, fields)).await
    }

    pub(super) async fn cut(&self) {
        let _ = self.frames.send(Outbound::Cut).await;
    }
}

/// Writes until everybody who could say something is gone. A peer that asked for signs of life gets them.
pub(super) async fn run(
    mut socket: OwnedWriteHalf,
    mut frames: mpsc::Receiver<Outbound>,
    idle: Option<Duration>,
) -> io::Result<()> {
    let (mut waiting, mut buffer) = (Vec::new(), BytesMut::new());
    loop {
        let some = frames.recv_many(&mut waiting, OUTGOING_FRAMES);
        let count = match idle {
            None => some.await,
            Some(idle) => match tokio::time::timeout(idle, some).await {
                Ok(count) => count,
                Err(_) => {
                    socket.write_all(&frame::heartbeat()).await?;
                    continue;
                }
            },
        };
        if count == 0 {
            return socket.shutdown().await;
        }
        for outbound in waiting.drain(..) {
            match outbound {
                Outbound::Frame(frame) => {
                    buffer.extend_from_slice(&frame);
                    if buffer.len() >= WRITE_BYTES {
                        socket.write_all(&buffer).await?;
                        buffer.clear();
                    }
                }
                Outbound::Cut => {
                    socket.write_all(&buffer).await?;
                    return Err(io::Error::other("cut by order"));
                }
            }
        }
        socket.write_all(&buffer).await?;
        buffer.clear();
    }
}
