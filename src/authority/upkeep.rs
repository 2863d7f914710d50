//! What the authority does without being asked: follow the store, sign the audit chain, forget what is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::audit::{Checkpoint, Head, Source};
use crate::authority::{Authority, AuthorityError};

/// How often the store is asked for news, whatever its hints say.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// How often the store is asked to remove what is over, while there is nothing of it.
const FORGET_EVERY: Duration = Duration::from_secs(60);

impl Authority {
    /// Follows the store until told to stop, then signs the audit chain's end.
    pub(super) fn spawn_upkeep(self: &Arc<Self>) -> JoinHandle<()> {
        let authority = Arc::clone(self);
        tokio::spawn(async move {
            let mut stopping = authority.stopping.subscribe();
            let mut signed = None;
            let mut next_checkpoint = authority.clock.monotonic().after(authority.terms.checkpoint_every);
            let mut next_forgetting = authority.clock.monotonic();
            let mut healthy = true;
            while !*stopping.borrow_and_update() {
                match authority.look().await {
                    Ok(()) => healthy = true,
                    Err(error) => {
                        if healthy {
                            tracing::warn!(%error, "the store does not answer; edges are refused until it does");
                        }
                        healthy = false;
                    }
                }
                if authority.clock.monotonic() >= next_checkpoint {
                    authority.sign_audit(&mut signed).await;
                    next_checkpoint = authority.clock.monotonic().after(authority.terms.checkpoint_every);
                }
                if authority.clock.monotonic() >= next_forgetting {
                    // Something is left, as far as the last step shows: soon again, and with pauses for everybody else.
                    let more = authority.forget_over().await;
                    authority.expire_approvals().await;
                    let pause = if more { POLL_EVERY } else { FORGET_EVERY };
                    next_forgetting = authority.clock.monotonic().after(pause);
                }
                let hint = async {
                    // A store that cannot be asked for hints is asked for news at the usual pace.
                    if authority.store.revocation_hint(authority.log.known()).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    _ = stopping.changed() => {}
                    _ = tokio::time::timeout(POLL_EVERY, hint) => {}
                }
            }
            authority.sign_audit(&mut signed).await;
        })
    }

    /// Reads what is new.
    async fn look(&self) -> Result<(), AuthorityError> {
        let heads = self.caught_up().await?;
        let now = self.now();
        self.published_since(heads.catalog_version).await?;
        self.owed(0).await?;
        self.log.forget_some(now);
        self.seen.forget(now);
        if let Err(error) = self.note_agents_seen().await {
            tracing::warn!(%error, "it was not written down when agents were seen");
        }
        Ok(())
    }

    /// Removes from the store some of what is over; answers whether there may be more. Any number of replicas may at once.
    async fn forget_over(&self) -> bool {
        match self.store.forget_over().await {
            Ok(gone) => gone > 0,
            Err(error) => {
                tracing::warn!(%error, "what is over was not removed from the store; the next attempt follows");
                false
            }
        }
    }

    /// Signs where the authority's own audit chain ends, unless that was signed already.
    async fn sign_audit(&self, signed: &mut Option<Head>) {
        match self.checkpoint(signed.as_ref()).await {
            Ok(head) => *signed = Some(head),
            Err(error) => tracing::warn!(%error, "the audit chain's head was not signed; the next attempt follows"),
        }
    }

    async fn checkpoint(&self, signed: Option<&Head>) -> Result<Head, AuthorityError> {
        let head = self.store.audit_head(&Source::Authority).await?;
        if signed != Some(&head) && head.seq > 0 {
            let checkpoint = Checkpoint::sign(Source::Authority, head.clone(), self.now(), &self.key);
            self.store.add_checkpoint(&checkpoint).await?;
        }
        Ok(head)
    }
}
