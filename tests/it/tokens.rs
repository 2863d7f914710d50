//! Tokens, keys and requests for the tests that need some. All deterministic.

use std::sync::Arc;

use proptest::test_runner::{Config as ProptestConfig, RngAlgorithm};
use writ::clock::Timestamp;
use writ::id::BlockId;
use writ::key::{KeyPair, PublicKey};
use writ::token::chain::{Authority, ProofCovers};
use writ::token::claims::PolicyFacts;
use writ::token::hop::{self, Narrowing, NewHop};
use writ::token::mint::mint;
use writ::token::verify::{Expected, RootKey, current};
use writ::token::{Capability, Chain, Limits, Operation, RawToken, RootKeys, TokenError, VerifiedToken, verify};

pub(crate) const NOW: i64 = 1_795_000_000;
pub(crate) const ROOT_KEY_ID: u32 = 7;

pub(crate) fn root() -> KeyPair {
    pair(0xee)
}

pub(crate) fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> PublicKey {
    pair(seed).public()
}

pub(crate) fn at(secs_from_now: i64) -> Timestamp {
    Timestamp::from_secs(NOW + secs_from_now)
}

pub(crate) fn keys() -> RootKeys {
    RootKeys { keys: vec![RootKey { id: ROOT_KEY_ID, key: root().public(), until: None }] }
}

pub(crate) fn expected() -> Expected {
    Expected { issuer: "https://authority.example".into(), audience: "edge".parse().unwrap() }
}

pub(crate) fn capability(text: &str) -> Capability {
    text.parse().unwrap()
}

/// Bound to key 1, an hour long, five hops deep, may do everything with the team's notes.
pub(crate) fn authority() -> Authority {
    Authority {
        issuer: expected().issuer,
        audience: expected().audience,
        tenant: "acme".parse().unwrap(),
        subject: Some("alice@example.com".parse().unwrap()),
        session: None,
        agent: "assistant".parse().unwrap(),
        holder: Some(public(1)),
        capabilities: vec![capability("notes:/:team")],
        grants: Vec::new(),
        id: BlockId::from_bytes([0xa0; 16]),
        not_before: at(0),
        expires: at(3600),
        depth_max: 5,
        epoch: 12,
        proof_covers: ProofCovers::default(),
        policy: PolicyFacts::default(),
    }
}

pub(crate) fn minted(authority: &Authority) -> RawToken {
    mint(authority, &root(), ROOT_KEY_ID, &[0xc0; 32], &Limits::default()).unwrap()
}

/// A hop to key `to`.
pub(crate) fn new_hop(to: u8) -> NewHop {
    NewHop {
        holder: public(to),
        id: BlockId::from_bytes([to; 16]),
        expires: at(1800),
        not_before: None,
        agent: None,
        narrowing: Narrowing::default(),
    }
}

/// The id of the hop that key `from` makes with [`new_hop`] to key `to`.
pub(crate) fn hop_id(from: u8, to: u8) -> BlockId {
    writ::token::Hop::id_of(&public(from), BlockId::from_bytes([to; 16]), &public(to))
}

pub(crate) fn delegated(token: &RawToken, from: u8, hop: &NewHop) -> RawToken {
    hop::delegate(token, &pair(from), hop, &[hop.id.as_bytes()[0]; 32], &Limits::default()).unwrap()
}

pub(crate) fn narrowed(token: &RawToken, checks: &[&str]) -> RawToken {
    let narrowing = Narrowing { checks: checks.iter().map(ToString::to_string).collect(), ..Narrowing::default() };
    hop::narrow(token, &narrowing, &[0xd0; 32], &Limits::default()).unwrap()
}

pub(crate) fn verified(token: &RawToken) -> Result<Chain, TokenError> {
    verify(token, &keys(), &Limits::default())
}

pub(crate) fn accepted(token: &RawToken, now: Timestamp) -> Result<VerifiedToken, TokenError> {
    current(&Arc::new(verified(token)?), &keys(), &expected(), now)
}

pub(crate) fn operation(needed: &str) -> Operation {
    let Capability { service, action, resource } = capability(needed);
    Operation { service, action, resource, method: "GET".into(), arguments: Vec::new() }
}

/// So many random cases, or as many as `PROPTEST_CASES` says where that is more: `spec/security.md` has the command for a million.
pub(crate) fn cases(least: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    // Unoptimised, the default one takes longer than what is tested.
    let rng_algorithm = RngAlgorithm::XorShift;
    ProptestConfig { cases: config.cases.max(least), rng_algorithm, ..config }
}
