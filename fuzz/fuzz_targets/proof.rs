//! Any text as a proof: checked without a panic; and what is accepted is accepted for this request alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::clock::Timestamp;
use writ::token::TokenDigest;
use writ::token::chain::ProofCovers;
use writ::token::proof::{NonceRule, ProvenRequest, check};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let request =
        ProvenRequest { method: "GET", url: "https://edge.example/notes/team/1", query: None, body_sha256: None };
    let now = Timestamp::from_secs(1_795_000_060);
    let ask = |request: &ProvenRequest<'_>, token| {
        check(text, None, request, token, ProofCovers::default(), NonceRule::Optional, now)
    };
    for token in [None, Some(TokenDigest([7; 32]))] {
        if let Ok((key, proof)) = ask(&request, token) {
            assert_eq!(ask(&request, token), Ok((key, proof)));
            assert!(ask(&ProvenRequest { method: "POST", ..request }, token).is_err());
            assert!(ask(&ProvenRequest { url: "https://edge.example/notes/team/2", ..request }, token).is_err());
        }
    }
});
