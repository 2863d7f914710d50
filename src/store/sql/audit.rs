//! The audit log.

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::{SqlStore, lock_heads};
use crate::audit::event::Actor;
use crate::audit::{Change, Checkpoint, Event, Head, Record, Source, Verdict};
use crate::clock::Timestamp;
use crate::store::database::{
    Row, Statement, Transaction, Value, count, read_all, read_first, text, text_or_null, time,
};
use crate::store::{AuditLog, AuditQuery, StoreError};

/// What a record can be found by.
#[derive(Clone, Default)]
pub(super) struct Terms {
    agent: Option<String>,
    object: Option<String>,
    subject: Option<String>,
    service: Option<String>,
    request: Option<String>,
    verdict: Option<&'static str>,
    blocks: Vec<String>,
}

impl Terms {
    fn of(event: Event) -> Self {
        match event {
            Event::Decision(decision) => Self {
                agent: decision.who.as_ref().map(|who| who.agent.to_string()),
                subject: decision.who.as_ref().and_then(|who| who.subject.as_ref()).map(ToString::to_string),
                service: decision.what.as_ref().map(|what| what.service.to_string()),
                request: Some(decision.request.to_string()),
                verdict: Some(match decision.verdict {
                    Verdict::Allowed => "allowed",
                    Verdict::Denied => "denied",
                }),
                blocks: decision.who.iter().flat_map(|who| &who.blocks).map(ToString::to_string).collect(),
                object: None,
            },
            Event::Outcome(outcome) => Self { request: Some(outcome.request.to_string()), ..Self::default() },
            Event::Change(change) => Self {
                agent: match change.actor {
                    Actor::Agent(name) => Some(name.to_string()),
                    Actor::Operator(_)
                    | Actor::User(_)
                    | Actor::Provider(_)
                    | Actor::Holder(_)
                    | Actor::Edge(_)
                    | Actor::Authority => None,
                },
                object: Some(change.object.into()),
                ..Self::default()
            },
        }
    }

    /// Of an event that does not parse (a newer edge wrote it) there are none; the record is kept all the same.
    fn of_record(record: &Record) -> Self {
        record.read().map(Self::of).unwrap_or_default()
    }
}

/// A change that is to be recorded, as text: made before the heads are locked.
#[derive(Clone)]
pub(super) struct Noted {
    at: Timestamp,
    text: Box<RawValue>,
    terms: Terms,
}

impl Noted {
    pub(super) fn new(at: Timestamp, event: &Change) -> Self {
        let event = Event::Change(event.clone());
        Self { at, text: event.text(), terms: Terms::of(event) }
    }

    /// The authority's record of it that follows `head`.
    pub(super) fn after(self, head: &Head) -> (Record, Terms) {
        (Record::of_text(head, Source::Authority, self.at, self.text), self.terms)
    }
}

/// Where the audit log ends.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AuditEnd {
    /// In the whole log.
    pub(super) position: u64,
    /// In the authority's chain.
    pub(super) head: Head,
}

impl AuditEnd {
    /// Goes on to where it ends after these changes. Answers the statements that insert them, and the last record.
    pub(super) fn append(&mut self, changes: impl IntoIterator<Item = Noted>) -> (Vec<Statement>, Option<Record>) {
        let position = self.position;
        let (mut records, mut all_terms) = (Vec::new(), Vec::new());
        for change in changes {
            let (record, terms) = change.after(&self.head);
            self.position += 1;
            self.head = record.head();
            records.push(record);
            all_terms.push(terms);
        }
        (insert(position, records.iter().zip(all_terms)), records.pop())
    }
}

/// The statements that insert records after place `position` of the whole log.
pub(super) fn insert<'a>(position: u64, records: impl IntoIterator<Item = (&'a Record, Terms)>) -> Vec<Statement> {
    let (mut rows, mut blocks) = (Vec::new(), Vec::new());
    for ((record, terms), position) in records.into_iter().zip(position + 1..) {
        rows.push(vec![
            count(position),
            text(&record.source),
            count(record.seq),
            time(record.at),
            text(record.event.get()),
            text(&record.previous),
            text(&record.hash),
            text_or_null(terms.agent.as_deref()),
            text_or_null(terms.object.as_deref()),
            text_or_null(terms.subject.as_deref()),
            text_or_null(terms.service.as_deref()),
            text_or_null(terms.request.as_deref()),
            text_or_null(terms.verdict),
        ]);
        blocks.extend(terms.blocks.into_iter().map(|block| vec![Value::Text(block), count(position)]));
    }
    let records = "INSERT INTO audit_record (position, source, seq, at, event, previous, hash, agent, object, subject, \
                   service, request, verdict) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let records = Statement { sql: records.to_owned(), rows };
    if blocks.is_empty() {
        return vec![records];
    }
    let sql = "INSERT INTO audit_block (block, position) VALUES ($1, $2) ON CONFLICT (block, position) DO NOTHING";
    vec![records, Statement { sql: sql.to_owned(), rows: blocks }]
}

fn head(row: &mut Row) -> Result<Head, StoreError> {
    Ok(Head { seq: row.int()?, hash: row.text()? })
}

fn record(row: &mut Row) -> Result<(u64, Record), StoreError> {
    let position = row.int()?;
    let (source, seq, at) = (row.parse()?, row.int()?, row.time()?);
    let event = RawValue::from_string(row.text()?.into()).map_err(|_| row.corrupt())?;
    Ok((position, Record { source, seq, at, event, previous: row.text()?, hash: row.text()? }))
}

fn checkpoint(row: &mut Row) -> Result<Checkpoint, StoreError> {
    Ok(Checkpoint {
        source: row.parse()?,
        head: head(row)?,
        at: row.time()?,
        key: row.parse()?,
        signature: row.text()?,
    })
}

fn insert_checkpoint(checkpoint: &Checkpoint) -> Statement {
    let sql = "INSERT INTO audit_checkpoint (source, seq, hash, at, key, signature) VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (source, seq, signature) DO NOTHING";
    let row = vec![
        text(&checkpoint.source),
        count(checkpoint.head.seq),
        text(&checkpoint.head.hash),
        time(checkpoint.at),
        text(&checkpoint.key),
        text(&checkpoint.signature),
    ];
    Statement { sql: sql.to_owned(), rows: vec![row] }
}

/// The records of a shipment that are not there yet, once the whole of it is known to fit.
async fn fresh<'a>(
    transaction: &mut dyn Transaction,
    source: &Source,
    stored: &Head,
    records: &'a [Record],
) -> Result<&'a [Record], StoreError> {
    let unfit = StoreError::Conflict("another record at that place of the chain, or none before it,");
    let known = records.iter().take_while(|record| record.seq <= stored.seq).count();
    let (known, fresh) = records.split_at(known);
    if let (Some(first), Some(last)) = (known.first(), known.last()) {
        let sql = "SELECT seq, hash FROM audit_record WHERE source = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq";
        let rows = transaction.query(sql, vec![text(source), count(first.seq), count(last.seq)]).await?;
        let there = read_all(rows, "audit_record", head)?;
        // The same hash, and the hash of its own contents: the same record.
        let same = |record: &Record, head: &Head| {
            record.source == *source && record.head() == *head && record.is_whole().is_ok()
        };
        if there.len() != known.len() || !known.iter().zip(&there).all(|(record, head)| same(record, head)) {
            return Err(unfit);
        }
    }
    let mut end = stored.clone();
    for record in fresh {
        if record.source != *source || record.follows(&end).is_err() {
            return Err(unfit);
        }
        end = record.head();
    }
    Ok(fresh)
}

/// Refuses a checkpoint of another chain, and one that names a head this chain does not have.
async fn check_checkpoint(
    transaction: &mut dyn Transaction,
    source: &Source,
    checkpoint: &Checkpoint,
    fresh: &[Record],
) -> Result<(), StoreError> {
    let unfit = StoreError::Conflict("another chain than the one that the checkpoint saw");
    if checkpoint.source != *source {
        return Err(unfit);
    }
    let head = &checkpoint.head;
    if *head == Head::empty() || fresh.iter().any(|record| record.head() == *head) {
        return Ok(());
    }
    let sql = "SELECT 1 FROM audit_record WHERE source = $1 AND seq = $2 AND hash = $3";
    let rows = transaction.query(sql, vec![text(source), count(head.seq), text(&head.hash)]).await?;
    if rows.is_empty() { Err(unfit) } else { Ok(()) }
}

#[async_trait]
impl AuditLog for SqlStore {
    async fn record(&self, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        self.write().await?.commit(at, event).await
    }

    async fn append_audit(
        &self,
        source: &Source,
        records: &[Record],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Head, StoreError> {
        if *source == Source::Authority {
            return Err(StoreError::Conflict("the authority's own chain"));
        }
        let mut transaction = self.database.begin().await?;
        let name = text(source);
        let sql = "INSERT INTO audit_chain (source, seq, hash) VALUES ($1, $2, $3) ON CONFLICT (source) DO NOTHING";
        let empty = Head::empty();
        transaction.query(sql, vec![name.clone(), count(empty.seq), text(&empty.hash)]).await?;
        // The chain first, the heads last: what is long (checking hashes) holds up this edge alone.
        let sql = "SELECT seq, hash FROM audit_chain WHERE source = $1";
        let (rows, _) = transaction.lock(sql, vec![name.clone()], None).await?;
        let stored = read_first(rows, "audit_chain", head)?.ok_or(StoreError::Corrupt { table: "audit_chain" })?;
        let fresh = fresh(&mut *transaction, source, &stored, records).await?;
        let (mut statements, mut audited) = (Vec::new(), None);
        if let Some(checkpoint) = checkpoint {
            check_checkpoint(&mut *transaction, source, checkpoint, fresh).await?;
            statements.push(insert_checkpoint(checkpoint));
        }
        let end = fresh.last().map_or(stored, Record::head);
        if !fresh.is_empty() {
            let sql = "UPDATE audit_chain SET seq = $2, hash = $3 WHERE source = $1";
            let row = vec![name, count(end.seq), text(&end.hash)];
            statements.push(Statement { sql: sql.to_owned(), rows: vec![row] });
            let mut heads = lock_heads(&mut *transaction).await?;
            let records = fresh.iter().map(|record| (record, Terms::of_record(record)));
            statements.extend(insert(heads.audit.position, records));
            heads.audit.position += fresh.len() as u64;
            statements.push(heads.update());
            audited = Some(heads.audit);
        }
        transaction.commit_with(statements).await?;
        if let Some(end) = audited {
            self.audited().end = Some(end);
        }
        Ok(end)
    }

    async fn audit_head(&self, source: &Source) -> Result<Head, StoreError> {
        let rows = match source {
            Source::Authority => self.read("SELECT audit_seq, audit_hash FROM heads WHERE one = 1", Vec::new()).await?,
            Source::Edge(_) => {
                let sql = "SELECT seq, hash FROM audit_chain WHERE source = $1";
                self.read(sql, vec![text(source)]).await?
            }
        };
        Ok(read_first(rows, "audit_chain", head)?.unwrap_or_else(Head::empty))
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<(u64, Record)>, StoreError> {
        let (sql, params) = select(query)?;
        read_all(self.read(&sql, params).await?, "audit_record", record)
    }

    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        check_checkpoint(&mut *transaction, &Source::Authority, checkpoint, &[]).await?;
        Ok(transaction.commit_with(vec![insert_checkpoint(checkpoint)]).await?)
    }

    async fn checkpoints(&self, source: &Source) -> Result<Vec<Checkpoint>, StoreError> {
        let sql = "SELECT source, seq, hash, at, key, signature FROM audit_checkpoint WHERE source = $1 \
                   ORDER BY seq, at, signature";
        read_all(self.read(sql, vec![text(source)]).await?, "audit_checkpoint", checkpoint)
    }

    async fn audit_sources(&self) -> Result<Vec<Source>, StoreError> {
        let sql = "SELECT 'authority' AS source FROM heads WHERE audit_seq > 0 \
                   UNION ALL SELECT source FROM audit_chain ORDER BY source";
        read_all(self.read(sql, Vec::new()).await?, "audit_chain", Row::parse)
    }
}

/// The most records one query answers.
const LIMIT_MAX: u32 = 1000;

/// The statement of a query. What the caller gave is in the parameters only.
fn select(query: &AuditQuery) -> Result<(String, Vec<Value>), StoreError> {
    if query.after_seq.is_some() && query.source.is_none() {
        return Err(StoreError::Failed("a query with `after_seq` needs a `source`".into()));
    }
    let mut params = Vec::new();
    let mut sql =
        "SELECT position, source, seq, at, event, previous, hash FROM audit_record WHERE position > $1".to_owned();
    params.push(count(query.after.unwrap_or(0)));
    let conditions = [
        ("source = $n", query.source.as_ref().map(text)),
        ("seq > $n", query.after_seq.map(count)),
        ("at >= $n", query.since.map(time)),
        ("at < $n", query.until.map(time)),
        ("(agent = $n OR object = $n)", query.agent.as_ref().map(text)),
        ("subject = $n", query.subject.as_ref().map(text)),
        ("service = $n", query.service.as_ref().map(text)),
        ("request = $n", query.request.as_ref().map(text)),
        (
            "(object = $n OR position IN (SELECT position FROM audit_block WHERE block = $n))",
            query.block.as_ref().map(text),
        ),
        ("verdict = $n", query.verdict.as_ref().map(text)),
    ];
    for (condition, value) in conditions {
        if let Some(value) = value {
            params.push(value);
            sql.push_str(" AND ");
            sql.push_str(&condition.replace("$n", &format!("${}", params.len())));
        }
    }
    params.push(count(query.limit.clamp(1, LIMIT_MAX).into()));
    sql.push_str(&format!(" ORDER BY position LIMIT ${}", params.len()));
    Ok((sql, params))
}
