//! One connection: frames come in here and go to the link that they are for.
//!
//! Each link has a task, so that a reader that takes nothing holds up nobody. What a link wants to say goes through one
//! bounded queue to the socket.

mod handshake;
mod incoming;
mod link;
mod nodes;
mod outgoing;
mod session;
mod writer;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet};

use crate::{
    amqp::{
        Malformed, code, encode,
        frame::{self, FrameReader, Performative},
    },
    faults::Order,
    limits::{CHANNEL_MAX, CONNECTION_BYTES, HANDSHAKE, IDLE, MAX_LINKS, MAX_TOKENS},
    sas::is_part_of,
    service::Shared,
};
use session::Session;
use writer::Out;

/// The connection, the session or the link is no more: whoever wanted to say something on it may stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone;

/// What the last of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves a client until it leaves, breaks the protocol, or is cut off by order.
pub(crate) async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let mut orders = shared.faults.orders();
    let dropped = async {
        while !matches!(orders.recv().await, Ok(Order::Drop) | Err(tokio::sync::broadcast::error::RecvError::Closed)) {}
    };
    tokio::select! {
        () = dropped => {}
        result = talk(socket, &shared) => if let Err(error) = result {
            tracing::debug!(%error, "a connection ended");
        },
    }
}

async fn talk(socket: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.into_split();
    let mut reader = FrameReader::new(read);
    let opening = handshake::open(&mut reader, &mut write);
    let peer = tokio::time::timeout(HANDSHAKE, opening).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (out, frames) = writer::channel(peer.max_frame);
    let writing = writer::run(write, frames, peer.idle);
    tokio::pin!(writing);
    let mut connection = Connection::new(Arc::clone(shared), out);
    let ended = tokio::select! {
        result = &mut writing => return result,
        result = connection.run(&mut reader) => result,
    };
    // What came whole is still stored, and what was said last, a close, still written.
    let finishing = async { tokio::join!(connection.finish(), writing).1 };
    tokio::time::timeout(FAREWELL, finishing).await.map_err(|_| io::ErrorKind::TimedOut)??;
    ended
}

/// What sessions and links of one connection share.
#[derive(Debug)]
struct Context {
    shared: Arc<Shared>,
    out: Out,
    /// Bytes of messages on their way into the log.
    budget: Arc<Semaphore>,
    /// Paths that the client showed a good token for.
    tokens: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Connection {
    context: Arc<Context>,
    sessions: HashMap<u16, Session>,
    tasks: JoinSet<()>,
}

impl Connection {
    fn new(shared: Arc<Shared>, out: Out) -> Self {
        let context =
            Context { shared, out, budget: Arc::new(Semaphore::new(CONNECTION_BYTES)), tokens: Mutex::default() };
        Self { context: Arc::new(context), sessions: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Handles frames until the peer closes. A peer that breaks the protocol is told so with the close.
    async fn run<R: tokio::io::AsyncRead + Unpin>(&mut self, reader: &mut FrameReader<R>) -> io::Result<()> {
        loop {
            let next = tokio::time::timeout(IDLE * 2, reader.next()).await;
            let frame = match next {
                Err(_) => return self.close("amqp:resource-limit-exceeded", "nothing was heard for too long").await,
                Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.close("amqp:connection:framing-error", &error.to_string()).await;
                }
                Ok(frame) => frame?,
            };
            if frame.body.is_empty() {
                continue;
            }
            while self.tasks.try_join_next().is_some() {}
            let handled = match Performative::decode(frame.body) {
                Ok(performative) if frame.kind == frame::AMQP => self.handle(frame.channel, performative).await,
                Ok(_) => Err(Malformed("a frame is of another kind than AMQP")),
                Err(error) => Err(error),
            };
            match handled {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return self.close("amqp:decode-error", &error.to_string()).await,
            }
        }
    }

    /// False: the peer has closed the connection.
    async fn handle(&mut self, channel: u16, performative: Performative) -> Result<bool, Malformed> {
        let code = u8::try_from(performative.code).unwrap_or_default();
        match code {
            code::CLOSE => {
                let _ = self.context.out.performative(0, code::CLOSE, encode::List::default().null()).await;
                return Ok(false);
            }
            code::BEGIN => {
                if channel > CHANNEL_MAX || self.sessions.contains_key(&channel) {
                    return Err(Malformed("a session begins on a channel that is taken or out of range"));
                }
                let session = Session::begin(Arc::clone(&self.context), channel, &performative).await?;
                self.sessions.insert(channel, session);
            }
            code::END => {
                if let Some(session) = self.sessions.remove(&channel) {
                    session.end().await;
                }
            }
            code::ATTACH if self.links() >= MAX_LINKS => return Err(Malformed("a connection has too many links")),
            _ => {
                let Some(session) = self.sessions.get_mut(&channel) else {
                    return Err(Malformed("a frame is for a session that was not begun"));
                };
                session.handle(code, performative, &mut self.tasks).await?;
            }
        }
        Ok(true)
    }

    /// Lets links come to their end. With the connection go all ways to the socket.
    async fn finish(mut self) {
        self.sessions.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn close(&self, condition: &str, description: &str) -> io::Result<()> {
        tracing::debug!(condition, description, "a connection is closed");
        let mut fields = encode::List::default();
        fields.raw(&frame::error(condition, description));
        let _ = self.context.out.performative(0, code::CLOSE, &fields).await;
        Ok(())
    }

    fn links(&self) -> usize {
        self.sessions.values().map(Session::links).sum()
    }
}

impl Context {
    /// Notes that the client may use an audience and what is below it.
    fn authorize(&self, audience: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path_of(audience);
        if tokens.len() < MAX_TOKENS && !tokens.contains(&path) {
            tokens.push(path);
        }
    }

    /// Without a key everybody may do everything.
    fn may_use(&self, address: &str) -> bool {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path_of(address);
        self.shared.key.is_none() || tokens.iter().any(|token| is_part_of(&path, token))
    }
}

/// Hosts do not count: a client may know the service under several names.
fn path_of(address: &str) -> String {
    let path = address.split_once("://").map_or(address, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    path.trim_matches('/').to_ascii_lowercase()
}
