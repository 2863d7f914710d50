//! A connection whose bytes pass the framing check before the HTTP library reads them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;

use crate::edge::framing::{Framing, Part, Refusal};

/// Why a connection's next request is refused; empty while none is.
pub(super) type Refused = Arc<OnceLock<Refusal>>;

/// What stands in for a head that is refused: the HTTP library then answers in order, behind requests already under way.
/// A caller who sends it gets a 404.
const STAND_IN: &[u8] = b"GET /.writ/refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// The path of that head.
pub(super) const STAND_IN_PATH: &str = "/.writ/refused";
/// How much is read at once.
const READ_BYTES: usize = 16_384;

/// A connection that shows its reader only what [`Framing`] lets pass.
pub(super) struct Strict<T> {
    inner: T,
    buffer: BytesMut,
    /// So many bytes of the buffer may be read.
    passed: usize,
    /// `None` for HTTP/2, which has its own framing.
    framing: Option<Framing>,
    broken: Option<Part>,
    refused: Refused,
    stall: Stall,
}

/// Ends a connection whose other side takes nothing for too long.
struct Stall {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Strict<T> {
    /// A connection of which `first` was read already. Without `framing` its bytes pass as they are.
    pub(super) fn new(inner: T, first: BytesMut, framing: Option<Framing>, stall_timeout: Duration) -> Self {
        let stall = Stall { timeout: stall_timeout, timer: None };
        let mut strict =
            Self { inner, buffer: first, passed: 0, framing, broken: None, refused: Refused::default(), stall };
        strict.judge();
        strict
    }

    /// Where a refusal will be seen.
    pub(super) fn refused(&self) -> Refused {
        self.refused.clone()
    }

    fn judge(&mut self) {
        let Some(framing) = &mut self.framing else {
            self.passed = self.buffer.len();
            return;
        };
        let progress = framing.advance(&self.buffer);
        self.passed = progress.passed;
        let Some((part, refusal)) = progress.refused else { return };
        self.broken = Some(part);
        // Only the first counts, and there is no second: nothing is read after it.
        let _ = self.refused.set(refusal);
        self.buffer.truncate(self.passed);
        if part == Part::Head {
            self.buffer.extend_from_slice(STAND_IN);
            self.passed = self.buffer.len();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passed > 0 {
                let take = this.passed.min(buf.remaining());
                buf.put_slice(&this.buffer[..take]);
                this.buffer.advance(take);
                this.passed -= take;
                return Poll::Ready(Ok(()));
            }
            if this.broken == Some(Part::Body) {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            this.buffer.reserve(READ_BYTES);
            if ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.buffer))? == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.broken.is_some() {
                // Thrown away, but not taken for the end: that would be the end of the answer, too.
                this.buffer.clear();
                continue;
            }
            this.judge();
        }
    }
}

impl Stall {
    fn watch<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
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

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.stall.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.stall.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.stall.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
