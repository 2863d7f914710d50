//! The installation's records.

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::OperatorName;
use crate::store::database::{Row, Value, bytes, count, read_all, read_first, text, text_or_null, time};
use crate::store::{Installation, Installations, Operator, OperatorRemoval, RootKeyRecord, StoreError};
use crate::vault::Sealed;

pub(super) fn sealed(row: &mut Row) -> Result<Sealed, StoreError> {
    Ok(Sealed { kek: row.text()?, wrapped_key: row.text()?, ciphertext: row.text()? })
}

fn installation(row: &mut Row) -> Result<Installation, StoreError> {
    Ok(Installation {
        issuer: row.text()?,
        kek_check: sealed(row)?,
        authority_key: row.parse()?,
        authority_seed: sealed(row)?,
        created: row.time()?,
    })
}

fn root_key(row: &mut Row) -> Result<RootKeyRecord, StoreError> {
    Ok(RootKeyRecord {
        id: row.int()?,
        key: row.parse()?,
        seed: sealed(row)?,
        created: row.time()?,
        signs_from: row.time()?,
        until: row.time_or_null()?,
    })
}

fn operator(row: &mut Row) -> Result<Operator, StoreError> {
    Ok(Operator {
        name: row.parse()?,
        secret_sha256: row.bytes()?,
        role: row.parse()?,
        person: row.parse_or_null()?,
        created: row.time()?,
    })
}

impl Write<'_> {
    fn add_root_key(&mut self, root: &RootKeyRecord) {
        self.change(
            "INSERT INTO root_key (id, key, seed_kek, seed_wrapped_key, seed_ciphertext, created, signs_from, until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            vec![
                count(root.id.into()),
                text(&root.key),
                text(&root.seed.kek),
                text(&root.seed.wrapped_key),
                text(&root.seed.ciphertext),
                time(root.created),
                time(root.signs_from),
                root.until.map_or(Value::Null, time),
            ],
        );
    }

    fn add_operator(&mut self, operator: &Operator) {
        self.change(
            "INSERT INTO operator (name, secret_sha256, role, person, created) VALUES ($1, $2, $3, $4, $5)",
            vec![
                text(&operator.name),
                bytes(&operator.secret_sha256),
                text(&operator.role),
                text_or_null(operator.person.as_ref()),
                time(operator.created),
            ],
        );
    }
}

#[async_trait]
impl Installations for SqlStore {
    async fn install(
        &self,
        installation: &Installation,
        root: &RootKeyRecord,
        operator: &Operator,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("an installation");
        write.change(
            "INSERT INTO installation (one, issuer, check_kek, check_wrapped_key, check_ciphertext, authority_key, \
             seed_kek, seed_wrapped_key, seed_ciphertext, created) VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9)",
            vec![
                text(&installation.issuer),
                text(&installation.kek_check.kek),
                text(&installation.kek_check.wrapped_key),
                text(&installation.kek_check.ciphertext),
                text(&installation.authority_key),
                text(&installation.authority_seed.kek),
                text(&installation.authority_seed.wrapped_key),
                text(&installation.authority_seed.ciphertext),
                time(installation.created),
            ],
        );
        write.add_root_key(root);
        write.add_operator(operator);
        write.commit(at, event).await
    }

    async fn installation(&self) -> Result<Option<Installation>, StoreError> {
        let sql = "SELECT issuer, check_kek, check_wrapped_key, check_ciphertext, authority_key, seed_kek, \
                   seed_wrapped_key, seed_ciphertext, created FROM installation WHERE one = 1";
        read_first(self.read(sql, Vec::new()).await?, "installation", installation)
    }

    async fn add_root_key(&self, root: &RootKeyRecord, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a root key of that id or key");
        write.add_root_key(root);
        write.catalog_changes();
        write.commit(at, event).await
    }

    async fn retire_root_key(
        &self,
        id: u32,
        until: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        if !write.finds("SELECT 1 FROM root_key WHERE id = $1", vec![count(id.into())]).await? {
            return Err(StoreError::NotFound("root key"));
        }
        let sql = "UPDATE root_key SET until = $2 WHERE id = $1 AND (until IS NULL OR until > $2) RETURNING id";
        if !write.finds(sql, vec![count(id.into()), time(until)]).await? {
            return Ok(());
        }
        write.catalog_changes();
        write.commit(at, event).await
    }

    async fn root_keys(&self) -> Result<Vec<RootKeyRecord>, StoreError> {
        let sql = "SELECT id, key, seed_kek, seed_wrapped_key, seed_ciphertext, created, signs_from, until \
                   FROM root_key ORDER BY id";
        read_all(self.read(sql, Vec::new()).await?, "root_key", root_key)
    }

    async fn add_operator(&self, operator: &Operator, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("an operator of that name or secret");
        write.add_operator(operator);
        write.commit(at, event).await
    }

    async fn operators(&self) -> Result<Vec<Operator>, StoreError> {
        let sql = "SELECT name, secret_sha256, role, person, created FROM operator ORDER BY name";
        read_all(self.read(sql, Vec::new()).await?, "operator", operator)
    }

    async fn remove_operator(
        &self,
        name: &OperatorName,
        at: Timestamp,
        event: &Change,
    ) -> Result<OperatorRemoval, StoreError> {
        let mut write = self.write().await?;
        if !write.finds("SELECT 1 FROM operator WHERE name = $1", vec![text(name)]).await? {
            return Err(StoreError::NotFound("operator"));
        }
        if !write.finds("SELECT 1 FROM operator WHERE name <> $1 AND role = 'admin' LIMIT 1", vec![text(name)]).await? {
            return Ok(OperatorRemoval::LastOne);
        }
        write.change("DELETE FROM operator WHERE name = $1", vec![text(name)]);
        write.commit(at, event).await?;
        Ok(OperatorRemoval::Removed)
    }

    async fn operator_by_secret(&self, secret_sha256: &[u8; 32]) -> Result<Option<Operator>, StoreError> {
        let sql = "SELECT name, secret_sha256, role, person, created FROM operator WHERE secret_sha256 = $1";
        read_first(self.read(sql, vec![bytes(secret_sha256)]).await?, "operator", operator)
    }

    async fn rewrap_installation(
        &self,
        installation: &Installation,
        roots: &[RootKeyRecord],
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "UPDATE installation SET check_kek = $2, check_wrapped_key = $3, check_ciphertext = $4, \
                   seed_kek = $5, seed_wrapped_key = $6, seed_ciphertext = $7 \
                   WHERE authority_key = $1 RETURNING one";
        let (check, seed) = (&installation.kek_check, &installation.authority_seed);
        let params = vec![
            text(&installation.authority_key),
            text(&check.kek),
            text(&check.wrapped_key),
            text(&check.ciphertext),
            text(&seed.kek),
            text(&seed.wrapped_key),
            text(&seed.ciphertext),
        ];
        if !write.finds(sql, params).await? {
            return Err(StoreError::NotFound("installation"));
        }
        for root in roots {
            let sql = "UPDATE root_key SET seed_kek = $3, seed_wrapped_key = $4, seed_ciphertext = $5 \
                       WHERE id = $1 AND key = $2 RETURNING id";
            let seed = &root.seed;
            let params = vec![
                count(root.id.into()),
                text(&root.key),
                text(&seed.kek),
                text(&seed.wrapped_key),
                text(&seed.ciphertext),
            ];
            if !write.finds(sql, params).await? {
                return Err(StoreError::NotFound("root key"));
            }
        }
        write.commit(at, event).await
    }
}
