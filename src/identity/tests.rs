//! Nothing that a stranger sends makes a reader panic.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::config::authority::AuthorityConfig;
use crate::config::identity::{ProviderTerms, WorkloadTerms};
use crate::identity::dangerous_kinds;
use crate::identity::jws::IdentityToken;
use crate::identity::keys::{KeySet, KeyUse};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn terms() -> (ProviderTerms, WorkloadTerms) {
    let sample = include_str!("../../samples/authority.toml");
    let provider = "[[identity.provider]]\nname = \"corp\"\nissuer = \"https://i\"\nclient_ids = [\"app\"]\n";
    let text = format!(
        "{sample}\n{provider}audiences = [\"api\"]\n\
         [identity.provider.signals]\naudiences = [\"api\"]\n\
         [[identity.workload]]\nname = \"ci\"\nissuer = \"https://i\"\naudiences = [\"ci\"]\n"
    );
    let mut terms = AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms;
    (terms.providers.remove(0), terms.workloads.remove(0))
}

/// Everything that can be read out of a text, without a panic.
fn read_all(text: &str) {
    // No token passes for two kinds.
    let (provider, workloads) = terms();
    assert!(dangerous_kinds(text, &provider, &workloads, "https://writ", NOW) <= 1);
    let Ok(token) = IdentityToken::parse(text) else { return };
    let jwk = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    // It is nobody's key.
    assert!(!KeySet::parse(jwk.as_bytes(), KeyUse::Signatures).unwrap().signed(&token));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (NOW.secs() - 100..NOW.secs() + 100).prop_map(Value::from),
        prop_oneof![
            Just("app"),
            Just("api"),
            Just("ci"),
            Just("https://i"),
            Just("JWT"),
            Just("at+jwt"),
            Just("EdDSA"),
            Just("")
        ]
        .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(proptest::sample::select(names), any_value(), 0..names.len())
        .prop_map(|map| json!(map))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        read_all(&text);
        read_all(&parts);
    }

    #[test]
    fn no_claims_make_the_reader_panic(
        header in object(&["alg", "typ", "kid", "crit"]),
        claims in object(&["iss", "sub", "aud", "azp", "exp", "iat", "nbf", "auth_time", "sid", "groups", "events", "nonce",
                           "jti", "act", "may_act", "cnf", "typ", "client_id", "scope", "resource", "sub_id"]),
        good in any::<bool>(),
        of_workload in any::<bool>(),
    ) {
        let mut claims = claims;
        let mut header = header;
        if good {
            header = json!({ "alg": "EdDSA" });
            let aud = if of_workload { "ci" } else { "app" };
            for (name, value) in [("iss", json!("https://i")), ("aud", json!(aud)), ("exp", json!(NOW.secs() + 9))] {
                claims[name] = value;
            }
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        read_all(&format!("{}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode([7; 64])));
    }

    #[test]
    fn no_bytes_make_the_key_reader_panic(bytes: Vec<u8>, key in object(&["kty", "crv", "x", "y", "n", "e", "alg", "use", "kid", "key_ops"])) {
        let _ = KeySet::parse(&bytes, KeyUse::Signatures);
        let _ = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes(), KeyUse::Signatures);
    }
}
