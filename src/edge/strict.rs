//! A connection whose bytes pass the framing check before the HTTP library reads them.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::dial::stall::Stall;
use crate::edge::framing::{Framing, Part, Refusal};

/// What a connection shows to others.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Why its next request is refused; empty while none is.
    pub(super) refused: OnceLock<Refusal>,
    /// Whether it stands between two requests, with nothing that the other side has yet to take.
    pub(super) rests: AtomicBool,
}

/// What stands in for a head that is refused: the HTTP library then answers in order, behind requests already under way.
/// A caller who sends it gets a 404.
const STAND_IN: &[u8] = b"GET /.writ/refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// The path of that head.
pub(super) const STAND_IN_PATH: &str = "/.writ/refused";
/// How much is read first after a rest.
const FIRST_BYTES: usize = 4096;
/// How much more is read at once of a head that is incomplete.
const READ_BYTES: usize = 16_384;

/// A connection that shows its reader only what [`Framing`] lets pass.
///
/// Bytes go from the connection into the reader's own memory and are judged there: one that waits for a request holds nothing.
pub(super) struct Strict<T> {
    inner: T,
    /// What came and was not read yet: an incomplete head, mostly.
    kept: BytesMut,
    /// So many bytes of it may be read.
    passed: usize,
    /// `None` for HTTP/2, which has its own framing.
    framing: Option<Framing>,
    broken: Option<Part>,
    seen: Arc<Seen>,
    stall: Stall,
}

impl<T> Strict<T> {
    /// A connection of which `first` was read already. Without `framing` its bytes pass as they are.
    pub(super) fn new(inner: T, first: BytesMut, framing: Option<Framing>, stall_timeout: Duration) -> Self {
        let stall = Stall::new(stall_timeout);
        let mut strict = Self { inner, kept: first, passed: 0, framing, broken: None, seen: Arc::default(), stall };
        strict.judge_kept();
        strict
    }

    pub(super) fn seen(&self) -> Arc<Seen> {
        self.seen.clone()
    }

    /// Puts back what a reader had and did not use.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.kept = [bytes, &self.kept[..]].concat().as_slice().into();
            self.passed += bytes.len();
        }
    }

    fn watched<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_pending() {
            self.seen.rests.store(false, Ordering::Relaxed);
        }
        self.stall.watch(cx, polled)
    }

    fn rests(&self) -> bool {
        let between = self.framing.as_ref().is_some_and(Framing::is_between_requests);
        between && self.kept.is_empty() && self.broken.is_none() && !self.stall.is_waiting()
    }

    fn judge_kept(&mut self) {
        let (passed, refused) = judged(self.framing.as_mut(), &self.kept);
        self.passed = passed;
        if let Some(refused) = refused {
            self.kept.truncate(passed);
            self.refuse(refused);
        }
    }

    /// Behind what has passed already.
    fn refuse(&mut self, (part, refusal): (Part, Refusal)) {
        self.broken = Some(part);
        // Only the first counts, and there is no second: nothing is read after it.
        let _ = self.seen.refused.set(refusal);
        if part == Part::Head {
            self.kept.extend_from_slice(STAND_IN);
            self.passed = self.kept.len();
        }
    }

    /// Hands out what has passed of what is kept.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let take = self.passed.min(buf.remaining());
        buf.put_slice(&self.kept[..take]);
        self.kept.advance(take);
        self.passed -= take;
        if self.kept.is_empty() {
            self.kept = BytesMut::new();
        }
    }
}

/// How far `bytes` are good, and what stands there if that is not good.
fn judged(framing: Option<&mut Framing>, bytes: &[u8]) -> (usize, Option<(Part, Refusal)>) {
    let Some(framing) = framing else { return (bytes.len(), None) };
    let progress = framing.advance(bytes);
    (progress.passed, progress.refused)
}

impl<T: AsyncRead + Unpin> Strict<T> {
    /// Waits for more, and holds no memory for it meanwhile. `false`: nothing will come.
    pub(super) async fn comes(&mut self) -> bool {
        if !self.kept.is_empty() {
            return true;
        }
        poll_fn(|cx| {
            let mut memory = [MaybeUninit::uninit(); FIRST_BYTES];
            let mut buf = ReadBuf::uninit(&mut memory);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf));
            self.kept.extend_from_slice(buf.filled());
            self.judge_kept();
            Poll::Ready(read.is_ok() && !self.kept.is_empty())
        })
        .await
    }

    /// Reads into the reader's memory, and leaves there what passes. Ready without a byte: nothing has passed yet, or it is the end.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Came>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        if came.is_empty() {
            return Poll::Ready(Ok(Came::End));
        }
        let (passed, refused) = judged(self.framing.as_mut(), came);
        match refused {
            Some(refused) => self.refuse(refused),
            None => self.kept.extend_from_slice(&came[passed..]),
        }
        buf.set_filled(before + passed);
        Poll::Ready(Ok(if passed > 0 { Came::Passed } else { Came::Kept }))
    }

    /// Reads behind what is kept.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        self.kept.reserve(READ_BYTES);
        if ready!(poll_read_buf(Pin::new(&mut self.inner), cx, &mut self.kept))? == 0 {
            return Poll::Ready(Ok(Came::End));
        }
        self.judge_kept();
        Poll::Ready(Ok(Came::Kept))
    }

    fn poll_passed(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.passed > 0 {
                self.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            let came = match self.broken {
                Some(Part::Body) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Part::Head) => ready!(self.poll_waste(cx, buf))?,
                None if self.kept.is_empty() => ready!(self.poll_direct(cx, buf))?,
                None => ready!(self.poll_more(cx))?,
            };
            if let Came::Passed | Came::End = came {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Throws away what comes behind a refusal. Not taken for the end: that would be the end of the answer, too.
    fn poll_waste(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Came>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        buf.set_filled(before);
        Poll::Ready(Ok(if came > 0 { Came::Kept } else { Came::End }))
    }
}

/// What a read brought.
enum Came {
    /// Bytes that the reader has.
    Passed,
    /// None that it has yet.
    Kept,
    End,
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = self.poll_passed(cx, buf);
        self.seen.rests.store(polled.is_pending() && self.rests(), Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watched(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.watched(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.watched(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
