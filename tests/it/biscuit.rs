//! The other implementation: biscuit-auth reads what we write, and we read what it writes.

use biscuit_auth::builder::{Algorithm, BlockBuilder};
use biscuit_auth::{Biscuit, PrivateKey, UnverifiedBiscuit};
use writ::key::KeyPair;
use writ::token::hop::{HopError, Narrowing, NewHop, delegate, seal};
use writ::token::{Limits, RawToken, TokenError};

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

#[test]
fn a_block_of_an_unknown_version_is_an_error_and_no_panic() {
    use biscuit_auth::format::schema;
    use prost::Message as _;
    let mut biscuit = schema::Biscuit::decode(minted(&authority()).bytes()).unwrap();
    let mut block = schema::Block::decode(biscuit.authority.block.as_slice()).unwrap();
    block.version = Some(7);
    biscuit.authority.block = block.encode_to_vec();
    let token = raw(&biscuit.encode_to_vec());
    let refused = delegate(&token, &pair(1), &new_hop(2), &[9; 32], &Limits::default());
    assert!(matches!(refused, Err(HopError::Token(TokenError::Profile { block: 0, .. }))), "{refused:?}");
}

#[test]
fn hops_of_the_same_key_table_and_symbols_do_not_disturb_each_other() {
    let checks = [r#"check if arg("amount", $x), $x <= 500"#, r#"check if arg("amount", $amount), $amount <= 400"#];
    let with = |check: &str, to| {
        let narrowing = Narrowing { checks: vec![check.to_owned()], ..Narrowing::default() };
        NewHop { narrowing, ..new_hop(to) }
    };
    let token = delegated(&minted(&authority()), 1, &with(checks[0], 2));
    let token = narrowed(&delegated(&token, 2, &with(checks[1], 3)), &checks);
    let token = delegated(&token, 3, &with(checks[0], 4));
    let sources: Vec<_> = verified(&token).unwrap().checks().iter().map(|check| check.source.to_string()).collect();
    assert_eq!(sources, [checks[0], checks[1], checks[0], checks[1], checks[0]]);
}

#[test]
fn an_appended_join_is_refused_in_no_time() {
    // Sixty facts and a four-way join: ten processor-seconds under the engine's default limit of a millisecond.
    let facts: String = (0..30).map(|i| format!("n({i}, {});", i + 1)).collect();
    let code = format!("{facts} check if n($a, $b), n($c, $d), n($e, $f), n($g, $h), $a + $c + $e + $g < 0");
    let theirs = UnverifiedBiscuit::from(minted(&authority()).bytes()).unwrap();
    let theirs = theirs.append(BlockBuilder::new().code(code).unwrap()).unwrap();
    let refused = verified(&raw(&theirs.to_vec().unwrap()));
    assert!(matches!(refused, Err(TokenError::Profile { block: 1, .. })), "{refused:?}");
}

/// The engine has no bound on one query, the unverified reader no check, and both print secrets in their `Debug`.
#[test]
fn neither_the_engine_nor_the_readers_of_biscuit_auth_are_used() {
    fn sources(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut found = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    for text in found {
        for name in
            ["AuthorizerBuilder", "UnverifiedBiscuit", "Biscuit::from", "SerializedBiscuit", "biscuit_auth::KeyPair"]
        {
            assert!(!text.contains(name), "a source uses {name}");
        }
    }
}
