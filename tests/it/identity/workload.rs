//! Agents that are known by the platform they run on: a CI job's token, a Kubernetes service account's, a JWT-SVID. Who gets a
//! writ by one, bound to which key, what a stolen one is worth, and that it is never a user's.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use writ::clock::ManualClock;
use writ::config::authority::{AuthorityConfig, AuthorityTerms};
use writ::key::{KeyPair, PublicKey};
use writ::token::inspect::inspect;
use writ::token::{Limits, RawToken};

use crate::identity::exchange::{SCOPE, refused};
use crate::identity::jose::{Key, sign_with_secret};
use crate::identity::provider::{Answer, TestProvider};
use crate::identity::race::race;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START, TestAuthority, random, start_with};

for_every_backend!(
    a_jobs_token_gives_its_agent_a_writ_bound_to_the_key_that_is_proven,
    a_jwt_svid_counts_in_its_trust_domain_by_its_bundle_only,
    a_service_accounts_token_is_the_actor_who_acts_for_a_user,
    a_token_counts_for_the_key_it_was_used_with_first,
    a_token_that_counts_once_is_used_once,
    a_workload_that_is_taken_away_leaves_no_writ,
    a_workload_is_an_agent_of_its_issuers_tenant_only,
);

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const HERE: &str = "https://writ.example";
const JOB: &str = "repo:acme/web:ref:refs/heads/main";

/// An authority that believes a platform.
struct Test {
    authority: TestAuthority,
    platform: TestProvider,
    key: Key,
}

/// A platform's table in the settings. `{url}` is its own.
const CI: &str = "[[identity.workload]]\nname = \"ci\"\nissuer = \"{url}\"\naudiences = [\"https://writ.example\"]\nallow_private = true\n";

impl Test {
    async fn start(database: &Database, settings: &str) -> Self {
        let key = Key::make("P-256", "1");
        let platform = TestProvider::start(&[&key]).await;
        let text = format!(
            "{}\n{}",
            include_str!("../../../samples/authority.toml"),
            settings.replace("{url}", &platform.issuer)
        );
        let parsed = AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms;
        let terms =
            AuthorityTerms { providers: parsed.providers, workloads: parsed.workloads, ..AuthorityTerms::default() };
        let authority = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
        Self { authority, platform, key }
    }

    /// An agent without a key, which is the workload and may act for itself and for alice.
    async fn agent(&self, name: &str, workload: Value) {
        self.authority.post("/v1/agents", json!({ "name": name, "workload": workload })).await.ok();
        for subject in [Value::Null, json!("alice")] {
            let grant = json!({ "agent": name, "subject": subject, "capabilities": [SCOPE] });
            self.authority.post("/v1/grants", grant).await.ok();
        }
    }

    fn claims(&self, replaced: &Value) -> Value {
        let now = self.authority.clock_now().secs();
        let mut claims = json!({
            "iss": self.platform.issuer, "sub": JOB, "aud": HERE, "iat": now, "nbf": now, "exp": now + 300,
            "jti": hex::encode(random::<16>()), "repository": "acme/web", "ref": "refs/heads/main",
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    /// A job's token, some of its claims replaced.
    fn token(&self, replaced: &Value) -> String {
        self.key.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &self.claims(replaced))
    }

    async fn ask(&self, token: &str, key: &KeyPair, replaced: &[(&str, &str)]) -> Reply {
        self.ask_with(token, Some(&self.authority.token_proof(key)), replaced).await
    }

    async fn ask_with(&self, token: &str, proof: Option<&str>, replaced: &[(&str, &str)]) -> Reply {
        let mut form = vec![
            ("grant_type".to_owned(), "client_credentials".to_owned()),
            ("client_assertion_type".to_owned(), JWT_BEARER.to_owned()),
            ("client_assertion".to_owned(), token.to_owned()),
            ("scope".to_owned(), SCOPE.to_owned()),
        ];
        for (name, value) in replaced {
            form.retain(|(other, _)| other != name);
            if !value.is_empty() {
                form.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        self.authority.token_with(&form, proof).await
    }

    /// How many writs of alice are live.
    async fn live(&self) -> usize {
        let (tenant, alice) = ("default".parse().unwrap(), "alice".parse().unwrap());
        self.authority.store.issued_for(&tenant, &alice, self.authority.clock_now(), 1000).await.unwrap().len()
    }

    async fn recorded(&self) -> String {
        self.authority.get("/v1/audit?limit=1000").await.text
    }
}

fn fresh() -> KeyPair {
    KeyPair::from_seed(&random())
}

/// The holder and the user of a writ that had to be issued.
#[track_caller]
fn writ(reply: Reply) -> (Option<PublicKey>, Option<String>) {
    let limits = Limits::default();
    let raw = RawToken::parse(reply.ok()["access_token"].as_str().unwrap(), &limits).unwrap();
    let writ = inspect(&raw, &limits).unwrap();
    let block = writ.claims().authority();
    (block.holder, block.subject.as_ref().map(ToString::to_string))
}

fn job() -> Value {
    json!({ "issuer": "ci", "subject": JOB, "claims": { "repository": "acme/web", "ref": "refs/heads/main" } })
}

async fn a_jobs_token_gives_its_agent_a_writ_bound_to_the_key_that_is_proven(database: &Database) {
    let test = Test::start(database, &format!("{CI}writ_ttl_max_s = 120\n")).await;
    test.agent("builder", job()).await;
    let key = fresh();
    let reply = test.ask(&test.token(&json!({})), &key, &[]).await;
    assert_eq!(reply.json["expires_in"], 120, "the grant alone would allow more");
    assert_eq!(writ(reply), (Some(key.public()), None));
    // By any name that the client may go by.
    for client_id in ["builder", "default/builder", JOB] {
        test.ask(&test.token(&json!({})), &fresh(), &[("client_id", client_id)]).await.ok();
    }
    refused(test.ask(&test.token(&json!({})), &key, &[("client_id", "planner")]).await, 401, "invalid_client");
    // A token that names a key counts for that one.
    let bound = json!({ "cnf": { "jkt": key.public().thumbprint() } });
    refused(test.ask(&test.token(&bound), &fresh(), &[]).await, 401, "invalid_client");
    test.ask(&test.token(&bound), &key, &[]).await.ok();
    let recorded = test.recorded().await;
    for fact in ["\"workload\":{\"issuer\":\"ci\"", JOB, "agent.register"] {
        assert!(recorded.contains(fact), "{fact}: {recorded}");
    }
    let agents = test.authority.get("/v1/agents").await.ok();
    assert_eq!((agents[0]["name"].as_str(), agents[0].get("key")), (Some("builder"), None));
    assert!(agents[0]["seen"].is_number());
    let workloads = test.authority.get("/v1/workloads").await.ok();
    assert_eq!(
        (&workloads[0]["agent"], &workloads[0]["claims"]["repository"]),
        (&json!("builder"), &json!("acme/web"))
    );
    // It may have a key as well, and then be known by either.
    let own = fresh();
    test.authority.post("/v1/agents/builder/keys", json!({ "key": own.public() })).await.ok();
    let by_key = crate::support::authority::TestAgent { client_id: "builder".into(), key: Arc::new(own) };
    assert_eq!(writ(test.authority.token(&by_key, SCOPE).await).0, Some(by_key.key.public()));
    assert_eq!(writ(test.ask(&test.token(&json!({})), &key, &[]).await).0, Some(key.public()));
    test.authority.post("/v1/agents/builder/disable", json!({})).await.ok();
    let disabled = refused(test.ask(&test.token(&json!({})), &key, &[]).await, 401, "invalid_client");
    assert!(disabled.contains("disabled"), "{disabled}");
}

const SPIRE: &str = "[[identity.workload]]\nname = \"spire\"\ntrust_domain = \"example.org\"\njwks_uri = \"{url}/bundle\"\n\
                     audiences = [\"https://writ.example\"]\nallow_private = true\n";
const WEB: &str = "spiffe://example.org/ns/web/sa/agent";

fn bundle(keys: &[(&Key, Option<&str>)]) -> Answer {
    let key = |(key, for_use): &(&Key, Option<&str>)| {
        let mut key = key.public.clone();
        if let Some(for_use) = for_use {
            key["use"] = json!(for_use);
        }
        key
    };
    let keys: Vec<_> = keys.iter().map(key).collect();
    Answer::Json(json!({ "keys": keys, "spiffe_sequence": 7, "spiffe_refresh_hint": 60 }))
}

async fn a_jwt_svid_counts_in_its_trust_domain_by_its_bundle_only(database: &Database) {
    let test = Test::start(database, &format!("{SPIRE}{CI}")).await;
    let (x509, unsaid) = (Key::make("P-256", "2"), Key::make("P-256", "3"));
    test.platform
        .says("/bundle", bundle(&[(&x509, Some("x509-svid")), (&unsaid, None), (&test.key, Some("jwt-svid"))]));
    test.agent("web", json!({ "issuer": "spire", "subject": WEB })).await;
    // As SPIRE makes them: no `jti`, and an `iss` only where it is an OpenID provider as well.
    let svid = |replaced: Value| {
        let mut all = json!({ "iss": null, "jti": null, "nbf": null, "sub": WEB, "repository": null, "ref": null });
        for (name, value) in replaced.as_object().unwrap() {
            all[name] = value.clone();
        }
        test.claims(&all)
    };
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let as_svid = [("client_assertion_type", JWT_SPIFFE), ("client_id", WEB)];
    let key = fresh();
    assert_eq!(writ(test.ask(&test.key.sign(&header, &svid(json!({}))), &key, &as_svid).await).0, Some(key.public()));
    let without_iat = test.key.sign(&json!({ "alg": "ES256", "typ": "JOSE" }), &svid(json!({ "iat": null })));
    test.ask(&without_iat, &key, &[]).await.ok();
    for (by, claims) in [
        (&x509, svid(json!({}))),
        (&unsaid, svid(json!({}))),
        (&test.key, svid(json!({ "sub": "spiffe://other.example/ns/web/sa/agent" }))),
        (&test.key, svid(json!({ "sub": "spiffe://example.org.evil.example/ns/web/sa/agent" }))),
        (&test.key, svid(json!({ "sub": "spiffe://example.org/ns/web/sa/agent/" }))),
        (&test.key, svid(json!({ "sub": "spiffe://example.org" }))),
        (&test.key, svid(json!({ "sub": "spiffe://EXAMPLE.org/ns/web/sa/agent" }))),
        (&test.key, svid(json!({ "aud": ["https://writ.example", "https://other.example"] }))),
        (&test.key, svid(json!({ "aud": [] }))),
        (&test.key, svid(json!({ "exp": null }))),
    ] {
        refused(test.ask(&by.sign(&header, &claims), &fresh(), &as_svid[..1]).await, 401, "invalid_client");
    }
    // What is no JWT-SVID is not sent as one.
    test.agent("builder", job()).await;
    refused(test.ask(&test.token(&json!({})), &fresh(), &as_svid[..1]).await, 401, "invalid_client");
    let planner = test.authority.agent("planner").await;
    let own = test.authority.assertion(&planner, &json!({}));
    refused(test.ask(&own, &planner.key, &as_svid[..1]).await, 401, "invalid_client");
}

async fn a_service_accounts_token_is_the_actor_who_acts_for_a_user(database: &Database) {
    // The cluster's keys as a file, its API server not being in reach; its users log in at the same host.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cluster.json");
    let cluster = Key::make("RSA", "cluster");
    std::fs::write(&file, json!({ "keys": [cluster.public] }).to_string()).unwrap();
    let settings = format!(
        "[[identity.workload]]\nname = \"cluster\"\nissuer = \"https://kubernetes.default.svc\"\naudiences = [\"https://writ.example\"]\n\
         jwks_file = \"{}\"\n[[identity.provider]]\nname = \"corp\"\nissuer = \"{{url}}\"\nclient_ids = [\"app\"]\nallow_private = true\n",
        file.display()
    );
    let test = Test::start(database, &settings).await;
    let account = "system:serviceaccount:agents:planner";
    test.agent("planner", json!({ "issuer": "cluster", "subject": account })).await;
    let now = START.secs();
    let pod = json!({
        "iss": "https://kubernetes.default.svc", "sub": account, "aud": [HERE], "iat": now, "nbf": now, "exp": now + 3600,
        "jti": "2f5b", "kubernetes.io": { "namespace": "agents", "pod": { "name": "planner-0" } },
    });
    let pod = cluster.sign(&json!({ "alg": "RS256" }), &pod);
    let user = json!({ "sub": "alice", "aud": "app", "jti": null, "auth_time": now, "sid": "s", "nbf": null });
    let user = test.key.sign(&json!({ "alg": "ES256" }), &test.claims(&user));
    let exchange = [
        ("grant_type", EXCHANGE),
        ("client_assertion", ""),
        ("client_assertion_type", ""),
        ("actor_token", &*pod),
        ("actor_token_type", JWT),
        ("subject_token", &*user),
        ("subject_token_type", ID_TOKEN),
    ];
    let key = fresh();
    assert_eq!(writ(test.ask("", &key, &exchange).await), (Some(key.public()), Some("alice".into())));
    assert_eq!(test.live().await, 1);
    refused(test.ask_with("", None, &exchange).await, 400, "invalid_dpop_proof");
    // A user's token that is bound to a key counts from the hands of whoever proves that key.
    let bound =
        json!({ "sub": "alice", "aud": "app", "jti": null, "sid": "s", "cnf": { "jkt": key.public().thumbprint() } });
    let bound = test.key.sign(&json!({ "alg": "ES256" }), &test.claims(&bound));
    let mut with_bound = exchange;
    with_bound[5].1 = &bound;
    test.ask("", &key, &with_bound).await.ok();
    let other_pod = cluster.sign(
        &json!({ "alg": "RS256" }),
        &json!({ "iss": "https://kubernetes.default.svc", "sub": account, "aud": [HERE], "iat": now, "exp": now + 3600 }),
    );
    with_bound[3].1 = &other_pod;
    refused(test.ask("", &fresh(), &with_bound).await, 400, "invalid_request");
    // The actor is not the subject, in either direction.
    let mut swapped = exchange;
    (swapped[3].1, swapped[5].1) = (&user, &pod);
    refused(test.ask("", &key, &swapped).await, 401, "invalid_client");
    (swapped[3].1, swapped[5].1) = (&pod, &pod);
    refused(test.ask("", &key, &swapped).await, 400, "invalid_request");
    (swapped[3].1, swapped[5].1) = (&user, &user);
    refused(test.ask("", &key, &swapped).await, 401, "invalid_client");
    assert_eq!(test.live().await, 2);
}

async fn a_token_counts_for_the_key_it_was_used_with_first(database: &Database) {
    let test = Test::start(database, CI).await;
    test.agent("builder", job()).await;
    for jti in [json!("one"), Value::Null] {
        let token = test.token(&json!({ "jti": jti }));
        let key = fresh();
        // A request that proves nothing takes no token.
        refused(test.ask_with(&token, None, &[]).await, 400, "invalid_dpop_proof");
        refused(test.ask_with(&token, Some("junk"), &[]).await, 400, "invalid_dpop_proof");
        for _ in 0..3 {
            assert_eq!(writ(test.ask(&token, &key, &[]).await).0, Some(key.public()));
        }
        let stolen = refused(test.ask(&token, &fresh(), &[]).await, 401, "invalid_client");
        assert!(stolen.contains("another key"), "{stolen}");
    }
    // Another token of the same name is that token.
    let renamed = test.token(&json!({ "jti": "one", "exp": START.secs() + 200 }));
    refused(test.ask(&renamed, &fresh(), &[]).await, 401, "invalid_client");
    // Of many at once one wins.
    let token = test.token(&json!({}));
    let keys: Vec<_> = (0..6).map(|_| fresh()).collect();
    let asked = futures_util::future::join_all(keys.iter().map(|key| test.ask(&token, key, &[]))).await;
    assert_eq!(asked.iter().filter(|reply| reply.status == 200).count(), 1);
}

async fn a_token_that_counts_once_is_used_once(database: &Database) {
    let test = Test::start(database, &format!("{CI}single_use = true\n")).await;
    test.agent("builder", job()).await;
    for jti in [json!("one"), Value::Null] {
        let (token, key) = (test.token(&json!({ "jti": jti })), fresh());
        let (one, two) = tokio::join!(test.ask(&token, &key, &[]), test.ask(&token, &key, &[]));
        assert_eq!([one.status, two.status].iter().filter(|status| **status == 200).count(), 1);
        refused(test.ask(&token, &key, &[]).await, 401, "invalid_client");
    }
}

/// Taking a workload away, or disabling its agent, and requests by its token at the same moment.
async fn a_workload_that_is_taken_away_leaves_no_writ(database: &Database) {
    let test = Test::start(database, CI).await;
    test.agent("builder", job()).await;
    let (key, mut issued) = (fresh(), 0);
    for round in 0..16 {
        let token = test.token(&json!({}));
        let ends = async {
            let (path, body) = match round / 4 % 2 {
                0 => ("/v1/agents/builder/workloads/remove", json!({ "issuer": "ci", "subject": JOB })),
                _ => ("/v1/agents/builder/disable", json!({})),
            };
            test.authority.post(path, body).await.ok();
        };
        let ask = async || test.ask(&token, &key, &[("subject", "alice")]).await;
        issued += race(ask, round % 4, ends).await;
        assert_eq!(test.live().await, 0, "round {round}");
        refused(test.ask(&token, &key, &[]).await, 401, "invalid_client");
        match round / 4 % 2 {
            0 => drop(test.authority.post("/v1/agents/builder/workloads", job()).await.ok()),
            _ => drop(test.authority.post("/v1/agents/builder/enable", json!({})).await.ok()),
        }
        test.authority.clock.advance(Duration::from_secs(1));
    }
    assert!(issued > 0, "nothing was issued, so nothing was tested");
    let recorded = test.recorded().await;
    assert!(recorded.contains("workload.add") && recorded.contains("workload.remove"), "{recorded}");
}

async fn a_workload_is_an_agent_of_its_issuers_tenant_only(database: &Database) {
    let acme = CI.replace("\"ci\"", "\"acme-ci\"").replace("https://writ.example", "https://writ.example/acme");
    let test = Test::start(database, &format!("{CI}{acme}tenant = \"acme\"\n")).await;
    test.agent("builder", job()).await;
    let of_acme = json!({ "name": "builder", "workload": { "issuer": "acme-ci", "subject": JOB } });
    test.authority.post("/v1/agents", of_acme.clone()).await.refused(400, "malformed");
    test.authority.post("/v1/agents?tenant=acme", of_acme).await.ok();
    let grant = json!({ "agent": "builder", "capabilities": [SCOPE] });
    test.authority.post("/v1/grants?tenant=acme", grant).await.ok();
    let add = |workload: Value| test.authority.post("/v1/agents/builder/workloads", workload);
    add(json!({ "issuer": "acme-ci", "subject": "x" })).await.refused(400, "malformed");
    add(json!({ "issuer": "nobody", "subject": "x" })).await.refused(400, "malformed");
    add(json!({ "issuer": "ci", "subject": "" })).await.refused(400, "malformed");
    add(job()).await.refused(409, "conflict");
    test.authority
        .post("/v1/agents/nobody/workloads", json!({ "issuer": "ci", "subject": "x" }))
        .await
        .refused(404, "not_found");
    // The audience says whose it is: one token is never two tenants'.
    for (audience, tenant) in [(HERE, "default"), ("https://writ.example/acme", "acme")] {
        let reply = test.ask(&test.token(&json!({ "aud": audience })), &fresh(), &[]).await.ok();
        let limits = Limits::default();
        let raw = RawToken::parse(reply["access_token"].as_str().unwrap(), &limits).unwrap();
        assert_eq!(inspect(&raw, &limits).unwrap().claims().authority().tenant.as_str(), tenant);
    }
    let both = test.token(&json!({ "aud": [HERE, "https://writ.example/acme"] }));
    refused(test.ask(&both, &fresh(), &[]).await, 401, "invalid_client");
    // A tenant's operator takes away what is its own only.
    let remove = async |tenant: &str, issuer: &str| {
        let body = json!({ "issuer": issuer, "subject": JOB });
        test.authority.post(&format!("/v1/agents/builder/workloads/remove{tenant}"), body).await
    };
    remove("", "acme-ci").await.refused(404, "not_found");
    remove("?tenant=acme", "ci").await.refused(404, "not_found");
    remove("?tenant=acme", "acme-ci").await.ok();
    refused(
        test.ask(&test.token(&json!({ "aud": "https://writ.example/acme" })), &fresh(), &[]).await,
        401,
        "invalid_client",
    );
    test.ask(&test.token(&json!({})), &fresh(), &[]).await.ok();
}

#[tokio::test]
async fn a_token_that_does_not_fit_is_nobodys() {
    let beside =
        "[[identity.provider]]\nname = \"corp\"\nissuer = \"{url}\"\nclient_ids = [\"app\"]\nallow_private = true\n";
    let test = Test::start(&Database::sqlite().await, &format!("{CI}{beside}")).await;
    test.agent("builder", job()).await;
    let now = START.secs();
    let good = test.claims(&json!({}));
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let other = Key::make("P-256", "1");
    let mut tokens = vec![
        other.sign(&header, &good),
        sign_with_secret("secret", &json!({ "alg": "none" }), &good),
        sign_with_secret("secret", &json!({ "alg": "HS256" }), &good),
        test.key.sign(&json!({ "alg": "ES256", "jku": "https://evil.example" }), &good),
        test.key.sign(&json!({ "alg": "ES256", "jwk": other.public }), &good),
        test.key.sign(&json!({ "alg": "ES256", "crit": ["kid"] }), &good),
        String::new(),
        "junk".to_owned(),
    ];
    for typ in [
        "at+jwt",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "wit+jwt",
        "global-token-revocation+jwt",
    ] {
        tokens.push(test.key.sign(&json!({ "alg": "ES256", "typ": typ }), &good));
    }
    for replaced in [
        json!({ "iss": "https://other.example" }),
        json!({ "iss": null }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": "repo:acme/web:ref:refs/heads/dev" }),
        json!({ "sub": "REPO:acme/web:ref:refs/heads/main" }),
        json!({ "sub": [JOB] }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": [HERE, "https://other.example"] }),
        json!({ "aud": null }),
        json!({ "exp": now }),
        json!({ "exp": now - 1 }),
        json!({ "exp": null }),
        json!({ "exp": now + 3601 }),
        json!({ "iat": now - 3400, "exp": now + 201 }),
        json!({ "iat": null, "exp": now + 3601 }),
        json!({ "iat": now + 11 }),
        json!({ "nbf": now + 11 }),
        json!({ "iat": "now" }),
        json!({ "exp": 1e40 }),
        json!({ "jti": "" }),
        json!({ "jti": 7 }),
        json!({ "jti": "a".repeat(257) }),
        json!({ "repository": "acme/other" }),
        json!({ "repository": null }),
        json!({ "repository": ["acme/web"] }),
        json!({ "ref": "refs/heads/main " }),
        json!({ "cnf": { "jwk": {} } }),
        // What an ID token of the same issuer has.
        json!({ "aud": "app" }),
        json!({ "nonce": "n" }),
        json!({ "auth_time": now }),
        json!({ "sid": "s" }),
        json!({ "at_hash": "h" }),
        json!({ "act": { "sub": "a" } }),
        json!({ "may_act": { "sub": "a" } }),
        json!({ "events": {} }),
    ] {
        tokens.push(test.token(&replaced));
    }
    for token in &tokens {
        let reply = test.ask(token, &fresh(), &[]).await;
        let said = refused(reply, 401, "invalid_client");
        assert!(token.len() < 9 || !said.contains(token), "{said}");
    }
    assert!(!test.recorded().await.contains("writ.issue"));
    // A workload is no user: not in an exchange, not for what is a user's own.
    let token = test.token(&json!({}));
    let planner = test.authority.agent("planner").await;
    let own = test.authority.assertion(&planner, &json!({}));
    let exchange = [("grant_type", EXCHANGE), ("subject_token", &*token), ("subject_token_type", ID_TOKEN)];
    refused(test.ask(&own, &planner.key, &exchange).await, 400, "invalid_request");
    let headers = crate::identity::exchange::bearer(&token);
    assert_eq!(test.authority.raw(http::Method::GET, "/v1/my/writs", headers, "").await.status, 401);
    // Nor does its token end a writ: whoever holds one ends it by its key.
    let form = [("token", "x"), ("client_assertion_type", JWT_BEARER), ("client_assertion", &*token)];
    let form: Vec<_> = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    refused(test.authority.oauth("/oauth/revoke", &form, None).await, 401, "invalid_client");
    test.ask(&token, &fresh(), &[]).await.ok();
}

#[tokio::test]
async fn a_platform_that_does_not_answer_is_told_apart_from_a_token_that_does_not_count() {
    let test = Test::start(&Database::sqlite().await, CI).await;
    test.agent("builder", job()).await;
    test.platform.says("/jwks", Answer::Json(json!({ "keys": [test.key.private] })));
    let reply = test.ask(&test.token(&json!({})), &fresh(), &[]).await;
    assert!(refused(reply, 503, "temporarily_unavailable").contains("ci"));
    test.authority.clock.advance(Duration::from_secs(6));
    test.platform.publishes(&[&test.key]);
    test.ask(&test.token(&json!({})), &fresh(), &[]).await.ok();
}
