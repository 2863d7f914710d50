//! From a live token and what a request does to a permit, and from a permit to the moment a credential may be used.

use crate::clock::{Monotonic, Timestamp};
use crate::revocation::{Borrowed, Lease, LiveToken, NotLive, RevocationSet, Use};
use crate::token::{Capability, Chain, Operation, Operations};

/// This token may do all of these operations now. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    token: LiveToken,
    operations: Operations,
    /// One for each operation.
    capabilities: Box<[Capability]>,
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
    /// The narrowest capability for the first operation that was denied.
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

/// Decides whether `token` may do all of `operations` at `now`: each is allowed by a capability of the authority block, and
/// passes every check of every block.
pub fn authorize(token: LiveToken, operations: Operations, now: Timestamp) -> Result<Permit, Denied> {
    let decided = |operation: &Operation| {
        let allowed = decide(token.chain(), operation, now);
        allowed.cloned().map_err(|reason| Denied { reason, needed: operation.needed() })
    };
    let capabilities = operations.iter().map(decided).collect::<Result<_, _>>()?;
    Ok(Permit { token, operations, capabilities })
}

/// The rule of [`authorize`] for one operation, without its consequence, for `writ explain`: names the capability that allows, or what denies.
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

    /// The operations it allows.
    pub const fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The capabilities that allowed them: one for each operation, in their order.
    pub const fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Looks again, directly before `credential` is used: whatever was waited for since, neither the token nor the service
    /// nor this version of the credential was revoked meanwhile.
    pub fn clear<C: Borrowed>(
        self,
        credential: Option<C>,
        set: &RevocationSet,
        lease: &Lease,
        now: Monotonic,
    ) -> Result<Cleared<C>, (Self, NotLive)> {
        let loan = credential.as_ref().map(Borrowed::loan);
        let used = Use { chain: self.token.chain(), service: self.operations.service(), loan };
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
