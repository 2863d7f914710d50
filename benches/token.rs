//! What a token costs: `cargo bench --bench token`. Trust ratios more than absolutes.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up has failed")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use ed25519_dalek::Signer as _;
use writ::clock::{Monotonic, Timestamp};
use writ::id::BlockId;
use writ::policy::permit::decide;
use writ::revocation::{Entry, Lease, RevocationSet, Statement, Target};
use writ::token::inspect::inspect;
use writ::token::prefix::{PrefixDigest, verify_after};
use writ::token::proof::{self, NonceRule, ProvenRequest};
use writ::token::verify::current;
use writ::token::{Chain, Limits, RawToken, verify};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/tokens.rs"]
mod tokens;

use tokens::*;

const HOPS: [u8; 4] = [0, 1, 2, 5];

fn main() {
    divan::main();
}

/// A token with so many hops, each of which narrows.
fn token(hops: u8) -> RawToken {
    (1..=hops).fold(minted(&authority()), |token, from| {
        let mut hop = new_hop(from + 1);
        hop.narrowing.capabilities = vec![capability("notes:read:team"), capability("notes:list:team")];
        hop.narrowing.until = Some(at(1000));
        delegated(&token, from, &hop)
    })
}

fn chain(hops: u8) -> Arc<Chain> {
    Arc::new(verified(&token(hops)).unwrap())
}

const REQUEST: ProvenRequest<'_> =
    ProvenRequest { method: "GET", url: "https://edge.example/notes/team/1", query: None, body_sha256: None };

/// Text to chain: decoding, signatures, profile. Once for a token; then the chain is cached.
#[divan::bench(args = HOPS)]
fn parse_and_verify(bencher: Bencher<'_, '_>, hops: u8) {
    let (token, keys, limits) = (token(hops), keys(), Limits::default());
    bencher.bench(|| verify(&RawToken::parse(black_box(token.text()), &limits).unwrap(), &keys, &limits).unwrap());
}

/// What its signatures alone cost: so many bare strict checks of ed25519-dalek.
#[divan::bench(args = HOPS)]
fn signatures_alone(bencher: Bencher<'_, '_>, hops: u8) {
    let signer = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let (message, key) = ([7; 300], signer.verifying_key());
    let signature = signer.sign(&message);
    bencher.bench(|| {
        for _ in 0..=2 * hops {
            black_box(&key).verify_strict(black_box(&message), &signature).unwrap();
        }
    });
}

/// A token whose last hop is new, and whose other blocks are known.
#[divan::bench(args = HOPS)]
fn parse_and_verify_last_hop(bencher: Bencher<'_, '_>, hops: u8) {
    let (token, keys, limits) = (token(hops), keys(), Limits::default());
    let known = verify_after(&token, &keys, &limits, |_| None).unwrap().prefixes;
    let known: Vec<_> = known.into_iter().map(|(digest, prefix)| (digest, Arc::new(prefix))).collect();
    let before_last = known.len().saturating_sub(1);
    let find = |digest: &PrefixDigest| {
        let (_, prefix) = known[..before_last].iter().find(|(known, _)| known == digest)?;
        Some(prefix.clone())
    };
    bencher.bench(|| {
        let token = RawToken::parse(black_box(token.text()), &limits).unwrap();
        verify_after(&token, &keys, &limits, find).unwrap()
    });
}

/// The same without signatures.
#[divan::bench(args = HOPS)]
fn profile(bencher: Bencher<'_, '_>, hops: u8) {
    let (token, limits) = (token(hops), Limits::default());
    bencher.bench(|| inspect(black_box(&token), &limits).unwrap());
}

/// What is asked of a cached chain on each request, besides the proof.
#[divan::bench(args = HOPS)]
fn current_and_decide(bencher: Bencher<'_, '_>, hops: u8) {
    let (chain, keys, expected, operation) = (chain(hops), keys(), expected(), operation("notes:read:team/1"));
    bencher.bench(|| {
        let token = current(black_box(&chain), &keys, &expected, at(60)).unwrap();
        decide(token.chain(), &operation, at(60)).unwrap();
    });
}

#[divan::bench(args = HOPS)]
fn decide_alone(bencher: Bencher<'_, '_>, hops: u8) {
    let (chain, operation) = (chain(hops), operation("notes:read:team/1"));
    bencher.bench(|| decide(black_box(&chain), &operation, at(60)).unwrap());
}

#[divan::bench]
fn make_proof(bencher: Bencher<'_, '_>) {
    let (holder, digest) = (pair(1), token(0).digest());
    bencher.bench(|| proof::make(&holder, &REQUEST, Some(digest), Default::default(), None, &[7; 16], at(60)));
}

#[divan::bench]
fn check_proof(bencher: Bencher<'_, '_>) {
    let (holder, digest) = (pair(1), token(0).digest());
    let text = proof::make(&holder, &REQUEST, Some(digest), Default::default(), None, &[7; 16], at(60));
    let key = holder.public();
    bencher.bench(|| {
        let covers = Default::default();
        proof::check(black_box(&text), Some(&key), &REQUEST, Some(digest), covers, NonceRule::Optional, at(60)).unwrap()
    });
}

#[divan::bench]
fn mint_token(bencher: Bencher<'_, '_>) {
    let authority = authority();
    bencher.bench(|| minted(black_box(&authority)));
}

#[divan::bench]
fn delegate_token(bencher: Bencher<'_, '_>) {
    let (token, hop) = (token(0), new_hop(2));
    bencher.bench(|| delegated(black_box(&token), 1, &hop));
}

/// Whether a chain is live that was found so before, by the number of entries.
#[divan::bench(args = [0, 1_000, 100_000, 1_000_000])]
fn revocation_lookup(bencher: Bencher<'_, '_>, entries: u64) {
    let entry = |seq: u64| {
        let mut id = [0xf0; 16];
        id[..8].copy_from_slice(&seq.to_be_bytes());
        let forever = Timestamp::from_millis(i64::MAX);
        Entry { seq, target: Target::Block(BlockId::from_bytes(id)), at: at(0), forget_after: forever }
    };
    let mut set = RevocationSet::for_log();
    set.apply(&Statement::of(0, entries, (1..=entries).map(entry))).unwrap();
    let start = Monotonic::from_origin(Duration::ZERO);
    let (chain, lease) = (chain(2), Lease::granted(start, Duration::from_secs(1)));
    bencher.bench(|| set.check(black_box(&chain), &lease, start).unwrap());
}
