//! Faults on order, for tests of whoever talks to the service.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::broadcast;

/// Switches for faults. All may be turned while the service runs.
#[derive(Debug)]
pub struct Faults {
    settle_delay_us: AtomicU64,
    never_settle: AtomicBool,
    reject_sends: AtomicU32,
    /// Deliveries until the connection is cut; negative: never.
    cut_after: AtomicI64,
    orders: broadcast::Sender<Order>,
}

/// What every connection is told.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Close the socket without a word.
    Drop,
    /// Detach the readers of a partition with an error.
    DetachReaders { hub: String, partition: u32, condition: String },
}

impl Faults {
    pub(crate) fn new(settle_delay: Duration) -> Self {
        Self {
            settle_delay_us: AtomicU64::new(settle_delay.as_micros() as u64),
            never_settle: AtomicBool::new(false),
            reject_sends: AtomicU32::new(0),
            cut_after: AtomicI64::new(-1),
            orders: broadcast::channel(64).0,
        }
    }

    /// Closes every connection without a word, as a network does.
    pub fn drop_connections(&self) {
        let _ = self.orders.send(Order::Drop);
    }

    /// Detaches all readers of a partition with an error, for example `amqp:link:detach-forced`.
    pub fn detach_readers(&self, hub: &str, partition: u32, condition: &str) {
        let (hub, condition) = (hub.to_ascii_lowercase(), condition.to_owned());
        let _ = self.orders.send(Order::DetachReaders { hub, partition, condition });
    }

    /// Refuses the next `count` messages with `com.microsoft:server-busy`; they are not stored.
    pub fn reject_sends(&self, count: u32) {
        self.reject_sends.store(count, Ordering::Relaxed);
    }

    /// Sets the time that a settlement takes. Zero makes the Rust SDK hang at times: it loses a settlement that is quicker than
    /// itself.
    pub fn settle_after(&self, delay: Duration) {
        self.settle_delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Stores messages and tells nobody.
    pub fn never_settle(&self, on: bool) {
        self.never_settle.store(on, Ordering::Relaxed);
    }

    /// Drops the connection that delivers the `count`th event from now on, after that event.
    pub fn cut_after(&self, count: u32) {
        self.cut_after.store(i64::from(count), Ordering::Relaxed);
    }

    pub(crate) fn settle_delay(&self) -> Duration {
        Duration::from_micros(self.settle_delay_us.load(Ordering::Relaxed))
    }

    pub(crate) fn settles(&self) -> bool {
        !self.never_settle.load(Ordering::Relaxed)
    }

    pub(crate) fn rejects(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.reject_sends.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// True once the connection is to be cut after this delivery.
    pub(crate) fn delivered(&self) -> bool {
        if self.cut_after.load(Ordering::Relaxed) < 0 {
            return false;
        }
        let less = |left: i64| (left >= 0).then_some(left - 1);
        self.cut_after.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok_and(|left| left == 1)
    }

    pub(crate) fn orders(&self) -> broadcast::Receiver<Order> {
        self.orders.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end() {
        let faults = Faults::new(Duration::ZERO);
        faults.cut_after(3);
        assert_eq!([(); 5].map(|()| faults.delivered()), [false, false, true, false, false]);
        faults.reject_sends(2);
        assert_eq!([(); 4].map(|()| faults.rejects()), [true, true, false, false]);
    }
}
