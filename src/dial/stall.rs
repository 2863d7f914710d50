//! Patience with a peer that takes nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Ends a connection whose other side takes nothing for too long. Costs nothing while it takes what it is sent.
pub(crate) struct Stall {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(crate) const fn new(timeout: Duration) -> Self {
        Self { timeout, timer: None }
    }

    /// Whether it is being waited for the other side.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.timer.is_some()
    }

    /// What came of a write or a flush, or the end of the patience with it.
    pub(crate) fn watch<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.timer = None;
            return polled;
        }
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
