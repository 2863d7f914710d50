//! The events that are recorded.

use core::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use crate::audit::text;
use crate::clock::Timestamp;
use crate::id::{
    AgentName, ApprovalId, BlockId, CredentialName, EdgeName, GrantId, OperatorName, PolicyName, ProviderName,
    RequestId, ServiceName, Subject, TenantName,
};
use crate::key::PublicKey;
use crate::small::{Few, Text};
use crate::token::{Argument, Capability, Path};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(
    feature = "server",
    expect(clippy::large_enum_variant, reason = "a change is written a moment after it is made: nobody keeps many")
)]
pub enum Event {
    /// An edge decided about a request. Written before anything is forwarded.
    Decision(Box<Decision>),
    /// What became of a request that was allowed.
    Outcome(Outcome),
    /// The authority's state changed. Written in the same transaction.
    Change(Change),
}

impl Event {
    /// The longest [text](Self::text) that may be recorded, in bytes.
    pub const TEXT_BYTES_MAX: usize = 65_536;

    /// The JSON text that is hashed and kept. One line.
    pub fn text(&self) -> Box<RawValue> {
        // Expect safety: an event has only string keys, and no float that JSON could not write.
        serde_json::value::to_raw_value(self).expect("an event is written as JSON")
    }

    /// The same text as bytes.
    pub fn json(&self) -> Vec<u8> {
        // Most events fit.
        let mut out = Vec::with_capacity(1024);
        match self {
            Self::Decision(decision) => text::decision(decision, &mut out),
            Self::Outcome(outcome) => text::outcome(outcome, &mut out),
            // Expect safety: as above, and memory takes all.
            Self::Change(_) => serde_json::to_writer(&mut out, self).expect("an event is written as JSON"),
        }
        out
    }
}

/// An edge's decision about one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Names the request.
    pub request: RequestId,
    /// Allowed or denied.
    pub verdict: Verdict,
    /// The reason code: `allowed`, or one of `spec/token.md` and `spec/wire.md`.
    pub reason: Text,
    /// The reason in a sentence, for an operator. Never sent to the caller as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<str>>,
    /// Who asked, as far as it was established when the decision fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Told>,
    /// The HTTP method.
    pub method: Text,
    /// The path, normalised, without the query (which may carry secrets).
    pub path: Text,
    /// What was asked for, once a route matched: the first operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<What>,
    /// The capability that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// The other operations of the request, in its order. None is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
    /// The credential that is to be injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialName>,
    /// Which policies had a say, once the writ allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ByPolicy>,
    /// The person's approval that it was decided with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// How much of the revocation log was known.
    pub revocation_seq: u64,
    /// The proof, so that a restarted edge still knows it as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<UsedProof>,
    /// The holder proved the connection, by TLS with the writ's key, and not this request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_connection: bool,
    /// The address of the connection's other end.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub client: Option<IpAddr>,
}

/// Reads `10.0.0.1`, and what earlier versions wrote: `10.0.0.1:443`, `[::1]:443`.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<Box<str>>::deserialize(deserializer)? else { return Ok(None) };
    let with_port = || text.parse().map(|socket: SocketAddr| socket.ip());
    text.parse().or_else(|_| with_port()).map(Some).map_err(de::Error::custom)
}

/// Allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A permit was given.
    Allowed,
    /// It was refused.
    Denied,
}

/// Everybody who stands behind a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The tenant.
    pub tenant: TenantName,
    /// The user it is done for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The session at the identity provider that the writ was issued in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Subject>,
    /// The agent the writ was minted for.
    pub agent: AgentName,
    /// Every holder's key, from that agent to the one who proved it. Empty for a bearer writ.
    pub holders: Vec<PublicKey>,
    /// What each delegator called the next holder: one for each hop, self-asserted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<Option<AgentName>>,
    /// The ids of the writ's blocks, from the root.
    pub blocks: Vec<BlockId>,
    /// The grants the writ was minted under.
    pub grants: Vec<GrantId>,
    /// SHA-256 of the token's text, in hexadecimal.
    pub token_sha256: Box<str>,
    /// The root key that signed it.
    pub root_key_id: u32,
    /// The revocation log's head when it was minted. Missing in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// [`Who`] as records tell it: the same for every request of one token, so its text is made once.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Who")]
pub struct Told(Arc<(Who, Box<RawValue>)>);

impl Told {
    /// As JSON.
    pub(super) fn text(&self) -> &str {
        self.0.1.get()
    }
}

impl From<Who> for Told {
    fn from(who: Who) -> Self {
        // Expect safety: names, numbers and lists of them.
        let text = serde_json::value::to_raw_value(&who).expect("who asked is written as JSON");
        Self(Arc::new((who, text)))
    }
}

impl Deref for Told {
    type Target = Who;

    fn deref(&self) -> &Who {
        &self.0.0
    }
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.1.serialize(serializer)
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Told {}

/// Which policies of the tenant's set had a say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByPolicy {
    /// The version of the set; 0 for the built-in one.
    pub version: u64,
    /// Those that decided. Empty where none permits.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub policies: Few<PolicyName>,
    /// Those in shadow that would have had a say.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub shadow: Few<PolicyName>,
    /// How many more there are than [`ByPolicy::NAMES_MAX`] of each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

impl ByPolicy {
    /// The most names of each kind that are recorded.
    pub const NAMES_MAX: usize = 32;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(told: &bool) -> bool {
    !*told
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A further operation of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Also {
    /// What it does.
    pub what: What,
    /// The capability that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
}

/// What a request does: one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct What {
    /// The service.
    pub service: ServiceName,
    /// The action.
    pub action: Path,
    /// The resource.
    pub resource: Path,
    /// The arguments that the route marks as loggable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
    /// What was not looked at or is not shown in full, in sentences: parameters that the route ignores, cut arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Box<str>>,
}

/// A proof that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedProof {
    /// Its id in hexadecimal.
    pub id: Box<str>,
    /// Until when a replay of it would be in time.
    pub until: Timestamp,
}

/// What became of a request that was allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The request.
    pub request: RequestId,
    /// How it ended.
    pub finish: Finish,
    /// The upstream's status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Body bytes sent to the upstream.
    pub bytes_up: u64,
    /// Body bytes sent to the caller.
    pub bytes_down: u64,
    /// From the decision to the end, in milliseconds.
    pub elapsed_ms: u64,
    /// How much of the revocation log was known when the credential was injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected_at_seq: Option<u64>,
    /// The revocation log's head when that version of the credential was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_epoch: Option<u64>,
}

/// How a request that was allowed ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Finish {
    /// The upstream's answer was passed on in full.
    Completed,
    /// The check directly before injection refused it: the credential was not used.
    Refused {
        /// The reason code.
        reason: Box<str>,
    },
    /// The answer was cut: a revocation, an expiry, or an ended lease.
    Cut {
        /// The reason code.
        reason: Box<str>,
    },
    /// The upstream could not be reached, or broke off.
    Failed {
        /// The reason code.
        reason: Box<str>,
    },
    /// The caller went away.
    Abandoned,
    /// The edge ended before it could say. Written when it starts again.
    Unknown,
}

/// A change of the authority's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who did it.
    pub actor: Actor,
    /// What was done: `agent.register`, `credential.rotate`, `writ.issue`, `revocation.add`.
    pub action: Box<str>,
    /// To what: the name or id of the thing.
    pub object: Box<str>,
    /// The tenant it belongs to, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// Further facts. Never a secret.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// Who changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Actor {
    /// An operator.
    Operator(OperatorName),
    /// An agent, at the token endpoint.
    Agent(AgentName),
    /// A user, by their own identity provider's token.
    User(Subject),
    /// An identity provider that reported an event.
    Provider(ProviderName),
    /// A holder who showed a token as witness.
    Holder(PublicKey),
    /// An edge.
    Edge(EdgeName),
    /// The authority itself: start, rotation, expiry.
    Authority,
}
