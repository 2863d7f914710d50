//! Proofs as their makers make them, and those at the token endpoint, where there is no token yet.

use std::time::Duration;

use proptest::prelude::*;
use writ::clock::Timestamp;
use writ::key::sha256;
use writ::token::TokenDigest;
use writ::token::chain::ProofCovers;
use writ::token::proof::{AGE_S_MAX, AHEAD_S_MAX, NonceRule, Proof, ProofError, ProvenRequest, check, make};

use crate::tokens::*;

const TOKEN: TokenDigest = TokenDigest([4; 32]);
const REQUEST: ProvenRequest<'_> =
    ProvenRequest { method: "POST", url: "https://authority.example/token", query: None, body_sha256: None };

fn made(token: Option<TokenDigest>, jti: u8) -> String {
    make(&pair(1), &REQUEST, token, ProofCovers::default(), None, &[jti; 16], at(0))
}

fn checked(proof: &str, token: Option<TokenDigest>, now: Timestamp) -> Result<Proof, ProofError> {
    check(proof, None, &REQUEST, token, ProofCovers::default(), NonceRule::Optional, now).map(|(_, proof)| proof)
}

#[test]
fn without_a_token_a_proof_says_which_key_made_it_and_names_no_token() {
    let (key, _) =
        check(&made(None, 1), None, &REQUEST, None, ProofCovers::default(), NonceRule::Optional, at(0)).unwrap();
    assert_eq!(key, public(1));
    assert_eq!(checked(&made(Some(TOKEN), 1), None, at(0)), Err(ProofError::Mismatch("`ath`")));
    assert_eq!(checked(&made(None, 1), Some(TOKEN), at(0)), Err(ProofError::Mismatch("`ath`")));
}

#[test]
fn a_proof_is_named_by_its_key_and_jti_and_by_nothing_else() {
    let id = |proof: &str| checked(proof, None, at(0)).unwrap().id;
    let later = make(&pair(1), &REQUEST, None, ProofCovers::default(), Some("n"), &[1; 16], at(3));
    let other_key = make(&pair(2), &REQUEST, None, ProofCovers::default(), None, &[1; 16], at(0));
    assert_eq!(id(&made(None, 1)), id(&later));
    assert_ne!(id(&made(None, 1)), id(&made(None, 2)));
    assert_ne!(id(&made(None, 1)), id(&other_key));
}

#[test]
fn a_proof_is_remembered_as_long_as_a_replay_of_it_would_be_in_time() {
    let proof = made(None, 1);
    let until = checked(&proof, None, at(0)).unwrap().replayable_until;
    assert!(checked(&proof, None, until).is_ok());
    assert_eq!(checked(&proof, None, until.after(Duration::from_millis(1))), Err(ProofError::Time));
}

#[test]
fn a_proof_is_refused_in_whole_or_not_at_all() {
    let proof = made(Some(TOKEN), 1);
    for end in 0..proof.len() {
        assert!(checked(&proof[..end], Some(TOKEN), at(0)).is_err(), "{end}");
    }
    for offset in 0..proof.len() {
        let mut changed = proof.clone();
        changed.replace_range(offset..=offset, if &proof[offset..=offset] == "A" { "B" } else { "A" });
        assert!(checked(&changed, Some(TOKEN), at(0)).is_err(), "{offset}");
    }
}

proptest! {
    #[test]
    fn a_proof_made_for_a_request_is_accepted_for_it_and_for_no_other(
        path in "[a-z/]{0,12}", query in proptest::option::of("[a-z=&]{0,8}"), body in "[a-z]{0,8}",
        age in -AHEAD_S_MAX..=AGE_S_MAX, nonce in "[a-z]{1,8}", jti: [u8; 16],
    ) {
        let url = format!("https://edge.example/{path}");
        let covers = ProofCovers { query: true, body: true };
        let body_sha256 = Some(sha256(body.as_bytes()));
        let request = ProvenRequest { method: "PUT", url: &url, query: query.as_deref(), body_sha256 };
        let proof = make(&pair(1), &request, Some(TOKEN), covers, Some(&nonce), &jti, at(0));
        let ask = |request: &ProvenRequest<'_>, nonces: &[&str]| {
            check(&proof, Some(&public(1)), request, Some(TOKEN), covers, NonceRule::OneOf(nonces), at(age)).map(|_| ())
        };
        prop_assert_eq!(ask(&request, &[&nonce]), Ok(()));
        prop_assert_eq!(ask(&request, &["Other"]), Err(ProofError::Nonce));
        let longer = format!("{url}x");
        for other in [
            ProvenRequest { method: "POST", ..request },
            ProvenRequest { url: &longer, ..request },
            ProvenRequest { query: Some("other!"), ..request },
            ProvenRequest { body_sha256: Some([0; 32]), ..request },
            ProvenRequest { body_sha256: None, ..request },
        ] {
            prop_assert!(matches!(ask(&other, &[&nonce]), Err(ProofError::Mismatch(_))));
        }
    }
}
