//! Any bytes as a token: read, verified, shown and asked without a panic; and nothing unsigned is believed.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use writ::clock::Timestamp;
use writ::key::KeyPair;
use writ::token::inspect::{inspect, view};
use writ::token::verify::RootKey;
use writ::token::{Argument, Limits, Operation, RawToken, RootKeys, Value, verify};

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = RawToken::parse(text, &limits)
    {
        assert_eq!(token.text(), text);
    }
    let Ok(token) = RawToken::parse(&URL_SAFE_NO_PAD.encode(data), &limits) else { return };
    if let Ok(unverified) = inspect(&token, &limits) {
        let chain = unverified.claims();
        assert!(chain.blocks() <= limits.blocks_max && chain.hops().len() < chain.blocks());
        serde_json::to_string(&view(chain)).expect("a view serialises");
        let operation = Operation {
            service: "notes".parse().expect("a name"),
            action: "read/all".parse().expect("a path"),
            resource: "team/1".parse().expect("a path"),
            method: "GET".into(),
            arguments: vec![Argument { name: "amount".into(), value: Value::Integer(1) }],
        };
        for check in chain.checks() {
            check.passes(&operation, Timestamp::from_secs(1_795_000_060));
        }
    }
    // The corpus is signed by another root.
    let root = RootKey { id: 7, key: KeyPair::from_seed(&[0x5a; 32]).public(), until: None };
    assert!(verify(&token, &RootKeys { keys: vec![root] }, &limits).is_err());
});
