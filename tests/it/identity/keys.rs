//! Metadata and keys: fetched, kept, rotated, and every way in which a provider can misbehave (J11).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use writ::clock::{Clock, ManualClock, SystemClock};
use writ::identity::{IdentityError, Providers, TokenKind};

use crate::identity::jose::Key;
use crate::identity::provider::{Answer, TestProvider};
use crate::identity::tokens::{claims, tenant};
use crate::support::authority::START;

struct Test {
    provider: TestProvider,
    providers: Providers,
    clock: Arc<ManualClock>,
}

/// What became of a token.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Believed,
    Refused,
    Unavailable,
}

impl Test {
    async fn start(keys: &[&Key], more: &str) -> Self {
        let provider = TestProvider::start(keys).await;
        let clock = Arc::new(ManualClock::at(START));
        let shared: Arc<dyn Clock> = clock.clone();
        let providers = Providers::open(&[provider.terms("corp", more)], &shared).unwrap();
        Self { provider, providers, clock }
    }

    /// A fresh token by `key`, presented.
    async fn present(&self, key: &Key) -> Became {
        let now = self.clock.now().secs();
        let times = json!({ "iat": now, "auth_time": now, "exp": now + 60 });
        let token = key.sign(&json!({ "alg": "ES256" }), &claims(&self.provider, &times));
        self.present_as(&token, TokenKind::Id).await
    }

    async fn present_as(&self, token: &str, kind: TokenKind) -> Became {
        match self.providers.verify(&tenant(), token, kind, self.clock.now()).await {
            Ok(_) => Became::Believed,
            Err(IdentityError::Refused(_)) => Became::Refused,
            Err(IdentityError::Unavailable(provider)) => {
                assert_eq!(provider.as_str(), "corp");
                Became::Unavailable
            }
        }
    }
}

fn gone() -> Answer {
    Answer::Raw { status: 500, location: None, body: b"oops".to_vec() }
}

#[tokio::test]
async fn keys_are_fetched_when_the_first_token_comes_and_kept() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "").await;
    assert_eq!(test.provider.asked("/jwks"), 0);
    for _ in 0..3 {
        assert_eq!(test.present(&key).await, Became::Believed);
    }
    assert_eq!(test.provider.asked("/jwks"), 1);
}

#[tokio::test]
async fn many_tokens_at_once_ask_once() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "").await;
    let present = || test.present(&key);
    let all = tokio::join!(present(), present(), present(), present());
    assert_eq!(all, (Became::Believed, Became::Believed, Became::Believed, Became::Believed));
    assert_eq!(test.provider.asked("/jwks"), 1);
}

#[tokio::test]
async fn strangers_who_go_away_do_not_spoil_the_question_and_those_who_stay_do_not_hold_up_known_keys() {
    let (key, unknown) = (Key::make("P-256", "1"), Key::make("P-256", "2"));
    let test = Test::start(&[&key], "").await;
    assert_eq!(test.present(&key).await, Became::Believed);
    test.clock.advance(Duration::from_secs(5));
    test.provider.publishes(&[&key, &unknown]);
    // One who gives up at once: the question goes on without them.
    {
        let asking = test.present(&unknown);
        tokio::pin!(asking);
        while test.provider.asked("/.well-known/openid-configuration") < 2 {
            let _ = tokio::time::timeout(Duration::from_millis(1), &mut asking).await;
        }
    }
    assert_eq!(test.present(&unknown).await, Became::Believed);
    assert_eq!(test.provider.asked("/jwks"), 2);
    // A hundred who wait for a provider that says nothing.
    test.clock.advance(Duration::from_secs(5));
    test.provider.says_metadata(Answer::Silence);
    let nobody = Key::make("P-256", "3");
    let all = futures_util::future::join_all((0..100).map(|_| test.present(&nobody)));
    let known = async {
        while test.provider.asked("/.well-known/openid-configuration") < 3 {
            tokio::task::yield_now().await;
        }
        test.present(&key).await
    };
    tokio::pin!(all);
    tokio::select! {
        biased;
        became = known => assert_eq!(became, Became::Believed),
        _ = &mut all => panic!("a token by a known key had to wait for strangers"),
    }
    let unavailable = all.await.iter().filter(|became| **became == Became::Unavailable).count();
    assert_eq!(unavailable, 100 - 64, "those who found no place");
}

#[tokio::test]
async fn a_new_key_counts_at_once_and_junk_does_not_make_the_authority_ask_again_and_again() {
    let (old, new, newer) = (Key::make("P-256", "1"), Key::make("P-256", "2"), Key::make("P-256", "3"));
    let test = Test::start(&[&old], "").await;
    assert_eq!(test.present(&old).await, Became::Believed);
    test.clock.advance(Duration::from_secs(5));
    test.provider.publishes(&[&old, &new]);
    assert_eq!(test.present(&new).await, Became::Believed);
    assert_eq!(test.provider.asked("/jwks"), 2);
    for _ in 0..20 {
        assert_eq!(test.present(&newer).await, Became::Refused);
    }
    assert_eq!(test.provider.asked("/jwks"), 2);
    test.provider.publishes(&[&newer]);
    test.clock.advance(Duration::from_secs(5));
    assert_eq!(test.present(&newer).await, Became::Believed);
    // What was taken back counts no longer.
    assert_eq!(test.present(&old).await, Became::Refused);
}

#[tokio::test]
async fn a_key_with_the_same_name_replaces_the_one_before() {
    let (old, new) = (Key::make("P-256", "1"), Key::make("P-256", "1"));
    let test = Test::start(&[&old], "").await;
    assert_eq!(test.present(&old).await, Became::Believed);
    test.provider.publishes(&[&new]);
    test.clock.advance(Duration::from_secs(5));
    assert_eq!(test.present(&new).await, Became::Believed);
    assert_eq!(test.present(&old).await, Became::Refused);
}

#[tokio::test]
async fn a_key_that_was_taken_back_counts_as_long_as_keys_are_kept_and_no_longer() {
    let (old, new) = (Key::make("P-256", "1"), Key::make("P-256", "2"));
    let test = Test::start(&[&old], "keys_keep_s = 100").await;
    assert_eq!(test.present(&old).await, Became::Believed);
    test.provider.publishes(&[&new]);
    test.clock.advance(Duration::from_secs(99));
    assert_eq!(test.present(&old).await, Became::Believed);
    test.clock.advance(Duration::from_secs(1));
    assert_eq!(test.present(&old).await, Became::Refused);
}

#[tokio::test]
async fn while_a_provider_is_down_its_keys_count_for_the_grace_and_then_nobody_is_identified() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "keys_keep_s = 100\nkeys_grace_s = 50").await;
    assert_eq!(test.present(&key).await, Became::Believed);
    test.provider.says("/jwks", gone());
    test.clock.advance(Duration::from_secs(149));
    assert_eq!(test.present(&key).await, Became::Believed);
    test.clock.advance(Duration::from_secs(1));
    assert_eq!(test.present(&key).await, Became::Unavailable);
    test.provider.publishes(&[&key]);
    assert_eq!(test.present(&key).await, Became::Unavailable, "it asked a second ago");
    test.clock.advance(Duration::from_secs(5));
    assert_eq!(test.present(&key).await, Became::Believed);
}

#[tokio::test]
async fn what_a_provider_must_not_publish_is_not_used() {
    let key = Key::make("P-256", "1");
    let small = Key::sized("RSA", 1024, "small");
    let list = |keys: Vec<Value>| Answer::Json(json!({ "keys": keys }));
    let changed = |name: &str, value: Value| {
        let mut public = key.public.clone();
        public[name] = value;
        public
    };
    let mut large = json!({ "keys": [key.public] });
    large["padding"] = json!("x".repeat(10 << 20));
    let evil = Some("http://127.0.0.1:1/jwks".to_owned());
    for (what, answer) in [
        ("nothing", Answer::Raw { status: 404, location: None, body: vec![] }),
        ("not JSON", Answer::Raw { status: 200, location: None, body: b"<html>".to_vec() }),
        ("no list", Answer::Json(json!({}))),
        ("an empty list", list(vec![])),
        ("too many keys", list(vec![key.public.clone(); 65])),
        (
            "a member twice",
            Answer::Raw {
                status: 200,
                location: None,
                body: format!("{{\"keys\":[],\"keys\":[{}]}}", key.public).into_bytes(),
            },
        ),
        ("10 MB", Answer::Json(large)),
        ("a redirect", Answer::Raw { status: 302, location: evil, body: vec![] }),
        ("a private key", list(vec![key.private.clone()])),
        ("a private key beside a good one", list(vec![key.public.clone(), small.private.clone()])),
        ("a shared secret", list(vec![key.public.clone(), json!({ "kty": "oct", "k": "AAAA" })])),
        ("a small key alone", list(vec![small.public.clone()])),
        ("a key for encryption", list(vec![changed("use", json!("enc"))])),
        ("a key for signing only", list(vec![changed("key_ops", json!(["sign"]))])),
        ("a key for another algorithm", list(vec![changed("alg", json!("RS256"))])),
        ("a cut coordinate", list(vec![changed("x", json!("AAAA"))])),
        ("another curve", list(vec![changed("crv", json!("P-521"))])),
    ] {
        let test = Test::start(&[&key], "").await;
        test.provider.says("/jwks", answer);
        assert_eq!(test.present(&key).await, Became::Unavailable, "{what}");
    }
    let test = Test::start(&[&key, &small], "algorithms = [\"RS256\", \"ES256\"]").await;
    assert_eq!(test.present(&key).await, Became::Believed, "a small key beside a good one is left out");
    let token = small.sign(&json!({ "alg": "RS256" }), &claims(&test.provider, &json!({})));
    assert_eq!(test.present_as(&token, TokenKind::Id).await, Became::Refused);
}

#[tokio::test]
async fn metadata_that_is_not_the_issuers_own_is_not_used() {
    let key = Key::make("P-256", "1");
    for (what, name, value) in [
        ("another issuer", "issuer", json!("https://login.example")),
        ("a slash more", "issuer", json!("SLASH")),
        ("no issuer", "issuer", Value::Null),
        ("no keys", "jwks_uri", Value::Null),
        ("keys where clouds keep credentials", "jwks_uri", json!("http://169.254.169.254/latest")),
        ("keys where clouds keep credentials, by TLS", "jwks_uri", json!("https://169.254.169.254/latest")),
        ("keys in a file", "jwks_uri", json!("file:///etc/passwd")),
        ("keys at a plain http site elsewhere", "jwks_uri", json!("http://192.0.2.7/jwks")),
    ] {
        let test = Test::start(&[&key], "").await;
        let mut metadata = test.provider.metadata();
        metadata[name] = if value == "SLASH" { json!(format!("{}/", test.provider.issuer)) } else { value };
        test.provider.says_metadata(Answer::Json(metadata));
        assert_eq!(test.present(&key).await, Became::Unavailable, "{what}");
    }
}

#[tokio::test]
async fn an_address_of_this_machine_is_refused_unless_the_settings_allow_it() {
    let key = Key::make("P-256", "1");
    let provider = TestProvider::start(&[&key]).await;
    let mut terms = provider.terms("corp", "");
    terms.allow_private = false;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
    let providers = Providers::open(&[terms], &clock).unwrap();
    let token = key.sign(&json!({ "alg": "ES256" }), &claims(&provider, &json!({})));
    let answer = providers.verify(&tenant(), &token, TokenKind::Id, START).await;
    assert!(matches!(answer, Err(IdentityError::Unavailable(_))), "{answer:?}");
    assert_eq!(provider.asked("/jwks"), 0);
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_given_up() {
    let key = Key::make("P-256", "1");
    let slow = async |path: &str, answer: Answer| {
        let test = Test::start(&[&key], "").await;
        test.provider.says(path, answer);
        let begun = SystemClock.monotonic();
        assert_eq!(test.present(&key).await, Became::Unavailable, "{path}");
        // A question may take 5 s; the rest is for a busy machine.
        assert!(SystemClock.monotonic().since(begun) < Duration::from_secs(30), "{path}");
    };
    tokio::join!(
        slow("/.well-known/openid-configuration", Answer::Silence),
        slow("/jwks", Answer::Silence),
        slow("/jwks", Answer::Endless),
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let key = Key::make("P-256", "1");
    for path in ["/.well-known/openid-configuration", "/jwks"] {
        let test = Test::start(&[&key], "").await;
        let good = if path == "/jwks" { json!({ "keys": [key.public] }) } else { test.provider.metadata() };
        test.provider.says("/elsewhere", Answer::Json(good));
        for status in [301, 302, 303, 307, 308] {
            let location = Some(format!("{}/elsewhere", test.provider.issuer));
            test.provider.says(path, Answer::Raw { status, location, body: vec![] });
            test.clock.advance(Duration::from_secs(6));
            assert_eq!(test.present(&key).await, Became::Unavailable, "{path} {status}");
        }
        assert_eq!((test.provider.asked("/elsewhere"), test.provider.asked(path)), (0, 5));
    }
}

#[tokio::test]
async fn a_provider_that_knows_only_rfc_8414_is_found() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "").await;
    test.provider.says_metadata(Answer::Raw { status: 404, location: None, body: vec![] });
    test.provider.says("/.well-known/oauth-authorization-server", Answer::Json(test.provider.metadata()));
    assert_eq!(test.present(&key).await, Became::Believed);
}

/// An access token for alice.
fn access(test: &Test, key: &Key) -> String {
    let replaced = json!({ "aud": "https://writ.example", "client_id": "app" });
    key.sign(&json!({ "alg": "ES256", "typ": "at+jwt" }), &claims(&test.provider, &replaced))
}

#[tokio::test]
async fn a_live_check_by_userinfo_asks_with_the_token_and_believes_only_an_answer_about_the_same_user() {
    let key = Key::make("P-256", "1");
    let test = Test::start(&[&key], "live_check = \"userinfo\"").await;
    let token = access(&test, &key);
    test.provider.says("/userinfo", Answer::Json(json!({ "sub": "alice" })));
    assert_eq!(test.present_as(&token, TokenKind::Access).await, Became::Believed);
    assert_eq!(test.provider.last("/userinfo").authorization.unwrap(), format!("Bearer {token}"));
    // An ID token opens no userinfo, and is not let past the check either.
    assert_eq!(test.present(&key).await, Became::Refused);
    let status = |status| Answer::Raw { status, location: None, body: b"{\"sub\":\"alice\"}".to_vec() };
    for (answer, became) in [
        (Answer::Json(json!({ "sub": "bob" })), Became::Refused),
        (Answer::Json(json!({})), Became::Refused),
        (status(401), Became::Refused),
        (status(403), Became::Refused),
        (status(302), Became::Unavailable),
        (status(500), Became::Unavailable),
        (Answer::Raw { status: 200, location: None, body: b"jwt".to_vec() }, Became::Unavailable),
    ] {
        test.provider.says("/userinfo", answer);
        assert_eq!(test.present_as(&token, TokenKind::Access).await, became);
    }
}

#[tokio::test]
async fn a_live_check_by_introspection_sends_the_authoritys_own_credential() {
    let key = Key::make("P-256", "1");
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s:cr%t\n").unwrap();
    let more =
        format!("live_check = \"introspection\"\nclient_id = \"writ\"\nclient_secret_file = \"{}\"", secret.display());
    let test = Test::start(&[&key], &more).await;
    let token = access(&test, &key);
    test.provider.says("/introspect", Answer::Json(json!({ "active": true, "sub": "alice" })));
    assert_eq!(test.present_as(&token, TokenKind::Access).await, Became::Believed);
    let asked = test.provider.last("/introspect");
    // `writ:s%3Acr%25t`
    assert_eq!(asked.authorization.unwrap(), "Basic d3JpdDpzJTNBY3IlMjV0");
    assert_eq!(asked.body, format!("token={token}&token_type_hint=access_token"));
    for (answer, became) in [
        (json!({ "active": true }), Became::Believed),
        (json!({ "active": false }), Became::Refused),
        (json!({ "active": "true" }), Became::Refused),
        (json!({ "active": true, "sub": "bob" }), Became::Refused),
        (json!({}), Became::Refused),
    ] {
        test.provider.says("/introspect", Answer::Json(answer));
        assert_eq!(test.present_as(&token, TokenKind::Access).await, became);
    }
    // Our own credential being refused says nothing about the token.
    test.provider.says("/introspect", Answer::Raw { status: 401, location: None, body: vec![] });
    assert_eq!(test.present_as(&token, TokenKind::Access).await, Became::Unavailable);
}

#[test]
fn files_that_the_settings_name_must_hold_what_they_should() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, " \n").unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START));
    let base = "name = \"corp\"\nissuer = \"https://login.example\"\naudiences = [\"a\"]\n";
    for more in [
        format!("ca_file = \"{}\"", empty.display()),
        "ca_file = \"/nowhere\"".to_owned(),
        format!("live_check = \"introspection\"\nclient_id = \"a\"\nclient_secret_file = \"{}\"", empty.display()),
    ] {
        let terms = crate::identity::provider::terms(&format!("{base}{more}\n"));
        let error = Providers::open(&[terms], &clock).unwrap_err().to_string();
        assert!(error.contains("/nowhere") || error.contains("empty"), "{error}");
    }
}
