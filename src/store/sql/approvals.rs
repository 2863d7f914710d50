//! Requests that wait for people, and what was decided.

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{ApprovalId, TenantName};
use crate::policy::ApprovalState;
use crate::store::StoreError;
use crate::store::approvals::{
    ApprovalQuota, ApprovalRecord, ApprovalSummary, Approvals, ApproverLogin, Decided, KeptAsked, Listed, NewApproval,
    Put, Redemption, Ruling,
};
use crate::store::database::{Row, Value, bytes, count, json, read_all, read_first, text, text_or_null, time};

/// The state as it is at `$1`: what is over is expired, whether that was written down or not.
const STATE: &str = "CASE WHEN state IN ('pending', 'approved') AND expires < $1 THEN 'expired' ELSE state END";
const COLUMNS: &str = "handle, asked_sha256, summary, asked, asker, edge, created, expires, writ_expires, decided_by, decided_at, satisfies, note, \
     login_tenant, login_subject, login_session, login_epoch";

fn record(row: &mut Row) -> Result<ApprovalRecord, StoreError> {
    let state = row.parse()?;
    let new = NewApproval {
        handle: row.parse()?,
        asked: KeptAsked {
            digest: row.bytes()?,
            summary: row.json()?,
            // An older version wrote it unsealed: such a request is as one that is over, and goes with its row.
            sealed: serde_json::from_str(&row.text()?).unwrap_or_default(),
        },
        asker: row.json()?,
        edge: row.parse()?,
        created: row.time()?,
        expires: row.time()?,
        writ_expires: row.time()?,
    };
    let decided = match row.parse_or_null()? {
        None => None,
        Some(by) => Some(Decided {
            by,
            at: row.time()?,
            satisfies: row.json()?,
            note: row.parse_or_null()?,
            login: login(row)?,
        }),
    };
    Ok(ApprovalRecord { new, state, decided })
}

fn login(row: &mut Row) -> Result<Option<ApproverLogin>, StoreError> {
    let Some(tenant) = row.parse_or_null()? else { return Ok(None) };
    Ok(Some(ApproverLogin { tenant, subject: row.parse()?, session: row.parse_or_null()?, epoch: row.int()? }))
}

fn summary(row: &mut Row) -> Result<ApprovalSummary, StoreError> {
    Ok(ApprovalSummary {
        state: row.parse()?,
        handle: row.parse()?,
        agent: row.parse()?,
        subject: row.parse_or_null()?,
        asked: row.json()?,
        created: row.time()?,
        expires: row.time()?,
        decided_by: row.parse_or_null()?,
    })
}

/// Finds the request that stands in the way of putting `new`: the same, of the same chain, pending, approved or denied.
fn same(new: &NewApproval) -> (&'static str, Vec<Value>) {
    let sql = "SELECT handle, state, expires FROM approval WHERE asked_sha256 = $1 AND asker_sha256 = $2 AND tenant = $3 \
               AND state IN ('pending', 'approved', 'denied') AND expires >= $4 ORDER BY created DESC, handle LIMIT 1";
    let digests = (bytes(&new.asked.digest), bytes(&new.asker.digest()));
    (sql, vec![digests.0, digests.1, text(&new.asker.tenant), time(new.created)])
}

fn known(row: &mut Row) -> Result<Put, StoreError> {
    Ok(Put::Known { handle: row.parse()?, state: row.parse()?, expires: row.time()? })
}

/// What of a request can be used for these digests, and by whose decision.
fn usable(
    found: Option<ApprovalRecord>,
    asked: &[u8; 32],
    asker: &[u8; 32],
) -> Result<(ApprovalRecord, Decided), Redemption> {
    let found = found.ok_or(Redemption::Mismatch)?;
    // First: whoever shows another's handle learns nothing of where it stands.
    if found.new.asked.digest != *asked || found.new.asker.digest() != *asker {
        return Err(Redemption::Mismatch);
    }
    match (found.state, found.decided.clone()) {
        (ApprovalState::Approved, Some(decided)) => Ok((found, decided)),
        (state, _) => Err(Redemption::Not(state)),
    }
}

impl Write<'_> {
    async fn approval(&mut self, handle: ApprovalId, at: Timestamp) -> Result<Option<ApprovalRecord>, StoreError> {
        let sql = format!("SELECT {STATE}, {COLUMNS} FROM approval WHERE handle = $2");
        read_first(self.query(&sql, vec![time(at), text(&handle)]).await?, "approval", record)
    }

    /// Nobody needs to see any more what would have been sent.
    fn forget_asked(&mut self, handle: ApprovalId) {
        self.change("UPDATE approval SET asked = 'null' WHERE handle = $1", vec![text(&handle)]);
    }

    async fn is_full(&mut self, new: &NewApproval, quota: &ApprovalQuota) -> Result<bool, StoreError> {
        let (tenant, agent) = (&new.asker.tenant, &new.asker.agent);
        let pending = "SELECT COUNT(*) FROM approval WHERE tenant = $1 AND state = 'pending' AND expires >= $2";
        let now = time(new.created);
        let counts = [
            (format!("{pending} AND agent = $3"), vec![text(tenant), now.clone(), text(agent)], quota.pending_of_agent),
            (pending.to_owned(), vec![text(tenant), now], quota.pending_of_tenant),
            (
                "SELECT COUNT(*) FROM approval WHERE tenant = $1 AND agent = $2 AND created >= $3".to_owned(),
                vec![text(tenant), text(agent), time(quota.since)],
                quota.recent_of_agent,
            ),
        ];
        for (sql, params, most) in counts {
            let found = read_first(self.query(&sql, params).await?, "approval", |row| row.int::<u64>())?;
            if found.unwrap_or(0) >= u64::from(most) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether who decided may still approve: the secret or the login that they decided with still counts.
    async fn still_approves(&mut self, decided: &Decided) -> Result<bool, StoreError> {
        match &decided.login {
            None => {
                let sql = "SELECT 1 FROM operator WHERE name = $1 AND role IN ('approver', 'admin') AND created <= $2";
                self.finds(sql, vec![text(&decided.by), time(decided.at)]).await
            }
            Some(login) => {
                let sql = "SELECT 1 FROM operator_person p WHERE p.name = $1 AND p.role IN ('approver', 'admin') \
                     AND NOT EXISTS (SELECT 1 FROM suspended_user u WHERE u.tenant = $2 AND u.subject = $3) \
                     AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.seq > $4 AND r.target IN ($5, $6))";
                let ApproverLogin { tenant, subject, session, epoch } = login;
                let user = format!("subject:{tenant}/{subject}");
                let session = session.as_ref().map(|session| format!("session:{tenant}/{session}"));
                let params = vec![
                    text(&decided.by),
                    text(tenant),
                    text(subject),
                    count(*epoch),
                    text(&user),
                    text_or_null(session.as_ref()),
                ];
                self.finds(sql, params).await
            }
        }
    }
}

#[async_trait]
impl Approvals for SqlStore {
    async fn put_approval(&self, new: &NewApproval, quota: &ApprovalQuota, event: &Change) -> Result<Put, StoreError> {
        // Before the lock: an agent that asks again and again holds nobody up.
        let (sql, params) = same(new);
        if let Some(known) = read_first(self.read(sql, params.clone()).await?, "approval", known)? {
            return Ok(known);
        }
        let mut write = self.write().await?;
        write.conflict("an approval of that handle");
        if let Some(known) = read_first(write.query(sql, params).await?, "approval", known)? {
            return Ok(known);
        }
        if write.is_full(new, quota).await? {
            return Ok(Put::TooMany);
        }
        write.change(
            "INSERT INTO approval (handle, tenant, agent, subject, edge, asked, asker, asked_sha256, asker_sha256, summary, \
             created, expires, writ_expires, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'pending')",
            vec![
                text(&new.handle),
                text(&new.asker.tenant),
                text(&new.asker.agent),
                text_or_null(new.asker.subject.as_ref()),
                text(&new.edge),
                json(&new.asked.sealed)?,
                json(&new.asker)?,
                bytes(&new.asked.digest),
                bytes(&new.asker.digest()),
                json(&new.asked.summary)?,
                time(new.created),
                time(new.expires),
                time(new.writ_expires),
            ],
        );
        write.commit(new.created, event).await?;
        Ok(Put::Added)
    }

    async fn approval(&self, handle: ApprovalId, at: Timestamp) -> Result<Option<ApprovalRecord>, StoreError> {
        let sql = format!("SELECT {STATE}, {COLUMNS} FROM approval WHERE handle = $2");
        read_first(self.read(&sql, vec![time(at), text(&handle)]).await?, "approval", record)
    }

    async fn approval_state(
        &self,
        handle: ApprovalId,
        at: Timestamp,
    ) -> Result<Option<(ApprovalState, Timestamp)>, StoreError> {
        let sql = format!("SELECT {STATE}, expires FROM approval WHERE handle = $2");
        let read = |row: &mut Row| Ok((row.parse()?, row.time()?));
        read_first(self.read(&sql, vec![time(at), text(&handle)]).await?, "approval", read)
    }

    async fn approvals(
        &self,
        tenant: &TenantName,
        listed: Listed,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<ApprovalSummary>, StoreError> {
        let which = match listed {
            Listed::Pending => "AND state = 'pending' AND expires >= $1",
            Listed::All => "",
        };
        let sql = format!(
            "SELECT {STATE}, handle, agent, subject, summary, created, expires, decided_by FROM approval \
             WHERE tenant = $2 {which} ORDER BY created DESC, handle LIMIT $3"
        );
        let params = vec![time(at), text(tenant), count(limit.into())];
        read_all(self.read(&sql, params).await?, "approval", summary)
    }

    async fn rule_approval(
        &self,
        handle: ApprovalId,
        ruling: &Ruling,
        decided: &Decided,
        event: &Change,
    ) -> Result<Result<(), ApprovalState>, StoreError> {
        let mut write = self.write().await?;
        let found = write.approval(handle, decided.at).await?.ok_or(StoreError::NotFound("approval"))?;
        if found.state != ApprovalState::Pending {
            return Ok(Err(found.state));
        }
        let (state, expires) = match ruling {
            Ruling::Approve { until } => (ApprovalState::Approved, *until),
            Ruling::Deny => (ApprovalState::Denied, found.new.expires),
        };
        if *ruling == Ruling::Deny {
            write.forget_asked(handle);
        }
        let login = decided.login.as_ref();
        write.change(
            "UPDATE approval SET state = $2, expires = $3, decided_by = $4, decided_at = $5, satisfies = $6, note = $7, \
             login_tenant = $8, login_subject = $9, login_session = $10, login_epoch = $11 WHERE handle = $1",
            vec![
                text(&handle),
                text(&state),
                time(expires),
                text(&decided.by),
                time(decided.at),
                json(&decided.satisfies)?,
                text_or_null(decided.note.as_ref()),
                text_or_null(login.map(|login| &login.tenant)),
                text_or_null(login.map(|login| &login.subject)),
                text_or_null(login.and_then(|login| login.session.as_ref())),
                login.map_or(Value::Null, |login| count(login.epoch)),
            ],
        );
        write.commit(decided.at, event).await?;
        Ok(Ok(()))
    }

    async fn redeem_approval(
        &self,
        handle: ApprovalId,
        asked: &[u8; 32],
        asker: &[u8; 32],
        at: Timestamp,
        event: &Change,
    ) -> Result<Redemption, StoreError> {
        // Before the lock: whoever shows a wrong handle again and again holds nobody up.
        let seen = Approvals::approval(self, handle, at).await?;
        if let Err(refused) = usable(seen, asked, asker) {
            return Ok(refused);
        }
        let mut write = self.write().await?;
        let (found, decided) = match usable(write.approval(handle, at).await?, asked, asker) {
            Ok(usable) => usable,
            Err(refused) => return Ok(refused),
        };
        if !write.still_approves(&decided).await? {
            return Ok(Redemption::ApproverGone);
        }
        write.change("UPDATE approval SET state = 'redeemed' WHERE handle = $1", vec![text(&handle)]);
        write.forget_asked(handle);
        write.commit(at, event).await?;
        Ok(Redemption::Redeemed(Box::new(found)))
    }

    async fn overdue_approvals(&self, at: Timestamp, limit: u32) -> Result<Vec<(ApprovalId, TenantName)>, StoreError> {
        let sql = "SELECT handle, tenant FROM approval WHERE expires < $1 AND state IN ('pending', 'approved') \
                   ORDER BY expires, handle LIMIT $2";
        let read = |row: &mut Row| Ok((row.parse()?, row.parse()?));
        read_all(self.read(sql, vec![time(at), count(limit.into())]).await?, "approval", read)
    }

    async fn expire_approval(&self, handle: ApprovalId, at: Timestamp, event: &Change) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let sql = "UPDATE approval SET state = 'expired' WHERE handle = $1 AND expires < $2 \
                   AND state IN ('pending', 'approved') RETURNING handle";
        if !write.finds(sql, vec![text(&handle), time(at)]).await? {
            return Ok(false);
        }
        write.forget_asked(handle);
        write.commit(at, event).await?;
        Ok(true)
    }

    async fn forget_approvals(&self, before: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM approval WHERE expires < $1 AND state NOT IN ('pending', 'approved')";
        self.database.write(sql, vec![time(before)]).await?;
        Ok(())
    }
}
