//! Approvals: a person's leave for one request of one chain, signed by the authority at the moment it is used up.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{ApprovalId, EdgeName, Group, OperatorName, RequestId, TenantName};
use crate::key::{KeyPair, PublicKey};
use crate::policy::Role;
use crate::policy::asked::Encoding;

/// That a person must agree to an operation: somebody who is any of `approvers`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// The texts of `@approval("…")`: an operator role (`approver`, `admin`) or a group of operators who signed in.
    pub approvers: Vec<Box<str>>,
    /// The policies that would allow it then, by `@id`.
    pub policies: Vec<Box<str>>,
}

impl Demand {
    /// Which texts of `demands` somebody with this role and these groups satisfies; `None` if one of them is left unsatisfied.
    ///
    /// An auditor satisfies none, whatever the groups.
    pub fn satisfied_by(demands: &[Self], role: Role, groups: &[Group]) -> Option<Vec<Box<str>>> {
        let is = |text: &str| match (role, text) {
            (Role::Auditor, _) | (Role::Approver, "admin") => false,
            (Role::Approver | Role::Admin, "approver") | (Role::Admin, "admin") => true,
            (Role::Approver | Role::Admin, group) => groups.iter().any(|held| held.as_str() == group),
        };
        if !demands.iter().all(|demand| demand.approvers.iter().any(|text| is(text))) {
            return None;
        }
        let texts: BTreeSet<&Box<str>> = demands.iter().flat_map(|demand| &demand.approvers).collect();
        Some(texts.into_iter().filter(|text| is(text)).cloned().collect())
    }

    /// Everybody who is named by `demands`, once each.
    pub fn approvers(demands: &[Self]) -> Vec<Box<str>> {
        let texts: BTreeSet<&Box<str>> = demands.iter().flat_map(|demand| &demand.approvers).collect();
        texts.into_iter().cloned().collect()
    }
}

/// Where a request stands that was put before people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub enum ApprovalState {
    /// Nobody decided.
    Pending,
    /// It may be sent once.
    Approved,
    /// It may not be sent.
    Denied,
    /// It was approved, and an edge has used that.
    Redeemed,
    /// Its time was over before it was decided or used.
    Expired,
}

impl ApprovalState {
    /// Its text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Redeemed => "redeemed",
            Self::Expired => "expired",
        }
    }
}

impl std::fmt::Display for ApprovalState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ApprovalState {
    type Err = UnknownApprovalState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Pending, Self::Approved, Self::Denied, Self::Redeemed, Self::Expired];
        all.into_iter().find(|state| state.as_str() == text).ok_or(UnknownApprovalState)
    }
}

/// A text that is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the state of an approval")]
pub struct UnknownApprovalState;

/// The authority's signed word that a person approved a request, given once, for one use at one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The issuer.
    pub issuer: Box<str>,
    /// The tenant.
    pub tenant: TenantName,
    /// The handle under which it was asked.
    pub handle: ApprovalId,
    /// Of what: [`Asked::digest`](crate::policy::Asked::digest).
    #[serde(with = "hex_digest")]
    pub asked: [u8; 32],
    /// For whom: [`Asker::digest`](crate::policy::Asker::digest).
    #[serde(with = "hex_digest")]
    pub asker: [u8; 32],
    /// Under which version of the policy set.
    pub policy_version: u64,
    /// Who approved.
    pub approver: OperatorName,
    /// Which `@approval` texts of the demands the approver satisfies.
    pub satisfies: Vec<Box<str>>,
    /// The edge that uses it.
    pub edge: EdgeName,
    /// The request that it is used for.
    pub request: RequestId,
    /// The last moment that it counts.
    pub expires: Timestamp,
    /// Its signature by the authority's key, base64url.
    pub signature: String,
}

/// What an edge must find in an approval: what it would send, for whom, now.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The tenant.
    pub tenant: &'a TenantName,
    /// The handle that the caller showed.
    pub handle: ApprovalId,
    /// The digest of what would be sent.
    pub asked: [u8; 32],
    /// The digest of who asks.
    pub asker: [u8; 32],
    /// The version of the policy set that demands it.
    pub policy_version: u64,
    /// The edge.
    pub edge: &'a EdgeName,
    /// The request.
    pub request: RequestId,
}

/// Why an approval is none for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// It is for something else.
    #[error("the approval is for another {0}")]
    Other(&'static str),
    /// Its time is over.
    #[error("the approval is over")]
    Expired,
    /// The authority did not sign it.
    #[error("the approval is not signed by the authority")]
    Signature,
}

/// A person approved exactly this request. Only [`Approval::check`] makes one.
#[derive(Clone, Debug)]
pub struct Approved {
    approval: Approval,
}

impl Approved {
    /// Which `@approval` texts it satisfies, under the policy set of [`policy_version`](Self::policy_version) alone.
    pub fn satisfies(&self) -> &[Box<str>] {
        &self.approval.satisfies
    }

    /// The version of the policy set that it was approved under.
    pub const fn policy_version(&self) -> u64 {
        self.approval.policy_version
    }

    /// The approval.
    pub const fn approval(&self) -> &Approval {
        &self.approval
    }
}

impl Approval {
    /// Signs it.
    #[must_use]
    pub fn signed(self, key: &KeyPair) -> Self {
        Self { signature: URL_SAFE_NO_PAD.encode(key.sign(&self.signed_bytes())), ..self }
    }

    /// Checks that the authority with `key` gave exactly this approval, and that it is what is `expected` at `now`.
    pub fn check(self, key: &PublicKey, expected: &Expected<'_>, now: Timestamp) -> Result<Approved, NotApproved> {
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).ok().and_then(|bytes| bytes.try_into().ok());
        if !signature.is_some_and(|signature| key.verifies(&self.signed_bytes(), &signature)) {
            return Err(NotApproved::Signature);
        }
        let same = [
            (&*self.issuer == expected.issuer, "authority"),
            (self.tenant == *expected.tenant, "tenant"),
            (self.handle == expected.handle, "handle"),
            (self.asked == expected.asked, "request"),
            (self.asker == expected.asker, "writ"),
            (self.policy_version == expected.policy_version, "version of the policy"),
            (self.edge == *expected.edge, "edge"),
            (self.request == expected.request, "use"),
        ];
        match same.into_iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(NotApproved::Other(what)),
            None if self.expires < now => Err(NotApproved::Expired),
            None => Ok(Approved { approval: self }),
        }
    }

    /// What is signed. `spec/approval.md` defines it.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut encoding = Encoding::of("writ approval v1");
        encoding.text(&self.issuer).text(self.tenant.as_str()).bytes(self.handle.as_bytes());
        encoding.bytes(&self.asked).bytes(&self.asker).number(self.policy_version);
        encoding.text(self.approver.as_str()).texts(&self.satisfies);
        encoding.text(self.edge.as_str()).bytes(self.request.as_bytes());
        encoding.bytes(&self.expires.millis().to_be_bytes());
        encoding.0
    }
}

/// SHA-256 as 64 lower-case hexadecimal digits.
pub(crate) mod hex_digest {
    use serde::Deserialize as _;

    pub(crate) fn serialize<S: serde::Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(digest))
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut digest = [0; 32];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) || hex::decode_to_slice(&*text, &mut digest).is_err() {
            return Err(serde::de::Error::custom("expected 64 lower-case hexadecimal digits"));
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn approval() -> Approval {
        Approval {
            issuer: "https://writ.example".into(),
            tenant: "acme".parse().unwrap(),
            handle: ApprovalId::from_bytes([1; 16]),
            asked: [2; 32],
            asker: [3; 32],
            policy_version: 4,
            approver: "corp:olga@example.com".parse().unwrap(),
            satisfies: vec!["finance".into()],
            edge: "edge-1".parse().unwrap(),
            request: RequestId::from_bytes([5; 16]),
            expires: Timestamp::from_millis(6000),
            signature: String::new(),
        }
        .signed(&KeyPair::from_seed(&[9; 32]))
    }

    fn checked(approval: Approval, now: i64) -> Result<Approved, NotApproved> {
        let (tenant, edge) = ("acme".parse().unwrap(), "edge-1".parse().unwrap());
        let expected = Expected {
            issuer: "https://writ.example",
            tenant: &tenant,
            handle: ApprovalId::from_bytes([1; 16]),
            asked: [2; 32],
            asker: [3; 32],
            policy_version: 4,
            edge: &edge,
            request: RequestId::from_bytes([5; 16]),
        };
        approval.check(&KeyPair::from_seed(&[9; 32]).public(), &expected, Timestamp::from_millis(now))
    }

    #[test]
    fn one_person_must_satisfy_every_demand() {
        let demand = |approvers: &[&str]| Demand {
            approvers: approvers.iter().map(|text| (*text).into()).collect(),
            policies: vec!["p".into()],
        };
        let demands = [demand(&["finance", "admin"]), demand(&["approver"])];
        let satisfied = |role, groups: &[&str]| {
            let groups: Vec<Group> = groups.iter().map(|group| group.parse().unwrap()).collect();
            Demand::satisfied_by(&demands, role, &groups).map(|texts| texts.join(" "))
        };
        assert_eq!(satisfied(Role::Admin, &[]).as_deref(), Some("admin approver"));
        assert_eq!(satisfied(Role::Approver, &["finance", "sales"]).as_deref(), Some("approver finance"));
        assert_eq!(satisfied(Role::Approver, &["sales"]), None);
        // A group that is called like a role makes nobody an operator of that role.
        assert_eq!(satisfied(Role::Approver, &["admin"]), None);
        assert_eq!(satisfied(Role::Auditor, &["finance", "approver"]), None);
    }

    #[test]
    fn an_approval_counts_until_its_last_moment_for_what_it_names() {
        assert_eq!(checked(approval(), 6000).unwrap().satisfies(), ["finance".into()]);
        assert_eq!(checked(approval(), 6001).unwrap_err(), NotApproved::Expired);
        let key = KeyPair::from_seed(&[9; 32]);
        type Change = fn(&mut Approval);
        let others: [(Change, &str); 8] = [
            (|a| a.issuer = "https://other.example".into(), "authority"),
            (|a| a.tenant = "other".parse().unwrap(), "tenant"),
            (|a| a.handle = ApprovalId::from_bytes([7; 16]), "handle"),
            (|a| a.asked[31] ^= 1, "request"),
            (|a| a.asker[0] ^= 1, "writ"),
            (|a| a.policy_version = 5, "version of the policy"),
            (|a| a.edge = "edge-2".parse().unwrap(), "edge"),
            (|a| a.request = RequestId::from_bytes([7; 16]), "use"),
        ];
        for (change, what) in others {
            let mut other = approval();
            change(&mut other);
            assert_eq!(checked(other.clone(), 0).unwrap_err(), NotApproved::Signature, "{what} changed");
            assert_eq!(checked(other.signed(&key), 0).unwrap_err(), NotApproved::Other(what));
        }
        assert_eq!(checked(approval().signed(&KeyPair::from_seed(&[8; 32])), 0).unwrap_err(), NotApproved::Signature);
    }

    proptest! {
        #[test]
        fn an_approval_with_any_bit_changed_is_refused(at in 0usize..10_000, bit in 0u8..8) {
            let text = serde_json::to_string(&approval()).unwrap();
            let mut bytes = text.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = serde_json::from_slice::<Approval>(&bytes) {
                prop_assert!(checked(changed, 0).is_err(), "{}", String::from_utf8_lossy(&bytes));
            }
        }
    }
}
