//! The directory: who may provision, users, and what users are.

use async_trait::async_trait;
use serde_json::json;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{ProviderName, ResourceId, ScimTokenId};
use crate::revocation::{Entry, Target};
use crate::store::StoreError;
use crate::store::database::{Row, Statement, Value, bytes, count, read_all, read_first, text, text_or_null, time};
use crate::store::directory::{
    Directories, DirectoryGroup, DirectoryUser, Ended, Find, GroupChange, Membership, ScimToken, UserChange,
    UserStanding,
};

/// How many targets an audit record names; of more it says how many.
const TARGETS_SHOWN_MAX: usize = 128;

/// How many users one statement asks for.
const KNOWN_TOGETHER: usize = 100;

const TOKEN: &str = "SELECT id, provider, secret_sha256, created FROM scim_token";
const USER: &str = "SELECT provider, id, position, name, name_key, user_name, user_name_key, external_id, active, \
     attributes, version, created, updated FROM directory_user WHERE provider = $1";
const MEMBERSHIP: &str = "SELECT g.id, g.name, u.id FROM directory_member m \
     JOIN directory_group g ON g.provider = m.provider AND g.id = m.group_id \
     JOIN directory_user u ON u.provider = m.provider AND u.id = m.user_id WHERE m.provider = $1";

fn token(row: &mut Row) -> Result<ScimToken, StoreError> {
    Ok(ScimToken { id: row.parse()?, provider: row.parse()?, secret_sha256: row.bytes()?, created: row.time()? })
}

fn user(row: &mut Row) -> Result<DirectoryUser, StoreError> {
    Ok(DirectoryUser {
        provider: row.parse()?,
        id: row.parse()?,
        position: row.int()?,
        name: row.text()?,
        name_key: row.text()?,
        user_name: row.text()?,
        user_name_key: row.text()?,
        external_id: row.text_or_null()?,
        active: row.bool()?,
        attributes: row.text()?,
        version: row.int()?,
        created: row.time()?,
        updated: row.time()?,
    })
}

fn membership(row: &mut Row) -> Result<Membership, StoreError> {
    Ok(Membership { group: row.parse()?, group_name: row.text()?, user: row.parse()? })
}

/// What follows `WHERE provider = $1` to find it, and the parameters; `name` is the column of [`Find::Name`].
pub(super) fn found(find: &Find<'_>, name: &str, provider: &ProviderName, limit: u32) -> (String, Vec<Value>) {
    let (by, value) = match find {
        Find::Id(id) => ("AND id = $2".to_owned(), text(id)),
        Find::Name(key) => (format!("AND {name} = $2"), text(*key)),
        Find::ExternalId(id) => ("AND external_id = $2".to_owned(), text(*id)),
        Find::After(position) => ("AND position > $2".to_owned(), count(*position)),
        Find::Skip(many) => {
            return (
                " ORDER BY position LIMIT $3 OFFSET $2".to_owned(),
                vec![text(provider), count(*many), count(limit.into())],
            );
        }
    };
    (format!(" {by} ORDER BY position LIMIT $3"), vec![text(provider), value, count(limit.into())])
}

impl Write<'_> {
    /// Runs a statement for each row, now.
    pub(super) async fn run(&mut self, sql: &str, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        let statement = Statement { sql: sql.to_owned(), rows };
        self.transaction.run(vec![statement]).await.map_err(|error| error.or_conflict(self.conflict))
    }

    /// Blocks a name and ends what its user has, unless it is blocked already.
    async fn block(
        &mut self,
        provider: &ProviderName,
        (name, key, target): &(Box<str>, Box<str>, Target),
        forget_after: Timestamp,
        at: Timestamp,
    ) -> Result<Ended, StoreError> {
        let sql = "SELECT seq FROM directory_block WHERE provider = $1 AND name_key = $2 AND name = $3";
        let rows = self.query(sql, vec![text(provider), text(key), text(name)]).await?;
        if let Some(seq) = read_first(rows, "directory_block", Row::int)? {
            return Ok(Ended::Before(seq));
        }
        let entry = self.append_entry(target.clone(), forget_after, at, None);
        self.change(
            "INSERT INTO directory_block (provider, name_key, name, seq, at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (provider, name_key) DO UPDATE SET name = excluded.name, seq = excluded.seq, at = excluded.at",
            vec![text(provider), text(key), text(name), count(entry.seq), time(at)],
        );
        Ok(Ended::Now(Box::new(entry)))
    }

    /// Whether the version before that of `change` stands, or for the first one, nothing.
    pub(super) async fn follows(
        &mut self,
        table: &str,
        provider: &ProviderName,
        id: ResourceId,
        version: u64,
    ) -> Result<bool, StoreError> {
        let sql = format!("SELECT version FROM {table} WHERE provider = $1 AND id = $2");
        let rows = self.query(&sql, vec![text(provider), text(&id)]).await?;
        let stands = read_first(rows, "directory", Row::int::<u64>)?.unwrap_or(0);
        Ok(stands + 1 == version)
    }

    /// Remembers by which entry a deleted resource ended, so that whoever deletes it again waits for the same receipt.
    pub(super) fn is_gone(&mut self, provider: &ProviderName, id: ResourceId, ended: &Ended) {
        if let Some(seq) = ended.seq() {
            let sql = "INSERT INTO directory_gone (provider, id, seq) VALUES ($1, $2, $3)";
            self.change(sql, vec![text(provider), text(&id), count(seq)]);
        }
    }

    fn write_user(&mut self, user: &DirectoryUser) {
        let position = self.position();
        // A user keeps the place in lists that the first version got.
        self.change(
            "INSERT INTO directory_user (provider, id, position, name, name_key, user_name, user_name_key, external_id, \
             active, attributes, version, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             ON CONFLICT (provider, id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key, \
             user_name = excluded.user_name, user_name_key = excluded.user_name_key, external_id = excluded.external_id, \
             active = excluded.active, attributes = excluded.attributes, version = excluded.version, updated = excluded.updated",
            vec![
                text(&user.provider),
                text(&user.id),
                count(position),
                text(&user.name),
                text(&user.name_key),
                text(&user.user_name),
                text(&user.user_name_key),
                text_or_null(user.external_id.as_ref()),
                Value::Bool(user.active),
                text(&user.attributes),
                count(user.version),
                time(user.created),
                time(user.updated),
            ],
        );
    }
}

impl Ended {
    fn seq(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Now(entry) => Some(entry.seq),
            Self::Before(seq) => Some(*seq),
        }
    }

    /// The later one of two.
    fn or_later(self, other: Self) -> Self {
        if other.seq() > self.seq() { other } else { self }
    }
}

/// The event, with what ended.
pub(super) fn with_ended(event: &Change, ended: &[Entry]) -> Change {
    let mut event = event.clone();
    if !ended.is_empty() {
        let shown: Vec<_> = ended.iter().take(TARGETS_SHOWN_MAX).map(|entry| &entry.target).collect();
        event.detail.insert("ended".into(), json!(shown));
        event.detail.insert("ended_seq".into(), json!([ended[0].seq, ended[ended.len() - 1].seq]));
    }
    event
}

#[async_trait]
impl Directories for SqlStore {
    async fn add_scim_token(&self, token: &ScimToken, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a SCIM token of that id");
        write.change(
            "INSERT INTO scim_token (id, provider, secret_sha256, created) VALUES ($1, $2, $3, $4)",
            vec![text(&token.id), text(&token.provider), bytes(&token.secret_sha256), time(token.created)],
        );
        write.commit(token.created, event).await
    }

    async fn scim_tokens(&self) -> Result<Vec<ScimToken>, StoreError> {
        let rows = self.read(&format!("{TOKEN} ORDER BY provider, created, id"), Vec::new()).await?;
        read_all(rows, "scim_token", token)
    }

    async fn scim_token_by_secret(&self, secret_sha256: &[u8; 32]) -> Result<Option<ScimToken>, StoreError> {
        let rows = self.read(&format!("{TOKEN} WHERE secret_sha256 = $1"), vec![bytes(secret_sha256)]).await?;
        read_first(rows, "scim_token", token)
    }

    async fn remove_scim_token(&self, id: ScimTokenId, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        if !write.finds("DELETE FROM scim_token WHERE id = $1 RETURNING id", vec![text(&id)]).await? {
            return Err(StoreError::NotFound("SCIM token"));
        }
        write.commit(at, event).await
    }

    async fn change_user(
        &self,
        change: &UserChange<'_>,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Option<Ended>, StoreError> {
        let UserChange { user, addresses, removed, blocks, lifts } = change;
        let (provider, id) = (&user.provider, user.id);
        let mut write = self.write().await?;
        write.conflict("a user of that name");
        if !write.follows("directory_user", provider, id, user.version).await? {
            return Ok(None);
        }
        let (mut ended, mut entries) = (Ended::Nothing, Vec::new());
        for block in *blocks {
            let one = write.block(provider, block, forget_after, at).await?;
            if let Ended::Now(entry) = &one {
                entries.push((**entry).clone());
            }
            ended = ended.or_later(one);
        }
        if let Some(key) = lifts {
            let sql = "DELETE FROM directory_block WHERE provider = $1 AND name_key = $2";
            write.change(sql, vec![text(provider), text(*key)]);
        }
        let who = vec![text(provider), text(&id)];
        write.change("DELETE FROM directory_address WHERE provider = $1 AND user_id = $2", who.clone());
        if *removed {
            write.change("DELETE FROM directory_member WHERE provider = $1 AND user_id = $2", who.clone());
            write.change("DELETE FROM directory_user WHERE provider = $1 AND id = $2", who);
            write.is_gone(provider, id, &ended);
        } else {
            write.write_user(user);
            for address in *addresses {
                write.change(
                    "INSERT INTO directory_address (provider, address, user_id) VALUES ($1, $2, $3) \
                     ON CONFLICT (provider, address, user_id) DO NOTHING",
                    vec![text(provider), text(address), text(&id)],
                );
            }
        }
        write.commit(at, &with_ended(event, &entries)).await?;
        Ok(Some(ended))
    }

    async fn change_group(
        &self,
        change: &GroupChange<'_>,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Option<Ended>, StoreError> {
        self.write_group(change, forget_after, at, event).await
    }

    async fn directory_users(
        &self,
        provider: &ProviderName,
        find: &Find<'_>,
        limit: u32,
    ) -> Result<Vec<DirectoryUser>, StoreError> {
        let (by, params) = found(find, "user_name_key", provider, limit);
        read_all(self.read(&format!("{USER}{by}"), params).await?, "directory_user", user)
    }

    async fn directory_groups(
        &self,
        provider: &ProviderName,
        find: &Find<'_>,
        limit: u32,
    ) -> Result<Vec<DirectoryGroup>, StoreError> {
        self.read_groups(provider, find, limit).await
    }

    async fn directory_size(&self, provider: &ProviderName) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT (SELECT COUNT(*) FROM directory_user WHERE provider = $1), \
                   (SELECT COUNT(*) FROM directory_group WHERE provider = $1)";
        let rows = self.read(sql, vec![text(provider)]).await?;
        Ok(read_first(rows, "directory_user", |row| Ok((row.int()?, row.int()?)))?.unwrap_or_default())
    }

    async fn memberships_of_users(
        &self,
        provider: &ProviderName,
        first: u64,
        last: u64,
    ) -> Result<Vec<Membership>, StoreError> {
        let sql = format!("{MEMBERSHIP} AND u.position >= $2 AND u.position <= $3 ORDER BY g.position");
        let rows = self.read(&sql, vec![text(provider), count(first), count(last)]).await?;
        read_all(rows, "directory_member", membership)
    }

    async fn memberships_of_groups(
        &self,
        provider: &ProviderName,
        first: u64,
        last: u64,
    ) -> Result<Vec<Membership>, StoreError> {
        let sql = format!("{MEMBERSHIP} AND g.position >= $2 AND g.position <= $3 ORDER BY u.position");
        let rows = self.read(&sql, vec![text(provider), count(first), count(last)]).await?;
        read_all(rows, "directory_member", membership)
    }

    async fn standing(&self, provider: &ProviderName, name: &str, key: &str) -> Result<UserStanding, StoreError> {
        // One statement: all of one moment.
        let sql = "SELECT b.seq, u.name, g.name FROM heads h \
                   LEFT JOIN directory_block b ON b.provider = $1 AND b.name_key = $2 \
                   LEFT JOIN directory_user u ON u.provider = $1 AND u.name_key = $2 \
                   LEFT JOIN directory_member m ON m.provider = u.provider AND m.user_id = u.id \
                   LEFT JOIN directory_group g ON g.provider = m.provider AND g.id = m.group_id WHERE h.one = 1";
        let mut standing = UserStanding::default();
        for row in self.read(sql, vec![text(provider), text(key)]).await? {
            let mut row = row.of("directory_user");
            let blocked = row.int_or_null::<u64>()?.is_some();
            let spelled = row.text_or_null()?;
            standing.blocked |= blocked || spelled.is_some_and(|spelled| *spelled != *name);
            standing.groups.extend(row.parse_or_null()?);
        }
        Ok(standing)
    }

    async fn users_at(&self, provider: &ProviderName, address: &str, limit: u32) -> Result<Vec<Box<str>>, StoreError> {
        let sql = "SELECT u.name FROM directory_address a JOIN directory_user u ON u.provider = a.provider AND u.id = a.user_id \
                   WHERE a.provider = $1 AND a.address = $2 ORDER BY u.position LIMIT $3";
        let rows = self.read(sql, vec![text(provider), text(address), count(limit.into())]).await?;
        read_all(rows, "directory_user", Row::text)
    }

    async fn known_users(&self, provider: &ProviderName, users: &[ResourceId]) -> Result<Vec<ResourceId>, StoreError> {
        let places: Vec<String> = (2..KNOWN_TOGETHER + 2).map(|n| format!("${n}")).collect();
        let sql = format!("SELECT id FROM directory_user WHERE provider = $1 AND id IN ({})", places.join(", "));
        let mut known = Vec::with_capacity(users.len());
        for users in users.chunks(KNOWN_TOGETHER) {
            // Filled up with the last one: one statement to prepare, however many there are.
            let ids = (0..KNOWN_TOGETHER).filter_map(|n| users.get(n).or(users.last())).map(text);
            let params = std::iter::once(text(provider)).chain(ids).collect();
            known.extend(read_all(self.read(&sql, params).await?, "directory_user", Row::parse::<ResourceId>)?);
        }
        Ok(known)
    }

    async fn gone(&self, provider: &ProviderName, id: ResourceId) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT seq FROM directory_gone WHERE provider = $1 AND id = $2";
        read_first(self.read(sql, vec![text(provider), text(&id)]).await?, "directory_gone", Row::int)
    }
}
