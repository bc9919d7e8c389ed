//! How long an empty queue is left alone: WebJobs' randomised exponential back-off.

use std::time::Duration;

/// The first pause, and the least that `maxPollingInterval` may be.
pub(crate) const MIN_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Backoff {
    maximum: Duration,
    current: Duration,
    exponent: i32,
}

impl Backoff {
    /// `maximum` is `maxPollingInterval`.
    pub(crate) fn new(maximum: Duration) -> Self {
        Self { maximum, current: Duration::ZERO, exponent: 0 }
    }

    /// The pause after a look that found nothing. `found`: some look since the last pause found something. `jitter` is in
    /// 0.8..1.2.
    pub(crate) fn pause(&mut self, found: bool, jitter: f64) -> Duration {
        if found {
            (self.current, self.exponent) = (MIN_PAUSE, 1);
        } else if self.current != self.maximum {
            let growth = if self.exponent > 0 { jitter * 2_f64.powi(self.exponent - 1) } else { 0.0 };
            let next = MIN_PAUSE + MIN_PAUSE.mul_f64(growth);
            self.exponent += 1;
            self.current = next.min(self.maximum);
        }
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        let mut pauses = |found| backoff.pause(found, 1.0).as_millis();
        let empty: Vec<u128> = (0..8).map(|_| pauses(false)).collect();
        assert_eq!(empty, [100, 200, 300, 500, 900, 1700, 2000, 2000]);
        assert_eq!([pauses(true), pauses(false), pauses(false)], [100, 200, 300]);
        assert_eq!(Backoff::new(MIN_PAUSE).pause(false, 1.2), MIN_PAUSE);
    }
}
