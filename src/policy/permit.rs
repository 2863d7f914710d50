//! From a live token and an operation to a permit, and from a permit to the moment a credential may be used.

use crate::clock::{Monotonic, Timestamp};
use crate::revocation::{Borrowed, Lease, LiveToken, NotLive, RevocationSet, Use};
use crate::token::{Capability, Chain, Operation};

/// This token may do this operation now. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    token: LiveToken,
    operation: Operation,
    capability: Capability,
}

/// A permit whose token was found live a second time, directly before the credential is used, and the credential that was
/// looked at with it. Only [`Permit::clear`] makes one.
#[derive(Debug)]
pub struct Cleared<C> {
    permit: Permit,
    credential: Option<C>,
    seq: u64,
}

/// The token is good, but not for this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; ask for `{needed}`")]
pub struct Denied {
    /// Why.
    pub reason: DenialReason,
    /// The narrowest capability that would have allowed it.
    pub needed: Capability,
}

/// Which step denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenialReason {
    /// No capability of the authority block allows the operation.
    #[error("the writ has no capability for this operation")]
    NoCapability,
    /// A check of a block failed.
    #[error("block {block} of the writ denies it by `{check}`")]
    Check {
        /// The block, 0 for the authority block.
        block: usize,
        /// The check's Datalog text.
        check: Box<str>,
    },
}

impl DenialReason {
    /// The reason code of `spec/token.md`, for the audit record.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCapability => "no_capability",
            Self::Check { .. } => "check_failed",
        }
    }
}

/// Decides whether `token` may do `operation` at `now`: a capability of the authority block allows it, and every check
/// of every block passes.
pub fn authorize(token: LiveToken, operation: Operation, now: Timestamp) -> Result<Permit, Denied> {
    match decide(token.chain(), &operation, now) {
        Ok(capability) => Ok(Permit { capability: capability.clone(), token, operation }),
        Err(reason) => Err(Denied { reason, needed: operation.needed() }),
    }
}

/// The rule of [`authorize`] without its consequence, for `writ explain`: names the capability that allows, or what denies.
pub fn decide<'a>(chain: &'a Chain, operation: &Operation, now: Timestamp) -> Result<&'a Capability, DenialReason> {
    let capability = chain
        .authority()
        .capabilities
        .iter()
        .find(|capability| capability.allows(operation))
        .ok_or(DenialReason::NoCapability)?;
    match chain.checks().iter().find(|check| !check.passes(operation, now)) {
        Some(check) => Err(DenialReason::Check { block: check.block, check: check.source.clone() }),
        None => Ok(capability),
    }
}

impl Permit {
    /// The token it was given for.
    pub const fn token(&self) -> &LiveToken {
        &self.token
    }

    /// The operation it allows.
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The capability that allowed it.
    pub const fn capability(&self) -> &Capability {
        &self.capability
    }

    /// Looks again, directly before `credential` is used: whatever was waited for since, neither the token nor the service
    /// nor this version of the credential was revoked meanwhile.
    #[expect(clippy::result_large_err, reason = "the permit goes back to the caller, who records its refusal")]
    pub fn clear<C: Borrowed>(
        self,
        credential: Option<C>,
        set: &RevocationSet,
        lease: &Lease,
        now: Monotonic,
    ) -> Result<Cleared<C>, (Self, NotLive)> {
        let loan = credential.as_ref().map(Borrowed::loan);
        let used = Use { chain: self.token.chain(), service: &self.operation.service, loan };
        match set.check_use(used, lease, now) {
            Ok(()) => Ok(Cleared { seq: set.seq(), permit: self, credential }),
            Err(not_live) => Err((self, not_live)),
        }
    }
}

impl<C> Cleared<C> {
    /// The permit.
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The credential that may be used.
    pub const fn credential(&self) -> Option<&C> {
        self.credential.as_ref()
    }

    /// How much of the revocation log was known when it was cleared.
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}
