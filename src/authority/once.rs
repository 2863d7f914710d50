//! What a request uses up: its assertion and its proof count once. The record of the writ that it is answered with uses them
//! up in the same transaction; where there is no writ, that is done before the answer.

use futures_util::future::join_all;

use crate::authority::Authority;
use crate::authority::issue::IssueError;
use crate::clock::Timestamp;
use crate::store::{Recorded, SingleUse};

/// The single-use identifiers of a request that are not used up yet, in the order in which they are spoken of.
pub(super) struct Uses {
    /// When the request came.
    pub(super) now: Timestamp,
    ids: Vec<SingleUse>,
    /// What to say of each that was used before.
    refusals: Vec<fn() -> IssueError>,
}

impl Uses {
    pub(super) const fn none(now: Timestamp) -> Self {
        Self { now, ids: Vec::new(), refusals: Vec::new() }
    }

    /// Leaves none.
    pub(super) fn taken(&mut self) -> Self {
        std::mem::replace(self, Self::none(self.now))
    }

    pub(super) fn add(&mut self, id: [u8; 32], until: Timestamp, refusal: fn() -> IssueError) {
        self.ids.push(SingleUse { id, until });
        self.refusals.push(refusal);
    }

    pub(super) fn ids(&self) -> &[SingleUse] {
        &self.ids
    }

    /// What came of a record that was to use them up.
    pub(super) fn recorded(self, recorded: Recorded) -> Result<(), IssueError> {
        match recorded {
            Recorded::Yes => Ok(()),
            Recorded::UsedBefore(n) => Err(self.refusals.get(n).map_or_else(used_before, |refusal| refusal())),
        }
    }
}

fn used_before() -> IssueError {
    IssueError::Client("the request was sent before: make a fresh one".into())
}

impl Authority {
    /// The answer to a request, once what it brought is used up: whatever the answer is, it was used before or it is now.
    pub(super) async fn spent<T>(&self, answer: Result<T, IssueError>, uses: Uses) -> Result<T, IssueError> {
        let used = join_all(uses.ids.iter().map(|one| self.store.use_once(&one.id, one.until, uses.now))).await;
        for (first, refusal) in used.into_iter().zip(uses.refusals) {
            if !first? {
                return Err(refusal());
            }
        }
        answer
    }
}
