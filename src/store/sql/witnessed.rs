//! Revocations that holders proved with a token as witness.

use async_trait::async_trait;

use super::revocations::entry;
use super::{SqlStore, Write};
use crate::audit::Change;
use crate::id::BlockId;
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, Value, count, read_all, read_first, text, time};
use crate::store::witnessed::ROOT_ENTRIES_MAX;
use crate::store::{StoreError, WitnessedRevocation, Witnesses};

/// How many forgotten rows one call clears away at most.
const CLEARED_MAX: u64 = 1000;

/// A path as it is stored: its prefixes are the texts of those above, up to a slash.
fn path_text(path: &[BlockId]) -> String {
    path.iter().map(ToString::to_string).collect::<Vec<_>>().join("/")
}

impl Write<'_> {
    /// The first entry that kills the last block of the path for as long as is wanted.
    async fn kills(&mut self, revocation: &WitnessedRevocation) -> Result<Option<Entry>, StoreError> {
        let places: Vec<String> = (2..2 + revocation.path.len()).map(|n| format!("${n}")).collect();
        let sql = format!(
            "SELECT seq, target, at, forget_after FROM revocation \
             WHERE forget_after >= $1 AND target IN ({}) ORDER BY seq LIMIT 1",
            places.join(", ")
        );
        let mut params = vec![time(revocation.forget_after)];
        params.extend(revocation.path.iter().map(|id| text(&Target::Block(*id))));
        read_first(self.query(&sql, params).await?, "revocation", entry)
    }

    /// Whether holders may fill one more place.
    async fn has_room(&mut self, revocation: &WitnessedRevocation) -> Result<bool, StoreError> {
        // A block and everything below it: ids are of one length, and `0` follows `/`.
        let below = "SELECT COUNT(*) FROM witnessed WHERE path >= $2 AND path < $3 AND forget_after >= $1";
        let mut counts = Vec::with_capacity(revocation.path.len());
        for depth in 0..revocation.path.len() {
            let path = path_text(&revocation.path[..=depth]);
            let params = vec![time(revocation.at), text(&path), text(&format!("{path}0"))];
            let counted = read_all(self.query(below, params).await?, "witnessed", Row::int::<u64>)?;
            counts.extend(counted);
        }
        let ends_a_flood = counts.last().is_some_and(|below| *below > 0);
        Ok(ends_a_flood || counts.iter().enumerate().all(|(depth, below)| *below < ROOT_ENTRIES_MAX >> depth))
    }
}

#[async_trait]
impl Witnesses for SqlStore {
    async fn revoke_witnessed(
        &self,
        revocation: &WitnessedRevocation,
        event: &Change,
    ) -> Result<Option<Entry>, StoreError> {
        let Some(id) = revocation.path.last() else { return Err(StoreError::NotFound("block")) };
        let mut write = self.write().await?;
        if let Some(first) = write.kills(revocation).await? {
            return Ok(Some(first));
        }
        if !write.has_room(revocation).await? {
            return Ok(None);
        }
        let entry = write.append_entry(Target::Block(*id), revocation.forget_after, revocation.at, None);
        write.change(
            "INSERT INTO witnessed (seq, path, forget_after) VALUES ($1, $2, $3)",
            vec![count(entry.seq), Value::Text(path_text(&revocation.path)), time(entry.forget_after)],
        );
        write.change(
            "DELETE FROM witnessed WHERE seq IN (SELECT seq FROM witnessed WHERE forget_after < $1 LIMIT $2)",
            vec![time(revocation.at), count(CLEARED_MAX)],
        );
        write.commit(revocation.at, event).await?;
        Ok(Some(entry))
    }
}
