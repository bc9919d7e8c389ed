//! Frames: the unit that comes and goes. Every performative that is sent has all of its fields, so that the Python SDK,
//! which reads them by position, finds each.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Malformed, code, decode, encode};
use crate::limits::MAX_FRAME;

pub(crate) const AMQP: u8 = 0;
pub(crate) const SASL: u8 = 1;
/// What a transfer performative takes of a frame, at most.
const TRANSFER_ROOM: usize = 128;
const HEADER: usize = 8;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    /// Performative and payload; empty in a heartbeat.
    pub(crate) body: Bytes,
}

/// A performative and what follows it in the frame.
#[derive(Debug)]
pub(crate) struct Performative {
    pub(crate) code: u64,
    fields: Vec<Bytes>,
    pub(crate) payload: Bytes,
}

impl Performative {
    pub(crate) fn decode(mut body: Bytes) -> Result<Self, Malformed> {
        let (code, list) = decode::take_described(&mut body)?;
        Ok(Self { code, fields: decode::elements(&list)?, payload: body })
    }

    /// The field at a position, if it is there and not null.
    pub(crate) fn field(&self, index: usize) -> Option<&Bytes> {
        self.fields.get(index).filter(|field| !decode::is_null(field))
    }

    pub(crate) fn uint(&self, index: usize) -> Option<u32> {
        self.field(index).and_then(|field| decode::uint(field))
    }

    pub(crate) fn boolean(&self, index: usize) -> bool {
        self.field(index).and_then(|field| decode::boolean(field)).unwrap_or(false)
    }
}

/// Takes frames from a stream. Holds one frame at most.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new() }
    }

    /// The eight bytes that open a protocol: id, major, minor, revision.
    pub(crate) async fn protocol(&mut self) -> io::Result<[u8; 4]> {
        self.fill(HEADER).await?;
        let mut header = [0; HEADER];
        self.buffer.copy_to_slice(&mut header);
        match header {
            [b'A', b'M', b'Q', b'P', id, major, minor, revision] => Ok([id, major, minor, revision]),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not AMQP")),
        }
    }

    /// The next frame. An error of kind `InvalidData` says that it is none, or too large.
    pub(crate) async fn next(&mut self) -> io::Result<Frame> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        self.fill(HEADER).await?;
        let size = u32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]) as usize;
        if !(HEADER..=MAX_FRAME as usize).contains(&size) {
            return Err(invalid("a frame is larger than was agreed"));
        }
        self.fill(size).await?;
        let mut frame = self.buffer.split_to(size).freeze();
        let (offset, kind, channel) = (usize::from(frame[4]) * 4, frame[5], u16::from_be_bytes([frame[6], frame[7]]));
        if !(HEADER..=size).contains(&offset) {
            return Err(invalid("a frame begins after its end"));
        }
        frame.advance(offset);
        Ok(Frame { kind, channel, body: frame })
    }

    async fn fill(&mut self, size: usize) -> io::Result<()> {
        while self.buffer.len() < size {
            self.buffer.reserve((MAX_FRAME as usize).max(size) - self.buffer.len());
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// A frame of one performative without payload.
pub(crate) fn performative(kind: u8, channel: u16, descriptor: u8, fields: &encode::List) -> Bytes {
    let fields = fields.finish();
    let mut bytes = BytesMut::with_capacity(HEADER + 3 + fields.len());
    header(&mut bytes, HEADER + 3 + fields.len(), kind, channel);
    encode::described(&mut bytes, descriptor, &fields);
    bytes.freeze()
}

pub(crate) fn heartbeat() -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER);
    header(&mut bytes, HEADER, AMQP, 0);
    bytes.freeze()
}

/// `amqp:error`, described, as it stands in detach, close and rejected.
pub(crate) fn error(condition: &str, description: &str) -> Bytes {
    let mut fields = encode::List::default();
    fields.symbol(condition).string(description).null();
    let mut bytes = BytesMut::new();
    encode::described(&mut bytes, code::ERROR, &fields.finish());
    bytes.freeze()
}

/// Payload bytes that fit into one frame for a peer that takes frames of `max_frame`.
pub(crate) fn transfer_payload(max_frame: usize) -> usize {
    max_frame.saturating_sub(TRANSFER_ROOM).max(1)
}

/// One transfer frame of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer<'a> {
    pub(crate) channel: u16,
    pub(crate) handle: u32,
    pub(crate) delivery: u32,
    pub(crate) settled: bool,
    pub(crate) more: bool,
    pub(crate) payload: &'a [u8],
}

impl Transfer<'_> {
    pub(crate) fn encode(&self) -> Bytes {
        let mut fields = encode::List::default();
        fields.uint(self.handle).uint(self.delivery).binary(&self.delivery.to_be_bytes()).uint(0);
        fields.boolean(self.settled).boolean(self.more).null().null();
        fields.boolean(false).boolean(false).boolean(true);
        let fields = fields.finish();
        let size = HEADER + 3 + fields.len() + self.payload.len();
        let mut bytes = BytesMut::with_capacity(size);
        header(&mut bytes, size, AMQP, self.channel);
        encode::described(&mut bytes, code::TRANSFER, &fields);
        bytes.put_slice(self.payload);
        bytes.freeze()
    }
}

fn header(bytes: &mut BytesMut, size: usize, kind: u8, channel: u16) {
    bytes.put_u32(size as u32);
    bytes.put_slice(&[2, kind]);
    bytes.put_u16(channel);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut reader, mut frames) = (FrameReader::new(bytes), Vec::new());
            loop {
                match reader.next().await {
                    Ok(frame) => frames.push(frame),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(frames),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    #[test]
    fn frames_come_back_and_lies_about_their_size_do_not() {
        let mut fields = encode::List::default();
        fields.uint(9).null().boolean(true);
        let mut bytes = performative(AMQP, 7, code::FLOW, &fields).to_vec();
        bytes.extend_from_slice(&heartbeat());
        let transfer = Transfer { channel: 1, handle: 2, delivery: 3, settled: false, more: true, payload: b"body" };
        bytes.extend_from_slice(&transfer.encode());
        let frames = read(&bytes).unwrap();
        let flow = Performative::decode(frames[0].body.clone()).unwrap();
        assert_eq!(
            (frames[0].channel, flow.code, flow.uint(0), flow.uint(1)),
            (7, u64::from(code::FLOW), Some(9), None)
        );
        assert!(flow.boolean(2) && !flow.boolean(40) && frames[1].body.is_empty());
        let transfer = Performative::decode(frames[2].body.clone()).unwrap();
        assert_eq!((transfer.uint(0), transfer.uint(1), transfer.boolean(5)), (Some(2), Some(3), true));
        assert_eq!(transfer.payload, &b"body"[..]);
        assert!(transfer.fields.len() == 11, "the Python SDK reads fields by position");
        for lie in
            [[0, 0, 0, 7, 2, 0, 0, 0], [0xff, 0, 0, 0, 2, 0, 0, 0], [0, 0, 0, 8, 3, 0, 0, 0], [0, 0, 0, 8, 1, 0, 0, 0]]
        {
            assert!(read(&lie).is_err(), "{lie:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(frames) = read(&bytes) {
                for frame in frames {
                    let _ = Performative::decode(frame.body);
                }
            }
            let _ = Performative::decode(Bytes::from(bytes));
        }
    }
}
