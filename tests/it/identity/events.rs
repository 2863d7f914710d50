//! Security events of a provider's transmitter, pushed and polled (E29 to E31): what counts, what it ends, and that it counts
//! once. The tokens are joserfc's, the transmitter that is polled is Python's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use writ::clock::{Clock as _, SystemClock};

use crate::identity::exchange::{Test, refused};
use crate::identity::provider::{Answer, TestProvider};
use crate::store::{Database, for_every_backend};
use crate::support::authority::Reply;
use crate::world::{client, counterpart, free_address};

for_every_backend!(
    a_revoked_session_ends_by_an_event_that_counts_once,
    a_disabled_account_is_suspended_and_an_enabled_one_is_not_reactivated,
    polled_events_are_acknowledged_once_no_edge_serves_what_they_ended,
    polled_events_wait_for_their_receipts_together_and_none_is_acknowledged_before,
);

pub(super) const SIGNALS: &str = "[identity.provider.signals]\naudiences = [\"https://writ.example\"]\n";
pub(super) const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
pub(super) const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

impl Test {
    pub(super) fn alice(&self) -> Value {
        json!({ "format": "iss_sub", "iss": self.provider.issuer, "sub": "alice" })
    }

    /// An event token about `subject`, some of its claims replaced.
    pub(super) fn event(&self, uri: &str, jti: &str, subject: &Value, replaced: &Value) -> String {
        let mut claims = json!({
            "iss": self.provider.issuer, "aud": "https://writ.example", "iat": self.authority.clock_now().secs(), "jti": jti,
            "sub_id": subject, "events": { uri: { "event_timestamp": 1_000_000 } },
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.signed(&json!({ "alg": "ES256", "typ": "secevent+jwt" }), &claims)
    }

    pub(super) async fn push(&self, token: &str) -> Reply {
        self.push_with(token, "application/secevent+jwt", None).await
    }

    async fn push_with(&self, token: &str, content_type: &'static str, secret: Option<&str>) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(secret) = secret {
            headers.insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
        }
        self.authority.raw(Method::POST, "/v1/identity/corp/events", headers, token.to_owned()).await
    }

    async fn head(&self) -> u64 {
        self.authority.store.revocation_head().await.unwrap()
    }
}

#[track_caller]
fn accepted(reply: &Reply) {
    assert_eq!((reply.status, &*reply.text), (202, ""));
}

#[track_caller]
fn not_accepted(reply: &Reply, err: &str) {
    assert_eq!((reply.status, reply.json["err"].as_str()), (400, Some(err)), "{}", reply.text);
    assert!(reply.json["description"].as_str().is_some_and(|text| !text.is_empty()));
}

async fn a_revoked_session_ends_by_an_event_that_counts_once(database: &Database) {
    let test = Test::start(database, SIGNALS).await;
    let agent = test.agent("planner").await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    test.exchange(&agent, &test.id_token(&json!({ "sid": "session-2" }))).await.ok();
    let one =
        json!({ "format": "complex", "user": test.alice(), "session": { "format": "opaque", "id": "session-1" } });
    let token = test.event(&format!("{CAEP}session-revoked"), "1", &one, &json!({}));
    accepted(&test.push(&token).await);
    assert_eq!(test.live().await.len(), 1, "the other session lives");
    let head = test.head().await;
    accepted(&test.push(&token).await);
    assert_eq!(test.head().await, head, "the same event ends nothing again");
    // Without a session, and however old it is: every login.
    let old = json!({ "iat": test.authority.clock_now().secs() - 10_000_000 });
    accepted(&test.push(&test.event(&format!("{CAEP}session-revoked"), "2", &test.alice(), &old)).await);
    assert_eq!(test.live().await, [""; 0]);
    for (n, uri) in ["credential-change", "device-compliance-change"].iter().enumerate() {
        test.authority.clock.advance(Duration::from_secs(60));
        // A session that was ended stays so.
        test.exchange(&agent, &test.id_token(&json!({ "sid": format!("later-{n}") }))).await.ok();
        accepted(&test.push(&test.event(&format!("{CAEP}{uri}"), &format!("3-{n}"), &test.alice(), &json!({}))).await);
        assert_eq!(test.live().await, [""; 0], "{uri}");
    }
    let audit = test.authority.get("/v1/audit?limit=1000").await.text;
    assert!(audit.contains("session-revoked") && audit.contains("credential-change") && audit.contains("corp"));
}

async fn a_disabled_account_is_suspended_and_an_enabled_one_is_not_reactivated(database: &Database) {
    let test = Test::start(database, SIGNALS).await;
    let agent = test.agent("planner").await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    // As the drafts of RISC had it: the subject in the event, with hyphens.
    let uri = format!("{RISC}account-disabled");
    let subject = json!({ "subject_type": "iss-sub", "iss": test.provider.issuer, "sub": "alice" });
    let events = json!({ "sub_id": null, "events": { uri.as_str(): { "subject": subject, "reason": "hijacking" } } });
    accepted(&test.push(&test.event(&uri, "1", &json!(null), &events)).await);
    assert_eq!(test.live().await, [""; 0]);
    accepted(&test.push(&test.event(&format!("{RISC}account-enabled"), "2", &test.alice(), &json!({}))).await);
    test.authority.clock.advance(Duration::from_secs(60));
    refused(test.exchange(&agent, &test.id_token(&json!({}))).await, 400, "invalid_grant");
    let audit = test.authority.get("/v1/audit?limit=1000").await.text;
    assert!(audit.contains("account-disabled") && audit.contains("account-enabled"));
    // Nobody here has seen them: they are blocked all the same.
    let bob = json!({ "format": "opaque", "id": "bob" });
    accepted(&test.push(&test.event(&format!("{RISC}account-purged"), "3", &bob, &json!({}))).await);
    let suspended = test.authority.get("/v1/users/suspended").await.text;
    assert!(suspended.contains("bob") && suspended.contains("alice"), "{suspended}");
}

#[tokio::test]
async fn an_event_that_does_not_count_ends_nothing() {
    let test = Test::start(&Database::sqlite().await, SIGNALS).await;
    let agent = test.agent("planner").await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    let (uri, alice) = (format!("{CAEP}session-revoked"), test.alice());
    let now = test.authority.clock_now().secs();
    let other = crate::identity::jose::Key::make("P-256", "1");
    let good = json!({
        "iss": test.provider.issuer, "aud": "https://writ.example", "iat": now, "jti": "x", "sub_id": alice,
        "events": { uri.as_str(): {} },
    });
    let mut tokens = vec![
        other.sign(&json!({ "alg": "ES256", "typ": "secevent+jwt" }), &good),
        crate::identity::jose::sign_with_secret("secret", &json!({ "alg": "none", "typ": "secevent+jwt" }), &good),
        crate::identity::jose::sign_with_secret("secret", &json!({ "alg": "HS256", "typ": "secevent+jwt" }), &good),
        test.id_token(&json!({})),
        String::new(),
        "junk".to_owned(),
        "a".repeat(17_000),
    ];
    for typ in ["JWT", "logout+jwt", "at+jwt", "dpop+jwt", "oauth-id-jag+jwt"] {
        tokens.push(test.signed(&json!({ "alg": "ES256", "typ": typ }), &good));
    }
    for replaced in [
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "app" }),
        json!({ "aud": ["https://writ.example", "other"] }),
        json!({ "aud": null }),
        json!({ "iat": null }),
        json!({ "iat": now + 11 }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "events": null }),
        json!({ "events": {} }),
        json!({ "events": [uri] }),
        json!({ "events": { uri.as_str(): true } }),
        json!({ "sub_id": null }),
        json!({ "sub_id": "alice" }),
        json!({ "sub_id": { "format": "none" } }),
        json!({ "events": { uri.as_str(): { "subject": alice } } }),
        json!({ "events": { format!("{SSF}verification"): { "state": 7 } } }),
    ] {
        tokens.push(test.event(&uri, "x", &alice, &replaced));
    }
    for token in &tokens {
        let reply = test.push(token).await;
        if token.len() > 16_400 {
            reply.refused(413, "too_large");
        } else {
            not_accepted(&reply, "invalid_request");
        }
    }
    test.push_with(&test.event(&uri, "x", &alice, &json!({})), "application/json", None)
        .await
        .refused(415, "media_type");
    assert_eq!((test.head().await, test.live().await.len()), (0, 1));
    // What is about nobody here, and what changes nothing, is accepted: nothing can be learned by asking.
    for (jti, uri, subject) in [
        ("a", uri.clone(), json!({ "format": "iss_sub", "iss": "https://other.example", "sub": "alice" })),
        ("b", uri.clone(), json!({ "format": "email", "email": "nobody@example.com" })),
        ("c", format!("{SSF}verification"), json!(null)),
        ("d", format!("{SSF}stream-updated"), json!(null)),
        ("e", "https://example.com/other".to_owned(), json!(null)),
        ("f", format!("{CAEP}token-claims-change"), alice.clone()),
    ] {
        accepted(&test.push(&test.event(&uri, jti, &subject, &json!({}))).await);
    }
    assert_eq!((test.head().await, test.live().await.len()), (0, 1));
    accepted(&test.push(&test.event(&uri, "x", &alice, &json!({}))).await);
    assert_eq!(test.live().await, [""; 0]);
}

#[tokio::test]
async fn a_transmitter_shows_the_secret_where_one_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "push-secret\n").unwrap();
    let test =
        Test::start(&Database::sqlite().await, &format!("{SIGNALS}push_secret_file = \"{}\"\n", file.display())).await;
    let token = test.event(&format!("{CAEP}session-revoked"), "1", &test.alice(), &json!({}));
    for secret in [None, Some("other"), Some("")] {
        not_accepted(&test.push_with(&token, "application/secevent+jwt", secret).await, "authentication_failed");
    }
    assert_eq!(test.head().await, 0);
    accepted(&test.push_with(&token, "application/secevent+jwt", Some("push-secret")).await);
    assert_eq!(test.head().await, 1);
    // A provider without signals takes no events, nor does one that does not exist.
    let without = Test::start(&Database::sqlite().await, "").await;
    not_accepted(&without.push(&token).await, "authentication_failed");
}

/// A transmitter that is somebody else than the provider: an issuer and keys of its own.
#[tokio::test]
async fn a_transmitter_with_keys_of_its_own_speaks_by_those_and_identifies_nobody() {
    let key = crate::identity::jose::Key::make("P-256", "1");
    let transmitter = TestProvider::start(&[&key]).await;
    let metadata = json!({ "issuer": transmitter.issuer, "jwks_uri": format!("{}/signals", transmitter.issuer) });
    transmitter.says("/.well-known/ssf-configuration", Answer::Json(metadata));
    transmitter.says("/signals", Answer::Json(json!({ "keys": [key.public] })));
    let named = format!("jwks_uri = \"{}/jwks\"\n", transmitter.issuer);
    for (more, asked) in [("", "/signals"), (&*named, "/jwks")] {
        let signals = format!("{SIGNALS}issuer = \"{}\"\n{more}", transmitter.issuer);
        let test = Test::start(&Database::sqlite().await, &signals).await;
        let agent = test.agent("planner").await;
        test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
        let (typ, uri) = (json!({ "alg": "ES256", "typ": "secevent+jwt" }), format!("{CAEP}session-revoked"));
        let claims = |issuer: &str| {
            json!({
                "iss": issuer, "aud": "https://writ.example", "iat": test.authority.clock_now().secs(), "jti": "1",
                "sub_id": test.alice(), "events": { uri.as_str(): {} },
            })
        };
        // One's key for the other's name, in every combination, though both keys have one `kid`.
        for token in [
            test.signed(&typ, &claims(&test.provider.issuer)),
            test.signed(&typ, &claims(&transmitter.issuer)),
            key.sign(&typ, &claims(&test.provider.issuer)),
        ] {
            not_accepted(&test.push(&token).await, "invalid_request");
        }
        assert_eq!((test.head().await, test.live().await.len()), (0, 1));
        accepted(&test.push(&key.sign(&typ, &claims(&transmitter.issuer))).await);
        assert_eq!((test.head().await, test.live().await.len()), (1, 0));
        assert!(transmitter.asked(asked) > 0, "{asked}");
        // Who transmits events vouches for nobody, and ends nothing by another kind of token.
        test.authority.clock.advance(Duration::from_secs(60));
        let now = test.authority.clock_now().secs();
        let user = |issuer: &str| json!({ "iss": issuer, "aud": "app", "sub": "alice", "iat": now, "exp": now + 60 });
        for issuer in [&transmitter.issuer, &test.provider.issuer] {
            let token = key.sign(&json!({ "alg": "ES256" }), &user(issuer));
            refused(test.exchange(&agent, &token).await, 400, "invalid_request");
        }
    }
}

struct Transmitter {
    child: Child,
    polls: BufReader<std::process::ChildStdout>,
}

impl Transmitter {
    fn start(port: u16) -> Self {
        let mut command = Command::new(counterpart("bin/python"));
        command.args([client("transmitter.py"), port.to_string(), "poll-secret".to_owned()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let polls = BufReader::new(child.stdout.take().unwrap());
        Self { child, polls }
    }

    fn holds(&mut self, jti: &str, token: &str) {
        self.holds_all(&[json!({ "jti": jti, "token": token })]);
    }

    fn holds_all(&mut self, events: &[Value]) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{}", json!(events)).unwrap();
    }

    /// Waits for the poll that says something of every one of `jtis`.
    fn heard(&mut self, jtis: &[&str]) -> (Vec<String>, Value) {
        let (mut acks, mut errors) = (Vec::new(), json!({}));
        let done = |acks: &[String], errors: &Value| {
            jtis.iter().all(|jti| acks.iter().any(|ack| ack == jti) || errors.get(jti).is_some())
        };
        // The test's own time limit bounds this.
        while !done(&acks, &errors) {
            let mut line = String::new();
            assert!(self.polls.read_line(&mut line).unwrap() > 0, "the transmitter has ended");
            let poll: Value = serde_json::from_str(&line).unwrap();
            acks.extend(poll["ack"].as_array().into_iter().flatten().map(|ack| ack.as_str().unwrap().to_owned()));
            for (jti, error) in poll["setErrs"].as_object().into_iter().flatten() {
                errors[jti] = error.clone();
            }
        }
        (acks, errors)
    }
}

impl Drop for Transmitter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings for a transmitter at `at` that is polled with the secret in a file of `dir`.
fn polled_at(at: std::net::SocketAddr, dir: &std::path::Path) -> String {
    let file = dir.join("secret");
    std::fs::write(&file, "poll-secret").unwrap();
    format!(
        "{SIGNALS}poll_url = \"http://{at}/poll\"\npoll_secret_file = \"{}\"\npoll_every_ms = 100\n",
        file.display()
    )
}

async fn polled_events_wait_for_their_receipts_together_and_none_is_acknowledged_before(database: &Database) {
    const EVENTS: u64 = 10;
    let (dir, at) = (tempfile::tempdir().unwrap(), free_address());
    let test = Test::start(database, &polled_at(at, dir.path())).await;
    // An edge that says nothing more. The clock stands still, so its lease holds and no receipt can be given.
    let edge = test.authority.edge("edge-1").await;
    edge.catch_up().await;
    let mut transmitter = Transmitter::start(at.port());
    let event = |n| {
        let (user, jti) = (json!({ "format": "opaque", "id": format!("user-{n}") }), format!("event-{n}"));
        json!({ "jti": jti, "token": test.event(&format!("{CAEP}session-revoked"), &jti, &user, &json!({})) })
    };
    transmitter.holds_all(&(0..EVENTS).map(event).collect::<Vec<_>>());
    let (begun, pending) = (SystemClock.monotonic(), format!("writ_receipts_pending {EVENTS}\n"));
    while !test.authority.authority.metrics_page().contains(&pending) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let waited = SystemClock.monotonic().since(begun);
        assert!(waited < Duration::from_secs(60), "{}", test.authority.authority.metrics_page());
    }
    let heard = tokio::task::spawn_blocking(move || {
        let all: Vec<_> = (0..EVENTS).map(|n| format!("event-{n}")).collect();
        transmitter.heard(&all.iter().map(String::as_str).collect::<Vec<_>>())
    });
    tokio::pin!(heard);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut heard).await.is_err(), "acknowledged too early");
    test.authority.clock.advance(Duration::from_secs(10));
    let (acks, errors) = tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap().unwrap();
    assert_eq!((acks.len() as u64, errors, test.head().await), (EVENTS, json!({}), EVENTS));
}

async fn polled_events_are_acknowledged_once_no_edge_serves_what_they_ended(database: &Database) {
    let (dir, at) = (tempfile::tempdir().unwrap(), free_address());
    let poll = polled_at(at, dir.path());
    // It is polled before it is there, and again.
    let test = Test::start(database, &poll).await;
    let agent = test.agent("planner").await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    let mut transmitter = Transmitter::start(at.port());
    let revoked = format!("{CAEP}session-revoked");
    transmitter.holds("good", &test.event(&revoked, "good", &test.alice(), &json!({})));
    transmitter.holds("bad", &test.event(&revoked, "bad", &test.alice(), &json!({ "aud": "other" })));
    transmitter.holds("state", &test.event(&format!("{SSF}verification"), "state", &json!(null), &json!({})));
    let heard = tokio::task::spawn_blocking(move || (transmitter.heard(&["good", "bad", "state"]), transmitter));
    let ((acks, errors), mut transmitter) =
        tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap().unwrap();
    assert!(acks.contains(&"good".to_owned()) && acks.contains(&"state".to_owned()), "{acks:?}");
    assert_eq!(errors["bad"]["err"], "invalid_request", "{errors}");
    assert_eq!(test.live().await, [""; 0]);
    let head = test.head().await;
    // The acknowledgement was lost: the event comes again, and ends nothing again.
    transmitter.holds("good", &test.event(&revoked, "good", &test.alice(), &json!({})));
    let heard = tokio::task::spawn_blocking(move || (transmitter.heard(&["good"]), transmitter));
    let _ = tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap().unwrap();
    assert_eq!(test.head().await, head);
    assert!(test.authority.get("/v1/audit?limit=1000").await.text.contains("session-revoked"));
}
