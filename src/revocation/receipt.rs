//! Receipts: the authority's signed word that no edge serves what was ended. Checked offline by whoever has its key.

use serde::{Deserialize, Serialize};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::id::EdgeName;
use crate::key::{KeyPair, PublicKey};

/// What every edge must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// This place of the revocation log.
    Log(u64),
    /// This version of the settings.
    Settings(u64),
}

/// A signed statement that no edge serves it any more. `spec/authority.md` defines the signed text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The entry of the revocation log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The version of the settings, for a retired root key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<u64>,
    /// What was ended: a revocation target, or `root-key/<id>`.
    pub target: String,
    /// When it was committed, in milliseconds since 1970.
    #[cfg_attr(feature = "server", schema(value_type = i64))]
    pub committed: Timestamp,
    /// When this was signed, in milliseconds since 1970.
    #[cfg_attr(feature = "server", schema(value_type = i64))]
    pub given: Timestamp,
    /// How long it took from the commit until no edge served it, in milliseconds.
    pub elapsed_ms: u64,
    /// How long that can take at most: the lease and the allowance for drift, in milliseconds.
    pub bound_ms: u64,
    /// How each edge came to it, by name and key.
    pub edges: Vec<EdgeOutcome>,
    /// The issuer.
    pub issuer: Box<str>,
    /// The authority's key.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub key: PublicKey,
    /// Its signature, base64url.
    pub signature: String,
}

/// How one edge came to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EdgeOutcome {
    /// The edge's name.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub edge: EdgeName,
    /// The edge's key.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub key: PublicKey,
    /// How.
    pub how: Outcome,
    /// When that was known, in milliseconds since 1970.
    #[cfg_attr(feature = "server", schema(value_type = i64))]
    pub at: Timestamp,
}

/// Why an edge no longer serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It stated that it knows, and that what hung on it is cut.
    Acknowledged,
    /// No lease of it can hold any more.
    LeaseEnded,
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReceipt {
    /// It is not the JSON of a receipt.
    #[error("this is no receipt: {0}")]
    Form(Box<str>),
    /// It names neither or both of `seq` and `settings`.
    #[error("this is no receipt: it must hold either `seq` or `settings`")]
    Reached,
    /// A text in it could pass for other lines of the signed text.
    #[error("`{0}` holds a control character, which no receipt does")]
    Text(&'static str),
    /// Another key than the one that is trusted.
    #[error("the receipt is of another authority: it names the key {0}")]
    OtherKey(Box<PublicKey>),
    /// The edges are not in the one order that a receipt has, or one stands twice.
    #[error("the edges are not in order, or one stands twice: edge `{0}` is out of place")]
    EdgeOrder(EdgeName),
    /// A lease cannot have ended before the bound.
    #[error("the lease of edge `{0}` is said to have ended before the bound was over")]
    LeaseTooEarly(EdgeName),
    /// The signature is not this key's over this text.
    #[error("the signature does not hold: something in the receipt was changed after it was signed")]
    Signature,
}

impl Outcome {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::LeaseEnded => "lease_ended",
        }
    }
}

impl Receipt {
    /// Reads the JSON form: every member once, no other member.
    pub fn parse(text: &str) -> Result<Self, NoReceipt> {
        let receipt: Self = serde_json::from_str(text).map_err(|error| NoReceipt::Form(error.to_string().into()))?;
        if receipt.seq.is_some() == receipt.settings.is_some() {
            return Err(NoReceipt::Reached);
        }
        Ok(receipt)
    }

    /// The JSON form, on one line.
    pub fn to_json(&self) -> String {
        // Expect safety: texts, numbers and lists under constant names.
        serde_json::to_string(self).expect("a receipt is written as JSON")
    }

    /// Signs it: the edges in order, the key and its signature filled in.
    #[must_use]
    pub fn signed(mut self, key: &KeyPair) -> Self {
        self.edges.sort();
        self.key = key.public();
        self.signature = URL_SAFE_NO_PAD.encode(key.sign(self.signed_text().as_bytes()));
        self
    }

    /// Checks that the authority with this key gave exactly this receipt.
    pub fn check(&self, key: &PublicKey) -> Result<(), NoReceipt> {
        for (text, name) in [(&*self.issuer, "issuer"), (&*self.target, "target")] {
            if text.chars().any(char::is_control) {
                return Err(NoReceipt::Text(name));
            }
        }
        if self.key != *key {
            return Err(NoReceipt::OtherKey(Box::new(self.key)));
        }
        if let Some(pair) = self.edges.windows(2).find(|pair| pair[0] >= pair[1] || pair[0].key == pair[1].key) {
            return Err(NoReceipt::EdgeOrder(pair[1].edge.clone()));
        }
        let early = |edge: &&EdgeOutcome| edge.how == Outcome::LeaseEnded && self.elapsed_ms < self.bound_ms;
        if let Some(edge) = self.edges.iter().find(early) {
            return Err(NoReceipt::LeaseTooEarly(edge.edge.clone()));
        }
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).ok().and_then(|bytes| bytes.try_into().ok());
        match signature {
            Some(signature) if key.verifies(self.signed_text().as_bytes(), &signature) => Ok(()),
            _ => Err(NoReceipt::Signature),
        }
    }

    /// The text that is signed: one line for each fact.
    pub fn signed_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("writ receipt v1\nissuer {}\nkey {}\n", self.issuer, self.key);
        // Writing to a string cannot fail.
        if let Some(seq) = self.seq {
            let _ = writeln!(text, "seq {seq}");
        }
        if let Some(version) = self.settings {
            let _ = writeln!(text, "settings {version}");
        }
        let (committed, given) = (self.committed.millis(), self.given.millis());
        let _ = writeln!(text, "target {}\ncommitted {committed}\ngiven {given}", self.target);
        let _ = writeln!(text, "elapsed_ms {}\nbound_ms {}", self.elapsed_ms, self.bound_ms);
        for EdgeOutcome { edge, key, how, at } in &self.edges {
            let _ = writeln!(text, "edge {edge} {key} {} {}", how.as_str(), at.millis());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn receipt() -> Receipt {
        let edge = |name: &str, seed, how| EdgeOutcome {
            edge: name.parse().unwrap(),
            key: pair(seed).public(),
            how,
            at: Timestamp::from_millis(2000),
        };
        let edges = vec![edge("b", 2, Outcome::LeaseEnded), edge("a", 1, Outcome::Acknowledged)];
        Receipt {
            seq: Some(7),
            settings: None,
            target: "tenant:acme".into(),
            committed: Timestamp::from_millis(1000),
            given: Timestamp::from_millis(2100),
            elapsed_ms: 1051,
            bound_ms: 1050,
            edges,
            issuer: "https://writ.example".into(),
            key: pair(9).public(),
            signature: String::new(),
        }
        .signed(&pair(9))
    }

    fn checked(text: &str) -> Result<(), NoReceipt> {
        Receipt::parse(text)?.check(&pair(9).public())
    }

    #[test]
    fn the_signed_text_is_one_line_for_each_fact() {
        let (a, b, key) = (pair(1).public(), pair(2).public(), pair(9).public());
        assert_eq!(
            receipt().signed_text(),
            format!(
                "writ receipt v1\nissuer https://writ.example\nkey {key}\nseq 7\ntarget tenant:acme\ncommitted 1000\n\
                 given 2100\nelapsed_ms 1051\nbound_ms 1050\nedge a {a} acknowledged 2000\nedge b {b} lease_ended 2000\n"
            )
        );
        assert_eq!(checked(&receipt().to_json()), Ok(()));
    }

    #[test]
    fn another_key_is_named() {
        let other = pair(8).public();
        assert_eq!(receipt().check(&other), Err(NoReceipt::OtherKey(Box::new(pair(9).public()))));
        let claimed = Receipt { key: other, ..receipt() };
        assert_eq!(claimed.check(&other), Err(NoReceipt::Signature), "naming a key is not signing by it");
    }

    #[test]
    fn a_member_that_stands_twice_or_is_unknown_is_refused() {
        let text = receipt().to_json();
        for (from, to) in [
            (r#""seq":7,"#, r#""seq":7,"seq":7,"#),
            (r#""seq":7,"#, r#""seq":7,"\u0073eq":8,"#),
            (r#""seq":7,"#, r#""seq":7,"more":1,"#),
            (r#""how":"acknowledged","#, r#""how":"acknowledged","how":"acknowledged","#),
            (r#""how":"acknowledged","#, r#""how":"unheard","#),
            (r#""seq":7,"#, r#""seq":7.0,"#),
        ] {
            let hostile = text.replacen(from, to, 1);
            assert_ne!(hostile, text);
            assert!(matches!(checked(&hostile), Err(NoReceipt::Form(_))), "{to}");
        }
        assert!(matches!(checked(&format!("{text} {text}")), Err(NoReceipt::Form(_))));
        for (from, to) in [(r#""seq":7,"#, ""), (r#""seq":7,"#, r#""seq":7,"settings":7,"#)] {
            assert_eq!(checked(&text.replacen(from, to, 1)), Err(NoReceipt::Reached));
        }
    }

    #[test]
    fn edges_that_were_moved_left_out_or_repeated_are_noticed() {
        let mut moved = receipt();
        moved.edges.reverse();
        assert_eq!(moved.check(&pair(9).public()), Err(NoReceipt::EdgeOrder("a".parse().unwrap())));
        let mut twice = receipt();
        twice.edges.insert(1, twice.edges[0].clone());
        assert_eq!(twice.check(&pair(9).public()), Err(NoReceipt::EdgeOrder("a".parse().unwrap())));
        let mut fewer = receipt();
        fewer.edges.pop();
        assert_eq!(fewer.check(&pair(9).public()), Err(NoReceipt::Signature));
    }

    #[test]
    fn a_text_cannot_pass_for_other_lines() {
        let split = Receipt { target: "tenant:acme\ncommitted 1000".into(), ..receipt() };
        assert_eq!(split.check(&pair(9).public()), Err(NoReceipt::Text("target")));
        let split = Receipt { issuer: "https://writ.example\nseq 7".into(), ..receipt() };
        assert_eq!(split.check(&pair(9).public()), Err(NoReceipt::Text("issuer")));
    }

    #[test]
    fn a_lease_that_ended_before_the_bound_is_refused_even_if_signed() {
        let early = Receipt { elapsed_ms: 1049, ..receipt() }.signed(&pair(9));
        assert_eq!(early.check(&pair(9).public()), Err(NoReceipt::LeaseTooEarly("b".parse().unwrap())));
    }

    #[test]
    fn every_value_is_signed() {
        let json: Value = serde_json::from_str(&receipt().to_json()).unwrap();
        let mut paths: Vec<String> = json.as_object().unwrap().keys().map(|name| format!("/{name}")).collect();
        paths.extend(["edge", "key", "how", "at"].map(|name| format!("/edges/0/{name}")));
        for path in paths.iter().filter(|path| *path != "/edges") {
            let mut changed = json.clone();
            let value = changed.pointer_mut(path).unwrap();
            *value = match (path.as_str(), &*value) {
                ("/edges/0/how", _) => "lease_ended".into(),
                (_, Value::Number(number)) => (number.as_u64().unwrap() + 1).into(),
                ("/key" | "/edges/0/key", _) => pair(5).public().to_string().into(),
                (_, Value::String(text)) => format!("{text}a").into(),
                other => panic!("{other:?}"),
            };
            assert!(checked(&changed.to_string()).is_err(), "{path} is not covered by the signature");
        }
    }

    proptest! {
        #[test]
        fn json_round_trips_and_stays_signed(
            seq: u64, settings: bool, target in "[ -~]{1,40}", committed in 0i64..1 << 50, elapsed in 0u64..1 << 40, names in
            proptest::collection::btree_set("[a-z]{1,8}", 0..6),
        ) {
            let edges = names.iter().zip(1..).map(|(name, seed)| EdgeOutcome {
                edge: name.parse().unwrap(),
                key: pair(seed).public(),
                how: if seed % 2 == 0 { Outcome::Acknowledged } else { Outcome::LeaseEnded },
                at: Timestamp::from_millis(committed),
            });
            let receipt = Receipt {
                seq: (!settings).then_some(seq),
                settings: settings.then_some(seq),
                target,
                committed: Timestamp::from_millis(committed),
                elapsed_ms: elapsed,
                bound_ms: elapsed / 2,
                edges: edges.collect(),
                ..receipt()
            }
            .signed(&pair(9));
            let read = Receipt::parse(&receipt.to_json()).unwrap();
            prop_assert_eq!(&read, &receipt);
            prop_assert_eq!(read.to_json(), receipt.to_json());
            prop_assert_eq!(read.check(&pair(9).public()), Ok(()));
        }
    }
}
