//! Minting: the authority block, signed by a root key.

use biscuit_auth::builder::Term;

use crate::key::KeyPair;
use crate::token::block::{BlockWriter, capability_terms, date, key, string};
use crate::token::chain::Authority;
use crate::token::claims::{Claim, ClaimValue};
use crate::token::container::Container;
use crate::token::limits::Limits;
use crate::token::profile::{self, VERSION};
use crate::token::raw::RawToken;
use crate::token::verify::{TokenError, chain};

/// Mints the writ that `authority` describes, signed by `root` under `root_key_id`.
///
/// `next_key_seed` is 32 fresh random bytes: whoever knows them can append blocks to the token. Times are cut to whole
/// seconds. The result keeps to the profile and to `limits`.
pub fn mint(
    authority: &Authority,
    root: &KeyPair,
    root_key_id: u32,
    next_key_seed: &[u8; 32],
    limits: &Limits,
) -> Result<RawToken, TokenError> {
    let payload = authority_block(authority).finish();
    let (container, keys) = Container::mint(root_key_id, root, next_key_seed, payload);
    let token = RawToken::from_bytes(&container.encode(), limits)?;
    chain(&token, &container, profile::read(&container, &keys, limits)?)?;
    Ok(token)
}

fn authority_block(authority: &Authority) -> BlockWriter {
    let mut block = BlockWriter::authority();
    block.fact("writ", vec![Term::Integer(VERSION)]);
    block.fact("issuer", vec![string(&authority.issuer)]);
    block.fact("audience", vec![string(authority.audience.as_str())]);
    block.fact("tenant", vec![string(authority.tenant.as_str())]);
    if let Some(subject) = &authority.subject {
        block.fact("subject", vec![string(subject.as_str())]);
    }
    if let Some(session) = &authority.session {
        block.fact("session", vec![string(session.as_str())]);
    }
    block.fact("agent", vec![string(authority.agent.as_str())]);
    if let Some(holder) = &authority.holder {
        block.fact("cnf", vec![key(holder)]);
    }
    for capability in &authority.capabilities {
        block.fact("capability", capability_terms(capability));
    }
    for grant in &authority.grants {
        block.fact("grant", vec![Term::Bytes(grant.as_bytes().to_vec())]);
    }
    block.fact("id", vec![Term::Bytes(authority.id.as_bytes().to_vec())]);
    block.fact("nbf", vec![date(authority.not_before)]);
    block.fact("exp", vec![date(authority.expires)]);
    block.fact("max_depth", vec![Term::Integer(i64::from(authority.depth_max))]);
    // Beyond i64 it would read as negative and the profile refuses it.
    block.fact("epoch", vec![Term::Integer(i64::try_from(authority.epoch).unwrap_or(-1))]);
    if authority.proof_covers.query {
        block.fact("proof_covers", vec![string("query")]);
    }
    if authority.proof_covers.body {
        block.fact("proof_covers", vec![string("body")]);
    }
    if authority.policy.version > 0 {
        block.fact("policy", vec![Term::Integer(i64::try_from(authority.policy.version).unwrap_or(-1))]);
    }
    for group in &authority.policy.groups {
        block.fact("group", vec![string(group.as_str())]);
    }
    for claim in &authority.policy.claims {
        claim_facts(&mut block, claim);
    }
    block
}

/// A list is one fact for each of its texts, under another name: so that a list of one text stays a list.
fn claim_facts(block: &mut BlockWriter, claim: &Claim) {
    let mut fact = |kind: &str, value: Term| block.fact(kind, vec![string(claim.name.as_str()), value]);
    match &claim.value {
        ClaimValue::Boolean(value) => fact("claim", Term::Bool(*value)),
        ClaimValue::Integer(value) => fact("claim", Term::Integer(*value)),
        ClaimValue::String(text) => fact("claim", string(text)),
        ClaimValue::Strings(texts) => texts.iter().for_each(|text| fact("claims", string(text))),
    }
}
