//! Requests that hold a credential or its answer: each can be ended at any moment, by the edge's own hand.
//!
//! An entry of the revocation log is acknowledged only once what it kills is gone from here. So a request must be in this
//! register *before* its last revocation check; [`Knowledge::clear`](crate::edge::knowledge::Knowledge::clear) does both.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::edge::lend::OnLoan;
use crate::policy::rules::{RuleBook, Rules};
use crate::policy::{Denied, Permit, Permitted};
use crate::revocation::{Borrowed, Loan, RevocationSet, Target, Use};
use crate::token::verify::{Expected, current};
use crate::token::{Chain, RootKeys, TokenError};

/// Why a request was ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutReason {
    /// Something in its chain was revoked.
    #[error("revoked: {0}")]
    Revoked(Box<Target>),
    /// Its writ ended.
    #[error("the writ has expired")]
    Expired,
    /// The root key that signed its writ counts no longer.
    #[error("the root key of the writ counts no longer")]
    RootRetired,
    /// The tenant's policies of now do not permit it.
    #[error("the policies changed: {0}")]
    Denied(Box<Denied>),
    /// The tenant's policies of now cannot be read.
    #[error("the policies changed: {0}")]
    PoliciesUnreadable(Box<str>),
    /// The edge no longer knows what is revoked.
    #[error("the lease of the edge has run out")]
    LeaseEnded,
}

/// The open requests of one edge.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<HashMap<u64, Arc<Stream>>>,
    last: AtomicU64,
    closed: Notify,
}

struct Stream {
    chain: Arc<Chain>,
    permitted: Arc<Permitted>,
    /// The last policies that permitted it.
    rules: Mutex<Arc<Rules>>,
    loan: Option<Loan>,
    reason: OnceLock<CutReason>,
    cut: Notify,
    /// Drops the upstream's answer without waiting for a caller who doesn't read.
    release: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// The release has run: nothing of the upstream is left, though a caller who doesn't read still holds the guard.
    released: AtomicBool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream(until {}, {:?})", self.chain.expires(), self.reason)
    }
}

impl Stream {
    fn used(&self) -> Use<'_> {
        Use { chain: &self.chain, service: self.permitted.operations().service(), loan: self.loan.as_ref() }
    }

    /// Why the policies of now do not permit it, if they don't.
    fn forbidden(&self, book: &RuleBook, now: Timestamp) -> Option<CutReason> {
        let rules = match book.of(&self.chain.authority().tenant) {
            Ok(rules) => rules,
            Err(invalid) => return Some(CutReason::PoliciesUnreadable(invalid.to_string().into())),
        };
        if Arc::ptr_eq(&locked(&self.rules), &rules) {
            return None;
        }
        let denied = self.permitted.still(&self.chain, &rules, now).err();
        *locked(&self.rules) = rules;
        denied.map(|denied| CutReason::Denied(Box::new(denied)))
    }

    /// Cut, and not yet gone.
    fn lingers(&self) -> bool {
        self.reason.get().is_some() && !self.released.load(Ordering::Acquire)
    }

    fn end(&self, reason: CutReason) {
        if self.reason.set(reason).is_ok() {
            self.cut.notify_waiters();
        }
        // Taken out before it runs: dropping an answer may run code of other crates, and none of it under our lock.
        let release = locked(&self.release).take();
        if let Some(release) = release {
            release();
            self.released.store(true, Ordering::Release);
        }
    }
}

/// One open request. Dropping it says that nothing of the request is left.
#[derive(Debug)]
pub struct StreamGuard {
    streams: Arc<Streams>,
    stream: Arc<Stream>,
    id: u64,
}

/// How many requests policies are asked about before other work is done.
const ASKED_AT_ONCE: usize = 16;

impl Streams {
    /// Registers a request, with the credential that it is about to use.
    pub fn open(self: &Arc<Self>, permit: &Permit, credential: Option<&OnLoan>) -> StreamGuard {
        let stream = Arc::new(Stream {
            chain: permit.token().held().token().chain().clone(),
            permitted: permit.permitted().clone(),
            rules: Mutex::new(permit.permitted().rules().clone()),
            loan: credential.map(|credential| credential.loan().clone()),
            reason: OnceLock::new(),
            cut: Notify::new(),
            release: Mutex::new(None),
            released: AtomicBool::new(false),
        });
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        locked(&self.open).insert(id, stream.clone());
        StreamGuard { streams: self.clone(), stream, id }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        locked(&self.open).len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every request whose chain, service or credential `set` revokes. Wait for [`Streams::gone`] before you say that they have ended.
    pub fn cut_revoked(&self, set: &RevocationSet) {
        self.end(|stream| set.revokes_use(stream.used()).map(|target| CutReason::Revoked(Box::new(target))));
    }

    /// Ends every request whose writ, or its root key, counts no longer at `now`.
    pub fn cut_ended(&self, keys: &RootKeys, expected: &Expected, now: Timestamp) {
        self.end(|stream| match current(&stream.chain, keys, expected, now) {
            Err(TokenError::Expired) => Some(CutReason::Expired),
            Err(TokenError::UnknownRoot) => Some(CutReason::RootRetired),
            // It was valid already: the clock was set back a little, which the check against the authority's bounds.
            Err(_) | Ok(_) => None,
        });
    }

    /// Ends every request that the policies of now do not permit. Those of a tenant whose policies are the same are not asked about.
    pub async fn cut_forbidden(&self, book: &RuleBook, now: Timestamp) {
        let going_on: Vec<_> = locked(&self.open).values().cloned().collect();
        for some in going_on.chunks(ASKED_AT_ONCE) {
            for stream in some.iter().filter(|stream| stream.reason.get().is_none()) {
                if let Some(reason) = stream.forbidden(book, now) {
                    stream.end(reason);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends every request.
    pub fn cut_all(&self, reason: &CutReason) {
        self.end(|_| Some(reason.clone()));
    }

    /// Returns once every request that was cut is gone: its guard dropped, or its upstream's answer.
    pub async fn gone(&self) {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            // Before looking, or a guard that is dropped in between would never wake us.
            closed.as_mut().enable();
            if !locked(&self.open).values().any(|stream| stream.lingers()) {
                return;
            }
            closed.await;
        }
    }

    fn end(&self, why: impl Fn(&Stream) -> Option<CutReason>) {
        let doomed: Vec<_> = {
            let open = locked(&self.open);
            let going_on = open.values().filter(|stream| stream.reason.get().is_none());
            going_on.filter_map(|stream| Some((why(stream)?, stream.clone()))).collect()
        };
        for (reason, stream) in doomed {
            stream.end(reason);
        }
    }
}

impl StreamGuard {
    /// Resolves when the request must end; pending for as long as it may go on. Poll it beside whatever is awaited.
    pub async fn cut(&self) -> CutReason {
        loop {
            let cut = self.stream.cut.notified();
            tokio::pin!(cut);
            cut.as_mut().enable();
            if let Some(reason) = self.stream.reason.get() {
                return reason.clone();
            }
            cut.await;
        }
    }

    /// Why it must end, if it must.
    pub fn reason(&self) -> Option<&CutReason> {
        self.stream.reason.get()
    }

    /// The answer's body, which ends with an error when the request is cut.
    ///
    /// The upstream's side is dropped at the cut, also while the caller does not read.
    pub fn body<B: Body + Send + Unpin + 'static>(self, body: B) -> CutBody<B> {
        let slot = Arc::new(Mutex::new(Slot { body: Some(body), reader: None }));
        let released = slot.clone();
        *locked(&self.stream.release) = Some(Box::new(move || {
            let (body, reader) = {
                let mut slot = locked(&released);
                (slot.body.take(), slot.reader.take())
            };
            drop(body);
            if let Some(reader) = reader {
                reader.wake();
            }
        }));
        // Cut before the release was in place: nobody else will run it.
        if let Some(reason) = self.reason() {
            self.stream.end(reason.clone());
            self.streams.closed.notify_waiters();
        }
        CutBody { slot, guard: Some(self) }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        locked(&self.streams.open).remove(&self.id);
        locked(&self.stream.release).take();
        self.streams.closed.notify_waiters();
    }
}

/// A body that can be taken away while it is being sent.
#[derive(Debug)]
pub struct CutBody<B> {
    slot: Arc<Mutex<Slot<B>>>,
    guard: Option<StreamGuard>,
}

#[derive(Debug)]
struct Slot<B> {
    body: Option<B>,
    reader: Option<Waker>,
}

/// Why a [`CutBody`] ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError<E> {
    /// The edge ended it.
    #[error("{0}")]
    Cut(CutReason),
    /// It broke off by itself.
    #[error("the upstream's answer broke off")]
    Inner(#[source] E),
}

impl<B> CutBody<B> {
    /// Why it was cut, if it was and nobody has read so far.
    pub fn reason(&self) -> Option<CutReason> {
        self.guard.as_ref()?.reason().cloned()
    }
}

impl<B: Body + Unpin> Body for CutBody<B> {
    type Data = B::Data;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(guard) = &self.guard else { return Poll::Ready(None) };
        let polled = {
            let mut slot = locked(&self.slot);
            match (guard.reason(), &mut slot.body) {
                (Some(reason), _) => Poll::Ready(Some(Err(BodyError::Cut(reason.clone())))),
                (None, Some(body)) => {
                    let polled = Pin::new(body).poll_frame(cx).map_err(BodyError::Inner);
                    if polled.is_pending() {
                        slot.reader = Some(cx.waker().clone());
                    }
                    polled
                }
                (None, None) => Poll::Ready(None),
            }
        };
        if let Poll::Ready(None | Some(Err(_))) = polled {
            locked(&self.slot).body = None;
            self.guard = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        // A body that was cut has an error still to tell.
        let cut = self.guard.as_ref().is_some_and(|guard| guard.reason().is_some());
        !cut && locked(&self.slot).body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.slot).body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// What another thread left when it panicked is whole: no step below a lock of this room can stop half way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
