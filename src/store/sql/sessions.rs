//! Sessions of operators.

use std::time::Duration;

use async_trait::async_trait;

use super::SqlStore;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::store::StoreError;
use crate::store::database::{Row, bytes, count, json, read_all, read_first, text, text_or_null, time};
use crate::store::sessions::{OperatorPerson, OperatorSession, SessionCode, Sessions};

const COLUMNS: &str = "s.id, s.name, s.role, s.member_of, s.provider, s.tenant, s.subject, s.session, s.epoch, s.created, s.used, s.expires";

fn session(row: &mut Row) -> Result<OperatorSession, StoreError> {
    Ok(OperatorSession {
        id: row.parse()?,
        name: row.parse()?,
        role: row.parse()?,
        groups: row.json()?,
        provider: row.parse()?,
        tenant: row.parse()?,
        subject: row.parse()?,
        session: row.parse_or_null()?,
        epoch: row.int()?,
        created: row.time()?,
        used: row.time()?,
        expires: row.time()?,
    })
}

#[async_trait]
impl Sessions for SqlStore {
    async fn offer_session(&self, session: &OperatorSession, code: &SessionCode) -> Result<(), StoreError> {
        let drop = "DELETE FROM operator_session WHERE expires < $1 OR code_until < $1";
        self.database.write(drop, vec![time(session.created)]).await?;
        let sql = "INSERT INTO operator_session (id, name, role, provider, tenant, subject, session, epoch, created, used, \
                   expires, code_sha256, challenge, code_until, member_of) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        let params = vec![
            text(&session.id),
            text(&session.name),
            text(&session.role),
            text(&session.provider),
            text(&session.tenant),
            text(&session.subject),
            text_or_null(session.session.as_ref()),
            count(session.epoch),
            time(session.created),
            time(session.used),
            time(session.expires),
            bytes(&code.sha256),
            bytes(&code.challenge),
            time(code.until),
            json(&session.groups)?,
        ];
        self.database.write(sql, params).await?;
        Ok(())
    }

    async fn offered_session(
        &self,
        code_sha256: &[u8; 32],
        challenge: &[u8; 32],
        at: Timestamp,
    ) -> Result<Option<OperatorSession>, StoreError> {
        let sql = "DELETE FROM operator_session WHERE code_sha256 = $1 AND (challenge <> $2 OR code_until < $3)";
        self.database.write(sql, vec![bytes(code_sha256), bytes(challenge), time(at)]).await?;
        let sql = format!("SELECT {COLUMNS} FROM operator_session s WHERE s.code_sha256 = $1 AND s.challenge = $2");
        let rows = self.read(&sql, vec![bytes(code_sha256), bytes(challenge)]).await?;
        read_first(rows, "operator_session", session)
    }

    async fn begin_session(
        &self,
        session: &OperatorSession,
        code_sha256: &[u8; 32],
        secret_sha256: &[u8; 32],
        event: &Change,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        write.conflict("a session with that secret");
        let sql = "UPDATE operator_session SET code_sha256 = NULL, challenge = NULL, code_until = NULL, secret_sha256 = $3, \
                   used = $4 WHERE id = $1 AND code_sha256 = $2 RETURNING id";
        let params = vec![text(&session.id), bytes(code_sha256), bytes(secret_sha256), time(session.used)];
        if !write.finds(sql, params).await? {
            return Ok(false);
        }
        write.change(
            "INSERT INTO operator_person (name, role, since) VALUES ($1, $2, $3) ON CONFLICT (name) \
             DO UPDATE SET role = excluded.role, since = excluded.since WHERE operator_person.role <> excluded.role",
            vec![text(&session.name), text(&session.role), time(session.used)],
        );
        write.commit(session.used, event).await?;
        Ok(true)
    }

    async fn session_by_secret(
        &self,
        secret_sha256: &[u8; 32],
        idle: Duration,
        at: Timestamp,
    ) -> Result<Option<OperatorSession>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM operator_session s WHERE s.secret_sha256 = $1 AND s.expires >= $2 AND s.used >= $3 \
             AND NOT EXISTS (SELECT 1 FROM suspended_user u WHERE u.tenant = s.tenant AND u.subject = s.subject) \
             AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.seq > s.epoch AND r.target IN \
             ('subject:' || s.tenant || '/' || s.subject, 'session:' || s.tenant || '/' || s.session))"
        );
        let rows = self.read(&sql, vec![bytes(secret_sha256), time(at), time(at.before(idle))]).await?;
        read_first(rows, "operator_session", session)
    }

    async fn note_session_used(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE operator_session SET used = $2 WHERE id = $1 AND used < $2";
        self.database.write(sql, vec![text(&id), time(at)]).await?;
        Ok(())
    }

    async fn sessions(&self, at: Timestamp) -> Result<Vec<OperatorSession>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM operator_session s WHERE s.secret_sha256 IS NOT NULL AND s.expires >= $1 \
             ORDER BY s.name, s.created DESC, s.id"
        );
        read_all(self.read(&sql, vec![time(at)]).await?, "operator_session", session)
    }

    async fn end_session(&self, id: SessionId, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "DELETE FROM operator_session WHERE id = $1 AND secret_sha256 IS NOT NULL RETURNING id";
        if !write.finds(sql, vec![text(&id)]).await? {
            return Err(StoreError::NotFound("session"));
        }
        write.commit(at, event).await
    }

    async fn operator_people(&self) -> Result<Vec<OperatorPerson>, StoreError> {
        let read = |row: &mut Row| Ok(OperatorPerson { name: row.parse()?, role: row.parse()?, since: row.time()? });
        let sql = "SELECT name, role, since FROM operator_person ORDER BY name";
        read_all(self.read(sql, Vec::new()).await?, "operator_person", read)
    }
}
