//! Which tokens identify a user: everything of J1, J2 and J13 that can be seen on the token itself.

use std::sync::Arc;

use serde_json::{Value, json};
use writ::clock::{Clock, ManualClock};
use writ::id::TenantName;
use writ::identity::{IdentityError, Providers, TokenKind, VerifiedIdentity};

use crate::identity::jose::{Key, sign_with_secret};
use crate::identity::provider::TestProvider;
use crate::support::authority::START;

pub(crate) fn tenant() -> TenantName {
    "default".parse().unwrap()
}

/// The claims of an ID token for `alice`, some replaced; `null` leaves one out.
pub(crate) fn claims(provider: &TestProvider, replaced: &Value) -> Value {
    let now = START.secs();
    let mut claims = json!({
        "iss": provider.issuer, "aud": "app", "sub": "alice", "iat": now - 5, "auth_time": now - 60, "exp": now + 600,
        "sid": "session-1", "groups": ["staff", "finance"], "nonce": "n", "at_hash": "h",
    });
    for (name, value) in replaced.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

struct Test {
    provider: TestProvider,
    providers: Providers,
    clock: Arc<ManualClock>,
}

impl Test {
    async fn start(keys: &[&Key], more: &str) -> Self {
        let provider = TestProvider::start(keys).await;
        let clock = Arc::new(ManualClock::at(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let providers = Providers::open(&[provider.terms("corp", more)], &shared).unwrap();
        Self { provider, providers, clock }
    }

    async fn verify(&self, token: &str, kind: TokenKind) -> Result<VerifiedIdentity, IdentityError> {
        self.providers.verify(&tenant(), token, kind, self.clock.now()).await
    }

    /// Why an ID token is refused.
    async fn refusal(&self, token: &str, kind: TokenKind) -> String {
        match self.verify(token, kind).await {
            Err(IdentityError::Refused(why)) => why.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

const RS256: &str = "RS256";

fn id_header() -> Value {
    json!({ "alg": RS256, "typ": "JWT" })
}

#[tokio::test]
async fn an_id_token_says_who_the_user_is() {
    let key = Key::make("RSA", "1");
    let test = Test::start(&[&key], "").await;
    let token = key.sign(&id_header(), &claims(&test.provider, &json!({})));
    let alice = test.verify(&token, TokenKind::Id).await.unwrap();
    assert_eq!((alice.subject().as_str(), alice.provider().as_str()), ("alice", "corp"));
    assert_eq!(alice.session().unwrap().as_str(), "session-1");
    assert_eq!(alice.groups().iter().map(|group| group.as_str()).collect::<Vec<_>>(), ["staff", "finance"]);
    assert_eq!(alice.expires().secs(), START.secs() + 600);
}

#[tokio::test]
async fn the_settings_say_which_claim_is_what_and_what_stands_before_a_name() {
    let key = Key::make("P-256", "1");
    let more = "user_claim = \"email\"\ngroups_claim = \"roles\"\nuser_prefix = \"corp:\"";
    let test = Test::start(&[&key], more).await;
    let replaced = json!({ "email": "alice@corp.example", "roles": ["boss"] });
    let token = key.sign(&json!({ "alg": "ES256" }), &claims(&test.provider, &replaced));
    let alice = test.verify(&token, TokenKind::Id).await.unwrap();
    assert_eq!(alice.subject().as_str(), "corp:alice@corp.example");
    assert_eq!(alice.session().unwrap().as_str(), "corp:session-1");
    assert_eq!(alice.groups()[0].as_str(), "boss");
}

#[tokio::test]
async fn every_algorithm_of_the_list_counts_with_a_key_made_for_it_and_no_other_does() {
    let all = "algorithms = [\"RS256\", \"RS384\", \"RS512\", \"PS256\", \"PS384\", \"PS512\", \"ES256\", \"ES384\", \"EdDSA\"]";
    let keys = ["RSA", "P-256", "P-384", "Ed25519"].map(|kind| Key::make(kind, kind));
    let test = Test::start(&keys.each_ref(), all).await;
    let few = Test::start(&keys.each_ref(), "algorithms = [\"ES256\"]").await;
    let by = |kid: &str| keys.iter().find(|key| key.kid == kid).unwrap();
    for (alg, kid) in [
        ("RS256", "RSA"),
        ("RS384", "RSA"),
        ("RS512", "RSA"),
        ("PS256", "RSA"),
        ("PS384", "RSA"),
        ("PS512", "RSA"),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
        ("EdDSA", "Ed25519"),
        ("Ed25519", "Ed25519"),
    ] {
        let signed = |provider| by(kid).sign(&json!({ "alg": alg }), &claims(provider, &json!({})));
        test.verify(&signed(&test.provider), TokenKind::Id).await.unwrap_or_else(|error| panic!("{alg}: {error}"));
        assert_eq!(few.verify(&signed(&few.provider), TokenKind::Id).await.is_ok(), alg == "ES256", "{alg}");
    }
    // Without `kid` every key of the kind is tried.
    let unnamed = by("RSA").sign_exactly(&id_header(), &claims(&test.provider, &json!({})));
    test.verify(&unnamed, TokenKind::Id).await.unwrap();
}

#[tokio::test]
async fn a_key_that_says_its_algorithm_signs_by_no_other() {
    let mut key = Key::make("RSA", "1");
    key.public["alg"] = json!("RS256");
    let test = Test::start(&[&key], "").await;
    let signed = |alg: &str| key.sign(&json!({ "alg": alg }), &claims(&test.provider, &json!({})));
    test.verify(&signed("RS256"), TokenKind::Id).await.unwrap();
    assert!(test.refusal(&signed("PS256"), TokenKind::Id).await.contains("no key of provider"));
}

#[tokio::test]
async fn claims_that_do_not_fit_identify_nobody() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "login_age_max_s = 3600").await;
    let now = START.secs();
    for (replaced, word) in [
        (json!({ "aud": "other" }), "client_ids"),
        (json!({ "aud": null }), "aud"),
        (json!({ "aud": [] }), "aud"),
        (json!({ "aud": 7 }), "aud"),
        (json!({ "aud": ["app", "other"], "azp": "app" }), "client_ids"),
        (json!({ "aud": ["app", "app"] }), "azp"),
        (json!({ "azp": "other" }), "azp"),
        (json!({ "azp": 7 }), "azp"),
        (json!({ "aud": "https://writ.example" }), "client_ids"),
        (json!({ "iss": "https://elsewhere.example" }), "iss"),
        (json!({ "iss": null }), "iss"),
        (json!({ "iss": format!("{}/", test.provider.issuer) }), "iss"),
        (json!({ "exp": now }), "expired"),
        (json!({ "exp": now - 1 }), "expired"),
        (json!({ "exp": 1_800_000_000.9 }), "expired"),
        (json!({ "exp": null }), "exp"),
        (json!({ "exp": -1 }), "exp"),
        (json!({ "exp": 1e18 }), "exp"),
        (json!({ "exp": format!("{}", now + 600) }), "exp"),
        (json!({ "iat": null }), "iat"),
        (json!({ "iat": now + 11 }), "future"),
        (json!({ "iat": now - 3601 }), "older"),
        (json!({ "nbf": now + 11 }), "future"),
        (json!({ "auth_time": null }), "auth_time"),
        (json!({ "auth_time": now - 3601 }), "log in again"),
        (json!({ "auth_time": now + 11 }), "future"),
        (json!({ "sub": null }), "sub"),
        (json!({ "sub": "" }), "sub"),
        (json!({ "sub": 7 }), "sub"),
        (json!({ "sub": "a\u{202e}b" }), "sub"),
        (json!({ "sub": "a".repeat(256) }), "sub"),
        (json!({ "sid": 7 }), "sid"),
        (json!({ "groups": "admin" }), "groups"),
        (json!({ "groups": ["a", 7] }), "groups"),
        (json!({ "act": { "sub": "other" } }), "act"),
        (json!({ "events": {} }), "event"),
        (json!({ "typ": "Bearer" }), "ID token"),
        (json!({ "typ": "Refresh" }), "ID token"),
        (json!({ "cnf": {} }), "cnf"),
        (json!({ "may_act": {} }), "may_act"),
    ] {
        let token = key.sign(&json!({ "alg": "ES256" }), &claims(&test.provider, &replaced));
        let refusal = test.refusal(&token, TokenKind::Id).await;
        assert!(refusal.contains(word), "{replaced}: {refusal}");
    }
    for accepted in [
        json!({ "aud": ["app"] }),
        json!({ "iat": now + 10, "nbf": now + 10 }),
        json!({ "exp": now + 1 }),
        json!({ "exp": 1_800_000_001.1, "iat": 1_800_000_010.9, "auth_time": 1_799_999_940.5 }),
        json!({ "typ": "ID", "sid": null, "groups": null }),
    ] {
        let token = key.sign(&json!({ "alg": "ES256" }), &claims(&test.provider, &accepted));
        test.verify(&token, TokenKind::Id).await.unwrap_or_else(|error| panic!("{accepted}: {error}"));
    }
}

#[tokio::test]
async fn groups_that_a_token_only_points_to_are_none() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "").await;
    let overage = json!({ "groups": null, "_claim_names": { "groups": "src1" },
                          "_claim_sources": { "src1": { "endpoint": "https://graph.example/groups" } } });
    let token = key.sign(&json!({ "alg": "ES256" }), &claims(&test.provider, &overage));
    assert!(test.verify(&token, TokenKind::Id).await.unwrap().groups().is_empty());
}

#[tokio::test]
async fn a_header_that_would_choose_the_check_is_refused() {
    let key = Key::make("RSA", "1");
    let test = Test::start(&[&key], "").await;
    let good = claims(&test.provider, &json!({}));
    for header in [
        json!({ "alg": RS256, "jku": "https://evil.example/jwks" }),
        json!({ "alg": RS256, "x5u": "https://evil.example/cert" }),
        json!({ "alg": RS256, "jwk": key.public }),
        json!({ "alg": RS256, "x5c": ["AAAA"] }),
        json!({ "alg": RS256, "crit": ["kid"], "kid": "1" }),
        json!({ "alg": "RS384" }),
        json!({ "alg": RS256, "kid": "2" }),
        json!({ "alg": RS256, "kid": "" }),
        json!({ "alg": RS256, "kid": "a".repeat(300) }),
    ] {
        let token = key.sign_exactly(&header, &good);
        test.refusal(&token, TokenKind::Id).await;
    }
    let modulus = key.public["n"].as_str().unwrap();
    for (secret, alg) in [(modulus, "HS256"), ("", "none"), ("x", "none")] {
        let secret = if secret.is_empty() { "y" } else { secret };
        test.refusal(&sign_with_secret(secret, &json!({ "alg": alg, "kid": "1" }), &good), TokenKind::Id).await;
    }
}

#[tokio::test]
async fn one_kind_of_token_does_not_pass_for_another() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "").await;
    let id = claims(&test.provider, &json!({}));
    let access = claims(&test.provider, &json!({ "aud": "https://writ.example", "client_id": "app" }));
    let signed = |typ: &str, claims: &Value| key.sign(&json!({ "alg": "ES256", "typ": typ }), claims);
    test.verify(&signed("jwt", &id), TokenKind::Id).await.unwrap();
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT"] {
        test.verify(&signed(typ, &access), TokenKind::Access).await.unwrap();
        test.refusal(&signed(typ, &access), TokenKind::Id).await;
        test.refusal(&signed(typ, &id), TokenKind::Id).await;
        test.refusal(&signed(typ, &id), TokenKind::Access).await;
    }
    for typ in ["dpop+jwt", "oauth-id-jag+jwt", "logout+jwt", "secevent+jwt", "client-authentication+jwt", ""] {
        test.refusal(&signed(typ, &id), TokenKind::Id).await;
        test.refusal(&signed(typ, &access), TokenKind::Access).await;
    }
    test.refusal(&signed("JWT", &access), TokenKind::Access).await;
    test.refusal(&key.sign(&json!({ "alg": "ES256" }), &access), TokenKind::Access).await;
    test.refusal(
        &signed("at+jwt", &claims(&test.provider, &json!({ "aud": ["https://writ.example", "b"] }))),
        TokenKind::Access,
    )
    .await;
}

#[tokio::test]
async fn text_that_is_no_token_is_refused() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "").await;
    let good = key.sign(&json!({ "alg": "ES256" }), &claims(&test.provider, &json!({})));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let flipped: String = signature.chars().rev().collect();
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        signed,
        &format!("{signed}."),
        &format!("{good}="),
        &format!("{good}."),
        &format!("{good} "),
        &format!("\n{good}"),
        &format!("{signed}.{flipped}"),
        &format!("{payload}.{header}.{signature}"),
        &"a".repeat(20_000),
    ] {
        test.refusal(text, TokenKind::Id).await;
    }
    let twice = format!("{{\"sub\":\"mallory\",{}", &claims(&test.provider, &json!({})).to_string()[1..]);
    for payload in [&*twice, "[]", "null", "{} {}"] {
        test.refusal(&key.sign_text(&json!({ "alg": "ES256", "kid": "1" }), payload), TokenKind::Id).await;
    }
    test.verify(&good, TokenKind::Id).await.unwrap();
}

#[tokio::test]
async fn a_key_id_that_two_providers_use_counts_for_each_ones_own_tokens_only() {
    let (ours, theirs) = (Key::make("RSA", "same"), Key::make("RSA", "same"));
    let (one, two) = (TestProvider::start(&[&ours]).await, TestProvider::start(&[&theirs]).await);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
    let settings =
        [one.terms("corp", "user_prefix = \"corp:\""), two.terms("partner", "user_prefix = \"partner:\""), {
            let mut elsewhere = two.terms("elsewhere", "");
            elsewhere.tenant = "other".parse().unwrap();
            elsewhere
        }];
    let providers = Providers::open(&settings, &clock).unwrap();
    let verify = async |key: &Key, claimed: &TestProvider, tenant: &TenantName| {
        let token = key.sign(&id_header(), &claims(claimed, &json!({})));
        providers.verify(tenant, &token, TokenKind::Id, START).await.map(|user| user.subject().to_string())
    };
    assert_eq!(verify(&ours, &one, &tenant()).await.unwrap(), "corp:alice");
    assert_eq!(verify(&theirs, &two, &tenant()).await.unwrap(), "partner:alice");
    assert_eq!(verify(&theirs, &two, &"other".parse().unwrap()).await.unwrap(), "alice");
    // Signed by one, said to be by the other; and a provider that does not speak for the tenant.
    assert!(verify(&ours, &two, &tenant()).await.is_err());
    assert!(verify(&theirs, &one, &tenant()).await.is_err());
    assert!(verify(&ours, &one, &"other".parse().unwrap()).await.is_err());
}
