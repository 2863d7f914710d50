//! What issuing asks of the database, for many at once: contexts, single-use identifiers, and records of writs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::SqlStore;
use super::agents::{AGENT, AGENT_BEFORE, agent_by, grant};
use super::audit::{AuditEnd, Noted};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::Subject;
use crate::key::PublicKey;
use crate::store::database::{
    AllOrNone, Row, Statement, Value, bytes, count, json, read_all, text, text_or_null, time,
};
use crate::store::{IssueContext, IssuedWrit, Recorded, SingleUse, StoreError};

/// How many expired identifiers one call clears away at most.
const CLEARED_MAX: u64 = 2000;

/// The most writs that are recorded in one transaction: a revocation waits behind one of them.
pub(super) const ISSUED_TOGETHER: usize = 64;
/// The most single-use identifiers in one statement, of those that are used without a writ.
pub(super) const USED_TOGETHER: usize = 64;
/// The most questions in one read.
pub(super) const ASKED_TOGETHER: usize = 64;

/// Uses an identifier up and finds a row, the first time: of an id, until when it counts as used, and now.
pub(super) const USE_ONCE: &str = "INSERT INTO used_id (id, until) VALUES ($1, $2) ON CONFLICT (id) \
     DO UPDATE SET until = excluded.until WHERE used_id.until < $3 RETURNING id";

const A_WRIT: &str = "a writ of that id";
const INSERT_ISSUED: &str = "INSERT INTO issued_writ (id, tenant, agent, subject, session, grants, issued, expires, epoch, holder, services) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
/// Locks the heads, as every change does. Whatever changes them leaves an audit record.
const MOVE_AUDIT_END: &str = "UPDATE heads SET audit_position = $1, audit_seq = $2, audit_hash = $3 \
     WHERE one = 1 AND audit_position = $4 AND audit_seq = $5 AND audit_hash = $6 RETURNING one";

/// A writ to record, with what it uses up.
pub(super) struct Recording {
    writ: IssuedWrit,
    uses: Box<[SingleUse]>,
    noted: Noted,
}

/// A question for a context.
pub(super) type Asked = (PublicKey, Option<Subject>);
/// Its answer: each has its own error.
pub(super) type Answer = Result<Option<IssueContext>, StoreError>;
/// The same, with what else was read.
pub(super) type Found<T> = Result<Option<(T, IssueContext)>, StoreError>;

/// How agents are found: what is read of them, where they stand, and by what.
pub(super) struct Known<'a> {
    /// What `read` of [`SqlStore::contexts`] reads, then those that [`agent`] reads.
    pub(super) columns: &'a str,
    /// The names of what is asked for, in the order of its values.
    pub(super) asked: &'a [&'a str],
    /// A join on those.
    pub(super) found: &'a str,
    /// The keys by which they are found, where they are.
    pub(super) keys: &'a [PublicKey],
}

impl SqlStore {
    pub(super) async fn shared_context(
        &self,
        key: &PublicKey,
        subject: Option<&Subject>,
    ) -> Result<IssueContext, StoreError> {
        let store = self.clone();
        let read = move |asked: Arc<[Asked]>| {
            let store = store.clone();
            async move { store.contexts_of(&asked).await }
        };
        self.asking.call((*key, subject.cloned()), read).await??.ok_or(StoreError::NotFound("agent"))
    }

    pub(super) async fn shared_record(
        &self,
        writ: &IssuedWrit,
        uses: &[SingleUse],
        event: &Change,
    ) -> Result<Recorded, StoreError> {
        let store = self.clone();
        let record = move |writs: Arc<[Arc<Recording>]>| {
            let store = store.clone();
            async move { store.record_all(&writs).await }
        };
        let recording = Recording { writ: writ.clone(), uses: uses.into(), noted: Noted::new(writ.issued, event) };
        let recorded = self.issuing.call(Arc::new(recording), record).await?;
        uses.iter().for_each(|one| self.forget_used_ids(&one.id, writ.issued));
        Ok(recorded)
    }

    pub(super) async fn shared_use(&self, one: SingleUse, at: Timestamp) -> Result<bool, StoreError> {
        let store = self.clone();
        let use_all = move |uses: Arc<[(SingleUse, Timestamp)]>| {
            let store = store.clone();
            async move { store.use_all(&uses).await }
        };
        let first = self.using.call((one, at), use_all).await?;
        self.forget_used_ids(&one.id, at);
        Ok(first)
    }

    /// The ids are digests: one in 256 lets others be cleared away, and nobody waits for that.
    pub(super) fn forget_used_ids(&self, id: &[u8; 32], at: Timestamp) {
        if id[0] == 0 {
            let database = Arc::clone(&self.database);
            tokio::spawn(async move {
                let sql = "DELETE FROM used_id WHERE id IN (SELECT id FROM used_id WHERE until < $1 LIMIT $2)";
                if let Err(error) = database.write(sql, vec![time(at), count(CLEARED_MAX)]).await {
                    tracing::warn!(error = %StoreError::from(error), "expired single-use ids stay for now");
                }
            });
        }
    }

    async fn contexts_of(&self, asked: &[Asked]) -> Result<Vec<Answer>, StoreError> {
        let nothing = |_: &mut Row| Ok(());
        let row = |(key, subject): &Asked| (text_or_null(subject.as_ref()), vec![text(key)]);
        let keys: Vec<PublicKey> = asked.iter().map(|(key, _)| *key).collect();
        let present = Known { columns: AGENT, asked: &["key"], found: "agent a ON a.key = asked.key", keys: &keys };
        let mut answers = self.contexts(present, asked.iter().map(row).collect(), nothing).await?;
        let unknown: Vec<usize> = (0..asked.len()).filter(|n| matches!(answers[*n], Ok(None))).collect();
        if !unknown.is_empty() {
            let found =
                "agent_key_before k ON k.key = asked.key JOIN agent a ON a.tenant = k.tenant AND a.name = k.agent";
            let keys: Vec<PublicKey> = unknown.iter().map(|n| keys[*n]).collect();
            let before = Known { columns: AGENT_BEFORE, asked: &["key"], found, keys: &keys };
            let rows = unknown.iter().map(|n| row(&asked[*n])).collect();
            for (n, answer) in unknown.into_iter().zip(self.contexts(before, rows, nothing).await?) {
                answers[n] = answer;
            }
        }
        Ok(answers.into_iter().map(|answer| Ok(answer?.map(|((), context)| context))).collect())
    }

    /// For each question, which is a user and what the agent is found by: the agent's context, with what `read` reads before it.
    pub(super) async fn contexts<T>(
        &self,
        Known { columns, asked, found, keys }: Known<'_>,
        questions: Vec<(Value, Vec<Value>)>,
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Vec<Found<T>>, StoreError> {
        let places: Vec<String> = (3..3 + asked.len()).map(|n| format!("${n}")).collect();
        // One statement: agent, grants, heads, suspension and stop are of one moment without a transaction.
        let sql = format!(
            "WITH asked (n, subject, {}) AS (VALUES ($1, $2, {})) \
             SELECT asked.n, h.revocation_seq, h.catalog_version, u.seq, s.seq, {columns}, g.id, g.tenant, \
             g.agent, g.subject, g.user_group, g.capabilities, g.ttl_s_max, g.depth_max, g.bearer, g.proof_covers \
             FROM asked JOIN {found} CROSS JOIN heads h \
             LEFT JOIN suspended_user u ON u.tenant = a.tenant AND u.subject = asked.subject \
             LEFT JOIN emergency_stop s ON s.one = 1 LEFT JOIN agent_grant g ON g.tenant = a.tenant AND g.agent = a.name \
             ORDER BY g.position",
            asked.join(", "),
            places.join(", "),
        );
        let mut answers: Vec<Found<T>> = Vec::new();
        answers.resize_with(questions.len(), || Ok(None));
        let row = |(n, (subject, by)): (usize, (Value, Vec<Value>))| [vec![text(&n), subject], by].concat();
        let rows = questions.into_iter().enumerate().map(row).collect();
        for row in self.database.read_each(Statement { sql, rows }).await? {
            let mut row = row.of("agent");
            let n: usize = row.parse()?;
            if let Some(Ok(answer)) = answers.get_mut(n)
                && let Err(error) = add_row(answer, row, keys.get(n), &read)
            {
                answers[n] = Err(error);
            }
        }
        Ok(answers)
    }

    async fn use_all(&self, uses: &[(SingleUse, Timestamp)]) -> Result<Vec<bool>, StoreError> {
        let (ids, at): (Vec<_>, Vec<_>) = uses.iter().copied().unzip();
        let mut transaction = self.database.begin().await?;
        let rows = transaction.query_each(using(&ids, at)).await?;
        // If the answer is lost, the ids may be used up: who repeats the call is refused, which is the safe side.
        transaction.commit().await?;
        used(&ids, rows)
    }

    async fn record_all(&self, all: &[Arc<Recording>]) -> Result<Vec<Recorded>, StoreError> {
        let ids: Vec<SingleUse> = all.iter().flat_map(|one| one.uses.iter()).copied().collect();
        let using = using(&ids, all.iter().map(|one| one.writ.issued));
        let end = Some(self.audited()).filter(|audited| audited.steady).and_then(|audited| audited.end.clone());
        if let Some(end) = end
            && using.rows.len() == ids.len()
            && self.recorded_after(end, &using, all).await?
        {
            return Ok(vec![Recorded::Yes; all.len()]);
        }
        let (mut write, found) = self.write_with((!ids.is_empty()).then_some(using)).await?;
        {
            let mut audited = self.audited();
            audited.steady = audited.end.as_ref() == Some(&write.heads.audit);
        }
        let mut first = used(&ids, found)?.into_iter();
        write.conflict(A_WRIT);
        let of = |one: &Arc<Recording>| {
            let first: Vec<bool> = first.by_ref().take(one.uses.len()).collect();
            first.iter().position(|first| !first).map_or(Recorded::Yes, Recorded::UsedBefore)
        };
        let recorded: Vec<Recorded> = all.iter().map(of).collect();
        let yes: Vec<_> = all.iter().zip(&recorded).filter(|(_, recorded)| **recorded == Recorded::Yes).collect();
        let rows = yes.iter().map(|(one, _)| issued_row(&one.writ)).collect::<Result<_, _>>()?;
        write.change_all(INSERT_ISSUED, rows);
        write.commit_all(yes.iter().map(|(one, _)| one.noted.clone())).await?;
        Ok(recorded)
    }

    /// Records these writs without a look at the heads before: if the audit log still ends at `end` and none of the identifiers
    /// was used before. Else nothing happens, and the answer is `false`.
    async fn recorded_after(
        &self,
        mut end: AuditEnd,
        using: &Statement,
        all: &[Arc<Recording>],
    ) -> Result<bool, StoreError> {
        let of = |end: &AuditEnd| [count(end.position), count(end.head.seq), text(&end.head.hash)];
        let before = of(&end);
        let rows = all.iter().map(|one| issued_row(&one.writ)).collect::<Result<_, _>>()?;
        let mut then = vec![Statement { sql: INSERT_ISSUED.to_owned(), rows }];
        let (inserts, last) = end.append(all.iter().map(|one| one.noted.clone()));
        then.extend(inserts);
        let guard = Statement { sql: MOVE_AUDIT_END.to_owned(), rows: vec![[of(&end), before].concat()] };
        let recorded = match self.database.write_if(AllOrNone { guard: &guard, each: using, then: &then }).await {
            Ok(recorded) => recorded,
            Err(error) => self.settled(error, last.as_ref(), A_WRIT).await.map(|()| true)?,
        };
        if recorded {
            self.audited().end = Some(end);
        }
        Ok(recorded)
    }
}

/// Uses up identifiers at these moments; finds those that were not used before.
fn using(ids: &[SingleUse], at: impl IntoIterator<Item = Timestamp>) -> Statement {
    // In one order, so that two replicas never wait for each other. Of the same identifier given twice, the first counts.
    let distinct: BTreeMap<&[u8; 32], &SingleUse> = ids.iter().rev().map(|one| (&one.id, one)).collect();
    // The earliest moment of all: what is over then is over for each.
    let at = at.into_iter().min().unwrap_or(Timestamp::from_secs(0));
    let row = |one: &SingleUse| vec![bytes(&one.id), time(one.until), time(at)];
    Statement { sql: USE_ONCE.to_owned(), rows: distinct.into_values().map(row).collect() }
}

/// Of each identifier, whether it is one that [`using`] found.
fn used(ids: &[SingleUse], found: Vec<Row>) -> Result<Vec<bool>, StoreError> {
    let mut first: HashSet<[u8; 32]> = read_all(found, "used_id", Row::bytes)?.into_iter().collect();
    Ok(ids.iter().map(|one| first.remove(&one.id)).collect())
}

/// Takes an agent with one of its grants, if it has any, into its context.
fn add_row<T>(
    answer: &mut Option<(T, IssueContext)>,
    mut row: Row,
    key: Option<&PublicKey>,
    read: impl Fn(&mut Row) -> Result<T, StoreError>,
) -> Result<(), StoreError> {
    let (epoch, catalog_version) = (row.int()?, row.int()?);
    let (suspended_at, stopped_at) = (row.int_or_null::<u64>()?, row.int_or_null::<u64>()?);
    let (known, agent) = (read(&mut row)?, agent_by(&mut row, key)?);
    let found = || IssueContext {
        agent,
        grants: Vec::new(),
        epoch,
        catalog_version,
        suspended: suspended_at.is_some(),
        stopped: stopped_at.is_some(),
    };
    let (_, context) = answer.get_or_insert_with(|| (known, found()));
    if !row.next_is_null() {
        context.grants.push(grant(&mut row.of("agent_grant"))?);
    }
    Ok(())
}

fn issued_row(writ: &IssuedWrit) -> Result<Vec<Value>, StoreError> {
    Ok(vec![
        text(&writ.id),
        text(&writ.tenant),
        text(&writ.agent),
        text_or_null(writ.subject.as_ref()),
        text_or_null(writ.session.as_ref()),
        json(&writ.grants)?,
        time(writ.issued),
        time(writ.expires),
        count(writ.epoch),
        text_or_null(writ.holder.as_ref()),
        writ.services.as_ref().map_or(Ok(Value::Null), json)?,
    ])
}

pub(super) fn issued_writ(row: &mut Row) -> Result<IssuedWrit, StoreError> {
    Ok(IssuedWrit {
        id: row.parse()?,
        tenant: row.parse()?,
        agent: row.parse()?,
        subject: row.parse_or_null()?,
        session: row.parse_or_null()?,
        grants: row.json()?,
        issued: row.time()?,
        expires: row.time()?,
        epoch: row.int()?,
        holder: row.parse_or_null()?,
        services: if row.next_is_null() { None } else { Some(row.json()?) },
    })
}
