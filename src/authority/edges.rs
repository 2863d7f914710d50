//! Edges: the tickets by which they join, the proof of each message, and what an operator sees of them.

use crate::audit::Actor;
use crate::authority::presence::Heard;
use crate::authority::{Authority, AuthorityError, change, change_with, random};
use crate::clock::Timestamp;
use crate::id::{AudienceName, EdgeName, OperatorName};
use crate::key::{PublicKey, sha256};
use crate::secret::Secret;
use crate::store::{Edge, JoinTicket, StoreError};
use crate::token::proof::{ProvenHead, ProvenRequest};
use crate::wire::{JoinReply, JoinRequest, JoinTicketText, WireSecret};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// A ticket that was just made: its text is shown once.
#[derive(Debug)]
pub struct NewTicket {
    /// The text to hand to whoever starts the edge.
    pub text: Secret<String>,
    /// The last moment it can be used.
    pub expires: Timestamp,
}

/// An edge as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeStatus {
    /// What is registered.
    pub edge: Edge,
    /// What this process heard of it.
    pub heard: Option<Heard>,
    /// Whether a lease from this process may still hold.
    pub leased: bool,
}

impl Authority {
    /// Makes a ticket for one edge of a deployment.
    pub async fn add_ticket(
        &self,
        by: &OperatorName,
        name: EdgeName,
        audience: Option<AudienceName>,
    ) -> Result<NewTicket, AuthorityError> {
        let audience = self.audience(audience)?;
        let now = self.now();
        let secret = URL_SAFE_NO_PAD.encode(zeroize::Zeroizing::new(random::<32>()?).as_ref());
        let expires = now.after(self.terms.ticket_ttl);
        let ticket = JoinTicket {
            secret_sha256: sha256(secret.as_bytes()),
            name: name.clone(),
            audience: audience.clone(),
            expires,
        };
        let detail = json!({ "audience": audience, "expires": expires });
        let event = change_with(Actor::Operator(by.clone()), "edge.ticket", &name, None, detail);
        self.store.add_join_ticket(&ticket, now, &event).await?;
        let text = JoinTicketText {
            issuer: self.issuer().into(),
            authority_key: self.key.public(),
            name,
            audience,
            secret: WireSecret(Secret::new(secret)),
        };
        Ok(NewTicket { text: text.to_text(), expires })
    }

    /// The deployment that is meant: the one that is named, or the only one.
    pub(super) fn audience(&self, named: Option<AudienceName>) -> Result<AudienceName, AuthorityError> {
        match (named, &*self.terms.audiences) {
            (Some(name), known) if known.contains(&name) => Ok(name),
            (None, [only]) => Ok(only.clone()),
            _ => Err(AuthorityError::UnknownAudience),
        }
    }

    /// Registers the edge that shows a ticket and proves `key`.
    pub async fn join(&self, key: PublicKey, request: JoinRequest) -> Result<JoinReply, AuthorityError> {
        let now = self.now();
        let secret_sha256 = sha256(request.secret.as_bytes());
        let ticket = self.store.join_ticket(&secret_sha256, now).await?.ok_or(AuthorityError::TicketRefused)?;
        let origin: crate::config::authority::Issuer =
            request.origin.parse().map_err(|error| AuthorityError::Malformed(format!("the edge's origin: {error}")))?;
        let edge = Edge {
            name: ticket.name,
            key,
            audience: ticket.audience,
            origin: origin.as_str().into(),
            nonce: request.nonce,
            joined: now,
        };
        let detail = json!({ "key": key, "origin": edge.origin, "audience": edge.audience });
        let event = change_with(Actor::Edge(edge.name.clone()), "edge.join", &edge.name, None, detail);
        self.store.join_edge(&secret_sha256, &edge, &event).await.map_err(|error| match error {
            // Another request used it up meanwhile.
            StoreError::NotFound(_) => AuthorityError::TicketRefused,
            other => other.into(),
        })?;
        Ok(JoinReply { name: edge.name, audience: edge.audience })
    }

    /// Every registered edge, with what was heard of it here.
    pub async fn edges(&self) -> Result<Vec<EdgeStatus>, AuthorityError> {
        let registered = self.store.registered().await?.edges;
        let now = self.clock.monotonic();
        let status = |edge: Edge| {
            let heard = self.presence.of(&edge.key);
            EdgeStatus { leased: heard.as_ref().is_some_and(|heard| now < heard.lease_until), heard, edge }
        };
        Ok(registered.into_iter().map(status).collect())
    }

    /// Removes an edge: its key counts no longer. It may still serve until its lease ends.
    pub async fn remove_edge(&self, by: &OperatorName, name: &EdgeName) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "edge.remove", name, None);
        Ok(self.store.remove_edge(name, self.now(), &event).await?)
    }

    /// Checks the proof of an edge's message before its body is read. Says nothing about body or replay.
    pub fn proof_of_head(&self, path: &str, proof: &str) -> Result<ProvenHead, AuthorityError> {
        // The issuer, never the Host header.
        let url = format!("{}{path}", self.issuer());
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: None };
        Ok(ProvenHead::check(proof, &request, self.now())?)
    }

    /// Checks that the proof of an edge's message covers its body, and uses it up.
    pub fn proof_of_body(&self, head: &ProvenHead, body: &[u8]) -> Result<(), AuthorityError> {
        head.check_body(&sha256(body))?;
        self.seen.use_once(head.proof, self.now())
    }
}
