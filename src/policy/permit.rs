//! From a live token and what a request does to a permit, and from a permit to the moment a credential may be used.

#[cfg(feature = "server")]
use core::net::IpAddr;
#[cfg(feature = "server")]
use std::sync::Arc;

#[cfg(feature = "server")]
use crate::clock::Monotonic;
use crate::clock::Timestamp;
use crate::id::PolicyName;
use crate::policy::approval::Demand;
#[cfg(feature = "server")]
use crate::policy::rules::{Question, Rules, Verdict};
#[cfg(feature = "server")]
use crate::revocation::{Borrowed, Lease, LiveToken, NotLive, RevocationSet, Use};
use crate::small::Few;
use crate::token::{Capability, Chain, Operation};
#[cfg(feature = "server")]
use crate::token::{Operations, Value};

/// This token may do all of these operations now, by its own word and by its tenant's policies. Only [`authorize`] makes one.
#[cfg(feature = "server")]
#[derive(Debug)]
pub struct Permit {
    token: LiveToken,
    permitted: Arc<Permitted>,
}

/// What was permitted, and by which policies. Kept while it goes on, to be put before other ones.
#[cfg(feature = "server")]
#[derive(Debug)]
pub struct Permitted {
    operations: Operations,
    /// For each operation, which capability of the token allows it.
    allowed_by: Few<usize, 2>,
    rules: Arc<Rules>,
    decided: Decided,
    facts: Facts,
}

/// What is known of a request besides what it does.
#[cfg(feature = "server")]
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it is decided.
    pub now: Timestamp,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// How much of each limit is used.
    pub used: Vec<(Box<str>, Value)>,
    /// The `@approval` texts for which an approval of this very request was given.
    pub approved: Vec<Box<str>>,
}

#[cfg(feature = "server")]
impl Facts {
    /// A request of which nothing but the time is known.
    pub const fn at(now: Timestamp) -> Self {
        Self { now, source: None, used: Vec::new(), approved: Vec::new() }
    }
}

/// Which policies had a say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The version of the tenant's set; 0 for the built-in one.
    pub version: u64,
    /// Those that decided, sorted.
    pub policies: Few<PolicyName>,
    /// Those that would have had a say, were they not in shadow.
    pub shadow: Few<PolicyName>,
}

/// A permit whose token was found live a second time, directly before the credential is used, and the credential that was
/// looked at with it. Only [`Permit::clear`] makes one.
#[cfg(feature = "server")]
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
    /// What policies said of the operations so far, once the token allowed them.
    pub decided: Option<Decided>,
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
    /// No policy permits it.
    #[error("no policy permits this")]
    PolicyDenied,
    /// A policy forbids it.
    #[error("the policy `{policy}` forbids this")]
    PolicyForbidden {
        /// The first that does.
        policy: PolicyName,
    },
    /// A policy could not be evaluated, so that nobody knows what it would say.
    #[error("the policy `{policy}` cannot be evaluated for this request")]
    PolicyError {
        /// Its name; `-` where it is not known.
        policy: Box<str>,
        /// Why.
        why: Box<str>,
    },
    /// The policies let a person decide.
    #[error("this needs the approval of a person")]
    ApprovalRequired {
        /// One for each operation that does, equal ones once.
        demands: Vec<Demand>,
        /// The version of the set that says so.
        version: u64,
    },
    /// The writ was minted before policies asked for a group that it therefore does not state.
    #[error("the writ is older than the policies, which ask for further groups of its user")]
    Outdated,
}

/// Why a permit came to nothing at the second look.
#[cfg(feature = "server")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotClear {
    /// The token.
    #[error(transparent)]
    NotLive(#[from] NotLive),
    /// The policies are no longer those that gave it.
    #[error("the policies changed while the request waited: send it again")]
    PolicyChanged,
}

impl DenialReason {
    /// The reason code of `spec/token.md`, for the audit record.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCapability => "no_capability",
            Self::Check { .. } => "check_failed",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyForbidden { .. } => "policy_forbidden",
            Self::PolicyError { .. } => "policy_error",
            Self::ApprovalRequired { .. } => "approval_required",
            Self::Outdated => "writ_outdated",
        }
    }
}

/// Decides whether `token` may do all of `operations`: each is allowed by a capability of the authority block, passes every
/// check of every block, and is then permitted and not forbidden by `rules`, one version of the tenant's set for all.
#[cfg(feature = "server")]
#[expect(clippy::result_large_err, reason = "a denial is written down and answered, not passed through many hands")]
pub fn authorize(token: LiveToken, operations: Operations, rules: &Arc<Rules>, facts: Facts) -> Result<Permit, Denied> {
    let chain = token.chain();
    let allowed = |operation: &Operation| {
        let allowed = allows(chain, operation, facts.now);
        allowed.map_err(|reason| Denied { reason, needed: operation.needed(), decided: None })
    };
    let allowed_by = operations.iter().map(allowed).collect::<Result<_, _>>()?;
    let decided = permitted(chain, &operations, rules, &facts)?;
    let permitted = Permitted { operations, allowed_by, rules: rules.clone(), decided, facts };
    Ok(Permit { permitted: Arc::new(permitted), token })
}

/// What the policies say of all operations: a denial of one denies all, and comes before an approval that another asks for.
#[cfg(feature = "server")]
#[expect(clippy::result_large_err, reason = "a denial is written down and answered, not passed through many hands")]
fn permitted(chain: &Chain, operations: &Operations, rules: &Rules, facts: &Facts) -> Result<Decided, Denied> {
    let mut decided = Decided { version: rules.version(), ..Decided::default() };
    let mut demanded: Option<(Vec<Demand>, Capability)> = None;
    let authority = chain.authority();
    for operation in operations {
        let needed = || operation.needed();
        if authority.subject.is_some() && rules.outdates(authority.policy.version) {
            return Err(Denied { reason: DenialReason::Outdated, needed: needed(), decided: Some(decided) });
        }
        let question = Question::of_call(chain, operation, facts.source, &facts.used, facts.now);
        let answer = rules.decide(&question, &facts.approved);
        decided.shadow.extend(answer.shadow);
        let reason = match answer.verdict {
            Verdict::Allowed { by, .. } => {
                decided.policies.extend(by);
                continue;
            }
            Verdict::Approval { by, approvers } => {
                let mut policies: Vec<Box<str>> = by.iter().map(|policy| policy.as_str().into()).collect();
                policies.sort_unstable();
                decided.policies.extend(by);
                let (demands, _) = demanded.get_or_insert_with(|| (Vec::new(), needed()));
                demands.push(Demand { approvers, policies });
                continue;
            }
            Verdict::NotPermitted => DenialReason::PolicyDenied,
            Verdict::Forbidden { by } => {
                decided.policies.clone_from(&by);
                match by.into_iter().next() {
                    Some(policy) => DenialReason::PolicyForbidden { policy },
                    None => DenialReason::PolicyDenied,
                }
            }
            Verdict::Erring { by, why } => {
                decided.policies.clone_from(&by);
                let policy = by.first().map_or("-", PolicyName::as_str).into();
                DenialReason::PolicyError { policy, why }
            }
        };
        return Err(Denied { reason, needed: needed(), decided: Some(decided.once()) });
    }
    let decided = decided.once();
    let Some((mut demands, needed)) = demanded else { return Ok(decided) };
    demands.sort_unstable();
    demands.dedup();
    let reason = DenialReason::ApprovalRequired { demands, version: rules.version() };
    Err(Denied { reason, needed, decided: Some(decided) })
}

#[cfg(feature = "server")]
impl Decided {
    fn once(mut self) -> Self {
        for names in [&mut self.policies, &mut self.shadow] {
            names.sort_unstable();
            names.dedup();
        }
        self
    }
}

/// The token's part of [`authorize`] for one operation, without its consequence, for `writ explain`: names the capability that allows, or what denies.
pub fn decide<'a>(chain: &'a Chain, operation: &Operation, now: Timestamp) -> Result<&'a Capability, DenialReason> {
    allows(chain, operation, now).map(|allowed_by| &chain.authority().capabilities[allowed_by])
}

/// Which capability it is.
fn allows(chain: &Chain, operation: &Operation, now: Timestamp) -> Result<usize, DenialReason> {
    let capabilities = &chain.authority().capabilities;
    let allowed_by = capabilities.iter().position(|capability| capability.allows(operation));
    let allowed_by = allowed_by.ok_or(DenialReason::NoCapability)?;
    match chain.checks().iter().find(|check| !check.passes(operation, now)) {
        Some(check) => Err(DenialReason::Check { block: check.block, check: check.source.clone() }),
        None => Ok(allowed_by),
    }
}

#[cfg(feature = "server")]
impl Permit {
    /// The token it was given for.
    pub const fn token(&self) -> &LiveToken {
        &self.token
    }

    /// The operations it allows.
    pub fn operations(&self) -> &Operations {
        self.permitted.operations()
    }

    /// The capabilities that allowed them: one for each operation, in their order.
    pub fn capabilities(&self) -> impl Iterator<Item = &Capability> {
        let all = &self.token.chain().authority().capabilities;
        self.permitted.allowed_by.iter().map(|allowed_by| &all[*allowed_by])
    }

    /// What it permits, and by which policies.
    pub const fn permitted(&self) -> &Arc<Permitted> {
        &self.permitted
    }

    /// Which of them decided.
    pub fn decided(&self) -> &Decided {
        &self.permitted.decided
    }

    /// Looks again, directly before `credential` is used: whatever was waited for since, neither the token nor the service
    /// nor this version of the credential was revoked meanwhile, and `rules`, the tenant's of now, are those that gave it.
    pub fn clear<C: Borrowed>(
        self,
        credential: Option<C>,
        set: &RevocationSet,
        lease: &Lease,
        rules: &Arc<Rules>,
        now: Monotonic,
    ) -> Result<Cleared<C>, (Self, NotClear)> {
        if !Arc::ptr_eq(&self.permitted.rules, rules) {
            return Err((self, NotClear::PolicyChanged));
        }
        let loan = credential.as_ref().map(Borrowed::loan);
        let used = Use { chain: self.token.chain(), service: self.operations().service(), loan };
        match set.check_use(used, lease, now) {
            Ok(()) => Ok(Cleared { seq: set.seq(), permit: self, credential }),
            Err(not_live) => Err((self, not_live.into())),
        }
    }
}

#[cfg(feature = "server")]
impl Permitted {
    /// The operations.
    pub const fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The policies that were asked.
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Whether `rules` permit at `now` what goes on by this. What was used of limits, and what a person approved, is as it was
    /// when it was permitted: both were for this request, which was sent.
    #[expect(clippy::result_large_err, reason = "a denial is written down and answered, not passed through many hands")]
    pub fn still(&self, chain: &Chain, rules: &Rules, now: Timestamp) -> Result<(), Denied> {
        let facts = Facts { now, ..self.facts.clone() };
        permitted(chain, &self.operations, rules, &facts).map(drop)
    }
}

#[cfg(feature = "server")]
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
