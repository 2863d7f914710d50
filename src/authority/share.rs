//! Telling other replicas what edges acknowledged here, as long as one of them owes a receipt and asks.
//!
//! Where every edge follows the process that revokes, nothing of this happens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::key::PublicKey;
use crate::store::{Acknowledged, Call};

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);

impl Authority {
    /// Shares, while it is wanted, until told to stop.
    pub(super) fn spawn_sharing(self: &Arc<Self>) -> JoinHandle<()> {
        let authority = Arc::clone(self);
        tokio::spawn(async move {
            let mut stopping = authority.stopping.subscribe();
            tokio::select! {
                () = authority.share() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        })
    }

    async fn share(&self) {
        let mut calls = self.store.calls();
        let mut heard = self.presence.subscribe();
        let mut wanted_until = None;
        let mut shared: HashMap<PublicKey, Acknowledged> = HashMap::new();
        loop {
            heard.mark_unchanged();
            if wanted_until.is_some_and(|until| self.clock.monotonic() < until) {
                // One statement for whatever came while the one before was under way.
                let news = self.presence.beyond(&shared);
                if !news.is_empty() {
                    match self.store.record_acknowledged(&news).await {
                        Ok(()) => shared.extend(news),
                        Err(error) => {
                            tracing::debug!(%error, "what edges acknowledged was not shared; the next attempt follows");
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                    continue;
                }
            } else {
                wanted_until = None;
                // What was recorded before may be of a log that is no more.
                shared.clear();
            }
            tokio::select! {
                call = calls.recv() => match call {
                    // Longer than whoever asks can have to wait.
                    Ok(Call::Wanted(by)) if by != self.replica => {
                        wanted_until = Some(self.clock.monotonic().after(2 * self.bound()));
                    }
                    Err(RecvError::Lagged(_)) => wanted_until = Some(self.clock.monotonic().after(2 * self.bound())),
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = heard.changed(), if wanted_until.is_some() => {}
                () = tokio::time::sleep(self.bound()), if wanted_until.is_some() => {}
            }
        }
    }
}
