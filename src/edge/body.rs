//! Bodies in both directions: bounded, counted, never silent for too long. Trailers stop here.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::audit::Finish;
use crate::edge::account::Ending;
use crate::edge::denial::Denial;
use crate::edge::room::{Room, Taken, Whole};
use crate::edge::streams::{BodyError, CutBody};
use crate::edge::turns::Turn;
use crate::listen::places::Asking;
use crate::vault::Scrubbing;

/// Why a caller's body does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Longer than is taken.
    #[error("the body is too long")]
    TooLong,
    /// Silent for too long.
    #[error("the body came too slowly")]
    TooSlow,
    /// Broken off, or malformed.
    #[error("the body broke off or is malformed")]
    Broken,
    /// Others take all the room there is.
    #[error("the edge holds as many bytes of bodies as it may")]
    NoRoom,
}

impl From<Unreadable> for Denial {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::TooLong => Self::body_too_large(),
            Unreadable::TooSlow => Self::body_timeout(),
            Unreadable::Broken => Self::body_broken(),
            Unreadable::NoRoom => Self::bodies_full(),
        }
    }
}

/// Reads a whole body of at most `bytes_max` within `timeout`, as far as there is room.
pub(super) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    timeout: Duration,
    room: &Arc<Room>,
) -> Result<Whole, Unreadable> {
    let mut taken = room.enter();
    let whole = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unreadable::Broken)?.into_data() else { continue };
            if first.len() + rest.len() + data.len() > bytes_max {
                return Err(Unreadable::TooLong);
            }
            taken.more(data.len()).map_err(|_| Unreadable::NoRoom)?;
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    let bytes = tokio::time::timeout(timeout, whole).await.unwrap_or(Err(Unreadable::TooSlow))?;
    Ok(Whole { bytes, taken })
}

/// Ends a silence. Costs nothing while there is none.
struct Patience {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Patience {
    const fn new(timeout: Duration) -> Self {
        Self { timeout, timer: None, waiting: false }
    }

    const fn progress(&mut self) {
        self.waiting = false;
    }

    /// Ready once nothing has come for too long.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(Instant::now() + timeout);
        }
        timer.as_mut().poll(cx)
    }
}

/// What became of a body on its way up, for whoever waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) bytes: Arc<AtomicU64>,
    pub(super) failed: OnceLock<Unreadable>,
}

/// A request's body as the upstream gets it.
pub(super) struct UpBody {
    source: Source,
    left: u64,
    upload: Arc<Upload>,
    patience: Patience,
}

enum Source {
    Whole { bytes: Option<Bytes>, _taken: Taken },
    Streamed(Incoming),
}

impl UpBody {
    /// Bytes that were read and checked.
    pub(super) fn whole(Whole { bytes, taken }: Whole, upload: Arc<Upload>) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            source: Source::Whole { bytes, _taken: taken },
            left: u64::MAX,
            upload,
            patience: Patience::new(Duration::MAX),
        }
    }

    /// The caller's, as it comes.
    pub(super) fn streamed(body: Incoming, bytes_max: u64, idle: Duration, upload: Arc<Upload>) -> Self {
        Self { source: Source::Streamed(body), left: bytes_max, upload, patience: Patience::new(idle) }
    }

    fn fail(&self, why: Unreadable) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        // The first reason is the reason.
        let _ = self.upload.failed.set(why);
        Poll::Ready(Some(Err(why)))
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = Unreadable;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        let this = &mut *self;
        let data = match &mut this.source {
            Source::Whole { bytes, .. } => match bytes.take() {
                Some(bytes) => bytes,
                None => return Poll::Ready(None),
            },
            Source::Streamed(body) => loop {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(Err(_))) => return this.fail(Unreadable::Broken),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => break data,
                        Err(_trailers) => {}
                    },
                    Poll::Pending => {
                        ready!(this.patience.poll_end(cx));
                        return this.fail(Unreadable::TooSlow);
                    }
                }
            },
        };
        this.patience.progress();
        let bytes = data.len() as u64;
        let Some(left) = this.left.checked_sub(bytes) else { return this.fail(Unreadable::TooLong) };
        this.left = left;
        this.upload.bytes.fetch_add(bytes, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole { bytes, .. } => bytes.is_none(),
            Source::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Streamed(body) => body.size_hint(),
        }
    }
}

/// Why an upstream's body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    #[error("the upstream's answer broke off")]
    Broken(#[source] hyper::Error),
    #[error("the upstream went silent")]
    Silent,
}

/// An upstream's body without the lent secret.
pub(super) struct DownBody {
    body: Incoming,
    scrubbing: Option<Scrubbing>,
    patience: Patience,
    begun: bool,
    ended: bool,
}

impl DownBody {
    pub(super) fn new(body: Incoming, scrubbing: Option<Scrubbing>, idle: Duration) -> Self {
        let ended = body.is_end_stream();
        Self { body, scrubbing, patience: Patience::new(idle), begun: false, ended }
    }

    /// What of `data` can be passed on; at the end, with what was held back.
    fn scrubbed(&mut self, data: Bytes, ended: bool) -> Bytes {
        let Some(scrubbing) = &mut self.scrubbing else { return data };
        let clean = match scrubbing.push(&data) {
            Cow::Borrowed(clean) => data.slice_ref(clean),
            Cow::Owned(clean) => clean.into(),
        };
        if !ended {
            return clean;
        }
        let held = self.scrubbing.take().map(Scrubbing::finish).unwrap_or_default();
        if held.is_empty() { clean } else { [clean.as_ref(), &held].concat().into() }
    }
}

impl Body for DownBody {
    type Data = Bytes;
    type Error = Unfinished;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let data = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Unfinished::Broken(error)))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        this.ended = this.body.is_end_stream();
                        data
                    }
                    Err(_trailers) => continue,
                },
                Poll::Ready(None) => {
                    this.ended = true;
                    Bytes::new()
                }
                Poll::Pending => {
                    ready!(this.patience.poll_end(cx));
                    return Poll::Ready(Some(Err(Unfinished::Silent)));
                }
            };
            this.patience.progress();
            this.begun = true;
            let ended = this.ended;
            let clean = this.scrubbed(data, ended);
            if !clean.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(clean))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        // Once begun, some of it may be held back; nobody asks any more.
        if self.begun { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// The body of an answer: the edge's own, or an upstream's.
pub(super) enum AnswerBody {
    Own(Option<Bytes>),
    Upstream(Box<Passing>),
}

/// An upstream's body on its way to the caller. Its end, whatever it is, is recorded.
pub(super) struct Passing {
    body: CutBody<DownBody>,
    ending: Ending,
    _turn: Turn,
    _under_way: Option<UnderWay>,
}

/// What a request holds until its answer is through.
pub(super) type UnderWay = (Asking, Option<OwnedSemaphorePermit>);

impl Passing {
    pub(super) const fn new(body: CutBody<DownBody>, ending: Ending, turn: Turn) -> Self {
        Self { body, ending, _turn: turn, _under_way: None }
    }
}

impl AnswerBody {
    /// An upstream's answer holds it until its end. The edge's own is through once it is handed over.
    pub(super) fn keep(&mut self, under_way: UnderWay) {
        if let Self::Upstream(passing) = self {
            passing._under_way = Some(under_way);
        }
    }
}

/// The end of an answer before its time. The connection or stream is aborted, so that no caller takes it for the end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut")]
pub(super) struct Cut;

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let passing = match &mut *self {
            Self::Own(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream(passing) => passing,
        };
        match ready!(Pin::new(&mut passing.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                passing.ending.passed(frame.data_ref().map_or(0, |data| data.len() as u64));
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                passing.ending.tell(Finish::Completed);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                passing.ending.tell(finish(error));
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Upstream(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(passing) => passing.body.size_hint(),
        }
    }
}

fn finish(error: BodyError<Unfinished>) -> Finish {
    match error {
        BodyError::Cut(reason) => Finish::Cut { reason: Denial::from(reason).reason().into() },
        BodyError::Inner(Unfinished::Broken(_)) => Finish::Failed { reason: "upstream_broken".into() },
        BodyError::Inner(Unfinished::Silent) => Finish::Failed { reason: "upstream_silent".into() },
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // The HTTP library does not ask again once it has as many bytes as it announced.
        if self.body.is_end_stream() {
            self.ending.tell(Finish::Completed);
        } else if let Some(reason) = self.body.reason() {
            self.ending.tell(Finish::Cut { reason: Denial::from(reason).reason().into() });
        }
    }
}
