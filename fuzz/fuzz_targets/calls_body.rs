//! JSON-RPC and GraphQL bodies: whatever is accepted is, written and read again, the same calls and fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use writ::catalog::{BodyKind, BodyRule};

fuzz_target!(|data: (bool, &str)| {
    let (is_graphql, text) = data;
    let kind = if is_graphql { BodyKind::Graphql } else { BodyKind::JsonRpc };
    let rule = BodyRule { kind, bytes_max: 1 << 20 };
    // A document alone as well, so that the fuzzer need not find the envelope.
    let enveloped = serde_json::json!({ "query": text }).to_string();
    for body in [text, &enveloped] {
        let Ok(Some(content)) = rule.parse(body.as_bytes()) else { continue };
        let written = content.to_bytes();
        let again = rule.parse(&written).expect("what is forwarded is accepted").expect("and is no empty body");
        assert_eq!(again.to_bytes(), written);
    }
});
