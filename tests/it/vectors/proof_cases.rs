//! Proofs of possession: whose, for what, how fresh, in which form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use writ::key::sha256;
use writ::token::RawToken;
use writ::token::chain::{Authority, ProofCovers};

use super::Vector;
use super::kit::*;
use crate::tokens::*;

pub(super) fn all() -> Vec<Vector> {
    [possession(), freshness(), request(), form(), covered(), nonces()].into_iter().flatten().collect()
}

fn case(fact: &str) -> Case {
    Case::new(fact, &minted(&authority()))
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()))
}

fn possession() -> Vec<Vector> {
    let parent = minted(&authority());
    let child = delegated(&parent, 1, &new_hop(2));
    vec![
        case("a bound token without a proof is refused").without_proof().denied("proof_missing"),
        case("a proof by another key is refused").by(4).denied("proof_key"),
        Case::new("a proof by an ancestor's key is refused", &child).by(1).denied("proof_key"),
        case("a proof that shows the holder's key but is signed by another is refused")
            .proof(|proof| {
                let x = URL_SAFE_NO_PAD.encode(public(1).as_bytes());
                proof.header.insert("jwk".to_owned(), json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
                proof.signer = Some(pair(4));
            })
            .denied("proof_signature"),
        case("a proof without the hash of the token is refused").claim("ath", Value::Null).denied("proof_mismatch"),
        Case::new("a proof with the hash of the parent token is refused", &child)
            .by(2)
            .claim("ath", json!(hash(parent.text())))
            .denied("proof_mismatch"),
    ]
}

fn freshness() -> Vec<Vector> {
    let aged = |fact: &str, age: i64| case(fact).claim("iat", json!(NOW + 60 - age));
    vec![
        aged("a proof of 30 seconds ago is allowed", 30).allowed(),
        aged("a proof of 31 seconds ago is refused", 31).denied("proof_time"),
        aged("a proof 5 seconds ahead is allowed", -5).allowed(),
        aged("a proof 6 seconds ahead is refused", -6).denied("proof_time"),
        case("an iat at the end of time is refused").claim("iat", json!(i64::MIN)).denied("proof_time"),
        case("an iat with a fraction is refused").claim("iat", json!(1_795_000_060.5)).denied("proof_malformed"),
        case("an iat that is a text is refused").claim("iat", json!("1795000060")).denied("proof_malformed"),
        case("a proof without an iat is refused").claim("iat", Value::Null).denied("proof_malformed"),
        case("an empty jti is refused").claim("jti", json!("")).denied("proof_malformed"),
        case("a jti of 256 bytes is allowed").claim("jti", json!("j".repeat(256))).allowed(),
        case("a jti of 257 bytes is refused").claim("jti", json!("j".repeat(257))).denied("proof_malformed"),
        case("a jti that is a number is refused").claim("jti", json!(1)).denied("proof_malformed"),
    ]
}

fn request() -> Vec<Vector> {
    let htu = |fact: &str, htu: &str| case(fact).claim("htu", json!(htu));
    let denied = |fact: &str, url: &str| htu(fact, url).denied("proof_mismatch");
    vec![
        case("a proof for another method is refused").claim("htm", json!("POST")).denied("proof_mismatch"),
        case("a proof for the method in lower case is refused").claim("htm", json!("get")).denied("proof_mismatch"),
        denied("a proof for another path is refused", "https://edge.example/notes/team/2"),
        denied("a proof for another host is refused", "https://edge.example.org/notes/team/1"),
        denied("a proof for another scheme is refused", "http://edge.example/notes/team/1"),
        denied("a proof for another port is refused", "https://edge.example:8443/notes/team/1"),
        denied("a proof for the port of another scheme is refused", "https://edge.example:80/notes/team/1"),
        denied("an htu with a query is refused", "https://edge.example/notes/team/1?a=1"),
        denied("an htu with a fragment is refused", "https://edge.example/notes/team/1#a"),
        denied("an htu with a user is refused", "https://user@edge.example/notes/team/1"),
        denied("an htu that is a path is refused", "/notes/team/1"),
        denied("an htu that needs dots removed is refused", "https://edge.example/notes/x/../team/1"),
        denied("an htu with an escape for a plain letter is refused", "https://edge.example/notes/te%61m/1"),
        denied("an htu with the path in another case is refused", "https://edge.example/notes/Team/1"),
        htu("an htu with the default port is allowed", "https://edge.example:443/notes/team/1").allowed(),
        htu("an htu with scheme and host in upper case is allowed", "HTTPS://Edge.EXAMPLE/notes/team/1").allowed(),
    ]
}

fn form() -> Vec<Vector> {
    let jwk = |members: Value| {
        let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public(1).as_bytes())});
        jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        jwk
    };
    let header = |fact: &str, name: &str, value: Value| case(fact).header(name, value).denied("proof_malformed");
    let claims = format!(
        r#"{{"jti":"a","htm":"POST","htm":"GET","htu":"https://edge.example/notes/team/1","iat":{},"ath":"{}"}}"#,
        NOW + 60,
        hash(minted(&authority()).text())
    );
    let trailing = claims.replace(r#""htm":"POST","#, "") + "{}";
    let spoiled = |fact: &str, spoil: fn(String) -> String| case(fact).proof(|proof| proof.spoil = spoil);
    vec![
        header("a proof that is not typed dpop+jwt is refused", "typ", json!("JWT")),
        header("a proof without a type is refused", "typ", Value::Null),
        header("a proof with the algorithm none is refused", "alg", json!("none")),
        header("a proof with the algorithm HS256 is refused", "alg", json!("HS256")),
        header("a proof with the algorithm RS256 is refused", "alg", json!("RS256")),
        header("a proof with critical headers is refused", "crit", json!(["exp"])),
        header("a proof with a key id is refused", "kid", json!("1")),
        header("a proof without a key is refused", "jwk", Value::Null),
        header("a proof with a private key is refused", "jwk", jwk(json!({"d": URL_SAFE_NO_PAD.encode([1; 32])}))),
        header("a proof with another curve is refused", "jwk", jwk(json!({"crv": "X25519"}))),
        header("a proof with a padded key is refused", "jwk", {
            jwk(json!({"x": URL_SAFE_NO_PAD.encode(public(1).as_bytes()) + "="}))
        }),
        header("a proof with a key of small order is refused", "jwk", {
            jwk(json!({"x": URL_SAFE_NO_PAD.encode([[1].as_slice(), &[0; 31]].concat())}))
        }),
        case("a claim that stands twice is refused")
            .proof(|proof| proof.claims_text = Some(claims))
            .denied("proof_malformed"),
        case("data after the claims is refused")
            .proof(|proof| proof.claims_text = Some(trailing))
            .denied("proof_malformed"),
        spoiled("a proof of two parts is refused", |text| text.rsplit_once('.').unwrap().0.to_owned())
            .denied("proof_malformed"),
        spoiled("a proof of four parts is refused", |text| text + ".e30").denied("proof_malformed"),
        spoiled("a padded proof is refused", |text| text + "==").denied("proof_malformed"),
        spoiled("two proofs in one header are refused", |text| format!("{text}, {text}")).denied("proof_malformed"),
        spoiled("a proof with an empty signature is refused", |text| text.rsplit_once('.').unwrap().0.to_owned() + ".")
            .denied("proof_malformed"),
        case("a proof of more than 2048 bytes is refused")
            .claim("extra", json!("x".repeat(2048)))
            .denied("proof_malformed"),
        case("a proof with a claim nobody asked for is allowed").claim("extra", json!({"a": 1})).allowed(),
    ]
}

fn covered() -> Vec<Vector> {
    let minted_with = |query, body| minted(&Authority { proof_covers: ProofCovers { query, body }, ..authority() });
    let query: RawToken = minted_with(true, false);
    let body: RawToken = minted_with(false, true);
    vec![
        Case::new("a proof that covers the query is allowed", &query)
            .query("a=1")
            .claim("htq", json!(hash("a=1")))
            .allowed(),
        Case::new("a proof that covers the absence of a query is allowed", &query)
            .claim("htq", json!(hash("")))
            .allowed(),
        Case::new("a proof that does not cover the query is refused where it must", &query)
            .query("a=1")
            .denied("proof_mismatch"),
        Case::new("a query changed under its proof is refused", &query)
            .query("a=2")
            .claim("htq", json!(hash("a=1")))
            .denied("proof_mismatch"),
        case("a query changed under a proof that need not cover it is refused")
            .query("a=2")
            .claim("htq", json!(hash("a=1")))
            .denied("proof_mismatch"),
        case("a proof need not cover the query unless the writ says so").query("a=1").allowed(),
        Case::new("a proof that covers the body is allowed", &body)
            .body("{}")
            .claim("bdh", json!(hash("{}")))
            .allowed(),
        Case::new("a proof that does not cover the body is refused where it must", &body)
            .body("{}")
            .denied("proof_mismatch"),
        Case::new("a body changed under its proof is refused", &body)
            .body("{ }")
            .claim("bdh", json!(hash("{}")))
            .denied("proof_mismatch"),
        Case::new("a body that nobody read is refused where the proof must cover it", &body)
            .claim("bdh", json!(hash("{}")))
            .denied("proof_mismatch"),
    ]
}

fn nonces() -> Vec<Vector> {
    vec![
        case("a proof with the nonce that is demanded is allowed")
            .nonces(&["n1", "n2"])
            .claim("nonce", json!("n2"))
            .allowed(),
        case("a proof without the nonce that is demanded is refused").nonces(&["n1"]).denied("proof_nonce"),
        case("a proof with a stale nonce is refused").nonces(&["n1"]).claim("nonce", json!("n0")).denied("proof_nonce"),
        case("a nonce that nobody demanded is ignored").claim("nonce", json!("n0")).allowed(),
    ]
}
