//! What the cases are made with: honest steps with our own code, dishonest ones with biscuit-auth and bare protobuf.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biscuit_auth::builder::{BiscuitBuilder, BlockBuilder};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::schema;
use biscuit_auth::{PrivateKey, UnverifiedBiscuit};
use prost::Message as _;
use serde_json::{Map, Value, json};
use writ::clock::Timestamp;
use writ::key::{KeyPair, sha256};
use writ::token::{Argument, RawToken, RootKeys};

use super::{Answer, KeyEntry, Request, Scheme, Vector, outward};
use crate::biscuit::{biscuit_pair, biscuit_private};
use crate::tokens::*;

/// A case in the making. Begins as a good request by key 1 with a minted token.
pub(super) struct Case {
    pub(super) vector: Vector,
    prover: u8,
    proof: Proof,
    no_proof: bool,
}

/// A proof in the making: any part can be wrong.
pub(super) struct Proof {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// In place of the claims.
    pub(super) claims_text: Option<String>,
    /// In place of the key that the case says.
    pub(super) signer: Option<KeyPair>,
    /// Done to the finished text.
    pub(super) spoil: fn(String) -> String,
}

impl Case {
    pub(super) fn new(fact: &str, token: &RawToken) -> Self {
        Self::with_text(fact, token.text())
    }

    pub(super) fn with_bytes(fact: &str, bytes: &[u8]) -> Self {
        Self::with_text(fact, &URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn with_text(fact: &str, token: &str) -> Self {
        let names = [("root", 0xee), ("assistant", 1), ("helper", 2), ("third", 3), ("fourth", 4)];
        let entry = |seed| KeyEntry { seed: hex::encode([seed; 32]), public: public(seed).to_string() };
        let vector = Vector {
            fact: fact.to_owned(),
            keys: names.iter().map(|(name, seed)| ((*name).to_owned(), entry(*seed))).collect::<BTreeMap<_, _>>(),
            issuer: expected().issuer.into(),
            audience: expected().audience.to_string(),
            root_keys: keys(),
            now: at(60).to_string(),
            scheme: Scheme::Dpop,
            bearer_accepted: false,
            token: token.to_owned(),
            proof: None,
            nonces: Vec::new(),
            request: Request {
                url: "https://edge.example/notes/team/1".to_owned(),
                query: None,
                body: None,
                operation: operation("notes:read:team/1"),
            },
            result: Answer::Allowed { capability: capability("notes:/:team") },
        };
        let proof =
            Proof { header: Map::new(), claims: Map::new(), claims_text: None, signer: None, spoil: |text| text };
        Self { vector, prover: 1, proof, no_proof: false }
    }

    /// Who presents it.
    pub(super) fn by(mut self, seed: u8) -> Self {
        self.prover = seed;
        self
    }

    pub(super) fn at(self, secs_from_now: i64) -> Self {
        self.at_time(at(secs_from_now))
    }

    pub(super) fn at_time(mut self, now: Timestamp) -> Self {
        self.vector.now = now.to_string();
        self
    }

    pub(super) fn asks(mut self, needed: &str) -> Self {
        self.vector.request.operation = operation(needed);
        self
    }

    pub(super) fn method(mut self, method: &str) -> Self {
        self.vector.request.operation.method = method.into();
        self
    }

    /// With an argument, typed as its JSON is.
    pub(super) fn argument(mut self, name: &str, value: Value) -> Self {
        let value = serde_json::from_value(value).unwrap();
        self.vector.request.operation.arguments.push(Argument { name: name.into(), value });
        self
    }

    pub(super) fn query(mut self, query: &str) -> Self {
        self.vector.request.query = Some(query.to_owned());
        self
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        self.vector.request.body = Some(body.to_owned());
        self
    }

    pub(super) fn root_keys(mut self, keys: RootKeys) -> Self {
        self.vector.root_keys = keys;
        self
    }

    pub(super) fn nonces(mut self, nonces: &[&str]) -> Self {
        self.vector.nonces = nonces.iter().map(ToString::to_string).collect();
        self
    }

    pub(super) fn bearer(mut self, accepted: bool) -> Self {
        self.vector.scheme = Scheme::Bearer;
        self.vector.bearer_accepted = accepted;
        self.no_proof = true;
        self
    }

    pub(super) fn without_proof(mut self) -> Self {
        self.no_proof = true;
        self
    }

    pub(super) fn header(mut self, name: &str, value: Value) -> Self {
        self.proof.header.insert(name.to_owned(), value);
        self
    }

    /// Sets a claim of the proof; `null` takes it out.
    pub(super) fn claim(mut self, name: &str, value: Value) -> Self {
        self.proof.claims.insert(name.to_owned(), value);
        self
    }

    pub(super) fn proof(mut self, change: impl FnOnce(&mut Proof)) -> Self {
        change(&mut self.proof);
        self
    }

    pub(super) fn allowed(self) -> Vector {
        self.finished()
    }

    pub(super) fn allowed_by(mut self, by: &str) -> Vector {
        self.vector.result = Answer::Allowed { capability: capability(by) };
        self.finished()
    }

    pub(super) fn denied(self, code: &str) -> Vector {
        let mut vector = self.finished();
        // The detail is for people: filled in from what the code says, and reviewed in the diff.
        let detail = match vector.answer() {
            Answer::Denied { detail, .. } => detail,
            Answer::Allowed { capability } => format!("allowed by {capability}"),
        };
        let (status, error) = outward(code);
        vector.result = Answer::Denied { code: code.to_owned(), status, error: error.to_owned(), detail };
        vector
    }

    fn finished(self) -> Vector {
        let mut vector = self.vector;
        if !self.no_proof {
            vector.proof = Some(self.proof.text(&pair(self.prover), &vector));
        }
        vector
    }
}

impl Proof {
    fn text(self, prover: &KeyPair, vector: &Vector) -> String {
        let signer = self.signer.as_ref().unwrap_or(prover);
        let x = URL_SAFE_NO_PAD.encode(signer.public().as_bytes());
        let mut header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
        let mut claims = json!({
            "jti": "8f2c0c5e",
            "htm": vector.request.operation.method,
            "htu": vector.request.url,
            "iat": super::time(&vector.now).secs(),
            "ath": URL_SAFE_NO_PAD.encode(sha256(vector.token.as_bytes())),
        });
        merge(&mut header, self.header);
        merge(&mut claims, self.claims);
        let claims = self.claims_text.unwrap_or_else(|| claims.to_string());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()));
        (self.spoil)(format!("{signed}.{signature}"))
    }
}

fn merge(into: &mut Value, changes: Map<String, Value>) {
    let into = into.as_object_mut().unwrap();
    for (name, value) in changes {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}

/// The facts of a good authority block, to be altered.
pub(super) const AUTHORITY_FACTS: [&str; 11] = [
    "writ(1)",
    r#"issuer("https://authority.example")"#,
    r#"audience("edge")"#,
    r#"tenant("acme")"#,
    r#"agent("assistant")"#,
    "cnf(hex:8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c)",
    r#"capability("notes", "/", "team")"#,
    "id(hex:a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0)",
    "nbf(2026-11-18T11:06:40Z)",
    "exp(2026-11-18T12:06:40Z)",
    "max_depth(5)",
];

/// An authority block with those facts and `epoch(12)`; each replacement takes the place of the fact of that name.
pub(super) fn stated(replaced: &[(&str, &str)], added: &str) -> Vec<u8> {
    let mut code = String::new();
    for fact in AUTHORITY_FACTS.iter().chain(&["epoch(12)"]) {
        let name = fact.split('(').next().unwrap();
        let fact = replaced.iter().find(|(replaced, _)| *replaced == name).map_or(*fact, |(_, fact)| *fact);
        if !fact.is_empty() {
            code += &format!("{fact};\n");
        }
    }
    signed_by_root(BiscuitBuilder::new().code(code + added).unwrap())
}

pub(super) fn signed_by_root(block: BiscuitBuilder) -> Vec<u8> {
    block
        .root_key_id(ROOT_KEY_ID)
        .build_with_key_pair(&biscuit_pair(&root()), SymbolTable::new(), &biscuit_pair(&pair(0xc0)))
        .unwrap()
        .to_vec()
        .unwrap()
}

/// Appends any unsigned block.
pub(super) fn appended(token: &[u8], block: BlockBuilder) -> Vec<u8> {
    let token = UnverifiedBiscuit::from(token).unwrap();
    token.append_with_keypair(&biscuit_pair(&pair(0xd1)), block).unwrap().to_vec().unwrap()
}

pub(super) fn appended_code(token: &[u8], code: &str) -> Vec<u8> {
    appended(token, BlockBuilder::new().code(code).unwrap())
}

/// Appends any block signed by `key`.
pub(super) fn signed(token: &[u8], key: &PrivateKey, block: BlockBuilder) -> Vec<u8> {
    let token = UnverifiedBiscuit::from(token).unwrap();
    let block = token.third_party_request().unwrap().create_block(key, block).unwrap().serialize().unwrap();
    token.append_third_party_with_keypair(&block, biscuit_pair(&pair(0xd2))).unwrap().to_vec().unwrap()
}

/// Appends a block signed by key `from`.
pub(super) fn signed_code(token: &[u8], from: u8, code: &str) -> Vec<u8> {
    signed(token, &biscuit_private(&pair(from)), BlockBuilder::new().code(code).unwrap())
}

/// The facts of a good hop to key `to`.
pub(super) fn hop_facts(to: u8) -> String {
    let key = hex::encode(public(to).as_bytes());
    format!("cnf(hex:{key}); id(hex:{}); exp({});", hex::encode([to; 16]), at(1800))
}

/// Changes the protobuf form of a token.
pub(super) fn tampered(token: &[u8], change: impl FnOnce(&mut schema::Biscuit)) -> Vec<u8> {
    let mut biscuit = schema::Biscuit::decode(token).unwrap();
    change(&mut biscuit);
    biscuit.encode_to_vec()
}

/// Changes the payload of the last block and signs it again, as the one who appended it can.
pub(super) fn resigned(token: &[u8], signer: &KeyPair, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    tampered(token, |biscuit| {
        let block = biscuit.blocks.last_mut().unwrap_or(&mut biscuit.authority);
        change(&mut block.block);
        let signed = [block.block.as_slice(), &0i32.to_le_bytes(), &block.next_key.key].concat();
        block.signature = signer.sign(&signed).to_vec();
    })
}

/// The same signature with `s + L` for `s`: it holds for those who do not reduce.
pub(super) fn malleated(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut out = signature.to_vec();
    let mut carry = 0;
    for (byte, order) in out[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    out
}

/// A signature by `signer` whose `R` has a part of small order: it holds under the equation with the cofactor only.
pub(super) fn with_mixed_order(signer: &KeyPair, message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA512, digest};
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::{EdwardsPoint, Scalar};
    let scalar = |parts: &[&[u8]]| {
        Scalar::from_bytes_mod_order_wide(digest(&SHA512, &parts.concat()).as_ref().try_into().unwrap())
    };
    let secret = ed25519_dalek::SigningKey::from_bytes(signer.seed().expose()).to_scalar();
    let nonce = scalar(&[b"nonce", message]);
    let point = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[1]).compress();
    let challenge = scalar(&[point.as_bytes(), signer.public().as_bytes(), message]);
    let response = nonce + challenge * secret;
    let difference =
        EdwardsPoint::mul_base(&response) - EdwardsPoint::mul_base(&(challenge * secret)) - point.decompress().unwrap();
    assert!(difference.is_small_order(), "the equation with the cofactor holds");
    [*point.as_bytes(), response.to_bytes()].concat()
}
