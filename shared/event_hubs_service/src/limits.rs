//! What a peer can make the service hold. Loopback or not, everything that comes from outside has an end.

use std::time::Duration;

/// The largest message that a link takes, as Event Hubs has it.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// The longest partition key.
pub const MAX_PARTITION_KEY: usize = 128;

pub(crate) const MAX_FRAME: u32 = 64 * 1024;
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// Sessions of one connection: channels 0 to this.
pub(crate) const CHANNEL_MAX: u16 = 255;
/// Links of one session: handles 0 to this. Not 2^32-1, which encoders leave out as the default.
pub(crate) const HANDLE_MAX: u32 = 255;
pub(crate) const MAX_LINKS: usize = 1024;
/// Bytes of messages that one connection sent and that are not stored yet; half of them may be messages that are not
/// whole.
pub(crate) const CONNECTION_BYTES: usize = 32 * 1024 * 1024;
/// Messages that a producer may send ahead of their settlement.
pub(crate) const PRODUCER_CREDIT: u32 = 64;
/// Frames that wait for one connection's socket: 4 MiB at most.
pub(crate) const OUTGOING_FRAMES: usize = 64;
pub(crate) const INCOMING_WINDOW: u32 = 65_536;
/// Events that a reader takes from the log at once.
pub(crate) const READ_EVENTS: usize = 256;
pub(crate) const READ_BYTES: usize = 512 * 1024;
/// Readers without an epoch on one partition in one group, as Event Hubs has it.
pub(crate) const MAX_READERS: usize = 5;
pub(crate) const MAX_GROUP_NAME: usize = 256;
/// Answers of `$cbs` or `$management` that wait for one link.
pub(crate) const NODE_ANSWERS: usize = 16;
/// Audiences that one connection may hold tokens for.
pub(crate) const MAX_TOKENS: usize = 1024;
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// As Event Hubs announces it; a peer that is silent for twice as long is gone.
pub(crate) const IDLE: Duration = Duration::from_secs(240);
