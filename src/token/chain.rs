//! A token whose signatures hold and whose blocks keep to the profile: who granted what to whom, hop by hop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::id::{AgentName, AudienceName, BlockId, GrantId, Subject, TenantName};
use crate::key::{PublicKey, sha256};
use crate::token::capability::Capability;
use crate::token::check::Check;
use crate::token::claims::PolicyFacts;
use crate::token::raw::TokenDigest;

/// The signature chain holds, every block keeps to the profile, and the holders align. Says nothing about now:
/// not about time, possession, revocation. Safe to cache by digest.
#[derive(Debug)]
pub struct Chain {
    pub(super) digest: TokenDigest,
    pub(super) root_key_id: u32,
    // Chains that begin with the same blocks share what those say.
    pub(super) authority: Arc<Authority>,
    pub(super) hops: Vec<Hop>,
    /// The checks of every block, the authority block included, in block order. All must pass.
    pub(super) checks: Vec<Arc<Check>>,
    pub(super) sealed: bool,
    pub(super) blocks: usize,
    pub(super) live_mark: LiveMark,
}

/// Where whoever knows what is revoked notes in which state of that knowledge it found the chain live. Of no other meaning:
/// a note counts for the state that it names and for no other.
#[derive(Debug, Default)]
pub struct LiveMark(AtomicU64);

impl LiveMark {
    /// Whether `state` was noted last.
    pub fn is(&self, state: u64) -> bool {
        self.0.load(Ordering::Relaxed) == state
    }

    /// Notes `state`, which is never 0.
    pub fn set(&self, state: u64) {
        self.0.store(state, Ordering::Relaxed);
    }
}

/// What the authority block states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The authority that minted it: its issuer URL.
    pub issuer: Box<str>,
    /// The edge deployment it is meant for.
    pub audience: AudienceName,
    /// The tenant of the agent, the services and the credentials.
    pub tenant: TenantName,
    /// The user it acts for, if any.
    pub subject: Option<Subject>,
    /// The identity-provider session it came from, if any.
    pub session: Option<Subject>,
    /// The agent it was minted for.
    pub agent: AgentName,
    /// The agent's key; `None` for a bearer writ.
    pub holder: Option<PublicKey>,
    /// What it allows.
    pub capabilities: Vec<Capability>,
    /// The grants it was minted under.
    pub grants: Vec<GrantId>,
    /// Names this block; revoking it kills the token and all that hangs below it.
    pub id: BlockId,
    /// The first moment it is valid.
    pub not_before: Timestamp,
    /// The last moment it is valid (inclusive).
    pub expires: Timestamp,
    /// How many hops may be appended.
    pub depth_max: u8,
    /// The revocation log's head when it was minted: later entries for its subject, agent, tenant or everything kill it.
    pub epoch: u64,
    /// What each proof must cover beyond RFC 9449.
    pub proof_covers: ProofCovers,
    /// What it states for policies.
    pub policy: PolicyFacts,
}

/// What a proof must cover beyond method, URL and token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProofCovers {
    /// The query string, by the claim `htq`.
    pub query: bool,
    /// The body, by the claim `bdh`.
    pub body: bool,
}

/// One delegation: a block signed by the holder before it, which names the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The block it is, counted from the authority block, which is 0.
    pub block: usize,
    /// Who delegated: the holder before, whose key signed this block.
    pub signed_by: PublicKey,
    /// Who holds it now.
    pub holder: PublicKey,
    /// Names this block, and no block that another holder signed; revoking it kills what hangs below it.
    pub id: BlockId,
    /// The last moment it is valid (inclusive). The chain ends at its earliest.
    pub expires: Timestamp,
    /// The first moment it is valid, if later than its parent's.
    pub not_before: Option<Timestamp>,
    /// What the delegator calls the next holder. Self-asserted: show it beside the key, decide nothing by it.
    pub agent: Option<AgentName>,
}

impl Hop {
    /// The id of the hop that `signed_by` signs for `holder`, with `nonce` as its `id` fact.
    ///
    /// A digest over all three: a holder chooses the fact, and must not be able to give a hop of its own the id of an
    /// ancestor's or a sibling's, and then end that by ending its own.
    pub fn id_of(signed_by: &PublicKey, nonce: BlockId, holder: &PublicKey) -> BlockId {
        let named = [b"writ hop\0".as_slice(), signed_by.as_bytes(), nonce.as_bytes(), holder.as_bytes()].concat();
        let digest = sha256(&named);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        BlockId::from_bytes(id)
    }
}

impl Chain {
    /// SHA-256 of the text it was parsed from.
    pub const fn digest(&self) -> TokenDigest {
        self.digest
    }

    /// Which root key signed it.
    pub const fn root_key_id(&self) -> u32 {
        self.root_key_id
    }

    /// What the authority block states.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The delegations, in order.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The checks of every block. All must pass.
    pub fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// Whether it can't be delegated or narrowed further.
    pub const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// How many blocks it has, the authority block included.
    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    /// Where it is noted that it was found live.
    pub const fn live_mark(&self) -> &LiveMark {
        &self.live_mark
    }

    /// The ids of the authority block and of every hop, from the root.
    pub fn block_ids(&self) -> impl Iterator<Item = BlockId> {
        std::iter::once(self.authority.id).chain(self.hops.iter().map(|hop| hop.id))
    }

    /// The key of every holder, from the agent it was minted for to the one who must prove it.
    pub fn holders(&self) -> impl Iterator<Item = PublicKey> {
        self.authority.holder.into_iter().chain(self.hops.iter().map(|hop| hop.holder))
    }

    /// The one who must prove possession; `None` for a bearer writ.
    pub fn holder(&self) -> Option<PublicKey> {
        self.holders().last()
    }

    /// The last moment the whole chain is valid (inclusive).
    pub fn expires(&self) -> Timestamp {
        self.hops.iter().map(|hop| hop.expires).fold(self.authority.expires, Timestamp::min)
    }

    /// The first moment the whole chain is valid.
    pub fn not_before(&self) -> Timestamp {
        self.hops.iter().filter_map(|hop| hop.not_before).fold(self.authority.not_before, Timestamp::max)
    }
}

/// A chain that is meant for this edge, signed by a root key that still counts, and valid now.
///
/// Says nothing about who presents it, nor about revocation. Only [`current`](crate::token::verify::current) makes one.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    pub(super) chain: Arc<Chain>,
}

impl VerifiedToken {
    /// The chain.
    pub const fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }
}
