//! Where a request comes in and its answer goes out. Whatever happens in between, there is one of each, and a record.

use std::cell::RefCell;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::audit::Finish;
use crate::clock::Clock;
use crate::config::edge::{EdgeLimits, Origin};
use crate::edge::account::{Account, Ending};
use crate::edge::approval::ApprovalDesk;
use crate::edge::body::AnswerBody;
use crate::edge::chains::Chains;
use crate::edge::denial::{Denial, EDGE_HEADER, NONCE_HEADER, REQUEST_HEADER};
use crate::edge::inject::Scrubbers;
use crate::edge::journal::{Journal, JournalError};
use crate::edge::knowledge::Knowledge;
use crate::edge::lend::Lender;
use crate::edge::limits::Shares;
use crate::edge::nonce::Nonces;
use crate::edge::replay::UsedProofs;
use crate::edge::room::Room;
use crate::edge::server::Peer;
use crate::id::RequestId;
use crate::telemetry::metrics::EdgeMetrics;
use crate::token::proof::BearerRule;

/// All that a request needs on its way through.
pub(super) struct Door {
    pub(super) metrics: Arc<EdgeMetrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) origin: Origin,
    pub(super) limits: EdgeLimits,
    /// One turn for each request that may be under way.
    pub(super) turns: Arc<Semaphore>,
    pub(super) bodies: Arc<Room>,
    pub(super) bearer: BearerRule,
    pub(super) nonces: Option<Nonces>,
    pub(super) knowledge: Arc<Knowledge>,
    pub(super) chains: Chains,
    pub(super) used_proofs: UsedProofs,
    pub(super) lender: Arc<Lender>,
    pub(super) shares: Arc<Shares>,
    pub(super) approvals: ApprovalDesk,
    pub(super) scrubbers: Scrubbers,
    pub(super) journal: Journal,
}

/// Where the edge itself is asked, and no service: a service's name does not begin with a dot.
const HEALTHZ: &str = "/.writ/healthz";
/// The same: whether it holds a lease.
const READYZ: &str = "/.writ/readyz";
/// The same: which services the token that is shown can be for.
const SERVICES: &str = "/.writ/services";

impl Door {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<AnswerBody> {
        match request.uri().path() {
            HEALTHZ => return own(StatusCode::OK, "alive\n"),
            READYZ if self.knowledge.lease_holds() => return own(StatusCode::OK, "ready\n"),
            READYZ => return own(StatusCode::SERVICE_UNAVAILABLE, "no lease\n"),
            _ => {}
        }
        let Ok(id) = fresh_id() else {
            // Without an id there is no record, and without a record there is no answer but this.
            return own(StatusCode::SERVICE_UNAVAILABLE, "no randomness\n");
        };
        let account = Account::new(id, request.method().as_str(), peer.address);
        let under_way = (peer.visitor.asks(), self.turns.clone().try_acquire_owned().ok());
        let answered = match request.uri().path() {
            _ if under_way.1.is_none() => Err(self.turned_away(account).await),
            SERVICES if request.method() == Method::GET => self.listed(request, peer, account).await,
            _ => self.decided(request, peer, account).await,
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(denial) => {
                let nonce = self.nonce();
                denial.answer(id, nonce.as_deref()).map(|body| AnswerBody::Own(Some(body)))
            }
        };
        response.body_mut().keep(under_way);
        let headers = response.headers_mut();
        if !headers.contains_key(REQUEST_HEADER)
            && let Ok(text) = HeaderValue::from_str(&id.to_string())
        {
            headers.insert(REQUEST_HEADER, text);
            if let Some(nonce) = self.nonce().and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
                headers.insert(NONCE_HEADER, nonce);
            }
        }
        response
    }

    /// Decides, records the decision, and only then acts on it.
    async fn decided(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        mut account: Account,
    ) -> Result<Response<AnswerBody>, Denial> {
        let id = account.request;
        match self.admit(request, peer, &mut account).await {
            Ok(admitted) => {
                let event = account.allowed(admitted.permit.capabilities());
                // Begun first: should the caller go away while the disk works, the decision still gets its outcome.
                let mut ending = Ending::new(id, self.journal.clone(), self.clock.clone());
                if let Err(error) = self.journal.append(&event).await {
                    let late = matches!(error, JournalError::Late(_));
                    let denial = Denial::from(error);
                    if late {
                        // Written behind the decision, should that be.
                        ending.tell(Finish::Refused { reason: denial.reason().into() });
                    } else {
                        ending.discard();
                    }
                    return Err(denial);
                }
                self.metrics.allowed();
                self.forward(admitted, id, ending).await
            }
            Err(denial) => {
                self.record_denial(id, account, &denial).await;
                Err(denial)
            }
        }
    }

    /// Lists services. Nothing is forwarded, so only a refusal is recorded.
    async fn listed(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        mut account: Account,
    ) -> Result<Response<AnswerBody>, Denial> {
        let id = account.request;
        match self.services(request, peer, &mut account).await {
            Ok(list) => {
                let mut response = own(StatusCode::OK, "");
                *response.body_mut() = AnswerBody::Own(Some(list));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(response)
            }
            Err(denial) => {
                self.record_denial(id, account, &denial).await;
                Err(denial)
            }
        }
    }

    async fn turned_away(&self, account: Account) -> Denial {
        let denial = Denial::edge_busy();
        self.record_denial(account.request, account, &denial).await;
        denial
    }

    async fn record_denial(&self, id: RequestId, account: Account, denial: &Denial) {
        self.metrics.denied(denial.reason());
        if let Err(error) = self.journal.append(&account.denied(denial)).await {
            tracing::error!(request = %id, %error, "a denial was not recorded");
        }
    }

    fn nonce(&self) -> Option<String> {
        let [nonce, _] = self.nonces.as_ref()?.at(self.clock.now());
        Some(nonce)
    }
}

/// How many ids a thread makes at once.
const IDS: usize = 32;

thread_local! {
    static FRESH: RefCell<Vec<RequestId>> = const { RefCell::new(Vec::new()) };
}

/// An id that no other request has. It is no secret, so random bytes are taken for many at once.
fn fresh_id() -> Result<RequestId, Unspecified> {
    FRESH.with_borrow_mut(|fresh| {
        if fresh.is_empty() {
            let bytes = crate::edge::random::<{ 16 * IDS }>()?;
            fresh.extend(bytes.as_chunks::<16>().0.iter().copied().map(RequestId::from_bytes));
        }
        fresh.pop().ok_or(Unspecified)
    })
}

fn own(status: StatusCode, text: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Own(Some(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(EDGE_HEADER, HeaderValue::from_static("edge"));
    response
}
