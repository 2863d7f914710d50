//! How many requests each service has under way: one that hangs holds its own share, and nothing of what others need.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::ServiceName;

/// The turns at every service.
pub(super) struct Turns {
    max: usize,
    services: Mutex<HashMap<ServiceName, Arc<ServiceTurns>>>,
}

/// The turns at one service, on all threads.
pub(super) struct ServiceTurns {
    max: usize,
    taken: AtomicUsize,
}

/// A request's turn at its service; free again when this is dropped.
pub(super) struct Turn(Arc<ServiceTurns>);

impl Turns {
    /// As many as `max` at each.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, services: Mutex::default() })
    }

    /// Those at `service`, the same however its settings change: what hangs went to it before, too.
    pub(super) fn at(&self, service: &ServiceName) -> Arc<ServiceTurns> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        // Of services that nobody calls any more, nothing stays.
        services.retain(|_, turns| Arc::strong_count(turns) > 1);
        let new = || Arc::new(ServiceTurns { max: self.max, taken: AtomicUsize::new(0) });
        services.entry(service.clone()).or_insert_with(new).clone()
    }
}

impl ServiceTurns {
    /// A turn, unless all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Option<Turn> {
        let more = |taken: usize| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_as_many_turns_as_any_other_and_no_more() {
        let turns = Turns::new(2);
        let [notes, files] = ["notes", "files"].map(|name| turns.at(&name.parse().unwrap()));
        let taken = [notes.take(), notes.take()];
        assert!(taken.iter().all(Option::is_some) && notes.take().is_none());
        assert!(files.take().is_some());
        assert!(turns.at(&"notes".parse().unwrap()).take().is_none(), "whoever asks for them");
        drop(taken);
        assert!(notes.take().is_some());
    }
}
