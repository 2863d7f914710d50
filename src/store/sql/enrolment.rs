//! Codes with which agents register themselves.

use async_trait::async_trait;

use super::SqlStore;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{EnrolmentId, TenantName};
use crate::policy::Grant;
use crate::store::database::{Row, Value, bytes, count, json, read_all, read_first, text, text_or_null, time};
use crate::store::enrolment::{EnrolmentCode, EnrolmentNames, Enrolments};
use crate::store::{Agent, StoreError};

const COLUMNS: &str = "id, tenant, name, is_prefix, owner, purpose, granted, uses_left, expires, made_by";

fn code(row: &mut Row) -> Result<EnrolmentCode, StoreError> {
    Ok(EnrolmentCode {
        id: row.parse()?,
        tenant: row.parse()?,
        names: {
            let name = row.parse()?;
            if row.bool()? { EnrolmentNames::Beginning(name) } else { EnrolmentNames::Only(name) }
        },
        owner: row.parse_or_null()?,
        purpose: row.parse_or_null()?,
        granted: row.text_or_null()?.map(|json| serde_json::from_str(&json)).transpose().map_err(|_| row.corrupt())?,
        uses_left: row.int()?,
        expires: row.time()?,
        by: row.parse()?,
    })
}

#[async_trait]
impl Enrolments for SqlStore {
    async fn add_enrolment_code(
        &self,
        code: &EnrolmentCode,
        secret_sha256: &[u8; 32],
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("an enrolment code of that id or secret");
        let (name, is_prefix) = match &code.names {
            EnrolmentNames::Only(name) => (name, false),
            EnrolmentNames::Beginning(prefix) => (prefix, true),
        };
        write.change("DELETE FROM enrolment_code WHERE expires < $1", vec![time(at)]);
        write.change(
            &format!("INSERT INTO enrolment_code ({COLUMNS}, secret_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"),
            vec![
                text(&code.id),
                text(&code.tenant),
                text(name),
                Value::Bool(is_prefix),
                text_or_null(code.owner.as_ref()),
                text_or_null(code.purpose.as_ref()),
                code.granted.as_ref().map_or(Ok(Value::Null), json)?,
                count(code.uses_left.into()),
                time(code.expires),
                text(&code.by),
                bytes(secret_sha256),
            ],
        );
        write.commit(at, event).await
    }

    async fn enrolment_codes(&self, tenant: &TenantName, at: Timestamp) -> Result<Vec<EnrolmentCode>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM enrolment_code WHERE tenant = $1 AND expires >= $2 AND uses_left > 0 ORDER BY expires, id"
        );
        read_all(self.read(&sql, vec![text(tenant), time(at)]).await?, "enrolment_code", code)
    }

    async fn enrolment_code(&self, secret_sha256: &[u8; 32]) -> Result<Option<EnrolmentCode>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM enrolment_code WHERE secret_sha256 = $1");
        read_first(self.read(&sql, vec![bytes(secret_sha256)]).await?, "enrolment_code", code)
    }

    async fn remove_enrolment_code(
        &self,
        tenant: &TenantName,
        id: EnrolmentId,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "DELETE FROM enrolment_code WHERE tenant = $1 AND id = $2 RETURNING id";
        if !write.finds(sql, vec![text(tenant), text(&id)]).await? {
            return Err(StoreError::NotFound("enrolment code"));
        }
        write.commit(at, event).await
    }

    async fn enrol(
        &self,
        id: EnrolmentId,
        agent: &Agent,
        grant: Option<&Grant>,
        event: &Change,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let sql = "UPDATE enrolment_code SET uses_left = uses_left - 1 \
                   WHERE id = $1 AND uses_left > 0 AND expires >= $2 RETURNING id";
        if !write.finds(sql, vec![text(&id), time(agent.created)]).await? {
            return Ok(false);
        }
        write.insert_agent(agent).await?;
        if let Some(grant) = grant {
            write.insert_grant(grant)?;
        }
        write.commit(agent.created, event).await?;
        Ok(true)
    }
}
