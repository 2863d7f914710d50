//! Who signed it, in which encoding, of what size, for whom and when.

use biscuit_auth::builder::{Algorithm, BiscuitBuilder, Fact, Term};
use biscuit_auth::format::schema;
use biscuit_auth::{KeyPair as BiscuitPair, PrivateKey};
use writ::clock::Timestamp;
use writ::token::chain::Authority;
use writ::token::hop::seal;
use writ::token::verify::RootKey;
use writ::token::{Limits, RootKeys};

use super::Vector;
use super::kit::*;
use crate::tokens::*;

pub(super) fn all() -> Vec<Vector> {
    [roots(), signatures(), encodings(), sizes(), facts(), times(), bearers()].into_iter().flatten().collect()
}

fn good() -> Vec<u8> {
    minted(&authority()).bytes().to_vec()
}

fn hopped() -> Vec<u8> {
    delegated(&minted(&authority()), 1, &new_hop(2)).bytes().to_vec()
}

fn roots() -> Vec<Vector> {
    let root_key = |id, seed, until| RootKeys { keys: vec![RootKey { id, key: public(seed), until }] };
    let token = minted(&authority());
    vec![
        Case::new("a minted token held by its agent is allowed what it names", &token).allowed(),
        Case::new("a token of an unknown root key is refused", &token)
            .root_keys(root_key(8, 0xee, None))
            .denied("token_unknown_root"),
        Case::new("a token signed by another key than its key id names is refused", &token)
            .root_keys(root_key(ROOT_KEY_ID, 0xef, None))
            .denied("token_signature"),
        Case::new("a token of a retired root key is refused after its last second", &token)
            .root_keys(root_key(ROOT_KEY_ID, 0xee, Some(at(59))))
            .denied("token_unknown_root"),
        Case::new("a token of a retired root key counts until its last second", &token)
            .root_keys(root_key(ROOT_KEY_ID, 0xee, Some(at(60))))
            .allowed(),
        Case::with_bytes("a token without a root key id is refused", &tampered(&good(), |b| b.root_key_id = None))
            .denied("token_malformed"),
        Case::new(
            "a token for another audience is refused",
            &minted(&Authority { audience: "other-edge".parse().unwrap(), ..authority() }),
        )
        .denied("token_audience"),
        Case::new(
            "a token of another issuer is refused",
            &minted(&Authority { issuer: "https://authority.example/".into(), ..authority() }),
        )
        .denied("token_audience"),
    ]
}

fn signatures() -> Vec<Vector> {
    let p256 = BiscuitPair::from(&PrivateKey::from_bytes(&[5; 32], Algorithm::Secp256r1).unwrap());
    let p256_key = schema::PublicKey { algorithm: 1, key: p256.public().to_bytes() };
    let small_order = schema::PublicKey { algorithm: 0, key: [[1].as_slice(), &[0; 31]].concat() };
    let sealed = seal(&minted(&authority()), &Limits::default()).unwrap();
    let after_seal = appended_code(&good(), r#"check if action("read")"#);
    let appended_block = tampered(&after_seal, |b| {
        b.proof = prost::Message::decode(sealed.bytes()).map(|sealed: schema::Biscuit| sealed.proof).unwrap();
    });
    let two = appended_code(&appended_code(&good(), r#"check if action("read")"#), r#"check if method("GET")"#);
    let other = minted(&Authority { id: writ::id::BlockId::from_bytes([0xa1; 16]), ..authority() });
    let other_hop = delegated(&other, 1, &new_hop(2));
    let spliced = tampered(&hopped(), |b| {
        let foreign: schema::Biscuit = prost::Message::decode(other_hop.bytes()).unwrap();
        b.blocks = foreign.blocks;
        b.proof = foreign.proof;
    });
    let legacy = tampered(&hopped(), |b| b.blocks[0].version = None);
    vec![
        Case::with_bytes(
            "a flipped bit in the authority block is refused",
            &tampered(&good(), |b| {
                let last = b.authority.block.len() - 1;
                b.authority.block[last] ^= 1;
            }),
        )
        .denied("token_signature"),
        Case::with_bytes(
            "a token without its last block is refused",
            &tampered(&appended_code(&good(), r#"check if action("nothing")"#), |b| {
                b.blocks.pop();
            }),
        )
        .denied("token_signature"),
        Case::with_bytes("two blocks in the other order are refused", &tampered(&two, |b| b.blocks.reverse()))
            .denied("token_signature"),
        Case::with_bytes("a block repeated is refused", &tampered(&two, |b| b.blocks.insert(0, b.blocks[0].clone())))
            .denied("token_signature"),
        Case::with_bytes("a hop copied from another token is refused", &spliced).by(2).denied("token_signature"),
        Case::with_bytes("a hop of signature version 0 is refused", &legacy).by(2).denied("token_malformed"),
        Case::with_bytes(
            "a signature with a scalar that is not reduced is refused",
            &tampered(&good(), |b| b.authority.signature = malleated(&b.authority.signature)),
        )
        .denied("token_signature"),
        Case::with_bytes(
            "a signature with a point of small order is refused",
            &tampered(&good(), |b| {
                b.authority.signature[..32].copy_from_slice(&[[1].as_slice(), &[0; 31]].concat());
                b.authority.signature[32..].fill(0);
            }),
        )
        .denied("token_signature"),
        Case::with_bytes(
            "a signature with a point of mixed order is refused",
            &tampered(&good(), |b| {
                let signed = [b.authority.block.as_slice(), &0i32.to_le_bytes(), &b.authority.next_key.key].concat();
                b.authority.signature = with_mixed_order(&root(), &signed);
            }),
        )
        .denied("token_signature"),
        Case::with_bytes("a P-256 key is refused", &tampered(&good(), |b| b.authority.next_key = p256_key))
            .denied("token_malformed"),
        Case::with_bytes(
            "a hop signed by a P-256 key is refused",
            &signed(&good(), &p256.private(), biscuit_auth::builder::BlockBuilder::new().code(hop_facts(2)).unwrap()),
        )
        .by(2)
        .denied("token_malformed"),
        Case::with_bytes("a key of small order is refused", &tampered(&good(), |b| b.authority.next_key = small_order))
            .denied("token_malformed"),
        Case::new("a sealed token is allowed what it names", &sealed).allowed(),
        Case::with_bytes("a block appended to a sealed token is refused", &appended_block).denied("token_signature"),
    ]
}

fn encodings() -> Vec<Vector> {
    let text = minted(&authority()).text().to_owned();
    let unknown_field = [good().as_slice(), &[0x78, 0x01]].concat();
    let in_block = resigned(&good(), &root(), |payload| payload.extend_from_slice(&[0x78, 0x01]));
    vec![
        Case::with_text("a padded text is refused", &format!("{text}=")).denied("token_malformed"),
        Case::with_text("a text in the other base64 alphabet is refused", &text.replacen(['-', '_'], "+", 1))
            .denied("token_malformed"),
        Case::with_text("an empty text is refused", "").denied("token_malformed"),
        Case::with_bytes("a truncated token is refused", &good()[..good().len() - 7]).denied("token_malformed"),
        Case::with_bytes("an unknown field in the container is refused", &unknown_field).denied("token_malformed"),
        Case::with_bytes("an unknown field in a block is refused", &in_block).denied("token_malformed"),
        Case::with_bytes(
            "a signature version written out as 0 is refused",
            &tampered(&good(), |b| b.authority.version = Some(0)),
        )
        .denied("token_malformed"),
    ]
}

fn sizes() -> Vec<Vector> {
    let mut seven_blocks = good();
    for _ in 0..6 {
        seven_blocks = appended_code(&seven_blocks, r#"check if action("read")"#);
    }
    let grants = |count: u8| (0..count).map(|i| format!("grant(hex:{});\n", hex::encode([i; 16]))).collect::<String>();
    let checks = |count| "check if action(\"read\");\n".repeat(count);
    let capabilities = (0..16).map(|i| format!("capability(\"notes\", \"a{i}\", \"/\");\n")).collect::<String>();
    let queries = vec![r#"action("read")"#; 17].join(" or ");
    let long = format!(r#"check if arg("a", "{}")"#, "x".repeat(513));
    vec![
        Case::with_text("a text of more than 8192 bytes is refused", &"A".repeat(8193)).denied("token_too_large"),
        Case::with_bytes("a token of seven blocks is refused", &seven_blocks).denied("token_too_large"),
        Case::with_bytes("a block of 64 facts is allowed", &stated(&[], &grants(52))).allowed(),
        Case::with_bytes("a block of 65 facts is refused", &stated(&[], &grants(53))).denied("token_too_large"),
        Case::with_bytes("a block of 17 checks is refused", &appended_code(&good(), &checks(17)))
            .denied("token_too_large"),
        Case::with_bytes("a token of 17 capabilities is refused", &stated(&[], &capabilities))
            .denied("token_too_large"),
        Case::with_bytes(
            "a check of 17 alternatives is refused",
            &appended_code(&good(), &format!("check if {queries}")),
        )
        .denied("token_profile"),
        Case::with_bytes("a string of 513 bytes is refused", &appended_code(&good(), &long)).denied("token_profile"),
    ]
}

fn facts() -> Vec<Vector> {
    let stated_case = |fact: &str, replaced: (&str, &str)| Case::with_bytes(fact, &stated(&[replaced], ""));
    let stated_denied = |fact: &str, replaced| stated_case(fact, replaced).denied("token_profile");
    let exp = |secs| {
        let block = BiscuitBuilder::new();
        let facts = AUTHORITY_FACTS.iter().chain(&["epoch(12)"]).filter(|fact| !fact.starts_with("exp"));
        let block = facts.fold(block, |block, fact| block.fact(*fact).unwrap());
        signed_by_root(block.fact(Fact::new("exp".to_owned(), vec![Term::Date(secs)])).unwrap())
    };
    vec![
        Case::with_bytes("an authority block written by biscuit-auth is allowed what it names", &stated(&[], ""))
            .allowed(),
        stated_denied("another version of the profile is refused", ("writ", "writ(2)")),
        stated_denied("an authority block without an id is refused", ("id", "")),
        stated_denied("an id of 15 bytes is refused", ("id", "id(hex:a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0)")),
        stated_denied("an authority block without exp is refused", ("exp", "")),
        stated_denied("an exp that is an integer is refused", ("exp", "exp(1795003600)")),
        stated_denied("an exp that is negative is refused", ("exp", "exp(-1)")),
        Case::with_bytes("an exp of zero is refused", &exp(0)).denied("token_profile"),
        Case::with_bytes("an exp in milliseconds is refused", &exp(1_795_003_600_000)).denied("token_profile"),
        Case::with_bytes("an exp beyond 2 to the 53rd is refused", &exp((1 << 53) + 1)).denied("token_profile"),
        stated_denied(
            "an authority block with two issuers is refused",
            ("issuer", r#"issuer("https://authority.example"); issuer("https://other.example")"#),
        ),
        stated_denied(
            "a fact that stands twice is refused",
            ("capability", r#"capability("notes", "/", "team"); capability("notes", "/", "team")"#),
        ),
        stated_denied("an unknown fact in the authority block is refused", ("epoch", r#"epoch(12); role("admin")"#)),
        stated_denied("a max_depth of 16 is refused", ("max_depth", "max_depth(16)")),
        stated_denied("a negative max_depth is refused", ("max_depth", "max_depth(-1)")),
        stated_denied("a negative epoch is refused", ("epoch", "epoch(-1)")),
        stated_denied(
            "a holder key of 31 bytes is refused",
            ("cnf", "cnf(hex:00112233445566778899aabbccddeeff00112233445566778899aabbccddee)"),
        ),
        stated_denied(
            "a holder key of small order is refused",
            ("cnf", "cnf(hex:0100000000000000000000000000000000000000000000000000000000000000)"),
        ),
        stated_denied("a capability with a glob is refused", ("capability", r#"capability("notes", "*", "team")"#)),
        stated_denied(
            "a capability that climbs is refused",
            ("capability", r#"capability("notes", "read", "team/..")"#),
        ),
        stated_denied(
            "a capability with an empty segment is refused",
            ("capability", r#"capability("notes", "read", "team//a")"#),
        ),
        stated_denied("an agent name that could deceive is refused", ("agent", "agent(\"assistant\u{202e}\")")),
        stated_denied("an nbf after exp is refused", ("nbf", "nbf(2026-11-18T12:06:41Z)")),
        stated_case("a token without capabilities is allowed nothing", ("capability", "")).denied("no_capability"),
        stated_case("a check in the authority block must pass", ("epoch", r#"epoch(12); check if method("GET")"#))
            .allowed(),
    ]
}

fn times() -> Vec<Vector> {
    let token = minted(&authority());
    let end = |millis| Timestamp::from_millis(at(3600).millis() + millis);
    vec![
        Case::new("a token is valid in the first second of nbf", &token).at(0).allowed(),
        Case::new("a token is not valid a second before nbf", &token).at(-1).denied("token_not_yet"),
        Case::new("a token is valid in the last millisecond of the second exp", &token).at_time(end(999)).allowed(),
        Case::new("a token is not valid in the second after exp", &token).at_time(end(1000)).denied("token_expired"),
    ]
}

fn bearers() -> Vec<Vector> {
    let bearer = minted(&Authority { holder: None, ..authority() });
    let hop = signed_code(bearer.bytes(), 1, &hop_facts(2));
    vec![
        Case::new("a bound token as a bearer token is refused", &minted(&authority()))
            .bearer(true)
            .denied("token_downgrade"),
        Case::new("a bearer writ is refused where the operator did not allow it", &bearer)
            .bearer(false)
            .denied("token_bearer_refused"),
        Case::new("a bearer writ is allowed where the operator says so", &bearer).bearer(true).allowed(),
        Case::new("a bearer writ with a proof by anybody is refused", &bearer).denied("proof_key"),
        Case::with_bytes("a bearer writ cannot be delegated", &hop).by(2).denied("token_holder"),
    ]
}
