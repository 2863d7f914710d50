//! The other implementation: biscuit-auth reads what we write, and we read what it writes.

use biscuit_auth::builder::{Algorithm, BlockBuilder};
use biscuit_auth::{Biscuit, PrivateKey, UnverifiedBiscuit};
use writ::key::KeyPair;
use writ::token::hop::seal;
use writ::token::{Limits, RawToken};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::tokens::*;

pub(crate) fn biscuit_private(pair: &KeyPair) -> PrivateKey {
    PrivateKey::from_bytes(pair.seed().expose(), Algorithm::Ed25519).unwrap()
}

pub(crate) fn biscuit_pair(pair: &KeyPair) -> biscuit_auth::KeyPair {
    biscuit_auth::KeyPair::from(&biscuit_private(pair))
}

pub(crate) fn raw(bytes: &[u8]) -> RawToken {
    RawToken::parse(&URL_SAFE_NO_PAD.encode(bytes), &Limits::default()).unwrap()
}

#[test]
fn biscuit_auth_reads_every_kind_of_block_that_we_write() {
    let root_key = biscuit_pair(&root()).public();
    let token = minted(&authority());
    let hopped = delegated(&token, 1, &new_hop(2));
    let both = narrowed(&hopped, &[r#"check if method("GET")"#, r#"check if arg("amount", $x), $x <= 500"#]);
    let again = delegated(&both, 2, &new_hop(3));
    for token in [&token, &hopped, &both, &again, &seal(&again, &Limits::default()).unwrap()] {
        let biscuit = Biscuit::from(token.bytes(), root_key).unwrap();
        assert_eq!(biscuit.to_vec().unwrap(), token.bytes());
        assert_eq!(biscuit.block_count(), verified(token).unwrap().blocks());
    }
}

#[test]
fn a_block_that_biscuit_auth_writes_is_byte_for_byte_ours() {
    let token = minted(&authority());
    let theirs = UnverifiedBiscuit::from(token.bytes()).unwrap();
    let block = BlockBuilder::new().check(r#"check if method("GET")"#).unwrap();
    let theirs = theirs.append_with_keypair(&biscuit_pair(&KeyPair::from_seed(&[0xd0; 32])), block).unwrap();
    assert_eq!(theirs.to_vec().unwrap(), narrowed(&token, &[r#"check if method("GET")"#]).bytes());
}

#[test]
fn a_hop_made_with_biscuit_auth_alone_is_honoured() {
    let token = minted(&authority());
    let theirs = UnverifiedBiscuit::from(token.bytes()).unwrap();
    let block = BlockBuilder::new()
        .code(format!(
            "cnf(hex:{}); id(hex:{}); exp({}); check if action(\"read\");",
            hex::encode(public(2).as_bytes()),
            "02".repeat(16),
            at(1800)
        ))
        .unwrap();
    let block = theirs.third_party_request().unwrap().create_block(&biscuit_private(&pair(1)), block).unwrap();
    let theirs = theirs.append_third_party(&block.serialize().unwrap()).unwrap();
    let chain = verified(&raw(&theirs.to_vec().unwrap())).unwrap();
    assert_eq!(chain.hops()[0], verified(&delegated(&token, 1, &new_hop(2))).unwrap().hops()[0]);
    assert_eq!(&*chain.checks()[0].source, r#"check if action("read")"#);
}
