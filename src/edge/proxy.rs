//! From a permit to an answer: lend, look again, inject, forward, pass the answer on. Every way out is recorded.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http::{Method, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use crate::audit::Finish;
use crate::catalog::Listed;
use crate::catalog::headers::clean_response;
use crate::dial::{AddressRule, Dialer, Upstream};
use crate::edge::account::Ending;
use crate::edge::admit::{Admitted, Arriving};
use crate::edge::body::{AnswerBody, DownBody, Passing, UpBody, Upload};
use crate::edge::denial::{Denial, NONCE_HEADER};
use crate::edge::door::Door;
use crate::edge::inject::{Injected, inject};
use crate::edge::lend::OnLoan;
use crate::edge::limits::{Reserved, Taken};
use crate::edge::streams::StreamGuard;
use crate::edge::turns::{ServiceTurns, Turn, Turns};
use crate::id::{RequestId, ServiceName};
use crate::revocation::{Borrowed as _, NotLive};
use crate::vault::Scrubber;

impl Door {
    /// Forwards what is allowed. The decision is written already; `ending` becomes its outcome.
    pub(super) async fn forward(
        &self,
        admitted: Admitted,
        request: RequestId,
        mut ending: Ending,
    ) -> Result<Response<AnswerBody>, Denial> {
        let sent = self.send(admitted, request, &mut ending).await;
        let sent = match sent {
            Ok(sent) => sent,
            Err(Stopped { denial, finish }) => {
                ending.tell(finish);
                return Err(denial);
            }
        };
        let Sent { mut response, scrubber, guard, method, turn } = sent;
        ending.answered(response.status().as_u16());
        self.clean(&mut response, scrubber.as_ref(), &method);
        let idle = self.limits.idle_timeout;
        Ok(response.map(|body| {
            let body = DownBody::new(body, scrubber.map(|scrubber| scrubber.stream()), idle);
            AnswerBody::Upstream(Box::new(Passing::new(guard.body(body), ending, turn)))
        }))
    }

    async fn send(&self, admitted: Admitted, request: RequestId, ending: &mut Ending) -> Result<Sent, Stopped> {
        let Admitted { permit, reserved, token, way, method, headers, target, body } = admitted;
        let Way { listed, upstream, turn } = way;
        let service = &listed.service;
        let lent = match service.credential() {
            None => None,
            Some(_) => {
                let chain = permit.token().held().token().chain();
                Some(
                    self.lender
                        .lend(&token, chain, service.name(), request)
                        .await
                        .map_err(|e| Stopped::refused(e.into()))?,
                )
            }
        };
        let scrubber = self.scrubber(lent.as_ref()).map_err(Stopped::failed)?;
        let upload = Arc::new(Upload { bytes: ending.bytes_up.clone(), ..Upload::default() });
        let body = match body {
            Arriving::Read(whole) => UpBody::whole(whole, upload.clone()),
            Arriving::Open(body) => {
                UpBody::streamed(body, self.limits.body_bytes_max, self.limits.idle_timeout, upload.clone())
            }
        };

        // The second look: nothing is awaited between here and the sending.
        let (cleared, guard) =
            self.knowledge.clear(permit, lent).map_err(|(_, not_clear)| Stopped::refused(not_clear.into()))?;
        let injected = inject(&cleared, service, method.clone(), target, headers, body).map_err(Stopped::failed)?;
        ending.injected(cleared.seq(), cleared.credential().map(|lent| lent.loan()));
        // From here on it counts, whatever becomes of it, unless it is certain that nothing was sent.
        let taken = reserved.map(Reserved::take);
        let response = tokio::select! {
            biased;
            reason = guard.cut() => return Err(Stopped::cut(reason.into())),
            answered = self.exchange(&upstream, injected, &upload, taken) => answered?,
        };
        checked(&response, cleared.credential().is_some()).map_err(Stopped::failed)?;
        Ok(Sent { response, scrubber, guard, method, turn })
    }

    /// Waits for the head of the answer: as long as the body still moves, and a fixed time from then on.
    async fn exchange(
        &self,
        upstream: &Upstream<UpBody>,
        injected: Injected,
        upload: &Upload,
        taken: Option<Taken>,
    ) -> Result<Response<Incoming>, Stopped> {
        let mut answer = std::pin::pin!(upstream.send(injected.into_request()));
        let mut moved = 0;
        loop {
            match tokio::time::timeout(self.limits.answer_timeout, answer.as_mut()).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    if let Some(taken) = taken.filter(|_| error.is_unsent()) {
                        taken.give_back();
                    }
                    // The connection itself refuses to write without a lease, and may notice before the stream is cut.
                    if !self.knowledge.lease_holds() {
                        return Err(Stopped::cut(NotLive::NoLease.into()));
                    }
                    let denial = upload.failed.get().map_or_else(|| error.into(), |why| Denial::from(*why));
                    return Err(Stopped::failed(denial));
                }
                Err(_) => {
                    let now = upload.bytes.load(std::sync::atomic::Ordering::Relaxed);
                    if now == moved {
                        return Err(Stopped::failed(Denial::upstream_timeout()));
                    }
                    moved = now;
                }
            }
        }
    }

    fn scrubber(&self, lent: Option<&Arc<OnLoan>>) -> Result<Option<Scrubber>, Denial> {
        lent.map(|lent| self.scrubbers.of(lent)).transpose()
    }

    /// Makes an upstream's head fit to be passed on.
    fn clean(&self, response: &mut Response<Incoming>, scrubber: Option<&Scrubber>, method: &Method) {
        let bodyless = method == Method::HEAD || response.status() == StatusCode::NOT_MODIFIED;
        let length = response.headers().get(CONTENT_LENGTH).filter(|_| bodyless).cloned();
        // The reason phrase among them: the service's own text, which the library would pass on.
        response.extensions_mut().clear();
        let headers = response.headers_mut();
        clean_response(headers);
        headers.remove(NONCE_HEADER);
        if let Some(scrubber) = scrubber {
            scrub_headers(headers, scrubber);
        }
        // Without a body to count, the HTTP library would say zero.
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length);
        }
    }
}

/// An answer whose head has come.
struct Sent {
    response: Response<Incoming>,
    scrubber: Option<Scrubber>,
    guard: StreamGuard,
    method: Method,
    turn: Turn,
}

/// Why there is none, for the caller and for the record.
struct Stopped {
    denial: Denial,
    finish: Finish,
}

impl Stopped {
    /// Before the credential was used.
    fn refused(denial: Denial) -> Self {
        Self { finish: Finish::Refused { reason: denial.reason().into() }, denial }
    }

    /// By the edge, while the upstream worked on it.
    fn cut(denial: Denial) -> Self {
        Self { finish: Finish::Cut { reason: denial.reason().into() }, denial }
    }

    /// By the upstream or the caller's body.
    fn failed(denial: Denial) -> Self {
        Self { finish: Finish::Failed { reason: denial.reason().into() }, denial }
    }
}

/// Refuses an answer that can't be passed on as it is.
fn checked(response: &Response<Incoming>, scrubbed: bool) -> Result<(), Denial> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Denial::upstream_upgrade());
    }
    let plain = |coding: &http::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    let readable = response.headers().get_all(CONTENT_ENCODING).iter().all(plain);
    if scrubbed && !readable && !response.body().is_end_stream() {
        return Err(Denial::upstream_encoding());
    }
    Ok(())
}

fn scrub_headers(headers: &mut HeaderMap, scrubber: &Scrubber) {
    for value in headers.values_mut() {
        if let Some(clean) = scrubber.scrub_header(value.as_bytes()) {
            // Overwritten with printable characters; were it not a value, nothing is better than the secret.
            *value = clean.try_into().unwrap_or_else(|_| http::HeaderValue::from_static(""));
        }
    }
}

/// One thread's connections to each service, apart from each other.
pub(super) struct Upstreams {
    dialer: Dialer,
    turns: Arc<Turns>,
    open: RwLock<HashMap<ServiceName, Open>>,
}

struct Open {
    listed: Arc<Listed>,
    upstream: Arc<Upstream<UpBody>>,
    turns: Arc<ServiceTurns>,
}

/// A request's way to its service: the connections there, and its turn.
pub(super) struct Way {
    listed: Arc<Listed>,
    upstream: Arc<Upstream<UpBody>>,
    turn: Turn,
}

impl Way {
    /// Where it leads.
    pub(super) const fn listed(&self) -> &Arc<Listed> {
        &self.listed
    }
}

impl Open {
    fn way(&self) -> Result<Way, Denial> {
        let turn = self.turns.take().ok_or_else(Denial::service_busy)?;
        Ok(Way { listed: self.listed.clone(), upstream: self.upstream.clone(), turn })
    }
}

impl Upstreams {
    pub(super) fn new(dialer: Dialer, turns: Arc<Turns>) -> Self {
        Self { dialer, turns, open: RwLock::default() }
    }

    /// The way to a service; by new connections when it has changed, so that none outlives what it was opened for.
    pub(super) fn to(&self, listed: &Arc<Listed>) -> Result<Way, Denial> {
        let name = listed.service.name();
        let same = |open: &&Open| Arc::ptr_eq(&open.listed, listed) || open.listed == *listed;
        if let Some(open) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(name).filter(same) {
            return open.way();
        }
        let rule = if listed.service.allow_private() { AddressRule::AllowPrivate } else { AddressRule::PublicOnly };
        let upstream = self.dialer.upstream(listed.service.upstream().origin(), rule);
        let upstream = Arc::new(upstream.map_err(|error| Denial::unusable(error.to_string()))?);
        let open = Open { listed: listed.clone(), upstream, turns: self.turns.at(name) };
        let way = open.way();
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), open);
        way
    }
}
