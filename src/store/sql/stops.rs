//! Suspended users and the stop of everything.

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::{Actor, Change};
use crate::clock::Timestamp;
use crate::id::{OperatorName, Subject, TenantName};
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, count, read_all, read_first, text, text_or_null, time};
use crate::store::{Lift, Stop, Stops, StoreError, SuspendedUser};

fn suspended_user(row: &mut Row) -> Result<SuspendedUser, StoreError> {
    Ok(SuspendedUser { tenant: row.parse()?, subject: row.parse()?, seq: row.int()?, at: row.time()? })
}

fn stop(row: &mut Row) -> Result<Stop, StoreError> {
    Ok(Stop { seq: row.int()?, at: row.time()?, by: row.parse_or_null()?, person: row.parse_or_null()? })
}

const SELECT_STOP: &str = "SELECT seq, at, stopped_by, person FROM emergency_stop WHERE one = 1";

impl Write<'_> {
    /// Keeps what `entry` kills from being issued anew, at the commit: a user, or everything.
    pub(super) fn stop_issuing(&mut self, entry: &Entry, event: &Change) {
        match &entry.target {
            Target::Subject(tenant, subject) => self.change(
                "INSERT INTO suspended_user (tenant, subject, seq, at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant, subject) DO UPDATE SET seq = excluded.seq, at = excluded.at",
                vec![text(tenant), text(subject), count(entry.seq), time(entry.at)],
            ),
            Target::Everything => {
                let by = if let Actor::Operator(name) = &event.actor { Some(name) } else { None };
                // Stopped twice, it stays the first one's: whoever agrees with a stop can still lift it later.
                // Kept with the stop: the operator may be removed before it is lifted.
                self.change(
                    "INSERT INTO emergency_stop (one, seq, at, stopped_by, person) \
                     VALUES (1, $1, $2, $3, COALESCE($4, (SELECT person FROM operator WHERE name = $3))) \
                     ON CONFLICT (one) DO NOTHING",
                    vec![
                        count(entry.seq),
                        time(entry.at),
                        text_or_null(by),
                        text_or_null(by.filter(|name| name.is_signed_in())),
                    ],
                );
            }
            Target::Block(_)
            | Target::Holder(_)
            | Target::Session(..)
            | Target::Agent(..)
            | Target::Acting(..)
            | Target::Grant(_)
            | Target::Service(..)
            | Target::Credential(..)
            | Target::Tenant(_) => {}
        }
    }
}

#[async_trait]
impl Stops for SqlStore {
    async fn suspended_users(&self, tenant: &TenantName) -> Result<Vec<SuspendedUser>, StoreError> {
        let sql = "SELECT tenant, subject, seq, at FROM suspended_user WHERE tenant = $1 ORDER BY subject";
        read_all(self.read(sql, vec![text(tenant)]).await?, "suspended_user", suspended_user)
    }

    async fn reactivate_user(
        &self,
        tenant: &TenantName,
        subject: &Subject,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "DELETE FROM suspended_user WHERE tenant = $1 AND subject = $2 RETURNING seq";
        if !write.finds(sql, vec![text(tenant), text(subject)]).await? {
            return Err(StoreError::NotFound("suspended user"));
        }
        write.commit(at, event).await
    }

    async fn stop(&self) -> Result<Option<Stop>, StoreError> {
        read_first(self.read(SELECT_STOP, Vec::new()).await?, "emergency_stop", stop)
    }

    async fn lift_stop(&self, by: &OperatorName, at: Timestamp, event: &Change) -> Result<Lift, StoreError> {
        let mut write = self.write().await?;
        let rows = write.query(SELECT_STOP, Vec::new()).await?;
        let stop = read_first(rows, "emergency_stop", stop)?.ok_or(StoreError::NotFound("stop to lift"))?;
        let sql = match by.is_signed_in() {
            true => "SELECT since, name FROM operator_person WHERE name = $1 AND role = 'admin'",
            false => "SELECT created, person FROM operator WHERE name = $1",
        };
        let rows = write.query(sql, vec![text(by)]).await?;
        let read = |row: &mut Row| Ok((row.time()?, row.parse_or_null::<OperatorName>()?));
        let (since, person) = read_first(rows, "operator", read)?.ok_or(StoreError::NotFound("operator"))?;
        if stop.by.as_ref() == Some(by) || (person.is_some() && person == stop.person) {
            return Ok(Lift::SameOperator);
        }
        // A name that whoever made the stop has given themselves since would be no second person.
        if since > stop.at {
            return Ok(Lift::AddedSince);
        }
        write.change("DELETE FROM emergency_stop WHERE one = 1", Vec::new());
        write.commit(at, event).await?;
        Ok(Lift::Lifted)
    }
}
