//! Edges, and the tickets by which they join.

use std::time::Duration;

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::EdgeName;
use crate::store::database::{Row, Value, bytes, read_first, text, time};
use crate::store::{Edge, Edges, JoinTicket, Registered, ServerId, StoreError};

/// How long a removed edge is remembered: longer than any lease, whatever the clocks do.
const GONE_KEPT: Duration = Duration::from_secs(86_400);

fn edge(row: &mut Row) -> Result<Edge, StoreError> {
    Ok(Edge {
        name: row.parse()?,
        key: row.parse()?,
        audience: row.parse()?,
        origin: row.text()?,
        nonce: row.bool()?,
        joined: row.time()?,
    })
}

fn join_ticket(row: &mut Row) -> Result<JoinTicket, StoreError> {
    Ok(JoinTicket { secret_sha256: row.bytes()?, name: row.parse()?, audience: row.parse()?, expires: row.time()? })
}

impl Write<'_> {
    /// Remembers at the commit that the edge of this name goes, if there is one and its key is not `successor`.
    fn edge_goes(&mut self, name: &EdgeName, successor: &str, at: Timestamp) {
        self.change("DELETE FROM edge_gone WHERE at < $1", vec![time(at.before(GONE_KEPT))]);
        self.change(
            "INSERT INTO edge_gone (key, name, at) \
             SELECT key, name, CAST($2 AS BIGINT) FROM edge WHERE name = $1 AND key <> $3",
            vec![text(name), time(at), text(successor)],
        );
        let no_edges =
            "DELETE FROM edge_heard WHERE key NOT IN (SELECT key FROM edge) AND key NOT IN (SELECT key FROM edge_gone)";
        self.change(no_edges, Vec::new());
    }
}

#[async_trait]
impl Edges for SqlStore {
    async fn add_join_ticket(&self, ticket: &JoinTicket, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a join ticket with that secret");
        write.change("DELETE FROM join_ticket WHERE name = $1 OR expires < $2", vec![text(&ticket.name), time(at)]);
        write.change(
            "INSERT INTO join_ticket (secret_sha256, name, audience, expires) VALUES ($1, $2, $3, $4)",
            vec![bytes(&ticket.secret_sha256), text(&ticket.name), text(&ticket.audience), time(ticket.expires)],
        );
        write.commit(at, event).await
    }

    async fn join_ticket(&self, secret_sha256: &[u8; 32], at: Timestamp) -> Result<Option<JoinTicket>, StoreError> {
        let sql = "SELECT secret_sha256, name, audience, expires FROM join_ticket \
                   WHERE secret_sha256 = $1 AND expires >= $2";
        read_first(self.read(sql, vec![bytes(secret_sha256), time(at)]).await?, "join_ticket", join_ticket)
    }

    async fn join_edge(&self, secret_sha256: &[u8; 32], edge: &Edge, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("an edge with that key");
        let sql = "DELETE FROM join_ticket WHERE secret_sha256 = $1 AND name = $2 AND audience = $3 AND expires >= $4 \
                   RETURNING name";
        let params = vec![bytes(secret_sha256), text(&edge.name), text(&edge.audience), time(edge.joined)];
        if !write.finds(sql, params).await? {
            return Err(StoreError::NotFound("join ticket"));
        }
        // Its old lease would be taken for one that has long ended.
        if write.finds("SELECT 1 FROM edge_gone WHERE key = $1", vec![text(&edge.key)]).await? {
            return Err(StoreError::Conflict("an edge with that key"));
        }
        let sql = "SELECT 1 FROM edge WHERE origin = $1 AND name <> $2 AND NOT (nonce AND $3)";
        if write.finds(sql, vec![text(&edge.origin), text(&edge.name), Value::Bool(edge.nonce)]).await? {
            return Err(StoreError::Conflict("an edge at that origin"));
        }
        write.heads.edge_version += 1;
        write.edge_goes(&edge.name, &edge.key.to_string(), edge.joined);
        write.change(
            "INSERT INTO edge (name, key, audience, origin, nonce, joined) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (name) DO UPDATE SET key = excluded.key, audience = excluded.audience, \
             origin = excluded.origin, nonce = excluded.nonce, joined = excluded.joined",
            vec![
                text(&edge.name),
                text(&edge.key),
                text(&edge.audience),
                text(&edge.origin),
                Value::Bool(edge.nonce),
                time(edge.joined),
            ],
        );
        write.commit(edge.joined, event).await
    }

    async fn registered(&self) -> Result<Registered, StoreError> {
        let server = self.database.server();
        let sql = format!(
            "SELECT h.edge_version, {server}, e.name, e.key, e.audience, e.origin, e.nonce, e.joined \
             FROM heads h LEFT JOIN edge e ON TRUE ORDER BY e.name"
        );
        let mut registered: Option<Registered> = None;
        for row in self.read(&sql, Vec::new()).await? {
            let mut row = row.of("edge");
            let (version, server) = (row.int()?, ServerId(row.int()?));
            let registered = registered.get_or_insert_with(|| Registered { version, server, edges: Vec::new() });
            if !row.next_is_null() {
                registered.edges.push(edge(&mut row)?);
            }
        }
        registered.ok_or(StoreError::Corrupt { table: "heads" })
    }

    async fn remove_edge(&self, name: &EdgeName, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        if !write.finds("SELECT 1 FROM edge WHERE name = $1", vec![text(name)]).await? {
            return Err(StoreError::NotFound("edge"));
        }
        write.heads.edge_version += 1;
        write.edge_goes(name, "", at);
        write.change("DELETE FROM edge WHERE name = $1", vec![text(name)]);
        write.commit(at, event).await
    }
}
