//! What a person is asked to approve: one request as it will be sent, and everybody who stands behind it.
//!
//! Both have one encoding, in which every part stands with its length, and are known by its digest: what was shown is what is
//! redeemed.

use serde::{Deserialize, Serialize};

use crate::id::{AgentName, BlockId, Subject, TenantName, is_deceptive};
use crate::key::{PublicKey, sha256};
use crate::policy::approval::Demand;
use crate::token::{Chain, Operation};

/// A request as it will be sent, and what demands a person for it. Exists only within its limits and in its one form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Asked(Parts);

/// What an [`Asked`] consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The method.
    pub method: Box<str>,
    /// Where it is sent: the service's origin, the path and the query, without what the credential adds.
    pub url: Box<str>,
    /// The headers that are forwarded, by name, those of one name in their order. Without the credential's.
    pub headers: Vec<Header>,
    /// The body's bytes as they are sent.
    #[serde(with = "base64url")]
    pub body: Vec<u8>,
    /// What it does.
    pub operations: Vec<Operation>,
    /// What demands a person. One person must satisfy each.
    pub demands: Vec<Demand>,
    /// The version of the policy set that demands it.
    pub policy_version: u64,
}

/// A header that is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name, lower case.
    pub name: Box<str>,
    /// Its value's bytes.
    #[serde(with = "base64url")]
    pub value: Vec<u8>,
}

/// Who asks: the chain of a writ, from the user and the agent it was minted for to the one who proved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The tenant.
    pub tenant: TenantName,
    /// The user it is done for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The agent that the writ was minted for.
    pub agent: AgentName,
    /// Every holder's key. Empty for a bearer writ.
    pub holders: Vec<PublicKey>,
    /// What each delegator called the next holder: one for each hop, self-asserted.
    pub called: Vec<Option<AgentName>>,
    /// The ids of the blocks, from the root.
    pub blocks: Vec<BlockId>,
}

/// Why nobody can be asked to approve a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAsked {
    /// A person cannot be shown that much.
    #[error(
        "a request that needs a person's approval has at most {} bytes of body: send less at once",
        Asked::BODY_BYTES_MAX
    )]
    BodyTooLong,
    /// The same for its head.
    #[error("a request that needs a person's approval has at most {} bytes of URL and headers", Asked::HEAD_BYTES_MAX)]
    HeadTooLong,
    /// Not in the form that an edge makes.
    #[error("no request that can be approved: {0}")]
    Form(&'static str),
}

impl Asked {
    /// The longest body, in bytes.
    pub const BODY_BYTES_MAX: usize = 256 << 10;
    /// The longest URL and headers together, in bytes.
    pub const HEAD_BYTES_MAX: usize = 32 << 10;
    const LIST_MAX: usize = 32;
    const HEADERS_MAX: usize = 128;
    const TEXT_BYTES_MAX: usize = 255;

    /// Puts the headers and demands in order and checks every limit.
    pub fn new(mut parts: Parts) -> Result<Self, InvalidAsked> {
        // Stable: values of one name keep their order, which means something.
        parts.headers.sort_by(|a, b| a.name.cmp(&b.name));
        parts.demands.sort();
        parts.demands.dedup();
        Self::try_from(parts)
    }

    /// What it consists of.
    pub const fn parts(&self) -> &Parts {
        &self.0
    }

    /// Names exactly this request.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.encoded())
    }

    /// The encoding of which [`digest`](Self::digest) is the hash. `spec/approval.md` defines it.
    pub fn encoded(&self) -> Vec<u8> {
        let Parts { method, url, headers, body, operations, demands, policy_version } = &self.0;
        let mut encoding = Encoding::of("writ asked v1");
        encoding.text(method).text(url).count(headers.len());
        for Header { name, value } in headers {
            encoding.text(name).bytes(value);
        }
        encoding.bytes(body).count(operations.len());
        for operation in operations {
            // Expect safety: names, paths and typed values, none of them a float.
            encoding.bytes(&serde_json::to_vec(operation).expect("an operation is written as JSON"));
        }
        encoding.count(demands.len());
        for Demand { approvers, policies } in demands {
            encoding.texts(approvers).texts(policies);
        }
        encoding.number(*policy_version);
        encoding.0
    }
}

impl TryFrom<Parts> for Asked {
    type Error = InvalidAsked;

    fn try_from(parts: Parts) -> Result<Self, Self::Error> {
        use InvalidAsked::Form;
        let head = parts.headers.iter().map(|header| header.name.len() + header.value.len()).sum::<usize>();
        if parts.body.len() > Self::BODY_BYTES_MAX {
            return Err(InvalidAsked::BodyTooLong);
        }
        if head + parts.url.len() > Self::HEAD_BYTES_MAX || parts.headers.len() > Self::HEADERS_MAX {
            return Err(InvalidAsked::HeadTooLong);
        }
        if parts.method.is_empty() || !parts.method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(Form("the method is not upper case"));
        }
        if !parts.url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Form("the URL is not visible ASCII"));
        }
        let named = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b':';
        if parts.headers.iter().any(|h| h.name.is_empty() || !h.name.bytes().all(named)) {
            return Err(Form("a header's name is not lower case"));
        }
        if !parts.headers.is_sorted_by(|a, b| a.name <= b.name) {
            return Err(Form("the headers are not in order"));
        }
        if parts.operations.is_empty() || parts.operations.len() > Self::LIST_MAX {
            return Err(Form("it does nothing, or too much at once"));
        }
        if parts.demands.is_empty() || parts.demands.len() > Self::LIST_MAX {
            return Err(Form("nothing demands approval, or too much"));
        }
        if !parts.demands.is_sorted_by(|a, b| a < b) {
            return Err(Form("the demands are not in order, or one stands twice"));
        }
        let texts = |list: &[Box<str>]| {
            let fits =
                |text: &str| !text.is_empty() && text.len() <= Self::TEXT_BYTES_MAX && !text.chars().any(is_deceptive);
            (1..=Self::LIST_MAX).contains(&list.len()) && list.iter().all(|text| fits(text))
        };
        if !parts.demands.iter().all(|demand| texts(&demand.approvers) && texts(&demand.policies)) {
            return Err(Form("a demand names nobody, or with characters that deceive a reader"));
        }
        Ok(Self(parts))
    }
}

impl Asker {
    /// Who stands behind `chain`.
    pub fn of(chain: &Chain) -> Self {
        let authority = chain.authority();
        Self {
            tenant: authority.tenant.clone(),
            subject: authority.subject.clone(),
            agent: authority.agent.clone(),
            holders: chain.holders().collect(),
            called: chain.hops().iter().map(|hop| hop.agent.clone()).collect(),
            blocks: chain.block_ids().collect(),
        }
    }

    /// Names exactly this chain: every holder and every block.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.encoded())
    }

    /// The encoding of which [`digest`](Self::digest) is the hash. `spec/approval.md` defines it.
    pub fn encoded(&self) -> Vec<u8> {
        let Self { tenant, subject, agent, holders, called, blocks } = self;
        let mut encoding = Encoding::of("writ asker v1");
        encoding.text(tenant.as_str()).optional(subject.as_ref().map(Subject::as_str)).text(agent.as_str());
        encoding.count(holders.len());
        for holder in holders {
            encoding.bytes(holder.as_bytes());
        }
        encoding.count(called.len());
        for name in called {
            encoding.optional(name.as_ref().map(AgentName::as_str));
        }
        encoding.count(blocks.len());
        for block in blocks {
            encoding.bytes(block.as_bytes());
        }
        encoding.0
    }
}

/// Bytes that can be read in one way only: numbers have 8 bytes, big endian, and everything else begins with its length.
pub(super) struct Encoding(pub(super) Vec<u8>);

impl Encoding {
    /// Begins with what it is an encoding of.
    pub(super) fn of(what: &str) -> Self {
        let mut encoding = Self(Vec::new());
        encoding.text(what);
        encoding
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        // A `usize` has at most 64 bits.
        self.number(count as u64)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn texts(&mut self, texts: &[Box<str>]) -> &mut Self {
        self.count(texts.len());
        for text in texts {
            self.text(text);
        }
        self
    }

    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        self.count(usize::from(text.is_some()));
        match text {
            Some(text) => self.text(text),
            None => self,
        }
    }
}

mod base64url {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::Deserialize as _;

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(&*text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
