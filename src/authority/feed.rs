//! The feed: what edges are told, as soon as there is something to tell, and the lease that each answer renews.

use std::cmp::Ordering;
use std::time::Duration;

use crate::authority::log::News;
use crate::authority::{Authority, AuthorityError};
use crate::store::Edge;
use crate::wire::{ENTRIES_MAX, FeedReply, FeedRequest, Log, WAIT_MS_MAX};

impl Authority {
    /// Answers an edge: at once when there is news, else when there is, or when it does not want to wait any longer.
    ///
    /// The head is read from the store after the request came: an edge that knows all of it knows every entry that was
    /// committed before it asked. If the store does not answer there is no reply, and so no lease.
    pub async fn feed(&self, edge: &Edge, request: &FeedRequest) -> Result<FeedReply, AuthorityError> {
        self.check_acknowledged(request).await?;
        self.presence.hear(edge, request, self.now());
        self.wait_for_news(request).await;
        // A lease counts from when the edge sent the request, so it ends before this.
        self.presence.lend_until(edge, self.clock.monotonic().after(self.terms.lease + self.terms.drift));

        let published = self.refreshed().await?;
        let (head, log) = self.log_after(request.known).await?;
        self.log.grown_to(head);
        let now = self.now();
        let settings = (request.settings != Some(published.version))
            .then(|| published.settings(self.issuer(), &edge.audience, now));
        let lease_ms = u64::try_from(self.terms.lease.as_millis()).unwrap_or(u64::MAX);
        Ok(FeedReply { head, lease_ms, now, log, settings })
    }

    /// An edge cannot acknowledge what never was: of a log that was set back it knows entries that are gone, and would
    /// take new ones in their places for known.
    async fn check_acknowledged(&self, request: &FeedRequest) -> Result<(), AuthorityError> {
        let log_is_back =
            request.known > Some(self.log.known()) && request.known > Some(self.log.catch_up(&*self.store).await?);
        let settings_are_back = request.settings > Some(self.published.load().version)
            && request.settings > Some(self.refreshed().await?.version);
        if log_is_back || settings_are_back { Err(AuthorityError::LogWentBack) } else { Ok(()) }
    }

    async fn wait_for_news(&self, request: &FeedRequest) {
        let (Some(known), Some(settings)) = (request.known, request.settings) else { return };
        // No longer than half a lease: the answer must leave time to ask again.
        let half_lease = u64::try_from(self.terms.lease.as_millis() / 2).unwrap_or(WAIT_MS_MAX);
        let wait = Duration::from_millis(request.wait_ms.min(WAIT_MS_MAX).min(half_lease));
        let mut news = self.log.subscribe();
        let mut stopping = self.stopping.subscribe();
        let is_news = |news: &News| news.seq > known || news.settings > settings;
        tokio::select! {
            _ = news.wait_for(is_news) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// The log's head, and what an edge that knows `known` lacks of it.
    async fn log_after(&self, known: Option<u64>) -> Result<(u64, Log), AuthorityError> {
        if let Some(known) = known {
            let head = self.store.revocation_head().await?;
            match known.cmp(&head) {
                Ordering::Greater => return Err(AuthorityError::LogWentBack),
                Ordering::Equal => return Ok((head, Log::Next(Vec::new()))),
                Ordering::Less => {}
            }
            let next = self.store.revocations_after(known, ENTRIES_MAX).await?;
            let first = next.first().map(|entry| entry.seq);
            if first.is_some() && first == known.checked_add(1) {
                let head = next.last().map_or(head, |entry| head.max(entry.seq));
                return Ok((head, Log::Next(next)));
            }
        }
        let snapshot = self.store.revocation_snapshot(self.now()).await?;
        Ok((snapshot.head, Log::Snapshot(snapshot.entries)))
    }
}
