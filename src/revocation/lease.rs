//! How fresh an edge's knowledge must be.

use std::time::Duration;

use crate::clock::Monotonic;

/// The right to act on what is known, until a point of this process's monotonic clock.
///
/// Counted from the moment the renewal was *sent*: whatever the authority answered, it answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    until: Monotonic,
}

impl Lease {
    /// A lease of `length`, whose renewal was sent at `sent`.
    pub fn granted(sent: Monotonic, length: Duration) -> Self {
        Self { until: sent.after(length) }
    }

    /// A lease that has run out.
    pub const fn none() -> Self {
        Self { until: Monotonic::from_origin(Duration::ZERO) }
    }

    /// Whether it holds at `now`. At its very end it does not.
    pub fn holds(&self, now: Monotonic) -> bool {
        now < self.until
    }

    /// How long it still holds at `now`; zero once it has run out.
    pub fn left(&self, now: Monotonic) -> Duration {
        self.until.since(now)
    }

    /// The later of the two ends: renewals may be answered out of order.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        Self { until: self.until.max(other.until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_the_renewal_was_sent() {
        let at = |ms| Monotonic::from_origin(Duration::from_millis(ms));
        let lease = Lease::granted(at(100), Duration::from_millis(1000));
        assert!(lease.holds(at(1099)));
        assert!(!lease.holds(at(1100)));
        assert_eq!(lease.left(at(1000)), Duration::from_millis(100));
        assert_eq!(lease.left(at(5000)), Duration::ZERO);
    }

    #[test]
    fn no_lease_never_holds() {
        assert!(!Lease::none().holds(Monotonic::from_origin(Duration::ZERO)));
    }

    #[test]
    fn a_late_answer_does_not_shorten_a_lease() {
        let at = |ms| Monotonic::from_origin(Duration::from_millis(ms));
        let long = Lease::granted(at(500), Duration::from_secs(1));
        let late = Lease::granted(at(100), Duration::from_secs(1));
        assert_eq!(long.or_later(late), long);
    }
}
