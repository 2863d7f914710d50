//! Every message between an edge and its authority. `spec/wire.md` is the contract.
//!
//! An edge signs every request (a DPoP proof by its own key, `bdh` over the body); the authority signs every answer, over
//! the proof's id, so that an answer can be neither forged by whoever stands in between nor replayed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::audit::{Checkpoint, Head, Record};
use crate::catalog::Service;
use crate::clock::Timestamp;
use crate::id::{ApprovalId, AudienceName, CredentialName, EdgeName, ProcessId, RequestId, ServiceName, TenantName};
use crate::key::{KeyPair, PublicKey, sha256};
use crate::policy::limit::{Allotted, Ask, Limits};
use crate::policy::{ApprovalState, Asked};
use crate::revocation::{Loan, Statement};
use crate::secret::Secret;
use crate::token::RootKeys;
use crate::token::proof::ProofId;
use crate::vault::{CredentialKind, Lent};

/// The header that carries the authority's signature of an answer.
pub const SIGNATURE_HEADER: &str = "writ-signature";
/// The longest body of a message in bytes, in either direction.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The most entries of the log that an authority states at once: to write, read and take them in takes milliseconds.
pub const ENTRIES_MAX: usize = 4096;
/// The longest an authority may hold a feed request, in milliseconds.
pub const WAIT_MS_MAX: u64 = 1000;

/// `POST /v1/edge/join`: an edge uses up its ticket. Proven by the key it will keep.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The ticket's secret.
    pub secret: String,
    /// The origin at which agents reach it.
    pub origin: Box<str>,
    /// Whether it demands its own nonce in every proof.
    pub nonce: bool,
}

/// The answer to [`JoinRequest`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinReply {
    /// The name it has now.
    pub name: EdgeName,
    /// The deployment it belongs to.
    pub audience: AudienceName,
}

/// `POST /v1/edge/feed`: says what the edge knows, asks for what it doesn't, and renews its lease.
///
/// `known` is also the acknowledgement: by sending it the edge states that its set holds every entry up to there and
/// that the open streams those entries kill are cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedRequest {
    /// The log as far as it is known; 0 asks for all of it.
    pub known: u64,
    /// The settings' version that is known; `None` asks for them.
    pub settings: Option<u64>,
    /// How long the authority may hold the request while there is nothing new, in milliseconds.
    pub wait_ms: u64,
}

/// The answer to [`FeedRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedReply {
    /// The log's head, read after the request came. The lease is renewed only for an edge that then knows all of it.
    pub head: u64,
    /// How long the lease is, in milliseconds, from when the request was sent.
    pub lease_ms: u64,
    /// The authority's wall clock, for the edge to notice that its own is wrong.
    pub now: Timestamp,
    /// What comes after what is known; not always all of it.
    pub log: Statement,
    /// Present when the edge's are missing or older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
}

/// What an edge needs besides the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Grows with every change of a service, a credential or a root key.
    pub version: u64,
    /// The issuer of the writs it accepts.
    pub issuer: Box<str>,
    /// The deployment it belongs to.
    pub audience: AudienceName,
    /// The root keys it trusts.
    pub root_keys: RootKeys,
    /// The services.
    pub services: Vec<OfferedService>,
    /// The policy sets of the tenants that stored one. For the others, their writs decide.
    pub policies: Vec<OfferedPolicies>,
    /// The limits, of each tenant that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<TenantLimits>,
}

/// A tenant's policy set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedPolicies {
    /// Whose.
    pub tenant: TenantName,
    /// Its version, from 1.
    pub version: u64,
    /// The first version that asks for no group that the ones up to this do not.
    pub outdates: u64,
    /// The JSON text of a document (`spec/policy.md`): an edge that cannot read it serves nothing for the tenant.
    pub document: Box<str>,
}

/// The limits of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Whose.
    pub tenant: TenantName,
    /// The limits.
    pub limits: Limits,
}

/// A service of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedService {
    /// Whose writs may use it.
    pub tenant: TenantName,
    /// The service.
    pub service: Service,
}

/// `POST /v1/edge/lend`: asks for the credential of one service, with a writ that is live there as the reason.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LendRequest {
    /// The token that is to be served. The authority verifies it for itself.
    pub token: String,
    /// The service.
    pub service: ServiceName,
    /// The request that needs it.
    pub request: RequestId,
}

/// The answer to [`LendRequest`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LendReply {
    /// The credential.
    pub credential: CredentialName,
    /// How it is presented.
    pub kind: CredentialKind,
    /// The secret.
    pub secret: WireSecret,
    /// Its version.
    pub version: u32,
    /// The revocation log's head when this version was stored.
    pub epoch: u64,
    /// How long it may be kept in memory, in milliseconds from when the request was sent.
    pub keep_ms: u64,
}

impl LendReply {
    /// The credential to apply, and by what a revocation knows it.
    pub fn lent(self) -> (Loan, Lent) {
        let loan = Loan { credential: self.credential, epoch: self.epoch };
        (loan, Lent { kind: self.kind, secret: self.secret.0, version: self.version })
    }
}

/// `POST /v1/edge/approval/ask`: puts a request before people, with a writ that is live there as the reason.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// The token that asks. The authority verifies it for itself.
    pub token: String,
    /// What would be sent.
    pub asked: Asked,
    /// The request at the edge.
    pub request: RequestId,
}

/// `POST /v1/edge/approval/state`: asks where a request stands.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingRequest {
    /// Its handle.
    pub handle: ApprovalId,
}

/// The answer to [`AskRequest`] and [`StandingRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Its handle.
    pub handle: ApprovalId,
    /// Where it stands.
    pub state: ApprovalState,
    /// The end of that state.
    pub expires: Timestamp,
}

/// `POST /v1/edge/approval/redeem`: uses an approval up. The answer is an [`Approval`](crate::policy::Approval).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedeemRequest {
    /// The token that is to be served. The authority verifies it for itself.
    pub token: String,
    /// The handle that came with the request.
    pub handle: ApprovalId,
    /// What would be sent now. The authority compares it with what was approved.
    pub asked: Asked,
    /// The request at the edge.
    pub request: RequestId,
}

/// `POST /v1/edge/limits`: an edge says what it is to hold of counts, of one or of many. Giving back is the same message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// Which run of the edge asks: what another one held, it cannot speak of.
    pub process: ProcessId,
    /// Grows with every message of this run. One that comes late, or once more, changes nothing.
    pub seq: u64,
    /// What it asks; at most [`ASKS_MAX`].
    pub asks: Vec<Ask>,
}

/// The answer to [`LimitsRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsReply {
    /// One for each question: `null` where there is no such limit or window now, or the message came late.
    pub answers: Vec<Option<Allotted>>,
}

/// The most questions of one [`LimitsRequest`].
pub const ASKS_MAX: usize = 64;

/// A secret on its way from authority to edge: the one place where a secret is serialised.
#[derive(Debug)]
pub struct WireSecret(pub Secret<String>);

impl Serialize for WireSecret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for WireSecret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// What an authority answers to an edge instead of a message, with a status that is not 2xx: a problem document (RFC 9457).
///
/// Signed like any answer, or it says nothing. Members that an edge does not know are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which problem: one of the constants of [`refusal`], or one that an edge need not tell apart.
    pub code: Box<str>,
    /// One sentence for an operator.
    #[serde(default)]
    pub detail: Box<str>,
}

/// The codes of a [`Refusal`] that an edge tells apart.
pub mod refusal {
    /// 403: the edge's key is not (or no longer) registered.
    pub const UNKNOWN_EDGE: &str = "unknown_edge";
    /// 403: no credential of the service is stored for whom the writ speaks.
    pub const NO_CREDENTIAL: &str = "no_credential";
    /// 401: the writ is not live, or not meant for this edge.
    pub const WRIT_REFUSED: &str = "writ_refused";
    /// 429: the agent has put too many requests before people.
    pub const TOO_MANY_APPROVALS: &str = "too_many_approvals";
    /// 403: the handle is not of this request and this writ, or of none.
    pub const APPROVAL_MISMATCH: &str = "approval_mismatch";
    /// 403: nobody has decided.
    pub const APPROVAL_PENDING: &str = "approval_pending";
    /// 403: a person denied it.
    pub const APPROVAL_DENIED: &str = "approval_denied";
    /// 403: the approval was used before.
    pub const APPROVAL_USED: &str = "approval_used";
    /// 403: the approval's time is over.
    pub const APPROVAL_EXPIRED: &str = "approval_expired";
    /// 403: who approved may not approve any more.
    pub const APPROVER_GONE: &str = "approver_gone";
    /// 404: the join ticket is used, expired or unknown.
    pub const TICKET_REFUSED: &str = "ticket_refused";
    /// 503: the log ends before what the edge knows. The edge reads all of it anew, and keeps what it knew to be revoked.
    pub const LOG_WENT_BACK: &str = "log_went_back";
    /// 409: shipped records differ from those stored, or leave a gap.
    pub const AUDIT_CONFLICT: &str = "audit_conflict";
}

/// `POST /v1/edge/audit`: ships records of the edge's journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditShipment {
    /// The next records, in order.
    pub records: Vec<Record>,
    /// The edge's signature of where its chain then ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

impl AuditShipment {
    /// The text of a shipment, made of each record's own text: nothing is read or written anew.
    pub fn text_of<'r>(
        records: impl Iterator<Item = &'r [u8]> + Clone,
        checkpoint: &Checkpoint,
    ) -> serde_json::Result<Vec<u8>> {
        let room = records.clone().map(|record| record.len() + 1).sum::<usize>() + 1024;
        let mut text = Vec::with_capacity(room);
        text.extend_from_slice(br#"{"records":["#);
        for record in records {
            text.extend_from_slice(record);
            text.push(b',');
        }
        text.pop_if(|last| *last == b',');
        text.extend_from_slice(br#"],"checkpoint":"#);
        serde_json::to_writer(&mut text, checkpoint)?;
        text.push(b'}');
        Ok(text)
    }
}

/// The answer to [`AuditShipment`]: everything up to this head is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditReceipt {
    /// Where the stored chain ends.
    pub head: Head,
}

/// What an operator hands to whoever starts an edge: where the authority is, by which key to know it, and the secret.
///
/// Written `writ-join-<base64url of JSON>`; one text, to be pasted once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinTicketText {
    /// The authority's URL; also the issuer of its writs.
    pub issuer: Box<str>,
    /// The key that signs its answers.
    pub authority_key: PublicKey,
    /// The name the edge will have.
    pub name: EdgeName,
    /// The deployment it will belong to.
    pub audience: AudienceName,
    /// The one-time secret.
    pub secret: WireSecret,
}

/// A text that is not a join ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join ticket: paste the whole `writ-join-…` line that `writ edge ticket` printed")]
pub struct InvalidTicket;

const TICKET_PREFIX: &str = "writ-join-";
const TICKET_BYTES_MAX: usize = 4096;

impl JoinTicketText {
    /// The text form. A secret: print it once, to the operator.
    pub fn to_text(&self) -> Secret<String> {
        // Expect safety: strings and a map with fixed keys always serialise.
        let json = serde_json::to_vec(self).expect("a ticket serialises");
        Secret::new(format!("{TICKET_PREFIX}{}", URL_SAFE_NO_PAD.encode(json)))
    }

    /// Reads the text form, surrounding white space ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidTicket> {
        let encoded = text.trim().strip_prefix(TICKET_PREFIX).ok_or(InvalidTicket)?;
        if encoded.len() > TICKET_BYTES_MAX {
            return Err(InvalidTicket);
        }
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidTicket)?;
        serde_json::from_slice(&json).map_err(|_| InvalidTicket)
    }
}

/// Signs an answer to the request that `proof` proved: the value of [`SIGNATURE_HEADER`].
pub fn sign_reply(key: &KeyPair, proof: ProofId, status: u16, body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key.sign(&signed_text(proof, status, body)))
}

/// Whether `signature` is the authority's, for this answer to this request.
pub fn verify_reply(key: &PublicKey, proof: ProofId, status: u16, body: &[u8], signature: &str) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    <[u8; 64]>::try_from(bytes.as_slice())
        .is_ok_and(|signature| key.verifies(&signed_text(proof, status, body), &signature))
}

fn signed_text(proof: ProofId, status: u16, body: &[u8]) -> Vec<u8> {
    let mut text = b"writ reply v1\n".to_vec();
    text.extend_from_slice(&proof.0);
    text.extend_from_slice(&status.to_be_bytes());
    text.extend_from_slice(&sha256(body));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, Change, Event, Source};

    fn ticket() -> JoinTicketText {
        JoinTicketText {
            issuer: "https://authority.example".into(),
            authority_key: KeyPair::from_seed(&[1; 32]).public(),
            name: "edge-1".parse().unwrap(),
            audience: "main".parse().unwrap(),
            secret: WireSecret(Secret::new("s3cret".into())),
        }
    }

    #[test]
    fn a_ticket_round_trips_and_does_not_print_its_secret() {
        let text = ticket().to_text();
        let again = JoinTicketText::parse(&format!("  {}\n", text.expose())).unwrap();
        assert_eq!(again.secret.0.expose(), "s3cret");
        assert!(!format!("{again:?}").contains("s3cret"));
        for bad in ["", "writ-join-", "writ-join-e30", &text.expose()[1..]] {
            assert!(JoinTicketText::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shipment_of_written_records_is_the_shipment_of_the_records() {
        let (source, at) = (Source::Authority, Timestamp::from_secs(7));
        let checkpoint = Checkpoint::sign(source.clone(), Head::empty(), at, &KeyPair::from_seed(&[1; 32]));
        let (mut head, mut records, mut lines) = (Head::empty(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let text = AuditShipment::text_of(lines.iter().map(Vec::as_slice), &checkpoint).unwrap();
            let shipment = AuditShipment { records: records.clone(), checkpoint: Some(checkpoint.clone()) };
            assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(&shipment).unwrap());
            let event = Event::Change(Change {
                actor: Actor::Authority,
                action: "test".into(),
                object: "],\"".into(),
                tenant: None,
                detail: serde_json::Map::new(),
            });
            let mut line = Vec::new();
            records.push(Record::after(&head, source.clone(), at, &event));
            head = Record::write_after(&head, &source, at, &event.json(), &mut line);
            lines.push(line);
        }
    }

    #[test]
    fn an_answer_counts_for_its_request_its_status_and_its_body_only() {
        let (key, proof) = (KeyPair::from_seed(&[1; 32]), ProofId([2; 16]));
        let signature = sign_reply(&key, proof, 200, b"{}");
        assert!(verify_reply(&key.public(), proof, 200, b"{}", &signature));
        assert!(!verify_reply(&key.public(), ProofId([3; 16]), 200, b"{}", &signature));
        assert!(!verify_reply(&key.public(), proof, 503, b"{}", &signature));
        assert!(!verify_reply(&key.public(), proof, 200, b"{ }", &signature));
        assert!(!verify_reply(&KeyPair::from_seed(&[4; 32]).public(), proof, 200, b"{}", &signature));
        assert!(!verify_reply(&key.public(), proof, 200, b"{}", "not base64"));
    }
}
