//! Reading a token without believing it, and showing one to people and scripts.

use serde::Serialize;

use crate::id::{AgentName, AudienceName, BlockId, GrantId, Group, Subject, TenantName};
use crate::key::PublicKey;
use crate::token::capability::Capability;
use crate::token::chain::{Chain, Hop, ProofCovers};
use crate::token::claims::Claim;
use crate::token::container::Container;
use crate::token::limits::Limits;
use crate::token::profile;
use crate::token::raw::RawToken;
use crate::token::verify::{self, TokenError};

/// What a token says, its signatures unchecked. No path leads from here to a request.
#[derive(Debug)]
pub struct Unverified(Chain);

impl Unverified {
    /// What it would be if its signatures held.
    pub const fn claims(&self) -> &Chain {
        &self.0
    }
}

/// Reads a token without checking its signatures. The profile must hold, and the holders must align.
pub fn inspect(raw: &RawToken, limits: &Limits) -> Result<Unverified, TokenError> {
    let container = Container::decode(raw, limits)?;
    let keys = container.keys(0, None, None)?;
    verify::chain(raw, &container, profile::read(&container, &keys, limits)?).map(Unverified)
}

/// A chain as JSON: keys in their `did:key` form, times in RFC 3339. Holds no token bytes and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// SHA-256 of the token's text, in hexadecimal.
    pub sha256: String,
    /// Which root key signed it.
    pub root_key_id: u32,
    /// The authority that minted it.
    pub issuer: Box<str>,
    /// The edge deployment it is meant for.
    pub audience: AudienceName,
    /// The tenant.
    pub tenant: TenantName,
    /// The user it acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The identity-provider session it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Subject>,
    /// The agent it was minted for.
    pub agent: AgentName,
    /// The key of that agent; absent from a bearer writ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minted_for: Option<PublicKey>,
    /// The key that must be proven now: that of the last hop, or of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<PublicKey>,
    /// What the authority block allows; hops and checks narrow it.
    pub capabilities: Vec<Capability>,
    /// The grants it was minted under.
    pub grants: Vec<GrantId>,
    /// Names the authority block.
    pub id: BlockId,
    /// The first moment the whole chain is valid.
    pub not_before: String,
    /// The last moment the whole chain is valid (inclusive).
    pub expires: String,
    /// The last moment the authority block is valid (inclusive).
    pub authority_expires: String,
    /// How many hops it has.
    pub depth: usize,
    /// How many it may have.
    pub depth_max: u8,
    /// The revocation log's head when it was minted.
    pub epoch: u64,
    /// What each proof must cover beyond RFC 9449.
    pub proof_covers: ProofCovers,
    /// The version of the tenant's policy set that it was minted under; 0 for the built-in one.
    pub policy: u64,
    /// Those of the user's groups that policies ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What the identity provider said of the user's login, for policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// The delegations, in order.
    pub hops: Vec<HopView>,
    /// The checks of every block. All must pass.
    pub checks: Vec<CheckView>,
    /// Whether nothing can be appended.
    pub sealed: bool,
    /// How many blocks it has.
    pub blocks: usize,
}

/// One delegation as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopView {
    /// The block it is.
    pub block: usize,
    /// Who delegated.
    pub signed_by: PublicKey,
    /// To whom.
    pub holder: PublicKey,
    /// What the delegator calls the holder. Self-asserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// Names the block.
    pub id: BlockId,
    /// The first moment it is valid, where it says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The last moment it is valid (inclusive).
    pub expires: String,
}

/// One check as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckView {
    /// The block it stands in.
    pub block: usize,
    /// Its Datalog text.
    pub source: Box<str>,
}

/// What `chain` says, to be shown.
pub fn view(chain: &Chain) -> TokenView {
    let authority = chain.authority().clone();
    TokenView {
        sha256: hex::encode(chain.digest().0),
        root_key_id: chain.root_key_id(),
        issuer: authority.issuer,
        audience: authority.audience,
        tenant: authority.tenant,
        subject: authority.subject,
        session: authority.session,
        agent: authority.agent,
        minted_for: authority.holder,
        holder: chain.holder(),
        capabilities: authority.capabilities,
        grants: authority.grants,
        id: authority.id,
        not_before: chain.not_before().to_string(),
        expires: chain.expires().to_string(),
        authority_expires: authority.expires.to_string(),
        depth: chain.hops().len(),
        depth_max: authority.depth_max,
        epoch: authority.epoch,
        proof_covers: authority.proof_covers,
        policy: authority.policy.version,
        groups: authority.policy.groups,
        claims: authority.policy.claims,
        hops: chain.hops().iter().map(hop_view).collect(),
        checks: chain
            .checks()
            .iter()
            .map(|check| CheckView { block: check.block, source: check.source.clone() })
            .collect(),
        sealed: chain.is_sealed(),
        blocks: chain.blocks(),
    }
}

fn hop_view(hop: &Hop) -> HopView {
    HopView {
        block: hop.block,
        signed_by: hop.signed_by,
        holder: hop.holder,
        agent: hop.agent.clone(),
        id: hop.id,
        not_before: hop.not_before.map(|time| time.to_string()),
        expires: hop.expires.to_string(),
    }
}
