//! What is known of a request while it passes through: the source of its audit records.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit::event::{Also, ByPolicy, UsedProof, What};
use crate::audit::{Decision, Event, Finish, Outcome, Verdict};
use crate::clock::{Clock, Monotonic};
use crate::edge::chains::Known;
use crate::edge::denial::Denial;
use crate::edge::journal::Journal;
use crate::id::{ApprovalId, CredentialName, Hex, RequestId};
use crate::policy::Decided;
use crate::revocation::Loan;
use crate::small::Text;
use crate::token::Capability;
use crate::token::proof::Proof;

/// What was established about a request so far.
pub(super) struct Account {
    /// Names the request.
    pub(super) request: RequestId,
    pub(super) method: Text,
    /// Normalised; `-` until it is.
    pub(super) path: Text,
    pub(super) client: SocketAddr,
    pub(super) known: Option<Arc<Known>>,
    pub(super) proof: Option<Proof>,
    /// The holder proved the connection instead.
    pub(super) by_connection: bool,
    pub(super) what: Option<What>,
    /// The operations after the first.
    pub(super) also: Vec<What>,
    pub(super) credential: Option<CredentialName>,
    /// Which policies had a say.
    pub(super) policy: Option<Decided>,
    /// The person's approval that it is decided with.
    pub(super) approval: Option<ApprovalId>,
    pub(super) seq: u64,
}

impl Account {
    /// A request of which only method and sender are known.
    pub(super) fn new(request: RequestId, method: &str, client: SocketAddr) -> Self {
        Self {
            request,
            // An extension method is the caller's text: only as long as one that could have been served.
            method: method.get(..32).unwrap_or(method).into(),
            path: "-".into(),
            client,
            known: None,
            proof: None,
            by_connection: false,
            what: None,
            also: Vec::new(),
            credential: None,
            policy: None,
            approval: None,
            seq: 0,
        }
    }

    /// The record of a permit: by which capability each operation is allowed.
    pub(super) fn allowed<'a>(self, capabilities: impl Iterator<Item = &'a Capability>) -> Event {
        self.decision(Verdict::Allowed, "allowed", None, capabilities)
    }

    /// The record of a denial.
    pub(super) fn denied(self, denial: &Denial) -> Event {
        self.decision(Verdict::Denied, denial.reason(), Some(denial.detail()), std::iter::empty())
    }

    fn decision<'a>(
        self,
        verdict: Verdict,
        reason: &'static str,
        detail: Option<Box<str>>,
        capabilities: impl Iterator<Item = &'a Capability>,
    ) -> Event {
        let mut capabilities = capabilities.cloned();
        let capability = capabilities.next();
        let also = self.also.into_iter().map(|what| Also { what, capability: capabilities.next() });
        Event::Decision(Box::new(Decision {
            request: self.request,
            verdict,
            reason: reason.into(),
            detail,
            who: self.known.map(|known| known.told()),
            method: self.method,
            path: self.path,
            what: self.what,
            capability,
            also: also.collect(),
            credential: self.credential,
            policy: self.policy.map(by_policy),
            approval: self.approval,
            revocation_seq: self.seq,
            proof: self
                .proof
                .map(|proof| UsedProof { id: Hex(&proof.id.0).to_string().into(), until: proof.replayable_until }),
            by_connection: self.by_connection,
            client: Some(self.client.ip()),
        }))
    }
}

fn by_policy(decided: Decided) -> ByPolicy {
    let Decided { version, mut policies, mut shadow } = decided;
    let of = policies.len() + shadow.len();
    policies.truncate(ByPolicy::NAMES_MAX);
    shadow.truncate(ByPolicy::NAMES_MAX);
    ByPolicy { version, left_out: of - policies.len() - shadow.len(), policies, shadow }
}

/// A request that was allowed. Its outcome is written once, at the latest when this is dropped.
pub(super) struct Ending {
    journal: Journal,
    clock: Arc<dyn Clock>,
    decided: Monotonic,
    outcome: Option<Outcome>,
    /// Counted by the body on its way up, which the upstream's connection owns.
    pub(super) bytes_up: Arc<AtomicU64>,
}

impl Ending {
    /// Begins when the decision was written.
    pub(super) fn new(request: RequestId, journal: Journal, clock: Arc<dyn Clock>) -> Self {
        let outcome = Outcome {
            request,
            finish: Finish::Abandoned,
            status: None,
            bytes_up: 0,
            bytes_down: 0,
            elapsed_ms: 0,
            injected_at_seq: None,
            credential_epoch: None,
        };
        Self { decided: clock.monotonic(), journal, clock, outcome: Some(outcome), bytes_up: Arc::default() }
    }

    /// The decision was not written, so it has no outcome.
    pub(super) fn discard(mut self) {
        self.outcome = None;
    }

    /// The credential is about to be used, with so much of the revocation log known.
    pub(super) fn injected(&mut self, seq: u64, credential: Option<&Loan>) {
        if let Some(outcome) = &mut self.outcome {
            outcome.injected_at_seq = Some(seq);
            outcome.credential_epoch = credential.map(|loan| loan.epoch);
        }
    }

    /// The upstream answered.
    pub(super) fn answered(&mut self, status: u16) {
        if let Some(outcome) = &mut self.outcome {
            outcome.status = Some(status);
        }
    }

    /// So many body bytes went to the caller.
    pub(super) fn passed(&mut self, bytes: u64) {
        if let Some(outcome) = &mut self.outcome {
            outcome.bytes_down += bytes;
        }
    }

    /// It ended so. Only the first word counts.
    pub(super) fn tell(&mut self, finish: Finish) {
        let Some(outcome) = self.outcome.take() else { return };
        let elapsed_ms = self.clock.monotonic().since(self.decided).as_millis();
        let outcome = Outcome {
            finish,
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            elapsed_ms: u64::try_from(elapsed_ms).unwrap_or(u64::MAX),
            ..outcome
        };
        let request = outcome.request;
        if let Err(error) = self.journal.submit(&Event::Outcome(outcome)) {
            // The decision stands; what became of it will be written as unknown when the edge starts again.
            tracing::error!(%request, %error, "the outcome of a request was not recorded");
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.tell(Finish::Abandoned);
    }
}
