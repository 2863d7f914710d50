//! Revocations that holders proved with a token as witness, and how many of them the log has room for.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::Entry;
use crate::store::StoreError;

/// How many entries of the log holders may fill below one root writ at a time. A holder can mint hops without end.
///
/// Below each hop half of what its parent has room for: a holder who fills its own part leaves room for those above.
pub const ROOT_ENTRIES_MAX: u64 = 256;

/// A holder's revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessedRevocation {
    /// The ids of the witness's blocks, from the authority block to the one that is revoked; never empty.
    pub path: Vec<BlockId>,
    /// The last moment that anything it could kill is valid.
    pub forget_after: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// Holders' revocations.
#[async_trait]
pub trait Witnesses: Send + Sync {
    /// Revokes the last block of a path. If it or one above it is revoked already for at least as long, answers the first
    /// such entry and appends nothing. `None`, and nothing appended, where there is no room for holders' entries.
    ///
    /// There is room below the block at depth *d* (0 for the authority block) while fewer than [`ROOT_ENTRIES_MAX`] / 2^*d*
    /// unforgotten entries that holders made are at or below it. A block with such entries below it always finds room: it
    /// ends the flood.
    async fn revoke_witnessed(
        &self,
        revocation: &WitnessedRevocation,
        event: &Change,
    ) -> Result<Option<Entry>, StoreError>;
}
