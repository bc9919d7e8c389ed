//! What the addresses and filters of links say.

use bytes::Bytes;

use crate::{amqp::decode, limits::MAX_GROUP_NAME, log::Position};

/// What a link is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Cbs,
    Management,
    /// Where events are sent.
    Producer {
        hub: String,
        partition: Option<u32>,
    },
    /// Where events come from.
    Reader {
        hub: String,
        group: String,
        partition: u32,
    },
}

impl Address {
    /// Reads `[scheme://host/]hub[/…]`. The names come out in small letters: they are compared without case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => text,
        };
        let path = path.to_ascii_lowercase();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let own = |name: &str| name.to_owned();
        match segments[..] {
            ["$cbs"] => Some(Self::Cbs),
            [.., "$management"] if segments.len() <= 2 => Some(Self::Management),
            [hub] => Some(Self::Producer { hub: own(hub), partition: None }),
            [hub, "partitions", partition] => {
                Some(Self::Producer { hub: own(hub), partition: Some(partition.parse().ok()?) })
            }
            [hub, "consumergroups", group, "partitions", partition] if group.len() <= MAX_GROUP_NAME => {
                Some(Self::Reader { hub: own(hub), group: own(group), partition: partition.parse().ok()? })
            }
            _ => None,
        }
    }
}

const SELECTOR: &str = "apache.org:selector-filter:string";

/// The start that a filter set asks for. None: the filter is not understood.
///
/// The Rust SDK describes the selector by a number, the Python SDK by a symbol; only the key and the text count.
pub(crate) fn position(filters: Option<&Bytes>) -> Option<Position> {
    let Some(filter) = filters.and_then(|filters| decode::entry(filters, SELECTOR)) else {
        return Some(Position::Earliest);
    };
    let value = decode::described(&filter).map_or(filter, |(_, value)| value);
    selector(decode::text(&value)?)
}

/// `amqp.annotation.x-opt-… > '…'`, or `>=`.
fn selector(text: &str) -> Option<Position> {
    let (name, rest) = text.split_once('>')?;
    let name = name.trim().strip_prefix("amqp.annotation.")?;
    let (inclusive, rest) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
    let value = rest.trim();
    let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
    match (name, value) {
        ("x-opt-offset", "@latest") => Some(Position::Latest),
        ("x-opt-offset", "-1") => Some(Position::Earliest),
        ("x-opt-offset", _) => Some(Position::Offset { value: value.parse().ok()?, inclusive }),
        ("x-opt-sequence-number", _) => Some(Position::Sequence { value: value.parse().ok()?, inclusive }),
        ("x-opt-enqueued-time", _) => Some(Position::Enqueued { milliseconds: value.parse().ok()?, inclusive }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let producer = |partition| Some(Address::Producer { hub: "eh".to_owned(), partition });
        assert_eq!(Address::parse("amqps://ns/EH"), producer(None));
        assert_eq!(Address::parse("/eh/Partitions/3"), producer(Some(3)));
        assert_eq!(Address::parse("eh"), producer(None));
        let reader = Address::Reader { hub: "eh".to_owned(), group: "$default".to_owned(), partition: 1 };
        assert_eq!(Address::parse("amqps://ns:5671/eh/ConsumerGroups/$Default/Partitions/1"), Some(reader));
        assert_eq!(Address::parse("$cbs"), Some(Address::Cbs));
        assert_eq!(Address::parse("$management"), Some(Address::Management));
        assert_eq!(Address::parse("amqps://ns/eh/$management"), Some(Address::Management));
        for wrong in
            ["", "amqps://ns", "a/b", "eh/Partitions/x", "eh/Partitions/-1", "eh/ConsumerGroups/g", "a/b/c/d/e/f"]
        {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn selectors() {
        let of = |text: &str| selector(&format!("amqp.annotation.{text}"));
        assert_eq!(of("x-opt-offset > '-1'"), Some(Position::Earliest));
        assert_eq!(of("x-opt-offset > '@latest'"), Some(Position::Latest));
        assert_eq!(of("x-opt-offset >= '64'"), Some(Position::Offset { value: 64, inclusive: true }));
        assert_eq!(of("x-opt-sequence-number > '5'"), Some(Position::Sequence { value: 5, inclusive: false }));
        assert_eq!(of("x-opt-enqueued-time >='7'"), Some(Position::Enqueued { milliseconds: 7, inclusive: true }));
        for wrong in ["x-opt-offset < '1'", "x-opt-other > '1'", "x-opt-sequence-number > 'x'", "x-opt-offset > "] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!((selector(""), position(None)), (None, Some(Position::Earliest)));
    }
}
