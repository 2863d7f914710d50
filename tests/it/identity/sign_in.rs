//! Operators who sign in: who gets a session, what is refused on the way, and that a session ends with the person.
//!
//! A failure is a session for somebody who did not just sign in for it, or one that outlives its person.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use writ::clock::{Clock as _, ManualClock};
use writ::config::authority::{AuthorityConfig, AuthorityTerms};
use writ::key::sha256;
use writ::policy::Asker;
use writ::store::{ApprovalQuota, KeptAsked, NewApproval, Put, Redemption};
use writ::vault::Binding;

use crate::identity::jose::Key;
use crate::identity::provider::{Answer, TestProvider};
use crate::store::approvals::{new as asked, request};
use crate::store::make::change;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START, TestAuthority, keyring, start_with};

for_every_backend!(
    somebody_in_a_group_signs_in_and_acts_under_their_name,
    a_role_comes_by_a_group_and_nobody_gets_in_without_one,
    an_answer_that_this_browser_did_not_ask_for_is_refused,
    what_the_provider_says_is_believed_only_if_it_is_for_this_sign_in,
    a_code_counts_once_for_a_minute_and_with_its_verifier_only,
    a_session_ends_by_its_time_and_when_it_is_not_used,
    a_session_ends_with_the_person,
    a_session_ends_when_the_directory_says_that_the_person_is_gone,
    a_session_ends_when_the_person_leaves_the_group_that_gave_the_role,
    a_person_lifts_a_stop_of_somebody_else_only,
    a_person_in_the_named_group_approves_what_somebody_else_asks,
);

const HOUR: Duration = Duration::from_secs(3600);
const PORT: u16 = 50_123;
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

struct Test {
    authority: TestAuthority,
    provider: TestProvider,
    key: Key,
    _secret: tempfile::NamedTempFile,
}

/// A sign-in that was begun: what the browser keeps, and what it took to the provider.
struct Begun {
    cookie: String,
    asked: Vec<(String, String)>,
}

impl Begun {
    fn asked(&self, name: &str) -> &str {
        &self.asked.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no `{name}`")).1
    }
}

fn parameters(url: &str) -> Vec<(String, String)> {
    serde_urlencoded::from_str(url.split_once('?').unwrap().1).unwrap()
}

fn of(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
}

fn location(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.text);
    assert_eq!(reply.headers[header::REFERRER_POLICY], "no-referrer");
    reply.headers[header::LOCATION].to_str().unwrap().to_owned()
}

impl Test {
    async fn start(database: &Database) -> Self {
        let key = Key::make("P-256", "1");
        let provider = TestProvider::start(&[&key]).await;
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret, "s3cret: ü").unwrap();
        let sample = include_str!("../../../samples/authority.toml");
        let text = format!(
            "{sample}\n[[identity.provider]]\nname = \"corp\"\nissuer = \"{}\"\nclient_ids = [\"app\"]\nallow_private = true\n\
             [sign_in]\nprovider = \"corp\"\nclient_id = \"writ\"\nclient_secret_file = \"{}\"\n\
             scopes = [\"openid\", \"groups\"]\nadmins = [\"ops\"]\nauditors = [\"audit\"]\n",
            provider.issuer,
            secret.path().display()
        );
        let parsed = AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms;
        let terms =
            AuthorityTerms { providers: parsed.providers, sign_in: parsed.sign_in, ..AuthorityTerms::default() };
        let authority = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
        let test = Self { authority, provider, key, _secret: secret };
        test.publish(json!({}));
        test
    }

    fn publish(&self, more: Value) {
        let mut metadata = self.provider.metadata();
        metadata["authorization_endpoint"] = json!(format!("{}/authorize?realm=a", self.provider.issuer));
        metadata["token_endpoint"] = json!(format!("{}/token", self.provider.issuer));
        for (name, value) in more.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        self.provider.says_metadata(Answer::Json(metadata));
    }

    async fn begin(&self) -> Begun {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
        let path = format!("/v1/sign-in?challenge={challenge}&port={PORT}&state=cli");
        let reply = self.authority.raw(Method::GET, &path, HeaderMap::new(), "").await;
        let url = location(&reply);
        assert!(url.starts_with(&format!("{}/authorize?realm=a&", self.provider.issuer)), "{url}");
        let cookie = reply.headers[header::SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        Begun { cookie: cookie.split(';').next().unwrap().to_owned(), asked: parameters(&url) }
    }

    /// The provider will answer the code with an ID token for `alice` in `ops`, some claims replaced.
    fn provider_says(&self, begun: &Begun, replaced: Value) {
        let now = self.authority.clock.now().secs();
        let mut claims = json!({
            "iss": self.provider.issuer, "aud": "writ", "sub": "alice", "iat": now, "auth_time": now, "exp": now + 600,
            "sid": "session-1", "groups": ["staff", "ops"], "nonce": begun.asked("nonce"),
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let id_token = self.key.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &claims);
        self.provider.says("/token", Answer::Json(json!({ "id_token": id_token, "access_token": "a" })));
    }

    async fn callback(&self, cookie: &str, query: &str) -> Reply {
        let mut headers = HeaderMap::new();
        if !cookie.is_empty() {
            headers.insert(header::COOKIE, HeaderValue::from_str(&format!("x=y; {cookie}")).unwrap());
        }
        self.authority.raw(Method::GET, &format!("/v1/sign-in/callback?{query}"), headers, "").await
    }

    /// What the program on the browser's machine is told.
    async fn finish(&self, begun: &Begun) -> Vec<(String, String)> {
        let reply = self.callback(&begun.cookie, &format!("code=c&state={}", begun.asked("state"))).await;
        let url = location(&reply);
        assert!(url.starts_with(&format!("http://127.0.0.1:{PORT}/?")), "{url}");
        assert!(reply.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
        parameters(&url)
    }

    async fn refused(&self, begun: &Begun) -> String {
        let told = self.finish(begun).await;
        assert_eq!((of(&told, "code"), of(&told, "state").as_deref()), (None, Some("cli")));
        of(&told, "error_description").unwrap()
    }

    async fn redeem(&self, code: &str, verifier: &str) -> Reply {
        let body = json!({ "code": code, "verifier": verifier }).to_string();
        self.authority.json_with_proofs("/v1/sign-in/session", body, &[]).await
    }

    /// A session, some claims of the person replaced.
    async fn signed_in(&self, replaced: Value) -> Value {
        let begun = self.begin().await;
        self.provider_says(&begun, replaced);
        let code = of(&self.finish(&begun).await, "code").unwrap();
        self.redeem(&code, VERIFIER).await.ok()
    }

    async fn with(&self, session: &Value, method: Method, path: &str, body: &Value) -> Reply {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", session["secret"].as_str().unwrap());
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&bearer).unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.authority.raw(method, path, headers, body.to_string()).await
    }

    async fn counts(&self, session: &Value) -> bool {
        let reply = self.with(session, Method::GET, "/v1/agents", &json!({})).await;
        assert!(matches!(reply.status, 200 | 401), "{}", reply.text);
        reply.status == 200
    }
}

async fn somebody_in_a_group_signs_in_and_acts_under_their_name(database: &Database) {
    let test = Test::start(database).await;
    let begun = test.begin().await;
    let callback = format!("{}/v1/sign-in/callback", test.authority.issuer);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "writ"),
        ("redirect_uri", &*callback),
        ("scope", "openid groups"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(begun.asked(name), value);
    }
    test.provider_says(&begun, json!({}));
    let told = test.finish(&begun).await;
    assert_eq!(of(&told, "state").as_deref(), Some("cli"));
    // The provider was asked as the client, with the verifier of its own challenge.
    let asked = test.provider.last("/token");
    let basic = format!("Basic {}", STANDARD.encode("writ:s3cret%3A+%C3%BC"));
    assert_eq!(asked.authorization.as_deref(), Some(&*basic));
    let sent: Vec<(String, String)> = serde_urlencoded::from_str(&asked.body).unwrap();
    assert_eq!(of(&sent, "grant_type").as_deref(), Some("authorization_code"));
    assert_eq!((of(&sent, "code").as_deref(), of(&sent, "redirect_uri")), (Some("c"), Some(callback)));
    let verifier = of(&sent, "code_verifier").unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())), begun.asked("code_challenge"));

    let session = test.redeem(&of(&told, "code").unwrap(), VERIFIER).await.ok();
    assert_eq!((&session["name"], &session["role"]), (&json!("corp:alice"), &json!("admin")));
    let body = json!({ "name": "planner", "key": writ::key::KeyPair::from_seed(&[9; 32]).public() });
    assert_eq!(test.with(&session, Method::POST, "/v1/agents", &body).await.status, 201);
    let listed = test.authority.get("/v1/sessions").await.ok();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &session["id"]));
    assert_eq!(test.with(&session, Method::POST, "/v1/sign-out", &json!({})).await.status, 204);
    assert!(!test.counts(&session).await);
    test.authority.post("/v1/sign-out", json!({})).await.refused(409, "no_session");

    let log = test.authority.get("/v1/audit?limit=1000").await;
    let records: Vec<_> = log.json.as_array().unwrap().iter().map(|line| &line["record"]["event"]).collect();
    let by_alice: Vec<_> = records.iter().filter(|event| event["actor"]["name"] == "corp:alice").collect();
    let actions: Vec<_> = by_alice.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["operator.sign_in", "agent.register", "operator.sign_out"]);
    assert!(!log.text.contains(session["secret"].as_str().unwrap()) && !log.text.contains(VERIFIER));
    // The ID token of a sign-in identifies nobody to anybody else.
    let mut headers = HeaderMap::new();
    let now = test.authority.clock.now().secs();
    let claims = json!({ "iss": test.provider.issuer, "aud": "writ", "sub": "alice", "iat": now, "exp": now + 60 });
    let token = test.key.sign(&json!({ "alg": "ES256" }), &claims);
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    test.authority.raw(Method::GET, "/v1/my/writs", headers, "").await.refused(401, "identity_refused");
}

async fn a_role_comes_by_a_group_and_nobody_gets_in_without_one(database: &Database) {
    let test = Test::start(database).await;
    let auditor = test.signed_in(json!({ "groups": ["audit"], "sub": "bob" })).await;
    assert_eq!(auditor["role"], "auditor");
    assert!(test.counts(&auditor).await);
    test.with(&auditor, Method::POST, "/v1/agents", &json!({})).await.refused(403, "role");
    test.with(&auditor, Method::POST, "/v1/revocations", &json!({})).await.refused(403, "role");
    assert_eq!(test.with(&auditor, Method::POST, "/v1/sign-out", &json!({})).await.status, 204);
    for groups in [
        json!({ "groups": ["staff", "Ops"] }),
        json!({ "groups": [] }),
        json!({ "groups": null }),
        json!({ "groups": null, "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": "https://x" } } }),
    ] {
        let begun = test.begin().await;
        test.provider_says(&begun, groups.clone());
        let told = test.refused(&begun).await;
        assert!(told.contains("no group that may sign in"), "{groups}: {told}");
    }
    assert_eq!(test.authority.get("/v1/sessions").await.ok(), json!([]));
}

async fn an_answer_that_this_browser_did_not_ask_for_is_refused(database: &Database) {
    let test = Test::start(database).await;
    let (mine, theirs) = (test.begin().await, test.begin().await);
    test.provider_says(&theirs, json!({}));
    let (state, foreign) = (mine.asked("state"), theirs.asked("state"));
    let asked = test.provider.asked("/token");
    for (cookie, query) in [
        ("", format!("code=c&state={state}")),
        (&*mine.cookie, format!("code=c&state={foreign}")),
        (&*mine.cookie, "code=c&state=".to_owned()),
        (&*mine.cookie, "code=c".to_owned()),
        ("writ-sign-in=a.b.c", format!("code=c&state={state}")),
        ("writ-sign-in=", format!("code=c&state={state}")),
        (&*format!("{}; {}", mine.cookie, theirs.cookie), format!("code=c&state={state}")),
    ] {
        test.callback(cookie, &query).await.refused(403, "sign_in_refused");
    }
    test.callback(&mine.cookie, &format!("code=c&code=d&state={state}")).await.refused(400, "malformed");
    assert_eq!(test.provider.asked("/token"), asked, "the provider was asked");
    test.authority.clock.advance(Duration::from_secs(601));
    let late = test.callback(&mine.cookie, &format!("code=c&state={state}")).await.refused(403, "sign_in_refused");
    assert!(late.contains("ten minutes"), "{late}");
    for query in ["", "challenge=AAAA", "challenge=%", "challenge=a&port=80", "nonsense=1"] {
        let reply = test.authority.raw(Method::GET, &format!("/v1/sign-in?{query}"), HeaderMap::new(), "").await;
        reply.refused(400, "malformed");
    }
    let challenge = URL_SAFE_NO_PAD.encode([1; 32]);
    for more in ["port=80", "port=70000", "port=5000&state=a%0d%0ab", "redirect_uri=https://evil.example"] {
        let path = format!("/v1/sign-in?challenge={challenge}&{more}");
        test.authority.raw(Method::GET, &path, HeaderMap::new(), "").await.refused(400, "malformed");
    }
    // Without a port, the page shows the code.
    let path = format!("/v1/sign-in?challenge={}", URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes())));
    let reply = test.authority.raw(Method::GET, &path, HeaderMap::new(), "").await;
    let cookie = reply.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let begun = Begun { cookie, asked: parameters(&location(&reply)) };
    test.provider_says(&begun, json!({}));
    let page = test.callback(&begun.cookie, &format!("code=c&state={}", begun.asked("state"))).await;
    assert_eq!(
        (page.status, &page.headers[header::CONTENT_SECURITY_POLICY]),
        (200, &HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
    );
    test.redeem(page.text.trim().lines().last().unwrap(), VERIFIER).await.ok();
}

async fn what_the_provider_says_is_believed_only_if_it_is_for_this_sign_in(database: &Database) {
    let test = Test::start(database).await;
    for replaced in [
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "aud": "app" }),
        json!({ "aud": ["writ", "app"], "azp": "writ" }),
        json!({ "iss": "https://other.example" }),
        json!({ "exp": START.secs() - 1 }),
        json!({ "events": {} }),
        json!({ "sub": "" }),
    ] {
        let begun = test.begin().await;
        test.provider_says(&begun, replaced.clone());
        let told = test.refused(&begun).await;
        assert!(told.contains("does not count"), "{replaced}: {told}");
    }
    let begun = test.begin().await;
    let claims = json!({
        "iss": test.provider.issuer, "aud": "writ", "sub": "alice", "iat": START.secs(), "exp": START.secs() + 60,
        "groups": ["ops"], "nonce": begun.asked("nonce"),
    });
    let stranger = Key::make("P-256", "1").sign(&json!({ "alg": "ES256" }), &claims);
    for answer in [json!({ "id_token": stranger }), json!({ "access_token": "a" }), json!([]), json!({ "id_token": 1 })]
    {
        test.provider.says("/token", Answer::Json(answer.clone()));
        assert!(test.refused(&begun).await.contains("does not count"), "{answer}");
    }
    for (status, expected) in [(400, "does not count"), (500, "does not answer"), (302, "does not answer")] {
        let body = br#"{"error":"invalid_grant"}"#.to_vec();
        let location = (status == 302).then(|| "http://127.0.0.1:1/".to_owned());
        test.provider.says("/token", Answer::Raw { status, location, body });
        let told = test.refused(&begun).await;
        assert!(told.contains(expected), "{status}: {told}");
    }
    // RFC 9207: who answers, where that is said or promised.
    test.provider_says(&begun, json!({}));
    let state = begun.asked("state");
    let issuer = serde_urlencoded::to_string([("iss", &test.provider.issuer)]).unwrap();
    for (query, gets_in) in [("iss=https%3A%2F%2Fevil.example", false), (&*issuer, true)] {
        let reply = test.callback(&begun.cookie, &format!("code=c&state={state}&{query}")).await;
        assert_eq!(of(&parameters(&location(&reply)), "code").is_some(), gets_in, "{query}");
    }
    test.publish(json!({ "authorization_response_iss_parameter_supported": true }));
    test.authority.clock.advance(Duration::from_secs(301));
    let begun = test.begin().await;
    test.provider_says(&begun, json!({}));
    assert!(test.refused(&begun).await.contains("another provider"));
    let reply = test.callback(&begun.cookie, &format!("error=access_denied%1b&state={}", begun.asked("state"))).await;
    assert!(of(&parameters(&location(&reply)), "error_description").unwrap().contains("access_denied"));
    // Whoever was ended at the moment of the sign-in does not get in by a login from before.
    test.authority.post("/v1/revocations", json!({ "target": "session:default/session-1" })).await.ok();
    let (begun, now) = (test.begin().await, test.authority.clock.now().secs());
    test.provider_says(&begun, json!({ "iss": test.provider.issuer, "iat": now }));
    let answer = format!("code=c&state={}&{issuer}", begun.asked("state"));
    let told = parameters(&location(&test.callback(&begun.cookie, &answer).await));
    assert!(of(&told, "error_description").unwrap().contains("was ended"), "{told:?}");
}

async fn a_code_counts_once_for_a_minute_and_with_its_verifier_only(database: &Database) {
    let test = Test::start(database).await;
    let code = async || {
        let begun = test.begin().await;
        test.provider_says(&begun, json!({}));
        of(&test.finish(&begun).await, "code").unwrap()
    };
    let first = code().await;
    let session = test.redeem(&first, VERIFIER).await.ok();
    test.redeem(&first, VERIFIER).await.refused(403, "sign_in_refused");
    assert!(test.counts(&session).await, "the first one stays");
    let shown = code().await;
    test.redeem(&shown, "another").await.refused(403, "sign_in_refused");
    test.redeem(&shown, VERIFIER).await.refused(403, "sign_in_refused");
    let late = code().await;
    test.authority.clock.advance(Duration::from_millis(60_001));
    test.redeem(&late, VERIFIER).await.refused(403, "sign_in_refused");
    test.redeem("", VERIFIER).await.refused(403, "sign_in_refused");
    // A code is no secret of a session, nor the other way round.
    let unused = code().await;
    assert!(!test.counts(&json!({ "secret": unused })).await);
    assert!(!test.counts(&json!({ "secret": format!("writ-session-{unused}") })).await);
    assert_eq!(test.authority.get("/v1/sessions").await.ok().as_array().unwrap().len(), 1);
}

async fn a_session_ends_by_its_time_and_when_it_is_not_used(database: &Database) {
    let test = Test::start(database).await;
    let session = test.signed_in(json!({})).await;
    for _ in 0..15 {
        test.authority.clock.advance(Duration::from_secs(31 * 60));
        assert!(test.counts(&session).await);
    }
    test.authority.clock.advance(Duration::from_secs(16 * 60));
    assert!(!test.counts(&session).await, "eight hours are over");
    assert_eq!(test.authority.get("/v1/sessions").await.ok(), json!([]));
    let idle = test.signed_in(json!({})).await;
    test.authority.clock.advance(Duration::from_millis(3_600_001));
    assert!(!test.counts(&idle).await);
}

async fn a_session_ends_with_the_person(database: &Database) {
    let test = Test::start(database).await;
    let of_session = json!({ "sid": "session-1" });
    let (first, second) =
        (test.signed_in(of_session.clone()).await, test.signed_in(json!({ "sid": "session-2" })).await);
    let bob = test.signed_in(json!({ "sub": "bob", "sid": "session-3" })).await;
    // The provider says so, to the client that operators sign in with.
    let now = test.authority.clock.now().secs();
    let claims = json!({
        "iss": test.provider.issuer, "aud": "writ", "iat": now, "exp": now + 60, "jti": "j", "sid": "session-1",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let logout = test.key.sign(&json!({ "alg": "ES256", "typ": "logout+jwt" }), &claims);
    let form = [("logout_token".to_owned(), logout)];
    test.authority.oauth("/v1/identity/corp/logout", &form, None).await.ok();
    assert_eq!([test.counts(&first).await, test.counts(&second).await, test.counts(&bob).await], [false, true, true]);

    test.authority.post("/v1/revocations", json!({ "target": "subject:default/alice" })).await.ok();
    assert_eq!([test.counts(&second).await, test.counts(&bob).await], [false, true]);
    let begun = test.begin().await;
    test.provider_says(&begun, json!({ "sid": "session-4" }));
    assert!(test.refused(&begun).await.contains("suspended"));
    // Reactivated: the old session stays dead, a new login gets in.
    test.authority.post("/v1/users/reactivate", json!({ "subject": "alice" })).await;
    assert!(!test.counts(&second).await);
    test.authority.clock.advance(Duration::from_secs(11));
    let again = test.signed_in(json!({ "sid": "session-5" })).await;
    assert!(test.counts(&again).await);

    // Between the provider's word and the session: the end is later than the session's epoch.
    let begun = test.begin().await;
    test.provider_says(&begun, json!({ "sub": "carol", "sid": "session-6" }));
    let code = of(&test.finish(&begun).await, "code").unwrap();
    test.authority.post("/v1/revocations", json!({ "target": "session:default/session-6" })).await.ok();
    let redeemed = test.redeem(&code, VERIFIER).await.ok();
    assert!(!test.counts(&redeemed).await);

    // By an admin; and a stop of everything keeps no operator out.
    let listed = test.authority.get("/v1/sessions").await.ok();
    let of_bob = listed.as_array().unwrap().iter().find(|session| session["name"] == "corp:bob").unwrap();
    let stop = json!({ "target": "everything", "confirm": true });
    test.authority.post("/v1/revocations", stop).await.ok();
    assert!(test.counts(&bob).await);
    let path = format!("/v1/sessions/{}", of_bob["id"].as_str().unwrap());
    assert_eq!(test.authority.delete(&path).await.status, 204);
    assert!(!test.counts(&bob).await);
    test.authority.delete(&path).await.refused(404, "not_found");
}

async fn a_session_ends_when_the_directory_says_that_the_person_is_gone(database: &Database) {
    let test = Test::start(database).await;
    let session = test.signed_in(json!({})).await;
    let token = test.authority.post("/v1/scim/tokens", json!({ "provider": "corp" })).await.ok();
    let user =
        json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "alice", "active": true });
    let added = test.with(&token, Method::POST, "/scim/v2/Users", &user).await.ok();
    assert!(test.counts(&session).await);
    let gone = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "replace", "path": "active", "value": false }],
    });
    let path = format!("/scim/v2/Users/{}", added["id"].as_str().unwrap());
    test.with(&token, Method::PATCH, &path, &gone).await.ok();
    assert!(!test.counts(&session).await);
    // Nor does a later login get in.
    test.authority.clock.advance(Duration::from_secs(60));
    let begun = test.begin().await;
    test.provider_says(&begun, json!({ "sid": "session-2" }));
    let told = test.refused(&begun).await;
    assert!(told.contains("alice"), "{told}");
}

async fn a_session_ends_when_the_person_leaves_the_group_that_gave_the_role(database: &Database) {
    let test = Test::start(database).await;
    let token = test.authority.post("/v1/scim/tokens", json!({ "provider": "corp" })).await.ok();
    let user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "alice" });
    let alice = test.with(&token, Method::POST, "/scim/v2/Users", &user).await.ok()["id"].clone();
    let group = async |name: &str| {
        let schema = "urn:ietf:params:scim:schemas:core:2.0:Group";
        let group = json!({ "schemas": [schema], "displayName": name, "members": [{ "value": alice }] });
        let added = test.with(&token, Method::POST, "/scim/v2/Groups", &group).await.ok();
        format!("/scim/v2/Groups/{}", added["id"].as_str().unwrap())
    };
    let (admins, lunch) = (group("ops").await, group("lunch").await);
    // One is signed in by the directory's word alone, another on the way.
    let by_directory = json!({ "groups": [] });
    let session = test.signed_in(by_directory.clone()).await;
    let begun = test.begin().await;
    test.provider_says(&begun, by_directory.clone());
    let code = of(&test.finish(&begun).await, "code").unwrap();
    let leave = async |path: &str| {
        let leaves = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{ "op": "remove", "path": format!("members[value eq {alice}]") }],
        });
        test.with(&token, Method::PATCH, path, &leaves).await.ok();
    };
    leave(&lunch).await;
    assert!(test.counts(&session).await, "that group gives no role");
    leave(&admins).await;
    assert!(!test.counts(&session).await);
    let late = test.redeem(&code, VERIFIER).await;
    assert!(late.status != 200 || !test.counts(&late.ok()).await, "a sign-in that was under way is over too");
    // Back with less: what the groups of then give.
    group("audit").await;
    test.authority.clock.advance(Duration::from_secs(60));
    let now = test.authority.clock_now().secs();
    let again = test.signed_in(json!({ "groups": [], "auth_time": now, "iat": now, "exp": now + 60 })).await;
    assert!(test.counts(&again).await);
    test.with(&again, Method::POST, "/v1/agents/x/enable", &json!({})).await.refused(403, "role");
}

async fn a_person_lifts_a_stop_of_somebody_else_only(database: &Database) {
    let test = Test::start(database).await;
    let stop = json!({ "target": "everything", "confirm": true });
    let (alice, bob) =
        (test.signed_in(json!({})).await, test.signed_in(json!({ "sub": "bob", "groups": ["audit"] })).await);
    let puppet = json!({ "name": "puppet", "person": "corp:alice" });
    let puppet = test.authority.post("/v1/operators", puppet).await.ok();
    test.authority.clock.advance(Duration::from_secs(20));
    test.with(&alice, Method::POST, "/v1/revocations", &stop).await.ok();
    let status = test.authority.get("/v1/stop").await.ok();
    assert_eq!((&status["by"], &status["may_lift"]), (&json!("corp:alice"), &json!(["root"])));
    for same in [&alice, &puppet] {
        test.with(same, Method::POST, "/v1/stop/lift", &json!({})).await.refused(403, "second_operator");
    }
    // Whoever becomes an admin after the stop is not the second person.
    test.authority.clock.advance(Duration::from_secs(1));
    let promoted = test.signed_in(json!({ "sub": "bob", "sid": "session-2" })).await;
    assert_eq!(promoted["role"], "admin");
    test.with(&promoted, Method::POST, "/v1/stop/lift", &json!({})).await.refused(403, "second_operator");
    test.with(&bob, Method::POST, "/v1/stop/lift", &json!({})).await.refused(403, "role");
    test.authority.post("/v1/stop/lift", json!({})).await;
    test.authority.post("/v1/revocations", stop).await.ok();
    assert_eq!(test.authority.get("/v1/stop").await.ok()["may_lift"], json!(["puppet", "corp:alice", "corp:bob"]));
    assert_eq!(test.with(&promoted, Method::POST, "/v1/stop/lift", &json!({})).await.status, 204);
}

async fn a_person_in_the_named_group_approves_what_somebody_else_asks(database: &Database) {
    let test = Test::start(database).await;
    let new =
        NewApproval { created: START, expires: START.after(HOUR), writ_expires: START.after(HOUR), ..asked(1, "a") };
    let (asker, digest) = (new.asker.clone(), new.asked.digest);
    let quota = ApprovalQuota { pending_of_agent: 9, pending_of_tenant: 9, recent_of_agent: 9, since: START };
    let alice = Asker { subject: Some("alice".parse().unwrap()), ..asker };
    let (request, record) = (serde_json::to_vec(&request("a")).unwrap(), format!("approval/{}", new.handle));
    let binding = Binding { tenant: alice.tenant.as_str(), record: &record, field: "asked", version: 1 };
    let sealed = keyring(&test.authority.kek, &[]).seal(&binding, &request).unwrap();
    let kept = KeptAsked { sealed: Some(sealed), ..new.asked.clone() };
    let new = NewApproval { asker: alice, asked: kept, ..new };
    let event = change("approval.ask", "x");
    assert_eq!(test.authority.store.put_approval(&new, &quota, &event).await.unwrap(), Put::Added);

    let path = format!("/v1/approvals/{}/approve?tenant=acme", new.handle);
    let body = json!({ "digest": hex::encode(digest) });
    let asks = json!({ "groups": ["ops", "finance"] });
    let own = test.signed_in(asks.clone()).await;
    test.with(&own, Method::POST, &path, &body).await.refused(403, "own_request");
    // The same person under a name of their own.
    let named = json!({ "name": "root2", "role": "admin", "person": "other:Alice" });
    let secret = test.authority.post("/v1/operators", named).await.ok();
    test.with(&secret, Method::POST, &path, &body).await.refused(403, "not_asked");
    let outside = test.signed_in(json!({ "groups": ["ops"], "sub": "carol", "sid": "s3" })).await;
    let told = test.with(&outside, Method::POST, &path, &body).await.refused(403, "not_asked");
    assert!(told.contains("finance"), "{told}");
    let bob = test.signed_in(json!({ "groups": ["ops", "finance"], "sub": "bob", "sid": "s2" })).await;
    assert_eq!(test.with(&bob, Method::POST, &path, &body).await.status, 204);
    let shown = test.authority.get(&format!("/v1/approvals/{}?tenant=acme", new.handle)).await.ok();
    assert_eq!((&shown["decided"]["by"], &shown["decided"]["as"]), (&json!("corp:bob"), &json!(["finance"])));

    // What ends the login ends what was approved by it.
    let revoking = test.authority.post("/v1/revocations", json!({ "target": "subject:default/bob" }));
    test.authority.let_time_pass(revoking).await.ok();
    let (asked, asker) = (new.asked.digest, new.asker.digest());
    let now = test.authority.clock.now();
    let redeemed = test.authority.store.redeem_approval(new.handle, &asked, &asker, now, &event).await.unwrap();
    assert_eq!(redeemed, Redemption::ApproverGone);
}
