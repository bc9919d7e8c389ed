//! Who reads which partition in which group: epochs (owner levels) and the limit of readers without one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use crate::limits::MAX_READERS;

/// Hub, group and partition, in small letters.
pub(crate) type ReaderKey = (String, String, u32);

#[derive(Debug, Default)]
pub(crate) struct Readers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    readers: HashMap<ReaderKey, Vec<Reader>>,
}

#[derive(Debug)]
struct Reader {
    id: u64,
    epoch: Option<i64>,
    displaced: oneshot::Sender<String>,
}

/// A place among the readers, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    readers: Arc<Readers>,
    key: ReaderKey,
    id: u64,
    /// Says why, when another reader took the place.
    pub(crate) displaced: oneshot::Receiver<String>,
}

/// Condition and description of a refusal.
pub(crate) type Refusal = (&'static str, String);

pub(crate) const STOLEN: &str = "amqp:link:stolen";

impl Readers {
    /// An epoch at or above the present one takes the partition and sends everybody else away; a lower one, or none while
    /// there is one, is refused.
    pub(crate) fn admit(self: &Arc<Self>, key: ReaderKey, epoch: Option<i64>) -> Result<Place, Refusal> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.next_id += 1;
        let id = inner.next_id;
        let present = inner.readers.entry(key.clone()).or_default();
        let highest = present.iter().filter_map(|reader| reader.epoch).max();
        match (epoch, highest) {
            (None, Some(highest)) => {
                return Err((
                    STOLEN,
                    format!("a receiver with epoch '{highest}' exists; one without cannot be created"),
                ));
            }
            (Some(epoch), Some(highest)) if epoch < highest => {
                return Err((
                    STOLEN,
                    format!("a receiver with a higher epoch '{highest}' exists; epoch '{epoch}' cannot be created"),
                ));
            }
            (None, None) if present.len() >= MAX_READERS => {
                let description = format!("exceeded the {MAX_READERS} receivers per partition in a consumer group");
                return Err(("amqp:resource-limit-exceeded", description));
            }
            (Some(epoch), _) => {
                for reader in present.drain(..) {
                    let _ = reader.displaced.send(format!("a new receiver with epoch '{epoch}' was created"));
                }
            }
            (None, None) => {}
        }
        let (displaced, told) = oneshot::channel();
        present.push(Reader { id, epoch, displaced });
        Ok(Place { readers: Arc::clone(self), key, id, displaced: told })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.readers.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = inner.readers.get_mut(&self.key) {
            present.retain(|reader| reader.id != self.id);
            if present.is_empty() {
                inner.readers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str) -> ReaderKey {
        ("hub".to_owned(), group.to_owned(), 0)
    }

    #[test]
    fn epochs_displace_and_refuse() {
        let readers = Arc::new(Readers::default());
        let mut plain = readers.admit(key("a"), None).unwrap();
        let mut third = readers.admit(key("a"), Some(3)).unwrap();
        assert!(plain.displaced.try_recv().is_ok(), "an epoch sends those without away");
        assert_eq!(readers.admit(key("a"), None).unwrap_err().0, STOLEN);
        assert_eq!(readers.admit(key("a"), Some(2)).unwrap_err().0, STOLEN);
        assert!(readers.admit(key("b"), None).is_ok(), "another group has readers of its own");
        let equal = readers.admit(key("a"), Some(3)).unwrap();
        assert!(third.displaced.try_recv().is_ok());
        drop(third);
        assert!(readers.admit(key("a"), Some(2)).is_err(), "the place of the one that was sent away is not free");
        drop(equal);
        assert!(readers.admit(key("a"), Some(0)).is_ok());
    }

    #[test]
    fn five_without_an_epoch_and_nothing_is_left_behind() {
        let readers = Arc::new(Readers::default());
        let mut places: Vec<Place> = (0..MAX_READERS).map(|_| readers.admit(key("a"), None).unwrap()).collect();
        assert_eq!(readers.admit(key("a"), None).unwrap_err().0, "amqp:resource-limit-exceeded");
        places.pop();
        places.push(readers.admit(key("a"), None).unwrap());
        places.clear();
        assert!(readers.inner.lock().unwrap().readers.is_empty());
    }
}
