//! Revoking without an operator: a holder shows a token and proves that it holds it, or held it further up.
//!
//! A holder may end the block that made it a holder, and everything below: never an ancestor's, never a sibling's. Nothing
//! of this shares a limit, a queue or a memory with operators or edges.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::audit::Actor;
use crate::authority::receipt::ReceiptText;
use crate::authority::seen::Quota;
use crate::authority::{Authority, AuthorityError, FORGET_MARGIN, change_with};
use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::key::PublicKey;
use crate::revocation::Target;
use crate::store::WitnessedRevocation;
use crate::token::{Chain, RawToken, TokenError, verify};

/// How many of these requests are under way at once, waiting for their receipts included.
pub const IN_FLIGHT_MAX: usize = 256;
/// How many of them are checked and committed at once: so many commits an operator's may have to wait for.
pub const CHECKED_AT_ONCE: usize = 4;
/// How many one key may make within one [`KEY_WINDOW`].
pub const PER_KEY_MAX: u32 = 60;
/// See [`PER_KEY_MAX`].
pub const KEY_WINDOW: Duration = Duration::from_secs(60);

/// The limits on holders' revocations, of this process.
pub(super) struct WitnessLimits {
    in_flight: Arc<Semaphore>,
    checks: Semaphore,
    by_key: Quota<PublicKey>,
}

impl Default for WitnessLimits {
    fn default() -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            checks: Semaphore::new(CHECKED_AT_ONCE),
            by_key: Quota::new(PER_KEY_MAX, KEY_WINDOW),
        }
    }
}

/// A place among the requests that are under way.
#[derive(Debug)]
pub struct WitnessPlace {
    _permit: OwnedSemaphorePermit,
}

/// What a holder wants revoked.
#[derive(Debug)]
pub struct WitnessRequest<'a> {
    /// The witness: a token with the holder in its chain.
    pub token: &'a str,
    /// One of its blocks; the last hop, or the authority block, if not named.
    pub block: Option<BlockId>,
}

/// Who shows the witness.
#[derive(Debug)]
pub enum Shown {
    /// Whoever proved this key.
    By(PublicKey),
    /// The agent that the writ was minted for, authenticated as such.
    ByAgent(crate::store::Agent),
}

/// What came of it.
#[derive(Debug)]
pub enum Ended {
    /// No edge serves it from now on.
    Receipt(ReceiptText),
    /// It was over long before: no edge serves it, and nothing was stored.
    Over {
        /// What was meant.
        target: Target,
        /// The last moment that any of it was valid.
        since: Timestamp,
    },
}

impl Authority {
    /// A place for a holder's request, if there is one left. Take it when the whole request has been read.
    pub fn witness_place(&self) -> Result<WitnessPlace, AuthorityError> {
        let permit = Arc::clone(&self.witnesses.in_flight).try_acquire_owned();
        permit.map(|_permit| WitnessPlace { _permit }).map_err(|_| AuthorityError::TooManyWitnesses)
    }

    /// Checks the proof of a holder's request: over method, URL and body. It is not used up, because to repeat such a request
    /// changes nothing.
    pub fn witness_proof(&self, path: &str, proof: &str, body: &[u8]) -> Result<PublicKey, AuthorityError> {
        let head = self.proof_of_head(path, proof)?;
        head.check_body(&crate::key::sha256(body))?;
        Ok(head.key)
    }

    /// Revokes a block of a token for one of its holders, and returns once no edge serves it.
    pub async fn revoke_witnessed(
        &self,
        _place: &WitnessPlace,
        by: Shown,
        request: &WitnessRequest<'_>,
    ) -> Result<Ended, AuthorityError> {
        let checking = self.witnesses.checks.acquire().await.map_err(|_| AuthorityError::TooManyWitnesses)?;
        let chain = self.witness(request.token).await?;
        let (position, key) = position(&chain, &by)?;
        let ids: Vec<BlockId> = chain.block_ids().collect();
        let wanted = match request.block {
            None => ids.len() - 1,
            Some(block) => ids.iter().position(|id| *id == block).ok_or(AuthorityError::NotYours)?,
        };
        if wanted < position {
            return Err(AuthorityError::NotYours);
        }
        if let Some(key) = key {
            let counted = self.witnesses.by_key.count(key, self.clock.monotonic());
            counted.map_err(|_| AuthorityError::TooManyWitnesses)?;
        }
        let target = Target::Block(ids[wanted]);
        let at = self.now();
        let over = |expires: Timestamp| expires.after(FORGET_MARGIN) < at;
        // A root key that was stolen could sign writs without end, and for ever: only those that were issued have a place
        // in the log, and for as long as they were issued.
        let expires = match self.store.issued(ids[0]).await? {
            Some(issued) => issued.expires,
            None if over(chain.authority().expires) => chain.authority().expires,
            None => return Err(AuthorityError::UnknownWrit),
        };
        if over(expires) {
            return Ok(Ended::Over { target, since: expires });
        }
        let forget_after = expires.after(FORGET_MARGIN);
        let (actor, shown) = match by {
            Shown::By(key) => (Actor::Holder(key), "key"),
            Shown::ByAgent(agent) => (Actor::Agent(agent.name), "agent"),
        };
        let detail = json!({
            "shown_by": shown,
            "holder": key,
            "position": position,
            "block_position": wanted,
            "root": ids[0],
            "token_sha256": hex::encode(chain.digest().0),
        });
        let event = change_with(actor, "revocation.witness", &target, Some(&chain.authority().tenant), detail);
        let revocation = WitnessedRevocation { path: ids[..=wanted].to_vec(), forget_after, at };
        let entry = self.store.revoke_witnessed(&revocation, &event).await?;
        let entry = entry.ok_or(AuthorityError::NoRoomForWitnesses)?;
        // Waiting for edges keeps nobody from being checked.
        drop(checking);
        Ok(Ended::Receipt(self.receipt_for(&entry).await?))
    }

    /// The chain of a token that any root key of ours ever signed, expired or not.
    pub(super) async fn witness(&self, token: &str) -> Result<Chain, AuthorityError> {
        let raw = RawToken::parse(token.trim(), &self.limits)?;
        match verify(&raw, &self.published.load().ever(), &self.limits) {
            // Another replica may have made a root key since this one looked.
            Err(TokenError::UnknownRoot) => Ok(verify(&raw, &self.refreshed().await?.ever(), &self.limits)?),
            other => Ok(other?),
        }
    }
}

/// Where in the chain the one who shows it stands, 0 for the agent it was minted for; and the key that shows that.
fn position(chain: &Chain, by: &Shown) -> Result<(usize, Option<PublicKey>), AuthorityError> {
    match by {
        Shown::By(key) => {
            let position = chain.holders().position(|holder| holder == *key).ok_or(AuthorityError::NotYours)?;
            Ok((position, Some(*key)))
        }
        Shown::ByAgent(agent) => {
            let authority = chain.authority();
            if authority.tenant != agent.tenant || authority.agent != agent.name {
                return Err(AuthorityError::NotYours);
            }
            Ok((0, agent.key))
        }
    }
}
