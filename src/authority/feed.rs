//! The feed: what edges are told, as soon as there is something to tell, and the lease that each answer renews.

use std::time::Duration;

use tokio::time::Instant;

use crate::authority::log::News;
use crate::authority::{Authority, AuthorityError};
use crate::store::{Edge, Heads};
use crate::wire::{FeedReply, FeedRequest, WAIT_MS_MAX};

/// Edges that wait in vain are answered together: they then share the reads that their answers take.
const TOGETHER: Duration = Duration::from_millis(50);

impl Authority {
    /// Answers an edge: at once when there is news, else when there is, or when it does not want to wait any longer.
    ///
    /// The head is one that was read from the store after the request came, and after its wait: an edge that knows all of it
    /// knows every entry that was committed before it asked. An edge that was removed before that read gets no lease. If the store does not answer there is no reply, and so no lease.
    pub async fn feed(&self, edge: &Edge, request: &FeedRequest) -> Result<FeedReply, AuthorityError> {
        let asked = self.clock.monotonic();
        self.check_acknowledged(request).await?;
        self.presence.hear(edge, request, self.now());
        self.wait_for_news(request).await;
        // A lease counts from when the edge sent the request, so it ends before this.
        self.presence.lend_until(edge, self.clock.monotonic().after(self.terms.lease + self.terms.drift));

        let heads = self.caught_up().await?;
        if request.known > heads.revocation_seq {
            return Err(AuthorityError::LogWentBack);
        }
        let edge = &self.edge_at(&edge.key, &heads).await?;
        let published = self.published_since(heads.catalog_version).await?;
        let log = self.log.page(request.known);
        let now = self.now();
        let settings = (request.settings != Some(published.version))
            .then(|| published.settings(self.issuer(), &edge.audience, now));
        // The copy may have grown since the head was read.
        let head = heads.revocation_seq.max(log.upto);
        Ok(FeedReply { head, lease_ms: self.lease_ms(asked, heads.server), now, log, settings })
    }

    /// The heads as they are in the store after this call; the copy of the log has caught up with them.
    pub(super) async fn caught_up(&self) -> Result<Heads, AuthorityError> {
        let known = self.log.known();
        let heads = self.heads.read().await?;
        // What is known here was in the store before it was asked.
        if heads.revocation_seq < known {
            self.log.forget_all().await;
            self.growth.forget();
            self.presence.forget_acknowledged();
            return Err(AuthorityError::LogWentBack);
        }
        self.log.catch_up(&*self.store, heads.revocation_seq, self.now()).await?;
        self.growth.reached(heads.revocation_seq, self.clock.monotonic());
        Ok(heads)
    }

    /// An edge cannot acknowledge what never was: of a log that was set back it knows entries that are gone, and would
    /// take new ones in their places for known.
    async fn check_acknowledged(&self, request: &FeedRequest) -> Result<(), AuthorityError> {
        let known_here = request.known <= self.log.known() && request.settings <= Some(self.published.load().version);
        if known_here {
            return Ok(());
        }
        let heads = self.heads.read().await?;
        if request.known > heads.revocation_seq || request.settings > Some(heads.catalog_version) {
            return Err(AuthorityError::LogWentBack);
        }
        Ok(())
    }

    async fn wait_for_news(&self, request: &FeedRequest) {
        let Some(settings) = request.settings else { return };
        // No longer than half a lease: the answer must leave time to ask again.
        let half_lease = u64::try_from(self.terms.lease.as_millis() / 2).unwrap_or(WAIT_MS_MAX);
        let wait = request.wait_ms.min(WAIT_MS_MAX).min(half_lease);
        let end = together(self.started, Instant::now() + Duration::from_millis(wait));
        let mut news = self.log.subscribe();
        let mut stopping = self.stopping.subscribe();
        let is_news = |news: &News| news.seq > request.known || news.settings > settings;
        tokio::select! {
            _ = news.wait_for(is_news) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = tokio::time::sleep_until(end) => {}
        }
    }
}

/// The last moment up to `end` at which edges are answered together.
fn together(since: Instant, end: Instant) -> Instant {
    let beyond = end.duration_since(since).as_nanos() % TOGETHER.as_nanos();
    end - Duration::from_nanos(u64::try_from(beyond).unwrap_or(0))
}
